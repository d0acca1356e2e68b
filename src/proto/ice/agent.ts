// The ICE agent of one connection: full ICE with one stream and one component over UDP (RFC 8445 with the profile of
// connectivity 5.1: trickle only, nothing frozen, Ta = 0, nomination may change at any time, no restart). The agent routes;
// candidates, pairs, schedule, nomination and messages are computed in the files beside it.
//
//   candidates --> local-/remote-candidates --> checklist (pairs) --> checks --> pollTransmit
//   handleStun --> binding-messages --> pair.note... --> nomination --> pollEvent
//
// It gathers nothing and signals nothing: who owns it hands candidates in and carries what comes out.

import { familyOf } from '../../base/address.ts';
import { viewOf } from '../../base/bytes.ts';
import { Counters } from '../../base/counters.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import { assert } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { earliest, type Instant } from '../../base/time.ts';
import {
  findAttribute,
  STUN_METHOD,
  type StunMessage,
  transactionKey,
} from '../../wire/stun/message.ts';
import type {
  IceAgentConfig,
  IceAgentDeps,
  IceDropReason,
  IceEvent,
  IcePath,
  IceTransmit,
} from './agent-types.ts';
import {
  acceptBindingRequest,
  authenticationFailure,
  type IceCredentials,
  isRoleConflict,
  judgeRoles,
  writeBindingRequest,
  writeBindingSuccess,
  writeRoleConflict,
} from './binding-messages.ts';
import type { IceCandidate } from './candidate.ts';
import type { CandidatePair, CheckAttempt, IceRole } from './candidate-pair.ts';
import type { CheckPacer } from './check-pacer.ts';
import { Checklist } from './checklist.ts';
import { HeldRequests } from './held-requests.ts';
import {
  type LocalCandidate,
  type LocalCandidateInfo,
  LocalCandidates,
} from './local-candidates.ts';
import { chooseBetterPair, type IceState, iceState } from './nomination.ts';
import { candidatePriority, localPreference } from './priority.ts';
import { type RemoteCandidate, RemoteCandidates, type RemoteRefusal } from './remote-candidates.ts';
import { Roaming } from './roaming.ts';
import { type IceAgentSnapshot, snapshotOfPair } from './snapshot.ts';
import { type IceTiming, isValidTiming, unansweredLifetimeMs } from './timing.ts';

export class IceAgent {
  readonly #localCredentials: IceCredentials;
  readonly #crypto: CryptoProvider;
  readonly #log: Log;
  readonly #pacer: CheckPacer | undefined;
  readonly #locals: LocalCandidates;
  readonly #remotes: RemoteCandidates;
  readonly #checklist: Checklist;
  readonly #held = new HeldRequests();
  readonly #roaming = new Roaming();
  readonly #counters = new Counters<IceDropReason>();
  #remoteCredentials: IceCredentials | undefined;
  #role: IceRole;
  #timing: IceTiming;
  #tieBreaker: bigint;
  #state: IceState = 'new';
  #selected: CandidatePair | undefined;
  /** When our turn is to send a check that nobody waits for. */
  #turn: Instant | undefined;
  #transmits: IceTransmit[] = [];
  #events: IceEvent[] = [];
  #now: Instant;

  constructor(config: IceAgentConfig, deps: IceAgentDeps, now: Instant) {
    assert(isValidTiming(config.timing), 'an ICE timing has positive times and at least one check');
    this.#localCredentials = config.localCredentials;
    this.#remoteCredentials = config.remoteCredentials;
    this.#crypto = deps.crypto;
    this.#log = deps.log;
    this.#pacer = deps.pacer;
    this.#role = config.role;
    this.#timing = config.timing;
    this.#tieBreaker = this.#drawTieBreaker();
    this.#locals = new LocalCandidates(config.localCredentials.ufrag);
    this.#remotes = new RemoteCandidates(config.allowLoopback ?? false);
    this.#checklist = new Checklist(config.role, config.timing);
    this.#now = now;
  }

  /** `true` if the message was authentic and of use. */
  handleStun(message: StunMessage, path: IcePath, now: Instant): boolean {
    this.#advance(now);
    const reason = this.#handleMessage(message, path);
    if (reason) this.#drop(reason, path);
    this.#settle();
    return reason === undefined;
  }

  handleTimeout(now: Instant): void {
    this.#advance(now);
    this.#settle();
    if (!this.#remoteCredentials) return;
    for (;;) {
      const pair = this.#checklist.nextDue(this.#now);
      if (!pair || !this.#isTurnOf(pair)) return;
      this.#sendCheck(pair, this.#remoteCredentials);
    }
  }

  /** Something that only the peer can have sent, other than STUN, came this way (connectivity 14.15). */
  handleData(path: IcePath, now: Instant): void {
    this.#advance(now);
    const pair = this.#pairOfData(path, this.#selected);
    if (!this.#selected) this.#followData(pair);
    else if (
      pair &&
      pair !== this.#selected &&
      this.#roaming.ask(pair, this.#selected, this.#now)
    ) {
      pair.verify(this.#now);
      this.#selected.verify(this.#now);
    }
    this.#settle();
  }

  /** The candidate to signal; `undefined` if it is known already, or redundant. */
  addLocalCandidate(info: LocalCandidateInfo, now: Instant): IceCandidate | undefined {
    this.#advance(now);
    const addition = this.#locals.add(info);
    if (addition.kind !== 'added') return undefined;
    if (addition.replaced) this.#checklist.deletePairsOf(addition.replaced);
    this.#pairLocal(addition.entry);
    this.#settle();
    return addition.entry.candidate;
  }

  /** The candidate whose removal is to be signalled; `undefined` if there is none of that kind and address. */
  removeLocalCandidate(info: LocalCandidateInfo, now: Instant): IceCandidate | undefined {
    this.#advance(now);
    const entry = this.#locals.remove(info);
    if (!entry) return undefined;
    this.#checklist.deletePairsOf(entry);
    for (const twin of this.#locals.pairable) {
      if (twin.candidate.base.key === entry.candidate.base.key) this.#pairLocal(twin);
    }
    this.#settle();
    return entry.candidate;
  }

  addRemoteCandidate(candidate: IceCandidate, now: Instant): 'added' | 'known' | RemoteRefusal {
    this.#advance(now);
    const addition = this.#remotes.add(candidate, this.#remoteCredentials?.ufrag, this.#isPaired);
    if (addition.kind === 'refused') return addition.reason;
    if (addition.kind === 'identified') this.#checklist.reprioritise(addition.entry);
    const isIdle = addition.kind === 'known' && !this.#isPaired(addition.entry);
    if (addition.kind !== 'known' || isIdle) this.#pairRemote(addition.entry);
    this.#settle();
    return addition.kind === 'known' ? 'known' : 'added';
  }

  /** By kind and address. Never touches our own candidates, whatever the peer says (connectivity 14.7). */
  removeRemoteCandidate(candidate: IceCandidate, now: Instant): boolean {
    this.#advance(now);
    const entry = this.#remotes.remove(candidate);
    if (!entry) return false;
    this.#checklist.deletePairsOf(entry);
    for (const twin of this.#remotes.pairable) {
      if (twin.candidate.address.key === entry.candidate.address.key) this.#pairRemote(twin);
    }
    this.#settle();
    return true;
  }

  /** Once; requests that came before are answered now. */
  setRemoteCredentials(credentials: IceCredentials, now: Instant): void {
    assert(this.#remoteCredentials === undefined, 'remote credentials are set once');
    this.#advance(now);
    this.#remoteCredentials = credentials;
    const maxAgeMs = unansweredLifetimeMs(this.#timing);
    for (const { message, path } of this.#held.take(maxAgeMs, this.#now)) {
      const reason = message ? this.#handleMessage(message, path) : 'held-too-long';
      if (reason) this.#drop(reason, path);
    }
    this.#settle();
  }

  /** The network changed: every pair is checked now. */
  recheck(now: Instant): void {
    this.#advance(now);
    for (const pair of this.#checklist.pairs) pair.verify(this.#now);
  }

  /** Takes effect at once (connectivity 11.17). */
  setTiming(timing: IceTiming, now: Instant): void {
    assert(isValidTiming(timing), 'an ICE timing has positive times and at least one check');
    this.#advance(now);
    this.#timing = timing;
    this.#checklist.setTiming(timing, this.#now);
    this.#settle();
  }

  pollTransmit(): IceTransmit | undefined {
    return this.#transmits.shift();
  }

  pollEvent(): IceEvent | undefined {
    return this.#events.shift();
  }

  pollTimeout(): Instant | undefined {
    if (this.#state === 'new') return this.#now;
    if (!this.#remoteCredentials) return undefined;
    return earliest(this.#checklist.nextDeadline(this.#turn), this.#roaming.pollTimeout());
  }

  get state(): IceState {
    return this.#state;
  }

  get role(): IceRole {
    return this.#role;
  }

  /** What the peer may know of us: everything not removed, best first (connectivity 4.3, 5.6). */
  localCandidates(): readonly IceCandidate[] {
    return byPriority(this.#locals.active);
  }

  remoteCandidates(): readonly IceCandidate[] {
    return byPriority(this.#remotes.active);
  }

  snapshot(): IceAgentSnapshot {
    return {
      role: this.#role,
      state: this.#state,
      timing: this.#timing,
      localCandidates: this.localCandidates(),
      remoteCandidates: this.remoteCandidates(),
      pairs: this.#checklist.pairs.map((pair) =>
        snapshotOfPair(pair, pair === this.#selected, this.#now),
      ),
      heldRequests: this.#held.length,
      transactions: this.#checklist.transactionCount,
      drops: this.#counters.snapshot(),
    };
  }

  #handleMessage(message: StunMessage, path: IcePath): IceDropReason | undefined {
    if (message.method !== STUN_METHOD.binding || message.class === 'indication')
      return 'not-binding';
    return message.class === 'request'
      ? this.#handleBindingRequest(message, path)
      : this.#handleBindingResponse(message, path);
  }

  /** RFC 8445 §7.3, in the order of connectivity 5.10 (accepting) and 5.11. */
  #handleBindingRequest(message: StunMessage, path: IcePath): IceDropReason | undefined {
    const { password } = this.#localCredentials;
    const request = acceptBindingRequest(message, this.#localCredentials, this.#crypto);
    if (typeof request === 'string') return request;
    if (!this.#remoteCredentials) return void this.#held.hold(message, path, this.#now);
    if (request.senderUfrag !== this.#remoteCredentials.ufrag) return 'wrong-username';

    const local = this.#locals.findReceiver(path.local);
    if (!local) return 'no-local-candidate';
    const verdict = judgeRoles({ role: this.#role, tieBreaker: this.#tieBreaker }, request);
    if (verdict === 'switch') this.#switchRole();
    if (verdict === 'refuse') {
      this.#reply(path, writeRoleConflict(message.transactionId, password, this.#crypto));
      return 'role-conflict';
    }
    if (request.useCandidate && this.#role === 'controlling') return 'nominated-by-controlled';
    const remote = this.#remotes.findOrLearn(path.source, request.priority, this.#isPaired);
    if (!remote) return 'remote-refused';
    const pair = this.#checklist.pair(local, remote, this.#selected, this.#now);
    if (!pair) return 'no-pair';
    pair.noteRequest(this.#now);
    // RFC 8445 §7.3.1.5; the opposite check is due at once.
    if (request.useCandidate && pair.nomination === 'none') pair.nominate(this.#now);
    const id = message.transactionId;
    this.#reply(path, writeBindingSuccess(id, path.source, password, this.#crypto));
    return undefined;
  }

  /** RFC 8445 §7.2.5. */
  #handleBindingResponse(message: StunMessage, path: IcePath): IceDropReason | undefined {
    const found = this.#checklist.findAttempt(transactionKey(message.transactionId));
    if (!found || !this.#remoteCredentials) return 'unknown-transaction';
    const { password } = this.#remoteCredentials;
    const failure = authenticationFailure(message, password, this.#crypto);
    if (failure) return failure;
    const { pair, attempt } = found;
    const { base } = pair.local.candidate;
    // RFC 8445 §7.2.5.2.1: the response takes the way of the request.
    const isSymmetric =
      path.source.key === pair.remote.candidate.address.key && path.local.key === base.key;
    if (!isSymmetric) return 'asymmetric-response';
    if (message.class === 'error') return this.#handleErrorResponse(message, pair, attempt);
    const mapped = findAttribute(message, 'xor-mapped-address');
    if (!mapped) return 'malformed';
    this.#locals.addPeerReflexive(mapped, base);
    pair.noteSuccess(attempt, this.#timing, this.#now);
    return undefined;
  }

  /** RFC 8445 §7.2.5.1: only a 487 to a request of the present role means anything. */
  #handleErrorResponse(
    message: StunMessage,
    pair: CandidatePair,
    attempt: CheckAttempt,
  ): IceDropReason | undefined {
    const isConflict = isRoleConflict(message) && attempt.role === this.#role;
    if (!isConflict || attempt.isAnswered) return 'error-response';
    this.#switchRole();
    // "The agent MUST change the tie-breaker value."
    this.#tieBreaker = this.#drawTieBreaker();
    pair.noteRoleConflict(attempt, this.#now);
    return undefined;
  }

  #switchRole(): void {
    this.#role = this.#role === 'controlling' ? 'controlled' : 'controlling';
    this.#checklist.setRole(this.#role);
    this.#log.debug('switched ICE role', { role: this.#role });
  }

  #drawTieBreaker(): bigint {
    return viewOf(this.#crypto.randomBytes(8)).getBigUint64(0);
  }

  #reply(path: IcePath, payload: Uint8Array): void {
    this.#transmits.push({ local: path.local, remote: path.source, payload });
  }

  #isTurnOf(pair: CandidatePair): boolean {
    if (this.#pacer === undefined || pair.isUrgent) return true;
    this.#turn ??= this.#pacer.reserve(this.#now);
    if (this.#turn > this.#now) return false;
    this.#turn = undefined;
    return true;
  }

  /** The controlling side sends data where it nominated: its check is late, or lost. Only where a check of it was seen. */
  #followData(pair: CandidatePair | undefined): void {
    const isKnown = pair !== undefined && pair.heardAt > Number.NEGATIVE_INFINITY;
    if (isKnown && this.#role === 'controlled' && pair.nomination === 'none') {
      pair.nominate(this.#now);
    }
  }

  /** As for a request (connectivity 5.11, steps 1, 4 and 5), with a priority of our own making. */
  #pairOfData(path: IcePath, selected: CandidatePair | undefined): CandidatePair | undefined {
    const local = this.#locals.findReceiver(path.local);
    if (!local) return undefined;
    const preference = localPreference('prflx', familyOf(path.source.address), 0, false);
    const priority = candidatePriority('prflx', preference);
    const remote = this.#remotes.findOrLearn(path.source, priority, this.#isPaired);
    return remote && this.#checklist.pair(local, remote, selected, this.#now);
  }

  /** RFC 8445 §7.2.4, the attributes of connectivity 5.10. */
  #sendCheck(pair: CandidatePair, remote: IceCredentials): void {
    const transactionId = this.#crypto.randomBytes(12);
    const id = transactionKey(transactionId);
    const payload = writeBindingRequest(
      {
        transactionId,
        receiverUfrag: remote.ufrag,
        senderUfrag: this.#localCredentials.ufrag,
        password: remote.password,
        role: this.#role,
        tieBreaker: this.#tieBreaker,
        priority: candidatePriority('prflx', pair.local.localPreference),
        useCandidate: this.#role === 'controlling' && pair.nomination !== 'none',
      },
      this.#crypto,
    );
    const { isOpening } = pair;
    this.#checklist.noteCheck(pair, id, this.#now);
    const { base } = pair.local.candidate;
    const destination = pair.remote.candidate.address;
    this.#transmits.push({
      local: base,
      remote: destination,
      payload,
      transactionId: id,
      isOpening,
    });
  }

  #pairLocal(local: LocalCandidate): void {
    for (const remote of this.#remotes.pairable) {
      this.#checklist.pair(local, remote, this.#selected, this.#now);
    }
  }

  #pairRemote(remote: RemoteCandidate): void {
    for (const local of this.#locals.pairable) {
      this.#checklist.pair(local, remote, this.#selected, this.#now);
    }
  }

  readonly #isPaired = (entry: RemoteCandidate): boolean => this.#checklist.isPaired(entry);

  /** Connectivity 5.13: prune, choose, and say what changed. */
  #settle(): void {
    this.#checklist.prune(this.#now);
    if (this.#selected && !this.#checklist.has(this.#selected)) this.#selected = undefined;
    this.#roam();
    const better = chooseBetterPair(this.#checklist.pairs, this.#role, this.#selected);
    if (better) this.#select(better);
    const state = iceState(this.#checklist.pairs, this.#locals.isEmpty || this.#remotes.isEmpty);
    if (state === this.#state) return;
    this.#state = state;
    this.#events.push({ kind: 'state', state });
  }

  #roam(): void {
    const move = this.#roaming.decide(this.#selected, this.#now);
    if (!move || !this.#checklist.has(move.to)) return;
    for (const pair of this.#checklist.pairs) {
      if (pair.heardAt >= move.since) continue;
      pair.suspect();
      pair.verify(this.#now);
    }
    if (move.to.nomination === 'none') move.to.nominate(this.#now);
  }

  #select(pair: CandidatePair): void {
    if (this.#role === 'controlling' && pair.nomination === 'none') pair.nominate(this.#now);
    this.#selected = pair;
    const local = pair.local.candidate;
    const remote = pair.remote.candidate;
    this.#events.push({
      kind: 'nominated',
      local: local.base,
      remote: remote.address,
      localKind: local.kind,
      remoteKind: remote.kind,
      roundTripMs: pair.rtt,
    });
  }

  #drop(reason: IceDropReason, path: IcePath): void {
    this.#counters.add(reason);
    if (this.#log.traceEnabled) {
      this.#log.trace('dropped an ICE message', {
        reason,
        source: path.source.key,
        local: path.local.key,
      });
    }
  }

  /** Time never runs backwards (anchors: an earlier `now` is the last one). */
  #advance(now: Instant): void {
    if (now > this.#now) this.#now = now;
  }
}

function byPriority(
  entries: readonly { readonly candidate: IceCandidate }[],
): readonly IceCandidate[] {
  return entries.map(({ candidate }) => candidate).sort((a, b) => b.priority - a.priority);
}
