// What happens to a world, as plain data: a list of steps can be written to a file, replayed, and cut. Steps name actors and resources by index, taken
// modulo how many there are, so that a list stays good when some of it is cut away.

import type { LinkConditions } from '../network/link.ts';

/** Wait for so long first. */
interface Timed {
  readonly afterMs: number;
}

/** How an application of a client speaks to a resource. */
export interface TrafficStep extends Timed {
  readonly kind: 'udp' | 'tcp' | 'echo';
  readonly client: number;
  readonly resource: number;
  /** Which address of the resource, or which name under its pattern. */
  readonly target: number;
  readonly family: 4 | 6;
  readonly port: number;
  /** Payload bytes of each packet; beyond the tunnel's MTU it is a super-packet (TCP, UDP). */
  readonly bytes: number;
  readonly count: number;
}

export interface ResolveStep extends Timed {
  readonly kind: 'resolve';
  readonly client: number;
  readonly name: number;
  /** RFC 1035 §3.2.2; A 1, PTR 12, TXT 16, AAAA 28, SRV 33, HTTPS 65. */
  readonly type: number;
}

export type PolicyChange =
  | { readonly what: 'add-rule' | 'remove-rule'; readonly group: number; readonly resource: number }
  /** Seconds from then on; the rule ends by itself. */
  | { readonly what: 'expire-rule'; readonly rule: number; readonly seconds: number }
  | { readonly what: 'add-resource' | 'remove-resource'; readonly resource: number }
  | { readonly what: 'edit-address'; readonly resource: number; readonly address: number }
  | {
      readonly what: 'edit-filters';
      readonly resource: number;
      readonly filters: readonly string[];
    }
  | { readonly what: 'edit-site'; readonly resource: number; readonly site: number }
  | { readonly what: 'edit-lifetime'; readonly seconds: number | undefined }
  | { readonly what: 'edit-token'; readonly client: number };

export interface PolicyStep extends Timed {
  readonly kind: 'policy';
  readonly change: PolicyChange;
}

export interface NameStep extends Timed {
  readonly kind: 'name';
  readonly name: number;
  readonly answer: NameAnswer;
}

/** What the site's DNS servers say of a name. Addresses are indices into the site's own. */
export type NameAnswer =
  | {
      readonly kind: 'addresses';
      readonly ipv4: readonly number[];
      readonly ipv6: readonly number[];
      readonly ttlSeconds: number;
      /** Names in between. */
      readonly chain: number;
    }
  | { readonly kind: 'empty' | 'nxdomain' | 'time-out' };

export type Program = 'client' | 'gateway' | 'relay';

export interface RoamStep extends Timed {
  readonly kind: 'roam';
  readonly client: number;
  readonly network: number;
}

export interface SleepStep extends Timed {
  readonly kind: 'sleep';
  readonly program: Program;
  readonly index: number;
  readonly forMs: number;
}

export interface RestartStep extends Timed {
  readonly kind: 'restart';
  readonly program: Program;
  readonly index: number;
  /** `orderly` says goodbye, `crash` closes the sockets, `power` leaves everything half-open. */
  readonly how: 'orderly' | 'crash' | 'power';
  readonly downMs: number;
}

export interface RelayStep extends Timed {
  /** `replace`: gone for good, another one comes at another address. `storm`: portal connection comes and goes. */
  readonly kind: 'relay-replace' | 'presence-storm';
  readonly relay: number;
  readonly count: number;
  readonly intervalMs: number;
}

export interface PortalStep extends Timed {
  readonly kind: 'portal';
  readonly how: 'outage' | 'slow' | 'restart' | 'duplicates' | 'lost-replies' | 'black-hole';
  readonly forMs: number;
}

export interface NetworkStep extends Timed {
  readonly kind: 'link';
  readonly program: Program;
  readonly index: number;
  readonly conditions: LinkConditions;
  readonly forMs: number;
}

export interface PartitionStep extends Timed {
  readonly kind: 'partition';
  readonly a: Program;
  readonly aIndex: number;
  readonly b: Program | 'portal';
  readonly bIndex: number;
  readonly forMs: number;
}

export interface RouterStep extends Timed {
  readonly kind: 'router';
  readonly router: number;
  readonly how: 'reboot' | 'renumber' | 'block-udp' | 'only-3478';
  readonly forMs: number;
}

export interface ClockStep extends Timed {
  readonly kind: 'wall-clock';
  readonly program: Program | 'portal';
  readonly index: number;
  readonly byMs: number;
}

export interface IdleStep extends Timed {
  readonly kind: 'idle';
}

/** All disturbances end, and after a while whatever is allowed must work. A world ends with one of these. */
export interface CalmStep extends Timed {
  readonly kind: 'calm';
}

/** An outsider who sees datagrams pass (`attackers/outsider.ts`), or a client that lies (`attackers/liar.ts`). */
export interface AttackStep extends Timed {
  readonly kind: 'attack';
  readonly attack: Attack;
  readonly client: number;
  readonly seed: number;
}

export type Attack =
  | {
      readonly by: 'outsider';
      readonly what: 'replay' | 'reflect' | 'mutate' | 'handshakes' | 'noise';
    }
  | {
      readonly by: 'client';
      readonly what: 'spoof' | 'proxies' | 'icmp' | 'candidates' | 'status';
    };

export type Step =
  | TrafficStep
  | ResolveStep
  | PolicyStep
  | NameStep
  | RoamStep
  | SleepStep
  | RestartStep
  | RelayStep
  | PortalStep
  | NetworkStep
  | PartitionStep
  | RouterStep
  | ClockStep
  | IdleStep
  | CalmStep
  | AttackStep;
