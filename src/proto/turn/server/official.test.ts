// Our relay is asked what the official gateway asked the official relay, with the same secret and the same luck: it answers byte
// for byte the same.

import { expect, it } from 'vitest';
import { parsed } from '../../../../test/support/turn-world.ts';
import {
  OFFICIAL_CLIENT,
  OFFICIAL_EXCHANGES,
  OFFICIAL_RELAY,
  OFFICIAL_RELAY_ADDRESSES,
  OFFICIAL_SOFTWARE,
  OFFICIAL_STAMP_SECRET,
} from '../../../../test/vectors/official-relay.ts';
import { parseIp } from '../../../base/address.ts';
import { fromHex, toHex } from '../../../base/bytes.ts';
import { SILENT_LOG } from '../../../base/log.ts';
import { instant, unixMillis, WallClock } from '../../../base/time.ts';
import { createNodeCrypto } from '../../../io/crypto/node-crypto.ts';
import { findAttribute, parseStun } from '../../../wire/stun/message.ts';
import { TurnServer } from './server.ts';

it('answers the official gateway byte for byte as the official relay did', () => {
  const answers = OFFICIAL_EXCHANGES.map(({ response }) => parseStun(response));
  const find = <K extends 'nonce' | 'xor-relayed-address'>(kind: K) =>
    answers.map((answer) => answer && findAttribute(answer, kind)).find(Boolean);
  const nonce = fromHex((find('nonce') ?? '').replaceAll('-', '')) ?? new Uint8Array();
  const port = find('xor-relayed-address')?.port ?? 0;
  const crypto = createNodeCrypto(() => nonce);
  const server = new TurnServer(
    {
      publicAddresses: OFFICIAL_RELAY_ADDRESSES.map((text) => parseIp(text) ?? failing()),
      ports: { lowest: 49152, highest: 65535 },
      software: OFFICIAL_SOFTWARE,
      stampSecret: OFFICIAL_STAMP_SECRET,
      peerPolicy: { allowsLoopback: false, denied: [] },
    },
    {
      crypto,
      random: { next: () => (port - 49152) / 16384 },
      wallClock: new WallClock(instant(0), unixMillis(1_795_000_000_000)),
      log: SILENT_LOG,
    },
  );
  const client = parsed(OFFICIAL_CLIENT);
  const relay = parsed(OFFICIAL_RELAY);
  for (const { name, request, response } of OFFICIAL_EXCHANGES) {
    server.handleDatagram(request, client, relay, instant(0));
    const command = server.pollCommand();
    if (command?.kind === 'open-sockets')
      server.handleSocketsOpened(command.allocation, instant(0));
    const answer = server.pollTransmit();
    expect(`${name} ${toHex(answer?.payload ?? new Uint8Array())}`).toBe(
      `${name} ${toHex(response)}`,
    );
  }
  expect(OFFICIAL_EXCHANGES.length).toBeGreaterThan(4);
});

function failing(): never {
  throw new Error('not an address');
}
