// A gateway role with a fake link and a virtual clock, one or more clients, and short ways to put packets in and look what comes out.

import { parseNetwork, writeAddressWords } from '../../src/base/address.ts';
import {
  createReceiveBatch,
  createTunBatch,
  RUN,
  SUPER,
  SUPER_FLAG,
  TUN_FLAG,
  TUN_PACKET,
  VERDICT,
} from '../../src/base/batch.ts';
import { clientId, type ResourceId, resourceId } from '../../src/base/ids.ts';
import { SILENT_LOG } from '../../src/base/log.ts';
import { type Instant, instant, later, unixMillis, WallClock } from '../../src/base/time.ts';
import { createSeededCrypto } from '../../src/io/crypto/seeded-crypto.ts';
import type { GatewayEvent } from '../../src/roles/gateway/events.ts';
import { Gateway } from '../../src/roles/gateway/gateway.ts';
import type { PacketSettings } from '../../src/roles/gateway/packet-settings.ts';
import { parseControlPacket, writeControlPacket } from '../../src/wire/control/p2p-control.ts';
import type { Filter } from '../../src/wire/portal/common.ts';
import type {
  CreateAuthorization,
  GatewayInbound,
} from '../../src/wire/portal/gateway-messages.ts';
import type { GatewayResource } from '../../src/wire/portal/resources.ts';
import { FakeLink } from './fake-link.ts';
import { ip } from './packets.ts';

export const GATEWAY_IPV4 = ip('100.64.0.2');
export const GATEWAY_IPV6 = ip('fd00:2021:1111::2');
export const CLIENT_IPV4 = ip('100.64.0.5');
export const CLIENT_IPV6 = ip('fd00:2021:1111::5');
/** Wall-clock time at instant 0. */
export const UNIX_ZERO = 1_700_000_000_000;

export const tcp = (from: number, to: number = from): Filter => ({
  protocol: 'tcp',
  portRangeStart: from,
  portRangeEnd: to,
});
export const udp = (from: number, to: number = from): Filter => ({
  protocol: 'udp',
  portRangeStart: from,
  portRangeEnd: to,
});
export const icmp: Filter = { protocol: 'icmp' };

export function cidr(
  id: string,
  network: string,
  filters: readonly Filter[] = [],
): GatewayResource {
  const address = parseNetwork(network);
  if (!address) throw new Error('bad network in test');
  return { type: 'cidr', id: resourceId(id), address, name: id, filters };
}

export function dns(id: string, address: string, filters: readonly Filter[] = []): GatewayResource {
  return { type: 'dns', id: resourceId(id), address, name: id, filters };
}

export const internet = (id: string): GatewayResource => ({ type: 'internet', id: resourceId(id) });

export interface TestClient {
  readonly id: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

export const ALICE: TestClient = { id: 'alice', ipv4: CLIENT_IPV4, ipv6: CLIENT_IPV6 };
export const BOB: TestClient = { id: 'bob', ipv4: '100.64.0.6', ipv6: 'fd00:2021:1111::6' };

export class GatewayWorld {
  readonly link = new FakeLink();
  readonly gateway: Gateway;
  now: Instant = instant(0);
  readonly #receive = createReceiveBatch(65_536 * 2, 16, 64);
  readonly #tun = createTunBatch(65_536 * 2, 64);

  constructor({
    isInitialized = true,
    packets = {},
  }: {
    readonly isInitialized?: boolean;
    readonly packets?: Partial<PacketSettings>;
  } = {}) {
    const wallClock = new WallClock(this.now, unixMillis(UNIX_ZERO));
    const crypto = createSeededCrypto(7);
    const deps = { link: this.link, crypto, wallClock, log: SILENT_LOG, packets };
    this.gateway = new Gateway(deps, this.now);
    this.gateway.handlePortalConnected(this.now);
    if (isInitialized) this.portal({ event: 'init', payload: initPayload() });
    this.events();
  }

  portal(message: GatewayInbound): void {
    this.gateway.handlePortalMessage(message, this.now);
  }

  /** `expiresIn`: milliseconds from instant 0. */
  authorize(
    resource: GatewayResource,
    options: { client?: TestClient; expiresIn?: number } = {},
  ): void {
    const { client = ALICE, expiresIn } = options;
    this.portal({
      event: 'create_authorization',
      payload: authorization(resource, client, expiresIn),
    });
  }

  revoke(resource: string, client: TestClient = ALICE): void {
    const payload = {
      clientId: clientId(client.id),
      resourceId: resourceId(resource) as ResourceId,
    };
    this.portal({ event: 'reject_access', payload });
  }

  /** Lets a client set up a domain, and answers the query; what the client was told. */
  setUp(
    resource: string,
    domain: string,
    proxies: readonly string[],
    addresses: readonly string[],
    client: TestClient = ALICE,
  ): string | undefined {
    this.assign(resource, domain, proxies, client);
    for (const event of this.events()) {
      if (event.kind !== 'resolve') continue;
      const result = { kind: 'resolved', addresses: addresses.map(ip) } as const;
      this.gateway.handleResolved(event.queryId, result, this.now);
    }
    return this.lastStatus();
  }

  assign(
    resource: string,
    domain: string,
    proxies: readonly string[],
    client: TestClient = ALICE,
  ): void {
    this.fromClient(
      writeControlPacket({ kind: 'assigned-ips', resource, domain, proxyIps: proxies.map(ip) }),
      { client },
    );
  }

  lastStatus(): string | undefined {
    const packet = this.link.sent.at(-1)?.packet;
    const event = packet && packet[6] === 255 ? parseControlPacket(packet) : undefined;
    return event?.kind === 'domain-status' ? event.status : undefined;
  }

  events(): GatewayEvent[] {
    const events: GatewayEvent[] = [];
    for (let event = this.gateway.pollEvent(); event; event = this.gateway.pollEvent())
      events.push(event);
    return events;
  }

  advance(milliseconds: number): void {
    this.now = later(this.now, milliseconds);
    this.gateway.handleTimeout(this.now);
  }

  /** One packet out of the client's tunnel; the bytes that would be written to the TUN device, and what was answered. */
  fromClient(
    packet: Uint8Array,
    options: { client?: TestClient; ecn?: number } = {},
  ): { readonly forwarded: Uint8Array | undefined; readonly answers: Uint8Array[] } {
    const { client = ALICE, ecn = 0 } = options;
    const offset = 64;
    const { slab, superPackets: rows } = this.#receive;
    slab.set(packet, offset);
    rows.fill(0, 0, SUPER.stride);
    rows[SUPER.offset] = offset;
    rows[SUPER.length] = packet.length;
    rows[SUPER.segments] = 1;
    rows[SUPER.slot] = (this.link.slots as string[]).indexOf(client.id);
    rows[SUPER.ecn] = ecn;
    rows[SUPER.verdict] = 77;
    this.#receive.superCount = 1;
    const before = this.link.sent.length;
    this.gateway.handleSuperPackets(this.#receive, this.now);
    const isForwarded = rows[SUPER.verdict] === VERDICT.forward;
    const forwarded = isForwarded ? slab.slice(offset, offset + packet.length) : undefined;
    return { forwarded, answers: this.link.sent.slice(before).map((sent) => sent.packet) };
  }

  /** Where packets of clients come from, from now on: addresses and ports outside of the tunnel. */
  setOuter(remote: string, remotePort: number, local = '192.0.2.10', localPort = 52_625): void {
    const { runs } = this.#receive;
    writeAddressWords(ip(remote), runs, RUN.remote);
    runs[RUN.remotePort] = remotePort;
    writeAddressWords(ip(local), runs, RUN.local);
    runs[RUN.localPort] = localPort;
  }

  /** A chain of TCP or UDP segments, given by its first segment. */
  superFromClient(
    first: Uint8Array,
    headers: { ip: number; transport: number },
    payloads: number,
  ): Uint8Array | undefined {
    const offset = 64;
    const { slab, superPackets: rows } = this.#receive;
    const segmentLength = first.length - headers.ip - headers.transport;
    slab.set(first, offset);
    rows.fill(0, 0, SUPER.stride);
    rows[SUPER.offset] = offset;
    rows[SUPER.length] = headers.ip + headers.transport + payloads;
    rows[SUPER.ipHeaderLength] = headers.ip;
    rows[SUPER.transportHeaderLength] = headers.transport;
    rows[SUPER.segmentLength] = segmentLength;
    rows[SUPER.segments] = Math.ceil(payloads / segmentLength);
    rows[SUPER.flags] = SUPER_FLAG.checksumOnWrite;
    rows[SUPER.slot] = 0;
    this.#receive.superCount = 1;
    this.gateway.handleSuperPackets(this.#receive, this.now);
    return rows[SUPER.verdict] === VERDICT.forward
      ? slab.slice(offset, offset + first.length)
      : undefined;
  }

  /** One packet from the TUN device; the bytes that would be sealed, with slot and ECN. */
  fromTun(
    packet: Uint8Array,
    options: {
      gsoType?: number;
      gsoSegment?: number;
      headerLength?: number;
      isPartial?: boolean;
      checksumOffset?: number;
    } = {},
  ): {
    readonly sealed: Uint8Array | undefined;
    readonly slot: number;
    readonly ecn: number;
    readonly alone: Uint8Array[];
  } {
    const offset = 128;
    const { slab, packets: rows } = this.#tun;
    slab.set(packet, offset);
    rows.fill(0, 0, TUN_PACKET.stride);
    rows[TUN_PACKET.offset] = offset;
    rows[TUN_PACKET.length] = packet.length;
    rows[TUN_PACKET.gsoType] = options.gsoType ?? 0;
    rows[TUN_PACKET.gsoSegment] = options.gsoSegment ?? 0;
    rows[TUN_PACKET.headerLength] = options.headerLength ?? 0;
    rows[TUN_PACKET.flags] = options.isPartial === true ? TUN_FLAG.checksumNeeded : 0;
    rows[TUN_PACKET.checksumStart] = 20;
    rows[TUN_PACKET.checksumOffset] = options.checksumOffset ?? 0;
    rows[TUN_PACKET.slot] = 77;
    this.#tun.packetCount = 1;
    const before = this.link.sent.length;
    this.gateway.handleTunPackets(this.#tun, this.now);
    const slot = rows[TUN_PACKET.slot] ?? -1;
    return {
      sealed: slot >= 0 ? slab.slice(offset, offset + packet.length) : undefined,
      slot,
      ecn: rows[TUN_PACKET.ecn] ?? -1,
      alone: this.link.sent.slice(before).map((sent) => sent.packet),
    };
  }

  /** The drops that were counted, of both directions. */
  drops(): Readonly<Record<string, number>> {
    const { dropsToClient, dropsToResource } = this.gateway.snapshot();
    return { ...dropsToResource, ...dropsToClient };
  }
}

export function initPayload(
  authorizations: readonly { client: string; resource: string; expiresIn: number }[] = [],
): Extract<GatewayInbound, { event: 'init' }>['payload'] {
  return {
    interface: { ipv4: GATEWAY_IPV4, ipv6: GATEWAY_IPV6 },
    config: { ipv4MasqueradeEnabled: true, ipv6MasqueradeEnabled: true },
    relays: [],
    accountSlug: 'acme',
    authorizations: authorizations.map(({ client, resource, expiresIn }) => ({
      clientId: clientId(client),
      resourceId: resourceId(resource),
      expiresAt: unixMillis(UNIX_ZERO + expiresIn),
    })),
    flowLogs: { apiUrl: 'https://logs.test', uploadIntervalSecs: 0, uploadBatchSize: 0 },
  };
}

export function authorization(
  resource: GatewayResource,
  client: TestClient,
  expiresIn: number | undefined,
): CreateAuthorization {
  const device = {
    version: null,
    deviceOsName: null,
    deviceOsVersion: null,
    deviceSerial: null,
    deviceUuid: null,
    identifierForVendor: null,
    firebaseInstallationId: null,
  };
  return {
    ref: `ref-${resource.id}`,
    resource,
    gatewayIceCredentials: { username: 'gate', password: 'gate-password' },
    clientIceCredentials: { username: 'clie', password: 'client-password' },
    client: {
      id: clientId(client.id),
      publicKey: new Uint8Array(32).fill(1),
      presharedKey: new Uint8Array(32).fill(2),
      ipv4: ip(client.ipv4),
      ipv6: ip(client.ipv6),
      ...device,
    },
    expiresAt: expiresIn === undefined ? null : unixMillis(UNIX_ZERO + expiresIn),
    useIceless: false,
    flowLogsIngestToken: {} as CreateAuthorization['flowLogsIngestToken'],
    subject: null,
  };
}
