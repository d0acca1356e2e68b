// The NAT matrix: every position of a client with every position of a gateway. Direct wherever hole punching can do it, relayed wherever a relay can be
// reached, and never later than the bound. The golden table shows what comes out, so that a change of it is seen: `npm run golden` writes it anew.

import { beforeAll, describe, expect, test } from 'vitest';
import { isDirectPossible } from './hole-punching.ts';
import {
  matrixWorld,
  measure,
  type Outcome,
  type PathKind,
  ROUND_TRIP_MS,
} from './matrix-world.ts';
import { POSITIONS, type Position } from './positions.ts';

type Mode = 'ICE' | 'without ICE';

interface Cell {
  readonly mode: Mode;
  readonly client: Position;
  readonly gateway: Position;
  readonly outcome: Outcome;
}

/** To the gateway and back by the portal, to the relay and back, a handshake, the packet and its answer; and one round trip more. */
const LATEST_MS: Readonly<Record<PathKind, number>> = {
  none: 0,
  direct: 5 * ROUND_TRIP_MS,
  // By two relays a round trip takes three times as long.
  relayed: 5 * ROUND_TRIP_MS + 6 * ROUND_TRIP_MS,
};

/** Without UDP a relay can still be reached by TCP. */
function expectedKind(client: Position, gateway: Position): PathKind {
  return isDirectPossible(client, gateway) ? 'direct' : 'relayed';
}

const all: Cell[] = [];

describe.each(['ICE', 'without ICE'] as const)(
  'connectivity 11.16: at every pair of positions, %s',
  (mode) => {
    let cells: readonly Cell[] = [];

    beforeAll(() => {
      cells = POSITIONS.flatMap((client) =>
        POSITIONS.map((gateway) => {
          const world = matrixWorld(client, gateway);
          world.useIceless = mode === 'without ICE';
          return { mode, client, gateway, outcome: measure(world) };
        }),
      );
      all.push(...cells);
    }, 120_000);

    test('data goes directly where it is possible, and by a relay where not', () => {
      const wrong = cells
        .filter(({ client, gateway, outcome }) => outcome.kind !== expectedKind(client, gateway))
        .map(({ client, gateway, outcome }) => `${client.name} - ${gateway.name}: ${outcome.kind}`);
      expect(wrong).toEqual([]);
    });

    test('the first byte is there in time', () => {
      const late = cells
        // Without ICE the first byte may go by the relays in any case.
        .filter(({ outcome: { kind, firstByteMs = 0 } }) => {
          return firstByteMs > LATEST_MS[mode === 'ICE' || kind === 'none' ? kind : 'relayed'];
        })
        .map(
          ({ client, gateway, outcome }) =>
            `${client.name} - ${gateway.name}: ${outcome.firstByteMs}`,
        );
      expect(late).toEqual([]);
    });
  },
);

test('the table is as it was', async () => {
  const tables = (['ICE', 'without ICE'] as const).map((mode) => {
    return `## ${mode === 'ICE' ? 'With ICE' : 'Without ICE'}\n\n${table(all.filter((cell) => cell.mode === mode))}`;
  });
  await expect(`${HEADING}\n\n${tables.join('\n')}`).toMatchFileSnapshot('matrix.golden.md');
});

function table(cells: readonly Cell[]): string {
  const names = POSITIONS.map(({ name }) => name);
  const row = (cellsOfRow: readonly string[]): string => `| ${cellsOfRow.join(' | ')} |`;
  const rows = POSITIONS.map((client) => {
    const texts = cells
      .filter((cell) => cell.client === client)
      .map(({ outcome }) => text(outcome));
    return row([client.name, ...texts]);
  });
  return `${[row(['client \\ gateway', ...names]), row(['---', ...names.map(() => '---')]), ...rows].join('\n')}\n`;
}

function text({ kind, firstByteMs }: Outcome): string {
  return kind === 'none' ? 'none' : `${kind} ${firstByteMs}`;
}

const HEADING = `# NAT matrix

Kind of path, and milliseconds from the client's question to the portal until the first byte of an answer from behind the gateway, at a round trip of ${ROUND_TRIP_MS} ms between
any two of client, gateway, relay and portal. NAT x/y: mapping x, filtering y after RFC 4787 (independent of, or by address or by address and port of, the other end).
Written by \`npm run golden\`; \`npm test\` compares.`;
