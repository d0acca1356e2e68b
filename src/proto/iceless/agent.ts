// Finds and keeps the path of one ICE-less connection (iceless 3 to 6): candidates, pairs, the first handshake over every relay, probes inside
// the tunnel, and which pair carries data. It looks at handshake messages as bytes and at nothing of user data; sealing, timers of
// WireGuard and what an accepted message means are the owner's.
//
//   initiation ──▶ fan-out over relays ──▶ session ──▶ probes on all pairs ──▶ the best that answers is the primary
//                                                        ▲── silence, re-keys, new candidates ──┘
//
// Each side chooses for itself; packets are accepted on any path.
//
// Deviates from iceless 6.5: probing starts when the tunnel can seal probes, not before (iceless 13).

import { Counters } from '../../base/counters.ts';
import { earliest, type Instant, later } from '../../base/time.ts';
import {
  candidatePriorityOf,
  type PathCandidate,
  pathCandidateKey,
} from '../../wire/iceless/candidate.ts';
import { type Probe, writeProbe } from '../../wire/iceless/probe.ts';
import type {
  DescribedEnds,
  Ends,
  PathAgentSnapshot,
  PathDropReason,
  PathEvent,
  PathTransmit,
  TrafficSeen,
} from './agent-types.ts';
import { FanOut } from './fan-out.ts';
import { HandshakeMemory } from './handshake-memory.ts';
import type { Pair, Standing } from './pair.ts';
import { PairTable } from './pair-table.ts';
import { Primary } from './primary.ts';
import { type RemoteAddition, type RemoteOrigin, Remotes } from './remotes.ts';
import { describePair, snapshotPair } from './snapshot.ts';

// Implementation

/** Interfaces, what relays see of them, and two relayed addresses. */
const MAX_LOCALS = 32;
/** Of the probes that are answered: each of the peer's pairs at once, and again within its first second. */
const MAX_REPLIES_PER_SECOND = 600;
const SECOND_MS = 1_000;
/** Data without any answer, before the path is asked. A peer that only listens answers after 5 s by itself. */
const SILENCE_MS = 1_000;
/** While data comes in, our own way to the peer is asked this often: who only receives would not notice that it is dead. */
const STALE_MS = 5_000;

export class PathAgent {
  readonly drops: Counters<PathDropReason> = new Counters();
  readonly #locals = new Map<string, PathCandidate>();
  readonly #remotes = new Remotes();
  readonly #pairs = new PairTable();
  readonly #fanOut = new FanOut();
  readonly #memory = new HandshakeMemory();
  readonly #primary = new Primary();
  #hasSession = false;
  #isProbing = false;
  #seen: TrafficSeen = { received: 0, sent: 0 };
  /** Of what was received; two idle ends must not keep each other busy. */
  #probesReceived = 0;
  #dataReceived = 0;
  /** Since when data that was sent has had no data in answer. */
  #quietSince: Instant | undefined;
  #replies = { since: Number.NEGATIVE_INFINITY, count: 0 };
  #transmits: PathTransmit[] = [];
  #events: PathEvent[] = [];
  #now: Instant;

  constructor(now: Instant) {
    this.#now = now;
  }

  /** What is known of a handshake message before WireGuard sees it; an answer that is to be repeated is on its way (iceless 6.4). */
  recallHandshake(bytes: Uint8Array, isInitiation: boolean, ends: Ends, now: Instant): boolean {
    this.#advance(now);
    const recollection = isInitiation
      ? this.#memory.recallInitiation(bytes, this.#now)
      : this.#memory.recallResponse(bytes);
    if (recollection.kind === 'repeated') this.drops.add('repeated-handshake');
    if (recollection.kind === 'answer-again') this.#send(ends, recollection.response);
    return recollection.kind !== 'new';
  }

  /** WireGuard accepted it and answered `response`, which the owner sends the way the initiation came. */
  handleAcceptedInitiation(
    bytes: Uint8Array,
    response: Uint8Array,
    ends: Ends,
    now: Instant,
  ): void {
    this.#advance(now);
    this.#memory.noteInitiation(bytes, response, this.#now);
    this.#see(ends);
    const isFirst = this.#establish();
    const pair = this.#pairs.find(ends.local, ends.remote);
    if (isFirst && pair && this.#primary.pair === undefined) this.#setPrimary(pair);
    if (this.#primary.notePeerRekey()) this.#clearAndReprobe();
  }

  /** WireGuard accepted the answer to an initiation of ours. */
  handleAcceptedResponse(bytes: Uint8Array, ends: Ends, now: Instant): void {
    this.#advance(now);
    this.#memory.noteResponse(bytes);
    this.#primary.noteOwnRekeyAnswered();
    this.#establish();
    const pair = this.#pairs.find(ends.local, ends.remote);
    const current = this.#primary.pair;
    if (pair && (current === undefined || pair.bucket < current.bucket)) this.#setPrimary(pair);
  }

  handleProbe({ kind, id, sequence }: Probe, ends: Ends, now: Instant): void {
    this.#advance(now);
    this.#probesReceived += 1;
    if (kind === 'request') this.#handleRequest(id, sequence, ends);
    else this.#handleReply(id, sequence, ends);
  }

  /**
   * Something authentic that was no probe came this way (iceless 9), which is not the way that ours goes: the peer may have moved, or its way
   * to us has died and ours may have, too.
   */
  handleData(ends: Ends, now: Instant): void {
    this.#advance(now);
    this.#see(ends);
    const { pair, isInDoubt, confirmedAt } = this.#primary;
    if (!this.#isProbing || pair === undefined || isInDoubt) return;
    if (pair === this.#pairs.find(ends.local, ends.remote)) return;
    if (confirmedAt !== undefined && later(confirmedAt, SILENCE_MS) > this.#now) return;
    this.#primary.doubt('news', this.#now);
    pair.check(this.#now);
  }

  /** iceless 6.9: copies of the first initiation, then probes, then what expires. */
  handleTimeout(now: Instant): void {
    this.#advance(now);
    const { initiation } = this.#fanOut;
    for (const pair of this.#fanOut.takeDue(this.#pairs.all, this.#now)) {
      if (initiation) this.#send(pair, initiation);
    }
    if (this.#primary.isGivenUp(this.#now)) this.#clearAndReprobe();
    this.#sendProbes();
    this.#memory.handleTimeout(this.#now);
    this.#expireSeen();
  }

  /** An initiation of ours (iceless 6.3): to the primary, without one over all relays. */
  sendInitiation(bytes: Uint8Array, now: Instant): void {
    this.#advance(now);
    this.#memory.forgetResponse();
    const { pair } = this.#primary;
    if (this.#hasSession && pair) this.#send(pair, bytes);
    if (this.#primary.noteOwnRekey()) this.#clearAndReprobe();
    // Deviates from iceless 6.3: without a path it is not dropped. If the session has ended meanwhile, no probe could find one.
    if (this.#primary.pair === undefined) this.#fanOut.replace(bytes, this.#now);
  }

  /** The tunnel can seal: all pairs are probed from now on. */
  startProbing(now: Instant): void {
    this.#advance(now);
    if (this.#isProbing) return;
    this.#isProbing = true;
    for (const pair of this.#pairs.all) pair.restart(this.#now);
  }

  /** Whenever the owner comes by: notices silence and one-way traffic before WireGuard's timers would (iceless 13). */
  noteTraffic(seen: TrafficSeen, now: Instant): void {
    this.#advance(now);
    if (seen.received !== this.#seen.received) this.#primary.notePeerData();
    const dataReceived = seen.received - this.#probesReceived;
    const hasData = dataReceived > this.#dataReceived;
    if (hasData) {
      this.#dataReceived = dataReceived;
      this.#quietSince = undefined;
    } else if (seen.sent > this.#seen.sent) this.#quietSince ??= this.#now;
    this.#seen = seen;
    const { pair, isInDoubt, confirmedAt } = this.#primary;
    if (!this.#isProbing || pair === undefined || confirmedAt === undefined || isInDoubt) return;
    const silence = this.#silenceAt();
    const isSilent = silence !== undefined && silence <= this.#now;
    const isStale = hasData && later(confirmedAt, STALE_MS) <= this.#now;
    if (isSilent || isStale) this.#checkPrimary(pair);
  }

  /** False if it is known or there are too many. */
  addLocal(candidate: PathCandidate, now: Instant): boolean {
    this.#advance(now);
    const key = pathCandidateKey(candidate);
    if (this.#locals.has(key) || this.#locals.size >= MAX_LOCALS) return false;
    this.#locals.set(key, candidate);
    this.#pair([candidate], this.#remotes.all);
    return true;
  }

  removeLocal(candidate: PathCandidate, now: Instant): boolean {
    this.#advance(now);
    if (!this.#locals.delete(pathCandidateKey(candidate))) return false;
    this.#prune();
    return true;
  }

  /** A signalled candidate, or a guess; false if it is known or has no place. */
  addRemote(candidate: PathCandidate, origin: RemoteOrigin, now: Instant): boolean {
    this.#advance(now);
    const spared = this.#primary.pair?.remote;
    const addition = this.#remotes.add(candidate, origin, spared, this.#now);
    this.#adopt(addition);
    return addition.added !== undefined;
  }

  removeRemote(candidate: PathCandidate, now: Instant): boolean {
    this.#advance(now);
    if (!this.#remotes.remove(candidate)) return false;
    this.#prune();
    return true;
  }

  /** iceless 3.4: what the peer's candidates suggest. */
  addGuesses(now: Instant): void {
    for (const guess of this.#remotes.guess()) this.addRemote(guess, 'guessed', now);
  }

  /** Something about our network changed: all pairs are asked, the primary goes if it does not answer soon. */
  recheck(now: Instant): void {
    this.#advance(now);
    if (!this.#isProbing) return;
    const { pair } = this.#primary;
    this.#primary.doubt('news', this.#now);
    this.#reprobe(pair);
  }

  /** iceless 6.10, all locals dropped: the peer is still the same, we are elsewhere. */
  rebuild(now: Instant): void {
    this.#advance(now);
    this.#locals.clear();
    this.#pairs.clear();
    this.#fanOut.stop();
    this.#memory.clear();
    this.#primary.forget();
    this.#remotes.adoptSeen();
    this.#transmits = [];
  }

  pollTransmit(): PathTransmit | undefined {
    return this.#transmits.shift();
  }

  pollEvent(): PathEvent | undefined {
    return this.#events.shift();
  }

  /** At once while output is queued. */
  pollTimeout(): Instant | undefined {
    if (this.#transmits.length > 0 || this.#events.length > 0) return this.#now;
    let first = earliest(
      this.#fanOut.pollTimeout(this.#pairs.all),
      this.#memory.pollTimeout(),
      this.#primary.pollTimeout(),
      this.#remotes.pollTimeout(),
      this.#silenceAt(),
    );
    if (!this.#isProbing) return first;
    for (const { nextProbeAt } of this.#pairs.all) first = earliest(first, nextProbeAt);
    return first;
  }

  /** Best first. */
  get localCandidates(): readonly PathCandidate[] {
    return [...this.#locals.values()].toSorted(
      (a, b) => candidatePriorityOf(b.kind) - candidatePriorityOf(a.kind),
    );
  }

  snapshot(): PathAgentSnapshot {
    const { pair } = this.#primary;
    return {
      hasSession: this.#hasSession,
      primary: pair && describePair(pair),
      ...this.#primary.snapshot(),
      localCandidates: this.localCandidates,
      remoteCandidates: this.#remotes.snapshot(),
      pairs: this.#pairs.all.map(snapshotPair),
      drops: this.drops.snapshot(),
    };
  }

  /** iceless 6.6.3. */
  #handleRequest(id: number, sequence: number, ends: Ends): void {
    if (!this.#mayReply()) return void this.drops.add('too-many-probes');
    this.#sendProbe(ends, { kind: 'reply', id, sequence });
    this.#see(ends);
    const pair = this.#pairs.find(ends.local, ends.remote);
    if (pair && pair.rtt === undefined) pair.hasten(this.#now);
  }

  /** iceless 6.6.4. */
  #handleReply(id: number, sequence: number, ends: Ends): void {
    const pair = this.#pairs.find(ends.local, ends.remote);
    if (pair?.id !== id || !pair.noteReply(sequence, this.#now)) {
      return void this.drops.add('unexpected-reply');
    }
    if (pair === this.#primary.pair) this.#primary.confirm(this.#now);
    this.#select();
  }

  /** iceless 6.7: probes promote and never demote. */
  #select(): void {
    const best = this.#pairs.best();
    if (best && best !== this.#primary.pair && this.#primary.isWorseThan(best)) {
      this.#setPrimary(best);
    }
  }

  #setPrimary(pair: Pair): void {
    this.#fanOut.stop();
    this.#primary.set(pair, this.#now);
    this.#events.push({ kind: 'primary-changed', ...describePair(pair) });
  }

  /** iceless 6.5; true if this was the first handshake. */
  #establish(): boolean {
    this.#fanOut.stop();
    if (this.#hasSession) return false;
    this.#hasSession = true;
    return true;
  }

  /** iceless 6.7. What was measured meanwhile takes over at once. */
  #clearAndReprobe(): void {
    const { pair } = this.#primary;
    this.#primary.clear();
    this.#reprobe(pair);
    this.#select();
  }

  /** All pairs but those inside their first probes; `always` in any case. */
  #reprobe(always: Pair | undefined): void {
    if (!this.#isProbing) return;
    for (const pair of this.#pairs.all) {
      if (pair === always || !pair.isFresh) pair.restart(this.#now);
    }
  }

  #checkPrimary(pair: Pair): void {
    this.#primary.doubt('silence', this.#now);
    pair.check(this.#now);
  }

  #sendProbes(): void {
    if (!this.#isProbing) return;
    const primary = this.#primary.pair;
    for (const pair of this.#pairs.all) {
      if (!pair.isDue(this.#now)) continue;
      // An unanswered check of the primary is trouble; outside its first probes nothing else would notice.
      if (pair === primary && !pair.isFresh) this.#primary.doubt('silence', this.#now);
      const standing: Standing =
        primary === undefined ? 'no-primary' : pair === primary ? 'primary' : 'other';
      this.#sendProbe(pair, pair.takeProbe(standing, this.#now));
    }
  }

  /** iceless 6.6.5. */
  #see({ remote }: Ends): void {
    this.#adopt(this.#remotes.see(remote, this.#primary.pair?.remote, this.#now));
  }

  #adopt({ added, hasEvicted, isRefused = false }: RemoteAddition): void {
    if (isRefused) this.drops.add('too-many-candidates');
    if (hasEvicted) this.#prune();
    if (added) this.#pair(this.#locals.values(), [added]);
  }

  /** A new pair is a new chance: all others are asked, too, the primary among them. */
  #pair(locals: Iterable<PathCandidate>, remotes: readonly PathCandidate[]): void {
    const { pair: primary } = this.#primary;
    const before = primary && describePair(primary);
    let hasNew = false;
    for (const local of locals) {
      for (const remote of remotes) {
        if (this.#pairs.put(local, remote)) hasNew = true;
      }
    }
    this.#describeChanged(before);
    if (!hasNew || !this.#isProbing) return;
    // A primary in doubt is being asked already: its answer must count.
    const asked = this.#primary.isInDoubt ? undefined : primary;
    this.#primary.doubt('news', this.#now);
    this.#reprobe(asked);
  }

  /** After candidates were removed. */
  #prune(): void {
    const { pair } = this.#primary;
    const before = pair && describePair(pair);
    this.#pairs.prune(this.#locals.values(), this.#remotes.all);
    if (pair && !this.#pairs.has(pair)) this.#clearAndReprobe();
    else this.#describeChanged(before);
  }

  /** The same two addresses are called otherwise now. */
  #describeChanged(before: DescribedEnds | undefined): void {
    const { pair } = this.#primary;
    if (before === undefined || pair === undefined) return;
    if (before.localKind === pair.localKind && before.remoteKind === pair.remoteKind) return;
    this.#events.push({ kind: 'primary-described', ...describePair(pair) });
  }

  #expireSeen(): void {
    const isWorking = (address: Ends['remote']): boolean =>
      this.#pairs.all.some((pair) => pair.remote.key === address.key && pair.rtt !== undefined);
    if (this.#remotes.expireSeen(isWorking, this.#now)) this.#prune();
  }

  /** When data will have waited for an answer for too long. */
  #silenceAt(): Instant | undefined {
    const { pair, isInDoubt, confirmedAt } = this.#primary;
    const quietSince = this.#quietSince;
    if (!this.#isProbing || !pair || isInDoubt || quietSince === undefined) return undefined;
    return later(laterOf(quietSince, confirmedAt ?? quietSince), SILENCE_MS);
  }

  #mayReply(): boolean {
    if (this.#now - this.#replies.since >= SECOND_MS)
      this.#replies = { since: this.#now, count: 0 };
    this.#replies.count += 1;
    return this.#replies.count <= MAX_REPLIES_PER_SECOND;
  }

  #sendProbe({ local, remote }: Ends, probe: Probe): void {
    this.#transmits.push({ local, remote, form: probe.kind, payload: writeProbe(probe) });
  }

  #send({ local, remote }: Ends, payload: Uint8Array): void {
    this.#transmits.push({ local, remote, form: 'datagram', payload });
  }

  #advance(now: Instant): void {
    if (now > this.#now) this.#now = now;
  }
}

function laterOf(a: Instant, b: Instant): Instant {
  return a > b ? a : b;
}
