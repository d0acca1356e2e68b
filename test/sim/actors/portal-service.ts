// The portal as a running service: the real machine, real Phoenix sockets, virtual WebSockets. It can be slow, away, restarted (its store stays), say things
// twice, and lose what it had to say. Mirrors `io/portal/portal-server.ts`.

import { type IpAddress, parseIp } from '../../../src/base/address.ts';
import { earliest, type Instant, later, WallClock } from '../../../src/base/time.ts';
import { createSeededCrypto } from '../../../src/io/crypto/seeded-crypto.ts';
import type { DialRequest } from '../../../src/proto/phoenix/channel.ts';
import type { HttpRefusal } from '../../../src/proto/phoenix/failures.ts';
import { CLOSE_CODE, IDLE_TIMEOUT_MS, ServerSocket } from '../../../src/proto/phoenix/server.ts';
import type { PortalEvent } from '../../../src/roles/portal/outbox.ts';
import { compilePolicy } from '../../../src/roles/portal/policy-compile.ts';
import type { PolicyFile } from '../../../src/roles/portal/policy-schema.ts';
import { Portal, type PortalSnapshot } from '../../../src/roles/portal/portal.ts';
import { type Refusal, STOPPING } from '../../../src/roles/portal/problem.ts';
import type { SessionId } from '../../../src/roles/portal/sessions.ts';
import { MemoryStore } from '../../../src/roles/portal/store.ts';
import type { Actor, Context } from '../context.ts';
import type { Host } from '../network/host.ts';
import type { PortalView } from '../world-view.ts';
import { type PortalPath, PortalStream, type StreamItem } from './portal-stream.ts';

// Implementation (`portal-server.ts`)
const JOIN_DEADLINE_MS = 10_000;
/** Round trips until an upgrade is answered: TCP, TLS, HTTP. */
const DIAL_ROUND_TRIPS = 3;
const SYN_RETRY_MS = 1_000;
/** Pushes that mean the same when they are said twice. */
const REPEATABLE: ReadonlySet<string> = new Set([
  'relays_presence',
  'ice_candidates',
  'invalidate_ice_candidates',
  'resource_created_or_updated',
  'resource_updated',
  'access_authorization_expiry_updated',
  'config_changed',
]);

export type Role = 'client' | 'gateway' | 'relay';

/** What a component's dial ends in. */
export interface Dialled {
  opened(stream: PortalStream): void;
  refused(refusal: HttpRefusal): void;
  failed(detail: string): void;
  /** Given up meanwhile. */
  readonly isAborted: boolean;
}

interface Served {
  readonly session: SessionId;
  readonly role: Role;
  readonly actor: string;
  readonly socket: ServerSocket;
  readonly stream: PortalStream;
  joinBy: Instant | undefined;
}

export class PortalService implements Actor, PortalPath, PortalView {
  due: Instant | undefined;
  isUp = true;
  /** Nothing comes through, and nobody says so. */
  isBlackHole = false;
  extraLatencyMs = 0;
  repeatsPushes = false;
  /** What is to be said is lost, and the socket breaks soon after. */
  losesReplies = false;
  policy: PolicyFile;
  readonly host: Host;
  readonly #context: Context;
  readonly #latencyMs: number;
  readonly #store = new MemoryStore();
  readonly #crypto: ReturnType<typeof createSeededCrypto>;
  readonly #served = new Map<SessionId, Served>();
  #portal: Portal;
  #generation = 0;

  constructor(context: Context, host: Host, policy: PolicyFile, latencyMs: number) {
    this.#context = context;
    this.host = host;
    this.policy = policy;
    this.#latencyMs = latencyMs;
    this.#crypto = createSeededCrypto(context.streams.number('portal crypto'));
    this.#portal = this.#createMachine();
    this.#tell({ kind: 'policy', policy });
    this.#settle();
  }

  get now(): Instant {
    return this.host.now;
  }

  get socketCount(): number {
    return this.#served.size;
  }

  snapshot(): PortalSnapshot {
    return this.#portal.snapshot();
  }

  isOpen(host: Host, address: IpAddress): boolean {
    const isThere = !host.isAsleep && host.addresses.includes(address);
    return isThere && !this.isBlackHole && !this.#context.network.isParted(host.name, 'portal');
  }

  latencyMs(host: Host): number {
    const up = host.interfaces[0]?.conditions.latencyMs ?? 0;
    return this.#latencyMs + up + this.extraLatencyMs;
  }

  handleDue(): void {
    if (!this.isUp) return;
    const { now } = this;
    const due = this.#portal.pollTimeout();
    if (due !== undefined && due <= now) this.#portal.handleTimeout(now);
    for (const served of [...this.#served.values()]) {
      served.socket.handleTimeout(now);
      if (served.joinBy !== undefined && served.joinBy <= now) {
        this.#close(served, CLOSE_CODE.policyViolation);
      } else this.#drainSocket(served);
    }
    this.#settle();
  }

  setPolicy(policy: PolicyFile): void {
    this.policy = policy;
    this.#tell({ kind: 'policy', policy });
    if (!this.isUp) return;
    this.#portal.setPolicy(this.#compile(policy), this.now);
    this.#settle();
  }

  /** The process ends; sockets are reset, or left half-open where the machine lost power. */
  stop(): void {
    if (!this.isUp) return;
    this.isUp = false;
    for (const { stream } of this.#served.values()) {
      stream.toPortal.cut();
      stream.toComponent.send({ kind: 'reset' });
    }
    this.#served.clear();
    this.due = undefined;
  }

  start(): void {
    if (this.isUp) return;
    this.isUp = true;
    this.#portal = this.#createMachine();
    this.#settle();
  }

  /** A component's upgrade request. */
  dial(host: Host, request: DialRequest, dialled: Dialled): void {
    const [address] = host.addresses;
    const roundTrips = 2 * DIAL_ROUND_TRIPS - 1;
    const attempt = (): void => {
      if (dialled.isAborted) return;
      if (address === undefined) return dialled.failed('network is unreachable');
      if (!this.isOpen(host, address)) return this.#context.scheduler.call(SYN_RETRY_MS, attempt);
      if (!this.isUp) return dialled.failed('connection refused');
      this.#upgrade(host, address, request, dialled);
    };
    this.#context.scheduler.call(roundTrips * this.latencyMs(host), attempt);
  }

  #upgrade(host: Host, address: IpAddress, request: DialRequest, dialled: Dialled): void {
    const outcome = this.#admit(host, request);
    const { scheduler } = this.#context;
    if (outcome.kind === 'refused') {
      return scheduler.call(this.latencyMs(host), () => {
        if (!dialled.isAborted) dialled.refused(refusalOf(outcome));
      });
    }
    const { session, role } = outcome;
    const stream = new PortalStream(this.#context, this, host, address);
    const config = { topic: role, idleTimeoutMs: IDLE_TIMEOUT_MS[role] };
    const served: Served = {
      session,
      role,
      actor: host.name,
      socket: new ServerSocket(config, this.now),
      stream,
      joinBy: later(this.now, JOIN_DEADLINE_MS),
    };
    this.#served.set(session, served);
    stream.toPortal.end = { receive: (item) => this.#receive(served, item) };
    scheduler.call(this.latencyMs(host), () => {
      if (dialled.isAborted) stream.toPortal.send({ kind: 'reset' });
      else dialled.opened(stream);
    });
    this.#settle();
  }

  #admit(host: Host, { target, headers }: DialRequest): ReturnType<Portal['handleConnect']> {
    if (!this.isUp) return STOPPING;
    const [path = '', query = ''] = target.path.split('?');
    const header = new Map(headers);
    return this.#portal.handleConnect(
      {
        path,
        query: new Map(query.split('&').map(parameter)),
        authorization: header.get('X-Authorization'),
        userAgent: header.get('User-Agent') ?? '',
        remoteIp: parseIp(host.shownAddress ?? ''),
      },
      this.now,
    );
  }

  #receive(served: Served, item: StreamItem): void {
    if (this.#served.get(served.session) !== served) return;
    switch (item.kind) {
      case 'text':
        served.socket.handleText(item.text, this.now);
        this.#drainSocket(served);
        break;
      case 'close':
        served.stream.toComponent.send(item);
        this.#forget(served);
        break;
      case 'reset':
        this.#forget(served);
        break;
    }
    this.#settle();
  }

  #drainSocket(served: Served): void {
    const { socket, session, role, actor } = served;
    for (let event = socket.pollEvent(); event; event = socket.pollEvent()) {
      switch (event.kind) {
        case 'join-requested': {
          const outcome = this.#portal.handleJoin(session, event.payload, this.now);
          served.joinBy = undefined;
          if (outcome.kind === 'ok') socket.acceptJoin();
          else socket.refuseJoin(outcome.reason);
          this.#tell({ kind: 'joined', actor, role });
          break;
        }
        case 'message': {
          this.#tell({ kind: 'heard', from: actor, role, ...messageOf(event) });
          const { event: name, payload, ref } = event;
          const outcome = this.#portal.handleMessage(session, name, payload, this.now);
          if (outcome.kind !== 'none') socket.reply(ref, outcome);
          break;
        }
        case 'left':
          this.#close(served, CLOSE_CODE.normal);
          break;
        case 'ended':
          this.#close(served, event.code);
          break;
      }
    }
    this.#write(served);
  }

  #write({ socket, stream, session }: Served): void {
    for (let text = socket.pollText(); text !== undefined; text = socket.pollText()) {
      if (!this.losesReplies) stream.toComponent.send({ kind: 'text', text });
      else if (this.#served.has(session)) this.#breakSoon(session);
    }
  }

  #breakSoon(session: SessionId): void {
    this.#context.scheduler.call(500, () => {
      const served = this.#served.get(session);
      if (!served) return;
      served.stream.toComponent.send({ kind: 'reset' });
      this.#forget(served);
      this.#settle();
    });
  }

  #close(served: Served, code: number): void {
    this.#write(served);
    served.stream.toComponent.send({ kind: 'close', code });
    this.#forget(served);
  }

  #forget(served: Served): void {
    if (!this.#served.delete(served.session)) return;
    served.stream.toPortal.cut();
    this.#portal.handleClosed(served.session, this.now);
    this.#tell({ kind: 'gone', actor: served.actor, role: served.role });
  }

  /** Sends what the machine has to say, and notes when it wants to be called. */
  #settle(): void {
    if (!this.isUp) return;
    for (let event = this.#portal.pollEvent(); event; event = this.#portal.pollEvent()) {
      this.#perform(event);
    }
    let due = this.#portal.pollTimeout();
    for (const { socket, joinBy } of this.#served.values()) {
      due = earliest(due, socket.pollTimeout(), joinBy);
    }
    this.due = due === undefined ? undefined : this.host.toWorld(due);
  }

  #perform(event: PortalEvent): void {
    const served = this.#served.get(event.session);
    if (!served) return;
    const { role, actor: to } = served;
    switch (event.kind) {
      case 'push': {
        const times = this.repeatsPushes && REPEATABLE.has(event.event) ? 2 : 1;
        for (let i = 0; i < times; i++) served.socket.push(event.event, event.payload);
        this.#tell({ kind: 'said', to, role, ...messageOf(event) });
        return this.#write(served);
      }
      case 'expire-session':
        served.socket.push('disconnect', { reason: 'token_expired' });
        return this.#close(served, CLOSE_CODE.normal);
      case 'close-session':
        served.socket.closeChannel();
        return this.#close(served, CLOSE_CODE.normal);
    }
  }

  #createMachine(): Portal {
    const { streams, log } = this.#context;
    const generation = this.#generation++;
    return new Portal(
      { baseUrl: 'http://portal.test/', connectBurst: 1000 },
      {
        crypto: this.#crypto,
        random: streams.of(`portal ${generation}`),
        store: this.#store,
        wallClock: new WallClock(this.now, this.host.wallNow),
        log,
      },
      this.#compile(this.policy),
      this.now,
    );
  }

  #compile(policy: PolicyFile): Parameters<Portal['setPolicy']>[0] {
    // A rule about a resource that is not there now is as good as none; the file would be refused.
    const isThere = (name: string): boolean => policy.resources.some((it) => it.name === name);
    const policies = policy.policies.filter(({ resource }) => isThere(resource));
    const compiled = compilePolicy(
      { ...policy, policies },
      { crypto: this.#crypto, ids: this.#store },
    );
    if (compiled.kind === 'faults') throw new Error(JSON.stringify(compiled.faults));
    return compiled.policy;
  }

  #tell(fact: Parameters<Context['watchers']['portal']>[0]): void {
    this.#context.watchers.portal(fact, this.#context.scheduler.now, this.host.wallNow);
  }
}

function messageOf({ event, payload }: { event: string; payload: unknown }): {
  event: string;
  payload: unknown;
} {
  return { event, payload };
}

function parameter(text: string): [string, string] {
  const [name = '', value = ''] = text.split('=');
  return [name, decodeURIComponent(value.replaceAll('+', ' '))];
}

function refusalOf({ status, code, detail, retryAfterSeconds }: Refusal): HttpRefusal {
  return {
    status,
    contentType: 'application/problem+json; charset=utf-8',
    retryAfter: retryAfterSeconds === undefined ? undefined : String(retryAfterSeconds),
    body: JSON.stringify({ type: 'about:blank', title: 'Refused', status, detail, code }),
  };
}
