// Builders and checks for IP packets in tests: parse from plain bytes, verify checksums from scratch, generate packets.

import fc from 'fast-check';
import { type IpAddress, ipFromBytes } from '../../src/base/address.ts';
import { viewOf } from '../../src/base/bytes.ts';
import { fold, sumBytes } from '../../src/wire/ip/checksum.ts';
import { ParsedPacket, type ParseOutcome, parsePacket } from '../../src/wire/ip/parsed-packet.ts';
import {
  pseudoHeaderSum,
  writeEchoPacket,
  writeTcpPacket,
  writeUdpPacket,
} from '../../src/wire/ip/write-packet.ts';

export const ip = (text: string): IpAddress => text as IpAddress;

export function parse(bytes: Uint8Array): { outcome: ParseOutcome; packet: ParsedPacket } {
  const packet = new ParsedPacket();
  return { outcome: parsePacket(viewOf(bytes), 0, bytes.length, packet), packet };
}

export function parsed(bytes: Uint8Array): ParsedPacket {
  const { outcome, packet } = parse(bytes);
  if (outcome !== 'parsed') throw new Error(`test packet is ${outcome}`);
  return packet;
}

/** Whether all checksums of a packet are right; a UDP checksum of zero counts as right. */
export function checksumsAreRight(bytes: Uint8Array): boolean {
  const packet = parsed(bytes);
  const view = viewOf(bytes);
  const isIpv4 = packet.version === 4;
  if (isIpv4 && !isAllOnes(sumBytes(view, 0, packet.headerLength))) return false;
  const at = packet.headerLength;
  if (packet.protocol === 17 && view.getUint16(at + 6) === 0) return true;
  if (![1, 6, 17, 58].includes(packet.protocol)) return true;
  const length = bytes.length - at;
  const [source, destination] = isIpv4
    ? [bytes.slice(12, 16), bytes.slice(16, 20)]
    : [bytes.slice(8, 24), bytes.slice(24, 40)];
  const pseudo =
    packet.protocol === 1
      ? 0
      : pseudoHeaderSum(
          { source: ipFromBytes(source), destination: ipFromBytes(destination) },
          packet.protocol,
          length,
        );
  return isAllOnes(pseudo + sumBytes(view, at, length));
}

function isAllOnes(sum: number): boolean {
  return fold(sum) === 0xffff;
}

const ipv4 = fc.uint8Array({ minLength: 4, maxLength: 4 }).map(ipFromBytes);
const ipv6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(ipFromBytes);
const port = fc.integer({ min: 0, max: 65_535 });
const payload = fc.uint8Array({ maxLength: 200 });

const addresses = fc.oneof(
  fc.record({ source: ipv4, destination: ipv4 }),
  fc.record({ source: ipv6, destination: ipv6 }),
);
const header = fc.record({
  hopLimit: fc.integer({ min: 0, max: 255 }),
  trafficClass: fc.integer({ min: 0, max: 255 }),
  identification: port,
  dontFragment: fc.boolean(),
});

/** UDP (some without checksum), TCP and echo packets of both families with right checksums. */
export const anyPacket: fc.Arbitrary<Uint8Array> = fc
  .record({ addresses, header, payload, a: port, b: port, kind: fc.integer({ min: 0, max: 4 }) })
  .map(({ addresses, header, payload, a, b, kind }) => {
    const common = { ...addresses, ...header, payload };
    if (kind <= 1)
      return writeUdpPacket({
        ...common,
        sourcePort: a,
        destinationPort: b,
        withoutChecksum: kind === 1,
      });
    if (kind === 2)
      return writeTcpPacket({ ...common, sourcePort: a, destinationPort: b, flags: 16 });
    return writeEchoPacket({
      ...common,
      kind: kind === 3 ? 'request' : 'reply',
      identifier: a,
      sequence: b,
    });
  });
