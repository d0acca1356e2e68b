// Which local candidates a connection gets (connectivity 5.3), and the remote ones that are guessed for it (connectivity 5.7).
// What is done with a candidate is the agent's business; what is signalled, `signalling.ts`'s.

import { type Endpoint, endpoint, familyOf } from '../../base/address.ts';
import { addressRefusal, computeFoundation, type IceCandidate } from '../../proto/ice/candidate.ts';
import type { LocalCandidateInfo } from '../../proto/ice/local-candidates.ts';
import { candidatePriority, localPreference } from '../../proto/ice/priority.ts';

// Specification

/** connectivity 3, optimistic candidates per added candidate. */
const MAX_OPTIMISTIC_PER_CALL = 2;

// Implementation

/** Signalled remote candidates that guesses are made from; the agent bounds what it uses itself. */
const MAX_REMEMBERED = 30;
/** Interfaces of one host that are worth a candidate each; the agent bounds what it keeps itself. */
const MAX_LOCAL_ADDRESSES = 16;

/** Local interfaces and several relays report one host address. */
function localCandidateKey(info: LocalCandidateInfo): string {
  return `${info.kind} ${info.address.key} ${info.base.key}`;
}

/** What a relay reported last. */
interface Reporter {
  readonly candidates: ReadonlyMap<string, LocalCandidateInfo>;
}

/**
 * What a connection starts with, or gets when it migrates: host and server-reflexive candidates of all relays, relayed ones of the
 * chosen relay only; each once, best first.
 */
export function seedCandidates(
  hosts: readonly LocalCandidateInfo[],
  chosen: Reporter | undefined,
  relays: Iterable<Reporter>,
): readonly LocalCandidateInfo[] {
  const unique = new Map(hosts.map((info) => [localCandidateKey(info), info]));
  for (const relay of relays) {
    for (const info of relay.candidates.values()) {
      if (info.kind !== 'relayed' || relay === chosen) unique.set(localCandidateKey(info), info);
    }
  }
  return [...unique.values()].toSorted((a, b) => defaultPriority(b) - defaultPriority(a));
}

/** Our own addresses as host candidates; those that are no candidate's are left out (connectivity 5.2). */
export function hostCandidates(addresses: readonly Endpoint[]): readonly LocalCandidateInfo[] {
  return addresses
    .filter((address) => {
      const refusal = addressRefusal(address);
      return refusal === undefined || refusal === 'loopback';
    })
    .slice(0, MAX_LOCAL_ADDRESSES)
    .map((address) => ({ kind: 'host', address, base: address }));
}

/** The signalled candidates of one peer, and the guesses drawn from them. */
export class RemoteCandidateBook {
  readonly #signalled = new Map<string, IceCandidate>();
  readonly #guessed = new Set<string>();

  add(candidate: IceCandidate): void {
    if (this.#signalled.size < MAX_REMEMBERED) this.#signalled.set(keyOf(candidate), candidate);
  }

  remove(candidate: IceCandidate): void {
    this.#signalled.delete(keyOf(candidate));
  }

  /**
   * A peer behind a NAT that forwards its port: the IP of a server-reflexive candidate with the port of a host one. At most two
   * new ones per call, IPv4 only (connectivity 5.7; lesson `7222167b13`).
   */
  guess(): IceCandidate[] {
    const guesses: IceCandidate[] = [];
    const known = [...this.#signalled.values()].filter(isIpv4);
    const hosts = known.filter(({ kind }) => kind === 'host');
    for (const reflexive of known.filter(({ kind }) => kind === 'srflx')) {
      for (const host of hosts) {
        if (guesses.length >= MAX_OPTIMISTIC_PER_CALL) return guesses;
        const address = endpoint(reflexive.address.address, host.address.port);
        if (this.#isKnown(address)) continue;
        this.#guessed.add(address.key);
        guesses.push(optimisticCandidate(address, host.address));
      }
    }
    return guesses;
  }

  #isKnown(address: Endpoint): boolean {
    if (this.#guessed.has(address.key)) return true;
    return [...this.#signalled.values()].some((other) => other.address.key === address.key);
  }
}

function optimisticCandidate(address: Endpoint, base: Endpoint): IceCandidate {
  const priority = candidatePriority('srflx', localPreference('host', 4, 0, false));
  const foundation = computeFoundation('srflx', base.address, priority);
  return { kind: 'srflx', foundation, component: 1, priority, address, base };
}

function isIpv4(candidate: IceCandidate): boolean {
  return familyOf(candidate.address.address) === 4;
}

function keyOf(candidate: IceCandidate): string {
  return `${candidate.kind} ${candidate.address.key}`;
}

/** Order among kinds, families and, for relayed ones, the family they are reached by. */
function defaultPriority(info: LocalCandidateInfo): number {
  const family = familyOf(info.address.address);
  const isCrossFamily = info.viaFamily !== undefined && info.viaFamily !== family;
  return candidatePriority(info.kind, localPreference(info.kind, family, 0, isCrossFamily));
}
