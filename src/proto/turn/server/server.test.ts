// The relay's answers, request by request (relay 5, 8.2).

import { describe, expect, it } from 'vitest';
import {
  Asker,
  CLIENT,
  code,
  crypto,
  DUAL,
  isSigned,
  OTHER,
  request,
  TRANSPORT,
  USERNAME,
} from '../../../../test/support/turn-asker.ts';
import {
  PEER,
  PEER_V6,
  parsed,
  RELAY_V4,
  STAMP_SECRET,
  TurnWorld,
} from '../../../../test/support/turn-world.ts';
import * as vectors from '../../../../test/vectors/stun.ts';
import type { IpFamily } from '../../../base/address.ts';
import { toHex } from '../../../base/bytes.ts';
import { instant, unixMillis } from '../../../base/time.ts';
import type { StunAttribute } from '../../../wire/stun/attributes.ts';
import { findAttribute, STUN_METHOD } from '../../../wire/stun/message.ts';
import { createStampSecret, findUser, relayPassword } from './credentials.ts';
import { isNonce, Nonces, USES_PER_NONCE } from './nonces.ts';

describe('BINDING', () => {
  it('answers with the sender, SOFTWARE first, unsigned: vector F2', () => {
    const server = new Asker().server;
    server.handleDatagram(vectors.bindingRequest, CLIENT, RELAY_V4, instant(0));
    const answer = server.pollTransmit();
    expect(toHex(answer?.payload ?? new Uint8Array())).toBe(toHex(vectors.bindingSuccess));
    expect(answer?.source).toBe(RELAY_V4);
  });

  it('answers nobody at port 0, and limits answers by source', () => {
    const asker = new Asker();
    expect(asker.raw(vectors.bindingRequest, parsed('203.0.113.9:0'))).toBeUndefined();
    let answers = 0;
    for (let i = 0; i < 2000; i++) if (asker.raw(vectors.bindingRequest)) answers += 1;
    expect(answers).toBe(500);
    expect(asker.server.counters.get('rate-limited')).toBe(1500);
    expect(asker.raw(vectors.bindingRequest, parsed('203.0.113.10:40000'))).toBeDefined();
    asker.pass(1000);
    expect(asker.raw(vectors.bindingRequest)).toBeDefined();
  });

  it('does not limit who has an allocation: somebody else may use up the share of its address', () => {
    const asker = new Asker();
    asker.allocate();
    for (let i = 0; i < 2000; i++) asker.raw(vectors.bindingRequest, OTHER);
    expect(asker.raw(vectors.bindingRequest, OTHER)).toBeUndefined();
    expect(asker.raw(vectors.bindingRequest, CLIENT)?.class).toBe('success');
    expect(asker.refresh()?.class).toBe('success');
  });

  it('says nothing to responses and indications, and to what is not STUN', () => {
    const asker = new Asker();
    for (const bytes of [vectors.bindingSuccess, vectors.allocate401, new Uint8Array(3)]) {
      expect(asker.raw(bytes)).toBeUndefined();
    }
    expect(asker.server.counters.snapshot()).toEqual({ 'not-a-request': 2, 'not-turn': 1 });
  });
});

describe('authentication', () => {
  it('signs its 401 if the request names a user: vector F3 is answered as F4 is', () => {
    const answer = new Asker().raw(vectors.allocateFirst);
    expect(answer?.attributes.map(({ kind }) => kind)).toEqual([
      'software',
      'error-code',
      'realm',
      'nonce',
      'message-integrity',
    ]);
    expect(code(answer)).toBe(401);
    expect(isNonce((answer && findAttribute(answer, 'nonce')) ?? '')).toBe(true);
    expect(isSigned(answer)).toBe(true);
  });

  it('does not sign without a user, and is silent to a name that is none of ours', () => {
    const asker = new Asker();
    const answer = asker.raw(request(STUN_METHOD.allocate, [TRANSPORT]));
    expect(code(answer)).toBe(401);
    expect(answer?.integrityOffset).toBeUndefined();
    for (const value of ['', 'lab', 'x:lab', '1:2:3', '99999999999999999999:x', '-1:x']) {
      const named = request(STUN_METHOD.allocate, [TRANSPORT, { kind: 'username', value }]);
      expect(asker.raw(named)).toBeUndefined();
    }
  });

  it('refuses a wrong password, an expired name, a foreign nonce and one that is no nonce', () => {
    const asker = new Asker();
    expect(code(asker.allocate([TRANSPORT], { password: 'wrong' }))).toBe(401);
    expect(code(asker.allocate([TRANSPORT], { username: '1767225599:x' }))).toBe(401);
    expect(code(asker.allocate([TRANSPORT], { username: '1767225600:x' }))).toBeUndefined();
    const stale = asker.raw(vectors.allocateWithNonce, OTHER);
    expect(code(stale)).toBe(438);
    expect(isSigned(stale)).toBe(true);
    expect(stale && findAttribute(stale, 'nonce')).toBeDefined();
  });

  it('counts the uses of a nonce, issues the same one until they are used up, none to others', () => {
    const nonces = new Nonces(crypto);
    const nonce = nonces.issue('a');
    expect(nonces.issue('a')).toBe(nonce);
    expect(nonces.issue('b')).not.toBe(nonce);
    expect(nonces.isValid('b', nonce)).toBe(false);
    for (let use = 0; use < USES_PER_NONCE; use++) {
      expect(nonces.isValid('a', nonce)).toBe(true);
      nonces.use('a');
    }
    expect(nonces.isValid('a', nonce)).toBe(false);
    expect(nonces.issue('a')).not.toBe(nonce);
  });

  it('derives the passwords of relay 9.3', () => {
    expect(relayPassword('1999999999', STAMP_SECRET, 'lab-salt', crypto)).toBe(
      'AXjZm6KYTM0L56saSnziYJvmPDS72e/aB0CFjB9QSLE',
    );
    const salt = 'nFnd+6OR+aol53lKW0US+viDVqOsw+Gi+aQEzfIdCvg';
    expect(relayPassword('2145916800', STAMP_SECRET, salt, crypto)).toBe(
      'flHgM3nubIYr3mvmRycpQb2cYQmpxq50jYbket9228k',
    );
    const user = findUser(USERNAME, STAMP_SECRET, crypto, unixMillis(0));
    expect(toHex(user?.key ?? new Uint8Array())).toBe('5ee9f00edf20ab7b43a2aafb32059c20');
    expect(createStampSecret(crypto)).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe('ALLOCATE', () => {
  it('without REQUESTED-TRANSPORT is a bad request, unsigned', () => {
    const answer = new Asker().allocate([]);
    expect(code(answer)).toBe(400);
    expect(answer?.integrityOffset).toBeUndefined();
  });

  it('succeeds with addresses, mapped address, lifetime and signature in this order', () => {
    const answer = new Asker().allocate();
    expect(answer?.class).toBe('success');
    expect(answer?.attributes.map(({ kind }) => kind)).toEqual([
      'software',
      'xor-relayed-address',
      'xor-relayed-address',
      'xor-mapped-address',
      'lifetime',
      'message-integrity',
    ]);
    expect(isSigned(answer)).toBe(true);
    expect(answer && findAttribute(answer, 'lifetime')).toBe(600);
  });

  const families: readonly [
    IpFamily | undefined,
    IpFamily | undefined,
    ...(number | readonly number[])[],
  ][] = [
    // requested, additional, relay IPv4 only, IPv6 only, both
    [undefined, undefined, [4], 440, [4]],
    [4, undefined, [4], 440, [4]],
    [6, undefined, 440, [6], [6]],
    [undefined, 6, [4], [6], [4, 6]],
    [undefined, 4, 400, 400, 400],
    [4, 6, 400, 400, 400],
    [6, 4, 400, 400, 400],
  ];
  it.each(families)('families: requested %s, additional %s', (requested, additional, ...rows) => {
    const available = [[RELAY_V4.address], [PEER_V6.address], [RELAY_V4.address, PEER_V6.address]];
    for (const [i, publicAddresses] of available.entries()) {
      const attributes: StunAttribute[] = [TRANSPORT];
      if (requested) attributes.push({ kind: 'requested-address-family', value: requested });
      if (additional) attributes.push({ kind: 'additional-address-family', value: additional });
      const answer = new Asker({ publicAddresses }).allocate(attributes);
      const granted = answer?.attributes.flatMap(({ kind, value }) =>
        kind === 'xor-relayed-address' ? [value.address.includes(':') ? 6 : 4] : [],
      );
      expect(code(answer) ?? granted).toEqual(rows[i]);
    }
  });

  it('again: 437 with another transaction, the same answer with the same', () => {
    const asker = new Asker();
    asker.fetchNonce(CLIENT);
    const first = asker.allocate(undefined, { transaction: 77 });
    const again = asker.allocate(undefined, { transaction: 77 });
    expect(toHex(again?.raw ?? new Uint8Array())).toBe(toHex(first?.raw ?? new Uint8Array(1)));
    expect(code(asker.allocate(undefined, { transaction: 78 }))).toBe(437);
    expect(asker.server.allocationCount).toBe(1);
  });

  it('from another socket of the same user replaces the first, with its channels', () => {
    const asker = new Asker();
    asker.allocate();
    asker.bind(0x4000, PEER);
    expect(asker.allocate(undefined, { from: OTHER })?.class).toBe('success');
    expect(asker.server.snapshot()).toMatchObject({ allocationCount: 1, boundChannelCount: 0 });
    expect(code(asker.refresh(undefined, CLIENT))).toBe(437);
    expect(asker.commands.map(({ kind }) => kind)).toEqual([
      'open-sockets',
      'close-sockets',
      'open-sockets',
    ]);
  });

  it('is refused with 508 when no port is left, but a user who roams frees his own', () => {
    const asker = new Asker({ ports: { lowest: 50000, highest: 50000 } });
    expect(asker.allocate()?.class).toBe('success');
    expect(code(asker.allocate(undefined, { from: OTHER, username: '1999999999:b' }))).toBe(508);
    expect(asker.allocate(undefined, { from: OTHER })?.class).toBe('success');
  });

  it('tries other ports when one cannot be opened, and answers 508 in the end', () => {
    const asker = new Asker();
    asker.opens = false;
    expect(code(asker.allocate())).toBe(508);
    const ports = asker.commands.flatMap((c) => (c.kind === 'open-sockets' ? [c.port] : []));
    expect(new Set(ports).size).toBe(8);
    expect(asker.server.allocationCount).toBe(0);
    asker.opens = true;
    expect(asker.allocate()?.class).toBe('success');
  });

  it('grants at most an hour', () => {
    const answer = new Asker().allocate([TRANSPORT, { kind: 'lifetime', value: 7200 }]);
    expect(answer && findAttribute(answer, 'lifetime')).toBe(3600);
  });

  it('with a value that cannot be read is a bad request; so is a method that nobody knows', () => {
    const asker = new Asker();
    const family: StunAttribute = {
      kind: 'unknown',
      value: { type: 0x0017, bytes: Uint8Array.of(3, 0, 0, 0) },
    };
    expect(code(asker.raw(request(STUN_METHOD.allocate, [TRANSPORT, family])))).toBe(400);
    expect(code(asker.raw(request(0x00a, [])))).toBe(400);
  });
});

describe('REFRESH', () => {
  it('prolongs from now on', () => {
    const asker = new Asker();
    asker.allocate();
    asker.pass(500_000);
    expect(asker.refresh()?.class).toBe('success');
    asker.pass(599_999);
    expect(asker.server.allocationCount).toBe(1);
    asker.pass(1);
    expect(asker.server.allocationCount).toBe(0);
    expect(asker.commands.at(-1)).toMatchObject({ kind: 'close-sockets', families: [4, 6] });
    expect(code(asker.refresh())).toBe(437);
  });

  it('with lifetime 0 deletes, and nothing is left of the channels', () => {
    const asker = new Asker();
    asker.allocate();
    asker.bind(0x4000, PEER);
    const answer = asker.refresh(0);
    expect(answer && findAttribute(answer, 'lifetime')).toBe(0);
    expect(asker.server.pollTimeout()).toBeUndefined();
    expect(asker.allocate()?.class).toBe('success');
    expect(asker.bind(0x4000, PEER_V6)?.class).toBe('success');
  });
});

it('new credentials on the same socket may delete what the old ones allocated', () => {
  const asker = new Asker();
  const renewed = { username: '1999999999:renewed' };
  asker.allocate();
  expect(code(asker.allocate(undefined, renewed))).toBe(437);
  const lifetime: StunAttribute = { kind: 'lifetime', value: 0 };
  expect(asker.ask(STUN_METHOD.refresh, [lifetime], renewed)?.class).toBe('success');
  expect(asker.allocate(undefined, renewed)?.class).toBe('success');
});

describe('CHANNEL-BIND', () => {
  it('needs an allocation of the family, a number and a peer', () => {
    const asker = new Asker();
    expect(code(asker.bind(0x4000, PEER))).toBe(437);
    asker.allocate([TRANSPORT]);
    expect(code(asker.bind(0x4000, PEER_V6))).toBe(443);
    expect(code(asker.ask(STUN_METHOD.channelBind, []))).toBe(400);
    expect(isSigned(asker.bind(0x4000, PEER))).toBe(true);
  });

  it('one number, one peer', () => {
    const asker = new Asker();
    asker.allocate();
    expect(asker.bind(0x4000, PEER)?.class).toBe('success');
    expect(asker.bind(0x4000, PEER)?.class).toBe('success');
    expect(code(asker.bind(0x4001, PEER))).toBe(400);
    expect(code(asker.bind(0x4000, PEER_V6))).toBe(400);
  });

  it('is silent at 600 s, taken until 900 s, and revived by the same pair', () => {
    const asker = new Asker();
    asker.allocate([TRANSPORT, DUAL, { kind: 'lifetime', value: 3600 }]);
    asker.bind(0x4000, PEER);
    expect(asker.server.pollTimeout()).toBe(600_000);
    asker.pass(600_000);
    expect(asker.server.snapshot().boundChannelCount).toBe(0);
    expect(code(asker.bind(0x4000, PEER_V6))).toBe(400);
    expect(asker.server.pollTimeout()).toBe(900_000);
    expect(asker.bind(0x4000, PEER)?.class).toBe('success');
    expect(asker.server.snapshot().boundChannelCount).toBe(1);
    asker.pass(900_000);
    expect(asker.bind(0x4000, PEER_V6)?.class).toBe('success');
  });

  it.each([
    '127.0.0.1:9',
    '[::1]:9',
    '[::ffff:127.0.0.1]:9',
    '169.254.169.254:80',
    '[fe80::1]:9',
    '0.0.0.0:9',
    '224.0.0.1:9',
    '255.255.255.255:9',
    '192.0.2.33:0',
  ])('is forbidden for %s', (peer) => {
    const asker = new Asker();
    asker.allocate();
    expect(code(asker.bind(0x4000, parsed(peer)))).toBe(403);
  });

  it('CREATE-PERMISSION succeeds and does nothing', () => {
    const asker = new Asker();
    expect(asker.ask(STUN_METHOD.createPermission, [])?.class).toBe('success');
  });
});

it('many clients share one relay', () => {
  const world = new TurnWorld();
  for (let i = 0; i < 50; i++) {
    const client = world.addClient({ port: 41_000 + i, salt: `salt${i}` });
    client.allocation.bindChannel(PEER, world.now);
  }
  world.advance(20 * 60_000);
  expect(world.server.snapshot()).toMatchObject({ allocationCount: 50 });
  expect(world.clients.flatMap((client) => client.takeEvents().filter(isFailure))).toEqual([]);
});

function isFailure(event: string): boolean {
  return event.startsWith('failed') || event.startsWith('candidate-removed');
}
