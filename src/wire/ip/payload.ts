// Hot path. How many bytes of a TCP or UDP packet are headers; of other transports only those of IP.

import { type ParsedPacket, TRANSPORT } from './parsed-packet.ts';
import { TCP } from './tcp.ts';
import { UDP } from './udp.ts';

/** Bytes of the IP and the transport header. */
export function headersLength(view: DataView, packet: ParsedPacket): number {
  const { headerLength, transport } = packet;
  if (transport === TRANSPORT.udp) return headerLength + UDP.headerLength;
  if (transport !== TRANSPORT.tcp) return headerLength;
  return headerLength + (view.getUint8(packet.transportOffset + TCP.dataOffset) >> 4) * 4;
}
