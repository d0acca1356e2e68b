// One relay as the portal names it, and the ways to it that the portal does not name.

import type { Endpoint } from '../../base/address.ts';
import type { RelayId } from '../../base/ids.ts';

/** One relay of the portal's list (relay 4.1). */
export interface RelayInfo {
  readonly id: RelayId;
  /** Server sockets, at most one of each address family. */
  readonly addresses: readonly Endpoint[];
  readonly username: string;
  readonly password: string;
  readonly realm: string;
}

/** A kind of stream to try where UDP is blocked: a port of the relay's host, plain TCP or TLS. */
export interface StreamWay {
  /** Absent: the same number as the relay's UDP port. */
  readonly port?: number;
  readonly isSecure: boolean;
}
