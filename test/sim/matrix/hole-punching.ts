// What UDP hole punching can do between two positions (RFC 5128 §3.3, with peers that learn each other's address from what arrives, RFC 8445 §7.3.1.3):
// both send to all that they know of the other, again and again, until nothing new is learnt. No protocol, no time, no retransmission: what is not
// found here is not to be had without a relay, and what is found here a right implementation of ICE finds as well.

import { type Endpoint, endpoint, type IpAddress } from '../../../src/base/address.ts';
import { SeededRandom } from '../../../src/base/random.ts';
import { instant } from '../../../src/base/time.ts';
import { NatTable } from '../network/nat-table.ts';
import type { Position, Translators } from './positions.ts';

const NOW = instant(0);
const ROUNDS = 6;
const RENDEZVOUS = endpoint('198.51.100.200' as IpAddress, 3478);

interface Peer {
  readonly inside: Endpoint;
  readonly boxes: readonly NatTable[];
  /** Where the other one has been told to be, or was heard from. */
  readonly known: Map<string, Endpoint>;
  /** A check was answered by whom it was sent to. */
  isDirect: boolean;
}

export function isDirectPossible(client: Position, gateway: Position): boolean {
  if (client.hasIpv6 && gateway.hasIpv6) return true;
  if (!client.ipv4 || !gateway.ipv4) return false;
  const left = peer(1, client.ipv4);
  const right = peer(2, gateway.ipv4);
  for (const [one, other] of [
    [left, right],
    [right, left],
  ] as const) {
    const seen = outwards(one, RENDEZVOUS);
    other.known.set(seen.key, seen);
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const to of [...left.known.values()]) deliver(left, right, to);
    for (const to of [...right.known.values()]) deliver(right, left, to);
  }
  return left.isDirect && right.isDirect;
}

function peer(number: number, translators: Translators): Peer {
  const inside = endpoint(`10.${number}.0.2` as IpAddress, 52_625);
  const boxes = translators.map((behaviour, index) => {
    const address = `203.0.${number}.${index}` as IpAddress;
    return new NatTable(address, behaviour, new SeededRandom(number));
  });
  return { inside, boxes, known: new Map(), isDirect: false };
}

/** The source that `to` sees. */
function outwards({ inside, boxes }: Peer, to: Endpoint): Endpoint {
  return boxes.reduce((source, box) => box.translateOut(source, to, NOW) ?? source, inside);
}

function arrives({ inside, boxes }: Peer, from: Endpoint, to: Endpoint): boolean {
  let destination = to;
  for (const box of [...boxes].reverse()) {
    if (destination.address !== box.address) return false;
    const next = box.translateIn(from, destination.port, NOW);
    if (typeof next === 'string') return false;
    destination = next;
  }
  return destination.key === inside.key;
}

/** One check, and the answer to it. */
function deliver(from: Peer, to: Peer, destination: Endpoint): void {
  const source = outwards(from, destination);
  if (!arrives(to, source, destination)) return;
  to.known.set(source.key, source);
  const answerFrom = outwards(to, source);
  // An answer from elsewhere is none (RFC 8445 §7.2.5.2.1).
  if (answerFrom.key === destination.key && arrives(from, answerFrom, source)) from.isDirect = true;
}
