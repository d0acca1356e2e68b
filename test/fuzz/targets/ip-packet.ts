// Bytes for the packet parser, and for everything that works on what it accepts: edits keep right checksums right, errors can
// be built and read back.

import { viewOf } from '../../../src/base/bytes.ts';
import { mergeEcn, setDestination, setSourcePort } from '../../../src/wire/ip/edit.ts';
import { EmbeddedPacket, parseEmbeddedPacket } from '../../../src/wire/ip/embedded-packet.ts';
import { writeIcmpError } from '../../../src/wire/ip/icmp-error.ts';
import { ParsedPacket, parsePacket } from '../../../src/wire/ip/parsed-packet.ts';
import { checksumsAreRight } from '../../support/packets.ts';

export const name = 'ip-packet';
export const kind = 'bytes';

const packet = new ParsedPacket();
const error = new ParsedPacket();
const embedded = new EmbeddedPacket();
const IPV4_WORDS = Int32Array.of(0, 0, 0xffff, 0x0a141e28);
const IPV6_WORDS = Int32Array.of(0x20010db8, 5, 0, 0x80);

export function run(bytes: Uint8Array): void {
  const view = viewOf(bytes);
  if (parsePacket(view, 0, bytes.length, packet) !== 'parsed') return;
  if (packet.headerLength > bytes.length || packet.transportLength < 0)
    throw new Error('headers longer than the packet');
  parseEmbeddedPacket(view, packet, embedded);
}

export function compare(input: Uint8Array): void {
  const bytes = input.slice();
  const view = viewOf(bytes);
  if (parsePacket(view, 0, bytes.length, packet) !== 'parsed') return;
  parseEmbeddedPacket(view, packet, embedded);
  for (const kind of ['prohibited', 'unreachable'] as const) {
    const written = writeIcmpError(kind, bytes, packet);
    if (written.length > 1280) throw new Error('an error is too long');
    if (parsePacket(viewOf(written), 0, written.length, error) !== 'parsed')
      throw new Error('an error of ours is not parsed');
    if (!checksumsAreRight(written)) throw new Error('an error of ours has a wrong checksum');
  }
  const wereRight = checksumsAreRight(bytes);
  setDestination(view, packet, packet.version === 4 ? IPV4_WORDS : IPV6_WORDS, 0);
  setSourcePort(view, packet, 4711);
  mergeEcn(view, packet, 3);
  if (wereRight && !checksumsAreRight(bytes)) throw new Error('an edit broke a checksum');
}
