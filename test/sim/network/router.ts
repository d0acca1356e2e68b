// A box between a network inside and one outside, for each family on its own: translate (RFC 4787), route with or without a stateful firewall, or not at
// all; NAT64 for hosts without IPv4 (RFC 6146, with the well-known prefix of RFC 6052); and rules about what may leave. Boxes in series make a CGNAT.

import {
  type Endpoint,
  endpoint,
  familyOf,
  type IpAddress,
  ipBytes,
  ipFromBytes,
} from '../../../src/base/address.ts';
import type { SeededRandom } from '../../../src/base/random.ts';
import type { Instant } from '../../../src/base/time.ts';
import type { Datagram } from './datagram.ts';
import { GOOD_LINK, type LinkConditions } from './link.ts';
import { type NatBehaviour, NatTable } from './nat-table.ts';
import { Attachment, type Fabric, readdressed, Segment, type Uplink } from './segment.ts';

/** Which UDP datagrams may leave. */
export type OutboundRule = 'everything' | 'no-udp' | { readonly ports: readonly number[] };

export interface RouterConfig {
  readonly name: string;
  readonly ipv4:
    | { readonly kind: 'nat'; readonly address: string; readonly behaviour: NatBehaviour }
    | { readonly kind: 'route' }
    | { readonly kind: 'none' };
  readonly ipv6:
    | { readonly kind: 'route'; readonly firewall: 'open' | 'stateful' }
    | { readonly kind: 'none' };
  /** Address of the IPv4 side. */
  readonly nat64?: { readonly address: string; readonly behaviour: NatBehaviour };
  readonly outboundRule?: OutboundRule;
  readonly link?: LinkConditions;
}

// Specification
/** RFC 6052 §2.1. */
const WELL_KNOWN_PREFIX = ipBytes('64:ff9b::' as IpAddress).subarray(0, 12);

// Implementation
/** What a stateful firewall remembers of what left. */
const FLOW_MS = 120_000;

export class Router implements Uplink {
  readonly config: RouterConfig;
  readonly inside: Segment;
  readonly outside: Segment;
  readonly attachment: Attachment;
  outboundRule: OutboundRule;
  readonly #fabric: Fabric;
  readonly #random: SeededRandom;
  readonly #nat: NatTable | undefined;
  readonly #nat64: NatTable | undefined;
  readonly #flows = new Map<string, Instant>();
  #downUntil: Instant | undefined;

  constructor(fabric: Fabric, config: RouterConfig, outside: Segment) {
    this.config = config;
    this.outside = outside;
    this.outboundRule = config.outboundRule ?? 'everything';
    this.#fabric = fabric;
    this.#random = fabric.streams.of(`router ${config.name}`);
    this.inside = new Segment(fabric, `inside ${config.name}`);
    this.inside.router = this;
    const link = config.link ?? { ...GOOD_LINK, latencyMs: 1 };
    this.attachment = new Attachment(fabric, outside, config.name, link, {
      receive: (datagram, now) => this.#inbound(datagram, now),
    });
    this.#nat = config.ipv4.kind === 'nat' ? this.#table(config.ipv4) : undefined;
    this.#nat64 = config.nat64 && this.#table(config.nat64);
  }

  routes(family: 4 | 6): boolean {
    return this.config[family === 4 ? 'ipv4' : 'ipv6'].kind === 'route';
  }

  addressShown(address: IpAddress | undefined): IpAddress | undefined {
    if (address === undefined || familyOf(address) === 6) return address;
    return this.#nat?.address ?? this.#nat64?.address ?? address;
  }

  /** Mappings of both translators. */
  get mappingCount(): number {
    return (this.#nat?.count ?? 0) + (this.#nat64?.count ?? 0);
  }

  outbound(datagram: Datagram, now: Instant): void {
    if (this.#isDown(now)) return this.#drop(datagram, 'rebooting');
    if (!this.#mayLeave(datagram)) return this.#drop(datagram, 'firewall');
    const { source, destination } = datagram;
    if (familyOf(destination.address) === 4) return this.#outbound4(datagram, now);
    const embedded = this.#nat64 && embeddedIpv4(destination.address);
    if (this.#nat64 && embedded) {
      const shown = this.#nat64.translateOut(source, endpoint(embedded, destination.port), now);
      if (!shown) return this.#drop(datagram, 'ports-exhausted');
      return this.attachment.send(
        readdressed(datagram, shown, endpoint(embedded, destination.port)),
      );
    }
    if (this.config.ipv6.kind === 'none') return this.#drop(datagram, 'family-not-routed');
    this.#flows.set(`${source.key}|${destination.key}`, now);
    this.attachment.send(datagram);
  }

  /** All state is gone; for that long nothing passes. */
  reboot(downMs: number, now: Instant): void {
    this.#nat?.forget();
    this.#nat64?.forget();
    this.#flows.clear();
    this.#downUntil = (now + downMs) as Instant;
  }

  /** The provider gives another address. */
  renumber(address: string): void {
    const table = this.#nat;
    if (!table) return;
    this.outside.release(table.address, this.attachment);
    table.address = address as IpAddress;
    table.forget();
    this.outside.claim(table.address, this.attachment);
  }

  #outbound4(datagram: Datagram, now: Instant): void {
    const { source, destination } = datagram;
    if (this.config.ipv4.kind === 'none') return this.#drop(datagram, 'family-not-routed');
    if (!this.#nat) return this.attachment.send(datagram);
    const isHairpin = destination.address === this.#nat.address;
    if (isHairpin && !this.#nat.behaviour.hairpin) return this.#drop(datagram, 'no-hairpin');
    const shown = this.#nat.translateOut(source, destination, now);
    if (!shown) return this.#drop(datagram, 'ports-exhausted');
    const translated = readdressed(datagram, shown, destination);
    if (isHairpin) this.#inbound(translated, now);
    else this.attachment.send(translated);
  }

  #inbound(datagram: Datagram, now: Instant): void {
    if (this.#isDown(now)) return this.#drop(datagram, 'rebooting');
    const { source, destination } = datagram;
    const { address } = destination;
    if (address === this.#nat?.address) return this.#inbound4(this.#nat, datagram, source, now);
    if (address === this.#nat64?.address) {
      return this.#inbound4(this.#nat64, datagram, synthesized(source), now);
    }
    if (familyOf(address) === 6 && !this.#passesFirewall(source, destination, now)) {
      return this.#drop(datagram, 'filtered');
    }
    this.inside.forward(datagram, undefined, now);
  }

  #inbound4(table: NatTable, datagram: Datagram, shown: Endpoint, now: Instant): void {
    const inside = table.translateIn(datagram.source, datagram.destination.port, now);
    if (typeof inside === 'string') return this.#drop(datagram, inside);
    this.inside.forward(readdressed(datagram, shown, inside), undefined, now);
  }

  #passesFirewall(source: Endpoint, destination: Endpoint, now: Instant): boolean {
    if (this.config.ipv6.kind !== 'route' || this.config.ipv6.firewall === 'open') return true;
    const key = `${destination.key}|${source.key}`;
    const seen = this.#flows.get(key);
    if (seen === undefined || now - seen > FLOW_MS) return false;
    this.#flows.set(key, now);
    return true;
  }

  #mayLeave({ destination }: Datagram): boolean {
    const rule = this.outboundRule;
    if (rule === 'everything') return true;
    return rule !== 'no-udp' && rule.ports.includes(destination.port);
  }

  #table({ address, behaviour }: { address: string; behaviour: NatBehaviour }): NatTable {
    const own = address as IpAddress;
    this.outside.claim(own, this.attachment);
    return new NatTable(own, behaviour, this.#random);
  }

  #isDown(now: Instant): boolean {
    return this.#downUntil !== undefined && now < this.#downUntil;
  }

  #drop(datagram: Datagram, reason: Parameters<Fabric['drop']>[1]): void {
    this.#fabric.drop(datagram, reason, this.config.name);
  }
}

/** The IPv4 address in an address of the well-known prefix (RFC 6052 §2.2). */
export function embeddedIpv4(address: IpAddress): IpAddress | undefined {
  const bytes = ipBytes(address);
  const isEmbedding = WELL_KNOWN_PREFIX.every((byte, index) => bytes[index] === byte);
  return isEmbedding ? ipFromBytes(bytes.subarray(12)) : undefined;
}

/** An IPv4 endpoint as a host without IPv4 sees it. */
export function synthesized({ address, port }: Endpoint): Endpoint {
  const bytes = new Uint8Array(16);
  bytes.set(WELL_KNOWN_PREFIX);
  bytes.set(ipBytes(address), 12);
  return endpoint(ipFromBytes(bytes), port);
}
