// What the flow tracker has to say about a flow (operations 13.2, 13.3): who, what, over which paths, and in the end how much. Times are
// those of the monotonic clock; whoever writes them down knows the wall clock.

import type { IpAddress } from '../../../base/address.ts';
import type { ClientId, ResourceId } from '../../../base/ids.ts';
import type { Instant } from '../../../base/time.ts';
import type { IngestToken } from '../../../wire/portal/ingest-token.ts';

/** The outer tuple of packets from the client: where they come from, which may be a relay, and where they arrive. */
export interface OuterPath {
  readonly source: IpAddress;
  readonly sourcePort: number;
  readonly destination: IpAddress;
  readonly destinationPort: number;
  readonly activatedAt: Instant;
}

export interface Flow {
  readonly protocol: 'tcp' | 'udp';
  readonly client: ClientId;
  readonly resource: ResourceId;
  /** What the portal wants to be told with the flow. */
  readonly token: IngestToken;
  /** The client's tunnel address, with the port that the resource sees. */
  readonly innerSource: IpAddress;
  readonly innerSourcePort: number;
  /** The real address, also of a DNS resource. */
  readonly innerDestination: IpAddress;
  readonly innerDestinationPort: number;
  /** The name the client used; without trailing dot. */
  readonly domain: string | undefined;
  readonly outers: readonly OuterPath[];
  readonly start: Instant;
}

/** Bytes are those behind the headers of TCP and UDP; packets are segments, also of super-packets. */
export interface FlowTotals {
  readonly end: Instant;
  readonly lastPacket: Instant;
  readonly packetsToResource: number;
  readonly packetsToClient: number;
  readonly bytesToResource: number;
  readonly bytesToClient: number;
}

/** Where events go, in the end to whoever writes them down. */
export interface FlowSink {
  push(event: FlowEvent): unknown;
}

export type FlowEvent =
  | { readonly kind: 'flow-started'; readonly flow: Flow }
  | { readonly kind: 'flow-completed'; readonly flow: Flow; readonly totals: FlowTotals };
