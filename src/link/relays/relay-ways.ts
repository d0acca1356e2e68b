// The ways to one relay: UDP, and where that is blocked a stream over TCP or TLS (RFC 8656 §2.1). Each way has an allocation of its own;
// one of them is in use, and to peers there is no difference.
//
//   UDP answers ─────────────────────────────────────────────▶ UDP in use
//      │ nothing for UDP_PATIENCE_MS, from no relay              ▲ UDP answers again: allocate there, then leave the stream
//      ▼                                                         │
//   dial ── a stream opens ── it answers ──▶ stream in use, UDP is asked again after a while
//      └─── nothing opens, nothing answers ──▶ failed; kept by its owner if it worked before and is the last: asked again after a while
//
// UDP is better where it works, because a stream makes loss into delay. So a stream is only for when *no* relay answers over UDP: as long as
// another one does, connections use that one.

import { type Endpoint, endpoint, familyOf, type IpFamily } from '../../base/address.ts';
import { earliest, type Instant, later } from '../../base/time.ts';
import type { Transmit } from '../../base/transmit.ts';
import { Allocation } from '../../proto/turn/allocation.ts';
import type {
  AllocationDeps,
  AllocationEvent,
  AllocationFailure,
} from '../../proto/turn/allocation-types.ts';
import {
  type StreamCommand,
  StreamDialer,
  type StreamEvent,
  type StreamTarget,
} from '../../proto/turn/stream-dialer.ts';
import type { RelayInfo, StreamWay } from './relay-info.ts';

// Implementation
/** By then three transmissions (0, 1 and 2.5 s) have met nothing (relay 4.5). */
const UDP_PATIENCE_MS = 3000;
/** While a stream works, whether UDP does again is worth a look once in a while, and less and less. */
const FIRST_UDP_RETRY_MS = 60_000;
const MAX_UDP_RETRY_MS = 600_000;
/** A stream that ends is opened again at once; one that ends again before it was of any use is not. */
const FIRST_REDIAL_MS = 1000;
const MAX_REDIAL_MS = 30_000;
/** A relay that worked and is unreachable now, as in an outage of the network, is asked again after a while. */
const FIRST_RETRY_MS = 2000;
const MAX_RETRY_MS = 60_000;
const SOFTWARE = 'firezone-gateway';

export type WaysEvent =
  | AllocationEvent
  /** The way that was in use is gone. Another may come; until then connections should use another relay. */
  | { readonly kind: 'silent' };

export interface WaysDeps extends AllocationDeps {
  /** None: UDP only. */
  readonly streamWays: readonly StreamWay[];
  /** A name for a stream to that port, never given before. */
  readonly nameStream: (port: number) => Endpoint;
  /** Whether any relay answers over UDP. */
  readonly isUdpAlive: () => boolean;
}

interface Stream {
  readonly name: Endpoint;
  readonly allocation: Allocation;
}

export class RelayWays {
  readonly #info: RelayInfo;
  readonly #deps: WaysDeps;
  readonly #targets: readonly StreamTarget[];
  readonly #transmits: Transmit[] = [];
  readonly #events: WaysEvent[] = [];
  readonly #commands: StreamCommand[] = [];
  #inUse: Allocation;
  /** `undefined`: given up, until `#retryUdpAt`. */
  #udp: Allocation | undefined;
  #wasAnswered = false;
  #retryUdpAt: Instant | undefined;
  #retryUdpMs = FIRST_UDP_RETRY_MS;
  #dialAt: Instant | undefined;
  #redialMs = 0;
  #dialer: StreamDialer | undefined;
  #stream: Stream | undefined;
  #hasWorked = false;
  #retryMs = FIRST_RETRY_MS;

  constructor(info: RelayInfo, deps: WaysDeps, now: Instant) {
    this.#info = info;
    this.#deps = deps;
    this.#targets = deps.streamWays.flatMap(({ port, isSecure }) =>
      info.addresses.map((server) => ({
        remote: endpoint(server.address, port ?? server.port),
        isSecure,
      })),
    );
    this.#udp = this.#createAllocation(info.addresses, undefined, now);
    this.#inUse = this.#udp;
    this.#start(now);
  }

  /** `true`: it was a STUN message of this relay. */
  handleDatagram(bytes: Uint8Array, from: Endpoint, local: Endpoint, now: Instant): boolean {
    const isStream = this.#stream?.name.key === from.key;
    const allocation = isStream ? this.#stream?.allocation : this.#udp;
    const isTaken = allocation?.handleDatagram(bytes, from, local, now) ?? false;
    this.#settle(now);
    return isTaken;
  }

  handleTimeout(now: Instant): void {
    this.#udp?.handleTimeout(now);
    this.#stream?.allocation.handleTimeout(now);
    this.#dialer?.handleTimeout(now);
    if (isDue(this.#retryUdpAt, now)) this.#retryUdp(now);
    if (isDue(this.#dialAt, now)) this.#considerDialing(now);
    this.#settle(now);
  }

  handleStream({ kind, stream }: StreamEvent, now: Instant): void {
    if (kind === 'stream-opened') this.#useStream(stream, now);
    else if (this.#stream?.name.key === stream.key) this.#loseStream(now);
    else this.#dialer?.handleClosed(stream, now);
    this.#settle(now);
  }

  /** Looks whether the relay still knows us (relay 4.14). */
  refresh(now: Instant): void {
    this.#inUse.refresh(now);
    this.#settle(now);
  }

  /** The network may be another one: what was blocked may be open now, and the other way round. */
  relearn(now: Instant): void {
    if (this.#retryUdpAt !== undefined) this.#retryUdpAt = now;
    this.#inUse.relearn(now);
    this.#settle(now);
  }

  /** After it failed: from the beginning, later. `false`: it never worked, or what failed will not change by itself. */
  retryLater(reason: AllocationFailure, now: Instant): boolean {
    if (reason !== 'no-response' || !this.#hasWorked) return false;
    this.#retryUdpAt = later(now, this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, MAX_RETRY_MS);
    return true;
  }

  /** The portal names it again: what is asked too slowly by now is asked anew. */
  retryNow(now: Instant): void {
    if (!this.#hasWorked || this.isUdpAlive || this.#stream || this.#dialer) return;
    this.#retryUdp(now);
    this.#settle(now);
  }

  /** Everything from scratch, from other sockets (relay 4.17). */
  restart(now: Instant): void {
    this.#endStreams(now);
    this.#events.length = 0;
    this.#transmits.length = 0;
    this.#udp ??= this.#createAllocation(this.#info.addresses, undefined, now);
    this.#udp.restart(now);
    this.#inUse = this.#udp;
    this.#start(now);
  }

  /** Gives all allocations back and does nothing any more. */
  release(now: Instant): void {
    this.#udp?.release(now);
    this.#endStreams(now);
    this.#dialAt = undefined;
    this.#retryUdpAt = undefined;
    this.#drain(this.#udp);
  }

  pollTransmit(): Transmit | undefined {
    return this.#transmits.shift();
  }

  pollEvent(): WaysEvent | undefined {
    return this.#events.shift();
  }

  pollCommand(): StreamCommand | undefined {
    return this.#commands.shift();
  }

  pollTimeout(): Instant | undefined {
    return earliest(
      this.#udp?.pollTimeout(),
      this.#stream?.allocation.pollTimeout(),
      this.#dialer?.pollTimeout(),
      this.#retryUdpAt,
      this.#dialAt,
    );
  }

  /** Takes the output of whatever was done to `allocation` directly. */
  settle(now: Instant): void {
    this.#settle(now);
  }

  /** The one in use. */
  get allocation(): Allocation {
    return this.#inUse;
  }

  /** The stream that datagrams of the relay may come by. */
  get streamName(): Endpoint | undefined {
    return this.#stream?.name;
  }

  get isUdpAlive(): boolean {
    return this.#udp?.activeEndpoint !== undefined;
  }

  get transport(): 'udp' | 'stream' {
    return this.#inUse === this.#stream?.allocation ? 'stream' : 'udp';
  }

  #start(now: Instant): void {
    this.#wasAnswered = false;
    this.#retryUdpAt = undefined;
    this.#retryUdpMs = FIRST_UDP_RETRY_MS;
    this.#redialMs = 0;
    this.#dialAt = this.#targets.length > 0 ? later(now, UDP_PATIENCE_MS) : undefined;
    this.#settle(now);
  }

  #createAllocation(
    addresses: readonly Endpoint[],
    viaFamily: IpFamily | undefined,
    now: Instant,
  ): Allocation {
    const { username, password, realm } = this.#info;
    const credentials = { username, password, realm };
    const via = viaFamily && { viaFamily };
    return new Allocation({ addresses, credentials, software: SOFTWARE, ...via }, this.#deps, now);
  }

  /** After every input: output of the allocations, and what follows from it. */
  #settle(now: Instant): void {
    const udpFailure = this.#drain(this.#udp);
    const streamFailure = this.#drain(this.#stream?.allocation);
    const isAnswered = this.isUdpAlive;
    if (isAnswered) this.#handleUdpAnswers(now);
    else if (this.#wasAnswered && this.transport === 'udp') this.#handleUdpSilence(now);
    this.#wasAnswered = isAnswered;
    if (this.#inUse.hasAllocation) {
      this.#hasWorked = true;
      this.#retryMs = FIRST_RETRY_MS;
    }
    if (streamFailure) this.#handleStreamFailure(streamFailure, now);
    if (udpFailure) this.#handleUdpFailure(udpFailure, now);
    this.#settleDialer(now);
  }

  /** Why it failed, if it did. */
  #drain(allocation: Allocation | undefined): AllocationFailure | undefined {
    if (!allocation) return undefined;
    for (let out = allocation.pollTransmit(); out; out = allocation.pollTransmit()) {
      this.#transmits.push(out);
    }
    let failure: AllocationFailure | undefined;
    for (let event = allocation.pollEvent(); event; event = allocation.pollEvent()) {
      if (event.kind === 'failed') failure = event.reason;
      else this.#events.push(event);
    }
    return failure;
  }

  /** UDP comes first: what was not finished over a stream is not needed, and what is in use is left once there is something better. */
  #handleUdpAnswers(now: Instant): void {
    this.#dialAt = undefined;
    this.#retryUdpAt = undefined;
    const { allocation } = this.#stream ?? {};
    if (allocation?.hasAllocation && !this.#udp?.hasAllocation) return;
    this.#endStreams(now);
    if (this.#udp) this.#inUse = this.#udp;
  }

  #handleUdpSilence(now: Instant): void {
    this.#events.push({ kind: 'silent' });
    if (this.#targets.length > 0 && !this.#stream && !this.#dialer) this.#dialAt = now;
  }

  #handleUdpFailure(reason: AllocationFailure, now: Instant): void {
    this.#udp = undefined;
    const mayGoOn = reason === 'no-response' && this.#targets.length > 0;
    if (mayGoOn && !this.#stream && !this.#dialer) this.#considerDialing(now);
    const isHopeful = mayGoOn && (this.#stream !== undefined || this.#dialer !== undefined);
    if (!isHopeful && !this.#stream?.allocation.hasAllocation) return this.#fail(reason, now);
    this.#retryUdpAt = later(now, this.#retryUdpMs);
    this.#retryUdpMs = Math.min(this.#retryUdpMs * 2, MAX_UDP_RETRY_MS);
  }

  #retryUdp(now: Instant): void {
    this.#retryUdpAt = undefined;
    this.#udp = this.#createAllocation(this.#info.addresses, undefined, now);
    if (this.#stream || this.#dialer || this.#targets.length === 0) return;
    this.#dialAt = later(now, UDP_PATIENCE_MS);
  }

  #considerDialing(now: Instant): void {
    this.#dialAt = undefined;
    if (this.#stream || this.#dialer) return;
    if (this.#deps.isUdpAlive()) {
      this.#dialAt = later(now, UDP_PATIENCE_MS);
      return;
    }
    const nameOf = ({ remote }: StreamTarget): Endpoint => this.#deps.nameStream(remote.port);
    this.#deps.log.info('trying TCP and TLS to the relay', { relay: this.#info.id });
    this.#dialer = new StreamDialer(this.#targets, nameOf, now);
  }

  #useStream(name: Endpoint, now: Instant): void {
    const target = this.#dialer?.handleOpened(name);
    if (!target) return;
    const { remote, isSecure } = target;
    this.#deps.log.info('connected to the relay', {
      relay: this.#info.id,
      server: remote.key,
      transport: isSecure ? 'tls' : 'tcp',
    });
    const allocation = this.#createAllocation([name], familyOf(remote.address), now);
    this.#stream = { name, allocation };
    this.#inUse = allocation;
  }

  /** It is gone without our doing: the next one as soon as it makes sense. */
  #loseStream(now: Instant): void {
    const { allocation } = this.#stream ?? {};
    const wasOfUse = allocation?.hasAllocation === true;
    this.#dropStream(now);
    this.#events.push({ kind: 'silent' });
    this.#stopDialing();
    this.#redialMs = wasOfUse
      ? 0
      : Math.min(Math.max(FIRST_REDIAL_MS, this.#redialMs * 2), MAX_REDIAL_MS);
    this.#dialAt = later(now, this.#redialMs);
  }

  /** The connection stands, but what is behind it is of no use: the next kind, perhaps. */
  #handleStreamFailure(reason: AllocationFailure, now: Instant): void {
    const { name } = this.#stream ?? {};
    this.#dropStream(now);
    if (name) this.#commands.push({ kind: 'close-stream', stream: name });
    this.#events.push({ kind: 'silent' });
    if (reason === 'no-response') this.#dialer?.resume(now);
    else this.#fail(reason, now);
  }

  #settleDialer(now: Instant): void {
    this.#drainDialer();
    if (this.#stream || this.#dialer?.isExhausted !== true) return;
    this.#dialer = undefined;
    if (this.#udp) this.#dialAt = later(now, MAX_REDIAL_MS);
    else this.#fail('no-response', now);
  }

  #endStreams(now: Instant): void {
    const { name } = this.#stream ?? {};
    this.#dropStream(now);
    if (name) this.#commands.push({ kind: 'close-stream', stream: name });
    this.#stopDialing();
  }

  #stopDialing(): void {
    this.#dialer?.stop();
    this.#drainDialer();
    this.#dialer = undefined;
  }

  #drainDialer(): void {
    const dialer = this.#dialer;
    if (!dialer) return;
    for (let command = dialer.pollCommand(); command; command = dialer.pollCommand()) {
      this.#commands.push(command);
    }
  }

  /** Its candidates are withdrawn, its allocation is given back if there is still a way. */
  #dropStream(now: Instant): void {
    const { allocation } = this.#stream ?? {};
    this.#stream = undefined;
    allocation?.release(now);
    this.#drain(allocation);
    if (this.#udp) this.#inUse = this.#udp;
  }

  #fail(reason: AllocationFailure, now: Instant): void {
    this.#endStreams(now);
    this.#dialAt = undefined;
    this.#retryUdpAt = undefined;
    this.#events.push({ kind: 'failed', reason });
  }
}

function isDue(deadline: Instant | undefined, now: Instant): boolean {
  return deadline !== undefined && deadline <= now;
}
