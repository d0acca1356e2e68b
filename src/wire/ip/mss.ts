// Hot path only as far as its caller asks for SYN. The maximum segment size that a TCP SYN announces (RFC 9293 §3.7.1), lowered to what a
// tunnel carries, so that no TCP connection depends on path-MTU discovery.

import { patchTransport } from './edit.ts';
import { IPV4 } from './ipv4.ts';
import { IPV6 } from './ipv6.ts';
import type { ParsedPacket } from './parsed-packet.ts';
import { TCP } from './tcp.ts';

const OPTION = { end: 0, noOperation: 1, maximumSegmentSize: 2 } as const;
const MSS_OPTION_LENGTH = 4;

/** Lowers the option to what packets of `mtu` bytes carry without options; never raises it. Whether it did. */
export function clampMss(view: DataView, packet: ParsedPacket, mtu: number): boolean {
  const headers = packet.version === 4 ? IPV4.minHeaderLength : IPV6.headerLength;
  const limit = mtu - headers - TCP.minHeaderLength;
  const value = mssOffset(view, packet);
  if (value < 0 || view.getUint16(value) <= limit) return false;
  const before = view.getUint16(value);
  view.setUint16(value, limit);
  // The checksum is a sum of words; an option may stand across two of them.
  const isOdd = ((value - packet.transportOffset) & 1) === 1;
  patchTransport(view, packet, isOdd ? swapped(before) : before, isOdd ? swapped(limit) : limit);
  return true;
}

/** Where the value of the option stands, or -1. */
function mssOffset(view: DataView, packet: ParsedPacket): number {
  const start = packet.transportOffset;
  const end = start + (view.getUint8(start + TCP.dataOffset) >> 4) * 4;
  let at = start + TCP.minHeaderLength;
  while (at < end) {
    const kind = view.getUint8(at);
    if (kind === OPTION.end) return -1;
    if (kind === OPTION.noOperation) {
      at++;
      continue;
    }
    const length = at + 1 < end ? view.getUint8(at + 1) : 0;
    if (length < 2 || at + length > end) return -1;
    if (kind === OPTION.maximumSegmentSize && length === MSS_OPTION_LENGTH) return at + 2;
    at += length;
  }
  return -1;
}

function swapped(word: number): number {
  return ((word & 0xff) << 8) | (word >> 8);
}
