// Hot path. From rows of a batch to parsed packets. A super-packet's headers still tell the lengths of its first segment
// (`gather` leaves them), the kernel's GSO packets tell the length of the whole; this is where the difference is known.

import {
  type ReceiveBatch,
  SUPER,
  SUPER_FLAG,
  TUN_FLAG,
  TUN_PACKET,
  type TunBatch,
} from '../../base/batch.ts';
import { int32At, viewOf } from '../../base/bytes.ts';
import { fold, nonZeroChecksumOf, sumBytes } from './checksum.ts';
import { IPV4 } from './ipv4.ts';
import { IPV6 } from './ipv6.ts';
import {
  KEEP_CHECKSUM,
  type ParsedPacket,
  type ParseOutcome,
  parsePacket,
} from './parsed-packet.ts';

export type RowOutcome = ParseOutcome | 'too-large';

/** Parses the first segment of super-packet `index`; `target.length` is that segment's. */
export function parseSuperPacket(
  batch: ReceiveBatch,
  index: number,
  target: ParsedPacket,
  mtu: number,
): RowOutcome {
  const { superPackets: rows, view } = batch;
  const row = index * SUPER.stride;
  const length =
    int32At(rows, row + SUPER.segments) > 1
      ? int32At(rows, row + SUPER.ipHeaderLength) +
        int32At(rows, row + SUPER.transportHeaderLength) +
        int32At(rows, row + SUPER.segmentLength)
      : int32At(rows, row + SUPER.length);
  if (length > mtu) return 'too-large';
  const outcome = parsePacket(view, int32At(rows, row + SUPER.offset), length, target);
  const isCompletedLater = (int32At(rows, row + SUPER.flags) & SUPER_FLAG.checksumOnWrite) !== 0;
  target.keepChecksums = isCompletedLater ? KEEP_CHECKSUM.none : KEEP_CHECKSUM.all;
  return outcome;
}

/** Parses packet `index` from the TUN device, GSO or not; `target.tunnelLength` is that of its first segment. */
export function parseTunPacket(batch: TunBatch, index: number, target: ParsedPacket): ParseOutcome {
  const { packets: rows, view } = batch;
  const row = index * TUN_PACKET.stride;
  const length = int32At(rows, row + TUN_PACKET.length);
  const gsoSegment = int32At(rows, row + TUN_PACKET.gsoSegment);
  const isGso = int32At(rows, row + TUN_PACKET.gsoType) !== 0;
  const packetLength = isGso ? int32At(rows, row + TUN_PACKET.headerLength) + gsoSegment : length;
  target.tunnelLength = packetLength;
  const outcome = parsePacket(view, int32At(rows, row + TUN_PACKET.offset), length, target);
  const isPartial = (int32At(rows, row + TUN_PACKET.flags) & TUN_FLAG.checksumNeeded) !== 0;
  target.keepChecksums = isPartial ? KEEP_CHECKSUM.ip : KEEP_CHECKSUM.all;
  return outcome;
}

/** A copy of TUN packet `index`, with its transport checksum if the kernel left that to the device. Cold; not for GSO. */
export function copyTunPacket(batch: TunBatch, index: number, packet: ParsedPacket): Uint8Array {
  const { packets: rows, slab } = batch;
  const row = index * TUN_PACKET.stride;
  const offset = int32At(rows, row + TUN_PACKET.offset);
  const copy = slab.slice(offset, offset + int32At(rows, row + TUN_PACKET.length));
  if ((int32At(rows, row + TUN_PACKET.flags) & TUN_FLAG.checksumNeeded) === 0) return copy;
  const view = viewOf(copy);
  const start = packet.headerLength;
  const length = copy.length - start;
  const field =
    int32At(rows, row + TUN_PACKET.checksumStart) + int32At(rows, row + TUN_PACKET.checksumOffset);
  if (field + 2 > copy.length) return copy;
  const addresses =
    packet.version === 4 ? sumBytes(view, IPV4.source, 8) : sumBytes(view, IPV6.source, 32);
  view.setUint16(field, 0);
  const sum = addresses + packet.protocol + length + sumBytes(view, start, length);
  view.setUint16(field, nonZeroChecksumOf(fold(sum)));
  return copy;
}
