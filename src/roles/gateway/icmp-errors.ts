// What is decided about ICMP errors (data-plane 3.3 step 5, 4.2 steps 6 and 7, 10, 12.5): an error is judged by the packet inside it.
// Cold.
//
// Beyond the reference (data-plane 17.12, 17.13): errors about connections of any protocol reach the client; and an error of the
// client reaches the resource if it is about a packet of a connection that the client has and still may have, so that the path's
// MTU is found in that direction, too.

import { addressFromWords } from '../../base/address.ts';
import { int32At } from '../../base/bytes.ts';
import type { Instant } from '../../base/time.ts';
import { NAT, type NatTable } from '../../proto/nat/nat-table.ts';
import { isTunnelWords } from '../../wire/control/address-plan.ts';
import { EmbeddedPacket, parseAnyEmbedded } from '../../wire/ip/embedded-packet.ts';
import {
  DESTINATION_WORDS,
  type ParsedPacket,
  SOURCE_WORDS,
  TRANSPORT,
} from '../../wire/ip/parsed-packet.ts';
import type { Decision } from './decisions.ts';
import { isAddressOf } from './own-address.ts';
import { translateClientError, writeTranslatedError } from './translated-error.ts';

export interface IcmpErrorDeps {
  readonly nat: NatTable;
  /** The client's tunnel addresses: IPv4 at 0, IPv6 at 4. */
  readonly own: Int32Array;
  /** Whether the policy still allows the connection whose resource has the address and port of `about`'s source. */
  readonly isAllowed: (session: number, about: EmbeddedPacket) => boolean;
}

export class IcmpErrors {
  readonly #deps: IcmpErrorDeps;
  readonly #about = new EmbeddedPacket();

  constructor(deps: IcmpErrorDeps) {
    this.#deps = deps;
  }

  /**
   * An error that the client sends, translated in place. `undefined`: nothing this system knows is inside, so it is a packet like any
   * other.
   */
  decideToResource(view: DataView, packet: ParsedPacket, now: Instant): Decision | undefined {
    const { nat, own, isAllowed } = this.#deps;
    const about = this.#about;
    if (!parseAnyEmbedded(view, packet, about)) return undefined;
    const session = nat.findOfClientError(about, now);
    const isPlausible =
      isAddressOf(own, packet, SOURCE_WORDS) &&
      isOwnDestination(own, about) &&
      // The error goes to whoever sent the packet, and to nobody else.
      areEqual(about.addresses, SOURCE_WORDS, packet.addresses, DESTINATION_WORDS);
    if (session < 0 || !isPlausible || !isAllowed(session, about)) {
      return session < 0 && about.transport === TRANSPORT.other
        ? undefined
        : 'icmp-error-of-client';
    }
    // What the client was sent has no counterpart on the other side that an error could be about.
    if (nat.isCrossFamily(session)) return 'icmp-error-of-client';
    nat.noteToResource(session, packet, now);
    if (nat.isTranslated(session)) translateClientError(view, packet, about, nat, session);
    return 'forward';
  }

  /** An error from the network. A packet of bytes: send that instead. `isOurs`: it comes from the gateway's own kernel. */
  decideToClient(
    slab: Uint8Array,
    view: DataView,
    packet: ParsedPacket,
    isOurs: boolean,
    now: Instant,
  ): Decision | Uint8Array {
    const { nat, own } = this.#deps;
    const about = this.#about;
    if (!parseAnyEmbedded(view, packet, about)) return isOurs ? 'forward' : 'unsupported-icmp';
    const session = nat.findOfError(about, now);
    if (session === NAT.expired) return 'expired-session';
    if (session >= 0) nat.noteToClient(session, 0, now);
    if (session >= 0 && nat.isTranslated(session)) {
      const client = addressFromWords(own, packet.version === 4 ? 0 : 4);
      const from = isOurs ? addressFromWords(packet.addresses, SOURCE_WORDS) : undefined;
      return writeTranslatedError(slab, packet, about, { nat, session, client, from });
    }
    if (isOurs) return 'forward';
    if (session < 0 && about.transport === TRANSPORT.other) return 'unsupported-icmp';
    if (!isAddressOf(own, packet, DESTINATION_WORDS)) return 'destination-not-client';
    return isTunnelWords(packet.addresses, SOURCE_WORDS) ? 'source-is-peer' : 'forward';
  }
}

function isOwnDestination(own: Int32Array, { version, addresses }: EmbeddedPacket): boolean {
  return areEqual(own, version === 4 ? 0 : 4, addresses, DESTINATION_WORDS);
}

function areEqual(a: Int32Array, at: number, b: Int32Array, index: number): boolean {
  for (let i = 0; i < 4; i++) if (int32At(a, at + i) !== int32At(b, index + i)) return false;
  return true;
}
