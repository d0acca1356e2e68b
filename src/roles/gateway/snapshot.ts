// The state of a gateway as plain data, for `/debug/state`, the operator's screen and the messages of failed tests. Nothing secret in it.

import type { Counters } from '../../base/counters.ts';
import type { ClientId } from '../../base/ids.ts';
import type { Instant } from '../../base/time.ts';
import type { Path } from '../../link/outbound/path.ts';
import type { ClientPeer } from './client-peer.ts';
import type { Clients } from './clients.ts';
import type { GatewayCount } from './decisions.ts';
import type { DomainSetups } from './domain-setups.ts';
import type { GatewayWide, TunnelAddresses } from './gateway-wide.ts';
import type { GatewayLink } from './link.ts';
import type { Traffic } from './traffic.ts';
import type { TrafficSnapshot } from './traffic-counters.ts';

export interface GatewaySnapshot {
  readonly addresses: TunnelAddresses | undefined;
  readonly clients: readonly ClientSnapshot[];
  readonly domainQueries: { readonly running: number; readonly waiting: number };
  readonly counts: Readonly<Record<string, number>>;
  readonly dropsToResource: Readonly<Record<string, number>>;
  readonly dropsToClient: Readonly<Record<string, number>>;
  readonly link: unknown;
}

export interface ClientSnapshot {
  readonly id: ClientId;
  readonly ipv4: string;
  readonly ipv6: string;
  /** `none`: it may connect again and still has its authorizations. */
  readonly connection: string;
  readonly path:
    | { readonly kind: 'direct' | 'relayed'; readonly local: string; readonly remote: string }
    | undefined;
  /** Longest packet that its tunnel carries. */
  readonly mtu: number;
  readonly authorizations: readonly AuthorizationSnapshot[];
  readonly domains: number;
  readonly translations: number;
  readonly natSessions: number;
  readonly expiredNatTuples: number;
  readonly traffic: TrafficSnapshot;
}

export interface AuthorizationSnapshot {
  readonly id: string;
  readonly type: string;
  readonly name: string;
  readonly expiresAt: Instant | undefined;
}

export interface SnapshotSources {
  readonly wide: GatewayWide;
  readonly clients: Clients;
  readonly setups: DomainSetups;
  readonly traffic: Traffic;
  readonly counts: Counters<GatewayCount>;
  readonly link: GatewayLink;
  readonly paths: ReadonlyMap<ClientId, Path>;
}

export function snapshotOf(sources: SnapshotSources): GatewaySnapshot {
  const { wide, clients, setups, traffic, counts, link, paths } = sources;
  return {
    addresses: wide.addresses,
    clients: [...clients].map((client) => ({
      ...clientSnapshot(client),
      connection: link.connectionState(client.peer) ?? 'none',
      path: pathSnapshot(paths.get(client.id)),
      mtu: wide.mtus.sizeOf(client.peer),
    })),
    domainQueries: { running: setups.runningCount, waiting: setups.waitingCount },
    counts: counts.snapshot(),
    dropsToResource: traffic.exits.dropsToResource.snapshot(),
    dropsToClient: traffic.exits.dropsToClient.snapshot(),
    link: link.snapshot(),
  };
}

function clientSnapshot(client: ClientPeer): Omit<ClientSnapshot, 'connection' | 'path' | 'mtu'> {
  const { authorizations, translations, nat } = client;
  return {
    id: client.id,
    ipv4: client.addresses.ipv4,
    ipv6: client.addresses.ipv6,
    authorizations: [...authorizations.entries()].map(([id, { resource }]) => ({
      id,
      type: resource.type,
      name: resource.type === 'internet' ? 'Internet' : resource.name,
      expiresAt: authorizations.expiryOf(id),
    })),
    domains: translations.domainCount,
    translations: translations.count,
    natSessions: nat.count,
    expiredNatTuples: nat.expiredCount,
    traffic: client.traffic.snapshot(),
  };
}

function pathSnapshot(path: Path | undefined): ClientSnapshot['path'] {
  return path && { kind: path.kind, local: path.local.key, remote: path.remote.key };
}
