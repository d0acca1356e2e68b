// Finds the path of a connection by ICE (connectivity 5): an agent, the guesses about the peer's addresses, and the strings that
// candidates travel as.

import type { Log } from '../../base/log.ts';
import { earliest, type Instant } from '../../base/time.ts';
import { IceAgent } from '../../proto/ice/agent.ts';
import { formatCandidate, type IceCandidate, parseCandidate } from '../../proto/ice/candidate.ts';
import type { LocalCandidateInfo } from '../../proto/ice/local-candidates.ts';
import { HandshakeMemory } from '../../proto/iceless/handshake-memory.ts';
import type { StunMessage } from '../../wire/stun/message.ts';
import { parseWireGuard } from '../../wire/wireguard/messages.ts';
import { type Path, pathOf } from '../outbound/path.ts';
import { RemoteCandidateBook } from './candidates.ts';
import type { ConnectionConfig, ConnectionDeps } from './connection-types.ts';
import { HandshakeCopies } from './handshake-copies.ts';
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
import { type LinkRole, timingsOf } from './timing.ts';

export class IceFinder implements PathFinder {
  readonly startsWithHandshake = false;
  readonly #role: LinkRole;
  readonly #agent: IceAgent;
  readonly #remotes = new RemoteCandidateBook();
  readonly #copies = new HandshakeCopies();
  readonly #memory = new HandshakeMemory();
  #nominated: Path | undefined;
  #transmits: FinderTransmit[] = [];
  #events: FinderEvent[] = [];
  #now: Instant;

  constructor(
    config: ConnectionConfig,
    deps: Pick<ConnectionDeps, 'crypto' | 'pacer'> & { readonly log: Log },
    now: Instant,
  ) {
    this.#now = now;
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
    this.#advance(now);
    return this.#agent.handleStun(message, { source: from, local }, now);
  }

  handleAuthentic({ from, local }: Arrival, now: Instant): void {
    this.#advance(now);
    this.#agent.handleData({ source: from, local }, now);
  }

  handleTimeout(now: Instant): void {
    this.#advance(now);
    this.#copies.handleTimeout(now);
    this.#memory.handleTimeout(now);
    this.#agent.handleTimeout(now);
    this.#collect();
  }

  addLocal(info: LocalCandidateInfo, now: Instant): OwnCandidate | undefined {
    this.#advance(now);
    const added = this.#agent.addLocalCandidate(info, now);
    return added && ownCandidate(added);
  }

  removeLocal(info: LocalCandidateInfo, now: Instant): OwnCandidate | undefined {
    this.#advance(now);
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
    this.#advance(now);
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
    this.handleTimeout(now);
    return true;
  }

  recheck(now: Instant): void {
    this.#agent.recheck(now);
  }

  setIdle(isIdle: boolean, now: Instant): void {
    const timings = timingsOf(this.#role);
    this.#agent.setTiming(isIdle ? timings.idle : timings.active, now);
  }

  /** A copy that took another path, or came because our answer was lost: answered as before. */
  recallHandshake({ bytes, from, local }: Datagram, now: Instant): boolean {
    this.#advance(now);
    const known = this.#memory.recallInitiation(bytes, now);
    if (known.kind !== 'answer-again') return false;
    this.#transmits.push({ local, remote: from, payload: known.response });
    return true;
  }

  noteInitiation({ bytes }: Datagram, response: Uint8Array, now: Instant): void {
    this.#memory.noteInitiation(bytes, response, now);
  }

  noteResponse(): void {}

  takeInitiation(bytes: Uint8Array, now: Instant): boolean {
    if (parseWireGuard(bytes)?.kind !== 'initiation') return false;
    return this.#copies.begin(bytes, now);
  }

  handleInner(): boolean {
    return false;
  }

  noteSession(): void {
    this.#copies.end();
  }

  noteTraffic(): void {}

  moveAway(): boolean {
    return false;
  }

  /** Checks first: what goes with them comes after them. */
  pollTransmit(): FinderTransmit | undefined {
    this.#collect();
    return this.#transmits.shift() ?? this.#copies.pollTransmit();
  }

  pollEvent(): FinderEvent | undefined {
    const event = this.#agent.pollEvent();
    if (event === undefined) return this.#nextOwnEvent();
    if (event.kind === 'state') return { kind: 'ice-state', state: event.state };
    this.#nominated = pathOf(event);
    this.#copies.noteNominated(event, event.roundTripMs ?? 0, this.#now);
    return { kind: 'path', path: this.#nominated };
  }

  pollTimeout(): Instant | undefined {
    return earliest(
      this.#agent.pollTimeout(),
      this.#copies.pollTimeout(),
      this.#memory.pollTimeout(),
    );
  }

  ownCandidates(): readonly OwnCandidate[] {
    return this.#agent.localCandidates().map(ownCandidate);
  }

  snapshot(): FinderSnapshot {
    return { ice: this.#agent.snapshot() };
  }

  #collect(): void {
    for (let out = this.#agent.pollTransmit(); out; out = this.#agent.pollTransmit()) {
      this.#transmits.push(out);
      if (out.isOpening !== true || this.#role !== 'client') continue;
      if (this.#copies.noteOpening(out, this.#now)) this.#events.push({ kind: 'opening' });
    }
  }

  #advance(now: Instant): void {
    if (now > this.#now) this.#now = now;
  }

  /** What was found out about a path that is not the one in use any more is of no interest, and must not bring it back. */
  #nextOwnEvent(): FinderEvent | undefined {
    const event = this.#events.shift();
    const isOutdated = event?.kind === 'path-identified' && event.path !== this.#nominated;
    return isOutdated ? this.#nextOwnEvent() : event;
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
