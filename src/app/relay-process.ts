// A relay that runs: role, sockets, portal connection and health listener, wired in one visible place. Also what the lab starts
// when it wants relays of its own. The sockets are open before the portal hears of the relay, so that nobody asks too early.

import { networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { familyOf, type IpAddress, parseIp } from '../base/address.ts';
import { FzError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { createWallClock, SystemRandom } from '../io/clock.ts';
import { createNodeCrypto } from '../io/crypto/node-crypto.ts';
import { HealthServer } from '../io/health-server.ts';
import { userAgent } from '../io/host/identity.ts';
import { nativeCounters, nativeProblem } from '../io/packets/native.ts';
import { PortalConnection } from '../io/portal/websocket.ts';
import { RelayLoop } from '../io/relay/relay-loop.ts';
import {
  NativeRelaySockets,
  PlainRelaySockets,
  type RelaySocketFactory,
} from '../io/relay/relay-sockets.ts';
import { Certificate } from '../io/relay/stream-listener.ts';
import {
  type ChannelEvent,
  DEFAULT_PARTITION_BUDGET_MS,
  PhoenixChannel,
} from '../proto/phoenix/channel.ts';
import { type NoParams, relayLoginUrl } from '../proto/phoenix/login-url.ts';
import { Relay } from '../roles/relay/relay.ts';
import { programVersion } from './program.ts';
import type { RelaySettings } from './relay-config.ts';
import { relayMetrics } from './relay-metrics.ts';

// Specification
/** relay 5.2: how clients recognise a relay that signs its errors. */
const SOFTWARE = 'firezone-relay; rev=xxxxxxxx';

// Implementation
const STATISTICS_MS = 10_000; // relay 5.6
const DRAIN_POLL_MS = 100;

export class RelayPortalError extends FzError {
  readonly code = 'FZ_ERR_RELAY_PORTAL';
}

export interface RunningRelay {
  readonly relay: Relay;
  /** Resolves when the relay cannot go on: the portal refuses it. Never rejects. */
  readonly failed: Promise<FzError>;
  snapshot(): unknown;
  /** Leaves the portal and makes no allocation any more; resolves when the last one has ended or the time is over. */
  drain(): Promise<void>;
  stop(): Promise<void>;
}

/** Rejects with an `FzError` if the relay cannot start. */
export async function startRelay(settings: RelaySettings, log: Log): Promise<RunningRelay> {
  const { publicAddresses, listenPort, ports, stampSecret } = settings;
  const random = new SystemRandom();
  const wallClock = createWallClock();
  const relay = new Relay(
    {
      publicAddresses,
      ports,
      software: SOFTWARE,
      peerPolicy: { allowsLoopback: settings.allowsLoopbackPeers, denied: settings.deniedPeers },
      ...(stampSecret !== undefined && { stampSecret }),
    },
    { crypto: createNodeCrypto(), random, wallClock, log: log.child('relay.turn') },
  );
  const sockets = chooseSockets(settings, log);
  const { cert, key } = settings.certificate ?? {};
  const certificate = cert && key ? await Certificate.load(cert, key) : undefined;
  const loop = await RelayLoop.create(relay, {
    listen: settings.bindAddresses,
    listenPort,
    streamPorts: settings.streamPorts,
    ...(certificate && { certificate }),
    bind: settings.bindAddresses.map((bind, i) => allocationAddress(bind, publicAddresses[i])),
    sockets,
    log: log.child('relay.sockets'),
  });
  const portal = new RelayPortal(relay, settings, { random, wallClock, log });
  const source = {
    notReady: () => portal.notReady(),
    metrics: () => relayMetrics(relay.snapshot(), loop.streamSnapshot()),
    snapshot: () => ({
      relay: relay.snapshot(),
      loop: loop.counters.snapshot(),
      streams: loop.streamSnapshot(),
      ...(sockets.kind === 'native' && { sockets: nativeCounters() }),
    }),
  };
  let health: HealthServer;
  try {
    health = await HealthServer.create(settings.healthAddress, source);
  } catch (error) {
    loop.close();
    throw error;
  }
  portal.connect();
  const statistics = setInterval(() => logStatistics(relay, log), STATISTICS_MS);
  log.info('Relay is listening', {
    port: listenPort,
    tcp: loop.streamPorts.join(' '),
    tls: certificate !== undefined,
    sockets: sockets.kind,
  });
  return {
    relay,
    failed: portal.failed,
    snapshot: source.snapshot,
    async drain(): Promise<void> {
      relay.drain();
      await portal.close();
      const giveUpAt = performance.now() + settings.drainMs;
      while (relay.allocationCount > 0 && performance.now() < giveUpAt) await sleep(DRAIN_POLL_MS);
    },
    async stop(): Promise<void> {
      clearInterval(statistics);
      health.close();
      await portal.close();
      loop.close();
    },
  };
}

function chooseSockets(settings: RelaySettings, log: Log): RelaySocketFactory {
  const problem = settings.usesNative ? nativeProblem() : undefined;
  if (settings.usesNative && problem === undefined) return new NativeRelaySockets();
  if (problem !== undefined) log.warn('Forwarding without the native add-on', { problem });
  return new PlainRelaySockets();
}

/**
 * Allocations leave from the advertised address where this host has it: with several addresses the kernel might choose another,
 * and a peer would not know the sender (relay 10).
 */
function allocationAddress(bind: IpAddress, advertised: IpAddress | undefined): IpAddress {
  const isAny = bind === '0.0.0.0' || bind === '::';
  if (!isAny || advertised === undefined) return bind;
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return own.some(({ address }) => parseIp(address) === advertised) ? advertised : bind;
}

function logStatistics(relay: Relay, log: Log): void {
  if (!log.debugEnabled) return;
  const { allocationCount, boundChannelCount, totals } = relay.snapshot();
  log.debug('Relaying', { allocationCount, boundChannelCount, ...totals });
}

type PortalDeps = ConstructorParameters<typeof PhoenixChannel<NoParams>>[1];

/** The registration with the portal, if there is one. */
class RelayPortal {
  readonly failed: Promise<FzError>;
  readonly #relay: Relay;
  readonly #log: Log;
  readonly #connection: PortalConnection<NoParams> | undefined;
  #onFailed: (error: FzError) => void = () => {};
  #onClosed: (() => void) | undefined;
  #closing: Promise<void> | undefined;

  constructor(relay: Relay, settings: RelaySettings, deps: PortalDeps) {
    this.#relay = relay;
    this.#log = deps.log.child('relay.portal');
    this.failed = new Promise((resolve) => {
      this.#onFailed = resolve;
    });
    this.#connection = settings.portal && this.#create(settings, settings.portal, deps);
  }

  connect(): void {
    this.#connection?.connect({});
  }

  notReady(): readonly string[] {
    return this.#connection && !this.#relay.isRegistered ? ['not registered with the portal'] : [];
  }

  /** Once or more often. */
  close(): Promise<void> {
    const connection = this.#connection;
    if (!connection) return Promise.resolve();
    this.#closing ??= new Promise((resolve) => {
      this.#onClosed = resolve;
      connection.close();
    });
    return this.#closing;
  }

  #create(
    { publicAddresses, listenPort, name }: RelaySettings,
    { apiUrl, token }: { readonly apiUrl: string; readonly token: string },
    deps: PortalDeps,
  ): PortalConnection<NoParams> {
    const ipv4 = publicAddresses.find((address) => familyOf(address) === 4);
    const ipv6 = publicAddresses.find((address) => familyOf(address) === 6);
    const login = relayLoginUrl({
      apiUrl,
      port: listenPort,
      ...(name !== undefined && { name }),
      ...(ipv4 !== undefined && { ipv4 }),
      ...(ipv6 !== undefined && { ipv6 }),
    });
    if (login.kind === 'invalid') {
      throw new RelayPortalError(`the portal's URL is unusable: ${login.problem}`);
    }
    const channel = new PhoenixChannel<NoParams>(
      {
        loginUrl: login.url,
        token,
        userAgent: userAgent('relay', programVersion()),
        joinPayload: this.#relay.joinPayload,
        partitionBudgetMs: DEFAULT_PARTITION_BUDGET_MS,
      },
      { ...deps, log: deps.log.child('phoenix') },
    );
    return new PortalConnection(channel, {}, (event) => this.#handle(event));
  }

  #handle(event: ChannelEvent): void {
    switch (event.kind) {
      case 'connected':
        this.#log.info('Connected to portal');
        break;
      case 'message':
        if (!this.#relay.handlePortalMessage(event.event, event.payload)) {
          this.#log.debug('Message that is not for relays', { event: event.event });
        }
        break;
      case 'message-refused':
        this.#log.debug('The portal refused a message', { event: event.event });
        break;
      case 'hiccup':
        this.#relay.handlePortalLost();
        this.#log.info('Hiccup in the portal connection, retrying', {
          cause: event.cause.kind,
          backoffMs: Math.round(event.delayMs),
        });
        break;
      case 'failed':
        this.#relay.handlePortalLost();
        this.#onFailed(
          new RelayPortalError(`the portal refuses this relay: ${event.failure.kind}`),
        );
        break;
      case 'closed':
        this.#onClosed?.();
        break;
    }
  }
}
