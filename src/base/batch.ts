// The border between TypeScript and bulk data: batches over slabs, described by rows of 32-bit integers.
//
//   client to resource   receive -> Node.handleRuns -> open -> Node.handleOpened -> gather -> role -> writeTun
//   resource to client   readTun -> role -> sealSend
//
// A *run* is what UDP GRO delivers: datagrams of one sender and size, the last may be shorter. A *datagram* is one of
// them, opened. A *super-packet* is a chain of TCP or UDP segments of one flow with one header that stands for all. Policy
// sees super-packets, so that a bulk flow costs one decision per 64 KiB. Everything here is only layout and interface; `io`
// implements it natively, `proto/batch` in TypeScript, and one compliance suite holds both to the same behaviour.
//
// Ownership: all arrays are allocated once; rows and bytes are valid until the batch handler returns. Who keeps bytes copies.
// Addresses are four words as in `base/address.ts`. Offsets are bytes into `slab`.

/** Row of `ReceiveBatch.runs`. Fields up to `ecn` are filled by `receive`, the rest as noted. */
export const RUN = {
  stride: 20,
  offset: 0,
  /** Bytes of all datagrams of the run. */
  length: 1,
  /** Bytes of each datagram but the last. */
  segmentLength: 2,
  /** Sender: four address words, then the port. */
  remote: 3,
  remotePort: 7,
  /** Address the datagram was sent to (packet info): four words, then our port. */
  local: 8,
  localPort: 12,
  ecn: 13,
  /** Set by `Node.handleRuns`: key slot whose receive key opens the run, or -1 (control traffic, already handled). */
  slot: 14,
  /** Set by `Node.handleRuns`: bytes in front of each WireGuard message (0 direct, 4 ChannelData header). */
  headerLength: 15,
  /** Set by `open`: index of the first datagram row, and how many. */
  firstDatagram: 16,
  datagramCount: 17,
  /** Which of our sockets (`UdpSocket.id`) the run arrived on. */
  socket: 18,
} as const;

/** Row of `ReceiveBatch.datagrams`, filled by `open`. */
export const DATAGRAM = {
  stride: 9,
  /** Plaintext offset; where `length` is `foreign`, the offset of the raw datagram (before any header). */
  offset: 0,
  /** Plaintext bytes (0 = keepalive), or a negative `OPEN_FAILURE`. */
  length: 1,
  counterLow: 2,
  counterHigh: 3,
  run: 4,
  slot: 5,
  /** Set to 1 by `Node.handleOpened` when the counter passed the replay window; `gather` looks at no others. */
  accepted: 6,
  /** Raw datagram bytes (with any header). */
  rawLength: 7,
  /** Set by `gather`: the datagram whose payload follows this one's in the same super-packet, or -1. */
  next: 8,
} as const;

export const OPEN_FAILURE = {
  /** The tag is wrong. */
  notAuthenticated: -1,
  /** Not a data message of this run's session; `Node.handleOpened` looks at it one by one. */
  foreign: -2,
  /** Shorter than 32 bytes. */
  truncated: -3,
} as const;

/** Row of `ReceiveBatch.superPackets`, filled by `gather`. */
export const SUPER = {
  stride: 16,
  /** Of the IP header of the first segment; edit headers in place there. */
  offset: 0,
  /** Bytes of the whole super-packet: headers once, and all payloads. Padding behind the IP length is already cut. */
  length: 1,
  ipHeaderLength: 2,
  /** TCP or UDP header bytes; 0 for other protocols and for fragments. */
  transportHeaderLength: 3,
  protocol: 4,
  flags: 5,
  /** Transport payload bytes of each segment but the last; 0 when not gathered. */
  segmentLength: 6,
  segments: 7,
  slot: 8,
  /** ECN of the outer datagrams. */
  ecn: 9,
  /** Set by the role: `VERDICT`. */
  verdict: 10,
  firstDatagram: 11,
} as const;

export const SUPER_FLAG = {
  ipv6: 1,
  /** `writeTun` completes lengths and all checksums from the headers as they then are; where it is absent, whoever edits keeps them right. */
  checksumOnWrite: 2,
} as const;

export const VERDICT = { drop: 0, forward: 1 } as const;

/** Row of `TunBatch.packets`; up to `headerLength` filled by `readTun`, the rest by the role. */
export const TUN_PACKET = {
  stride: 16,
  offset: 0,
  length: 1,
  /** `GSO_TYPE`. */
  gsoType: 2,
  /** Transport payload bytes of each segment. */
  gsoSegment: 3,
  flags: 4,
  /** Offset of the transport header from the start of the IP packet, valid with `checksumNeeded`. */
  checksumStart: 5,
  checksumOffset: 6,
  /** IP and transport header bytes (GSO packets). */
  headerLength: 7,
  /** Set by the role: key slot to seal with, or -1: not to be sent. */
  slot: 8,
  /** Set by the role: ECN of the outer datagrams. */
  ecn: 9,
} as const;

export const GSO_TYPE = { none: 0, tcp4: 1, tcp6: 2, udp: 3 } as const;

export const TUN_FLAG = {
  ipv6: 1,
  /** The transport checksum is incomplete; `sealSend` computes it from the headers as they then are. */
  checksumNeeded: 2,
} as const;

/** Row of `TransportAead.paths`, one per key slot: where `sealSend` sends what that slot seals. */
export const PATH = {
  stride: 16,
  remote: 0,
  remotePort: 4,
  /** Source address to leave from; all zero: any. */
  local: 5,
  /** ChannelData number to put in front, or 0: direct. */
  channel: 9,
  /** 1: usable; 0: no path, `sealSend` drops and counts. */
  usable: 10,
} as const;

export interface ReceiveBatch {
  readonly slab: Uint8Array;
  readonly view: DataView;
  readonly runs: Int32Array;
  runCount: number;
  readonly datagrams: Int32Array;
  datagramCount: number;
  readonly superPackets: Int32Array;
  superCount: number;
}

export interface TunBatch {
  readonly slab: Uint8Array;
  readonly view: DataView;
  readonly packets: Int32Array;
  packetCount: number;
}

/**
 * WireGuard transport keys by small integer *slots*, one per session, and the cipher over them. Keys never leave it, so
 * that wiping is done in one place.
 */
export interface TransportAead {
  readonly capacity: number;
  /** Next send counter by slot (exact up to 2^53; a session is refused long before). */
  readonly sendCounters: Float64Array;
  /** `PATH` rows by slot. */
  readonly paths: Int32Array;
  /** Both keys are copied; `remoteIndex` is the peer's session index. -1: no slot free. */
  install(sendKey: Uint8Array, receiveKey: Uint8Array, remoteIndex: number): number;
  /** Wipes the keys and frees the slot. */
  remove(slot: number): void;
  /** One data message (type, receiver index, counter, sealed bytes); takes the next counter. Cold. */
  sealOne(slot: number, plaintext: Uint8Array): Uint8Array;
  /** Plaintext of one data message, `undefined` if not authentic. Does not look at the replay window. Cold. */
  openOne(slot: number, message: Uint8Array): Uint8Array | undefined;
  /** Opens in place every run with a slot; writes the datagram rows. */
  open(batch: ReceiveBatch): void;
  /** Chains accepted datagrams into super-packet rows. */
  gather(batch: ReceiveBatch): void;
}

export function createReceiveBatch(
  slabLength: number,
  maxRuns: number,
  maxDatagrams: number,
): ReceiveBatch {
  const slab = new Uint8Array(slabLength);
  return {
    slab,
    view: new DataView(slab.buffer),
    runs: new Int32Array(maxRuns * RUN.stride),
    runCount: 0,
    datagrams: new Int32Array(maxDatagrams * DATAGRAM.stride),
    datagramCount: 0,
    superPackets: new Int32Array(maxDatagrams * SUPER.stride),
    superCount: 0,
  };
}

export function createTunBatch(slabLength: number, maxPackets: number): TunBatch {
  const slab = new Uint8Array(slabLength);
  return {
    slab,
    view: new DataView(slab.buffer),
    packets: new Int32Array(maxPackets * TUN_PACKET.stride),
    packetCount: 0,
  };
}
