// The portal connection of a gateway or a client as its process sees it: log in with the current public key, hand over parsed messages, say once what
// went wrong, and end the process when the channel ends for good.

import type { IpAddress } from '../base/address.ts';
import { FzError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import type { WallClock } from '../base/time.ts';
import { userAgent } from '../io/host/identity.ts';
import { PortalConnection } from '../io/portal/websocket.ts';
import type { DialOptions } from '../io/portal/websocket-dial.ts';
import { type ChannelEvent, PhoenixChannel } from '../proto/phoenix/channel.ts';
import type { ChannelFailure, HiccupCause } from '../proto/phoenix/failures.ts';
import type { LoginUrlResult, PublicKeyParams } from '../proto/phoenix/login-url.ts';
import type { Message, MessageSet } from '../wire/portal/schema.ts';

// Specification
/**
 * The official release whose protocol is spoken. A portal reads the version from the User-Agent and offers a gateway only to clients whose version
 * fits (portal-protocol 10.7.5), so it is not our own version.
 */
const SPOKEN_VERSION = { gateway: '1.6.0', 'headless-client': '1.5.11' } as const;

export class PortalUrlError extends FzError {
  readonly code = 'FZ_ERR_PORTAL_URL';
}

export class PortalRefusedError extends FzError {
  readonly code = 'FZ_ERR_PORTAL_REFUSED';
}

export interface PortalLinkOptions<In extends Message, Out extends Message> {
  readonly login: LoginUrlResult<PublicKeyParams>;
  readonly component: 'gateway' | 'headless-client';
  readonly token: string;
  readonly partitionBudgetMs: number;
  readonly dial: DialOptions;
  readonly inbound: MessageSet<In>;
  readonly outbound: MessageSet<Out>;
  readonly random: Random;
  readonly wallClock: WallClock;
  readonly log: Log;
  readonly onConnected: () => void;
  readonly onDisconnected: () => void;
  readonly onMessage: (message: In) => void;
  /** The channel gave up: wrong token, wrong set-up, or the time for retries is over. */
  readonly onFailed: (error: FzError) => void;
}

export class PortalLink<In extends Message, Out extends Message> {
  readonly #options: PortalLinkOptions<In, Out>;
  readonly #connection: PortalConnection<PublicKeyParams>;
  readonly #host: string;
  #onClosed: (() => void) | undefined;

  /** Throws `PortalUrlError`. */
  constructor(options: PortalLinkOptions<In, Out>) {
    const { login, random, wallClock, log, token, partitionBudgetMs } = options;
    if (login.kind === 'invalid') {
      throw new PortalUrlError(`the portal's URL is unusable: ${login.problem}`);
    }
    this.#options = options;
    this.#host = login.url.host;
    const channel = new PhoenixChannel(
      {
        loginUrl: login.url,
        token,
        userAgent: userAgent(options.component, SPOKEN_VERSION[options.component]),
        joinPayload: null,
        partitionBudgetMs,
      },
      { random, wallClock, log: log.child('phoenix') },
    );
    this.#connection = new PortalConnection(channel, options.dial, (event) => this.#on(event));
  }

  /** Connects, or connects anew with another key. */
  connect(publicKey: Uint8Array): void {
    this.#connection.connect({ publicKey });
  }

  /** This host has these addresses now. True: the connection was made from one that is gone, and ends. */
  handleAddresses(addresses: readonly IpAddress[]): boolean {
    return this.#connection.handleAddresses(addresses);
  }

  get isConnected(): boolean {
    return this.#connection.isConnected;
  }

  send(message: Out): void {
    const { event, payload } = this.#options.outbound.write(message);
    const outcome = this.#connection.send(event, payload);
    if (outcome !== 'queued') {
      this.#options.log.debug('A message for the portal was not sent', { event, outcome });
    }
  }

  /** Resolves when the connection is closed, at the latest after about two seconds. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#onClosed = resolve;
      this.#connection.close();
    });
  }

  snapshot(): unknown {
    return this.#connection.snapshot();
  }

  #on(event: ChannelEvent): void {
    const { log } = this.#options;
    switch (event.kind) {
      case 'connected':
        log.info('Connected to portal', { host: this.#host });
        return this.#options.onConnected();
      case 'message':
        return this.#handle(event.event, event.payload);
      case 'message-refused':
        return log.warn('The portal refused a message', {
          event: event.event,
          reason: event.reason,
        });
      case 'hiccup':
        log.info('Hiccup in the portal connection, retrying', {
          cause: describeCause(event.cause),
          backoffMs: Math.round(event.delayMs),
        });
        return this.#options.onDisconnected();
      case 'failed':
        return this.#options.onFailed(
          new PortalRefusedError(describeFailure(event.failure, this.#host)),
        );
      case 'closed':
        return this.#onClosed?.();
    }
  }

  #handle(event: string, payload: unknown): void {
    const { log, inbound, onMessage } = this.#options;
    const parsed = inbound.parse(event, payload);
    switch (parsed.kind) {
      case 'message':
        return onMessage(parsed.message);
      case 'malformed':
        return log.warn('Malformed message from the portal', {
          event,
          path: parsed.path,
          problem: parsed.problem,
        });
      case 'unknown-event':
        return log.debug('Unknown message from the portal', { event });
    }
  }
}

function describeFailure(failure: ChannelFailure, host: string): string {
  switch (failure.kind) {
    case 'invalid-token':
      return `the portal ${host} refuses the token (authentication token invalid): create a new one in the portal and set FIREZONE_TOKEN`;
    case 'authentication-failed':
      return `the portal ${host} refuses the token: ${failure.detail}`;
    case 'join-refused':
      return `the portal ${host} refuses this program: ${failure.reason}`;
    case 'retries-exhausted':
      return `the portal ${host} cannot be reached (${describeCause(failure.cause)}): check FIREZONE_API_URL and the network`;
  }
}

function describeCause(cause: HiccupCause): string {
  switch (cause.kind) {
    case 'http-status': {
      const { status, problem } = cause;
      const isDuplicate = status === 409;
      const hint = isDuplicate ? '; is another process running with the same FIREZONE_ID?' : '';
      return `HTTP ${status}${problem?.detail ? `, ${problem.detail}` : ''}${hint}`;
    }
    case 'close-frame':
      return `closed with code ${cause.code}`;
    case 'unresolved':
    case 'connect-failed':
    case 'connection-lost':
      return cause.detail;
    case 'connect-timeout':
    case 'channel-closed':
    case 'truncated-frame':
    case 'join-timeout':
    case 'heartbeats-unanswered':
      return cause.kind;
  }
}
