// Guessed candidates of a peer (connectivity 5.7): a port forwarding of its well-known port makes it reachable at the
// address of a server-reflexive and the port of a host candidate, even where its NAT is symmetric. They are never signalled.

import { endpoint, familyOf } from '../../base/address.ts';
import { computeFoundation, type IceCandidate } from './candidate.ts';
import { COMPONENT, candidatePriority, localPreference } from './priority.ts';

// Specification

/** Connectivity 3: many would cost more than they find (connectivity 12, `7222167b13`). */
const MAX_OPTIMISTIC_PER_CALL = 2;

/** To be tried after each remote addition; `known` are all candidates of the peer. */
export function optimisticCandidates(known: readonly IceCandidate[]): readonly IceCandidate[] {
  const taken = new Set(known.map(({ address }) => address.key));
  const out: IceCandidate[] = [];
  for (const outside of ipv4Of(known, 'srflx')) {
    for (const host of ipv4Of(known, 'host')) {
      const address = endpoint(outside.address.address, host.address.port);
      if (taken.has(address.key) || out.length === MAX_OPTIMISTIC_PER_CALL) continue;
      taken.add(address.key);
      out.push(guess(address));
    }
  }
  return out;
}

function ipv4Of(known: readonly IceCandidate[], kind: IceCandidate['kind']): IceCandidate[] {
  return known.filter((one) => one.kind === kind && familyOf(one.address.address) === 4);
}

function guess(address: IceCandidate['address']): IceCandidate {
  // As a server-reflexive candidate that was never in its owner's agent (connectivity 5.4).
  const preference = localPreference('host', 4, 0, false);
  const priority = candidatePriority('srflx', preference);
  const foundation = computeFoundation('srflx', address.address, priority);
  return { kind: 'srflx', foundation, component: COMPONENT, priority, address, base: address };
}
