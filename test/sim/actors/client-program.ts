// A client as a running program: the real role, the settings of its interface as its host applies them, and the applications that use it. Mirrors
// `app/client-process.ts`.

import { type IpAddress, networkContains } from '../../../src/base/address.ts';
import type { Instant } from '../../../src/base/time.ts';
import { type ChannelEvent, PhoenixChannel } from '../../../src/proto/phoenix/channel.ts';
import { clientLoginUrl } from '../../../src/proto/phoenix/login-url.ts';
import { Client, type InterfaceSettings } from '../../../src/roles/client/client.ts';
import { type DnsMessage, dnsQuery, writeDnsMessage } from '../../../src/wire/dns/message.ts';
import { DNS_CLASS } from '../../../src/wire/dns/records.ts';
import { CLIENT_INBOUND, CLIENT_OUTBOUND } from '../../../src/wire/portal/client-messages.ts';
import type { Context } from '../context.ts';
import type { Host } from '../network/host.ts';
import { markOf } from '../traffic/mark.ts';
import type { ClientPlan } from '../world-plan.ts';
import type { ClientView } from '../world-view.ts';
import { PortalLink } from './portal-link.ts';
import type { PortalService } from './portal-service.ts';
import { type Instance, type TunInput, TunnelProgram } from './tunnel-program.ts';

// Implementation
const PARTITION_BUDGET_MS = 24 * 3_600_000;
const SUPERVISOR_MS = 5_000;
/** How often its process looks for other addresses (`io/host/local-network.ts`). */
const ADDRESS_POLL_MS = 1_000;
/** The name server that its host had before. */
const SYSTEM_RESOLVER = '192.0.2.53' as IpAddress;

export class ClientProgram extends TunnelProgram<Client> implements ClientView {
  readonly kind = 'client';
  readonly plan: ClientPlan;
  id: string | undefined;
  settings: InterfaceSettings | undefined;
  /** A packet came out of the TUN device for an application. */
  onPacket: (packet: Uint8Array) => void = () => {};
  #queryId = 0;

  constructor(context: Context, portal: PortalService, host: Host, plan: ClientPlan) {
    super(context, portal, host);
    this.plan = plan;
  }

  get actor(): string {
    return this.plan.actor;
  }

  get token(): string {
    return this.plan.token;
  }

  get ipv4(): string {
    return this.settings?.ipv4 ?? '';
  }

  get ipv6(): string {
    return this.settings?.ipv6 ?? '';
  }

  snapshot(): Readonly<Record<string, unknown>> | undefined {
    return this.instance?.role.snapshot();
  }

  /** Whether the host's routing gives packets for that address to the TUN device. */
  routes(destination: string): boolean {
    const { settings } = this;
    if (!settings || !this.isRunning) return false;
    if (settings.isInternetActive) return true;
    return settings.networks.some((network) => networkContains(network, destination as IpAddress));
  }

  /** Packets of applications; false if the host does not route them here. */
  send(destination: string, inputs: readonly TunInput[]): boolean {
    if (this.isAsleep || !this.routes(destination)) return false;
    this.fromTun(inputs);
    return true;
  }

  /** Something to the portal, past its role. */
  say(event: string, payload: unknown): void {
    if (this.isAsleep || !this.isConnectedToPortal) return;
    this.instance?.link.send(event, payload);
  }

  /** Asks the stub on the first sentinel. What it forwards is not followed: the caller decides. */
  ask(name: string, type: number): StubAnswer {
    const { instance } = this;
    const [sentinel] = this.settings?.sentinels ?? [];
    if (!instance || !sentinel || this.isAsleep) return { kind: 'unavailable' };
    this.#queryId = (this.#queryId + 1) & 0xffff;
    const bytes = writeDnsMessage(
      dnsQuery(this.#queryId, { name, type, class: DNS_CLASS.internet }),
    );
    if (!bytes) return { kind: 'unavailable' };
    let outcome: StubAnswer = { kind: 'unavailable' };
    this.turn((now) => {
      const decision = instance.role.handleDnsQuery(bytes, sentinel.address, now);
      switch (decision.kind) {
        case 'answer':
          outcome = { kind: 'answered', response: decision.response };
          break;
        case 'forward': {
          const { address, port } = decision.upstream;
          outcome = { kind: 'forwarded', query: bytes, upstream: address, port };
          break;
        }
        case 'drop':
          outcome = { kind: 'dropped', reason: decision.reason };
      }
    });
    return outcome;
  }

  /** Its host has other addresses: the process notices at its next look. */
  handleNetworkChanged(): void {
    const { instance } = this;
    this.context.scheduler.call(ADDRESS_POLL_MS, () => {
      if (!instance || this.instance !== instance) return;
      this.turn((now) => {
        instance.role.reset(now);
        this.host.closeAll();
        this.openSockets();
        this.announceAddresses(now);
        instance.link.connect({ publicKey: instance.role.publicKey });
      });
    });
  }

  protected createInstance(seedName: string, now: Instant): Instance<Client> {
    const { crypto, aead, wallClock, random, node } = this.createParts(seedName, now);
    const { log } = this.context;
    const { activatesInternetResource, token } = this.plan;
    const role = new Client({ link: node, log, activatesInternetResource });
    role.setSystemResolvers([SYSTEM_RESOLVER]);
    const login = clientLoginUrl(
      { apiUrl: 'ws://portal.test/', firezoneId: this.name, name: this.name },
      crypto,
    );
    if (login.kind === 'invalid') throw new Error(login.problem);
    const channel = new PhoenixChannel(
      {
        loginUrl: login.url,
        token,
        userAgent: 'Debian/12.0.0 headless-client/1.5.11 (x86_64)',
        joinPayload: null,
        partitionBudgetMs: PARTITION_BUDGET_MS,
      },
      { random, wallClock, log },
    );
    const { host, portal } = this;
    this.settings = undefined;
    const onEvent = (event: ChannelEvent): void => this.#onPortal(role, event);
    const onWake = (): void => this.turn(() => {});
    const link = new PortalLink({ host, portal, channel, onEvent, onWake });
    return { role, node, aead, link };
  }

  protected sayGoodbye({ role }: Instance<Client>, now: Instant): void {
    role.shutdown(now);
  }

  protected drainEvents({ role, link }: Instance<Client>): void {
    const { watchers, scheduler } = this.context;
    for (let event = role.pollEvent(); event; event = role.pollEvent()) {
      watchers.actorEvent({ at: scheduler.now, actor: this.name, role: 'client', event });
      if (event.kind === 'send-to-portal') {
        const { event: name, payload } = CLIENT_OUTBOUND.write(event.message);
        link.send(name, payload);
      } else if (event.kind === 'interface-changed') this.settings = event.settings;
    }
  }

  protected handleTunPacket(packet: Uint8Array): void {
    const { watchers, scheduler } = this.context;
    const exchange = markOf(packet)?.exchange;
    watchers.received({ at: scheduler.now, client: this.name, packet, exchange });
    this.onPacket(packet);
  }

  #onPortal(role: Client, event: ChannelEvent): void {
    if (role !== this.instance?.role) return;
    const { watchers, scheduler } = this.context;
    switch (event.kind) {
      case 'connected':
        return this.turn((now) => role.handlePortalConnected(now));
      case 'message': {
        const { event: name, payload } = event;
        const told = { at: scheduler.now, actor: this.name, role: 'client' } as const;
        watchers.heard({ ...told, event: name, payload });
        const read = CLIENT_INBOUND.parse(name, payload);
        if (read.kind !== 'message') return;
        return this.turn((now) => role.handlePortalMessage(read.message, now));
      }
      case 'hiccup':
        return this.turn(() => role.handlePortalDisconnected());
      case 'failed':
        scheduler.call(0, () => this.stop('crash'));
        return scheduler.call(SUPERVISOR_MS, () => this.start());
      default:
    }
  }
}

export type StubAnswer =
  | { readonly kind: 'answered'; readonly response: DnsMessage }
  | {
      readonly kind: 'forwarded';
      readonly query: Uint8Array;
      readonly upstream: string;
      readonly port: number;
    }
  | { readonly kind: 'dropped'; readonly reason: string }
  | { readonly kind: 'unavailable' };
