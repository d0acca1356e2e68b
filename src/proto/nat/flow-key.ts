// Hot path. Which connection a packet belongs to: its protocol and one word of two ports, the client's in the high half, the
// resource's in the low one. Together with the resource's address that is the key of a session, so that two TCP connections never
// share one (data-plane 17.10).
//
//   TCP               both ports
//   UDP, ICMP echo    the client's port or the identifier: whichever port the resource answers from (RFC 4787 REQ-1; TFTP)
//   other ICMP query  no port, and the type its reply will have: a reply is let in, a query of the resource is not
//   other protocols   no ports: one connection per protocol and resource (GRE, ESP, SCTP, IP in IP, ...)

import type { EmbeddedPacket } from '../../wire/ip/embedded-packet.ts';
import { icmpReplyType, isIcmpReplyType } from '../../wire/ip/icmp.ts';
import { type ParsedPacket, TRANSPORT } from '../../wire/ip/parsed-packet.ts';
import { IP_PROTOCOL } from '../../wire/ip/protocol.ts';

/** Marks the type of a reply, which would otherwise look like the port of an echo. */
const REPLY_TYPE = 0x100;

/** A reusable target. */
export class FlowKey {
  ports = 0;
  protocol = 0;
  /** Whether the high half is a port or identifier that NAT may change. */
  hasClientPort = false;

  /** Of a packet from the client; false if nothing can come back that belongs to it. */
  readToResource(packet: ParsedPacket): boolean {
    return this.#read(packet, packet.sourcePort, packet.destinationPort, false);
  }

  /** Of a packet from the resource; false if it can be no reply. */
  readToClient(packet: ParsedPacket): boolean {
    return this.#read(packet, packet.destinationPort, packet.sourcePort, true);
  }

  /** Of the packet inside an error that comes from the network: one the client sent. */
  readErrorToClient({ protocol, transport, sourcePort, destinationPort }: EmbeddedPacket): void {
    this.protocol = kindOf(protocol);
    this.ports = portsOf(transport, sourcePort, destinationPort);
  }

  /** Of the packet inside an error that the client sends: one it received. */
  readErrorOfClient({ protocol, transport, sourcePort, destinationPort }: EmbeddedPacket): void {
    this.protocol = kindOf(protocol);
    this.ports = portsOf(transport, destinationPort, sourcePort);
  }

  #read(packet: ParsedPacket, clientPort: number, resourcePort: number, isReply: boolean): boolean {
    this.protocol = kindOf(packet.protocol);
    if (packet.transport !== TRANSPORT.icmp) {
      this.ports = portsOf(packet.transport, clientPort, resourcePort);
      this.hasClientPort = packet.transport !== TRANSPORT.other;
      return true;
    }
    this.hasClientPort = false;
    const { version, icmpType } = packet;
    const replyType = isReply ? icmpType : icmpReplyType(version, icmpType);
    this.ports = REPLY_TYPE | replyType;
    return isReply ? isIcmpReplyType(version, icmpType) : replyType >= 0;
  }
}

/** Both versions of ICMP are one (data-plane 9.4): the addresses tell them apart, and a session may join both. */
function kindOf(protocol: number): number {
  return protocol === IP_PROTOCOL.icmpv6 ? IP_PROTOCOL.icmp : protocol;
}

function portsOf(transport: number, clientPort: number, resourcePort: number): number {
  switch (transport) {
    case TRANSPORT.tcp:
      return (clientPort << 16) | resourcePort;
    case TRANSPORT.udp:
    case TRANSPORT.echo:
      return clientPort << 16;
    default:
      return 0;
  }
}
