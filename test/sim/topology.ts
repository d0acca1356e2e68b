// Hosts on their networks: each on a line of its own behind the boxes that its plan names. Addresses on the Internet are dealt out once and never again.

import type { IpAddress } from '../../src/base/address.ts';
import type { Host } from './network/host.ts';
import { GOOD_LINK, type LinkConditions } from './network/link.ts';
import { PORT_RESTRICTED } from './network/nat-table.ts';
import type { Network } from './network/network.ts';
import type { Router, RouterConfig } from './network/router.ts';
import type { Segment } from './network/segment.ts';
import type { AccessPlan } from './world-plan.ts';

const LAN: LinkConditions = { ...GOOD_LINK, latencyMs: 1 };
const PRIVATE_ADDRESS = '192.168.1.10';
const HOME_ADDRESS = '10.111.0.7';

export class Topology {
  readonly #network: Network;
  #count = 0;

  constructor(network: Network) {
    this.#network = network;
  }

  /** A host whose first interface is on a network as the plan has it. */
  addHost(name: string, access: AccessPlan, clock: { wall: number; countsSleep: boolean }): Host {
    const { wall, countsSleep } = clock;
    const host = this.#network.addHost(name, wall, { countsSleep });
    this.attach(host, access);
    return host;
  }

  /** Moves a host to a new network of that kind; the old one stays behind empty. */
  attach(host: Host, access: AccessPlan): void {
    const { segment, addresses } = this.#segment(`${host.name} ${this.#count}`, access);
    const [first] = host.interfaces;
    if (first) {
      first.move(segment, addresses);
      first.setConditions(access.link);
    } else host.addInterface('eth0', segment, access.link).setAddresses(addresses);
    host.hasClat = access.ipv4 === 'nat64';
  }

  /** Another address for a box on the Internet. */
  renumber(router: Router): void {
    router.renumber(this.publicIpv4());
  }

  publicIpv4(): IpAddress {
    const n = ++this.#count;
    return `5.44.${n >> 8}.${n & 255}` as IpAddress;
  }

  publicIpv6(): IpAddress {
    return `2a01:4f8:${(++this.#count).toString(16)}::7` as IpAddress;
  }

  #segment(name: string, access: AccessPlan): { segment: Segment; addresses: string[] } {
    const { families, ipv4, nat, ipv6Firewall, outboundRule } = access;
    const has4 = families !== 'ipv6';
    const has6 = families !== 'ipv4';
    const isBoxed =
      (has4 && ipv4 !== 'public') || ipv4 === 'nat64' || outboundRule !== 'everything';
    const isFirewalled = has6 && ipv6Firewall === 'stateful';
    const address4 = has4 ? [ipv4 === 'public' ? this.publicIpv4() : PRIVATE_ADDRESS] : [];
    const addresses = [...address4, ...(has6 ? [this.publicIpv6()] : [])];
    if (!isBoxed && !isFirewalled) return { segment: this.#network.internet, addresses };
    const address = (): string => (ipv4 === 'cgnat' ? HOME_ADDRESS : this.publicIpv4());
    const translation: RouterConfig['ipv4'] =
      ipv4 === 'public' ? { kind: 'route' } : { kind: 'nat', address: address(), behaviour: nat };
    const config: RouterConfig = {
      name: `${name} router`,
      ipv4: has4 ? translation : { kind: 'none' },
      ipv6: has6 ? { kind: 'route', firewall: ipv6Firewall } : { kind: 'none' },
      outboundRule,
      link: LAN,
      ...(ipv4 === 'nat64' && {
        nat64: { address: this.publicIpv4(), behaviour: PORT_RESTRICTED },
      }),
    };
    const outside = has4 && ipv4 === 'cgnat' ? this.#carrier(name) : this.#network.internet;
    return { segment: this.#network.addRouter(config, outside).inside, addresses };
  }

  /** The provider's translator, in front of the customer's. */
  #carrier(name: string): Segment {
    const config: RouterConfig = {
      name: `${name} carrier`,
      ipv4: { kind: 'nat', address: this.publicIpv4(), behaviour: PORT_RESTRICTED },
      ipv6: { kind: 'route', firewall: 'open' },
      link: LAN,
    };
    return this.#network.addRouter(config).inside;
  }
}
