// The relay as a role: a TURN server and what it owes the portal (relay 5 and 6.1, portal-protocol 9). It registers with its stamp
// secret, from which the portal makes the credentials of clients and gateways; beyond that the portal only has to know that it
// is there. Without a portal it serves whoever knows credentials made from the same secret.

import type { Endpoint } from '../../base/address.ts';
import type { ReceiveBatch } from '../../base/batch.ts';
import type { Instant } from '../../base/time.ts';
import { createStampSecret } from '../../proto/turn/server/credentials.ts';
import type { ForwardBatch } from '../../proto/turn/server/forwarding.ts';
import { TurnServer } from '../../proto/turn/server/server.ts';
import type {
  ServerTransmit,
  TurnServerCommand,
  TurnServerConfig,
  TurnServerDeps,
  TurnServerSnapshot,
} from '../../proto/turn/server/server-types.ts';
import { parseRelayInbound, writeRelayJoin } from '../../wire/portal/relay-messages.ts';

export interface RelayConfig extends Omit<TurnServerConfig, 'stampSecret'> {
  /** Default: a new one, so that a restart ends all credentials (relay 5.2). */
  readonly stampSecret?: string;
}

export interface RelaySnapshot extends TurnServerSnapshot {
  readonly isRegistered: boolean;
}

export class Relay {
  /** Payload of the join on the portal's topic `relay`. The secret stays the same over reconnects. */
  readonly joinPayload: unknown;
  readonly #server: TurnServer;
  #isRegistered = false;

  constructor(config: RelayConfig, deps: TurnServerDeps) {
    const stampSecret = config.stampSecret ?? createStampSecret(deps.crypto);
    this.joinPayload = writeRelayJoin({ stampSecret });
    this.#server = new TurnServer({ ...config, stampSecret }, deps);
  }

  /** Hot path. See `TurnServer.handleRuns`. */
  handleRuns(batch: ReceiveBatch, socket: number, out: ForwardBatch, now: Instant): void {
    this.#server.handleRuns(batch, socket, out, now);
  }

  /** See `TurnServer`. */
  handleStreamOpened(stream: Endpoint, seen: Endpoint, now: Instant): boolean {
    return this.#server.handleStreamOpened(stream, seen, now);
  }

  handleStreamClosed(stream: Endpoint): void {
    this.#server.handleStreamClosed(stream);
  }

  /** No new allocations: what there is is served until it ends. */
  drain(): void {
    this.#server.drain();
  }

  handleSocketsOpened(allocation: number, now: Instant): void {
    this.#server.handleSocketsOpened(allocation, now);
  }

  handleSocketsFailed(allocation: number): void {
    this.#server.handleSocketsFailed(allocation);
  }

  /** `init` says that the portal lists us; it has no content. `false`: not a message for relays. */
  handlePortalMessage(event: string, payload: unknown): boolean {
    const isKnown = parseRelayInbound(event, payload).kind === 'message';
    if (isKnown) this.#isRegistered = true;
    return isKnown;
  }

  handlePortalLost(): void {
    this.#isRegistered = false;
  }

  handleTimeout(now: Instant): void {
    this.#server.handleTimeout(now);
  }

  pollTransmit(): ServerTransmit | undefined {
    return this.#server.pollTransmit();
  }

  pollCommand(): TurnServerCommand | undefined {
    return this.#server.pollCommand();
  }

  pollTimeout(): Instant | undefined {
    return this.#server.pollTimeout();
  }

  /** `PATH` rows that `FORWARD.path` counts. */
  get paths(): Int32Array {
    return this.#server.channels.paths;
  }

  get allocationCount(): number {
    return this.#server.allocationCount;
  }

  get isRegistered(): boolean {
    return this.#isRegistered;
  }

  snapshot(): RelaySnapshot {
    return { ...this.#server.snapshot(), isRegistered: this.#isRegistered };
  }
}
