// A portal on the bench: the real machine over a seeded crypto and a virtual clock, with inboxes instead of sockets.

import { parseIp } from '../../src/base/address.ts';
import { toBase64 } from '../../src/base/bytes.ts';
import { type Log, SILENT_LOG } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { type Instant, instant, later, unixMillis, WallClock } from '../../src/base/time.ts';
import { createSeededCrypto } from '../../src/io/crypto/seeded-crypto.ts';
import type { Policy } from '../../src/roles/portal/policy.ts';
import { compilePolicy } from '../../src/roles/portal/policy-compile.ts';
import { type ConnectOutcome, type MessageOutcome, Portal } from '../../src/roles/portal/portal.ts';
import type { SessionId } from '../../src/roles/portal/sessions.ts';
import { MemoryStore, type PortalStore } from '../../src/roles/portal/store.ts';

export const START = unixMillis(Date.parse('2026-01-01T00:00:00Z'));
export const R1 = '10000000-0000-4000-8000-000000000001';
export const R2 = '10000000-0000-4000-8000-000000000002';
export const R3 = '10000000-0000-4000-8000-000000000003';
export const SITE = '50000000-0000-4000-8000-000000000001';
export const STAMP_SECRET = '00112233445566778899aabbccddeeff'.repeat(2);
export const CANDIDATE = 'candidate:1111aaaa 1 udp 2130706431 198.51.100.20 52625 typ host';

export type PolicyData = ReturnType<typeof basePolicy>;

/** Two resources for alice at one site; bob may see nothing. */
export function basePolicy() {
  return {
    account: 'lab',
    sites: [
      { name: 'home', id: SITE, gateway_tokens: ['gateway-token'] as unknown[] },
      { name: 'away', gateway_tokens: ['away-token'] as unknown[] },
    ],
    relays: [{ name: 'relay', tokens: ['relay-token'] as unknown[] }],
    groups: ['staff', 'guests'],
    actors: [
      { name: 'alice', groups: ['staff'], tokens: ['client-token'] as unknown[] },
      { name: 'bob', groups: ['guests'], tokens: ['bob-token'] as unknown[] },
    ],
    resources: [
      { id: R1, type: 'cidr', name: 'net', site: 'home', address: '10.20.0.0/24' },
      {
        id: R2,
        type: 'dns',
        name: 'git',
        site: 'home',
        address: 'git.corp.test',
        filters: ['tcp 443'],
      },
      { id: R3, type: 'internet', name: 'everything', site: 'home' },
    ] as Record<string, unknown>[],
    policies: [
      { group: 'staff', resource: 'net' },
      { group: 'staff', resource: 'git' },
    ] as Record<string, unknown>[],
    dns: { upstream: ['9.9.9.9'] } as Record<string, unknown>,
    settings: {} as Record<string, unknown>,
  };
}

export interface Message {
  readonly event: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into JSON
  readonly payload: any;
}

export class Party {
  readonly session: SessionId;
  readonly inbox: Message[] = [];
  ended: 'expired' | 'closed' | undefined;

  constructor(session: SessionId) {
    this.session = session;
  }

  events(): string[] {
    return this.inbox.map(({ event }) => event);
  }

  /** Takes the oldest message, which must be of this kind. */
  take(event: string): Message['payload'] {
    const message = this.inbox.shift();
    if (message?.event !== event)
      throw new Error(`expected ${event}, got ${message?.event} (${this.events()})`);
    return message.payload;
  }
}

export interface BenchOptions {
  readonly store?: PortalStore;
  readonly burst?: number;
  readonly seed?: number;
  readonly log?: Log;
  /** Virtual time at the start. */
  readonly now?: Instant;
}

export class PortalBench {
  readonly store: PortalStore;
  readonly crypto = createSeededCrypto(1);
  readonly portal: Portal;
  readonly parties = new Map<SessionId, Party>();
  now: Instant;

  constructor(policy: unknown = basePolicy(), options: BenchOptions = {}) {
    this.store = options.store ?? new MemoryStore();
    this.now = options.now ?? instant(5000);
    this.portal = new Portal(
      { baseUrl: 'http://portal.test/', connectBurst: options.burst ?? 1000 },
      {
        crypto: this.crypto,
        random: new SeededRandom(options.seed ?? 1),
        store: this.store,
        wallClock: new WallClock(instant(5000), START),
        log: options.log ?? SILENT_LOG,
      },
      this.compile(policy),
      this.now,
    );
    this.drain();
  }

  compile(data: unknown): Policy {
    const compiled = compilePolicy(data, { crypto: this.crypto, ids: this.store });
    if (compiled.kind === 'faults') throw new Error(JSON.stringify(compiled.faults));
    return compiled.policy;
  }

  setPolicy(data: unknown): void {
    this.portal.setPolicy(this.compile(data), this.now);
    this.drain();
  }

  connect(
    path: string,
    token: string | undefined,
    query: Record<string, string>,
    rest: {
      agent?: string;
      ip?: string;
      queryToken?: string;
    } = {},
  ): ConnectOutcome {
    const { agent = '', ip = '198.51.100.7', queryToken } = rest;
    const all = queryToken === undefined ? query : { token: queryToken, ...query };
    return this.portal.handleConnect(
      {
        path,
        query: new Map(Object.entries(all)),
        authorization: token === undefined ? undefined : `Bearer ${token}`,
        userAgent: agent,
        remoteIp: parseIp(ip),
      },
      this.now,
    );
  }

  join(outcome: ConnectOutcome, payload: unknown = null): Party {
    if (outcome.kind === 'refused') throw new Error(`refused: ${outcome.code}`);
    const party = new Party(outcome.session);
    this.parties.set(outcome.session, party);
    const joined = this.portal.handleJoin(outcome.session, payload, this.now);
    if (joined.kind !== 'ok') throw new Error(joined.reason);
    this.drain();
    return party;
  }

  gateway(externalId = 'gw-1', key = 0x20, rest: { token?: string; agent?: string } = {}): Party {
    const { token = 'gateway-token', agent = 'Debian/12.0.0 gateway/1.6.0 (x86_64)' } = rest;
    const query = { external_id: externalId, name: externalId, public_key: publicKey(key) };
    return this.join(this.connect('/gateway/v2/websocket', token, query, { agent }));
  }

  client(
    externalId = 'client-1',
    key = 0,
    rest: { token?: string; agent?: string; ip?: string } = {},
  ): Party {
    const { token = 'client-token', ...others } = rest;
    const agent = 'Debian/12.0.0 headless-client/1.5.11 (x86_64)';
    const query = { external_id: externalId, name: externalId, public_key: publicKey(key) };
    return this.join(this.connect('/client/v2/websocket', token, query, { agent, ...others }));
  }

  relay(stampSecret = STAMP_SECRET, ipv4 = '203.0.113.10'): Party {
    const outcome = this.connect('/relay/websocket', 'relay-token', { ipv4, port: '3478' });
    return this.join(outcome, { stamp_secret: stampSecret });
  }

  send(party: Party, event: string, payload: unknown): MessageOutcome {
    const outcome = this.portal.handleMessage(party.session, event, payload, this.now);
    this.drain();
    return outcome;
  }

  leave(party: Party): void {
    this.portal.handleClosed(party.session, this.now);
    this.parties.delete(party.session);
    this.drain();
  }

  /** Lets time pass, deadline by deadline. */
  advance(milliseconds: number): void {
    const end = later(this.now, milliseconds);
    for (let i = 0; i < 10_000; i++) {
      const next = this.portal.pollTimeout();
      if (next === undefined || next > end) break;
      if (next > this.now) this.now = next;
      this.portal.handleTimeout(this.now);
      this.drain();
    }
    this.now = end;
    this.portal.handleTimeout(this.now);
    this.drain();
  }

  /** The client asks, the gateway agrees; both messages. */
  authorize(
    client: Party,
    gateway: Party,
    resourceId: string,
  ): { grant: Message['payload']; created: Message['payload'] } {
    this.send(client, 'request_authorization', {
      resource_id: resourceId,
      connected_gateway_ids: [],
    });
    const grant = gateway.take('create_authorization');
    this.send(gateway, 'authorization_created', { ref: grant.ref });
    return { grant, created: client.take('authorization_created') };
  }

  drain(): void {
    for (let event = this.portal.pollEvent(); event; event = this.portal.pollEvent()) {
      const party = this.parties.get(event.session);
      if (!party) continue;
      if (event.kind === 'push') party.inbox.push({ event: event.event, payload: event.payload });
      else party.ended = event.kind === 'expire-session' ? 'expired' : 'closed';
    }
  }
}

export function publicKey(first: number): string {
  return toBase64(Uint8Array.from({ length: 32 }, (_, i) => (first + i) & 255));
}
