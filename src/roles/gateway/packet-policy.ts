// Hot path. What decides about each packet of one client: `decideToResource` and `decideToClient`, in the order of data-plane 3.3 and 4.2.
//
// A connection that the policy allowed remembers under which *epoch* of the policy, so that its packets need one look-up, of their
// session; every change of the policy begins a new epoch. Errors are decided in `icmp-errors.ts`, what resources cover in
// `authorizations.ts`, and what becomes of a decision in `traffic.ts`.

import type { PeerId } from '../../base/ids.ts';
import type { Instant } from '../../base/time.ts';
import { isTranslatable, NAT, type NatTable } from '../../proto/nat/nat-table.ts';
import { GATEWAY_DNS_PORT, isProxyWords, isTunnelWords } from '../../wire/control/address-plan.ts';
import {
  setDestination,
  setDestinationPort,
  setSource,
  setSourcePort,
} from '../../wire/ip/edit.ts';
import { isIcmpReplyType } from '../../wire/ip/icmp.ts';
import { isIcmpError } from '../../wire/ip/icmp-error.ts';
import { clampMss } from '../../wire/ip/mss.ts';
import {
  DESTINATION_WORDS,
  type ParsedPacket,
  SOURCE_WORDS,
  TRANSPORT,
} from '../../wire/ip/parsed-packet.ts';
import { TCP_FLAG } from '../../wire/ip/tcp.ts';
import type { Decision } from './decisions.ts';
import type { GatewayWide } from './gateway-wide.ts';
import { IcmpErrors } from './icmp-errors.ts';
import { isAddressOf } from './own-address.ts';
import type { PolicyAnswers } from './policy-answers.ts';
import type { Translations } from './translations.ts';

/** Results that are neither a session nor `NAT`'s. */
const NO_SESSION = -11;
const NO_TRANSLATION = -12;
const NO_ADDRESS = -13;

export interface PacketPolicyDeps {
  readonly peer: PeerId;
  /** The client's tunnel IPv4 (0-3) and IPv6 (4-7). */
  readonly own: Int32Array;
  readonly wide: GatewayWide;
  readonly nat: NatTable;
  readonly translations: Translations;
  readonly answers: PolicyAnswers;
}

export class PacketPolicy {
  /** The session of the packet that was last allowed, -1: none. For whoever counts. */
  lastSession = -1;
  readonly #peer: PeerId;
  readonly #own: Int32Array;
  readonly #wide: GatewayWide;
  readonly #nat: NatTable;
  readonly #translations: Translations;
  readonly #answers: PolicyAnswers;
  readonly #errors: IcmpErrors;

  constructor({ peer, own, wide, nat, translations, answers }: PacketPolicyDeps) {
    this.#peer = peer;
    this.#own = own;
    this.#wide = wide;
    this.#nat = nat;
    this.#translations = translations;
    this.#answers = answers;
    this.#errors = new IcmpErrors({
      nat,
      own,
      isAllowed: (session, about) =>
        this.#isKnownToPass(session, about) ||
        answers.about(about, SOURCE_WORDS, about.sourcePort) === 'allowed',
    });
  }

  /** Data-plane 3.3 from step 5 on; a packet that is forwarded has been translated in place. */
  decideToResource(view: DataView, packet: ParsedPacket, now: Instant): Decision {
    const { addresses } = packet;
    this.lastSession = -1;
    if (isIcmpError(packet)) {
      const decision = this.#errors.decideToResource(view, packet, now);
      if (decision !== undefined) return decision;
    }
    if (!this.#isOwn(packet, SOURCE_WORDS)) return 'source-not-allowed';
    if (this.#wide.isOwn(packet, DESTINATION_WORDS)) {
      return isOwnService(packet) ? 'forward' : 'own-address';
    }
    if (isTunnelWords(addresses, DESTINATION_WORDS)) return 'other-peer';
    let session = this.#nat.findToResource(packet, now);
    const isNew = session < 0;
    if (session < 0 || !this.#isKnownToPass(session, packet)) {
      const answer = this.#answers.about(packet, DESTINATION_WORDS, packet.destinationPort);
      if (answer !== 'allowed') return answer;
      if (session < 0) session = this.#connect(packet, now);
      if (session === NO_SESSION) return 'forward';
      if (session < 0) return refusalOf(session);
      this.#nat.setEpoch(session, this.#answers.epoch);
    }
    // The first packet sets no flags (data-plane 9.4).
    if (!isNew) this.#nat.noteToResource(session, packet, now);
    if (this.#nat.isTranslated(session)) {
      if (this.#nat.isCrossFamily(session)) {
        this.lastSession = session;
        return 'other-family';
      }
      setDestination(view, packet, this.#nat.rows, this.#nat.outsideOf(session));
      setSourcePort(view, packet, this.#nat.outsidePortOf(session));
    }
    this.#clamp(view, packet);
    this.lastSession = session;
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
    this.lastSession = -1;
    const isOurs = this.#wide.isOwn(packet, SOURCE_WORDS);
    if (isIcmpError(packet)) return this.#errors.decideToClient(slab, view, packet, isOurs, now);
    if (isOurs) return 'forward';
    let session = this.#nat.findToClient(packet, now);
    if (session === NAT.unsupported) return 'unsupported-icmp';
    if (session === NAT.expired) return 'expired-session';
    if (!this.#isOwn(packet, DESTINATION_WORDS)) return 'destination-not-client';
    if (isTunnelWords(packet.addresses, SOURCE_WORDS)) return 'source-is-peer';
    // An answer, even if the policy refuses it afterwards: step 9 comes before step 13.
    if (session >= 0) this.#nat.noteToClient(session, packet.tcpFlags, now);
    const isTranslated = session >= 0 && this.#nat.isTranslated(session);
    if (isTranslated && this.#nat.isCrossFamily(session)) return this.#otherFamily(session, packet);
    if (isTranslated) {
      setSource(view, packet, this.#nat.rows, this.#nat.insideOf(session));
      setDestinationPort(view, packet, this.#nat.insidePortOf(session));
    }
    if (session < 0 || !this.#isKnownToPass(session, packet)) {
      const answer = this.#answers.about(packet, SOURCE_WORDS, packet.sourcePort);
      if (answer !== 'allowed') return 'not-allowed';
      if (session < 0) {
        session = this.#acceptFromResource(packet, now);
        if (session === NO_SESSION) return 'forward';
        if (session < 0) return session === NAT.exhausted ? 'nat-exhausted' : 'not-initiated';
      }
      this.#nat.setEpoch(session, this.#answers.epoch);
    }
    this.#clamp(view, packet);
    this.lastSession = session;
    return 'forward';
  }

  /** From a resource whose address is of another family than the one the client sees (data-plane 13). Cold. */
  #otherFamily(session: number, packet: ParsedPacket): Decision {
    const { transport, sourcePort, version } = packet;
    const index = this.#nat.insideOf(session);
    const addresses = this.#nat.rows.slice(index, index + 4);
    const inside = { addresses, transport, version: version === 4 ? 6 : 4 };
    if (this.#answers.about(inside, SOURCE_WORDS, sourcePort) !== 'allowed') return 'not-allowed';
    this.lastSession = session;
    return 'other-family';
  }

  /** The policy allowed this connection and has not changed since. A session of UDP serves several ports, so it cannot tell. */
  #isKnownToPass(session: number, packet: Pick<ParsedPacket, 'transport'>): boolean {
    return this.#nat.epochOf(session) === this.#answers.epoch && packet.transport !== TRANSPORT.udp;
  }

  /** Steps 10 to 15: a session to the address itself, or to the one it stands for. */
  #connect(packet: ParsedPacket, now: Instant): number {
    const { addresses } = packet;
    if (!isProxyWords(addresses, DESTINATION_WORDS)) {
      const session = this.#nat.allocate(packet, addresses, DESTINATION_WORDS, now);
      return session === NAT.unsupported ? NO_SESSION : session;
    }
    const translation = this.#translations.find(addresses, DESTINATION_WORDS);
    if (!translation) return NO_TRANSLATION;
    if (translation.real === undefined) return NO_ADDRESS;
    if (!isTranslatable(packet)) return NAT.unsupported;
    return this.#nat.allocate(packet, translation.realWords, 0, now);
  }

  /**
   * What a resource may send without having been asked (data-plane 17.8): segments of a TCP connection that began before this
   * process did; and, if the operator wants it, a new connection.
   */
  #acceptFromResource(packet: ParsedPacket, now: Instant): number {
    const { tcp, echo, icmp } = TRANSPORT;
    const { transport, version, icmpType, tcpFlags } = packet;
    if (transport === tcp && (tcpFlags & (TCP_FLAG.syn | TCP_FLAG.ack)) !== TCP_FLAG.syn)
      return NO_SESSION;
    const isReply =
      (transport === echo || transport === icmp) && isIcmpReplyType(version, icmpType);
    if (isReply || !this.#wide.settings.mayResourcesInitiate) return NAT.unknown;
    return this.#nat.admit(packet, now);
  }

  /** A SYN must not announce more than the tunnel carries. */
  #clamp(view: DataView, packet: ParsedPacket): void {
    if ((packet.tcpFlags & TCP_FLAG.syn) === 0 || !this.#wide.settings.clampMss) return;
    clampMss(view, packet, this.#wide.mtus.sizeOf(this.#peer));
  }

  #isOwn(packet: ParsedPacket, index: 0 | 4): boolean {
    return isAddressOf(this.#own, packet, index);
  }
}

function refusalOf(session: number): Decision {
  switch (session) {
    case NO_TRANSLATION:
      return 'no-translation';
    case NO_ADDRESS:
      return 'no-address';
    case NAT.unsupported:
      return 'unsupported-protocol';
    default:
      return 'nat-exhausted';
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
