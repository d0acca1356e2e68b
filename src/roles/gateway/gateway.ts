// The gateway as one pure machine (data-plane 2 to 9, portal-protocol 7, generation `create_authorization`): the owner of the link,
// the clients and what they may reach. It routes inputs to the parts that compute and collects what they have to say; sockets,
// the TUN device and the portal's WebSocket are the loop's and the app's.
//
//   portal messages -> Access (who may reach what), link (connections, relays)
//   UDP runs -> link -> Traffic -> PacketPolicy -> TUN          TUN packets -> Traffic -> PacketPolicy -> link
//   control packets -> ControlPackets -> DomainSetups -> `resolve` -> handleResolved -> NAT
//
// What the portal should hear is offered as `send-to-portal` events; the answer to an authorization always comes before its first
// candidates (connectivity 4.3). While the portal is away, candidates are held back.

import type { Endpoint, IpNetwork } from '../../base/address.ts';
import type { ReceiveBatch, TunBatch } from '../../base/batch.ts';
import { Counters } from '../../base/counters.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import type { InvariantError } from '../../base/errors.ts';
import { type ClientId, clientId, peerId } from '../../base/ids.ts';
import type { Log } from '../../base/log.ts';
import { earliest, type Instant, type UnixMillis, type WallClock } from '../../base/time.ts';
import type { Transmit } from '../../base/transmit.ts';
import { CandidateOutbox } from '../../link/candidate-outbox.ts';
import type { NodeEvent } from '../../link/node-types.ts';
import type { Path } from '../../link/outbound/path.ts';
import type { CandidateEvent } from '../../link/outbound/signalling.ts';
import type { IceCredentials } from '../../proto/ice/binding-messages.ts';
import type { StreamCommand, StreamEvent } from '../../proto/turn/stream-dialer.ts';
import { writeControlPacket } from '../../wire/control/p2p-control.ts';
import { mergeRelays, type IceCredentials as PortalCredentials } from '../../wire/portal/common.ts';
import type {
  CreateAuthorization,
  GatewayInbound,
  GatewayInit,
} from '../../wire/portal/gateway-messages.ts';
import type { TunnelRole } from '../tunnel-role.ts';
import { Access } from './access.ts';
import { ControlPackets, type LegacyDomain } from './control-packets.ts';
import type { GatewayCount } from './decisions.ts';
import { DomainSetups } from './domain-setups.ts';
import type { GatewayEvent, ResolveResult } from './events.ts';
import { FlowTracker } from './flows/flow-tracker.ts';
import { GatewayWide } from './gateway-wide.ts';
import type { GatewayLink } from './link.ts';
import type { PacketSettings } from './packet-settings.ts';
import { RelayRequest } from './relay-request.ts';
import { type GatewaySnapshot, snapshotOf } from './snapshot.ts';
import { Traffic } from './traffic.ts';

export interface GatewayDeps {
  /** Ours alone from here on. */
  readonly link: GatewayLink;
  readonly crypto: CryptoProvider;
  readonly wallClock: WallClock;
  readonly log: Log;
  /** Special networks that names and Internet resources may lead to at this site all the same. */
  readonly specialNetworks?: readonly IpNetwork[];
  readonly packets?: Partial<PacketSettings>;
  /** Whether connections without ICE are offered to the portal; yes if absent (iceless 2). */
  readonly iceless?: boolean;
}

export class Gateway implements TunnelRole {
  readonly counts: Counters<GatewayCount> = new Counters();
  readonly #link: GatewayLink;
  readonly #log: Log;
  readonly #iceless: boolean;
  readonly #wide: GatewayWide;
  readonly #setups = new DomainSetups();
  readonly #access: Access;
  readonly #tracker: FlowTracker;
  readonly #control: ControlPackets;
  readonly #traffic: Traffic;
  readonly #candidates = new CandidateOutbox();
  readonly #relayRequest = new RelayRequest();
  readonly #paths = new Map<ClientId, Path>();
  readonly #events: GatewayEvent[] = [];
  #isShutDown = false;

  constructor(deps: GatewayDeps, now: Instant) {
    const { link, log, wallClock } = deps;
    const events = this.#events;
    const setups = this.#setups;
    this.#link = link;
    this.#log = log;
    this.#iceless = deps.iceless ?? true;
    const wide = new GatewayWide(deps.crypto, deps.specialNetworks, deps.packets);
    this.#wide = wide;
    const { counts } = this;
    const nextSeed = (): number => wide.nextSeed();
    const noteFull = (): void => counts.add('flows-not-tracked');
    this.#tracker = new FlowTracker({ events, nextSeed, noteFull }, now);
    const tracker = this.#tracker;
    this.#access = new Access({ wide, link, setups, tracker, wallClock, log, events }, now);
    const access = this.#access;
    this.#control = new ControlPackets({ wide, access, link, setups, counts, log, events });
    const { clients } = access;
    const control = this.#control;
    this.#traffic = new Traffic({ link, clients, control, mtus: wide.mtus, counts });
  }

  handleRuns(batch: ReceiveBatch, now: Instant): void {
    this.#link.handleRuns(batch, now);
    this.#drainLink(now);
  }

  handleOpened(batch: ReceiveBatch, now: Instant): void {
    this.#link.handleOpened(batch, now);
    this.#drainLink(now);
  }

  handleSuperPackets(batch: ReceiveBatch, now: Instant): void {
    this.#traffic.handleSuperPackets(batch, now);
    this.#traffic.takeServed();
    this.#drainLink(now);
  }

  handleTunPackets(batch: TunBatch, now: Instant): void {
    this.#traffic.handleTunPackets(batch, now);
    this.#traffic.takeServed();
    this.#drainLink(now);
  }

  handleTimeout(now: Instant): void {
    this.#link.handleTimeout(now);
    this.#access.handleTimeout(now);
    this.#control.handleTimeout(now);
    this.#tracker.handleTimeout(now);
    this.#traffic.handleTimeout(now);
    this.#wide.mtus.handleTimeout(now);
    if (this.#relayRequest.handleTimeout(now)) this.#send({ event: 'no_relays', payload: {} });
    this.#drainLink(now);
  }

  /** The joined channel is there (portal-protocol 7.1). */
  handlePortalConnected(_now: Instant): void {
    this.#send({ event: 'set_snownet_capabilities', payload: { iceless: this.#iceless } });
    for (const event of this.#candidates.connect()) this.#signal(event);
  }

  /** Everything goes on without the portal; what it should hear about candidates waits. */
  handlePortalDisconnected(_now: Instant): void {
    this.#candidates.disconnect();
  }

  handlePortalMessage(message: GatewayInbound, now: Instant): void {
    // portal-protocol 7.16: messages during shutdown are ignored.
    if (this.#isShutDown) return;
    switch (message.event) {
      case 'init':
        this.#handleInit(message.payload, now);
        break;
      case 'create_authorization':
        this.#handleCreateAuthorization(message.payload, now);
        break;
      case 'reject_access':
        this.#access.revoke(message.payload.clientId, message.payload.resourceId, 'rejected', now);
        break;
      case 'access_authorization_expiry_updated':
        this.#access.updateExpiry(message.payload);
        break;
      case 'resource_updated':
        this.#access.updateResource(message.payload);
        break;
      case 'relays_presence':
        if (message.payload.connected.length > 0) this.#relayRequest.satisfy();
        this.#link.updateRelays(
          message.payload.disconnectedIds,
          mergeRelays(message.payload.connected),
          now,
        );
        break;
      case 'ice_candidates':
        for (const candidate of message.payload.candidates) {
          this.#link.addRemoteCandidate(peerId(message.payload.clientId), candidate, now);
        }
        break;
      case 'invalidate_ice_candidates':
        for (const candidate of message.payload.candidates) {
          this.#link.removeRemoteCandidate(peerId(message.payload.clientId), candidate, now);
        }
        break;
    }
    this.#drainLink(now);
  }

  /**
   * What the messages of the earliest generation say (data-plane 9.5): an authorization, and with it perhaps a domain, whose proxy
   * addresses of a family that it lacks are translated to the other one. What became of the domain is a `legacy-domain-set-up`
   * event; nothing is sent to portal or client. False without a relay to connect the client with.
   */
  handleLegacyAuthorization(
    message: CreateAuthorization,
    domain: LegacyDomain | undefined,
    now: Instant,
  ): boolean {
    if (this.#isShutDown) return false;
    const isAllowed = this.#authorize(message, now);
    const client = this.#access.clients.get(message.client.id);
    if (isAllowed && client && domain) this.#control.handleLegacyDomain(client, domain, now);
    this.#drainLink(now);
    return isAllowed;
  }

  /** The answer to a `resolve` event. */
  handleResolved(queryId: number, result: ResolveResult, now: Instant): void {
    this.#control.handleResolved(queryId, result, now);
    this.#drainLink(now);
  }

  /** A bug showed while packets were handled: the client that was served is dropped, the others go on. */
  handleFault(error: InvariantError, now: Instant): boolean {
    const client = this.#traffic.takeServed();
    if (!client) return false;
    this.#log.error('an invariant broke while a client was served', {
      client: client.id,
      message: error.message,
    });
    this.#access.handleFault(client, now);
    this.#drainLink(now);
    return true;
  }

  /** The wall clock shows this now; grants of the portal are times of it. To be called before each of its messages. */
  handleWallClock(unixNow: UnixMillis, now: Instant): void {
    this.#access.handleWallClock(unixNow, now);
  }

  /**
   * Whether flows are wanted as events (operations 4.1 step 2). Off: no new ones; those that are open still end, and every
   * packet counts for them.
   */
  trackFlows(isWanted: boolean): void {
    this.#tracker.setRecording(isWanted);
    if (isWanted) this.#access.openFlows();
  }

  /** Addresses of the host: candidates of our own, and out of reach for Internet resources. */
  setLocalAddresses(addresses: readonly Endpoint[], now: Instant): void {
    this.#wide.setHostAddresses(addresses.map(({ address }) => address));
    this.#access.renewPolicies();
    this.#link.setLocalAddresses(addresses, now);
    this.#drainLink(now);
  }

  /** The host's way to the network is another one, or it slept. */
  handleNetworkChange(now: Instant): void {
    this.#link.handleNetworkChange(now);
    this.#drainLink(now);
  }

  /** Forgets all clients and says goodbye to them; then only `pollTransmit` has something to say. */
  shutDown(now: Instant): void {
    this.#isShutDown = true;
    this.#access.shutDown(now);
    this.#link.closeAll(writeControlPacket({ kind: 'goodbye' }), now);
    this.#link.releaseRelays(now);
    this.#drainLink(now);
  }

  pollTransmit(): Transmit | undefined {
    return this.#link.pollTransmit();
  }

  handleStream(event: StreamEvent, now: Instant): void {
    this.#link.handleStream(event, now);
    this.#drainLink(now);
  }

  pollStreamCommand(): StreamCommand | undefined {
    return this.#link.pollStreamCommand();
  }

  pollTunPacket(): Uint8Array | undefined {
    return this.#traffic.exits.pollTunPacket();
  }

  pollEvent(): GatewayEvent | undefined {
    const event = this.#events.shift();
    if (event) return event;
    const query = this.#setups.pollQuery();
    return query && { kind: 'resolve', ...query };
  }

  pollTimeout(): Instant | undefined {
    return earliest(
      this.#link.pollTimeout(),
      this.#access.pollTimeout(),
      this.#tracker.pollTimeout(),
      this.#wide.mtus.pollTimeout(),
      this.#setups.pollTimeout(),
      this.#relayRequest.pollTimeout(),
    );
  }

  snapshot(): GatewaySnapshot {
    return snapshotOf({
      wide: this.#wide,
      clients: this.#access.clients,
      setups: this.#setups,
      traffic: this.#traffic,
      counts: this.counts,
      link: this.#link,
      paths: this.#paths,
    });
  }

  /** portal-protocol 7.2, in this order. */
  #handleInit(init: GatewayInit, now: Instant): void {
    this.#events.push({ kind: 'flow-logs-configured', config: init.flowLogs });
    this.#link.updateRelays([], mergeRelays(init.relays), now);
    this.#wide.setRelayAddresses(init.relays.map(({ addr }) => addr.address));
    this.#access.renewPolicies();
    const { ipv4, ipv6 } = init.interface;
    this.#wide.setAddresses({ ipv4, ipv6 });
    this.#access.retain(init.authorizations, now);
    this.#events.push({ kind: 'configure-interface', addresses: { ipv4, ipv6 } });
  }

  /** portal-protocol 7.5: connection, authorization, answer, and only then candidates. */
  #handleCreateAuthorization(message: CreateAuthorization, now: Instant): void {
    if (!this.#authorize(message, now)) return;
    this.#send({ event: 'authorization_created', payload: { ref: message.ref } });
  }

  /** False without a relay to connect the client with. */
  #authorize(message: CreateAuthorization, now: Instant): boolean {
    const { client } = message;
    const outcome = this.#link.upsertConnection(
      {
        id: peerId(client.id),
        remotePublicKey: client.publicKey,
        presharedKey: client.presharedKey,
        localCredentials: iceCredentials(message.gatewayIceCredentials),
        remoteCredentials: iceCredentials(message.clientIceCredentials),
        useIceless: message.useIceless,
      },
      now,
    );
    if (outcome === 'no-relays') {
      this.counts.add('authorizations-without-relay');
      this.#log.warn('no relay to connect a client with', { client: client.id });
      this.#askForRelays(now);
      return false;
    }
    if (outcome !== 'reused') this.#paths.delete(client.id);
    this.#access.allow(message, now);
    return true;
  }

  #drainLink(now: Instant): void {
    for (let packet = this.#link.pollPacket(); packet; packet = this.#link.pollPacket()) {
      this.#traffic.handlePacket(packet.peer, packet.bytes, packet.ecn, now);
    }
    for (let event = this.#link.pollEvent(); event; event = this.#link.pollEvent()) {
      this.#handleLinkEvent(event, now);
    }
    const { mtus } = this.#wide;
    for (let probe = mtus.pollProbe(); probe; probe = mtus.pollProbe()) {
      const packet = writeControlPacket({ kind: 'mtu-probe', ...probe });
      this.#link.sendPacket(probe.peer, packet, 0, now);
    }
  }

  /** A client keeps what it may reach while its connection comes and goes (data-plane 2.3). */
  #handleLinkEvent(event: NodeEvent, now: Instant): void {
    switch (event.kind) {
      case 'candidates-added':
      case 'candidates-removed': {
        const passed = this.#candidates.handle(event);
        if (passed) this.#signal(passed);
        break;
      }
      case 'connection-established':
        this.#events.push({ kind: 'client-connected', client: clientId(event.peer) });
        break;
      case 'connection-failed':
      case 'connection-closed': {
        const reason = event.kind === 'connection-failed' ? event.reason : 'closed';
        const client = clientId(event.peer);
        this.#candidates.forget(event.peer);
        this.#wide.mtus.forget(event.peer);
        this.#paths.delete(client);
        this.#events.push({ kind: 'client-disconnected', client, reason });
        break;
      }
      case 'path-changed': {
        const client = clientId(event.peer);
        this.#paths.set(client, event.path);
        this.#wide.mtus.handlePath(event.peer, now);
        this.#events.push({ kind: 'path-changed', client, path: event.path });
        break;
      }
      case 'no-relays':
        this.#askForRelays(now);
        break;
    }
  }

  #askForRelays(now: Instant): void {
    if (this.#relayRequest.want(now)) this.#send({ event: 'no_relays', payload: {} });
  }

  #signal(event: CandidateEvent): void {
    const payload = { clientIds: [clientId(event.peer)], candidates: event.candidates };
    this.#send(
      event.kind === 'candidates-added'
        ? { event: 'broadcast_ice_candidates', payload }
        : { event: 'broadcast_invalidated_ice_candidates', payload },
    );
  }

  #send(message: Extract<GatewayEvent, { kind: 'send-to-portal' }>['message']): void {
    this.#events.push({ kind: 'send-to-portal', message });
  }
}

function iceCredentials({ username, password }: PortalCredentials): IceCredentials {
  return { ufrag: username, password };
}
