// Data without channels (RFC 8656 §11): Send indications of a client to a peer, and what a peer sends back as Data indications. Cold: a
// client that moves bulk binds channels.

import { addressFromWords, type Endpoint, endpoint, familyOf } from '../../../base/address.ts';
import { type ReceiveBatch, RUN } from '../../../base/batch.ts';
import { at } from '../../../base/bytes.ts';
import type { Instant } from '../../../base/time.ts';
import { findAttribute, type StunMessage } from '../../../wire/stun/message.ts';
import type { ServerAllocation } from './allocations.ts';
import { clientSocket, relaySocket } from './channel-bindings.ts';
import type { ForwardTotals } from './forwarding.ts';
import { isPeerAllowed, type PeerPolicy } from './peer-policy.ts';
import type { Permissions } from './permissions.ts';
import type { Responses } from './responses.ts';
import type { ServerDrop, ServerTransmit } from './server-types.ts';

// Implementation
/** With its header and attributes an indication must be a datagram. */
const MAX_DATA_LENGTH = 65_000;

export interface IndicationDeps {
  readonly peerPolicy: PeerPolicy;
  readonly permissions: Permissions;
  readonly responses: Responses;
  readonly totals: ForwardTotals;
}

export class Indications {
  readonly #deps: IndicationDeps;

  constructor(deps: IndicationDeps) {
    this.#deps = deps;
  }

  /** RFC 8656 §11.2. */
  toPeer(
    indication: StunMessage,
    { index, families }: ServerAllocation,
    now: Instant,
  ): ServerTransmit | ServerDrop {
    const { peerPolicy, permissions, totals } = this.#deps;
    const peer = findAttribute(indication, 'xor-peer-address');
    const data = findAttribute(indication, 'data');
    // Whoever wants its packets not to be fragmented must not have them sent otherwise (RFC 8656 §11.2).
    const isUnserved = findAttribute(indication, 'dont-fragment') !== undefined;
    if (!peer || !data?.length || isUnserved) return 'malformed-indication';
    const family = familyOf(peer.address);
    const isGranted = permissions.has(index, peer, now);
    if (!isGranted || !families.includes(family) || !isPeerAllowed(peer, peerPolicy)) {
      return 'no-permission';
    }
    totals.toPeerPackets += 1;
    totals.toPeerBytes += data.length;
    return { destination: peer, payload: data.slice(), ecn: 0, socket: relaySocket(index, family) };
  }

  /** RFC 8656 §11.3, for every datagram of a run. */
  toClient(
    batch: ReceiveBatch,
    run: number,
    { client, local }: ServerAllocation,
  ): ServerTransmit[] {
    const { responses, totals } = this.#deps;
    const { runs, slab } = batch;
    const row = run * RUN.stride;
    const start = at(runs, row + RUN.offset);
    const end = start + at(runs, row + RUN.length);
    const segment = at(runs, row + RUN.segmentLength);
    const remote = addressFromWords(runs, row + RUN.remote);
    const peer: Endpoint = endpoint(remote, at(runs, row + RUN.remotePort));
    const transmits: ServerTransmit[] = [];
    for (let offset = start; offset < end && segment > 0; offset += segment) {
      const data = slab.subarray(offset, Math.min(end, offset + segment));
      if (data.length > MAX_DATA_LENGTH) continue;
      const payload = responses.dataIndication(peer, data);
      totals.toClientPackets += 1;
      totals.toClientBytes += data.length;
      const socket = clientSocket(client);
      transmits.push({ source: local, destination: client, payload, ecn: 0, socket });
    }
    return transmits;
  }
}
