// Control packets from clients inside the tunnel: the set-up of domains (data-plane 9.2) and goodbyes. Each request for a domain gets
// exactly one answer, at once or when the domain is resolved.

import type { Counters } from '../../base/counters.ts';
import type { Log } from '../../base/log.ts';
import { type Instant, later } from '../../base/time.ts';
import {
  type AssignedIps,
  type MtuProbe,
  parseControlPacket,
  writeControlPacket,
} from '../../wire/control/p2p-control.ts';
import { MAX_PACKET_LENGTH } from '../../wire/ip/protocol.ts';
import type { Access } from './access.ts';
import type { ClientPeer } from './client-peer.ts';
import type { GatewayCount } from './decisions.ts';
import { applySetup, checkSetup } from './dns-nat.ts';
import type { DomainSetups, FinishedSetup } from './domain-setups.ts';
import type { GatewayEvent, ResolveResult } from './events.ts';
import type { GatewayWide } from './gateway-wide.ts';
import { type GatewayLink, wasTaken } from './link.ts';

// Implementation
/** A domain that was set up this recently is not resolved again: one burst of look-ups on the client, one query here. */
const MIN_REFRESH_INTERVAL_MS = 1_000;

/** What an answer is about. */
interface About {
  readonly resource: string;
  readonly domain: string;
  readonly isLegacy?: boolean;
}

/** A domain and the addresses a client of the earliest generation gave it. */
export type LegacyDomain = Omit<AssignedIps, 'kind'>;

export interface ControlDeps {
  readonly wide: GatewayWide;
  readonly access: Access;
  readonly link: GatewayLink;
  readonly setups: DomainSetups;
  readonly counts: Counters<GatewayCount>;
  readonly log: Log;
  readonly events: GatewayEvent[];
}

export class ControlPackets {
  readonly #deps: ControlDeps;

  constructor(deps: ControlDeps) {
    this.#deps = deps;
  }

  /** `packet` is a copy. */
  handlePacket(client: ClientPeer, packet: Uint8Array, now: Instant): void {
    const { counts, access } = this.#deps;
    counts.add('control-packets');
    const event = parseControlPacket(packet);
    switch (event?.kind) {
      case 'assigned-ips':
        if (client.domainWishes.take(now)) this.#handleAssignedIps(client, event, now);
        else this.#limit(client, event, now);
        break;
      case 'goodbye':
        counts.add('goodbyes-received');
        access.handleGoodbye(client, now);
        break;
      case 'mtu-probe':
        // It arrived, so the path carries it, and we take it.
        if (client.icmpErrors.take(now)) this.#answerProbe(client, event, now);
        else counts.add('icmp-errors-limited');
        break;
      case 'mtu-probe-answer':
        this.#deps.wide.mtus.handleAnswer(client.peer, event);
        break;
      case 'domain-status':
        // A gateway's message; from a client it means nothing.
        break;
      case undefined:
        counts.add('control-packets-malformed');
        break;
    }
  }

  handleResolved(queryId: number, result: ResolveResult, now: Instant): void {
    const { counts, setups } = this.#deps;
    const finished = setups.finish(queryId, now);
    if (!finished) return;
    if (result.kind === 'failed') counts.add('domain-queries-failed');
    this.#complete(finished, result, now);
  }

  handleTimeout(now: Instant): void {
    for (const finished of this.#deps.setups.takeTimedOut(now)) {
      this.#deps.counts.add('domain-queries-failed');
      this.#complete(finished, { kind: 'failed' }, now);
    }
  }

  /** A domain that came with a message of the portal (data-plane 9.5); answered with an event. */
  handleLegacyDomain(client: ClientPeer, wish: LegacyDomain, now: Instant): void {
    this.#handleAssignedIps(client, { kind: 'assigned-ips', ...wish, isLegacy: true }, now);
  }

  #handleAssignedIps(
    client: ClientPeer,
    event: AssignedIps & { readonly isLegacy?: boolean },
    now: Instant,
  ): void {
    const checked = checkSetup(client, event);
    if (typeof checked === 'string') {
      this.#refuse(client, event, checked, now);
      return;
    }
    const setup = event.isLegacy === true ? { ...checked, isLegacy: true } : checked;
    const setUpAt = client.translations.setUpAt(setup);
    if (setUpAt !== undefined && now < later(setUpAt, MIN_REFRESH_INTERVAL_MS)) {
      this.#answer(client, setup, 'active', now);
      return;
    }
    if (this.#deps.setups.add(client.id, setup, now) === 'refused')
      this.#refuse(client, event, 'too-many', now);
  }

  /** Beyond the limit nothing is looked at, but the client learns of it (data-plane 17.3). */
  #limit(client: ClientPeer, event: AssignedIps, now: Instant): void {
    this.#deps.counts.add('domain-wishes-limited');
    this.#answer(client, event, 'inactive', now);
  }

  /** The world may have changed while the domain was resolved, so everything is checked again. */
  #complete(finished: FinishedSetup, result: ResolveResult, now: Instant): void {
    const { access, counts, events, log } = this.#deps;
    const { setup } = finished;
    const client = access.clients.get(finished.client);
    if (!client) return;
    const { resource, domain, proxies, isLegacy = false } = setup;
    const checked = checkSetup(client, {
      kind: 'assigned-ips',
      resource,
      domain,
      proxyIps: proxies,
    });
    if (typeof checked === 'string') {
      this.#refuse(client, setup, checked, now);
      return;
    }
    if (result.kind === 'failed') {
      this.#answer(client, setup, 'inactive', now);
      return;
    }
    const { exceptions } = this.#deps.wide;
    const applied = applySetup(
      client,
      { ...checked, isLegacy },
      { addresses: result.addresses, exceptions },
      now,
    );
    const { addresses, refused } = applied;
    if (applied.wasReset) {
      counts.add('nat-resets');
      log.info('a client numbered its domains anew', { client: client.id });
    }
    counts.add('domains-set-up');
    counts.add('domain-addresses-refused', refused.length);
    events.push({ kind: 'domain-set-up', client: client.id, domain, addresses, refused });
    this.#answer(client, setup, 'active', now);
  }

  #refuse(client: ClientPeer, about: About, reason: string, now: Instant): void {
    const { counts, log } = this.#deps;
    counts.add('domains-refused');
    const { resource, domain } = about;
    log.debug('refused to set up a domain', { client: client.id, resource, domain, reason });
    this.#answer(client, about, 'inactive', now);
  }

  #answerProbe(client: ClientPeer, { token, size }: MtuProbe, now: Instant): void {
    const packet = writeControlPacket({ kind: 'mtu-probe-answer', token, size });
    this.#deps.link.sendPacket(client.peer, packet, 0, now);
  }

  #answer(
    client: ClientPeer,
    { resource, domain, isLegacy = false }: About,
    status: 'active' | 'inactive',
    now: Instant,
  ): void {
    if (isLegacy) {
      const fields = { client: client.id, resource, domain, status };
      this.#deps.events.push({ kind: 'legacy-domain-set-up', ...fields });
      return;
    }
    const packet = writeControlPacket({ kind: 'domain-status', resource, domain, status });
    // A name that nobody could look up may be too long to be said again.
    const isSent =
      packet.length <= MAX_PACKET_LENGTH &&
      wasTaken(this.#deps.link.sendPacket(client.peer, packet, 0, now));
    if (!isSent) this.#deps.counts.add('answers-not-sent');
  }
}
