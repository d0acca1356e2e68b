// The table of a NAT box, by the words of RFC 4787: on what a mapping depends (§4.1), which port it gets (§4.2), what is let in (§5), how long it lasts (§4.3).
// UDP only. It translates endpoints and knows no network.

import { type Endpoint, endpoint, type IpAddress } from '../../../src/base/address.ts';
import type { SeededRandom } from '../../../src/base/random.ts';
import type { Instant } from '../../../src/base/time.ts';

export type NatDependence =
  | 'endpoint-independent'
  | 'address-dependent'
  | 'address-and-port-dependent';

export interface NatBehaviour {
  readonly mapping: NatDependence;
  readonly filtering: NatDependence;
  /** `preserve`: the port of the inside where it is free, the next free one else. */
  readonly ports: 'preserve' | 'sequential' | 'random';
  /** Whether two hosts inside reach each other by their outside endpoints (§6). */
  readonly hairpin: boolean;
  /** Without traffic a mapping is gone after this; at least two minutes are demanded (§4.3), and some boxes keep less. */
  readonly mappingMs: number;
  /** Whether what comes in keeps a mapping alive as well (§4.3, REQ-6). */
  readonly inboundRefresh: boolean;
  readonly maxMappings: number;
}

export const FULL_CONE: NatBehaviour = {
  mapping: 'endpoint-independent',
  filtering: 'endpoint-independent',
  ports: 'sequential',
  hairpin: true,
  mappingMs: 120_000,
  inboundRefresh: true,
  maxMappings: 4096,
};
export const ADDRESS_RESTRICTED: NatBehaviour = { ...FULL_CONE, filtering: 'address-dependent' };
export const PORT_RESTRICTED: NatBehaviour = {
  ...FULL_CONE,
  filtering: 'address-and-port-dependent',
};
export const SYMMETRIC: NatBehaviour = {
  ...PORT_RESTRICTED,
  mapping: 'address-and-port-dependent',
  hairpin: false,
};

interface Mapping {
  readonly inside: Endpoint;
  readonly outside: Endpoint;
  readonly key: string;
  /** What may come in, and until when it was last spoken to. */
  readonly allowed: Map<string, Instant>;
  usedAt: Instant;
}

// Implementation
const FIRST_PORT = 40_001;
const LAST_PORT = 65_535;

export class NatTable {
  readonly behaviour: NatBehaviour;
  address: IpAddress;
  readonly #random: SeededRandom;
  readonly #byInside = new Map<string, Mapping>();
  readonly #byOutside = new Map<number, Mapping>();
  #nextPort = FIRST_PORT;

  constructor(address: IpAddress, behaviour: NatBehaviour, random: SeededRandom) {
    this.address = address;
    this.behaviour = behaviour;
    this.#random = random;
  }

  get count(): number {
    return this.#byOutside.size;
  }

  /** The outside endpoint that `inside` shows to `remote`; lets its answers in. `undefined`: no port is free. */
  translateOut(inside: Endpoint, remote: Endpoint, now: Instant): Endpoint | undefined {
    const key = `${inside.key}|${dependence(this.behaviour.mapping, remote)}`;
    const mapping = this.#live(this.#byInside.get(key), now) ?? this.#create(inside, key, now);
    if (!mapping) return undefined;
    mapping.usedAt = now;
    mapping.allowed.set(dependence(this.behaviour.filtering, remote), now);
    return mapping.outside;
  }

  translateIn(source: Endpoint, port: number, now: Instant): Endpoint | 'no-mapping' | 'filtered' {
    const mapping = this.#live(this.#byOutside.get(port), now);
    if (!mapping) return 'no-mapping';
    const { filtering, inboundRefresh, mappingMs } = this.behaviour;
    const spokenTo = mapping.allowed.get(dependence(filtering, source));
    if (spokenTo === undefined || now - spokenTo > mappingMs) return 'filtered';
    if (inboundRefresh) {
      mapping.usedAt = now;
      mapping.allowed.set(dependence(filtering, source), now);
    }
    return mapping.inside;
  }

  /** A reboot, or another outside address. */
  forget(): void {
    this.#byInside.clear();
    this.#byOutside.clear();
  }

  #create(inside: Endpoint, key: string, now: Instant): Mapping | undefined {
    this.#sweep(now);
    const port = this.#byOutside.size < this.behaviour.maxMappings ? this.#freePort(inside) : -1;
    if (port < 0) return undefined;
    const outside = endpoint(this.address, port);
    const mapping: Mapping = { inside, outside, key, allowed: new Map(), usedAt: now };
    this.#byInside.set(key, mapping);
    this.#byOutside.set(port, mapping);
    return mapping;
  }

  #freePort(inside: Endpoint): number {
    const span = LAST_PORT - FIRST_PORT + 1;
    let port = this.#firstChoice(inside, span);
    for (let tries = 0; tries < span; tries++) {
      if (!this.#byOutside.has(port)) return port;
      port = port >= LAST_PORT ? FIRST_PORT : port + 1;
    }
    return -1;
  }

  #firstChoice(inside: Endpoint, span: number): number {
    switch (this.behaviour.ports) {
      case 'preserve':
        return inside.port;
      case 'random':
        return FIRST_PORT + (this.#random.nextUint32() % span);
      case 'sequential': {
        const port = this.#nextPort;
        this.#nextPort = port >= LAST_PORT ? FIRST_PORT : port + 1;
        return port;
      }
    }
  }

  #live(mapping: Mapping | undefined, now: Instant): Mapping | undefined {
    if (!mapping || now - mapping.usedAt <= this.behaviour.mappingMs) return mapping;
    this.#remove(mapping);
    return undefined;
  }

  #sweep(now: Instant): void {
    for (const mapping of this.#byOutside.values()) this.#live(mapping, now);
  }

  #remove({ key, outside }: Mapping): void {
    this.#byInside.delete(key);
    this.#byOutside.delete(outside.port);
  }
}

export function dependence(kind: NatDependence, remote: Endpoint): string {
  switch (kind) {
    case 'endpoint-independent':
      return '';
    case 'address-dependent':
      return remote.address;
    case 'address-and-port-dependent':
      return remote.key;
  }
}
