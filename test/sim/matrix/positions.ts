// Where a client or a gateway may stand on the Internet: in the open, behind one NAT of each behaviour (RFC 4787) or behind two, where no UDP passes,
// where there is only IPv6 with a NAT64, and where one of two families leads nowhere.
//
//   host -- router ------ (10 ms) -- Internet          host -- home router -- carrier's NAT -- (10 ms) -- Internet

import { GOOD_LINK } from '../network/link.ts';
import { FULL_CONE, type NatBehaviour, type NatDependence } from '../network/nat-table.ts';
import type { Router, RouterConfig } from '../network/router.ts';
import type { Segment } from '../network/segment.ts';
import type { RoutedNetwork } from './routed-network.ts';

/** Every datagram crosses two of these: a round trip takes 40 ms, whoever talks to whom. */
export const ACCESS_MS = 10;

const ACCESS = { ...GOOD_LINK, latencyMs: ACCESS_MS };
const INSIDE = { ...GOOD_LINK, latencyMs: 0 };

/** What hides the host's IPv4 address, from the inside out. */
export type Translators = readonly NatBehaviour[];

export interface Position {
  readonly name: string;
  /** Absent: no UDP over IPv4. */
  readonly ipv4?: Translators;
  readonly hasIpv6?: boolean;
  /** On a network of its own for each side. */
  place(network: RoutedNetwork, side: Side): Placed;
}

export interface Side {
  readonly name: 'client' | 'gateway';
  /** Part of its addresses. */
  readonly number: number;
}

/** Addresses of the host. */
export interface Placed {
  readonly host: string;
  readonly hostAlso?: string;
}

function nat(mapping: NatDependence, filtering: NatDependence): NatBehaviour {
  return { ...FULL_CONE, mapping, filtering };
}

const INDEPENDENT = 'endpoint-independent';
const BY_ADDRESS = 'address-dependent';
const BY_PORT = 'address-and-port-dependent';

/** The most common one. */
const HOME = nat(INDEPENDENT, BY_PORT);
/** RFC 6888 REQ-1 and REQ-7. */
const CARRIER = nat(INDEPENDENT, BY_ADDRESS);

const SHORT: Readonly<Record<NatDependence, string>> = {
  [INDEPENDENT]: 'independent',
  [BY_ADDRESS]: 'address',
  [BY_PORT]: 'port',
};

const OPEN: Position = {
  name: 'open',
  ipv4: [],
  place(network, side) {
    const address = `198.51.100.${side.number}`;
    network.addHost(side.name, network.internet.internet, [address], ACCESS);
    return { host: `${address}:52625` };
  },
};

/** RFC 5128 knows them as full cone, restricted cone, port restricted cone, and two that give each destination a mapping of its own. */
const NATS: readonly Position[] = [
  nat(INDEPENDENT, INDEPENDENT),
  nat(INDEPENDENT, BY_ADDRESS),
  HOME,
  nat(BY_ADDRESS, BY_ADDRESS),
  nat(BY_PORT, BY_PORT),
].map((behaviour) => ({
  name: `NAT ${SHORT[behaviour.mapping]}/${SHORT[behaviour.filtering]}`,
  ipv4: [behaviour],
  place: (network, side) => placeBehind(network, side, { ipv4: natOf(side, behaviour) }),
}));

const CARRIER_GRADE: Position = {
  name: 'CGNAT',
  ipv4: [HOME, CARRIER],
  place(network, side) {
    const carrier = addRouter(network, `${side.name} carrier`, { ipv4: natOf(side, CARRIER) });
    const address = `100.64.${side.number}.2`;
    const home = addRouter(
      network,
      `${side.name} home`,
      { ipv4: { kind: 'nat', address, behaviour: HOME }, link: INSIDE },
      carrier.inside,
    );
    const own = `192.168.${side.number}.2`;
    network.addHost(side.name, home.inside, [own], INSIDE);
    return { host: `${own}:52625` };
  },
};

const BLOCKED: Position = {
  name: 'UDP blocked',
  place: (network, side) =>
    placeBehind(network, side, { ipv4: natOf(side, HOME), outboundRule: 'no-udp' }),
};

const STATEFUL: Part = { ipv6: { kind: 'route', firewall: 'stateful' } };

const IPV6_ONLY: Position = {
  name: 'NAT64 only',
  hasIpv6: true,
  place(network, side) {
    const nat64 = { address: `203.0.113.${side.number}`, behaviour: HOME };
    const router = addRouter(network, side.name, { ...STATEFUL, nat64 });
    network.addHost(side.name, router.inside, [ipv6Of(side)], INSIDE);
    return { host: `[${ipv6Of(side)}]:52625` };
  },
};

/** The host has addresses of both families, and packets of one of them vanish. */
const BROKEN_IPV6: Position = {
  name: 'IPv6 broken',
  ipv4: [HOME],
  place: (network, side) => placeBehind(network, side, { ipv4: natOf(side, HOME) }, true),
};

const BROKEN_IPV4: Position = {
  name: 'IPv4 broken',
  hasIpv6: true,
  place: (network, side) => placeBehind(network, side, STATEFUL, true),
};

export const POSITIONS: readonly Position[] = [
  OPEN,
  ...NATS,
  CARRIER_GRADE,
  BLOCKED,
  IPV6_ONLY,
  BROKEN_IPV6,
  BROKEN_IPV4,
];

type Part = Partial<Omit<RouterConfig, 'name'>>;

function natOf(side: Side, behaviour: NatBehaviour): RouterConfig['ipv4'] {
  return { kind: 'nat', address: `203.0.113.${side.number}`, behaviour };
}

function placeBehind(network: RoutedNetwork, side: Side, part: Part, isDual = false): Placed {
  const router = addRouter(network, side.name, part);
  const own = `10.${side.number}.0.2`;
  const ipv6 = ipv6Of(side);
  network.addHost(side.name, router.inside, isDual ? [own, ipv6] : [own], INSIDE);
  return isDual ? { host: `${own}:52625`, hostAlso: `[${ipv6}]:52625` } : { host: `${own}:52625` };
}

function ipv6Of({ number }: Side): string {
  return `2001:db8:${number}::2`;
}

function addRouter(network: RoutedNetwork, name: string, part: Part, outside?: Segment): Router {
  const config: RouterConfig = {
    ipv4: { kind: 'none' },
    ipv6: { kind: 'none' },
    link: ACCESS,
    ...part,
    name: `router of ${name}`,
  };
  return network.internet.addRouter(config, outside);
}
