// What is behind the gateways of a site: machines that answer, refuse, are silent or cannot be reached, some with a small MTU; name servers whose answers
// change; and the gateway's own addresses. What comes back enters the TUN device of the gateway that asked, as after a masquerade. Stateless: an answer is
// computed from the question alone.

import type { IpAddress } from '../../../src/base/address.ts';
import { ICMP, ICMPV4_TYPE, ICMPV6_TYPE } from '../../../src/wire/ip/icmp.ts';
import { TCP_FLAG } from '../../../src/wire/ip/tcp.ts';
import {
  writeEchoPacket,
  writeIcmpPacket,
  writeTcpPacket,
  writeUdpPacket,
} from '../../../src/wire/ip/write-packet.ts';
import { factsOf, isIcmpError, markOf, type PacketFacts, writeMark } from '../traffic/mark.ts';
import type { ResourceHostPlan } from '../world-plan.ts';

const TCP = 6;
const UDP = 17;
/** As it is where nobody answers for a network: the router of the site says so. */
const NO_HOST: Omit<ResourceHostPlan, 'site' | 'addresses'> = {
  behaviour: 'unreachable',
  latencyMs: 2,
};

export interface SiteAnswer {
  readonly packet: Uint8Array;
  readonly delayMs: number;
}

export class SiteNetwork {
  readonly site: string;
  readonly #hosts = new Map<string, ResourceHostPlan>();

  constructor(site: string, plans: readonly ResourceHostPlan[]) {
    this.site = site;
    for (const plan of plans) {
      if (plan.site !== site) continue;
      for (const address of plan.addresses) this.#hosts.set(address, plan);
    }
  }

  /** Whether there is a machine of that address which answers everything. */
  answers(address: string): boolean {
    const host = this.#hosts.get(address);
    return host?.behaviour === 'answers' && host.mtu === undefined;
  }

  /** What comes back for a packet that left a gateway's TUN device; `undefined`: nothing. */
  handle(packet: Uint8Array): SiteAnswer | undefined {
    const facts = factsOf(packet);
    if (!facts || isIcmpError(facts)) return undefined;
    const { behaviour, latencyMs, mtu } = this.#hosts.get(facts.destination) ?? NO_HOST;
    const answer = (bytes: Uint8Array | undefined): SiteAnswer | undefined =>
      bytes && { packet: bytes, delayMs: latencyMs };
    if (mtu !== undefined && packet.length > mtu) return answer(tooBig(packet, facts, mtu));
    switch (behaviour) {
      case 'silent':
        return undefined;
      case 'unreachable':
        return answer(unreachable(packet, facts, 'host'));
      case 'refuses':
        return answer(refusal(packet, facts));
      case 'answers':
        return answer(answerTo(packet, facts));
    }
  }
}

/** A machine's answer: an echo of what came. */
export function answerTo(packet: Uint8Array, facts: PacketFacts): Uint8Array | undefined {
  const back = { source: facts.destination as IpAddress, destination: facts.source as IpAddress };
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const at = facts.transportOffset;
  switch (facts.protocol) {
    case UDP: {
      const mark = markOf(packet);
      const { length } = packet.subarray(facts.payloadOffset);
      const payload = mark ? writeMark({ ...mark, isAnswer: true }, length) : undefined;
      const ports = { sourcePort: facts.destinationPort, destinationPort: facts.sourcePort };
      return writeUdpPacket({ ...back, ...ports, payload: payload ?? packet.slice(at + 8) });
    }
    case TCP:
      return tcpAnswer(packet, facts);
    default: {
      const isRequest =
        facts.icmpType === (facts.version === 4 ? ICMPV4_TYPE : ICMPV6_TYPE).echoRequest;
      if (!isRequest) return undefined;
      const rest = view.getUint32(at + ICMP.rest);
      return writeEchoPacket({
        ...back,
        kind: 'reply',
        identifier: rest >>> 16,
        sequence: rest & 0xffff,
        payload: packet.slice(at + ICMP.headerLength),
      });
    }
  }
}

/** SYN gets SYN and ACK, data its echo, FIN a FIN. The sequence numbers of both sides run alike. */
function tcpAnswer(packet: Uint8Array, facts: PacketFacts): Uint8Array | undefined {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const sequence = view.getUint32(facts.transportOffset + 4);
  const payload = packet.slice(facts.payloadOffset);
  const { syn, fin, ack, rst, psh } = TCP_FLAG;
  if ((facts.tcpFlags & rst) !== 0) return undefined;
  const isSyn = (facts.tcpFlags & syn) !== 0;
  const isFin = (facts.tcpFlags & fin) !== 0;
  if (!isSyn && !isFin && payload.length === 0) return undefined;
  const advance = payload.length + (isSyn || isFin ? 1 : 0);
  return writeTcpPacket({
    source: facts.destination as IpAddress,
    destination: facts.source as IpAddress,
    sourcePort: facts.destinationPort,
    destinationPort: facts.sourcePort,
    sequence,
    acknowledgment: (sequence + advance) >>> 0,
    flags: ack | (isSyn ? syn : 0) | (isFin ? fin : 0) | (payload.length > 0 ? psh : 0),
    payload,
  });
}

/** A closed port. */
function refusal(packet: Uint8Array, facts: PacketFacts): Uint8Array | undefined {
  if (facts.protocol === UDP) return unreachable(packet, facts, 'port');
  if (facts.protocol !== TCP) return answerTo(packet, facts);
  if ((facts.tcpFlags & TCP_FLAG.rst) !== 0) return undefined;
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const sequence = view.getUint32(facts.transportOffset + 4);
  return writeTcpPacket({
    source: facts.destination as IpAddress,
    destination: facts.source as IpAddress,
    sourcePort: facts.destinationPort,
    destinationPort: facts.sourcePort,
    sequence,
    acknowledgment: (sequence + 1) >>> 0,
    flags: TCP_FLAG.rst | TCP_FLAG.ack,
  });
}

function unreachable(packet: Uint8Array, facts: PacketFacts, what: 'host' | 'port'): Uint8Array {
  const code4 = what === 'host' ? 1 : 3;
  const code6 = what === 'host' ? 3 : 4;
  const [type, code] = facts.version === 4 ? [3, code4] : [1, code6];
  return icmpError(packet, facts, type, code, 0);
}

/** RFC 1191 §4, RFC 4443 §3.2. */
function tooBig(packet: Uint8Array, facts: PacketFacts, mtu: number): Uint8Array {
  return facts.version === 4
    ? icmpError(packet, facts, 3, 4, mtu)
    : icmpError(packet, facts, 2, 0, mtu);
}

function icmpError(
  packet: Uint8Array,
  facts: PacketFacts,
  type: number,
  code: number,
  rest: number,
): Uint8Array {
  return writeIcmpPacket({
    source: facts.destination as IpAddress,
    destination: facts.source as IpAddress,
    type,
    code,
    rest,
    // Enough to hold the mark of what it is about.
    payload: packet.slice(0, Math.min(packet.length, facts.payloadOffset + 32)),
  });
}
