// The address plan of the lab (drawing in topology.ts). Public addresses are those for documentation (RFC 5737, RFC 3849): none of
// them belongs to anybody.

export interface DualAddress {
  readonly ipv4: string;
  /** Exists only where the lab has IPv6. */
  readonly ipv6: string;
}

export type LabRouter = 'client-router' | 'gateway-router';

export interface RouterAddresses {
  readonly outside: DualAddress;
  readonly inside: DualAddress;
  /** What lies behind it, with prefix length. */
  readonly network: DualAddress;
}

interface LabAddresses {
  /** Of the internet itself. */
  readonly internet: DualAddress;
  /** A resolver in the internet. */
  readonly internetDns: DualAddress;
  /** A web server in the internet that is nobody's resource. */
  readonly internetWeb: DualAddress;
  readonly portal: DualAddress;
  readonly relay1: DualAddress;
  readonly relay2: DualAddress;
  readonly client: DualAddress;
  readonly gateway: DualAddress;
  /** The gateway's side of the resource network. */
  readonly gatewayResourceSide: DualAddress;
  readonly resourceDns: DualAddress;
  readonly resourceWeb: DualAddress;
  readonly resourceHosts: readonly [DualAddress, DualAddress];
  /** Outside of the resource network's own prefix, so that it can have filters of its own. */
  readonly filtered: DualAddress;
}

export const LAB_ADDRESSES: LabAddresses = {
  internet: { ipv4: '203.0.113.1', ipv6: '2001:db8::1' },
  internetDns: { ipv4: '203.0.113.53', ipv6: '2001:db8::53' },
  internetWeb: { ipv4: '203.0.113.80', ipv6: '2001:db8::80' },
  portal: { ipv4: '203.0.113.10', ipv6: '2001:db8::10' },
  relay1: { ipv4: '203.0.113.21', ipv6: '2001:db8::21' },
  relay2: { ipv4: '203.0.113.22', ipv6: '2001:db8::22' },
  client: { ipv4: '10.30.0.100', ipv6: '2001:db8:30::100' },
  gateway: { ipv4: '10.31.0.100', ipv6: '2001:db8:31::100' },
  gatewayResourceSide: { ipv4: '10.20.0.1', ipv6: 'fd20::1' },
  resourceDns: { ipv4: '10.20.0.53', ipv6: 'fd20::53' },
  resourceWeb: { ipv4: '10.20.0.80', ipv6: 'fd20::80' },
  resourceHosts: [
    { ipv4: '10.20.0.100', ipv6: 'fd20::100' },
    { ipv4: '10.20.0.110', ipv6: 'fd20::110' },
  ],
  filtered: { ipv4: '10.21.0.1', ipv6: 'fd21::1' },
};

export const LAB_NETWORKS: {
  readonly resource: DualAddress;
  readonly filtered: DualAddress;
} = {
  resource: { ipv4: '10.20.0.0/24', ipv6: 'fd20::/64' },
  filtered: { ipv4: '10.21.0.0/24', ipv6: 'fd21::/64' },
};

/** Where the client is after it moved: its own and its router's public address. */
export const LAB_ELSEWHERE: { readonly client: DualAddress; readonly outside: DualAddress } = {
  client: { ipv4: '10.30.0.200', ipv6: '2001:db8:30::200' },
  outside: { ipv4: '203.0.113.203', ipv6: '2001:db8::203' },
};

export const LAB_ROUTERS: Readonly<Record<LabRouter, RouterAddresses>> = {
  'client-router': {
    outside: { ipv4: '203.0.113.201', ipv6: '2001:db8::201' },
    inside: { ipv4: '10.30.0.254', ipv6: '2001:db8:30::254' },
    network: { ipv4: '10.30.0.0/24', ipv6: '2001:db8:30::/64' },
  },
  'gateway-router': {
    outside: { ipv4: '203.0.113.202', ipv6: '2001:db8::202' },
    inside: { ipv4: '10.31.0.254', ipv6: '2001:db8:31::254' },
    network: { ipv4: '10.31.0.0/24', ipv6: '2001:db8:31::/64' },
  },
};
