// Hot path. Whether a run of datagrams is bulk data, and for which key slot: looks at the first datagram only, because `open`
// compares the others with it. Allocates nothing. Whatever it does not recognise is for the cold path, which knows the reasons.
//
//   direct    type 4, receiver index              relayed    ChannelData of a known relay and channel, then the same

import { type ReceiveBatch, RUN } from '../../base/batch.ts';
import {
  CHANNEL_DATA_HEADER_LENGTH,
  channelAt,
  channelPayloadLength,
  isChannelDataByte,
} from '../../wire/turn/channel-data.ts';
import { DATA_MIN_LENGTH, isDataMessage } from '../../wire/wireguard/messages.ts';
import type { Connection } from '../connection/connection.ts';
import type { Relays } from '../relays/relays.ts';
import type { SessionSlots } from './session-slots.ts';

// Specification

/** WireGuard §5.4.6: behind the type comes the receiver index. */
const RECEIVER_INDEX_OFFSET = 4;

export class RunClassifier {
  readonly #slots: SessionSlots<Connection>;
  readonly #relays: Relays;

  constructor(slots: SessionSlots<Connection>, relays: Relays) {
    this.#slots = slots;
    this.#relays = relays;
  }

  /** Sets `RUN.slot` and `RUN.headerLength` of the run at `row` and returns whether it is data for a session of ours. */
  classify(batch: ReceiveBatch, row: number): boolean {
    const { runs, view } = batch;
    const offset = runs[row + RUN.offset] ?? 0;
    const length = Math.min(runs[row + RUN.length] ?? 0, runs[row + RUN.segmentLength] ?? 0);
    runs[row + RUN.slot] = -1;
    runs[row + RUN.headerLength] = 0;
    if (length < DATA_MIN_LENGTH) return false;
    let headerLength = 0;
    if (isChannelDataByte(view.getUint8(offset))) {
      if (!this.#isKnownChannel(batch, row, offset, length)) return false;
      headerLength = CHANNEL_DATA_HEADER_LENGTH;
    }
    const message = offset + headerLength;
    if (!isDataMessage(view, message, length - headerLength)) return false;
    const slot = this.#slots.find(view.getInt32(message + RECEIVER_INDEX_OFFSET, true));
    if (slot < 0) return false;
    runs[row + RUN.slot] = slot;
    runs[row + RUN.headerLength] = headerLength;
    return true;
  }

  #isKnownChannel(batch: ReceiveBatch, row: number, offset: number, length: number): boolean {
    const relay = this.#relays.findByWords(batch.runs, row + RUN.remote);
    if (relay === undefined) return false;
    if (channelPayloadLength(batch.view, offset, length) < DATA_MIN_LENGTH) return false;
    return relay.allocation.handleChannelData(channelAt(batch.view, offset)) !== undefined;
  }
}
