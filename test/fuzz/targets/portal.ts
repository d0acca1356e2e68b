// Texts from the portal and from components: frames, control frames and every message of every audience. What parses is
// written and parsed again, to the same meaning.

import { utf8Decode } from '../../../src/base/bytes.ts';
import { parseControl } from '../../../src/wire/phoenix/control.ts';
import { parseFrame, writeFrame } from '../../../src/wire/phoenix/frame.ts';
import { CLIENT_INBOUND, CLIENT_OUTBOUND } from '../../../src/wire/portal/client-messages.ts';
import { GATEWAY_INBOUND, GATEWAY_OUTBOUND } from '../../../src/wire/portal/gateway-messages.ts';
import { parseIngestToken } from '../../../src/wire/portal/ingest-token.ts';
import { parseRelayJoin, RELAY_INBOUND } from '../../../src/wire/portal/relay-messages.ts';

interface AnySet {
  parse(event: string, payload: unknown): { kind: string; message?: unknown };
  write(message: unknown): { event: string; payload: unknown };
}

const SETS = [
  GATEWAY_INBOUND,
  GATEWAY_OUTBOUND,
  CLIENT_INBOUND,
  CLIENT_OUTBOUND,
  RELAY_INBOUND,
] as unknown as AnySet[];

export const name = 'portal';
export const kind = 'bytes';

export function run(bytes: Uint8Array): void {
  const text = utf8Decode(bytes);
  if (text === undefined) return;
  const parsed = parseFrame(text);
  if (parsed.kind !== 'frame') return;
  const { event, payload } = parsed.frame;
  parseControl(parsed.frame);
  for (const set of SETS) set.parse(event, payload);
}

export function compare(bytes: Uint8Array): void {
  const text = utf8Decode(bytes);
  if (text === undefined) return;
  parseIngestToken(text);
  const parsed = parseFrame(text);
  if (parsed.kind !== 'frame') return;
  const { frame } = parsed;
  const again = parseFrame(writeFrame(frame));
  if (again.kind !== 'frame') throw new Error('a written frame does not parse');
  parseControl(frame);
  parseRelayJoin(frame.payload);
  for (const set of SETS) {
    const first = set.parse(frame.event, frame.payload);
    if (first.message === undefined) continue;
    const written = set.write(first.message);
    const second = set.parse(written.event, JSON.parse(JSON.stringify(written.payload)));
    if (JSON.stringify(second) !== JSON.stringify(first)) {
      throw new Error(`${frame.event} changes its meaning when written`);
    }
  }
}
