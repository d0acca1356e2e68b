// One client on the gateway: who it is, what it may reach, its connections, and its limits. Its identity is the tunnel a packet came from,
// never an address in it. What decides about its packets is `packet-policy.ts`.

import { type IpAddress, writeAddressWords } from '../../base/address.ts';
import { type ClientId, type PeerId, peerId } from '../../base/ids.ts';
import type { Instant } from '../../base/time.ts';
import { NatTable } from '../../proto/nat/nat-table.ts';
import type { ParsedPacket } from '../../wire/ip/parsed-packet.ts';
import { Authorizations } from './authorizations.ts';
import type { ClientFlows, FlowClient, FlowOwner } from './flows/client-flows.ts';
import type { GatewayWide } from './gateway-wide.ts';
import { PacketPolicy } from './packet-policy.ts';
import { PolicyAnswers } from './policy-answers.ts';
import { TokenBucket } from './token-bucket.ts';
import { TrafficCounters } from './traffic-counters.ts';
import { Translations } from './translations.ts';

// Implementation
/** ICMP errors for one client: enough for every flow of a busy client to learn of its refusal, too few to keep a core busy. */
const ICMP_ERRORS_PER_SECOND = 100;
const ICMP_ERROR_BURST = 200;
/** Wishes for domains: a client that connects announces all it knows at once, then one for each name it looks up. */
const DOMAIN_WISHES_PER_SECOND = 100;
const DOMAIN_WISH_BURST = 2_000;

export interface ClientAddresses {
  readonly ipv4: IpAddress;
  readonly ipv6: IpAddress;
}

export class ClientPeer implements FlowClient {
  readonly id: ClientId;
  readonly peer: PeerId;
  readonly addresses: ClientAddresses;
  readonly translations: Translations;
  /** Its connections, translated or not. */
  readonly nat: NatTable;
  readonly authorizations: Authorizations;
  readonly icmpErrors: TokenBucket;
  readonly domainWishes: TokenBucket;
  /** Bytes and super-packets that passed. */
  readonly traffic: TrafficCounters = new TrafficCounters();
  /** What decides about its packets. */
  readonly policy: PacketPolicy;
  /** `undefined`: nobody wants to know. */
  flows: ClientFlows | undefined;
  readonly #answers: PolicyAnswers;

  constructor(id: ClientId, addresses: ClientAddresses, wide: GatewayWide, now: Instant) {
    this.id = id;
    this.peer = peerId(id);
    this.addresses = addresses;
    this.flows = undefined;
    this.translations = new Translations(wide.nextSeed());
    this.nat = new NatTable(wide.nextSeed());
    this.authorizations = new Authorizations(this.translations, wide.nextSeed(), wide.rules);
    this.domainWishes = new TokenBucket(DOMAIN_WISHES_PER_SECOND, DOMAIN_WISH_BURST, now);
    this.icmpErrors = new TokenBucket(ICMP_ERRORS_PER_SECOND, ICMP_ERROR_BURST, now);
    this.#answers = new PolicyAnswers(wide, this.authorizations);
    const own = new Int32Array(8);
    writeAddressWords(addresses.ipv4, own, 0);
    writeAddressWords(addresses.ipv6, own, 4);
    const { peer, nat, translations } = this;
    this.policy = new PacketPolicy({ peer, own, wide, nat, translations, answers: this.#answers });
  }

  get lastSession(): number {
    return this.policy.lastSession;
  }

  /** Who answers for the packets of a session, for the flow tracker. Cold. */
  resourceOf(session: number, packet: ParsedPacket, port: number): FlowOwner | undefined {
    const words = this.nat.rows;
    const index = this.nat.insideOf(session);
    const family = packet.version === 4 ? 4 : 6;
    const { transport } = packet;
    const owner = this.authorizations.findOwner({ family, words, index }, { transport, port });
    const token = owner?.authorization.token;
    if (!owner || !token) return undefined;
    return { resource: owner.id, token, domain: this.translations.find(words, index)?.name };
  }

  /** To be called after every change of authorizations or translations. */
  notePolicyChanged(): void {
    this.#answers.forget();
  }
}
