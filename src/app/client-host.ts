// What the client does to its host, and takes back: the interface, policy routing, resolv.conf and the listeners on the sentinels. Settings come from the
// role, one after the other; while one set is being applied only the newest of those that follow is kept.

import { join } from 'node:path';
import { type Endpoint, familyOf, type IpAddress, type IpFamily } from '../base/address.ts';
import type { Log } from '../base/log.ts';
import { ClientRoutes } from '../io/client-routes.ts';
import { ResolvConf } from '../io/dns-control.ts';
import { DnsListener, type OnDnsQuery } from '../io/dns-listener.ts';
import { TunnelInterface } from '../io/interface.ts';
import type { InterfaceSettings } from '../roles/client/client.ts';
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
  readonly #portal = new Map<string, Endpoint>();
  #systemServers: readonly IpAddress[] = [];
  #applied: InterfaceSettings | undefined;
  #families: readonly IpFamily[] = [];
  #next: InterfaceSettings | undefined;
  #isApplying = false;
  #listening = '';

  constructor(options: ClientHostOptions) {
    const { config, device, log, onDnsQuery } = options;
    this.#options = options;
    this.#interface = new TunnelInterface(device);
    this.#routes = new ClientRoutes(device);
    this.#resolvConf = new ResolvConf(join(config.stateFolder, 'resolv.conf.before-firezone'));
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

  /** The portal is about to be dialled there: that connection must not enter the tunnel. */
  bypass(portal: Endpoint): void {
    if (this.#portal.has(portal.key)) return;
    this.#portal.set(portal.key, portal);
    if (this.#applied) this.#applyRoutes(this.#applied);
  }

  apply(settings: InterfaceSettings): void {
    this.#next = settings;
    if (this.#isApplying) return;
    this.#isApplying = true;
    void this.#applyAll().catch(this.#options.onFatal);
  }

  revert(): void {
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
    const { ipv4, ipv6, sentinels, searchDomain } = settings;
    const servers = sentinels.map(({ address }) => address);
    const { families, problems } = this.#interface.configure({
      addresses: [ipv4, ipv6, ...servers],
    });
    for (const { message } of problems)
      this.#options.log.info('An address was refused', { message });
    this.#families = families;
    this.#applyRoutes(settings);
    this.#applied = settings;
    const usable = servers.filter((address) => families.includes(familyOf(address)));
    if (usable.join(' ') !== this.#listening) {
      await this.#listener.listen(usable);
      this.#listening = usable.join(' ');
    }
    if (this.#options.config.dnsControl === 'etc-resolv-conf') {
      this.#resolvConf.apply(usable, searchDomain);
    }
    this.#options.log.info('Interface configured', {
      networks: settings.networks.length,
      dnsServers: usable.length,
    });
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
    const portal = [...this.#portal.values()].map((to) => ({ ...to, protocol: 'tcp' as const }));
    const bypass = [...portal, ...dns];
    this.#routes.apply({ families: this.#families, networks, isInternetActive, bypass });
  }
}
