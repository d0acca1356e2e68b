// The gateway as a running process: builds the role and the rim around it (operations 4), drains the role's events, and ends orderly (operations 14.1).

import { writeFileSync } from 'node:fs';
import { endpoint, familyOf, type IpNetwork } from '../base/address.ts';
import { FzError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type Instant, unixMillis } from '../base/time.ts';
import { bootNow, createWallClock, SystemRandom } from '../io/clock.ts';
import { createNodeCrypto } from '../io/crypto/node-crypto.ts';
import { GatewayDns } from '../io/dns/gateway-dns.ts';
import { HostFiles } from '../io/dns/host-files.ts';
import { SystemResolver } from '../io/dns/resolver.ts';
import { Upstreams } from '../io/dns/upstreams.ts';
import { HealthServer } from '../io/health-server.ts';
import { Firewall } from '../io/host/firewall.ts';
import { TunnelInterface } from '../io/host/interface.ts';
import { localAddresses } from '../io/host/local-network.ts';
import { type NetworkChange, NetworkWatch } from '../io/host/network-watch.ts';
import { Loop } from '../io/loop.ts';
import { NativeAead } from '../io/packets/aead.ts';
import { nativeCounters, shareNetAdmin } from '../io/packets/native.ts';
import { DEFAULT_TUN_NAME, TunDevice } from '../io/packets/tun.ts';
import { DEFAULT_TUNNEL_PORT, TunnelSockets } from '../io/packets/udp.ts';
import type { ClientStreams } from '../io/relay/client-streams.ts';
import { Node } from '../link/node.ts';
import { gatewayLoginUrl } from '../proto/phoenix/login-url.ts';
import type { GatewayEvent } from '../roles/gateway/events.ts';
import { Gateway } from '../roles/gateway/gateway.ts';
import type { TunnelAddresses } from '../roles/gateway/gateway-wide.ts';
import { TUNNEL_NETWORK_IPV4, TUNNEL_NETWORK_IPV6 } from '../wire/control/address-plan.ts';
import {
  GATEWAY_INBOUND,
  GATEWAY_OUTBOUND,
  type GatewayInbound,
  type GatewayOutbound,
} from '../wire/portal/gateway-messages.ts';
import type { GatewayConfig } from './gateway-config.ts';
import { PortalLink } from './portal-link.ts';
import { openStreams } from './relay-streams.ts';
import { warmUp } from './warm-up.ts';

// Specification
/** Routed into the TUN device, and nothing else (data-plane 1.1). */
const TUNNEL_NETWORKS: readonly IpNetwork[] = [TUNNEL_NETWORK_IPV4, TUNNEL_NETWORK_IPV6];
/** operations 4 step 7 */
const BUFFER_LIMITS: readonly (readonly [path: string, bytes: number])[] = [
  ['/proc/sys/net/core/rmem_max', 16_777_216],
  ['/proc/sys/net/core/wmem_max', 2_097_152],
];

// Implementation
/** Eight sessions (connectivity 7.7) for each of some thousand clients. */
const KEY_SLOTS = 16_384;

export interface GatewayIdentity {
  readonly id: string;
  readonly name: string;
  readonly token: string;
}

export class GatewayProcess {
  readonly #config: GatewayConfig;
  readonly #log: Log;
  readonly #node: Node;
  readonly #gateway: Gateway;
  readonly #loop: Loop;
  readonly #tun: TunDevice;
  readonly #interface: TunnelInterface;
  readonly #sockets: TunnelSockets;
  readonly #streams: ClientStreams;
  readonly #firewall: Firewall;
  readonly #resolver: SystemResolver;
  readonly #dns: GatewayDns;
  readonly #portal: PortalLink<GatewayInbound, GatewayOutbound>;
  readonly #onFatal: (error: unknown) => void;
  #watch: NetworkWatch | undefined;
  #health: HealthServer | undefined;
  #isConfigured = false;
  #isWarm = false;

  /** Throws an `FzError` for whatever the host refuses. `onFatal` is called when the process has to end. */
  constructor(
    config: GatewayConfig,
    identity: GatewayIdentity,
    log: Log,
    onFatal: (error: unknown) => void,
  ) {
    this.#config = config;
    this.#log = log;
    this.#onFatal = onFatal;
    const crypto = createNodeCrypto();
    const aead = new NativeAead(KEY_SLOTS);
    const now = bootNow();
    const [random, wallClock] = [new SystemRandom(), createWallClock(now)];
    this.#portal = new PortalLink({
      login: gatewayLoginUrl(
        { apiUrl: config.apiUrl, firezoneId: identity.id, name: identity.name },
        crypto,
      ),
      component: 'gateway',
      token: identity.token,
      partitionBudgetMs: config.maxPartitionMs,
      dial: {},
      inbound: GATEWAY_INBOUND,
      outbound: GATEWAY_OUTBOUND,
      random,
      wallClock,
      log,
      onConnected: () => this.#run((at) => this.#gateway.handlePortalConnected(at)),
      onDisconnected: () => this.#run((at) => this.#gateway.handlePortalDisconnected(at)),
      onMessage: (message) =>
        this.#run((at) => {
          this.#gateway.handleWallClock(unixMillis(Date.now()), at);
          this.#gateway.handlePortalMessage(message, at);
        }),
      onFailed: onFatal,
    });
    this.#node = new Node(
      {
        role: 'gateway',
        allowNoRelays: true,
        neverProbed: config.neverProbed,
        streamWays: config.relayStreams.ways,
      },
      { crypto, random, aead, wallClock, log },
      now,
    );
    const { specialNetworks, iceless } = config;
    const { tunMtu, clampMss, mayResourcesInitiate } = config;
    const packets = { tunMtu, clampMss, mayResourcesInitiate };
    const link = this.#node;
    this.#gateway = new Gateway(
      { link, crypto, wallClock, log, specialNetworks, packets, iceless },
      now,
    );
    if (config.increaseBuffers) increaseBuffers(log);
    this.#sockets = TunnelSockets.open({ port: DEFAULT_TUNNEL_PORT });
    this.#streams = openStreams(config.relayStreams, log);
    for (const { message } of this.#sockets.problems) log.info('A family is missing', { message });
    this.#tun = TunDevice.open(DEFAULT_TUN_NAME);
    log.info('Data path', {
      cipher: aead.backend,
      udpSegmentation: this.#sockets.sockets.every(({ segments }) => segments),
      udpCoalescing: this.#sockets.sockets.every(({ coalesces }) => coalesces),
      tcpSuperPackets: this.#tun.offloads.tcp,
      udpSuperPackets: this.#tun.offloads.udp,
    });
    this.#interface = new TunnelInterface(this.#tun.name);
    const dnsLog = log.child('dns');
    const files = new HostFiles('/etc/hosts', '/etc/resolv.conf');
    const upstreams = new Upstreams({ files, log: dnsLog });
    this.#resolver = new SystemResolver({ files, upstreams, log: dnsLog });
    this.#dns = new GatewayDns({ upstreams, log: dnsLog });
    this.#firewall = new Firewall(this.#tun.name, log.child('firewall'));
    this.#loop = new Loop({
      role: this.#gateway,
      aead,
      clock: bootNow,
      log: log.child('loop'),
      onTurn: () => this.#drainEvents(),
      onFatal,
    });
  }

  async start(): Promise<void> {
    this.#health = await HealthServer.create(this.#config.healthAddress, {
      notReady: () => this.#notReady(),
      snapshot: () => this.snapshot(),
    });
    if (this.#config.manageFirewall) {
      // The child `nft` has no file capability; where we could not share ours, the firewall says what was refused.
      shareNetAdmin();
      this.#firewall.apply();
    }
    this.#loop.useTun(this.#tun);
    this.#loop.useSockets(this.#sockets);
    this.#loop.useStreams(this.#streams);
    this.#announceAddresses();
    this.#watch = new NetworkWatch(this.#tun.name, this.#log, (change) =>
      this.#handleNetworkChange(change),
    );
    this.#log.info('Connecting to the portal', { apiUrl: this.#config.apiUrl });
    this.#portal.connect(this.#node.publicKey);
    void warmUp(this.#log.child('warm_up')).then(() => {
      this.#isWarm = true;
    });
  }

  /** Says goodbye to all clients, gives the allocations back, closes the portal connection, leaves the host as it was. */
  async stop(): Promise<void> {
    this.#watch?.close();
    this.#run((now) => {
      this.#gateway.shutDown(now);
      this.#node.releaseRelays(now);
    });
    this.#loop.stop();
    this.#firewall.remove();
    await this.#portal.close();
    this.#resolver.close();
    this.#dns.close();
    this.#sockets.close();
    this.#streams.close();
    this.#tun.close();
    this.#health?.close();
  }

  snapshot(): unknown {
    return {
      role: 'gateway',
      notReady: this.#notReady(),
      portal: this.#portal.snapshot(),
      gateway: this.#gateway.snapshot(),
      link: this.#node.snapshot(),
      loop: this.#loop.counters.snapshot(),
      streams: this.#streams.snapshot(),
      native: nativeCounters(),
    };
  }

  #notReady(): string[] {
    const reasons: string[] = [];
    if (!this.#portal.isConnected) reasons.push('not connected to the portal');
    if (!this.#isConfigured) reasons.push('the TUN interface is not configured');
    if (!this.#isWarm) reasons.push('warming up');
    return reasons;
  }

  #run(work: (now: Instant) => void): void {
    this.#loop.run(work);
  }

  /**
   * Everything is asked and announced anew. A portal connection whose address went is given up at once instead of after missed heartbeats, and
   * first of all, so that what is announced waits for the next one.
   */
  #handleNetworkChange({ kind, addresses }: NetworkChange): void {
    this.#log.info('The network of this host changed', { kind });
    const isPortalLost = this.#portal.handleAddresses(addresses);
    this.#run((now) => {
      if (isPortalLost) this.#gateway.handlePortalDisconnected(now);
      this.#gateway.handleWallClock(unixMillis(Date.now()), now);
    });
    this.#announceAddresses();
    this.#run((now) => this.#gateway.handleNetworkChange(now));
  }

  #announceAddresses(): void {
    const endpoints = localAddresses(this.#tun.name).flatMap((address) => {
      const socket = this.#sockets.sockets.find(({ family }) => family === familyOf(address));
      return socket ? [endpoint(address, socket.port)] : [];
    });
    this.#run((now) => this.#gateway.setLocalAddresses(endpoints, now));
  }

  #drainEvents(): void {
    for (let event = this.#gateway.pollEvent(); event; event = this.#gateway.pollEvent()) {
      this.#handleEvent(event);
    }
  }

  #handleEvent(event: GatewayEvent): void {
    switch (event.kind) {
      case 'send-to-portal':
        return this.#portal.send(event.message);
      case 'resolve':
        void this.#resolve(event.queryId, event.domain);
        return;
      case 'configure-interface':
        return this.#configure(event.addresses);
      case 'flow-logs-configured':
      case 'legacy-domain-set-up':
      case 'flow-started':
      case 'flow-completed':
        return; // Flow logs have their place here.
      case 'authorization-created':
      case 'authorization-updated':
        return this.#log.info('Access granted', { cid: event.client, rid: event.resource.id });
      case 'authorization-revoked':
        return this.#log.info('Access revoked', {
          cid: event.client,
          rid: event.resource,
          reason: event.reason,
        });
      case 'client-connected':
        return this.#log.info('Client connected', { cid: event.client });
      case 'client-disconnected':
        return this.#log.info('Client disconnected', { cid: event.client, reason: event.reason });
      case 'path-changed':
        return this.#log.info('Path changed', { cid: event.client, path: event.path.kind });
      case 'domain-set-up':
        return this.#log.debug('Domain set up', { cid: event.client, domain: event.domain });
    }
  }

  async #resolve(queryId: number, domain: string): Promise<void> {
    const result = await this.#resolver.resolve(domain);
    this.#run((now) => this.#gateway.handleResolved(queryId, result, now));
  }

  /** Each `init`; what the host refuses entirely ends the process (operations 4.1 step 8). */
  #configure({ ipv4, ipv6 }: TunnelAddresses): void {
    try {
      const { families, problems } = this.#interface.configure({
        addresses: [ipv4, ipv6],
        mtu: this.#config.tunMtu,
      });
      const networks = TUNNEL_NETWORKS.filter(({ address }) =>
        families.includes(familyOf(address)),
      );
      const refused = [...problems, ...this.#interface.setRoutes(networks)];
      for (const { message } of refused) this.#log.info('The host refused a setting', { message });
      this.#isConfigured = true;
      const served = [ipv4, ipv6].filter((address) => families.includes(familyOf(address)));
      this.#dns.listen(served).catch((error: unknown) => {
        this.#log.warn('The DNS server of the tunnel is missing', { error: String(error) });
      });
    } catch (error) {
      if (!(error instanceof FzError)) throw error;
      this.#onFatal(error);
    }
  }
}

/** More room for bursts; refused in most containers, and then the kernel's limits hold. */
function increaseBuffers(log: Log): void {
  for (const [path, bytes] of BUFFER_LIMITS) {
    try {
      writeFileSync(path, String(bytes));
    } catch (error) {
      log.info('The limit of the socket buffers cannot be raised', { path, error: String(error) });
    }
  }
}
