// Hot path. Counts what was forwarded: sums of the client, and its flows if somebody wants to know of them. A super-packet counts as the
// segments it is made of, each with its headers.

import {
  DATAGRAM,
  type ReceiveBatch,
  RUN,
  SUPER,
  TUN_PACKET,
  type TunBatch,
} from '../../base/batch.ts';
import { int32At, viewOf } from '../../base/bytes.ts';
import type { Instant } from '../../base/time.ts';
import type { ParsedPacket } from '../../wire/ip/parsed-packet.ts';
import { headersLength } from '../../wire/ip/payload.ts';
import type { ClientPeer } from './client-peer.ts';

/** The super-packet at `row`, which goes to the TUN device. */
export function countSuperPacket(
  client: ClientPeer,
  packet: ParsedPacket,
  batch: ReceiveBatch,
  row: number,
  now: Instant,
): void {
  const { superPackets: rows, view } = batch;
  const length = int32At(rows, row + SUPER.length);
  const segments = int32At(rows, row + SUPER.segments);
  const headers =
    int32At(rows, row + SUPER.ipHeaderLength) + int32At(rows, row + SUPER.transportHeaderLength);
  client.traffic.noteToResource(length + (segments - 1) * headers, segments);
  const { flows } = client;
  if (flows === undefined) return;
  const datagram = int32At(rows, row + SUPER.firstDatagram) * DATAGRAM.stride;
  flows.notePath(batch.runs, int32At(batch.datagrams, datagram + DATAGRAM.run) * RUN.stride);
  flows.noteToResource(packet, length - headersLength(view, packet), segments, now);
}

/** The packet at `row`, which goes to the client. */
export function countTunPacket(
  client: ClientPeer,
  packet: ParsedPacket,
  batch: TunBatch,
  row: number,
  now: Instant,
): void {
  const { packets: rows, view } = batch;
  const length = int32At(rows, row + TUN_PACKET.length);
  let segments = 1;
  let headers = int32At(rows, row + TUN_PACKET.headerLength);
  if (int32At(rows, row + TUN_PACKET.gsoType) !== 0) {
    const segment = int32At(rows, row + TUN_PACKET.gsoSegment);
    // Exact, because both are small integers.
    segments = Math.max(1, Math.ceil((length - headers) / Math.max(1, segment)));
  } else headers = 0;
  client.traffic.noteToClient(length + (segments - 1) * headers, segments);
  const { flows } = client;
  if (flows === undefined) return;
  flows.noteToClient(packet, length - headersLength(view, packet), segments, now);
}

/** A packet of bytes that was parsed to `packet`, in one direction or the other. */
export function countWhole(
  client: ClientPeer,
  packet: ParsedPacket,
  bytes: Uint8Array,
  direction: 'to-resource' | 'to-client',
  now: Instant,
): void {
  const payload = bytes.length - headersLength(viewOf(bytes), packet);
  if (direction === 'to-resource') {
    client.traffic.noteToResource(bytes.length, 1);
    client.flows?.noteToResource(packet, payload, 1, now);
  } else {
    client.traffic.noteToClient(bytes.length, 1);
    client.flows?.noteToClient(packet, payload, 1, now);
  }
}
