// How long the packets may be to each peer of a gateway or client: one discovery for each peer, restarted when its path changes. Where
// the operator set no more than the standard size there is nothing to discover, and nothing is kept.

import type { PeerId } from '../base/ids.ts';
import { earliest, type Instant } from '../base/time.ts';
import { PathMtu, type PathProbe } from '../proto/path-mtu/path-mtu.ts';
import { MAX_PACKET_LENGTH } from '../wire/ip/protocol.ts';

export interface PeerProbe extends PathProbe {
  readonly peer: PeerId;
}

export class PathMtus {
  /** MTU of our own device, and the longest packet that we take from a peer. */
  readonly largest: number;
  readonly #byPeer = new Map<PeerId, PathMtu>();
  readonly #probes: PeerProbe[] = [];
  /** Cached; `dirty` after anything that may have changed it. */
  #deadline: Instant | undefined | 'dirty';

  constructor(largest: number) {
    this.largest = largest;
  }

  /** The longest packet that may go to `peer` now. */
  sizeOf(peer: PeerId): number {
    return this.#byPeer.get(peer)?.size ?? MAX_PACKET_LENGTH;
  }

  /** As `sizeOf`, for a packet that is longer than the standard size. */
  sizeForLarge(peer: PeerId): number {
    const mtu = this.#byPeer.get(peer);
    if (!mtu) return MAX_PACKET_LENGTH;
    if (mtu.noteUse()) this.#deadline = 'dirty';
    return mtu.size;
  }

  /** There is a path to `peer`, or another one. */
  handlePath(peer: PeerId, now: Instant): void {
    if (this.largest <= MAX_PACKET_LENGTH) return;
    const known = this.#byPeer.get(peer);
    if (known) known.handlePathChange(now);
    else this.#byPeer.set(peer, new PathMtu(MAX_PACKET_LENGTH, this.largest, now));
    this.#deadline = 'dirty';
  }

  forget(peer: PeerId): void {
    if (this.#byPeer.delete(peer)) this.#deadline = 'dirty';
  }

  handleAnswer(peer: PeerId, answer: PathProbe): void {
    this.#byPeer.get(peer)?.handleAnswer(answer);
  }

  handleTimeout(now: Instant): void {
    const deadline = this.pollTimeout();
    if (deadline === undefined || now < deadline) return;
    this.#deadline = 'dirty';
    for (const [peer, mtu] of this.#byPeer) {
      mtu.handleTimeout(now);
      for (let probe = mtu.pollProbe(); probe; probe = mtu.pollProbe())
        this.#probes.push({ ...probe, peer });
    }
  }

  pollProbe(): PeerProbe | undefined {
    return this.#probes.shift();
  }

  pollTimeout(): Instant | undefined {
    if (this.#deadline === 'dirty') {
      this.#deadline = undefined;
      for (const mtu of this.#byPeer.values())
        this.#deadline = earliest(this.#deadline, mtu.pollTimeout());
    }
    return this.#deadline;
  }
}
