// A portal with a relay, two gateways and two clients, and lines of text: the first character names who sends, the rest is an
// event and its payload. Nothing a component sends may throw, and nobody gets what the policy does not give.

import { utf8Decode } from '../../../src/base/bytes.ts';

import { PortalBench, R3 } from '../../support/portal-bench.ts';

export const name = 'portal-machine';
export const kind = 'operations';

export function run(bytes: Uint8Array): void {
  const text = utf8Decode(bytes);
  if (text === undefined) return;
  const bench = new PortalBench();
  const parties = [
    bench.relay(),
    bench.gateway(),
    bench.gateway('away', 40, { token: 'away-token' }),
    bench.client(),
    bench.client('phone', 50, { token: 'bob-token' }),
  ];
  for (const line of text.split('\n').slice(0, 50)) {
    const party = parties[line.charCodeAt(0) % parties.length];
    const space = line.indexOf(' ');
    if (!party || space < 0) continue;
    bench.send(party, line.slice(1, space), jsonOf(line.slice(space + 1)));
    bench.advance(100);
  }
  const granted = bench.portal.snapshot().authorizations;
  if (granted.some((row) => row['resourceId'] === R3))
    throw new Error('granted what no rule gives');
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
