// A gateway as a running program: the real role, the resolver of its host, and the network of its site behind the TUN device. Mirrors
// `app/gateway-process.ts`.

import type { IpAddress } from '../../../src/base/address.ts';
import { type ReceiveBatch, TUN_PACKET, type TunBatch } from '../../../src/base/batch.ts';
import { at } from '../../../src/base/bytes.ts';
import type { Instant } from '../../../src/base/time.ts';
import { type ChannelEvent, PhoenixChannel } from '../../../src/proto/phoenix/channel.ts';
import { gatewayLoginUrl } from '../../../src/proto/phoenix/login-url.ts';
import type { GatewayEvent } from '../../../src/roles/gateway/events.ts';
import { Gateway } from '../../../src/roles/gateway/gateway.ts';
import type { GatewaySnapshot } from '../../../src/roles/gateway/snapshot.ts';
import { GATEWAY_DNS_PORT } from '../../../src/wire/control/address-plan.ts';
import { writeUdpPacket } from '../../../src/wire/ip/write-packet.ts';
import { GATEWAY_INBOUND, GATEWAY_OUTBOUND } from '../../../src/wire/portal/gateway-messages.ts';
import type { Context } from '../context.ts';
import { GatewayVerdicts } from '../judges/gateway-verdicts.ts';
import type { Host } from '../network/host.ts';
import { factsOf, markOf, type PacketFacts } from '../traffic/mark.ts';
import type { GatewayPlan } from '../world-plan.ts';
import type { GatewayView } from '../world-view.ts';
import type { NameServers } from './name-servers.ts';
import { PortalLink } from './portal-link.ts';
import type { PortalService } from './portal-service.ts';
import { answerTo, type SiteNetwork } from './site-network.ts';
import { type Instance, TunnelProgram } from './tunnel-program.ts';

// Implementation
const PARTITION_BUDGET_MS = 24 * 3_600_000;
const SUPERVISOR_MS = 5_000;
const UDP = 17;

export interface Surroundings {
  readonly portal: PortalService;
  readonly names: NameServers;
}

export class GatewayProgram extends TunnelProgram<Gateway> implements GatewayView {
  readonly kind = 'gateway';
  readonly site: string;
  id: string | undefined;
  readonly #plan: GatewayPlan;
  readonly #names: NameServers;
  readonly #network: SiteNetwork;
  readonly #cache = new Map<string, { readonly addresses: readonly IpAddress[]; until: Instant }>();
  #own: readonly string[] = [];
  #verdicts: GatewayVerdicts | undefined;
  #seenDrops: Readonly<Record<string, number>> = {};

  constructor(
    context: Context,
    { portal, names }: Surroundings,
    host: Host,
    plan: GatewayPlan,
    network: SiteNetwork,
  ) {
    super(context, portal, host);
    this.#plan = plan;
    this.site = plan.site;
    this.#names = names;
    this.#network = network;
  }

  get totals(): GatewayVerdicts['totals'] | undefined {
    return this.instance && this.#verdicts?.totals;
  }

  snapshot(): GatewaySnapshot | undefined {
    return this.instance?.role.snapshot();
  }

  /** The addresses of its host changed; it keeps its key and its connections. */
  handleAddressesChanged(): void {
    this.turn((now) => this.announceAddresses(now));
  }

  protected createInstance(seedName: string, now: Instant): Instance<Gateway> {
    const { crypto, aead, wallClock, random, node } = this.createParts(seedName, now);
    const { log } = this.context;
    const role = new Gateway({ link: node, crypto, wallClock, log }, now);
    const login = gatewayLoginUrl(
      { apiUrl: 'ws://portal.test/', firezoneId: this.name, name: this.name },
      crypto,
    );
    if (login.kind === 'invalid') throw new Error(login.problem);
    const channel = new PhoenixChannel(
      {
        loginUrl: login.url,
        token: this.#plan.token,
        userAgent: 'Debian/12.0.0 gateway/1.6.0 (x86_64)',
        joinPayload: null,
        partitionBudgetMs: PARTITION_BUDGET_MS,
      },
      { random, wallClock, log },
    );
    const { host, portal } = this;
    this.#seenDrops = {};
    this.#cache.clear();
    this.#verdicts = new GatewayVerdicts({ role, node }, now, host.wallNow, (rule, found) => {
      this.context.fault(rule, 'what the model of the gateway says', `${this.name}: ${found}`);
    });
    const onEvent = (event: ChannelEvent): void => this.#onPortal(role, event);
    const onWake = (): void => this.turn(() => {});
    const link = new PortalLink({ host, portal, channel, onEvent, onWake });
    return { role, node, aead, link };
  }

  protected sayGoodbye({ role, node }: Instance<Gateway>, now: Instant): void {
    role.shutDown(now);
    node.releaseRelays(now);
  }

  protected drainEvents({ role, link }: Instance<Gateway>): void {
    const { watchers, scheduler } = this.context;
    for (let event = role.pollEvent(); event; event = role.pollEvent()) {
      watchers.actorEvent({ at: scheduler.now, actor: this.name, role: 'gateway', event });
      if (event.kind === 'send-to-portal') {
        const { event: name, payload } = GATEWAY_OUTBOUND.write(event.message);
        this.#verdicts?.model.said(name, payload);
        link.send(name, payload);
      } else if (event.kind === 'resolve') this.#resolve(role, event);
      else if (event.kind === 'configure-interface') {
        this.#own = [event.addresses.ipv4, event.addresses.ipv6];
      }
    }
    this.#reportDrops(role);
  }

  protected override decideSuperPackets(
    instance: Instance<Gateway>,
    batch: ReceiveBatch,
    now: Instant,
  ): void {
    this.#verdicts?.superPackets(batch, now, (packet) => this.handleTunPacket(packet));
    if (!this.#verdicts) super.decideSuperPackets(instance, batch, now);
  }

  protected override decideTunPackets(
    instance: Instance<Gateway>,
    batch: TunBatch,
    now: Instant,
  ): void {
    if (batch.packetCount !== 1 || !this.#verdicts) {
      return super.decideTunPackets(instance, batch, now);
    }
    const start = at(batch.packets, TUN_PACKET.offset);
    const end = start + at(batch.packets, TUN_PACKET.length);
    this.#verdicts.tunPacket(batch, batch.slab.slice(start, end), now);
  }

  protected override noteDrained(
    { node }: Instance<Gateway>,
    forwarded: readonly Uint8Array[],
  ): void {
    const { now } = this.host;
    const arrived = node.release();
    if (arrived) this.#verdicts?.arrived(arrived.peer, arrived.bytes, forwarded, now);
    else this.#verdicts?.settle(now);
  }

  protected handleTunPacket(packet: Uint8Array): void {
    const facts = factsOf(packet);
    if (!facts) return;
    if (this.#own.includes(facts.destination)) return this.#handleOwn(packet, facts);
    const { scheduler, watchers } = this.context;
    const mark = markOf(packet);
    const seen = { gateway: this.name, site: this.site };
    watchers.delivered({ at: scheduler.now, ...seen, packet, exchange: mark?.exchange });
    const answer = this.#network.handle(packet);
    if (!answer) return;
    const { instance } = this;
    scheduler.call(2 * answer.delayMs, () => {
      if (this.instance !== instance) return;
      const exchange = markOf(answer.packet)?.exchange;
      watchers.answered({ at: scheduler.now, ...seen, packet: answer.packet, exchange });
      this.fromTun([{ packet: answer.packet }]);
    });
  }

  /** The stack of its own host: a name server, and echo. */
  #handleOwn(packet: Uint8Array, facts: PacketFacts): void {
    const isDns = facts.protocol === UDP && facts.destinationPort === GATEWAY_DNS_PORT;
    const answer = isDns ? this.#answerDns(packet, facts) : answerTo(packet, facts);
    const { instance } = this;
    if (answer) {
      this.context.scheduler.call(1, () => {
        if (this.instance === instance) this.fromTun([{ packet: answer }]);
      });
    }
  }

  #answerDns(packet: Uint8Array, facts: PacketFacts): Uint8Array | undefined {
    const payload = this.#names.answerQuery(packet.slice(facts.payloadOffset), this.site);
    return (
      payload &&
      writeUdpPacket({
        source: facts.destination as IpAddress,
        destination: facts.source as IpAddress,
        sourcePort: facts.destinationPort,
        destinationPort: facts.sourcePort,
        payload,
      })
    );
  }

  #resolve(role: Gateway, { queryId, domain }: Extract<GatewayEvent, { kind: 'resolve' }>): void {
    const { scheduler } = this.context;
    const cached = this.#cache.get(domain);
    const answer = (result: Parameters<Gateway['handleResolved']>[1]): void => {
      if (this.instance?.role !== role) return;
      this.turn((now) => {
        if (result.kind === 'resolved') {
          this.#verdicts?.model.resolved(domain, result.addresses, now);
        }
        role.handleResolved(queryId, result, now);
      });
    };
    if (cached && cached.until > scheduler.now) {
      const { addresses } = cached;
      return scheduler.call(0, () => answer({ kind: 'resolved', addresses }));
    }
    const { result, delayMs, ttlMs } = this.#names.resolve(domain, this.site);
    if (result.kind === 'resolved' && ttlMs > 0) {
      const until = (scheduler.now + ttlMs) as Instant;
      this.#cache.set(domain, { addresses: result.addresses, until });
    }
    scheduler.call(delayMs, () => answer(result));
  }

  #onPortal(role: Gateway, event: ChannelEvent): void {
    if (role !== this.instance?.role) return;
    const { watchers, scheduler } = this.context;
    switch (event.kind) {
      case 'connected':
        return this.turn((now) => role.handlePortalConnected(now));
      case 'message': {
        const { event: name, payload } = event;
        const told = { at: scheduler.now, actor: this.name, role: 'gateway' } as const;
        watchers.heard({ ...told, event: name, payload });
        const read = GATEWAY_INBOUND.parse(name, payload);
        if (read.kind !== 'message') return;
        return this.turn((now) => {
          role.handleWallClock(this.host.wallNow, now);
          role.handlePortalMessage(read.message, now);
          this.#verdicts?.model.heard(name, payload, now);
        });
      }
      case 'hiccup':
        return this.turn((now) => role.handlePortalDisconnected(now));
      case 'failed':
        scheduler.call(0, () => this.stop('crash'));
        return scheduler.call(SUPERVISOR_MS, () => this.start());
      default:
    }
  }

  /** What its counters say more than before. */
  #reportDrops(role: Gateway): void {
    const { watchers, scheduler } = this.context;
    if (!watchers.wantsDrops) return;
    const { dropsToResource, dropsToClient } = role.snapshot();
    const now: Record<string, number> = {};
    for (const [reason, count] of Object.entries(dropsToResource)) now[`r ${reason}`] = count;
    for (const [reason, count] of Object.entries(dropsToClient)) now[`c ${reason}`] = count;
    for (const [key, count] of Object.entries(now)) {
      const more = count - (this.#seenDrops[key] ?? 0);
      if (more <= 0) continue;
      watchers.dropped({
        at: scheduler.now,
        actor: this.name,
        role: 'gateway',
        direction: key.startsWith('r') ? 'to-resource' : 'to-client',
        reason: key.slice(2),
        count: more,
      });
    }
    this.#seenDrops = now;
  }
}
