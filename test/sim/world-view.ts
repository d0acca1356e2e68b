// A world as an observer sees it: its plan, its time, and the machines that are in it, to be looked at and not touched.

import type { Instant, UnixMillis } from '../../src/base/time.ts';
import type { NodeSnapshot } from '../../src/link/node-types.ts';
import type { ChannelSnapshot } from '../../src/proto/phoenix/channel.ts';
import type { GatewaySnapshot } from '../../src/roles/gateway/snapshot.ts';
import type { PolicyFile } from '../../src/roles/portal/policy-schema.ts';
import type { PortalSnapshot } from '../../src/roles/portal/portal.ts';
import type { RelaySnapshot } from '../../src/roles/relay/relay.ts';
import type { NetworkTap } from './network/datagram.ts';
import type { WorldPlan } from './world-plan.ts';

export interface ProgramView {
  readonly name: string;
  readonly isRunning: boolean;
  readonly isAsleep: boolean;
  /** Joined, as it sees it. */
  readonly isConnectedToPortal: boolean;
  /** When it wants to be called next, in the world's time. */
  readonly due: Instant | undefined;
  channelSnapshot(): ChannelSnapshot | undefined;
}

export interface TunnelProgramView extends ProgramView {
  /** Base64 of the public key of the moment. */
  readonly publicKey: string;
  nodeSnapshot(): NodeSnapshot | undefined;
  /** Key slots that are installed. */
  readonly keySlotsInUse: number;
}

export interface ClientView extends TunnelProgramView {
  readonly kind: 'client';
  readonly actor: string;
  readonly token: string;
  readonly ipv4: string;
  readonly ipv6: string;
  /** The id the portal gave to the device; known after its first join. */
  readonly id: string | undefined;
  snapshot(): Readonly<Record<string, unknown>> | undefined;
}

export interface GatewayView extends TunnelProgramView {
  readonly kind: 'gateway';
  readonly site: string;
  readonly id: string | undefined;
  snapshot(): GatewaySnapshot | undefined;
}

export interface RelayView extends ProgramView {
  readonly kind: 'relay';
  /** UDP sockets that are open on its host. */
  readonly socketCount: number;
  snapshot(): RelaySnapshot | undefined;
}

export interface PortalView {
  readonly isUp: boolean;
  readonly policy: PolicyFile;
  readonly socketCount: number;
  snapshot(): PortalSnapshot;
}

export interface WorldView {
  readonly plan: WorldPlan;
  readonly now: Instant;
  /** The portal's wall clock. */
  readonly wallNow: UnixMillis;
  readonly clients: readonly ClientView[];
  readonly gateways: readonly GatewayView[];
  readonly relays: readonly RelayView[];
  readonly portal: PortalView;
  /** Watches datagrams of the outer network. */
  addTap(tap: NetworkTap): void;
  /** Whether such a datagram could pass between the two hosts by at least one way: directly, or by a relay that both reach. */
  canReach(client: string, gateway: string): boolean;
}
