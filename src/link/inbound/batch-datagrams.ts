// The cold way out of a batch: datagrams as objects of their own, copied, because the slab is reused when the batch handler
// returns. For control traffic and for whatever the hot path did not recognise.

import { addressFromWords, type Endpoint, endpoint } from '../../base/address.ts';
import { DATAGRAM, type ReceiveBatch, RUN } from '../../base/batch.ts';
import { at } from '../../base/bytes.ts';
import type { Ecn } from '../../base/transmit.ts';
import { channelAt } from '../../wire/turn/channel-data.ts';
import type { Arrival, Datagram } from '../connection/path-finder.ts';
import type { Relays } from '../relays/relays.ts';

export interface ReceivedDatagram extends Datagram {
  readonly ecn: Ecn;
}

/** Every datagram of the run at `row`. */
export function datagramsOfRun(batch: ReceiveBatch, row: number): ReceivedDatagram[] {
  const { runs } = batch;
  const start = at(runs, row + RUN.offset);
  const end = start + at(runs, row + RUN.length);
  const segmentLength = at(runs, row + RUN.segmentLength);
  if (segmentLength <= 0) return [];
  const datagrams: ReceivedDatagram[] = [];
  for (let offset = start; offset < end; offset += segmentLength) {
    datagrams.push(copied(batch, row, offset, Math.min(segmentLength, end - offset)));
  }
  return datagrams;
}

/** A datagram that `open` found foreign to its run; `row` is its datagram row. */
export function foreignDatagram(batch: ReceiveBatch, row: number): ReceivedDatagram {
  const { datagrams } = batch;
  const run = at(datagrams, row + DATAGRAM.run) * RUN.stride;
  const offset = at(datagrams, row + DATAGRAM.offset);
  return copied(batch, run, offset, at(datagrams, row + DATAGRAM.rawLength));
}

/** How the run at `row` came, seen from behind the relay that passed it on; `undefined` where that has gone. */
export function arrivalOfRun(
  batch: ReceiveBatch,
  row: number,
  relays: Relays,
): Arrival | undefined {
  const { runs, view } = batch;
  if (at(runs, row + RUN.headerLength) === 0) {
    return {
      from: endpointAt(runs, row + RUN.remote),
      local: endpointAt(runs, row + RUN.local),
    };
  }
  const relay = relays.findByWords(runs, row + RUN.remote);
  const ends = relay?.allocation.peerOfChannel(channelAt(view, at(runs, row + RUN.offset)));
  return ends && { from: ends.peer, local: ends.relayed };
}

function copied(
  batch: ReceiveBatch,
  row: number,
  offset: number,
  length: number,
): ReceivedDatagram {
  return {
    bytes: batch.slab.slice(offset, offset + length),
    from: endpointAt(batch.runs, row + RUN.remote),
    local: endpointAt(batch.runs, row + RUN.local),
    ecn: ecnOf(at(batch.runs, row + RUN.ecn)),
  };
}

function endpointAt(runs: Int32Array, index: number): Endpoint {
  return endpoint(addressFromWords(runs, index), at(runs, index + 4));
}

function ecnOf(bits: number): Ecn {
  return (bits & 3) as Ecn;
}
