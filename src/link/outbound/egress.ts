// The way out: what a connection wants sent, put on the wire directly or as ChannelData to the relay that owns the local
// address (connectivity 5.15, 8.1, 8.2). The relay is the one of that address, not the one the connection prefers for new
// candidates (connectivity 14.9).

import { type Endpoint, type IpNetwork, networkContains } from '../../base/address.ts';
import { Counters } from '../../base/counters.ts';
import type { Instant } from '../../base/time.ts';
import type { Transmit } from '../../base/transmit.ts';
import type { Allocation } from '../../proto/turn/allocation.ts';
import type { Outgoing } from '../connection/connection-types.ts';
import type { Relays } from '../relays/relays.ts';
import type { Path, Route } from './path.ts';

export type EgressDropReason = 'no-relay' | 'no-channel' | 'never-probed';

export class Egress {
  readonly drops: Counters<EgressDropReason> = new Counters();
  readonly #relays: Relays;
  /** Where no datagram to a peer may go directly. */
  readonly #neverProbed: readonly IpNetwork[];
  #transmits: Transmit[] = [];

  constructor(relays: Relays, neverProbed: readonly IpNetwork[] = []) {
    this.#relays = relays;
    this.#neverProbed = neverProbed;
  }

  send(out: Outgoing, now: Instant): EgressDropReason | undefined {
    const { local, remote, payload, ecn } = out;
    const relay = this.#relays.findByRelayed(local);
    if (relay === undefined) {
      if (out.isRelayed) return this.#drop('no-relay');
      if (this.#isNeverProbed(remote)) return this.#drop('never-probed');
      this.#transmits.push({ source: local, destination: remote, payload, ecn });
      return undefined;
    }
    const isSent = this.#relays.send(relay, remote, { payload, ecn }, now);
    return isSent ? undefined : this.#drop('no-channel');
  }

  /** Whom bulk data of that path passes on our side. */
  carrierOf(path: Path): Allocation | undefined {
    return this.#relays.findByRelayed(path.local)?.allocation;
  }

  /** How bulk data gets to the end of `path` now; a missing channel is asked for. */
  routeOf(path: Path, now: Instant): Route | undefined {
    const { local, remote } = path;
    const relay = this.#relays.findByRelayed(local);
    if (relay === undefined) {
      if (path.localKind === 'relayed' || this.#isNeverProbed(remote)) return undefined;
      return { kind: 'direct', source: local, destination: remote };
    }
    const { allocation } = relay;
    if (allocation.channelTo(remote, now) === undefined) {
      this.#relays.bindChannel(relay, remote, now);
    }
    const channel = allocation.channelTo(remote, now);
    const server = allocation.activeEndpoint;
    if (channel === undefined || server === undefined) return undefined;
    return { kind: 'channel', relay: server, channel };
  }

  clear(): void {
    this.#transmits = [];
  }

  pollTransmit(): Transmit | undefined {
    return this.#transmits.shift();
  }

  get isEmpty(): boolean {
    return this.#transmits.length === 0;
  }

  #isNeverProbed({ address }: Endpoint): boolean {
    return this.#neverProbed.some((network) => networkContains(network, address));
  }

  #drop(reason: EgressDropReason): EgressDropReason {
    this.drops.add(reason);
    return reason;
  }
}
