// DNS messages (RFC 1035 §4): parse, write, and the usual answers. Malformed input is `undefined`. What is signed, carried over
// HTTPS, or updated dynamically is not interpreted here.
//
//    0 id | 2 QR opcode AA TC RD RA Z AD CD RCODE | 4 questions 6 answers 8 authorities 10 additionals | 12 sections

import { concat, viewOf } from '../../base/bytes.ts';
import { DnsNameWriter, parseDnsName } from './name.ts';
import { type DnsRecord, parseDnsData, writeDnsData } from './records.ts';

// Specification (RFC 1035 §4.1.1, §2.3.4).
const HEADER_LENGTH = 12;
const MAX_MESSAGE_LENGTH = 65_535;
const FLAG = {
  response: 0x8000,
  authoritative: 0x0400,
  truncated: 0x0200,
  recursionDesired: 0x0100,
  recursionAvailable: 0x0080,
} as const;
export const DNS_RCODE = {
  noError: 0,
  formatError: 1,
  serverFailure: 2,
  nameError: 3,
  notImplemented: 4,
  refused: 5,
} as const;

// Implementation.
/** No honest message has more; each costs an object. */
const MAX_RECORDS = 512;

export interface DnsQuestion {
  readonly name: string;
  readonly type: number;
  readonly class: number;
}

export interface DnsMessage {
  readonly id: number;
  readonly isResponse: boolean;
  readonly opcode: number;
  readonly isAuthoritative: boolean;
  readonly isTruncated: boolean;
  readonly recursionDesired: boolean;
  readonly recursionAvailable: boolean;
  readonly rcode: number;
  readonly questions: readonly DnsQuestion[];
  readonly answers: readonly DnsRecord[];
  readonly authorities: readonly DnsRecord[];
  readonly additionals: readonly DnsRecord[];
}

export function parseDnsMessage(bytes: Uint8Array): DnsMessage | undefined {
  if (bytes.length < HEADER_LENGTH) return undefined;
  const view = viewOf(bytes);
  const flags = view.getUint16(2);
  const questions: DnsQuestion[] = [];
  let offset = HEADER_LENGTH;
  for (let left = view.getUint16(4); left > 0; left--) {
    const name = parseDnsName(bytes, offset);
    if (!name || name.end + 4 > bytes.length || questions.length >= MAX_RECORDS) return undefined;
    const [type, klass] = [view.getUint16(name.end), view.getUint16(name.end + 2)];
    questions.push({ name: name.name, type, class: klass });
    offset = name.end + 4;
  }
  const sections: DnsRecord[][] = [];
  for (const field of [6, 8, 10]) {
    const section = parseSection(bytes, view.getUint16(field), offset);
    if (!section) return undefined;
    sections.push(section.records);
    offset = section.end;
  }
  const [answers = [], authorities = [], additionals = []] = sections;
  return {
    id: view.getUint16(0),
    isResponse: (flags & FLAG.response) !== 0,
    opcode: (flags >> 11) & 15,
    isAuthoritative: (flags & FLAG.authoritative) !== 0,
    isTruncated: (flags & FLAG.truncated) !== 0,
    recursionDesired: (flags & FLAG.recursionDesired) !== 0,
    recursionAvailable: (flags & FLAG.recursionAvailable) !== 0,
    rcode: flags & 15,
    questions,
    answers,
    authorities,
    additionals,
  };
}

/**
 * Bytes of a message of at most `maxLength` bytes. Records that do not fit are left out from the end and TC is set (RFC 2181
 * §9). `undefined` if a name is none, or if not even the questions fit.
 */
export function writeDnsMessage(
  message: DnsMessage,
  maxLength: number = MAX_MESSAGE_LENGTH,
): Uint8Array | undefined {
  const names = new DnsNameWriter();
  const parts: Uint8Array[] = [];
  let length = HEADER_LENGTH;
  for (const question of message.questions) {
    const name = names.write(question.name, length);
    if (!name) return undefined;
    const part = concat(name, words(question.type, question.class));
    parts.push(part);
    length += part.length;
  }
  if (length > maxLength) return undefined;
  const counts = [0, 0, 0];
  let isCut = false;
  for (const [i, section] of [
    message.answers,
    message.authorities,
    message.additionals,
  ].entries()) {
    for (const record of isCut ? [] : section) {
      const part = writeRecord(record, length, names);
      if (!part) return undefined;
      if (length + part.length > maxLength) {
        names.truncate(length);
        isCut = true;
        break;
      }
      parts.push(part);
      length += part.length;
      counts[i] = (counts[i] ?? 0) + 1;
    }
  }
  const [answers = 0, authorities = 0, additionals = 0] = counts;
  const flags = flagsOf({ ...message, isTruncated: message.isTruncated || isCut });
  const header = words(
    message.id,
    flags,
    message.questions.length,
    answers,
    authorities,
    additionals,
  );
  return concat(header, ...parts);
}

/** A query for one name with recursion desired. */
export function dnsQuery(id: number, question: DnsQuestion): DnsMessage {
  return {
    id,
    isResponse: false,
    opcode: 0,
    isAuthoritative: false,
    isTruncated: false,
    recursionDesired: true,
    recursionAvailable: false,
    rcode: DNS_RCODE.noError,
    questions: [question],
    answers: [],
    authorities: [],
    additionals: [],
  };
}

/** A recursive resolver's response to `query`. */
export function dnsResponse(
  query: DnsMessage,
  rcode: number,
  answers: readonly DnsRecord[] = [],
): DnsMessage {
  return {
    ...query,
    isResponse: true,
    isAuthoritative: false,
    isTruncated: false,
    recursionAvailable: true,
    rcode,
    answers,
    authorities: [],
    additionals: [],
  };
}

function parseSection(
  bytes: Uint8Array,
  count: number,
  offset: number,
): { records: DnsRecord[]; end: number } | undefined {
  const view = viewOf(bytes);
  const records: DnsRecord[] = [];
  for (let left = count; left > 0; left--) {
    const name = parseDnsName(bytes, offset);
    if (!name || name.end + 10 > bytes.length || records.length >= MAX_RECORDS) return undefined;
    const type = view.getUint16(name.end);
    const start = name.end + 10;
    const end = start + view.getUint16(name.end + 8);
    if (end > bytes.length) return undefined;
    const data = parseDnsData(bytes, type, start, end);
    if (!data) return undefined;
    records.push({
      name: name.name,
      type,
      class: view.getUint16(name.end + 2),
      ttlSeconds: view.getUint32(name.end + 4),
      data,
    });
    offset = end;
  }
  return { records, end: offset };
}

function writeRecord(
  record: DnsRecord,
  offset: number,
  names: DnsNameWriter,
): Uint8Array | undefined {
  const name = names.write(record.name, offset);
  if (!name) return undefined;
  const data = writeDnsData(record.data, offset + name.length + 10, names);
  if (!data) return undefined;
  const { ttlSeconds } = record;
  return concat(
    name,
    words(record.type, record.class, ttlSeconds >>> 16, ttlSeconds & 0xffff, data.length),
    data,
  );
}

function flagsOf(message: DnsMessage): number {
  return (
    (message.isResponse ? FLAG.response : 0) |
    ((message.opcode & 15) << 11) |
    (message.isAuthoritative ? FLAG.authoritative : 0) |
    (message.isTruncated ? FLAG.truncated : 0) |
    (message.recursionDesired ? FLAG.recursionDesired : 0) |
    (message.recursionAvailable ? FLAG.recursionAvailable : 0) |
    (message.rcode & 15)
  );
}

function words(...values: readonly number[]): Uint8Array {
  const out = new Uint8Array(values.length * 2);
  const view = viewOf(out);
  for (const [i, value] of values.entries()) view.setUint16(i * 2, value);
  return out;
}
