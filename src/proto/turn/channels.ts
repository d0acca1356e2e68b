// The channels of one allocation (RFC 8656 §12, relay 4.11): which number stands for which peer, how long each may be used, and
// when it has to be bound again. A number that expired keeps its peer through a cool-down, because the relay may still hold the
// old pair. Sending requests is the allocation's business.

import type { Endpoint } from '../../base/address.ts';
import { earliest, type Instant, later } from '../../base/time.ts';
import { CHANNEL_MAX, CHANNEL_MIN } from '../../wire/stun/channel-number.ts';

// Specification
export const CHANNEL_LIFETIME_MS: number = 600_000; // RFC 8656 §12
/** RFC 8656 §12: five more minutes until the pair may be another. */
export const CHANNEL_REBIND_MS: number = CHANNEL_LIFETIME_MS + 300_000;

// Implementation
/** Half of the lifetime, as with allocations. */
export const CHANNEL_REFRESH_MS: number = CHANNEL_LIFETIME_MS / 2;

/** Who is behind a channel: data on it goes between `peer` and our `relayed` address. */
export interface ChannelPeer {
  readonly peer: Endpoint;
  readonly relayed: Endpoint;
}

export interface Channel {
  readonly number: number;
  readonly ends: ChannelPeer;
  /** The relay confirmed it at least once. */
  isBound: boolean;
  /** A CHANNEL-BIND for it is in flight. */
  isBinding: boolean;
  /** When it was last confirmed, or asked for. */
  boundAt: Instant;
  /** Data arrived since then: worth refreshing. */
  hasReceived: boolean;
}

export class Channels {
  readonly #byNumber = new Map<number, Channel>();
  readonly #byPeer = new Map<string, Channel>();
  #next = CHANNEL_MIN;
  /** Minimum over all channels, computed when asked for after a change. */
  #deadline: Instant | undefined;
  #deadlineIsStale = false;

  /**
   * A channel for a CHANNEL-BIND that is about to be sent: the peer's own number if it had one within the cool-down, else the
   * next free one. Unused numbers are preferred to expired ones. `undefined`: all are taken.
   */
  reserve(ends: ChannelPeer, now: Instant): Channel | undefined {
    this.#deadlineIsStale = true;
    const known = this.#byPeer.get(ends.peer.key);
    if (known) {
      known.isBinding = true;
      return known;
    }
    const number = this.#takeNumber(now);
    if (number === undefined) return undefined;
    const channel: Channel = {
      number,
      ends,
      isBound: false,
      isBinding: true,
      boundAt: now,
      hasReceived: false,
    };
    this.#byNumber.set(number, channel);
    this.#byPeer.set(ends.peer.key, channel);
    return channel;
  }

  confirm(number: number, now: Instant): Channel | undefined {
    const channel = this.#byNumber.get(number);
    if (!channel) return undefined;
    channel.isBound = true;
    channel.isBinding = false;
    channel.boundAt = now;
    channel.hasReceived = false;
    this.#deadlineIsStale = true;
    return channel;
  }

  remove(number: number): Channel | undefined {
    const channel = this.#byNumber.get(number);
    if (!channel) return undefined;
    this.#byNumber.delete(number);
    this.#byPeer.delete(channel.ends.peer.key);
    this.#deadlineIsStale = true;
    return channel;
  }

  /** The next number stays: a relay that still holds an old pair must not meet its number again soon. */
  clear(): void {
    this.#byNumber.clear();
    this.#byPeer.clear();
    this.#deadlineIsStale = true;
  }

  /** Data arrived. `undefined` if the channel is unknown or not confirmed. */
  receive(number: number): ChannelPeer | undefined {
    const channel = this.#byNumber.get(number);
    if (!channel?.isBound) return undefined;
    if (!channel.hasReceived) {
      channel.hasReceived = true;
      this.#deadlineIsStale = true;
    }
    return channel.ends;
  }

  /** One channel that carries data and is half way to its end; it counts as binding from now on. */
  pollRefresh(now: Instant): Channel | undefined {
    for (const channel of this.#byNumber.values()) {
      if (!needsRefresh(channel) || channel.boundAt + CHANNEL_REFRESH_MS > now) continue;
      channel.isBinding = true;
      this.#deadlineIsStale = true;
      return channel;
    }
    return undefined;
  }

  /** Forgets what is past its cool-down. */
  expire(now: Instant): void {
    for (const channel of this.#byNumber.values()) {
      if (!channel.isBinding && channel.boundAt + CHANNEL_REBIND_MS <= now) {
        this.remove(channel.number);
      }
    }
  }

  pollTimeout(): Instant | undefined {
    if (this.#deadlineIsStale) {
      this.#deadlineIsStale = false;
      this.#deadline = undefined;
      for (const channel of this.#byNumber.values()) {
        this.#deadline = earliest(this.#deadline, deadlineOf(channel));
      }
    }
    return this.#deadline;
  }

  /** The number to send with: confirmed, or asked for within its lifetime (relay 4.12: sending need not wait). */
  numberTo(peer: Endpoint, now: Instant): number | undefined {
    const channel = this.#byPeer.get(peer.key);
    if (!channel) return undefined;
    return isConnected(channel, now) || channel.isBinding ? channel.number : undefined;
  }

  isConnectedTo(peer: Endpoint, now: Instant): boolean {
    const channel = this.#byPeer.get(peer.key);
    return channel !== undefined && isConnected(channel, now);
  }

  isBindingTo(peer: Endpoint): boolean {
    return this.#byPeer.get(peer.key)?.isBinding === true;
  }

  endsOf(number: number): ChannelPeer | undefined {
    const channel = this.#byNumber.get(number);
    return channel?.isBound ? channel.ends : undefined;
  }

  /** Peers with a channel in use, oldest first. */
  connectedPeers(now: Instant): readonly Endpoint[] {
    return [...this.#byNumber.values()]
      .filter((channel) => isConnected(channel, now))
      .map(({ ends }) => ends.peer);
  }

  all(): Iterable<Channel> {
    return this.#byNumber.values();
  }

  get count(): number {
    return this.#byNumber.size;
  }

  #takeNumber(now: Instant): number | undefined {
    const range = CHANNEL_MAX - CHANNEL_MIN + 1;
    for (let step = 0; step < range; step++) {
      const number = CHANNEL_MIN + ((this.#next - CHANNEL_MIN + step) % range);
      const holder = this.#byNumber.get(number);
      if (holder && (holder.isBinding || holder.boundAt + CHANNEL_REBIND_MS > now)) continue;
      if (holder) this.remove(number);
      this.#next = number === CHANNEL_MAX ? CHANNEL_MIN : number + 1;
      return number;
    }
    return undefined;
  }
}

function isConnected(channel: Channel, now: Instant): boolean {
  return channel.isBound && now - channel.boundAt < CHANNEL_LIFETIME_MS;
}

function needsRefresh(channel: Channel): boolean {
  return channel.isBound && channel.hasReceived && !channel.isBinding;
}

function deadlineOf(channel: Channel): Instant | undefined {
  if (channel.isBinding) return undefined;
  return later(channel.boundAt, needsRefresh(channel) ? CHANNEL_REFRESH_MS : CHANNEL_REBIND_MS);
}
