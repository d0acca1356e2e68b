// Who gets which of our own candidates, and on which relay (connectivity 5.3 and 4.10): host addresses of the interfaces, what the
// relays report, and migration when a relay goes. What an agent finds new is signalled to its peer.

import type { Endpoint } from '../base/address.ts';
import type { RelayId } from '../base/ids.ts';
import type { Random } from '../base/random.ts';
import type { Instant } from '../base/time.ts';
import type { LocalCandidateInfo } from '../proto/ice/local-candidates.ts';
import { hostCandidates, seedCandidates } from './connection/candidates.ts';
import type { Connection } from './connection/connection.ts';
import type { Outlet } from './outbound/outlet.ts';
import type { Signalling } from './outbound/signalling.ts';
import type { Registry } from './registry.ts';
import type { Relays, RelaysEvent } from './relays/relays.ts';

export interface GatheringDeps {
  readonly random: Random;
  readonly relays: Relays;
  readonly registry: Registry;
  readonly signals: Signalling;
  readonly outlet: Outlet;
}

export class Gathering {
  readonly #deps: GatheringDeps;
  #hosts: readonly LocalCandidateInfo[] = [];
  /** Some connection has no relay: it lost it, or there was none. */
  #hasHomeless = false;

  constructor(deps: GatheringDeps) {
    this.#deps = deps;
  }

  /** Everything that the relays have to report, and what follows from it; false if there was nothing. */
  handleRelayEvents(now: Instant): boolean {
    const { relays } = this.#deps;
    let hasChanged = this.#hasHomeless;
    for (let event = relays.pollEvent(); event; event = relays.pollEvent()) {
      this.#handleRelayEvent(event, now);
      hasChanged = true;
    }
    if (hasChanged) this.#migrate(now);
    return hasChanged;
  }

  /**
   * connectivity 14.19. All addresses that this host has now. What left from one that is gone is withdrawn, and the peers hear of
   * it, because they would go on sending there for as long as their checks have patience (deviates from connectivity 5.3).
   */
  setLocalAddresses(addresses: readonly Endpoint[], now: Instant): void {
    const { registry, relays } = this.#deps;
    const present = new Set(addresses.map(({ key }) => key));
    const gone = this.#hosts.filter(({ base }) => !present.has(base.key));
    this.#hosts = hostCandidates(addresses);
    for (const connection of registry.all()) {
      this.#offer(connection, this.#hosts, now);
      for (const info of gone) this.#withdraw(connection, info, now);
    }
    if (gone.length > 0) relays.handleAddressesGone(new Set(gone.map(({ base }) => base.key)), now);
  }

  /** The sockets are others now; connections that go on get candidates again as there are some. */
  startOver(): void {
    this.#hosts = [];
    this.#hasHomeless = true;
  }

  /** What a connection starts with. */
  seed(connection: Connection, now: Instant): void {
    if (connection.relay === undefined) this.#hasHomeless = true;
    this.#offer(connection, this.#candidatesOf(connection.relay), now);
  }

  /** On reuse everything is said again, because the peer may have forgotten it (connectivity 4.3). */
  repeat(connection: Connection, now: Instant): void {
    for (const candidate of connection.reuse(now)) {
      this.#deps.signals.add(connection.id, candidate);
    }
    this.#offer(connection, this.#candidatesOf(connection.relay), now);
  }

  get hasLocalAddresses(): boolean {
    return this.#hosts.length > 0;
  }

  #handleRelayEvent(event: RelaysEvent, now: Instant): void {
    const connections = this.#deps.registry.all();
    switch (event.kind) {
      case 'candidate-added':
        // connectivity 14.20: whichever relay told us about an address of ours, every connection may use it.
        for (const connection of connections) {
          const isFor = event.candidate.kind !== 'relayed' || connection.relay === event.relay;
          if (isFor) this.#offer(connection, [event.candidate], now);
        }
        return;
      case 'candidate-removed':
        for (const connection of connections) this.#withdraw(connection, event.candidate, now);
        return;
      case 'relay-gone':
        for (const connection of connections) {
          if (connection.relay === event.relay) connection.relay = undefined;
        }
        this.#hasHomeless = true;
        return;
      case 'channels-changed':
        return;
      case 'no-relays':
        this.#deps.outlet.report(event);
    }
  }

  /** connectivity 4.10: connections without a relay get one, now or as soon as one can be sampled. */
  #migrate(now: Instant): void {
    if (!this.#hasHomeless) return;
    const { registry, relays, random } = this.#deps;
    for (const connection of registry.all()) {
      if (connection.relay !== undefined) continue;
      const relay = relays.sample(random);
      if (relay === undefined) return;
      connection.relay = relay;
      this.#offer(connection, this.#candidatesOf(relay), now);
    }
    this.#hasHomeless = false;
  }

  #candidatesOf(relay: RelayId | undefined): readonly LocalCandidateInfo[] {
    const { relays } = this.#deps;
    const chosen = relay === undefined ? undefined : relays.get(relay);
    return seedCandidates(this.#hosts, chosen, relays.all());
  }

  #offer(connection: Connection, candidates: readonly LocalCandidateInfo[], now: Instant): void {
    for (const info of candidates) {
      const added = connection.addLocalCandidate(info, now);
      if (added) this.#deps.signals.add(connection.id, added);
    }
    this.#deps.registry.touch(connection);
  }

  #withdraw(connection: Connection, info: LocalCandidateInfo, now: Instant): void {
    const removed = connection.removeLocalCandidate(info, now);
    if (removed) this.#deps.signals.remove(connection.id, removed);
    this.#deps.registry.touch(connection);
  }
}
