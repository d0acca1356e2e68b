// One control datagram on its way out (STUN, TURN, handshakes, single tunnel packets). Bulk data never takes this form.

import type { Endpoint } from './address.ts';

/** Two bits of the IP header (RFC 3168 §5): 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE. */
export type Ecn = 0 | 1 | 2 | 3;

export interface Transmit {
  /** The local address and port the datagram must leave from; absent: any, chosen by the kernel's routing. */
  readonly source?: Endpoint;
  readonly destination: Endpoint;
  /** Owned by the receiver of this object; nobody changes it afterwards. */
  readonly payload: Uint8Array;
  readonly ecn: Ecn;
}
