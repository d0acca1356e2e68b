// Inner IP packets for tests of the link: small UDP packets over IPv4 with correct checksums.

import { type IpAddress, ipBytes } from '../../src/base/address.ts';
import { at, concat, utf8Encode, viewOf } from '../../src/base/bytes.ts';

export function udpPacket(source: string, destination: string, text: string): Uint8Array {
  const payload = utf8Encode(text);
  const addresses = concat(ipBytes(source as IpAddress), ipBytes(destination as IpAddress));
  const udpLength = 8 + payload.length;
  const packet = new Uint8Array(20 + udpLength);
  const view = viewOf(packet);
  view.setUint16(0, 0x4500);
  view.setUint16(2, packet.length);
  view.setUint16(6, 0x4000); // don't fragment
  view.setUint16(8, (64 << 8) | 17);
  packet.set(addresses, 12);
  view.setUint16(10, checksum(packet.subarray(0, 20)));
  view.setUint16(20, 40_000);
  view.setUint16(22, 53);
  view.setUint16(24, udpLength);
  packet.set(payload, 28);
  const pseudo = concat(addresses, Uint8Array.of(0, 17, udpLength >> 8, udpLength & 255));
  view.setUint16(26, checksum(concat(pseudo, packet.subarray(20))) || 0xffff);
  return packet;
}

function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) sum += at(bytes, i) << (i % 2 === 0 ? 8 : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
