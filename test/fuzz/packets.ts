// IP packets from picked addresses, of all kinds that a tunnel carries.

import { concat } from '../../src/base/bytes.ts';
import { writeControlPacket } from '../../src/wire/control/p2p-control.ts';
import {
  writeEchoPacket,
  writeIcmpPacket,
  writeTcpPacket,
  writeUdpPacket,
} from '../../src/wire/ip/write-packet.ts';
import { ip } from '../support/packets.ts';
import type { Operations } from './operations.ts';

const PORTS = [0, 22, 53, 80, 443, 4_000, 40_000, 53_535, 65_535];

export function anyPacketOf(
  ops: Operations,
  sources: readonly string[],
  destinations: readonly string[],
): Uint8Array {
  const source = ops.pick(sources);
  const family = source.includes(':') ? ':' : '.';
  const destination = ops.pick(destinations.filter((address) => address.includes(family)));
  const common = {
    source: ip(source),
    destination: ip(destination),
    hopLimit: 1 + (ops.byte() % 64),
  };
  const ports = { sourcePort: ops.pick(PORTS), destinationPort: ops.pick(PORTS) };
  switch (ops.byte() % 8) {
    case 0:
      return writeTcpPacket({
        ...common,
        ...ports,
        flags: ops.byte() & 63,
        payload: ops.bytes(40),
      });
    case 1:
      return writeEchoPacket({
        ...common,
        kind: ops.byte() % 2 === 0 ? 'request' : 'reply',
        identifier: ops.byte(),
        sequence: ops.byte(),
        payload: ops.bytes(40),
      });
    case 2:
      return writeIcmpPacket({
        ...common,
        type: ops.pick([1, 2, 3, 11, 5]),
        code: ops.byte() % 16,
        payload: anyQuote(ops, destination, source),
      });
    case 3: {
      const header = writeControlPacket({ kind: 'goodbye' }).slice();
      return concat(header.slice(0, 40), Uint8Array.of(ops.byte() % 4), ops.bytes(255));
    }
    default:
      return writeUdpPacket({ ...common, ...ports, payload: ops.bytes(40) });
  }
}

/** What an ICMP error is about: a packet the other way, or garbage. */
function anyQuote(ops: Operations, source: string, destination: string): Uint8Array {
  if (ops.byte() % 4 === 0) return ops.bytes(80);
  const quoted = writeUdpPacket({
    source: ip(source),
    destination: ip(destination),
    hopLimit: 9,
    sourcePort: ops.pick(PORTS),
    destinationPort: ops.pick(PORTS),
    payload: ops.bytes(8),
  });
  return ops.damage(quoted);
}
