// Finds the path of a connection by ICE (connectivity 5): an agent, the guesses about the peer's addresses, and the strings that
// candidates travel as.

import type { Log } from '../../base/log.ts';
import type { Instant } from '../../base/time.ts';
import { IceAgent } from '../../proto/ice/agent.ts';
import { formatCandidate, type IceCandidate, parseCandidate } from '../../proto/ice/candidate.ts';
import type { LocalCandidateInfo } from '../../proto/ice/local-candidates.ts';
import type { StunMessage } from '../../wire/stun/message.ts';
import { type Path, pathOf } from '../outbound/path.ts';
import { RemoteCandidateBook } from './candidates.ts';
import type { ConnectionConfig, ConnectionDeps } from './connection-types.ts';
import type {
  Arrival,
  FinderEvent,
  FinderSnapshot,
  FinderTransmit,
  OwnCandidate,
  PathFinder,
  RemoteCandidate,
} from './path-finder.ts';
import { type LinkRole, timingsOf } from './timing.ts';

export class IceFinder implements PathFinder {
  readonly startsWithHandshake = false;
  readonly #role: LinkRole;
  readonly #agent: IceAgent;
  readonly #remotes = new RemoteCandidateBook();
  #nominated: Path | undefined;
  #events: FinderEvent[] = [];

  constructor(
    config: ConnectionConfig,
    deps: Pick<ConnectionDeps, 'crypto' | 'pacer'> & { readonly log: Log },
    now: Instant,
  ) {
    this.#role = config.role;
    this.#agent = new IceAgent(
      {
        role: config.role === 'client' ? 'controlling' : 'controlled',
        localCredentials: config.localCredentials,
        remoteCredentials: config.remoteCredentials,
        timing: timingsOf(config.role).active,
        allowLoopback: config.allowLoopback,
      },
      deps,
      now,
    );
  }

  handleStun(message: StunMessage, { from, local }: Arrival, now: Instant): boolean {
    return this.#agent.handleStun(message, { source: from, local }, now);
  }

  handleAuthentic({ from, local }: Arrival, now: Instant): void {
    this.#agent.handleData({ source: from, local }, now);
  }

  handleTimeout(now: Instant): void {
    this.#agent.handleTimeout(now);
  }

  addLocal(info: LocalCandidateInfo, now: Instant): OwnCandidate | undefined {
    const added = this.#agent.addLocalCandidate(info, now);
    return added && ownCandidate(added);
  }

  removeLocal(info: LocalCandidateInfo, now: Instant): OwnCandidate | undefined {
    const removed = this.#agent.removeLocalCandidate(info, now);
    if (removed === undefined) return undefined;
    // connectivity 14.7: an official peer that has the same private address would take it for its own candidate.
    const isAlsoTheirs = this.#agent
      .remoteCandidates()
      .some(({ address }) => address.key === removed.address.key);
    return isAlsoTheirs ? undefined : ownCandidate(removed);
  }

  addRemote(text: string, now: Instant): RemoteCandidate | undefined {
    const candidate = parseCandidate(text);
    if (candidate === undefined) return undefined;
    this.#agent.addRemoteCandidate(candidate, now);
    this.#remotes.add(candidate);
    for (const guess of this.#remotes.guess()) this.#agent.addRemoteCandidate(guess, now);
    this.#identify(candidate);
    return candidate;
  }

  removeRemote(text: string, now: Instant): boolean {
    const candidate = parseCandidate(text);
    if (candidate === undefined) return false;
    this.#remotes.remove(candidate);
    this.#agent.removeRemoteCandidate(candidate, now);
    this.#agent.handleTimeout(now);
    return true;
  }

  recheck(now: Instant): void {
    this.#agent.recheck(now);
  }

  setIdle(isIdle: boolean, now: Instant): void {
    const timings = timingsOf(this.#role);
    this.#agent.setTiming(isIdle ? timings.idle : timings.active, now);
  }

  /** A handshake is nothing to ICE: all below is for those who do without. */
  recallHandshake(): boolean {
    return false;
  }

  noteInitiation(): void {}

  noteResponse(): void {}

  takeInitiation(): boolean {
    return false;
  }

  handleInner(): boolean {
    return false;
  }

  noteSession(): void {}

  noteTraffic(): void {}

  moveAway(): boolean {
    return false;
  }

  pollTransmit(): FinderTransmit | undefined {
    return this.#agent.pollTransmit();
  }

  pollEvent(): FinderEvent | undefined {
    const event = this.#agent.pollEvent();
    if (event === undefined) return this.#events.shift();
    if (event.kind === 'state') return { kind: 'ice-state', state: event.state };
    this.#nominated = pathOf(event);
    return { kind: 'path', path: this.#nominated };
  }

  pollTimeout(): Instant | undefined {
    return this.#agent.pollTimeout();
  }

  ownCandidates(): readonly OwnCandidate[] {
    return this.#agent.localCandidates().map(ownCandidate);
  }

  snapshot(): FinderSnapshot {
    return { ice: this.#agent.snapshot() };
  }

  /** The path was nominated before the peer said what its address is (connectivity 4.5, path kind). */
  #identify(candidate: IceCandidate): void {
    const path = this.#nominated;
    if (path?.remote.key !== candidate.address.key || path.remoteKind !== 'prflx') return;
    this.#nominated = pathOf({ ...path, remoteKind: candidate.kind });
    this.#events.push({ kind: 'path-identified', path: this.#nominated });
  }
}

function ownCandidate(candidate: IceCandidate): OwnCandidate {
  const { kind, address, priority } = candidate;
  return { key: `${kind} ${address.key}`, priority, text: formatCandidate(candidate) };
}
