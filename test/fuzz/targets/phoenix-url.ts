// What an operator or a server writes: base URLs, Retry-After values, problem details, device ids.

import { utf8Decode } from '../../../src/base/bytes.ts';
import { unixMillis } from '../../../src/base/time.ts';
import { parseProblemDetails } from '../../../src/proto/phoenix/failures.ts';
import { parseBaseUrl } from '../../../src/proto/phoenix/login-url.ts';
import { parseRetryAfter } from '../../../src/proto/phoenix/retry-after.ts';
import { writeUserAgent } from '../../../src/proto/phoenix/user-agent.ts';

export const name = 'phoenix-url';
export const kind = 'bytes';

export function run(bytes: Uint8Array): void {
  const text = utf8Decode(bytes);
  if (text === undefined) return;
  const base = parseBaseUrl(text);
  if (typeof base !== 'string' && (base.port < 1 || base.port > 65535 || base.host === '')) {
    throw new Error('a base URL without host or port');
  }
  const delay = parseRetryAfter(text, unixMillis(1_700_000_000_000));
  if (delay !== undefined && !(delay >= 0)) throw new Error('a delay that is not one');
  parseProblemDetails('application/problem+json', text);
  const agent = writeUserAgent({
    osType: text,
    osVersion: text,
    component: 'gateway',
    version: '1.6.0',
  });
  if (!/^[\x20-\x7e]*$/.test(agent)) throw new Error('an illegal header');
}
