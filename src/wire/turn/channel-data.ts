// Hot path. ChannelData (RFC 8656 §12.4): four bytes in front of a payload. Over UDP there is no padding, one datagram is one
// message, and bytes behind the announced length are not payload (relay 3).
//
//   |  channel number (0x4000 to 0x4FFF)  |  length of the payload  |

import { at, viewOf } from '../../base/bytes.ts';
import { CHANNEL_MAX, CHANNEL_MIN } from '../stun/channel-number.ts';

// Specification
export const CHANNEL_DATA_HEADER_LENGTH = 4; // RFC 8656 §12.4

/** Offsets of the header's fields. */
const FIELD = { channel: 0, length: 2 } as const;

/** RFC 8656 §12.4, RFC 7983 §7: 64 to 79 is the range of channels. */
export function isChannelDataByte(first: number): boolean {
  return (first & 0xf0) === 0x40;
}

export function channelAt(view: DataView, offset: number): number {
  return view.getUint16(offset + FIELD.channel);
}

/**
 * Payload bytes of the datagram at `offset`, -1 if it is not ChannelData or shorter than it announces. It may have more
 * bytes than that: a relay forwards the payload alone, a client compares (relay 3).
 */
export function channelPayloadLength(view: DataView, offset: number, length: number): number {
  if (length < CHANNEL_DATA_HEADER_LENGTH) return -1;
  const channel = view.getUint16(offset + FIELD.channel);
  if (channel < CHANNEL_MIN || channel > CHANNEL_MAX) return -1;
  const payload = view.getUint16(offset + FIELD.length);
  return payload <= length - CHANNEL_DATA_HEADER_LENGTH ? payload : -1;
}

export function writeChannelHeader(
  view: DataView,
  offset: number,
  channel: number,
  payloadLength: number,
): void {
  view.setUint16(offset + FIELD.channel, channel);
  view.setUint16(offset + FIELD.length, payloadLength);
}

export interface ChannelData {
  readonly channel: number;
  /** A view of the datagram. */
  readonly payload: Uint8Array;
}

/** One datagram, cold; `undefined` unless its length is exactly the announced one. */
export function parseChannelData(datagram: Uint8Array): ChannelData | undefined {
  if (datagram.length < CHANNEL_DATA_HEADER_LENGTH || !isChannelDataByte(at(datagram, 0))) {
    return undefined;
  }
  const view = viewOf(datagram);
  const payloadLength = channelPayloadLength(view, 0, datagram.length);
  if (payloadLength !== datagram.length - CHANNEL_DATA_HEADER_LENGTH) return undefined;
  return { channel: channelAt(view, 0), payload: datagram.subarray(CHANNEL_DATA_HEADER_LENGTH) };
}

/** One datagram, cold. */
export function writeChannelData(channel: number, payload: Uint8Array): Uint8Array {
  const datagram = new Uint8Array(CHANNEL_DATA_HEADER_LENGTH + payload.length);
  writeChannelHeader(viewOf(datagram), 0, channel, payload.length);
  datagram.set(payload, CHANNEL_DATA_HEADER_LENGTH);
  return datagram;
}
