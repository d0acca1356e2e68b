// Any list of operations, with authentic and with arbitrary messages: the agent never throws, its tables stay limited, and its
// deadlines lie in the future.

import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { CLIENT_CREDENTIALS, GATEWAY_CREDENTIALS } from '../../../test/support/ice-world.ts';
import { ep } from '../../../test/support/virtual-network.ts';
import { type Endpoint, endpoint, type IpAddress } from '../../base/address.ts';
import { SILENT_LOG } from '../../base/log.ts';
import { type Instant, instant, later } from '../../base/time.ts';
import { createSeededCrypto } from '../../io/crypto/seeded-crypto.ts';
import { parseStun } from '../../wire/stun/message.ts';
import { IceAgent } from './agent.ts';
import { writeBindingRequest, writeBindingSuccess, writeRoleConflict } from './binding-messages.ts';
import type { CandidateKind } from './priority.ts';
import {
  CLIENT_IDLE_TIMING,
  CLIENT_TIMING,
  GATEWAY_IDLE_TIMING,
  GATEWAY_TIMING,
} from './timing.ts';

const TIMINGS = [CLIENT_TIMING, CLIENT_IDLE_TIMING, GATEWAY_TIMING, GATEWAY_IDLE_TIMING] as const;
const KINDS: readonly CandidateKind[] = ['host', 'srflx', 'relayed', 'prflx'];
const crypto = createSeededCrypto(3);

const small = fc.nat(5);
const kind = fc.constantFrom(...KINDS);
const priority = fc.oneof(fc.nat(0xffff_ffff), fc.constantFrom(0, 1, 2130706175, 0xffff_ffff));
const operation = fc.oneof(
  fc.record({ op: fc.constant('add-local' as const), kind, n: small, base: small }),
  fc.record({ op: fc.constant('remove-local' as const), kind, n: small, base: small }),
  fc.record({ op: fc.constant('add-remote' as const), kind, n: fc.nat(60), priority }),
  fc.record({ op: fc.constant('remove-remote' as const), kind, n: fc.nat(60), priority }),
  fc.record({
    op: fc.constant('request' as const),
    n: fc.nat(60),
    local: small,
    priority,
    role: fc.constantFrom('controlling' as const, 'controlled' as const),
    useCandidate: fc.boolean(),
    tieBreaker: fc.constantFrom(0n, 2n ** 63n, 2n ** 64n - 1n),
  }),
  fc.record({
    op: fc.constant('answer' as const),
    check: fc.nat(20),
    mapped: fc.nat(60),
    isSymmetric: fc.boolean(),
    isConflict: fc.boolean(),
  }),
  fc.record({ op: fc.constant('bytes' as const), bytes: fc.uint8Array({ maxLength: 80 }) }),
  fc.record({ op: fc.constant('timing' as const), n: fc.nat(3) }),
  fc.record({
    op: fc.constant('time' as const),
    ms: fc.constantFrom(0, 1, 250, 1500, 30_000, 1e6),
  }),
  fc.record({ op: fc.constant('past' as const) }),
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

function local(n: number): Endpoint {
  return n === 5 ? ep('[fd00::1]:52625') : endpoint(`10.0.0.${n + 1}` as IpAddress, 52625);
}

function remote(n: number): Endpoint {
  if (n === 60) return ep('127.0.0.1:9');
  return n > 55 ? endpoint('2001:db8::1' as IpAddress, n) : endpoint('192.0.2.1' as IpAddress, n);
}

class Run {
  readonly agent: IceAgent;
  readonly #sent: { id: Uint8Array; local: Endpoint; remote: Endpoint }[] = [];
  #now: Instant = instant(1000);

  constructor(role: 'controlling' | 'controlled') {
    this.agent = new IceAgent(
      {
        role,
        localCredentials: GATEWAY_CREDENTIALS,
        remoteCredentials: CLIENT_CREDENTIALS,
        timing: GATEWAY_TIMING,
      },
      { crypto: createSeededCrypto(1), log: SILENT_LOG },
      this.#now,
    );
  }

  apply(operation: Operation): void {
    const now = this.#now;
    switch (operation.op) {
      case 'add-local':
      case 'remove-local': {
        const info = {
          kind: operation.kind,
          address: local(operation.n),
          base: local(operation.kind === 'srflx' ? operation.base : operation.n),
        };
        if (operation.op === 'add-local') this.agent.addLocalCandidate(info, now);
        else this.agent.removeLocalCandidate(info, now);
        break;
      }
      case 'add-remote':
      case 'remove-remote': {
        const address = remote(operation.n);
        const candidate = {
          kind: operation.kind,
          foundation: 'f',
          component: 1,
          priority: operation.priority,
          address,
          base: address,
        };
        if (operation.op === 'add-remote') this.agent.addRemoteCandidate(candidate, now);
        else this.agent.removeRemoteCandidate(candidate, now);
        break;
      }
      case 'request':
        this.#request(operation);
        break;
      case 'answer':
        this.#answer(operation);
        break;
      case 'bytes':
        this.#deliver(operation.bytes, remote(1), local(0));
        break;
      case 'timing':
        this.agent.setTiming(TIMINGS[operation.n] ?? CLIENT_TIMING, now);
        break;
      case 'time':
        this.#now = later(now, operation.ms);
        this.#timeout();
        break;
      case 'past':
        this.agent.handleTimeout(instant(0));
    }
    this.#drain();
    this.#check();
  }

  #request(fields: Operation & { op: 'request' }): void {
    const bytes = writeBindingRequest(
      {
        ...fields,
        receiverUfrag: GATEWAY_CREDENTIALS.ufrag,
        senderUfrag: CLIENT_CREDENTIALS.ufrag,
        password: GATEWAY_CREDENTIALS.password,
        transactionId: crypto.randomBytes(12),
      },
      crypto,
    );
    this.#deliver(bytes, remote(fields.n), local(fields.local));
  }

  #answer(fields: Operation & { op: 'answer' }): void {
    const check = this.#sent.at(-1 - fields.check);
    if (!check) return;
    const { password } = CLIENT_CREDENTIALS;
    const bytes = fields.isConflict
      ? writeRoleConflict(check.id, password, crypto)
      : writeBindingSuccess(check.id, remote(fields.mapped), password, crypto);
    this.#deliver(bytes, fields.isSymmetric ? check.remote : remote(3), check.local);
  }

  #deliver(bytes: Uint8Array, source: Endpoint, local: Endpoint): void {
    const message = parseStun(bytes);
    if (message) this.agent.handleStun(message, { source, local }, this.#now);
  }

  #timeout(): void {
    this.agent.handleTimeout(this.#now);
    const deadline = this.agent.pollTimeout();
    if (deadline !== undefined) expect(deadline).toBeGreaterThan(this.#now);
  }

  #drain(): void {
    for (let out = this.agent.pollTransmit(); out; out = this.agent.pollTransmit()) {
      const message = parseStun(out.payload);
      expect(message).toBeDefined();
      if (message?.class !== 'request') continue;
      this.#sent.push({ id: message.transactionId, local: out.local, remote: out.remote });
    }
    while (this.agent.pollEvent());
  }

  #check(): void {
    const { pairs, localCandidates, remoteCandidates, transactions } = this.agent.snapshot();
    expect(pairs.length).toBeLessThanOrEqual(100);
    expect(localCandidates.length).toBeLessThanOrEqual(64);
    expect(remoteCandidates.length).toBeLessThanOrEqual(40);
    expect(transactions).toBe(pairs.reduce((sum, pair) => sum + pair.attempts, 0));
    expect(new Set(pairs.map((pair) => `${pair.local}>${pair.remote}`)).size).toBe(pairs.length);
    expect(pairs.filter(({ isSelected }) => isSelected).length).toBeLessThanOrEqual(1);
    const priorities = pairs.map((pair) => BigInt(pair.priority));
    expect(priorities).toEqual(priorities.toSorted((a, b) => (a === b ? 0 : a > b ? -1 : 1)));
    expect(pairs.every(({ remote }) => !remote.startsWith('127.'))).toBe(true);
    const isNominated = pairs.some(({ nomination }) => nomination !== 'none');
    expect(['connected', 'completed'].includes(this.agent.state)).toBe(isNominated);
  }
}

it('any list of operations leaves the agent sound', () => {
  const role = fc.constantFrom('controlling' as const, 'controlled' as const);
  fc.assert(
    fc.property(role, fc.array(operation, { maxLength: 60 }), (own, operations) => {
      const run = new Run(own);
      for (const one of operations) run.apply(one);
    }),
    { numRuns: 300 },
  );
});
