// Finds the path of a connection without ICE (iceless): a path agent, and the strings that candidates travel as. What the agent wants sent
// goes out in the same turn.

import { type Endpoint, familyOf } from '../../base/address.ts';
import type { Instant } from '../../base/time.ts';
import { addressRefusal } from '../../proto/ice/candidate.ts';
import type { LocalCandidateInfo } from '../../proto/ice/local-candidates.ts';
import { PathAgent } from '../../proto/iceless/agent.ts';
import type { PathEvent, TrafficSeen } from '../../proto/iceless/agent-types.ts';
import {
  candidatePriorityOf,
  formatPathCandidate,
  type PathCandidate,
  parsePathCandidate,
} from '../../wire/iceless/candidate.ts';
import { parseProbe } from '../../wire/iceless/probe.ts';
import { parseWireGuard } from '../../wire/wireguard/messages.ts';
import { pathOf } from '../outbound/path.ts';
import type {
  Arrival,
  Datagram,
  FinderEvent,
  FinderSnapshot,
  FinderTransmit,
  OwnCandidate,
  PathFinder,
  RemoteCandidate,
} from './path-finder.ts';

export class IcelessFinder implements PathFinder {
  readonly startsWithHandshake = true;
  readonly #agent: PathAgent;
  readonly #allowLoopback: boolean;
  /** What the agent has, by what it was made of. */
  readonly #locals = new Map<string, PathCandidate>();

  constructor(config: { readonly allowLoopback: boolean }, now: Instant) {
    this.#agent = new PathAgent(now);
    this.#allowLoopback = config.allowLoopback;
  }

  /** Peers do not speak STUN here. */
  handleStun(): boolean {
    return false;
  }

  handleAuthentic({ from, local }: Arrival, now: Instant): void {
    this.#agent.handleData({ local, remote: from }, now);
    this.#agent.handleTimeout(now);
  }

  handleTimeout(now: Instant): void {
    this.#agent.handleTimeout(now);
  }

  addLocal(info: LocalCandidateInfo, now: Instant): OwnCandidate | undefined {
    if (info.kind === 'prflx' || this.#locals.has(keyOf(info))) return undefined;
    const candidate = this.#localCandidate(info.kind, info);
    if (!this.#agent.addLocal(candidate, now)) return undefined;
    this.#locals.set(keyOf(info), candidate);
    this.#agent.handleTimeout(now);
    return ownCandidate(candidate);
  }

  removeLocal(info: LocalCandidateInfo, now: Instant): OwnCandidate | undefined {
    const candidate = this.#locals.get(keyOf(info));
    if (candidate === undefined) return undefined;
    this.#locals.delete(keyOf(info));
    this.#agent.removeLocal(candidate, now);
    this.#agent.handleTimeout(now);
    return ownCandidate(candidate);
  }

  addRemote(text: string, now: Instant): RemoteCandidate | undefined {
    const candidate = this.#parse(text);
    if (candidate === undefined) return undefined;
    const isIgnored = !this.#agent.addRemote(candidate, 'signalled', now);
    this.#agent.addGuesses(now);
    this.#agent.handleTimeout(now);
    return { ...candidate, isIgnored };
  }

  removeRemote(text: string, now: Instant): boolean {
    const candidate = this.#parse(text);
    if (candidate === undefined) return false;
    this.#agent.removeRemote(candidate, now);
    this.#agent.handleTimeout(now);
    return true;
  }

  recheck(now: Instant): void {
    this.#agent.recheck(now);
    this.#agent.handleTimeout(now);
  }

  /** Probes go on as they are (iceless 6.8). */
  setIdle(): void {}

  recallHandshake({ bytes, from, local }: Datagram, now: Instant): boolean {
    const isInitiation = parseWireGuard(bytes)?.kind === 'initiation';
    return this.#agent.recallHandshake(bytes, isInitiation, { local, remote: from }, now);
  }

  noteInitiation({ bytes, from, local }: Datagram, response: Uint8Array, now: Instant): void {
    this.#agent.handleAcceptedInitiation(bytes, response, { local, remote: from }, now);
    this.#agent.handleTimeout(now);
  }

  noteResponse({ bytes, from, local }: Datagram, now: Instant): void {
    this.#agent.handleAcceptedResponse(bytes, { local, remote: from }, now);
  }

  takeInitiation(bytes: Uint8Array, now: Instant): boolean {
    if (parseWireGuard(bytes)?.kind !== 'initiation') return false;
    this.#agent.sendInitiation(bytes, now);
    this.#agent.handleTimeout(now);
    return true;
  }

  handleInner(packet: Uint8Array, { from, local }: Arrival, now: Instant): boolean {
    const probe = parseProbe(packet);
    if (probe === undefined) return false;
    this.#agent.handleProbe(probe, { local, remote: from }, now);
    this.#agent.handleTimeout(now);
    return true;
  }

  noteSession(now: Instant): void {
    this.#agent.startProbing(now);
    this.#agent.handleTimeout(now);
  }

  noteTraffic(seen: TrafficSeen, now: Instant): void {
    this.#agent.noteTraffic(seen, now);
  }

  moveAway(now: Instant): boolean {
    this.#locals.clear();
    this.#agent.rebuild(now);
    return true;
  }

  pollTransmit(): FinderTransmit | undefined {
    const out = this.#agent.pollTransmit();
    if (out === undefined) return undefined;
    const { local, remote, payload, form } = out;
    return { local, remote, payload, ...(form !== 'datagram' && { inner: form }) };
  }

  pollEvent(): FinderEvent | undefined {
    const event = this.#agent.pollEvent();
    return event && { kind: finderEventKind(event), path: pathOf(event) };
  }

  pollTimeout(): Instant | undefined {
    return this.#agent.pollTimeout();
  }

  ownCandidates(): readonly OwnCandidate[] {
    return this.#agent.localCandidates.map(ownCandidate);
  }

  snapshot(): FinderSnapshot {
    return { iceless: this.#agent.snapshot() };
  }

  /** A relayed candidate names the socket that the relay is spoken to from; the peer only looks at its family (iceless 4.2). */
  #localCandidate(kind: PathCandidate['kind'], info: LocalCandidateInfo): PathCandidate {
    const { address, base, viaFamily } = info;
    if (kind !== 'relayed') return { kind, address, base };
    return { kind, address, base: this.#socketOf(viaFamily ?? familyOf(address.address)) ?? base };
  }

  #socketOf(family: 4 | 6): Endpoint | undefined {
    const bases = [...this.#locals.values()].filter(
      ({ kind, base }) => kind !== 'relayed' && familyOf(base.address) === family,
    );
    return (bases.find(({ kind }) => kind === 'srflx') ?? bases[0])?.base;
  }

  #parse(text: string): PathCandidate | undefined {
    const candidate = parsePathCandidate(text);
    if (typeof candidate === 'string') return undefined;
    const refusal = addressRefusal(candidate.address);
    const isRefused = refusal !== undefined && !(refusal === 'loopback' && this.#allowLoopback);
    return isRefused ? undefined : candidate;
  }
}

function finderEventKind({ kind }: PathEvent): 'path' | 'path-identified' {
  return kind === 'primary-changed' ? 'path' : 'path-identified';
}

function ownCandidate(candidate: PathCandidate): OwnCandidate {
  const { kind, address } = candidate;
  const priority = candidatePriorityOf(kind);
  return { key: `${kind} ${address.key}`, priority, text: formatPathCandidate(candidate) };
}

function keyOf({ kind, address, base }: LocalCandidateInfo): string {
  return `${kind} ${address.key} ${base.key}`;
}
