// The lab's network: an internet with a portal and two relays, a client and a gateway each behind a router of its own, and a
// resource network behind the gateway (after operations 15.1). Everything lives in network namespaces; nothing leaves them.
//
//                      internet 203.0.113.0/24, 2001:db8::/64  (bridge in `internet`)
//     portal .10    relay-1 .21    relay-2 .22    client-router .201     gateway-router .202
//                                                        | .254                 | .254
//                                                 10.30.0.0/24           10.31.0.0/24
//                                                 2001:db8:30::/64       2001:db8:31::/64
//                                                   client .100            gateway .100
//                                                                               | 10.20.0.1, fd20::1
//                                                            resource network 10.20.0.0/24, fd20::/64
//                                             resource: DNS .53, web .80, .100, .110; behind it 10.21.0.1, fd21::1
//
// IPv4 is translated by the routers, IPv6 is routed and only outgoing flows are let through, as in many homes. Packets to
// private addresses vanish in the internet without an ICMP error. Which programs run is said elsewhere (lab.ts).

import type { ChildProcess } from 'node:child_process';
import { type CommandResult, NamespaceGroup } from '../../io/host/netns.ts';
import {
  type DualAddress,
  LAB_ADDRESSES,
  LAB_NETWORKS,
  LAB_ROUTERS,
  type LabRouter,
} from './addresses.ts';
import { type RouterKind, type RouterRules, routerRuleset } from './router-rules.ts';

export type LabHost =
  | 'internet'
  | 'portal'
  | 'relay-1'
  | 'relay-2'
  | 'client-router'
  | 'gateway-router'
  | 'client'
  | 'gateway'
  | 'resource';

export interface LabNetworkOptions {
  readonly clientNat: RouterKind;
  readonly gatewayNat: RouterKind;
  readonly ipv6: boolean;
}

const HOSTS: readonly LabHost[] = [
  'internet',
  'portal',
  'relay-1',
  'relay-2',
  'client-router',
  'gateway-router',
  'client',
  'gateway',
  'resource',
];

export class LabNetwork {
  readonly #group: NamespaceGroup;
  readonly #hasIpv6: boolean;
  readonly #rules: Record<LabRouter, RouterRules>;
  #client: DualAddress = LAB_ADDRESSES.client;
  #clientOutside: DualAddress = LAB_ROUTERS['client-router'].outside;
  #isClientUp = true;

  /** The hosts, wired and configured. Needs root, iproute2 and nftables. On failure nothing is left behind. */
  static async create(options: LabNetworkOptions): Promise<LabNetwork> {
    const network = LabNetwork.prepare(options);
    try {
      await network.build();
    } catch (error) {
      network.destroy();
      throw error;
    }
    return network;
  }

  /** Only the hosts, each alone: programs that wait to be called can start there, while `build` wires them. */
  static prepare(options: LabNetworkOptions): LabNetwork {
    const network = new LabNetwork(NamespaceGroup.create(HOSTS), options);
    for (const host of HOSTS) network.#writeEtcFiles(host);
    return network;
  }

  constructor(group: NamespaceGroup, options: LabNetworkOptions) {
    this.#group = group;
    this.#hasIpv6 = options.ipv6;
    this.#rules = {
      'client-router': { kind: options.clientNat },
      'gateway-router': { kind: options.gatewayNat },
    };
  }

  /** Starts a program on a host; its output is appended to `logFile`. It is ended with the lab at the latest. */
  spawn(
    host: LabHost,
    command: string,
    args: readonly string[],
    env: NodeJS.ProcessEnv,
    logFile: string,
  ): ChildProcess {
    return this.#group.spawn(host, command, args, env, logFile);
  }

  exec(
    host: LabHost,
    command: readonly string[],
    options: { readonly timeoutMs?: number } = {},
  ): Promise<CommandResult> {
    return this.#group.exec(host, command, options);
  }

  /** Another kind of NAT; what the router knew of running flows is forgotten, as if it had been replaced. */
  async setNat(router: LabRouter, kind: RouterKind): Promise<void> {
    await this.setRules(router, { kind });
    await this.#forgetFlows(router);
  }

  /** Changes some of a router's rules; running flows go on under the new ones. */
  async setRules(router: LabRouter, change: Partial<RouterRules>): Promise<void> {
    this.#rules[router] = { ...this.#rules[router], ...change };
    await this.#applyRules(router);
    const { network } = LAB_ROUTERS[router];
    const forget = `ip route del ${network.ipv4} 2>/dev/null || true`;
    const routes = this.#routesInside(router);
    await this.#group.configure('internet', [forget, ...routes].join('\n'));
  }

  /**
   * Roaming: the client gets another address in its network and its router another one outside, so that every mapping is new.
   * Between `setClientLink(false)` and `setClientLink(true)` the client is offline.
   */
  async setClientAddress(client: DualAddress, outside: DualAddress): Promise<void> {
    const previous = this.#clientOutside;
    this.#client = client;
    this.#clientOutside = outside;
    const own = ['ip addr flush dev eth0 scope global'];
    if (this.#isClientUp) own.push(...this.#clientSide());
    await this.#group.configure('client', own.join('\n'));
    await this.#group.configure(
      'client-router',
      [
        ...this.#removeAddress('wan', previous),
        ...this.#addAddresses('wan', [outside]),
        ...this.#defaultRoute(LAB_ADDRESSES.internet),
      ].join('\n'),
    );
    await this.#group.configure('internet', this.#routesInside('client-router').join('\n'));
  }

  async setClientLink(isUp: boolean): Promise<void> {
    this.#isClientUp = isUp;
    const lines = [`ip link set eth0 ${isUp ? 'up' : 'down'}`];
    // A link that goes down loses its routes and IPv6 addresses.
    if (isUp) lines.push(...this.#clientSide());
    await this.#group.configure('client', lines.join('\n'));
  }

  /** A file below /etc as programs on that host see it (`resolv.conf`, `hosts`). */
  readEtcFile(host: LabHost, name: string): string {
    return this.#group.readEtcFile(host, name);
  }

  /** A folder of the lab's that goes with the network at the latest. */
  removeAtTheLatest(path: string): void {
    this.#group.removeAtTheLatest(path);
  }

  namespaceOf(host: LabHost): string {
    return this.#group.nameOf(host);
  }

  get hasIpv6(): boolean {
    return this.#hasIpv6;
  }

  get clientAddress(): DualAddress {
    return this.#client;
  }

  /** Ends all programs and removes everything; also happens when the process exits. */
  destroy(): void {
    this.#group.destroy();
  }

  async build(): Promise<void> {
    // The bridge comes first: a link whose two ends have the same interface index in their namespaces is seen to be up only after
    // a second (the kernel takes it for no link and does not hurry), and all hosts' first interface has index 2.
    const wires = [
      'link add br0 type bridge',
      ...(['portal', 'relay-1', 'relay-2'] as const).map((host) => this.#wire(host, 'eth0')),
      ...(['client-router', 'gateway-router'] as const).map((host) => this.#wire(host, 'wan')),
      this.#link('client', 'eth0', 'client-router', 'lan'),
      this.#link('gateway', 'eth0', 'gateway-router', 'lan'),
      this.#link('resource', 'eth0', 'gateway', 'res0'),
    ];
    await Promise.all(HOSTS.map((host) => this.#group.configure(host, this.#sysctls(host))));
    await this.#group.configure('internet', `ip -batch - <<END\n${wires.join('\n')}\nEND`);
    await Promise.all(HOSTS.map((host) => this.#group.configure(host, this.#script(host))));
    await Promise.all([this.#applyRules('client-router'), this.#applyRules('gateway-router')]);
  }

  /** A link from a host to the bridge of the internet. */
  #wire(host: LabHost, device: string): string {
    return this.#link(host, device, 'internet', `to-${host}`.slice(0, 15));
  }

  #link(a: LabHost, deviceA: string, b: LabHost, deviceB: string): string {
    const [left, right] = [this.#group.nameOf(a), this.#group.nameOf(b)];
    return `link add ${deviceA} netns ${left} type veth peer name ${deviceB} netns ${right}`;
  }

  #sysctls(host: LabHost): string {
    const isRouter = host === 'internet' || host in LAB_ROUTERS;
    const values: readonly (readonly [string, number])[] = [
      ['ipv4/conf/all/rp_filter', 0],
      ['ipv4/conf/default/rp_filter', 0],
      ['ipv4/conf/all/send_redirects', 0],
      ['ipv4/conf/default/send_redirects', 0],
      ['ipv4/ip_forward', isRouter ? 1 : 0],
      ['ipv6/conf/all/disable_ipv6', this.#hasIpv6 ? 0 : 1],
      ['ipv6/conf/default/disable_ipv6', this.#hasIpv6 ? 0 : 1],
      ['ipv6/conf/all/accept_dad', 0],
      ['ipv6/conf/default/accept_dad', 0],
      ['ipv6/conf/all/forwarding', isRouter && this.#hasIpv6 ? 1 : 0],
    ];
    const lines = values.map(([key, value]) => {
      const write = `echo ${value} > /proc/sys/net/${key}`;
      return key.startsWith('ipv6') ? `[ ! -e /proc/sys/net/${key} ] || ${write}` : write;
    });
    return [...lines, 'ip link set lo up'].join('\n');
  }

  #script(host: LabHost): string {
    return this.#configuration(host).join('\n');
  }

  #configuration(host: LabHost): readonly string[] {
    const up = (...devices: string[]): string[] => devices.map((name) => `ip link set ${name} up`);
    const publicHost = (address: DualAddress): string[] => [
      ...up('eth0'),
      ...this.#addAddresses('eth0', [address]),
      ...this.#defaultRoute(LAB_ADDRESSES.internet),
    ];
    switch (host) {
      case 'internet':
        return this.#internet();
      case 'portal':
        return publicHost(LAB_ADDRESSES.portal);
      case 'relay-1':
        return publicHost(LAB_ADDRESSES.relay1);
      case 'relay-2':
        return publicHost(LAB_ADDRESSES.relay2);
      case 'client-router':
      case 'gateway-router':
        return [
          ...up('wan', 'lan'),
          ...this.#addAddresses('wan', [LAB_ROUTERS[host].outside]),
          ...this.#addAddresses('lan', [LAB_ROUTERS[host].inside]),
          ...this.#defaultRoute(LAB_ADDRESSES.internet),
        ];
      case 'client':
        return [...up('eth0'), ...this.#clientSide()];
      case 'gateway':
        return [
          ...up('eth0', 'res0'),
          ...this.#addAddresses('eth0', [LAB_ADDRESSES.gateway]),
          ...this.#defaultRoute(LAB_ROUTERS['gateway-router'].inside),
          ...this.#gatewayResourceSide(),
        ];
      case 'resource':
        return [
          ...up('eth0'),
          ...this.#addAddresses('eth0', [
            LAB_ADDRESSES.resourceDns,
            LAB_ADDRESSES.resourceWeb,
            ...LAB_ADDRESSES.resourceHosts,
          ]),
          ...this.#addAddresses('lo', [LAB_ADDRESSES.filtered]),
          ...this.#defaultRoute(LAB_ADDRESSES.gatewayResourceSide),
        ];
    }
  }

  #internet(): readonly string[] {
    const ports = ['portal', 'relay-1', 'relay-2', 'client-router', 'gateway-router'];
    return [
      'ip link set br0 up',
      ...ports.flatMap((host) => {
        const device = `to-${host}`.slice(0, 15);
        return [`ip link set ${device} master br0`, `ip link set ${device} up`];
      }),
      ...this.#addAddresses('br0', [
        LAB_ADDRESSES.internet,
        LAB_ADDRESSES.internetDns,
        LAB_ADDRESSES.internetWeb,
      ]),
      'ip route add blackhole default',
      ...(this.#hasIpv6 ? ['ip -6 route add blackhole default'] : []),
      ...this.#routesInside('client-router'),
      ...this.#routesInside('gateway-router'),
    ];
  }

  /** The way to what lies behind a router: IPv6 always, IPv4 only where nothing is translated. */
  #routesInside(router: LabRouter): readonly string[] {
    const { network } = LAB_ROUTERS[router];
    const outside = this.#outsideOf(router);
    const ipv4 = `ip route replace ${network.ipv4} via ${outside.ipv4}`;
    const ipv6 = `ip -6 route replace ${network.ipv6} via ${outside.ipv6}`;
    return [
      ...(this.#rules[router].kind === 'none' ? [ipv4] : []),
      ...(this.#hasIpv6 ? [ipv6] : []),
    ];
  }

  #clientSide(): readonly string[] {
    return [
      ...this.#addAddresses('eth0', [this.#client]),
      ...this.#defaultRoute(LAB_ROUTERS['client-router'].inside),
    ];
  }

  #gatewayResourceSide(): readonly string[] {
    const via = LAB_ADDRESSES.resourceWeb;
    return [
      ...this.#addAddresses('res0', [LAB_ADDRESSES.gatewayResourceSide]),
      `ip route add ${LAB_NETWORKS.filtered.ipv4} via ${via.ipv4}`,
      ...(this.#hasIpv6 ? [`ip -6 route add ${LAB_NETWORKS.filtered.ipv6} via ${via.ipv6}`] : []),
    ];
  }

  #addAddresses(device: string, addresses: readonly DualAddress[]): readonly string[] {
    const [lengthIpv4, lengthIpv6] = device === 'lo' ? [32, 128] : [24, 64];
    return addresses.flatMap(({ ipv4, ipv6 }) => [
      `ip addr replace ${ipv4}/${lengthIpv4} dev ${device}`,
      ...(this.#hasIpv6 ? [`ip addr replace ${ipv6}/${lengthIpv6} dev ${device} nodad`] : []),
    ]);
  }

  #removeAddress(device: string, { ipv4, ipv6 }: DualAddress): readonly string[] {
    return [
      `ip addr del ${ipv4}/24 dev ${device}`,
      ...(this.#hasIpv6 ? [`ip addr del ${ipv6}/64 dev ${device}`] : []),
    ];
  }

  #defaultRoute(via: DualAddress): readonly string[] {
    return [
      `ip route replace default via ${via.ipv4}`,
      ...(this.#hasIpv6 ? [`ip -6 route replace default via ${via.ipv6}`] : []),
    ];
  }

  #applyRules(router: LabRouter): Promise<void> {
    return this.#group.configure(
      router,
      `nft -f - <<'END'\n${routerRuleset(this.#rules[router])}\nEND`,
    );
  }

  /** Masquerade forgets every mapping of an address that is taken away. */
  #forgetFlows(router: LabRouter): Promise<void> {
    const outside = this.#outsideOf(router);
    const lines = [
      `ip addr del ${outside.ipv4}/24 dev wan`,
      ...this.#addAddresses('wan', [outside]),
      ...this.#defaultRoute(LAB_ADDRESSES.internet),
    ];
    return this.#group.configure(router, lines.join('\n'));
  }

  #outsideOf(router: LabRouter): DualAddress {
    return router === 'client-router' ? this.#clientOutside : LAB_ROUTERS[router].outside;
  }

  #writeEtcFiles(host: LabHost): void {
    const isInside = host === 'gateway' || host === 'resource';
    const resolver = isInside ? LAB_ADDRESSES.resourceDns : LAB_ADDRESSES.internetDns;
    this.#group.writeEtcFile(host, 'resolv.conf', `nameserver ${resolver.ipv4}\n`);
    const names = Object.entries({
      portal: LAB_ADDRESSES.portal,
      'relay-1': LAB_ADDRESSES.relay1,
      'relay-2': LAB_ADDRESSES.relay2,
    });
    const lines = names.flatMap(([name, { ipv4, ipv6 }]) => [
      `${ipv4} ${name}`,
      ...(this.#hasIpv6 ? [`${ipv6} ${name}`] : []),
    ]);
    this.#group.writeEtcFile(host, 'hosts', ['127.0.0.1 localhost', ...lines, ''].join('\n'));
  }
}
