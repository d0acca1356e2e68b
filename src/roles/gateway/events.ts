// What the gateway tells the world: messages for the portal, requests to the loop, and what the operator's screen shows.

import type { IpAddress } from '../../base/address.ts';
import type { ClientId, ResourceId } from '../../base/ids.ts';
import type { Instant } from '../../base/time.ts';
import type { Path } from '../../link/outbound/path.ts';
import type { FlowLogConfig } from '../../wire/portal/common.ts';
import type { GatewayOutbound } from '../../wire/portal/gateway-messages.ts';
import type { GatewayResource } from '../../wire/portal/resources.ts';
import type { FlowEvent } from './flows/flow-record.ts';
import type { TunnelAddresses } from './gateway-wide.ts';

export type RevocationReason =
  /** The portal said so. */
  | 'rejected'
  | 'expired'
  /** Missing in the portal's list after a reconnect. */
  | 'not-retained'
  /** The client has other tunnel addresses now, and starts anew. */
  | 'client-replaced'
  /** The client said goodbye. */
  | 'client-left'
  /** A bug of ours showed while the client was served. */
  | 'fault'
  | 'shut-down';

export type GatewayEvent =
  | FlowEvent
  | { readonly kind: 'send-to-portal'; readonly message: GatewayOutbound }
  /** To be answered with `handleResolved`. */
  | { readonly kind: 'resolve'; readonly queryId: number; readonly domain: string }
  /** Addresses, routes and DNS servers of the tunnel interface; again with each `init`. */
  | { readonly kind: 'configure-interface'; readonly addresses: TunnelAddresses }
  | { readonly kind: 'flow-logs-configured'; readonly config: FlowLogConfig }
  | {
      readonly kind: 'authorization-created' | 'authorization-updated';
      readonly client: ClientId;
      readonly resource: GatewayResource;
      readonly expiresAt: Instant | undefined;
    }
  | {
      readonly kind: 'authorization-revoked';
      readonly client: ClientId;
      readonly resource: ResourceId;
      readonly reason: RevocationReason;
    }
  /** What became of a domain that came with a message of the earliest generation. */
  | {
      readonly kind: 'legacy-domain-set-up';
      readonly client: ClientId;
      readonly resource: string;
      readonly domain: string;
      readonly status: 'active' | 'inactive';
    }
  | { readonly kind: 'client-connected'; readonly client: ClientId }
  | {
      readonly kind: 'client-disconnected';
      readonly client: ClientId;
      readonly reason: string;
    }
  | { readonly kind: 'path-changed'; readonly client: ClientId; readonly path: Path }
  | {
      readonly kind: 'domain-set-up';
      readonly client: ClientId;
      readonly domain: string;
      readonly addresses: readonly IpAddress[];
      /** Addresses it resolved to that are never used, such as loopback. */
      readonly refused: readonly IpAddress[];
    };

export type ResolveResult =
  | { readonly kind: 'resolved'; readonly addresses: readonly IpAddress[] }
  | { readonly kind: 'failed' };
