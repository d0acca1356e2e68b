// Packets as a file that Wireshark opens: pcapng (draft-ietf-opsawg-pcapng), one section, one interface with raw IP packets (LINKTYPE_RAW). Outer datagrams
// get an IP and UDP header of their own.

// Specification
const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE = 1;
const ENHANCED_PACKET = 6;
const BYTE_ORDER = 0x1a2b3c4d;
const LINKTYPE_RAW = 101;

export interface CapturedPacket {
  /** Milliseconds. */
  readonly at: number;
  /** Beginning with its IP header. */
  readonly packet: Uint8Array;
}

export function writePcapng(packets: readonly CapturedPacket[]): Uint8Array {
  const section = Uint8Array.from([...word(BYTE_ORDER), 1, 0, 0, 0, ...Array(8).fill(255)]);
  const link = Uint8Array.from([LINKTYPE_RAW, 0, 0, 0, ...word(0)]);
  const blocks = [block(SECTION_HEADER, section), block(INTERFACE, link)];
  for (const { at, packet } of packets) {
    const microseconds = Math.round(at * 1_000);
    const head = [0, Math.floor(microseconds / 2 ** 32), microseconds % 2 ** 32];
    const words = [...head, packet.length, packet.length].flatMap(word);
    const body = new Uint8Array(words.length + Math.ceil(packet.length / 4) * 4);
    body.set(words);
    body.set(packet, words.length);
    blocks.push(block(ENHANCED_PACKET, body));
  }
  const file = new Uint8Array(blocks.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of blocks) {
    file.set(part, offset);
    offset += part.length;
  }
  return file;
}

function block(type: number, body: Uint8Array): Uint8Array {
  const length = word(body.length + 12);
  const bytes = new Uint8Array(body.length + 12);
  bytes.set([...word(type), ...length]);
  bytes.set(body, 8);
  bytes.set(length, body.length + 8);
  return bytes;
}

/** Little-endian. */
function word(value: number): number[] {
  return [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, (value >>> 24) & 255];
}
