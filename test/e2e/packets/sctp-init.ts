// The chunks that begin an SCTP association (RFC 9260 §3.3.2, 3.3.3), with right checksums: the kernel here has no SCTP, but the gateway's
// connection tracking looks at each packet.

// Specification
const INIT = 1;
const INIT_ACK = 2;
const COOKIE_PARAMETER = 7;
/** CRC-32C, reflected. */
const POLYNOMIAL = 0x82f63b78;

export function sctpInit(sourcePort: number, destinationPort: number): Uint8Array {
  return packet({ sourcePort, destinationPort, tag: 0 }, initChunk(INIT, 0x1111));
}

/** The answer to `sctpInit`: its initiate tag is the verification tag. */
export function sctpInitAck(sourcePort: number, destinationPort: number): Uint8Array {
  const cookie = Uint8Array.of(0, COOKIE_PARAMETER, 0, 8, 1, 2, 3, 4);
  return packet({ sourcePort, destinationPort, tag: 0x1111 }, initChunk(INIT_ACK, 0x2222, cookie));
}

function initChunk(type: number, tag: number, parameters = new Uint8Array()): Uint8Array {
  const chunk = new Uint8Array(20 + parameters.length);
  const view = new DataView(chunk.buffer);
  chunk[0] = type;
  view.setUint16(2, chunk.length);
  view.setUint32(4, tag);
  view.setUint32(8, 65_536); // receiver window
  view.setUint16(12, 1); // streams
  view.setUint16(14, 1);
  view.setUint32(16, 7); // initial TSN
  chunk.set(parameters, 20);
  return chunk;
}

interface Header {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly tag: number;
}

function packet({ sourcePort, destinationPort, tag }: Header, chunk: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(12 + chunk.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, sourcePort);
  view.setUint16(2, destinationPort);
  view.setUint32(4, tag);
  bytes.set(chunk, 12);
  view.setUint32(8, crc32c(bytes), true);
  return bytes;
}

function crc32c(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
  }
  return (crc ^ 0xffff_ffff) >>> 0;
}
