// What `io/loop.ts` asks of a role that moves packets: the gateway and the client. The loop feeds it and drains it; what the
// role wants beyond packets (portal messages, name lookups, interface settings) it offers as events of its own to `app`.
//
// client to resource   handleRuns -> open -> handleOpened -> gather -> handleSuperPackets -> TUN
// resource to client   TUN -> handleTunPackets -> seal and send

import type { ReceiveBatch, TunBatch } from '../base/batch.ts';
import type { InvariantError } from '../base/errors.ts';
import type { Instant } from '../base/time.ts';
import type { Transmit } from '../base/transmit.ts';
import type { StreamCommand, StreamEvent } from '../proto/turn/stream-dialer.ts';

export interface TunnelRole {
  /** Sets `RUN.slot` and `RUN.headerLength` of runs of data; handles all others itself. */
  handleRuns(batch: ReceiveBatch, now: Instant): void;
  /** Sets `DATAGRAM.accepted`; handles foreign datagrams itself. */
  handleOpened(batch: ReceiveBatch, now: Instant): void;
  /** Sets `SUPER.verdict`; rewrites packets in the slab. */
  handleSuperPackets(batch: ReceiveBatch, now: Instant): void;
  /** Sets `TUN_PACKET.slot` and `TUN_PACKET.ecn`; rewrites packets in the slab. */
  handleTunPackets(batch: TunBatch, now: Instant): void;
  /** May come early, late or twice. */
  handleTimeout(now: Instant): void;
  /**
   * An invariant broke in one of the calls above: closes the link that was being served, if there was one. True: contained,
   * the role can go on. False or absent: the process must end.
   */
  handleFault?(error: InvariantError, now: Instant): boolean;
  pollTransmit(): Transmit | undefined;
  /** Streams towards relays, where UDP is blocked; to be asked for after `pollTransmit`. */
  pollStreamCommand?(): StreamCommand | undefined;
  handleStream?(event: StreamEvent, now: Instant): void;
  /** A packet of ours for our own TUN, such as an ICMP error. */
  pollTunPacket(): Uint8Array | undefined;
  pollTimeout(): Instant | undefined;
  /** Plain data for the log line of a fault and for whoever debugs. */
  snapshot(): unknown;
}
