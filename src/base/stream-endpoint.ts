// A stream (TCP, TLS) between a TURN client and its relay, written as an endpoint: everything that names a server socket or a client
// by an `Endpoint` then also names a stream, and only `io` has to know that its datagrams are frames of a connection.
//
//   [ff00::<id>]:<port of the far end>
//
// The address is multicast of the reserved scope 0 (RFC 4291 §2.7): no packet may have it as its source, and the kernel drops those
// that do, so nobody outside can pretend to be a stream.

import { type Endpoint, endpoint, type IpAddress, ipBytes, ipFromBytes } from './address.ts';
import { int32At, viewOf } from './bytes.ts';

// Implementation
const FIRST_WORD = 0xff00_0000 | 0;
const PREFIX = 'ff00::';

/** `id` is a positive 32-bit number, unique among the streams of the process. */
export function streamEndpoint(id: number, port: number): Endpoint {
  const bytes = new Uint8Array(16);
  bytes[0] = 0xff;
  viewOf(bytes).setUint32(12, id);
  return endpoint(ipFromBytes(bytes), port);
}

export function isStreamAddress(address: IpAddress): boolean {
  return address.startsWith(PREFIX);
}

/** Hot: the stream that the four address words at `index` name; 0: none. */
export function streamIdAt(words: Int32Array, index: number): number {
  return int32At(words, index) === FIRST_WORD && int32At(words, index + 1) === 0
    ? int32At(words, index + 3)
    : 0;
}

/** 0: it names none. */
export function streamIdOf({ address }: Endpoint): number {
  return isStreamAddress(address) ? viewOf(ipBytes(address)).getUint32(12) : 0;
}
