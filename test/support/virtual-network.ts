// A small internet with a virtual clock for tests of pure machines: hosts with addresses, a latency, and NAT routers after RFC 4787
// (mapping and filtering behaviour chosen one by one). Nothing is random. It carries bytes and knows no protocol.
//
//   host 10.0.0.2:52625 --> Nat 198.51.100.7 --> [ latency ] --> Nat 203.0.113.9 --> host 192.168.1.5:52625

import { type Endpoint, endpoint, type IpAddress, parseEndpoint } from '../../src/base/address.ts';
import { type Instant, instant, later } from '../../src/base/time.ts';

/** RFC 4787 §4.1 and §5: on what a mapping depends, and what is let in through one. */
export type NatDependence =
  | 'endpoint-independent'
  | 'address-dependent'
  | 'address-and-port-dependent';

export interface NatConfig {
  readonly publicAddress: string;
  readonly mapping: NatDependence;
  readonly filtering: NatDependence;
}

export const FULL_CONE = {
  mapping: 'endpoint-independent',
  filtering: 'endpoint-independent',
} as const;
export const PORT_RESTRICTED = {
  mapping: 'endpoint-independent',
  filtering: 'address-and-port-dependent',
} as const;
export const SYMMETRIC = {
  mapping: 'address-and-port-dependent',
  filtering: 'address-and-port-dependent',
} as const;

export interface Datagram {
  readonly source: Endpoint;
  readonly destination: Endpoint;
  readonly payload: Uint8Array;
}

export type Receiver = (datagram: Datagram, now: Instant) => void;

/** What machines need of a network, and what moves its time; `test/sim/matrix` has one with routers. */
export interface DatagramNetwork {
  now: Instant;
  isDelivered: (datagram: Datagram) => boolean;
  attach(host: Endpoint, nat: Nat | undefined, receive: Receiver): void;
  detach(host: Endpoint): void;
  send(datagram: Datagram): void;
  nextArrival(): Instant | undefined;
  deliver(): void;
}

export function ep(text: string): Endpoint {
  const parsed = parseEndpoint(text);
  if (!parsed) throw new Error(`not an endpoint: ${text}`);
  return parsed;
}

export class Nat {
  readonly config: NatConfig;
  readonly #mappings = new Map<
    string,
    { outside: Endpoint; inside: Endpoint; allowed: Set<string> }
  >();
  #nextPort = 40_001;

  constructor(config: NatConfig) {
    this.config = config;
  }

  /** The outside endpoint that `inside` shows to `destination`; opens the filter for it. */
  translateOut(inside: Endpoint, destination: Endpoint): Endpoint {
    const key = `${inside.key} ${dependence(this.config.mapping, destination)}`;
    let mapping = this.#mappings.get(key);
    if (!mapping) {
      const outside = endpoint(this.config.publicAddress as IpAddress, this.#nextPort++);
      mapping = { outside, inside, allowed: new Set() };
      this.#mappings.set(key, mapping);
    }
    mapping.allowed.add(dependence(this.config.filtering, destination));
    return mapping.outside;
  }

  translateIn(source: Endpoint, outside: Endpoint): Endpoint | undefined {
    for (const mapping of this.#mappings.values()) {
      if (mapping.outside.key !== outside.key) continue;
      return mapping.allowed.has(dependence(this.config.filtering, source))
        ? mapping.inside
        : undefined;
    }
    return undefined;
  }

  /** Forgets all mappings: a reboot, or another address by the provider. */
  reset(): void {
    this.#mappings.clear();
  }
}

export class VirtualNetwork implements DatagramNetwork {
  now: Instant = instant(0);
  latencyMs = 10;
  /** Everything that was sent, before any NAT; with the time. */
  readonly sent: (Datagram & { readonly at: Instant })[] = [];
  /** Say no to lose a datagram. */
  isDelivered: (datagram: Datagram) => boolean = () => true;
  readonly #receivers = new Map<string, { receive: Receiver; nat: Nat | undefined }>();
  readonly #nats: Nat[] = [];
  #inFlight: (Datagram & { readonly at: Instant })[] = [];

  addNat(config: NatConfig): Nat {
    const nat = new Nat(config);
    this.#nats.push(nat);
    return nat;
  }

  attach(host: Endpoint, nat: Nat | undefined, receive: Receiver): void {
    this.#receivers.set(host.key, { receive, nat });
  }

  detach(host: Endpoint): void {
    this.#receivers.delete(host.key);
  }

  send(datagram: Datagram): void {
    this.sent.push({ ...datagram, at: this.now });
    if (!this.isDelivered(datagram)) return;
    const nat = this.#receivers.get(datagram.source.key)?.nat;
    const twin = this.#receivers.get(datagram.destination.key);
    const isLocal = nat !== undefined && twin?.nat === nat;
    const source =
      nat && !isLocal ? nat.translateOut(datagram.source, datagram.destination) : datagram.source;
    this.#travel({ ...datagram, source }, this.latencyMs);
  }

  /** A second copy on the way, without asking `isDelivered` again; later than the first. */
  redeliver(datagram: Datagram): void {
    this.#travel(datagram, 3 * this.latencyMs);
  }

  nextArrival(): Instant | undefined {
    return this.#inFlight[0]?.at;
  }

  /** Delivers what has arrived by now, in the order of sending. */
  deliver(): void {
    while (this.#inFlight[0] && this.#inFlight[0].at <= this.now) {
      const datagram = this.#inFlight[0];
      this.#inFlight = this.#inFlight.slice(1);
      this.#arrive(datagram);
    }
  }

  /** In order of arrival; equal times in order of sending. */
  #travel(datagram: Datagram, milliseconds: number): void {
    const at = later(this.now, milliseconds);
    let index = this.#inFlight.length;
    while (index > 0 && (this.#inFlight[index - 1]?.at ?? at) > at) index--;
    this.#inFlight.splice(index, 0, { ...datagram, at });
  }

  #arrive(datagram: Datagram): void {
    const { source, payload } = datagram;
    const nat = this.#nats.find(
      ({ config }) => config.publicAddress === datagram.destination.address,
    );
    const destination = nat ? nat.translateIn(source, datagram.destination) : datagram.destination;
    if (!destination) return;
    const host = this.#receivers.get(destination.key);
    // A private address is reached from behind its own NAT only.
    if (!host || (!nat && host.nat && !this.#isBehind(source, host.nat))) return;
    host.receive({ source, destination, payload }, this.now);
  }

  #isBehind(source: Endpoint, nat: Nat): boolean {
    return this.#receivers.get(source.key)?.nat === nat;
  }
}

function dependence(kind: NatDependence, remote: Endpoint): string {
  if (kind === 'endpoint-independent') return '';
  return kind === 'address-dependent' ? remote.address : remote.key;
}
