// A client role with a fake link and a virtual clock, and short ways to put packets, queries and portal messages in and look what comes out.

import { parseNetwork } from '../../src/base/address.ts';
import {
  createReceiveBatch,
  createTunBatch,
  SUPER,
  TUN_FLAG,
  TUN_PACKET,
  VERDICT,
} from '../../src/base/batch.ts';
import {
  gatewayId,
  type PeerId,
  peerId,
  type ResourceId,
  resourceId,
  siteId,
} from '../../src/base/ids.ts';
import { SILENT_LOG } from '../../src/base/log.ts';
import { type Instant, instant, later } from '../../src/base/time.ts';
import { Client, type ClientEvent, type DnsDecision } from '../../src/roles/client/client.ts';
import {
  type ControlEvent,
  isControlPacket,
  parseControlPacket,
  writeControlPacket,
} from '../../src/wire/control/p2p-control.ts';
import { type DnsMessage, dnsQuery, writeDnsMessage } from '../../src/wire/dns/message.ts';
import { DNS_CLASS } from '../../src/wire/dns/records.ts';
import type {
  AuthorizationCreated,
  ClientInbound,
  ClientInterface,
  ClientOutbound,
} from '../../src/wire/portal/client-messages.ts';
import type { Filter } from '../../src/wire/portal/common.ts';
import type { ClientResource, IpStack } from '../../src/wire/portal/resources.ts';
import { FakeLink } from './fake-link.ts';
import { ip } from './packets.ts';

export const OWN_IPV4 = ip('100.64.0.5');
export const OWN_IPV6 = ip('fd00:2021:1111::5');
export const SENTINEL = ip('100.100.111.1');
export const GATEWAY_A = {
  id: 'gateway-a',
  ipv4: ip('100.64.0.20'),
  ipv6: ip('fd00:2021:1111::20'),
};
export const GATEWAY_B = {
  id: 'gateway-b',
  ipv4: ip('100.64.0.21'),
  ipv6: ip('fd00:2021:1111::21'),
};

const SITES = [{ id: siteId('site'), name: 'site' }];

export function cidrResource(
  id: string,
  network: string,
  filters: readonly Filter[] = [],
): ClientResource {
  const address = parseNetwork(network);
  if (!address) throw new Error('bad network in test');
  const [name, addressDescription] = [id, null];
  return {
    type: 'cidr',
    id: resourceId(id),
    name,
    address,
    addressDescription,
    sites: SITES,
    filters,
  };
}

export function dnsResource(
  id: string,
  address: string,
  options: { filters?: readonly Filter[]; ipStack?: IpStack } = {},
): ClientResource {
  const { filters = [], ipStack = 'dual' } = options;
  const [name, addressDescription] = [id, null];
  return {
    type: 'dns',
    id: resourceId(id),
    name,
    address,
    addressDescription,
    sites: SITES,
    ipStack,
    filters,
  };
}

export const internetResource = (id: string): ClientResource => ({
  type: 'internet',
  id: resourceId(id),
  name: id,
  sites: SITES,
  canBeDisabled: null,
});

export function interfaceSettings(servers: readonly string[] = ['9.9.9.9']): ClientInterface {
  return {
    ipv4: OWN_IPV4,
    ipv6: OWN_IPV6,
    upstreamDns: [],
    upstreamDo53: servers.map((server) => ({ ip: ip(server) })),
    upstreamDoh: [],
    searchDomain: null,
  };
}

export class ClientWorld {
  readonly link = new FakeLink();
  readonly client: Client;
  now: Instant = instant(0);
  readonly #tun = createTunBatch(65_536 * 2, 64);
  readonly #receive = createReceiveBatch(65_536 * 2, 16, 64);

  constructor(
    resources: readonly ClientResource[] = [],
    servers?: readonly string[],
    activatesInternetResource = true,
    tunMtu?: number,
  ) {
    const deps = { link: this.link, log: SILENT_LOG, activatesInternetResource };
    this.client = new Client(tunMtu === undefined ? deps : { ...deps, tunMtu });
    this.client.handlePortalConnected(this.now);
    this.init(resources, servers);
    this.events();
  }

  init(resources: readonly ClientResource[], servers?: readonly string[]): void {
    this.portal({
      event: 'init',
      payload: {
        interface: interfaceSettings(servers),
        resources,
        relays: [],
        authorizations: [],
        flowLogs: { apiUrl: 'https://logs.test', uploadIntervalSecs: 0, uploadBatchSize: 0 },
      },
    });
  }

  portal(message: ClientInbound): void {
    this.client.handlePortalMessage(message, this.now);
  }

  grant(resource: string, gateway: typeof GATEWAY_A = GATEWAY_A): void {
    this.portal({
      event: 'authorization_created',
      payload: {
        resourceId: resourceId(resource),
        gatewayId: gatewayId(gateway.id),
        gatewayPublicKey: new Uint8Array(32).fill(1),
        gatewayIpv4: gateway.ipv4,
        gatewayIpv6: gateway.ipv6,
        siteId: siteId('site'),
        presharedKey: new Uint8Array(32).fill(2),
        clientIceCredentials: { username: 'clie', password: 'client-password' },
        gatewayIceCredentials: { username: 'gate', password: 'gate-password' },
        useIceless: false,
        flowLogsIngestToken: {} as AuthorizationCreated['flowLogsIngestToken'],
      },
    });
  }

  refuse(resource: string, reason: 'offline' | 'forbidden'): void {
    const payload = { resourceId: resourceId(resource), reason, violatedProperties: [] };
    this.portal({ event: 'authorization_creation_failed', payload });
  }

  established(gateway: string = GATEWAY_A.id): void {
    this.link.events.push({ kind: 'connection-established', peer: peerId(gateway) });
    this.client.handleTimeout(this.now);
  }

  failed(gateway: string = GATEWAY_A.id): void {
    this.link.removeConnection(peerId(gateway));
    this.link.events.push({
      kind: 'connection-failed',
      peer: peerId(gateway),
      reason: 'ice-disconnected',
    });
    this.client.handleTimeout(this.now);
  }

  advance(milliseconds: number): void {
    this.now = later(this.now, milliseconds);
    this.client.handleTimeout(this.now);
  }

  /** Lets every timer fire on its time. */
  elapse(milliseconds: number): void {
    const end = later(this.now, milliseconds);
    for (let next = this.client.pollTimeout(); next !== undefined && next <= end; ) {
      this.now = next;
      this.client.handleTimeout(next);
      next = this.client.pollTimeout();
    }
    this.now = end;
  }

  events(): ClientEvent[] {
    const events: ClientEvent[] = [];
    for (let event = this.client.pollEvent(); event; event = this.client.pollEvent())
      events.push(event);
    return events;
  }

  /** What the portal was sent meanwhile. */
  messages(): ClientOutbound[] {
    return this.events().flatMap((event) =>
      event.kind === 'send-to-portal' ? [event.message] : [],
    );
  }

  /** Resources that the portal was asked for meanwhile. */
  requests(): ResourceId[] {
    return this.messages().flatMap((message) =>
      message.event === 'request_authorization' ? [message.payload.resourceId] : [],
    );
  }

  /** Packets for our own TUN device that were generated meanwhile. */
  toTun(): Uint8Array[] {
    const packets: Uint8Array[] = [];
    for (let packet = this.client.pollTunPacket(); packet; packet = this.client.pollTunPacket())
      packets.push(packet);
    return packets;
  }

  /** Data packets that were sealed alone, outside of a batch. */
  sentData(): Uint8Array[] {
    return this.link.sent.map(({ packet }) => packet).filter((packet) => !isControl(packet));
  }

  sentControl(): ControlEvent[] {
    return this.link.sent
      .filter(({ packet }) => isControl(packet))
      .flatMap(({ packet }) => parseControlPacket(packet) ?? []);
  }

  /** One packet from the TUN device; the peer whose slot it got. */
  fromTun(
    packet: Uint8Array,
    options: { gsoSegment?: number; headerLength?: number; isPartial?: boolean } = {},
  ): PeerId | undefined {
    const offset = 128;
    const { slab, packets: rows } = this.#tun;
    slab.set(packet, offset);
    rows.fill(0, 0, TUN_PACKET.stride);
    rows[TUN_PACKET.offset] = offset;
    rows[TUN_PACKET.length] = packet.length;
    rows[TUN_PACKET.gsoType] = options.gsoSegment === undefined ? 0 : 1;
    rows[TUN_PACKET.gsoSegment] = options.gsoSegment ?? 0;
    rows[TUN_PACKET.headerLength] = options.headerLength ?? 0;
    rows[TUN_PACKET.flags] = options.isPartial === true ? TUN_FLAG.checksumNeeded : 0;
    rows[TUN_PACKET.slot] = 77;
    this.#tun.packetCount = 1;
    this.client.handleTunPackets(this.#tun, this.now);
    return this.link.slots[rows[TUN_PACKET.slot] ?? -1];
  }

  /** One packet out of a gateway's tunnel; whether it may enter the TUN device. */
  fromGateway(packet: Uint8Array, gateway: string = GATEWAY_A.id): boolean {
    const offset = 64;
    const { slab, superPackets: rows } = this.#receive;
    slab.set(packet, offset);
    rows.fill(0, 0, SUPER.stride);
    rows[SUPER.offset] = offset;
    rows[SUPER.length] = packet.length;
    rows[SUPER.segments] = 1;
    rows[SUPER.slot] = (this.link.slots as string[]).indexOf(gateway);
    this.#receive.superCount = 1;
    this.client.handleSuperPackets(this.#receive, this.now);
    return rows[SUPER.verdict] === VERDICT.forward;
  }

  status(resource: string, domain: string, status: 'active' | 'inactive'): void {
    this.fromGateway(writeControlPacket({ kind: 'domain-status', resource, domain, status }));
  }

  query(name: string, type: number, server: string = SENTINEL): DnsDecision {
    const question = { name, type, class: DNS_CLASS.internet };
    const bytes = writeDnsMessage(dnsQuery(7, question));
    if (!bytes) throw new Error('bad name in test');
    return this.client.handleDnsQuery(bytes, ip(server), this.now);
  }

  /** Addresses or names in the stub's own answer; `undefined` if it does not answer itself. */
  answers(name: string, type: number): string[] | undefined {
    const decision = this.query(name, type);
    return decision.kind === 'answer' ? valuesOf(decision.response) : undefined;
  }

  drops(): Readonly<Record<string, number>> {
    return this.client.snapshot()['drops'] as Record<string, number>;
  }
}

export function valuesOf({ answers }: DnsMessage): string[] {
  return answers.map(({ data }) => {
    if (data.kind === 'address') return data.address;
    return data.kind === 'name' ? data.name : data.kind;
  });
}

function isControl(packet: Uint8Array): boolean {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  return isControlPacket(view, 0, packet.length);
}
