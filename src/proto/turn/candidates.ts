// What an allocation learns about our own addresses: per address family a host, a server-reflexive and a relayed candidate
// (relay 4.9; RFC 8445 §5.1.1). A new value replaces the old one without a word; only relayed ones are ever withdrawn.

import { type Endpoint, familyOf, type IpFamily, ipBytes } from '../../base/address.ts';
import { at } from '../../base/bytes.ts';
import type { StunMessage } from '../../wire/stun/message.ts';

export interface TurnCandidate {
  readonly kind: 'host' | 'srflx' | 'relayed';
  readonly address: Endpoint;
  /** Where its datagrams leave from; for host and relayed candidates the address itself. */
  readonly base: Endpoint;
  /** Relayed: family of our path to the relay. */
  readonly viaFamily?: IpFamily;
}

export class TurnCandidates {
  readonly #slots = new Map<string, TurnCandidate>();

  /** The candidate, if it is valid and was not known. */
  add(candidate: TurnCandidate): TurnCandidate | undefined {
    const { kind, address, base } = candidate;
    if (!isUsable(address) || !isUsable(base)) return undefined;
    const family = familyOf(address.address);
    if (family !== familyOf(base.address)) return undefined;
    const slot = `${kind} ${family}`;
    const known = this.#slots.get(slot);
    if (known?.address.key === address.key && known.base.key === base.key) return undefined;
    this.#slots.set(slot, candidate);
    return candidate;
  }

  /** IPv4 first (relay 4.10). */
  takeRelayed(): readonly TurnCandidate[] {
    const taken: TurnCandidate[] = [];
    for (const family of [4, 6]) {
      const candidate = this.#slots.get(`relayed ${family}`);
      if (candidate) taken.push(candidate);
      this.#slots.delete(`relayed ${family}`);
    }
    return taken;
  }

  relayed(family: IpFamily): Endpoint | undefined {
    return this.#slots.get(`relayed ${family}`)?.address;
  }

  all(): readonly TurnCandidate[] {
    return [...this.#slots.values()];
  }
}

/** relay 4.9: no unspecified, multicast, broadcast or IPv4 link-local address; relay 7.2 rule 11: no port 0. */
export function isUsable({ address, port }: Endpoint): boolean {
  if (port === 0) return false;
  const bytes = ipBytes(address);
  if (bytes.length === 16) return at(bytes, 0) !== 0xff && bytes.some((byte) => byte !== 0);
  const first = at(bytes, 0);
  if (first === 0 || first >= 224) return false;
  return !(first === 169 && at(bytes, 1) === 254);
}

/** The first usable XOR-RELAYED-ADDRESS of each family, IPv4 first (relay 4.9, 7.2 rule 11). */
export function relayedAddresses(message: StunMessage): readonly Endpoint[] {
  const found: Endpoint[] = [];
  for (const family of [4, 6]) {
    for (const { kind, value } of message.attributes) {
      if (kind !== 'xor-relayed-address') continue;
      if (familyOf(value.address) !== family || !isUsable(value)) continue;
      found.push(value);
      break;
    }
  }
  return found;
}
