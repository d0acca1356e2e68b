// What the client does to its host, and takes back: the interface, policy routing, resolv.conf and the listeners on the sentinels. Settings come from the
// role, one after the other; while one set is being applied only the newest of those that follow is kept.

import { join } from 'node:path';
import {
  type Endpoint,
  familyOf,
  type IpAddress,
  type IpFamily,
  parseIp,
} from '../base/address.ts';
import type { Log } from '../base/log.ts';
import { ResolvConf } from '../io/dns/dns-control.ts';
import { DnsListener, type OnDnsQuery } from '../io/dns/dns-listener.ts';
import { HostFiles } from '../io/dns/host-files.ts';
import { SystemResolver } from '../io/dns/resolver.ts';
import { Upstreams } from '../io/dns/upstreams.ts';
import { ClientRoutes } from '../io/host/client-routes.ts';
import { TunnelInterface } from '../io/host/interface.ts';
import { resolveBySystem } from '../io/portal/websocket-dial.ts';
import type { InterfaceSettings } from '../roles/client/client.ts';
import { BypassList } from './bypass-list.ts';
import type { ClientConfig } from './client-config.ts';

// Specification
const DNS_PORT = 53;

export interface ClientHostOptions {
  readonly config: ClientConfig;
  readonly device: string;
  readonly log: Log;
  readonly onDnsQuery: OnDnsQuery;
  readonly onFatal: (error: unknown) => void;
}

export class ClientHost {
  readonly #options: ClientHostOptions;
  readonly #interface: TunnelInterface;
  readonly #routes: ClientRoutes;
  readonly #resolvConf: ResolvConf;
  readonly #listener: DnsListener;
  readonly #portalResolver: SystemResolver;
  readonly #bypass = new BypassList();
  #systemServers: readonly IpAddress[] = [];
  #applied: InterfaceSettings | undefined;
  #families: readonly IpFamily[] = [];
  #next: InterfaceSettings | undefined;
  #isApplying = false;
  #isReverted = false;
  #listening = '';

  constructor(options: ClientHostOptions) {
    const { config, device, log, onDnsQuery } = options;
    this.#options = options;
    this.#interface = new TunnelInterface(device);
    this.#routes = new ClientRoutes(device);
    const backup = join(config.stateFolder, 'resolv.conf.before-firezone');
    this.#resolvConf = new ResolvConf(backup);
    const files = new HostFiles('/etc/hosts', backup);
    const dnsLog = log.child('dns');
    const upstreams = new Upstreams({ files, log: dnsLog });
    this.#portalResolver = new SystemResolver({ files, upstreams, log: dnsLog });
    this.#listener = new DnsListener(onDnsQuery, log);
  }

  /** Undoes what a crashed run left, and reads the host's own DNS servers. */
  prepare(): readonly IpAddress[] {
    if (this.#options.config.dnsControl === 'etc-resolv-conf') this.#resolvConf.revert();
    return this.readSystemServers();
  }

  readSystemServers(): readonly IpAddress[] {
    this.#systemServers = this.#resolvConf.systemServers();
    return this.#systemServers;
  }

  /** Another program (a DHCP client) wrote resolv.conf anew: the sentinels are put into it again. */
  reassertDns(): void {
    if (!this.#applied || this.#options.config.dnsControl !== 'etc-resolv-conf') return;
    if (this.#resolvConf.isInForce) return;
    this.#options.log.info('resolv.conf was replaced; taking it over again');
    this.#applyResolvConf(this.#applied);
  }

  /** Asks the host's own servers, never our sentinels: their upstream may be behind a tunnel that needs the portal first. */
  async resolvePortal(name: string): Promise<readonly IpAddress[]> {
    if (parseIp(name) !== undefined || !this.#resolvConf.isInForce) return resolveBySystem(name);
    const outcome = await this.#portalResolver.resolve(name);
    return outcome.kind === 'resolved' ? outcome.addresses : [];
  }

  /** The portal or a relay is about to be dialled there: that connection must not enter the tunnel. */
  bypass(server: Endpoint): void {
    if (!this.#bypass.add(server) || !this.#applied) return;
    try {
      this.#applyRoutes(this.#applied);
    } catch (error) {
      this.#options.log.warn('A server could not be kept out of the tunnel', {
        server: server.key,
        error,
      });
    }
  }

  apply(settings: InterfaceSettings): void {
    if (this.#isReverted) return;
    this.#next = settings;
    if (this.#isApplying) return;
    this.#isApplying = true;
    void this.#applyAll().catch(this.#options.onFatal);
  }

  revert(): void {
    this.#isReverted = true;
    this.#next = undefined;
    this.#listener.close();
    this.#routes.remove();
    if (this.#options.config.dnsControl === 'etc-resolv-conf') this.#resolvConf.revert();
  }

  async #applyAll(): Promise<void> {
    for (let settings = this.#next; settings; settings = this.#next) {
      this.#next = undefined;
      await this.#applyOne(settings);
    }
    this.#isApplying = false;
  }

  async #applyOne(settings: InterfaceSettings): Promise<void> {
    const { ipv4, ipv6, sentinels } = settings;
    const servers = sentinels.map(({ address }) => address);
    const { families, problems } = this.#interface.configure({
      addresses: [ipv4, ipv6, ...servers],
      mtu: this.#options.config.tunMtu,
    });
    for (const { message } of problems)
      this.#options.log.info('An address was refused', { message });
    this.#families = families;
    this.#applyRoutes(settings);
    this.#applied = settings;
    const usable = this.#usableServers(settings);
    if (usable.join(' ') !== this.#listening) {
      await this.#listener.listen(usable);
      this.#listening = usable.join(' ');
      // The program ended meanwhile, and the host is as it was.
      if (this.#isReverted) return this.#listener.close();
    }
    if (this.#options.config.dnsControl === 'etc-resolv-conf') this.#applyResolvConf(settings);
    this.#options.log.info('Interface configured', {
      networks: settings.networks.length,
      dnsServers: usable.length,
    });
  }

  #usableServers({ sentinels }: InterfaceSettings): IpAddress[] {
    return sentinels
      .map(({ address }) => address)
      .filter((address) => this.#families.includes(familyOf(address)));
  }

  #applyResolvConf(settings: InterfaceSettings): void {
    this.#resolvConf.apply(this.#usableServers(settings), settings.searchDomain);
  }

  #applyRoutes({ networks, isInternetActive }: InterfaceSettings): void {
    const dns = this.#systemServers.flatMap((address) =>
      (['udp', 'tcp'] as const).map((protocol) => ({
        address,
        port: DNS_PORT,
        key: address,
        protocol,
      })),
    );
    const dialled = this.#bypass.all().map((to) => ({ ...to, protocol: 'tcp' as const }));
    const bypass = [...dialled, ...dns];
    this.#routes.apply({ families: this.#families, networks, isInternetActive, bypass });
  }
}
