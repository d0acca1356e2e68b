// The relay's answers, request by request (relay 5, 8.2).

import { describe, expect, it } from 'vitest';
import {
  PEER,
  PEER_V6,
  parsed,
  RELAY_V4,
  STAMP_SECRET,
  TurnWorld,
} from '../../../../test/support/turn-world.ts';
import * as vectors from '../../../../test/vectors/stun.ts';
import type { Endpoint, IpFamily } from '../../../base/address.ts';
import { toHex } from '../../../base/bytes.ts';
import { SILENT_LOG } from '../../../base/log.ts';
import { SeededRandom } from '../../../base/random.ts';
import { instant, later, unixMillis, WallClock } from '../../../base/time.ts';
import { createSeededCrypto } from '../../../io/crypto/seeded-crypto.ts';
import type { StunAttribute } from '../../../wire/stun/attributes.ts';
import { longTermKey, verifyIntegrity } from '../../../wire/stun/integrity.ts';
import {
  findAttribute,
  parseStun,
  STUN_METHOD,
  type StunMessage,
  writeStun,
} from '../../../wire/stun/message.ts';
import { createStampSecret, findUser, relayPassword } from './credentials.ts';
import { isNonce, Nonces, USES_PER_NONCE } from './nonces.ts';
import { TurnServer } from './server.ts';
import type { TurnServerCommand, TurnServerConfig } from './server-types.ts';

const crypto = createSeededCrypto(11);
const CLIENT = parsed('203.0.113.9:40000');
const OTHER = parsed('203.0.113.9:40001');
const USERNAME = '1999999999:lab-salt';
const TRANSPORT: StunAttribute = { kind: 'requested-transport', value: 17 };
const DUAL: StunAttribute = { kind: 'additional-address-family', value: 6 };

/** One who speaks STUN by hand. */
class Asker {
  readonly server: TurnServer;
  now = instant(0);
  readonly commands: TurnServerCommand[] = [];
  opens = true;
  #transaction = 0;
  readonly #nonces = new Map<string, string>();

  constructor(config: Partial<TurnServerConfig> = {}) {
    this.server = new TurnServer(
      {
        publicAddresses: [RELAY_V4.address, parsed('[2001:db8::7]:1').address],
        ports: { lowest: 49152, highest: 65535 },
        software: 'firezone-relay; rev=xxxxxxxx',
        stampSecret: STAMP_SECRET,
        peerPolicy: { allowsLoopback: false, denied: [] },
        ...config,
      },
      {
        crypto,
        random: new SeededRandom(1),
        wallClock: new WallClock(instant(0), unixMillis(1_767_225_600_000)),
        log: SILENT_LOG,
      },
    );
  }

  pass(milliseconds: number): void {
    this.now = later(this.now, milliseconds);
    this.server.handleTimeout(this.now);
    this.runCommands();
  }

  /** As it stands. */
  raw(bytes: Uint8Array, from: Endpoint = CLIENT): StunMessage | undefined {
    this.server.handleDatagram(bytes, from, RELAY_V4, this.now);
    this.runCommands();
    const answer = this.server.pollTransmit();
    return answer && parseStun(answer.payload);
  }

  runCommands(): void {
    for (;;) {
      const command = this.server.pollCommand();
      if (!command) return;
      this.commands.push(command);
      if (command.kind !== 'open-sockets') continue;
      if (this.opens) this.server.handleSocketsOpened(command.allocation, this.now);
      else this.server.handleSocketsFailed(command.allocation);
    }
  }

  /** Authenticated; fetches a nonce first if it has none. */
  ask(
    method: number,
    attributes: readonly StunAttribute[],
    options: { from?: Endpoint; username?: string; password?: string; transaction?: number } = {},
  ): StunMessage | undefined {
    const { from = CLIENT, username = USERNAME, transaction = ++this.#transaction } = options;
    const [expiry = '', salt = ''] = username.split(':');
    const password = options.password ?? relayPassword(expiry, STAMP_SECRET, salt, crypto);
    const nonce = this.#nonces.get(from.key) ?? this.fetchNonce(from);
    return this.raw(
      writeStun(
        {
          method,
          class: 'request',
          transactionId: transactionId(transaction),
          attributes: [
            ...attributes,
            { kind: 'username', value: username },
            { kind: 'realm', value: 'firezone' },
            { kind: 'nonce', value: nonce },
          ],
          integrityKey: longTermKey(username, 'firezone', password, crypto),
        },
        crypto,
      ),
      from,
    );
  }

  fetchNonce(from: Endpoint): string {
    const answer = this.raw(request(STUN_METHOD.allocate, [TRANSPORT]), from);
    const nonce = (answer && findAttribute(answer, 'nonce')) ?? '';
    this.#nonces.set(from.key, nonce);
    return nonce;
  }

  allocate(
    attributes: readonly StunAttribute[] = [TRANSPORT, DUAL],
    options: Parameters<Asker['ask']>[2] = {},
  ): StunMessage | undefined {
    return this.ask(STUN_METHOD.allocate, attributes, options);
  }

  bind(number: number, peer: Endpoint, from: Endpoint = CLIENT): StunMessage | undefined {
    return this.ask(
      STUN_METHOD.channelBind,
      [
        { kind: 'channel-number', value: number },
        { kind: 'xor-peer-address', value: peer },
      ],
      { from },
    );
  }

  refresh(lifetime?: number, from: Endpoint = CLIENT): StunMessage | undefined {
    const attributes: StunAttribute[] =
      lifetime === undefined ? [] : [{ kind: 'lifetime', value: lifetime }];
    return this.ask(STUN_METHOD.refresh, attributes, { from });
  }
}

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

function request(method: number, attributes: readonly StunAttribute[]): Uint8Array {
  const message = {
    method,
    class: 'request',
    transactionId: transactionId(0),
    attributes,
  } as const;
  return writeStun(message, crypto);
}

function transactionId(number: number): Uint8Array {
  const bytes = new Uint8Array(12);
  new DataView(bytes.buffer).setUint32(8, number);
  return bytes;
}

function code(message: StunMessage | undefined): number | undefined {
  return message && findAttribute(message, 'error-code')?.code;
}

function isSigned(message: StunMessage | undefined): boolean {
  const user = findUser(USERNAME, STAMP_SECRET, crypto, unixMillis(0));
  return user !== undefined && message !== undefined && verifyIntegrity(message, user.key, crypto);
}
