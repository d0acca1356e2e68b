// The client as a running process: builds the role and the rim around it, drains the role's events, and moves to a new network when the old one is gone.

import { connect as connectTcp, type Socket } from 'node:net';
import { endpoint, familyOf, type IpAddress } from '../base/address.ts';
import { toBase64 } from '../base/bytes.ts';
import type { FzError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Instant } from '../base/time.ts';
import { createWallClock, monotonicNow, SystemRandom } from '../io/clock.ts';
import { createNodeCrypto } from '../io/crypto/node-crypto.ts';
import type { DnsTransport } from '../io/dns/ask-server.ts';
import { DnsForwarder } from '../io/dns/dns-forwarder.ts';
import type { Reply } from '../io/dns/dns-listener.ts';
import { HealthServer } from '../io/health-server.ts';
import { localAddresses } from '../io/host/local-network.ts';
import { NetworkWatch } from '../io/host/network-watch.ts';
import { Loop } from '../io/loop.ts';
import { NativeAead } from '../io/packets/aead.ts';
import { nativeCounters } from '../io/packets/native.ts';
import { DEFAULT_TUN_NAME, TunDevice } from '../io/packets/tun.ts';
import { DEFAULT_TUNNEL_PORT, SOCKET_MARK, TunnelSockets } from '../io/packets/udp.ts';
import type { ClientStreams } from '../io/relay/client-streams.ts';
import { Node } from '../link/node.ts';
import { clientLoginUrl } from '../proto/phoenix/login-url.ts';
import { Client, type ClientEvent, type DnsDecision } from '../roles/client/client.ts';
import { DNS_RCODE, dnsResponse, parseDnsMessage, writeDnsMessage } from '../wire/dns/message.ts';
import {
  CLIENT_INBOUND,
  CLIENT_OUTBOUND,
  type ClientInbound,
  type ClientOutbound,
} from '../wire/portal/client-messages.ts';
import type { ClientConfig } from './client-config.ts';
import { ClientHost } from './client-host.ts';
import { PortalLink } from './portal-link.ts';
import { openStreams } from './relay-streams.ts';
import { warmUp } from './warm-up.ts';

// Specification
/** Longest answer over UDP (client 10.2). */
const MAX_UDP_ANSWER = 1_212;
/** How often the host's own resolv.conf is looked at (client 10.3). */
const RESOLV_CONF_POLL_MS = 5_000;

// Implementation
/** Eight sessions for each of the gateways a client may use at once (connectivity 7.7). */
const KEY_SLOTS = 512;

export interface ClientIdentity {
  readonly id: string;
  readonly name: string;
  readonly token: string;
}

export class ClientProcess {
  readonly #log: Log;
  readonly #config: ClientConfig;
  readonly #client: Client;
  readonly #loop: Loop;
  readonly #tun: TunDevice;
  readonly #host: ClientHost;
  readonly #portal: PortalLink<ClientInbound, ClientOutbound>;
  readonly #forwarder = new DnsForwarder();
  readonly #streams: ClientStreams;
  #sockets: TunnelSockets;
  #watch: NetworkWatch | undefined;
  #resolvTimer: NodeJS.Timeout | undefined;
  #health: HealthServer | undefined;
  #hasInterface = false;
  #isWarm = false;

  /** Throws an `FzError` for whatever the host refuses. `onFatal` is called at most once, when the process has to end. */
  constructor(
    config: ClientConfig,
    identity: ClientIdentity,
    log: Log,
    onFatal: (error: unknown) => void,
  ) {
    this.#log = log;
    this.#config = config;
    const crypto = createNodeCrypto();
    const aead = new NativeAead(KEY_SLOTS);
    const [random, wallClock] = [new SystemRandom(), createWallClock()];
    const link = new Node(
      { role: 'client', allowNoRelays: true, streamWays: config.relayStreams.ways },
      { crypto, random, aead, wallClock, log },
      monotonicNow(),
    );
    this.#client = new Client({
      link,
      log,
      activatesInternetResource: config.activatesInternetResource,
      iceless: config.iceless,
      tunMtu: config.tunMtu,
    });
    this.#tun = TunDevice.open(DEFAULT_TUN_NAME);
    this.#host = new ClientHost({
      config,
      device: this.#tun.name,
      log: log.child('client.host'),
      onDnsQuery: (query, server, transport, reply) => this.#onDns(query, server, transport, reply),
      onFatal,
    });
    this.#loop = new Loop({
      role: this.#client,
      aead,
      log: log.child('loop'),
      onTurn: () => this.#drainEvents(),
      onFatal,
    });
    this.#sockets = openSockets(log);
    const connect = (address: IpAddress, port: number): Socket => {
      this.#host.bypass(endpoint(address, port));
      return connectTcp({ host: address, port });
    };
    this.#streams = openStreams(config.relayStreams, log, connect);
    this.#portal = new PortalLink({
      login: clientLoginUrl(
        { apiUrl: config.apiUrl, firezoneId: identity.id, name: identity.name },
        crypto,
      ),
      component: 'headless-client',
      token: identity.token,
      partitionBudgetMs: config.maxPartitionMs,
      dial: {
        connect,
        resolve: (host) => this.#host.resolvePortal(host),
      },
      inbound: CLIENT_INBOUND,
      outbound: CLIENT_OUTBOUND,
      random,
      wallClock,
      log,
      onConnected: () => this.#run((now) => this.#client.handlePortalConnected(now)),
      onDisconnected: () => this.#run(() => this.#client.handlePortalDisconnected()),
      onMessage: (message) => this.#run((now) => this.#client.handlePortalMessage(message, now)),
      onFailed: (error: FzError) => onFatal(error),
    });
  }

  async start(): Promise<void> {
    const { healthAddress, apiUrl } = this.#config;
    if (healthAddress) {
      this.#health = await HealthServer.create(healthAddress, {
        notReady: () => this.#notReady(),
        snapshot: () => this.snapshot(),
      });
    }
    const servers = this.#host.prepare();
    this.#loop.useTun(this.#tun);
    this.#loop.useSockets(this.#sockets);
    this.#loop.useStreams(this.#streams);
    this.#run((now) => {
      this.#client.setSystemResolvers(servers);
      this.#client.setLocalAddresses(this.#localEndpoints(), now);
    });
    this.#watch = new NetworkWatch(this.#tun.name, this.#log, ({ kind }) => {
      if (kind === 'addresses') this.reset('addresses changed');
    });
    this.#resolvTimer = setInterval(() => this.#pollResolvConf(), RESOLV_CONF_POLL_MS);
    this.#log.info('Connecting to the portal', { apiUrl });
    this.#portal.connect(this.#client.publicKey);
    void warmUp(this.#log.child('warm_up')).then(() => {
      this.#isWarm = true;
    });
  }

  /** The network changed (client 13): new key, new sockets, new portal connection; resources, names and the TUN device stay. */
  reset(reason: string): void {
    this.#log.info('Resetting the network state', { reason });
    this.#run((now) => {
      this.#client.reset(now);
      const old = this.#sockets;
      old.close();
      this.#sockets = openSockets(this.#log);
      this.#loop.useSockets(this.#sockets);
      this.#client.setLocalAddresses(this.#localEndpoints(), now);
      this.#portal.connect(this.#client.publicKey);
    });
  }

  /** Says goodbye, closes the portal connection, puts the host back as it was. */
  async stop(): Promise<void> {
    this.#watch?.close();
    clearInterval(this.#resolvTimer);
    this.#run((now) => this.#client.shutdown(now));
    this.#loop.stop();
    this.#host.revert();
    await this.#portal.close();
    this.#sockets.close();
    this.#streams.close();
    this.#tun.close();
    this.#health?.close();
  }

  snapshot(): unknown {
    return {
      role: 'client',
      publicKey: toBase64(this.#client.publicKey),
      portal: this.#portal.snapshot(),
      client: this.#client.snapshot(),
      loop: this.#loop.counters.snapshot(),
      streams: this.#streams.snapshot(),
      native: nativeCounters(),
    };
  }

  #notReady(): string[] {
    const reasons = [];
    if (!this.#portal.isConnected) reasons.push('not connected to the portal');
    if (!this.#hasInterface) reasons.push('the interface is not configured');
    if (!this.#isWarm) reasons.push('warming up');
    return reasons;
  }

  #run(work: (now: Instant) => void): void {
    this.#loop.run(work);
  }

  #drainEvents(): void {
    for (let event = this.#client.pollEvent(); event; event = this.#client.pollEvent()) {
      this.#handleEvent(event);
    }
  }

  #handleEvent(event: ClientEvent): void {
    switch (event.kind) {
      case 'send-to-portal':
        return this.#portal.send(event.message);
      case 'interface-changed':
        this.#hasInterface = true;
        return this.#host.apply(event.settings);
      case 'granted':
        return this.#log.info('Access granted', { rid: event.resource, gid: event.peer });
      case 'refused':
        return this.#log.info('Access refused', { rid: event.resource, reason: event.reason });
      case 'connection-established':
        return this.#log.info('Connection established', { gid: event.peer });
      case 'connection-failed':
        return this.#log.info('Connection failed', { gid: event.peer, reason: event.reason });
      case 'connection-closed':
        return this.#log.info('Connection closed', { gid: event.peer });
      case 'path-changed':
        return this.#log.info('Path changed', { gid: event.peer, path: event.path.kind });
    }
  }

  #onDns(query: Uint8Array, server: IpAddress, transport: DnsTransport, reply: Reply): void {
    this.#run((now) => {
      const decision = this.#client.handleDnsQuery(query, server, now);
      void this.#answerDns(decision, query, transport, reply);
    });
  }

  async #answerDns(
    decision: DnsDecision,
    query: Uint8Array,
    transport: DnsTransport,
    reply: Reply,
  ): Promise<void> {
    switch (decision.kind) {
      case 'answer': {
        const limit = transport === 'udp' ? MAX_UDP_ANSWER : undefined;
        const bytes = writeDnsMessage(decision.response, limit);
        if (bytes) reply(bytes);
        return;
      }
      case 'forward': {
        const outcome = await this.#forwarder.forward(query, decision.upstream, transport);
        if (outcome.kind === 'answered') return reply(fitted(outcome.answer, transport));
        // Over UDP silence is passed on as it is (client 10.2).
        if (outcome.reason === 'timeout' && transport === 'udp') return;
        const failure = writeDnsMessage(dnsResponse(decision.query, DNS_RCODE.serverFailure));
        if (failure) reply(failure);
        return;
      }
      case 'drop':
        return this.#log.debug('A DNS query was dropped', { reason: decision.reason });
    }
  }

  #pollResolvConf(): void {
    try {
      const servers = this.#host.readSystemServers();
      this.#run(() => this.#client.setSystemResolvers(servers));
      this.#host.reassertDns();
    } catch (error) {
      // Another program is just writing it, or it is away for a moment; the next look comes soon.
      this.#log.warn('resolv.conf cannot be read or written', { error });
    }
  }

  #localEndpoints(): ReturnType<typeof endpoint>[] {
    return localAddresses(this.#tun.name).flatMap((address) => {
      const socket = this.#sockets.sockets.find(({ family }) => family === familyOf(address));
      return socket ? [endpoint(address, socket.port)] : [];
    });
  }
}

function openSockets(log: Log): TunnelSockets {
  const sockets = TunnelSockets.open({ port: DEFAULT_TUNNEL_PORT, mark: SOCKET_MARK });
  for (const { message } of sockets.problems) log.info('A family is not available', { message });
  return sockets;
}

/** An answer that is too long for UDP is cut to its question, with TC set. */
function fitted(answer: Uint8Array, transport: DnsTransport): Uint8Array {
  if (transport === 'tcp' || answer.length <= MAX_UDP_ANSWER) return answer;
  const message = parseDnsMessage(answer);
  if (!message) return answer.slice(0, MAX_UDP_ANSWER);
  const cut = { ...message, isTruncated: true, answers: [], authorities: [], additionals: [] };
  return writeDnsMessage(cut) ?? answer;
}
