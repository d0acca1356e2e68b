// One agent against hand-made messages: what it answers, ignores and remembers (connectivity 5.10 to 5.14; 11.6, 11.8 to 11.14).

import { describe, expect, it } from 'vitest';
import { CLIENT_CREDENTIALS, GATEWAY_CREDENTIALS } from '../../../test/support/ice-world.ts';
import { ep } from '../../../test/support/virtual-network.ts';
import type { Endpoint } from '../../base/address.ts';
import { SILENT_LOG } from '../../base/log.ts';
import { type Instant, instant } from '../../base/time.ts';
import { createSeededCrypto } from '../../io/crypto/seeded-crypto.ts';
import {
  findAttribute,
  parseStun,
  STUN_METHOD,
  type StunMessage,
  writeStun,
} from '../../wire/stun/message.ts';
import { IceAgent } from './agent.ts';
import type { IceAgentConfig, IceTransmit } from './agent-types.ts';
import {
  type BindingRequestInput,
  writeBindingRequest,
  writeBindingSuccess,
  writeRoleConflict,
} from './binding-messages.ts';
import { parseCandidate } from './candidate.ts';
import { MAX_LEARNED_REMOTE_CANDIDATES } from './remote-candidates.ts';
import { GATEWAY_TIMING } from './timing.ts';

const crypto = createSeededCrypto(9);
const NOW = instant(0);
const HOST = ep('10.0.0.1:52625');
const PEER = ep('192.0.2.1:52625');

/** A gateway's agent with one host candidate. */
class Subject {
  readonly agent: IceAgent;

  constructor(config: Partial<IceAgentConfig> = {}) {
    this.agent = new IceAgent(
      {
        role: 'controlled',
        localCredentials: GATEWAY_CREDENTIALS,
        remoteCredentials: CLIENT_CREDENTIALS,
        timing: GATEWAY_TIMING,
        ...config,
      },
      { crypto: createSeededCrypto(1), log: SILENT_LOG },
      NOW,
    );
    this.agent.addLocalCandidate({ kind: 'host', address: HOST, base: HOST }, NOW);
  }

  request(fields: Partial<BindingRequestInput> = {}, source = PEER, now = NOW): boolean {
    const message = parse(request(fields));
    return this.agent.handleStun(message, { source, local: HOST }, now);
  }

  /** Requests that the agent wants to send at that time. */
  checks(now: Instant = NOW): { message: StunMessage; out: IceTransmit }[] {
    this.agent.handleTimeout(now);
    return this.sent().filter(({ message }) => message.class === 'request');
  }

  sent(): { message: StunMessage; out: IceTransmit }[] {
    const all: { message: StunMessage; out: IceTransmit }[] = [];
    for (let out = this.agent.pollTransmit(); out; out = this.agent.pollTransmit()) {
      all.push({ message: parse(out.payload), out });
    }
    return all;
  }

  answer(check: { message: StunMessage }, fields: { from?: Endpoint; mapped?: Endpoint } = {}) {
    const { password } = CLIENT_CREDENTIALS;
    const id = check.message.transactionId;
    const bytes = writeBindingSuccess(id, fields.mapped ?? HOST, password, crypto);
    const path = { source: fields.from ?? PEER, local: HOST };
    return this.agent.handleStun(parse(bytes), path, NOW);
  }

  addRemote(text: string) {
    const candidate = parseCandidate(`candidate:f 1 udp ${text}`);
    return candidate && this.agent.addRemoteCandidate(candidate, NOW);
  }

  removeRemote(text: string) {
    const candidate = parseCandidate(`candidate:f 1 udp ${text}`);
    return candidate && this.agent.removeRemoteCandidate(candidate, NOW);
  }

  get drops() {
    return this.agent.snapshot().drops;
  }
}

function request(fields: Partial<BindingRequestInput> = {}): Uint8Array {
  return writeBindingRequest(
    {
      receiverUfrag: GATEWAY_CREDENTIALS.ufrag,
      senderUfrag: CLIENT_CREDENTIALS.ufrag,
      password: GATEWAY_CREDENTIALS.password,
      role: 'controlling',
      tieBreaker: 1n,
      priority: 1862270719,
      useCandidate: false,
      transactionId: crypto.randomBytes(12),
      ...fields,
    },
    crypto,
  );
}

function parse(bytes: Uint8Array): StunMessage {
  const message = parseStun(bytes);
  if (!message) throw new Error('not a STUN message');
  return message;
}

describe('a request', () => {
  it('is answered with the address it came from, on the path it came by', () => {
    const subject = new Subject();
    expect(subject.request()).toBe(true);
    const [answer, ...others] = subject.sent();
    expect(others).toEqual([]);
    expect(answer?.out).toMatchObject({ local: HOST, remote: PEER });
    expect(answer?.out.transactionId).toBeUndefined();
    expect(answer?.message.class).toBe('success');
    expect(answer && findAttribute(answer.message, 'xor-mapped-address')).toEqual(PEER);
  });

  it('from an unknown address makes a peer-reflexive candidate and a check the other way', () => {
    const subject = new Subject();
    subject.request();
    expect(subject.agent.remoteCandidates()).toMatchObject([
      { kind: 'prflx', address: PEER, priority: 1862270719 },
    ]);
    const checks = subject.checks();
    expect(checks.map(({ out }) => out.remote.key)).toEqual([PEER.key]);
  });

  it.each([
    ['wrong-username', { receiverUfrag: 'else' }],
    ['wrong-username', { senderUfrag: 'else' }],
    ['not-authenticated', { password: 'wrong' }],
  ])('is dropped silently: %s', (reason, fields) => {
    const subject = new Subject();
    expect(subject.request(fields)).toBe(false);
    expect(subject.sent()).toEqual([]);
    expect(subject.drops).toEqual({ [reason]: 1 });
    expect(subject.agent.remoteCandidates()).toEqual([]);
  });

  it('to what is not, or no longer, a candidate of ours leaves no trace', () => {
    const subject = new Subject();
    const message = parse(request());
    const elsewhere = { source: PEER, local: ep('10.0.0.9:1') };
    expect(subject.agent.handleStun(message, elsewhere, NOW)).toBe(false);
    subject.agent.removeLocalCandidate({ kind: 'host', address: HOST, base: HOST }, NOW);
    expect(subject.request()).toBe(false);
    expect(subject.sent()).toEqual([]);
    expect(subject.agent.remoteCandidates()).toEqual([]);
    expect(subject.drops).toEqual({ 'no-local-candidate': 2 });
  });

  it('from an address that the peer removed is ignored', () => {
    const subject = new Subject();
    subject.addRemote(`7 ${PEER.address} ${PEER.port} typ host`);
    subject.removeRemote(`7 ${PEER.address} ${PEER.port} typ host`);
    expect(subject.request()).toBe(false);
    expect(subject.sent()).toEqual([]);
    expect(subject.drops).toEqual({ 'remote-refused': 1 });
  });

  it('can make few candidates only', () => {
    const subject = new Subject();
    for (let port = 1; port <= 50; port++) subject.request({}, ep(`192.0.2.1:${port}`));
    expect(subject.agent.remoteCandidates()).toHaveLength(MAX_LEARNED_REMOTE_CANDIDATES);
    expect(subject.addRemote('7 198.51.100.1 9 typ host')).toBe('added');
  });

  it('does not make a pair of its own where host and server-reflexive address are the same', () => {
    const subject = new Subject();
    subject.agent.addLocalCandidate({ kind: 'srflx', address: HOST, base: HOST }, NOW);
    subject.addRemote(`9 ${PEER.address} ${PEER.port} typ host`);
    subject.addRemote(`7 ${PEER.address} ${PEER.port} typ srflx`);
    subject.request();
    expect(subject.agent.snapshot().pairs).toHaveLength(1);
  });

  it('that nominates is followed at once, and checked in the other direction', () => {
    const subject = new Subject();
    subject.addRemote(`9 ${PEER.address} ${PEER.port} typ host`);
    subject.checks();
    expect(subject.request({ useCandidate: true })).toBe(true);
    const events = [subject.agent.pollEvent(), subject.agent.pollEvent()];
    expect(events).toContainEqual({
      kind: 'nominated',
      local: HOST,
      remote: PEER,
      localKind: 'host',
      remoteKind: 'host',
    });
    expect(subject.agent.pollTimeout()).toBe(NOW);
    const [, check] = [subject.sent(), subject.checks()[0]];
    expect(check?.out.remote).toEqual(PEER);
    // A controlled agent never nominates.
    expect(check && findAttribute(check.message, 'use-candidate')).toBeUndefined();
    subject.request({ useCandidate: true });
    expect(subject.agent.pollEvent()).toMatchObject({ kind: 'state' });
    expect(subject.agent.pollEvent()).toBeUndefined();
  });

  it('that nominates is dropped by a controlling agent', () => {
    const subject = new Subject({ role: 'controlling' });
    expect(subject.request({ role: 'controlled', useCandidate: true })).toBe(false);
    expect(subject.sent()).toEqual([]);
    expect(subject.drops).toEqual({ 'nominated-by-controlled': 1 });
  });
});

describe('a request before the remote credentials are known', () => {
  const { remoteCredentials: _, ...early } = {
    role: 'controlled' as const,
    localCredentials: GATEWAY_CREDENTIALS,
    remoteCredentials: undefined,
    timing: GATEWAY_TIMING,
  };
  const createEarly = (): IceAgent => {
    const agent = new IceAgent(early, { crypto: createSeededCrypto(1), log: SILENT_LOG }, NOW);
    agent.addLocalCandidate({ kind: 'host', address: HOST, base: HOST }, NOW);
    return agent;
  };
  const path = { source: PEER, local: HOST };

  it('is held and answered later, out of its own copy of the bytes', () => {
    const agent = createEarly();
    const bytes = request();
    expect(agent.handleStun(parse(bytes), path, NOW)).toBe(true);
    bytes.fill(0);
    agent.handleTimeout(NOW);
    expect(agent.pollTransmit()).toBeUndefined();
    agent.setRemoteCredentials(CLIENT_CREDENTIALS, instant(1000));
    const answer = agent.pollTransmit();
    expect(answer && parse(answer.payload).class).toBe('success');
  });

  it('is held if it is signed with our password only, a hundred at most', () => {
    const agent = createEarly();
    expect(agent.handleStun(parse(request({ password: 'wrong' })), path, NOW)).toBe(false);
    for (let i = 0; i < 150; i++) agent.handleStun(parse(request()), path, NOW);
    expect(agent.snapshot().heldRequests).toBe(100);
  });

  it('is not answered when it is too old, or of somebody else', () => {
    const agent = createEarly();
    agent.handleStun(parse(request()), path, NOW);
    agent.handleStun(parse(request({ senderUfrag: 'else' })), path, instant(700_000));
    agent.setRemoteCredentials(CLIENT_CREDENTIALS, instant(700_000));
    expect(agent.pollTransmit()).toBeUndefined();
    expect(agent.snapshot().drops).toEqual({ 'held-too-long': 1, 'wrong-username': 1 });
  });
});

describe('a response', () => {
  const start = (): { subject: Subject; check: { message: StunMessage; out: IceTransmit } } => {
    const subject = new Subject();
    subject.addRemote(`9 ${PEER.address} ${PEER.port} typ host`);
    const check = subject.checks()[0];
    if (!check) throw new Error('no check');
    return { subject, check };
  };

  it('makes the pair succeed', () => {
    const { subject, check } = start();
    expect(subject.answer(check)).toBe(true);
    expect(subject.agent.snapshot().pairs).toMatchObject([{ checkState: 'succeeded' }]);
  });

  it('from another address than the request went to is dropped', () => {
    const { subject, check } = start();
    expect(subject.answer(check, { from: ep('192.0.2.2:52625') })).toBe(false);
    expect(subject.drops).toEqual({ 'asymmetric-response': 1 });
  });

  it('with an unknown transaction id, or signed by another, is dropped', () => {
    const { subject, check } = start();
    const unknown = writeBindingSuccess(crypto.randomBytes(12), HOST, 'x', crypto);
    const path = { source: PEER, local: HOST };
    expect(subject.agent.handleStun(parse(unknown), path, NOW)).toBe(false);
    const id = check.message.transactionId;
    const foreign = writeBindingSuccess(id, HOST, GATEWAY_CREDENTIALS.password, crypto);
    expect(subject.agent.handleStun(parse(foreign), path, NOW)).toBe(false);
    expect(subject.drops).toEqual({ 'unknown-transaction': 1, 'not-authenticated': 1 });
  });

  it('with an unknown mapped address makes a peer-reflexive candidate without pairs', () => {
    const { subject, check } = start();
    subject.answer(check, { mapped: ep('198.51.100.7:40001') });
    expect(subject.agent.localCandidates().map(({ kind }) => kind)).toEqual(['host', 'prflx']);
    subject.addRemote('8 192.0.2.9 9 typ host');
    expect(subject.agent.snapshot().pairs).toHaveLength(2);
  });

  it('is the same for a second time, and for an earlier transaction', () => {
    const { subject, check } = start();
    const again = subject.checks(instant(250))[0];
    expect(again?.message.transactionId).not.toEqual(check.message.transactionId);
    expect(subject.answer(check)).toBe(true);
    expect(subject.answer(check)).toBe(true);
    expect(subject.agent.snapshot().pairs).toMatchObject([{ answered: 1, attempts: 2 }]);
  });
});

describe('a role conflict', () => {
  it('is settled by the larger tie-breaker', () => {
    const weak = new Subject({ role: 'controlling' });
    expect(weak.request({ role: 'controlling', tieBreaker: 2n ** 64n - 1n })).toBe(true);
    expect(weak.agent.role).toBe('controlled');
    const strong = new Subject({ role: 'controlling' });
    expect(strong.request({ role: 'controlling', tieBreaker: 0n })).toBe(false);
    const [answer] = strong.sent();
    expect(answer?.message.class).toBe('error');
    expect(strong.agent.role).toBe('controlling');
  });

  it('told by the peer makes us switch and check again, with another tie-breaker', () => {
    const subject = new Subject({ role: 'controlling' });
    subject.addRemote(`9 ${PEER.address} ${PEER.port} typ host`);
    const check = subject.checks()[0];
    if (!check) throw new Error('no check');
    const before = findAttribute(check.message, 'ice-controlling');
    const id = check.message.transactionId;
    const conflict = parse(writeRoleConflict(id, CLIENT_CREDENTIALS.password, crypto));
    expect(subject.agent.handleStun(conflict, { source: PEER, local: HOST }, NOW)).toBe(true);
    expect(subject.agent.role).toBe('controlled');
    const after = subject.checks()[0];
    const tieBreaker = after && findAttribute(after.message, 'ice-controlled');
    expect(tieBreaker).toBeDefined();
    expect(tieBreaker).not.toBe(before);
    // A second one for the same check is stale.
    expect(subject.agent.handleStun(conflict, { source: PEER, local: HOST }, NOW)).toBe(false);
    expect(subject.agent.role).toBe('controlled');
    expect(subject.drops).toEqual({ 'error-response': 1 });
  });
});

describe('what is no request and no response', () => {
  it('is ignored', () => {
    const subject = new Subject();
    const make = (method: number, cls: 'indication' | 'request'): StunMessage =>
      parse(
        writeStun(
          { method, class: cls, transactionId: crypto.randomBytes(12), attributes: [] },
          crypto,
        ),
      );
    for (const message of [
      make(STUN_METHOD.binding, 'indication'),
      make(STUN_METHOD.allocate, 'request'),
      make(0xfff, 'request'),
    ]) {
      expect(subject.agent.handleStun(message, { source: PEER, local: HOST }, NOW)).toBe(false);
    }
    expect(subject.drops).toEqual({ 'not-binding': 3 });
    expect(subject.sent()).toEqual([]);
  });
});

describe('the state', () => {
  const withoutLocal = (): IceAgent =>
    new IceAgent(
      {
        role: 'controlled',
        localCredentials: GATEWAY_CREDENTIALS,
        remoteCredentials: CLIENT_CREDENTIALS,
        timing: GATEWAY_TIMING,
      },
      { crypto: createSeededCrypto(1), log: SILENT_LOG },
      NOW,
    );

  it('is checking, never disconnected, while a side has no candidates', () => {
    const agent = withoutLocal();
    expect(agent.state).toBe('new');
    expect(agent.pollTimeout()).toBe(NOW);
    agent.handleTimeout(instant(1_000_000));
    expect(agent.state).toBe('checking');
    expect(agent.pollTimeout()).toBeUndefined();
    const candidate = parseCandidate('candidate:f 1 udp 7 192.0.2.1 9 typ host');
    if (candidate) agent.addRemoteCandidate(candidate, instant(1_000_000));
    expect(agent.state).toBe('checking');
  });

  it('is checking again when a candidate comes after disconnection', () => {
    const subject = new Subject();
    subject.addRemote('9 192.0.2.1 9 typ host');
    subject.removeRemote('9 192.0.2.1 9 typ host');
    expect(subject.agent.state).toBe('disconnected');
    subject.addRemote('9 192.0.2.1 10 typ host');
    expect(subject.agent.state).toBe('checking');
  });
});
