// Who is in a world and how its network looks, as plain data, from a seed. The policy is the portal's own policy file. Nothing here is changed by steps.

import type { PolicyFile, ResourceEntry } from '../../src/roles/portal/policy-schema.ts';
import type { LinkConditions } from './network/link.ts';
import type { NatBehaviour } from './network/nat-table.ts';
import type { OutboundRule } from './network/router.ts';
import type { NameAnswer } from './steps/step.ts';

/** What a host is connected to; its router, if there is one, is its own. */
export interface AccessPlan {
  readonly families: 'ipv4' | 'ipv6' | 'dual';
  readonly ipv4: 'public' | 'nat' | 'cgnat' | 'nat64';
  readonly nat: NatBehaviour;
  readonly ipv6Firewall: 'open' | 'stateful';
  readonly outboundRule: OutboundRule;
  readonly link: LinkConditions;
}

export interface ProgramPlan {
  readonly name: string;
  readonly token: string;
  readonly access: AccessPlan;
  /** Whether its monotonic clock goes on during sleep. */
  readonly countsSleep: boolean;
}

export interface GatewayPlan extends ProgramPlan {
  readonly site: string;
}

export interface ClientPlan extends ProgramPlan {
  readonly actor: string;
  readonly activatesInternetResource: boolean;
  /** Where it can roam to, besides `access`. */
  readonly otherAccess: readonly AccessPlan[];
}

export interface RelayPlan extends ProgramPlan {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
}

/** A machine in a site's network, or on the Internet behind it. */
export interface ResourceHostPlan {
  readonly site: string;
  readonly addresses: readonly string[];
  /** What it does with what comes to it. */
  readonly behaviour: 'answers' | 'refuses' | 'silent' | 'unreachable';
  /** Longer packets are answered with an ICMP error; absent: any. */
  readonly mtu?: number;
  readonly latencyMs: number;
}

export interface NamePlan {
  readonly name: string;
  readonly site: string;
  readonly answer: NameAnswer;
}

export interface WorldPlan {
  readonly seed: number;
  /** All that there can be; the policy begins with some. */
  readonly resources: readonly ResourceEntry[];
  readonly policy: PolicyFile;
  readonly gateways: readonly GatewayPlan[];
  readonly clients: readonly ClientPlan[];
  readonly relays: readonly RelayPlan[];
  readonly resourceHosts: readonly ResourceHostPlan[];
  readonly names: readonly NamePlan[];
  readonly portalLatencyMs: number;
}
