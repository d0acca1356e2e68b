// Changes the family of an IP packet (data-plane 13, in the style of RFC 7915): stateless, addresses are given. For domains of connections of the
// earliest generation only, whose clients use addresses of a family that the domain does not have. Cold: it allocates.
//
// Deliberate differences from RFC 7915, because those clients know nothing else: the DSCP travels as a plain number (13.1), hop limits do not
// change, no fragment header is made. Checksums are made from scratch, so that UDP gets one even if it had none.

import { familyOf, type IpAddress } from '../../base/address.ts';
import { viewOf } from '../../base/bytes.ts';
import { checksumOf, nonZeroChecksumOf, sumBytes } from '../../wire/ip/checksum.ts';
import { ICMP } from '../../wire/ip/icmp.ts';
import { IPV4, ipv4HeaderLength } from '../../wire/ip/ipv4.ts';
import { IPV6 } from '../../wire/ip/ipv6.ts';
import { IP_PROTOCOL } from '../../wire/ip/protocol.ts';
import { TCP } from '../../wire/ip/tcp.ts';
import { UDP } from '../../wire/ip/udp.ts';
import { pseudoHeaderSum, writeIpPacket } from '../../wire/ip/write-packet.ts';
import { icmpToIpv4, icmpToIpv6 } from './icmp-translation.ts';

// Specification (data-plane 13.2)
/** Next headers that end the translation: extension headers. */
const UNTRANSLATABLE: readonly number[] = [
  IP_PROTOCOL.hopByHop,
  IP_PROTOCOL.routing,
  IP_PROTOCOL.fragment,
  IP_PROTOCOL.destinationOptions,
];
const MAX_DSCP = 63;

/** Both of the other family. */
export interface NewAddresses {
  readonly source: IpAddress;
  readonly destination: IpAddress;
}

/** The packet in the other family, or `undefined` if it has no counterpart there. `packet` must have been parsed. */
export function changeFamily(packet: Uint8Array, addresses: NewAddresses): Uint8Array | undefined {
  return familyOf(addresses.source) === 6 ? toIpv6(packet, addresses) : toIpv4(packet, addresses);
}

/** Data-plane 13.1. */
function toIpv6(packet: Uint8Array, addresses: NewAddresses): Uint8Array | undefined {
  const view = viewOf(packet);
  const payload = packet.slice(ipv4HeaderLength(view, 0));
  const protocol = view.getUint8(IPV4.protocol);
  const isIcmp = protocol === IP_PROTOCOL.icmp;
  if (isIcmp && !icmpToIpv6(viewOf(payload), packet.length)) return undefined;
  return withChecksum({
    ...addresses,
    hopLimit: view.getUint8(IPV4.timeToLive),
    trafficClass: view.getUint8(1) >> 2,
    protocol: isIcmp ? IP_PROTOCOL.icmpv6 : protocol,
    payload,
  });
}

/** Data-plane 13.2; a traffic class that is no DSCP becomes 0, as from 1.4.2 on. */
function toIpv4(packet: Uint8Array, addresses: NewAddresses): Uint8Array | undefined {
  const view = viewOf(packet);
  const protocol = view.getUint8(IPV6.nextHeader);
  if (UNTRANSLATABLE.includes(protocol)) return undefined;
  const payload = packet.slice(IPV6.headerLength);
  const isIcmp = protocol === IP_PROTOCOL.icmpv6;
  if (isIcmp && !icmpToIpv4(viewOf(payload))) return undefined;
  const trafficClass = (view.getUint16(0) >> 4) & 0xff;
  return withChecksum({
    ...addresses,
    hopLimit: view.getUint8(IPV6.hopLimit),
    trafficClass: trafficClass > MAX_DSCP ? 0 : trafficClass << 2,
    dontFragment: true,
    protocol: isIcmp ? IP_PROTOCOL.icmp : protocol,
    payload,
  });
}

/** Writes the packet, with the checksum of its transport. */
function withChecksum(fields: Parameters<typeof writeIpPacket>[0]): Uint8Array {
  const { payload, protocol } = fields;
  const field = checksumFieldOf(protocol);
  if (field >= 0 && field + 2 <= payload.length) {
    const view = viewOf(payload);
    view.setUint16(field, 0);
    const pseudo =
      protocol === IP_PROTOCOL.icmp ? 0 : pseudoHeaderSum(fields, protocol, payload.length);
    const sum = pseudo + sumBytes(view, 0, payload.length);
    const isUdp = protocol === IP_PROTOCOL.udp;
    view.setUint16(field, isUdp ? nonZeroChecksumOf(sum) : checksumOf(sum));
  }
  return writeIpPacket(fields);
}

function checksumFieldOf(protocol: number): number {
  switch (protocol) {
    case IP_PROTOCOL.tcp:
      return TCP.checksum;
    case IP_PROTOCOL.udp:
      return UDP.checksum;
    case IP_PROTOCOL.icmp:
    case IP_PROTOCOL.icmpv6:
      return ICMP.checksum;
    default:
      return -1;
  }
}
