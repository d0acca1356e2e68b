// Hot path. How a NAT session lies in its row of 32-bit words, and what its tuples are made of.
//
//    0 inside address (4) | 4 inside ports | 5 outside address (4) | 9 outside ports | 10 transport and flags
//
// The word with the ports has the client's port (or the identifier of an echo) in its upper half. In the lower half, TCP has the
// resource's port, so that each connection is a session of its own; UDP and echo have zero there: their sessions serve all
// ports of an address (RFC 4787 REQ-1), as far as the policy allows.

import { int32At } from '../../base/bytes.ts';
import { TRANSPORT } from '../../wire/ip/parsed-packet.ts';

export const ROW = { stride: 11, inside: 0, outside: 5, state: 10 } as const;
/** Behind an address: the word with its ports. */
export const PORTS = 4;

/** Above the transport in the word `ROW.state`. */
export const FLAG = {
  finToResource: 0x100,
  finToClient: 0x200,
  reset: 0x400,
  confirmed: 0x800,
} as const;
export const FIN_BOTH: number = FLAG.finToResource | FLAG.finToClient;

/** The word with the ports of a tuple. */
export function portsWord(transport: number, port: number, remotePort: number): number {
  return (port << 16) | (transport === TRANSPORT.tcp ? remotePort : 0);
}

/** `TRANSPORT`; 0: the row is free. */
export function transportOfRow(rows: Int32Array, session: number): number {
  return int32At(rows, session * ROW.stride + ROW.state) & 0xff;
}

/** Whether a packet of this kind can be told from others on its way back. */
export function isTranslatable(transport: number): boolean {
  return transport === TRANSPORT.tcp || transport === TRANSPORT.udp || transport === TRANSPORT.echo;
}
