// Hot path. One client on the gateway: what it may send and receive, packet by packet (data-plane 3.3 and 4.2, in the order given
// there), with the NAT of its DNS resources. The client's identity is the tunnel a packet came from, never an address in it.

import { type IpAddress, type IpFamily, writeAddressWords } from '../../base/address.ts';
import { at } from '../../base/bytes.ts';
import { type ClientId, type PeerId, peerId } from '../../base/ids.ts';
import type { Instant } from '../../base/time.ts';
import { NAT, NatTable } from '../../proto/nat/nat-table.ts';
import { GATEWAY_DNS_PORT, isProxyWords, isTunnelWords } from '../../wire/control/address-plan.ts';
import {
  setDestination,
  setDestinationPort,
  setSource,
  setSourcePort,
} from '../../wire/ip/edit.ts';
import { EmbeddedPacket, isIcmpError, parseEmbeddedPacket } from '../../wire/ip/icmp-error.ts';
import {
  DESTINATION_WORDS,
  type ParsedPacket,
  SOURCE_WORDS,
  TRANSPORT,
} from '../../wire/ip/parsed-packet.ts';
import { Authorizations, type PolicyAnswer } from './authorizations.ts';
import type { Decision } from './decisions.ts';
import type { GatewayWide } from './gateway-wide.ts';
import { isAddressOf } from './own-address.ts';
import { TokenBucket } from './token-bucket.ts';
import { TrafficCounters } from './traffic-counters.ts';
import { writeTranslatedError } from './translated-error.ts';
import { Translations } from './translations.ts';

// Implementation
/** ICMP errors for one client: enough for every flow of a busy client to learn of its refusal, too few to keep a core busy. */
const ICMP_ERRORS_PER_SECOND = 100;
const ICMP_ERROR_BURST = 200;
/** Wishes for domains: a client that connects announces all it knows at once, then one for each name it looks up. */
const DOMAIN_WISHES_PER_SECOND = 100;
const DOMAIN_WISH_BURST = 2_000;

const ANSWERS: readonly PolicyAnswer[] = [
  'allowed',
  'no-resource',
  'filtered',
  'internet-rejected',
];

/** An address where it stands, reused. */
interface AddressKey {
  family: IpFamily;
  words: Int32Array;
  index: number;
}

export interface ClientAddresses {
  readonly ipv4: IpAddress;
  readonly ipv6: IpAddress;
}

export class ClientPeer {
  readonly id: ClientId;
  readonly peer: PeerId;
  readonly addresses: ClientAddresses;
  readonly translations: Translations;
  readonly nat: NatTable;
  readonly authorizations: Authorizations;
  readonly icmpErrors: TokenBucket;
  readonly domainWishes: TokenBucket;
  /** Bytes and super-packets that passed. */
  readonly traffic: TrafficCounters = new TrafficCounters();
  readonly #wide: GatewayWide;
  /** The client's tunnel IPv4 (0-3) and IPv6 (4-7). */
  readonly #own = new Int32Array(8);
  readonly #embedded = new EmbeddedPacket();
  readonly #key: AddressKey = { family: 4, words: new Int32Array(0), index: 0 };
  readonly #flow = { transport: 0, port: 0 };
  #epoch: number;

  constructor(id: ClientId, addresses: ClientAddresses, wide: GatewayWide, now: Instant) {
    this.id = id;
    this.peer = peerId(id);
    this.addresses = addresses;
    this.#wide = wide;
    this.translations = new Translations(wide.nextSeed());
    this.nat = new NatTable(wide.nextSeed());
    this.authorizations = new Authorizations(this.translations);
    this.domainWishes = new TokenBucket(DOMAIN_WISHES_PER_SECOND, DOMAIN_WISH_BURST, now);
    this.icmpErrors = new TokenBucket(ICMP_ERRORS_PER_SECOND, ICMP_ERROR_BURST, now);
    this.#epoch = wide.flows.nextEpoch();
    writeAddressWords(addresses.ipv4, this.#own, 0);
    writeAddressWords(addresses.ipv6, this.#own, 4);
  }

  /** To be called after every change of authorizations or translations. */
  notePolicyChanged(): void {
    this.#epoch = this.#wide.flows.nextEpoch();
  }

  /** Data-plane 3.3 from step 5 on; a packet that is forwarded has been translated in place. */
  decideToResource(view: DataView, packet: ParsedPacket, now: Instant): Decision {
    const { addresses } = packet;
    if (isIcmpError(packet) && parseEmbeddedPacket(view, packet, this.#embedded))
      return 'icmp-error-of-client';
    if (!this.#isOwn(packet, SOURCE_WORDS)) return 'source-not-allowed';
    if (this.#wide.isOwn(packet, DESTINATION_WORDS)) {
      return isOwnService(packet) ? 'forward' : 'own-address';
    }
    if (isTunnelWords(addresses, DESTINATION_WORDS)) return 'other-peer';
    const answer = this.#classify(packet, DESTINATION_WORDS, packet.destinationPort);
    if (answer !== 'allowed') return answer;
    if (isProxyWords(addresses, DESTINATION_WORDS)) return this.#translate(view, packet, now);
    if (this.translations.isReal(addresses, DESTINATION_WORDS)) this.#reserve(view, packet, now);
    else this.nat.noteUntranslated(packet);
    return 'forward';
  }

  /**
   * Data-plane 4.2 from step 5 on. `forward`: send the packet, translated in place. A packet of bytes: send that instead, an ICMP
   * error about a translated flow.
   */
  decideToClient(
    slab: Uint8Array,
    view: DataView,
    packet: ParsedPacket,
    now: Instant,
  ): Decision | Uint8Array {
    if (this.#wide.isOwn(packet, SOURCE_WORDS)) return 'forward';
    if (packet.transport === TRANSPORT.icmp) return this.#decideError(slab, view, packet, now);
    const session = this.nat.findToClient(packet, now);
    if (session === NAT.unsupported) return 'unsupported-protocol';
    if (session === NAT.expired) return 'expired-session';
    if (session >= 0) {
      setSource(view, packet, this.nat.rows, this.nat.insideOf(session));
      setDestinationPort(view, packet, this.nat.insidePortOf(session));
    }
    if (!this.#isOwn(packet, DESTINATION_WORDS)) return 'destination-not-client';
    if (isTunnelWords(packet.addresses, SOURCE_WORDS)) return 'source-is-peer';
    const answer = this.#classify(packet, SOURCE_WORDS, packet.sourcePort);
    return answer === 'allowed' ? 'forward' : 'not-allowed';
  }

  /** Steps 11 to 16: to the real address the session has, or the proxy address stands for now. */
  #translate(view: DataView, packet: ParsedPacket, now: Instant): Decision {
    let session = this.nat.findToResource(packet, now);
    if (session < 0) {
      // A live session goes on although its domain has no address any more (data-plane 17.18).
      const translation = this.translations.find(packet.addresses, DESTINATION_WORDS);
      if (!translation) return 'no-translation';
      if (translation.real === undefined) return 'no-address';
      if (session === NAT.unsupported) return 'unsupported-protocol';
      session = this.nat.allocate(packet, translation.realWords, 0, now);
      if (session < 0) return 'nat-exhausted';
    }
    setDestination(view, packet, this.nat.rows, this.nat.outsideOf(session));
    setSourcePort(view, packet, this.nat.outsidePortOf(session));
    return 'forward';
  }

  /**
   * A flow to an address that is also a domain's: it gets a session of its own, so that its replies and those of translated flows
   * are kept apart even with equal ports or echo identifiers (data-plane 17.11). As a rule the session changes nothing.
   */
  #reserve(view: DataView, packet: ParsedPacket, now: Instant): void {
    const { nat } = this;
    let session = nat.findToResource(packet, now);
    if (session === NAT.unknown) {
      session = nat.allocate(packet, packet.addresses, DESTINATION_WORDS, now);
    }
    if (session >= 0 && nat.outsidePortOf(session) !== packet.sourcePort) {
      setSourcePort(view, packet, nat.outsidePortOf(session));
    }
  }

  /** Steps 6, 7, 10 to 12: errors need no resource; those about a translated flow are translated (data-plane 10). */
  #decideError(
    slab: Uint8Array,
    view: DataView,
    packet: ParsedPacket,
    now: Instant,
  ): Decision | Uint8Array {
    const about = this.#embedded;
    if (!parseEmbeddedPacket(view, packet, about)) return 'unsupported-icmp';
    const session = this.nat.findOfError(about, now);
    if (session === NAT.expired) return 'expired-session';
    if (session >= 0 && !this.nat.isIdentity(session)) {
      const client = packet.version === 4 ? this.addresses.ipv4 : this.addresses.ipv6;
      return writeTranslatedError(slab, packet, about, { nat: this.nat, session, client });
    }
    if (!this.#isOwn(packet, DESTINATION_WORDS)) return 'destination-not-client';
    return isTunnelWords(packet.addresses, SOURCE_WORDS) ? 'source-is-peer' : 'forward';
  }

  #classify(packet: ParsedPacket, index: 0 | 4, port: number): PolicyAnswer {
    const { addresses, transport } = packet;
    const hasPorts = transport === TRANSPORT.tcp || transport === TRANSPORT.udp;
    const flow = (packet.version << 20) | (transport << 16) | (hasPorts ? port : 0);
    const { flows } = this.#wide;
    const known = flows.find(this.#epoch, flow, addresses, index);
    if (known >= 0) return at(ANSWERS, known);
    const key = this.#key;
    key.family = packet.version === 4 ? 4 : 6;
    key.words = addresses;
    key.index = index;
    this.#flow.transport = transport;
    this.#flow.port = port;
    const answer = this.authorizations.classify(key, this.#flow, this.#wide.rejectList);
    flows.remember(ANSWERS.indexOf(answer));
    return answer;
  }

  #isOwn(packet: ParsedPacket, index: 0 | 4): boolean {
    return isAddressOf(this.#own, packet, index);
  }
}

/** What the gateway's own address is for: echo and DNS (data-plane 17.5). */
function isOwnService(packet: ParsedPacket): boolean {
  switch (packet.transport) {
    case TRANSPORT.echo:
      return true;
    case TRANSPORT.tcp:
    case TRANSPORT.udp:
      return packet.destinationPort === GATEWAY_DNS_PORT;
    default:
      return false;
  }
}
