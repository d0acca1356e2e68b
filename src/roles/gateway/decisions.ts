// What the gateway decides about one packet: forwarded, or dropped for one of these reasons, some of them answered with an
// ICMP error (data-plane 3.3, 4.2, 5). Each reason has a counter.

import type { FragmentDrop } from '../../proto/fragments/reassembly.ts';
import type { IcmpErrorKind } from '../../wire/ip/icmp-error.ts';

export type DropReason =
  // Both directions.
  | 'malformed'
  | FragmentDrop
  | 'too-large'
  | 'no-peer'
  | 'unsupported-protocol'
  /** Between addresses of two families, and not to be carried in this form (data-plane 13). */
  | 'other-family'
  // To the resource.
  | 'multicast'
  | 'icmp-error-of-client'
  | 'source-not-allowed'
  | 'own-address'
  | 'other-peer'
  | 'internet-rejected'
  | 'no-resource'
  | 'filtered'
  | 'no-translation'
  | 'no-address'
  | 'nat-exhausted'
  // To the client.
  | 'not-a-peer'
  | 'expired-session'
  | 'unsupported-icmp'
  | 'not-initiated'
  | 'destination-not-client'
  | 'source-is-peer'
  | 'not-allowed'
  | 'not-connected';

export type Decision = 'forward' | DropReason;

/** Refusals a client is told about, with the kind of error it gets. */
const ANSWERS: Partial<Readonly<Record<Decision, IcmpErrorKind>>> = {
  'source-not-allowed': 'prohibited',
  'own-address': 'prohibited',
  'other-peer': 'prohibited',
  'no-resource': 'prohibited',
  filtered: 'prohibited',
  'internet-rejected': 'unreachable',
  'no-translation': 'unreachable',
  'no-address': 'unreachable',
};

export function answerTo(decision: Decision): IcmpErrorKind | undefined {
  return ANSWERS[decision];
}

/** Other things that are counted. */
export type GatewayCount =
  | 'icmp-errors-sent'
  /** Packets that came in fragments, became whole and went on in fragments. */
  | 'packets-reassembled'
  /** Packets for clients, longer than the tunnel carries, that went on in fragments. */
  | 'packets-fragmented'
  | 'icmp-errors-limited'
  | 'answers-not-sent'
  | 'control-packets'
  | 'control-packets-malformed'
  | 'control-packets-from-tun'
  | 'goodbyes-received'
  | 'domains-set-up'
  | 'domains-refused'
  | 'domain-wishes-limited'
  | 'domain-queries-failed'
  /** Loopback, link-local, tunnel and other addresses that no name may lead to. */
  | 'domain-addresses-refused'
  | 'nat-resets'
  /** A client has too many flows at once. */
  | 'flows-not-tracked'
  | 'authorizations-without-relay';
