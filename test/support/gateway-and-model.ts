// The model of the gateway beside the product's, over a fake link: any order of what the portal says, what clients send, what names resolve to and what
// comes back, with both asked about every packet. This is what the simulation does, without network and time.

import fc from 'fast-check';
import { later } from '../../src/base/time.ts';
import { writeControlPacket } from '../../src/wire/control/p2p-control.ts';
import {
  writeEchoPacket,
  writeIcmpPacket,
  writeIpPacket,
  writeTcpPacket,
  writeUdpPacket,
} from '../../src/wire/ip/write-packet.ts';
import { GATEWAY_INBOUND } from '../../src/wire/portal/gateway-messages.ts';
import { isControl } from '../sim/model/control.ts';
import { GatewayModel, type Json } from '../sim/model/gateway.ts';
import { GatewayWorld, UNIX_ZERO } from './gateway-world.ts';
import { ip } from './packets.ts';

const CLIENTS = [
  { id: '00000000-0000-4000-8000-00000000000a', ipv4: '100.64.0.5', ipv6: 'fd00:2021:1111::5' },
  { id: '00000000-0000-4000-8000-00000000000b', ipv4: '100.64.0.6', ipv6: 'fd00:2021:1111::6' },
] as const;
const GATEWAY = { ipv4: '100.64.0.2', ipv6: 'fd00:2021:1111::2' };
const DOMAINS = ['a.corp.test', 'b.corp.test', 'x.y.corp.test'];
const REALS = ['10.0.0.7', '10.0.1.7', '1.1.1.1', '127.0.0.1', '2001:db8::7', 'fe80::1'];
const V4 = [
  '10.0.0.7',
  '10.0.1.7',
  '10.9.0.1',
  '1.1.1.1',
  '192.168.0.1',
  '100.64.0.2',
  '100.64.0.6',
  '100.64.0.77',
];
const V6 = ['2001:db8::7', 'fd00:2021:1111::2', 'fd00:2021:1111::6', 'fd99::1', '2606:4700::1'];
const uuid = (n: number): string => `10000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

/** What no client may call a proxy address. */
const FOREIGN_PROXIES = ['fd99::1', '10.9.0.1', '100.100.111.1'];
/** Its network is none of the Internet but where relays are in it. */
const RELAY = {
  id: uuid(99),
  type: 'turn',
  addr: '[2001:db8:99::1]:3478',
  username: '1999999999:salt',
  password: 'secret',
  expires_at: 1_999_999_999,
};
const PORTS = [53, 80, 85, 443, 53_535];

interface WirePort {
  protocol: string;
  port_range_start?: number;
  port_range_end?: number;
}

const filters = fc.array(
  fc.constantFrom<WirePort>(
    { protocol: 'tcp', port_range_start: 80, port_range_end: 90 },
    { protocol: 'tcp' },
    { protocol: 'udp', port_range_start: 53, port_range_end: 53 },
    { protocol: 'icmp' },
  ),
  { maxLength: 2 },
);
const resource = fc.oneof(
  fc.record({
    type: fc.constant('cidr'),
    id: fc.integer({ min: 0, max: 2 }).map(uuid),
    name: fc.constant('net'),
    address: fc.constantFrom(
      '10.0.0.0/24',
      '10.0.0.0/16',
      '10.0.0.7/32',
      '2001:db8::/64',
      '100.96.0.0/30',
    ),
    filters,
  }),
  fc.record({
    type: fc.constant('dns'),
    id: fc.integer({ min: 3, max: 5 }).map(uuid),
    name: fc.constant('name'),
    address: fc.constantFrom('a.corp.test', '*.corp.test', '**.corp.test', '?.corp.test'),
    filters,
  }),
  fc.record({ type: fc.constant('internet'), id: fc.constant(uuid(6)) }),
);
const client = fc.nat(1);
const target = fc.nat(19);

const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('allow' as const),
      client,
      resource,
      lifetime: fc.constantFrom(3_000, 20_000, 1e7),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('reject' as const),
      client,
      resource: fc.nat(9).map(uuid),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('update' as const), resource }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('init' as const),
      keep: fc.array(fc.record({ client, resource: fc.nat(9).map(uuid) }), { maxLength: 5 }),
      isLaboratory: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('wait' as const),
      time: fc.constantFrom(1, 400, 1_000, 5_001, 61_001, 121_500, 950_000),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('wish' as const),
      client,
      resource: fc.nat(9).map(uuid),
      domain: fc.nat(2),
      shift: fc.nat(2),
      reals: fc.array(fc.constantFrom(...REALS), { maxLength: 4 }),
      later: fc.boolean(),
      odd: fc.nat(9),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('answers' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('goodbye' as const), client }) },
  {
    weight: 60,
    arbitrary: fc.record({
      kind: fc.constant('out' as const),
      client,
      target,
      what: fc.nat(6),
      from: fc.nat(2),
      port: fc.nat(4),
      flags: fc.constantFrom(2, 16, 17, 4),
      forged: fc.nat(12),
    }),
  },
  {
    weight: 50,
    arbitrary: fc.record({
      kind: fc.constant('back' as const),
      which: fc.nat(5),
      how: fc.nat(7),
      flags: fc.constantFrom(18, 16, 17, 4),
    }),
  },
);
export type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

class Pair {
  readonly world = new GatewayWorld({ isInitialized: false });
  readonly model = new GatewayModel((unix) => unix - UNIX_ZERO);
  readonly #sent: Uint8Array[] = [];
  readonly #outcomes: Set<string>;
  #queries: { queryId: number; domain: string; reals: string[] }[] = [];

  constructor(outcomes: Set<string>) {
    this.#outcomes = outcomes;
    this.portal('init', this.#init([], false));
    for (const client of CLIENTS) {
      this.#allow(
        client,
        { type: 'cidr', id: uuid(7), name: 'lan', address: '10.0.0.0/24', filters: [] },
        1e7,
      );
      this.#allow(
        client,
        { type: 'cidr', id: uuid(8), name: 'lan', address: '2001:db8::/32', filters: [] },
        1e7,
      );
      this.#allow(
        client,
        { type: 'dns', id: uuid(9), name: 'names', address: '**.corp.test', filters: [] },
        1e7,
      );
    }
    for (const domain of [0, 1]) {
      this.step({
        kind: 'wish',
        client: domain,
        resource: uuid(9),
        domain,
        shift: 0,
        reals: ['10.0.0.7', '2001:db8::7'],
        later: false,
        odd: 9,
      });
    }
  }

  get now(): number {
    return this.world.now;
  }

  portal(event: string, payload: Json): void {
    const read = GATEWAY_INBOUND.parse(event, payload);
    if (read.kind !== 'message') throw new Error(`${event}: ${JSON.stringify(read)}`);
    const before = this.world.link.sent.length;
    this.world.portal(read.message);
    this.model.heard(event, payload, this.now);
    this.settle(before);
  }

  /** What the product said outside of packets. */
  settle(before: number): void {
    for (const event of this.world.events()) {
      if (event.kind === 'send-to-portal')
        this.model.said(event.message.event, event.message.payload);
      if (event.kind === 'resolve') this.#queries.push({ ...event, reals: [] });
    }
    for (const { peer, packet } of this.world.link.sent.slice(before)) {
      if (isControl(packet)) this.#ok(this.model.judgeControlToClient(peer, packet, this.now));
    }
  }

  answer(reals: string[]): void {
    for (const { queryId, domain } of this.#queries.splice(0)) {
      const before = this.world.link.sent.length;
      this.model.resolved(domain, reals, this.now);
      const addresses = reals.map(ip);
      this.world.gateway.handleResolved(queryId, { kind: 'resolved', addresses }, this.world.now);
      this.settle(before);
    }
  }

  out(number: number, packet: Uint8Array): void {
    const { id } = CLIENTS[number] ?? CLIENTS[0];
    if (!(this.world.link.slots as string[]).includes(id)) return;
    const before = this.world.link.sent.length;
    const { forwarded } = this.world.fromClient(packet, { client: { ...CLIENTS[0], id } });
    const answers = this.world.link.sent
      .slice(before)
      .filter(({ packet: sent }) => !isControl(sent))
      .map(({ packet: sent }) => sent);
    this.#outcomes.add(forwarded ? 'forwarded' : answers.length > 0 ? 'answered' : 'dropped');
    this.#ok(this.model.judgeToResource(id, packet, { forwarded, answers }, this.now));
    this.settle(before);
    if (forwarded) this.#sent.push(forwarded);
  }

  back(packet: Uint8Array): void {
    const { sealed, slot, alone } = this.world.fromTun(packet);
    const peer = this.world.link.slots[slot];
    const all = [
      ...(sealed && peer ? [{ client: peer, packet: sealed }] : []),
      ...alone.map((sent) => ({ client: this.world.link.sent.at(-1)?.peer ?? '', packet: sent })),
    ];
    const isConnected = (id: string): boolean => (this.world.link.slots as string[]).includes(id);
    this.#outcomes.add(all.length > 0 ? 'sent' : 'kept');
    this.#ok(this.model.judgeToClient(packet, all, isConnected, this.now));
  }

  step(event: Step): void {
    const { world } = this;
    const who = 'client' in event ? (CLIENTS[event.client] ?? CLIENTS[0]) : CLIENTS[0];
    switch (event.kind) {
      case 'allow':
        return this.#allow(who, event.resource, this.now + event.lifetime);
      case 'reject':
        return this.portal('reject_access', { client_id: who.id, resource_id: event.resource });
      case 'update':
        return this.portal('resource_updated', event.resource);
      case 'init':
        return this.portal('init', this.#init(event.keep, event.isLaboratory));
      case 'wait': {
        const before = world.link.sent.length;
        const end = later(world.now, event.time);
        for (
          let due = world.gateway.pollTimeout();
          due !== undefined && due < end;
          due = world.gateway.pollTimeout()
        ) {
          if (due > world.now) world.now = due;
          world.gateway.handleTimeout(world.now);
        }
        world.now = end;
        world.gateway.handleTimeout(world.now);
        this.model.sweep(this.now);
        return this.settle(before);
      }
      case 'wish': {
        const v4 = [1, 2, 3, 4].map(
          (n) => `100.96.0.${n + 4 * ((event.domain + event.shift) % 3)}`,
        );
        const v6 = [0, 1, 2, 3].map(
          (n) => `fd00:2021:1111:8000::${n + 4 * ((event.domain + event.shift) % 3)}`,
        );
        const domain = DOMAINS[event.domain] ?? '';
        const odd = [...FOREIGN_PROXIES, v4[1]][event.odd];
        const proxyIps = [
          ...(odd === undefined ? v4.slice(0, 1) : [odd]),
          ...v4.slice(1),
          ...v6,
        ].map(ip);
        const packet = writeControlPacket({
          kind: 'assigned-ips',
          resource: event.resource,
          domain,
          proxyIps,
        });
        this.out(event.client, packet);
        if (!event.later) this.answer(event.reals);
        return;
      }
      case 'answers':
        return this.answer(['10.0.0.7', '2001:db8::7']);
      case 'goodbye':
        return this.out(event.client, writeControlPacket({ kind: 'goodbye' }));
      case 'out':
        return this.out(event.client, outgoing(event));
      case 'back': {
        const sent = this.#sent.at(-1 - event.which);
        if (sent) this.back(incoming(sent, event.how, event.flags));
      }
    }
  }

  #allow(client: (typeof CLIENTS)[number], resource: Json, expiresIn: number): void {
    const before = this.world.link.sent.length;
    const read = GATEWAY_INBOUND.parse('resource_updated', resource);
    if (read.kind !== 'message' || read.message.event !== 'resource_updated')
      throw new Error('no resource');
    this.world.authorize(read.message.payload, { client, expiresIn });
    const expiresAt = (UNIX_ZERO + expiresIn) / 1_000;
    this.model.heard(
      'create_authorization',
      { ref: `ref-${resource.id}`, client, resource, expires_at: expiresAt },
      this.now,
    );
    this.settle(before);
  }

  #ok(complaint: string | undefined): void {
    if (complaint !== undefined) throw new Error(`at ${this.now}: ${complaint}`);
  }

  #init(keep: readonly { client: number; resource: string }[], isLaboratory: boolean): Json {
    return {
      interface: GATEWAY,
      config: { ipv4_masquerade_enabled: true, ipv6_masquerade_enabled: true },
      relays: isLaboratory ? [RELAY] : [],
      authorizations: keep.map((entry) => ({
        client_id: CLIENTS[entry.client]?.id,
        resource_id: entry.resource,
        expires_at: Math.floor((UNIX_ZERO + this.now) / 1_000) + 100,
      })),
      flow_logs: { api_url: 'https://logs.test', upload_interval_secs: 0, upload_batch_size: 0 },
    };
  }
}

function outgoing(event: Extract<Step, { kind: 'out' }>): Uint8Array {
  const all = [...V4, ...V6];
  const proxies = Array.from({ length: 12 }, (_, n) =>
    n < 7 ? `100.96.0.${n + 1}` : `fd00:2021:1111:8000::${n - 7}`,
  );
  const to =
    event.target < all.length ? all[event.target] : proxies[(event.target + event.from * 3) % 12];
  const destination = ip(to ?? '10.0.0.7');
  const own = CLIENTS[event.client] ?? CLIENTS[0];
  const other = event.forged === 0 ? (CLIENTS[1 - event.client] ?? own) : own;
  const source = ip(destination.includes(':') ? other.ipv6 : other.ipv4);
  const ports = { sourcePort: 1_000 + event.from, destinationPort: PORTS[event.port] ?? 80 };
  const common = {
    source,
    destination,
    hopLimit: 64,
    payload: new TextEncoder().encode('12345678'),
  };
  switch (event.what) {
    case 0:
    case 1:
      return writeTcpPacket({ ...common, ...ports, flags: event.flags });
    case 2:
    case 3:
      return writeUdpPacket({ ...common, ...ports });
    case 4:
      return writeEchoPacket({
        ...common,
        kind: 'request',
        identifier: ports.sourcePort,
        sequence: 1,
      });
    case 5:
      return writeIpPacket({ ...common, protocol: 47, payload: new Uint8Array(20) });
    default: {
      const quoted = writeUdpPacket({
        source: destination,
        destination: source,
        hopLimit: 9,
        sourcePort: ports.destinationPort,
        destinationPort: ports.sourcePort,
      });
      return writeIcmpPacket({
        ...common,
        type: destination.includes(':') ? 1 : 3,
        code: 3,
        payload: quoted,
      });
    }
  }
}

/** An answer to a packet as the network saw it: from another port, an error, from nobody. */
function incoming(sent: Uint8Array, how: number, flags: number): Uint8Array {
  const isV4 = (sent[0] ?? 0) >> 4 === 4;
  const text = (bytes: Uint8Array): string =>
    isV4
      ? bytes.join('.')
      : Array.from({ length: 8 }, (_, i) =>
          (((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)).toString(16),
        ).join(':');
  const source = ip(canonical(text(isV4 ? sent.slice(16, 20) : sent.slice(24, 40))));
  const destination = ip(canonical(text(isV4 ? sent.slice(12, 16) : sent.slice(8, 24))));
  const start = isV4 ? 20 : 40;
  const port = (offset: number): number =>
    ((sent[start + offset] ?? 0) << 8) | (sent[start + offset + 1] ?? 0);
  const common = { source, destination, hopLimit: 60, payload: new TextEncoder().encode('answer') };
  const protocol = sent[isV4 ? 9 : 6] ?? 0;
  if (how === 6) {
    return writeIcmpPacket({
      ...common,
      source: ip(isV4 ? '10.255.0.1' : '2001:db8:ffff::1'),
      type: isV4 ? 3 : 1,
      code: isV4 ? 3 : 4,
      payload: sent,
    });
  }
  const ports = {
    sourcePort: port(2) + (how === 5 ? 1 : 0),
    destinationPort: port(0) + (how === 7 ? 1 : 0),
  };
  if (protocol === 6) return writeTcpPacket({ ...common, ...ports, flags });
  if (protocol === 17) return writeUdpPacket({ ...common, ...ports });
  if (protocol === 47)
    return writeIpPacket({ ...common, protocol: 47, payload: new Uint8Array(20) });
  return writeEchoPacket({ ...common, kind: 'reply', identifier: port(4), sequence: 1 });
}

function canonical(text: string): string {
  if (!text.includes(':')) return text;
  return new URL(`http://[${text}]`).hostname.slice(1, -1);
}

export const STEPS: fc.Arbitrary<Step[]> = fc.array(step, {
  minLength: 20,
  maxLength: 120,
  size: 'max',
});

/** Throws where the two differ. What packets met is added to `outcomes`. */
export function runBoth(steps: readonly Step[], outcomes: Set<string> = new Set()): void {
  const pair = new Pair(outcomes);
  for (const event of steps) pair.step(event);
}
