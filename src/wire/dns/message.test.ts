// DNS messages against an independent codec (dns-packet), and against hostile bytes.

import dnsPacket from 'dns-packet';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ip } from '../../../test/support/packets.ts';
import { toHex, utf8Encode } from '../../base/bytes.ts';
import {
  DNS_RCODE,
  type DnsMessage,
  dnsQuery,
  dnsResponse,
  parseDnsMessage,
  writeDnsMessage,
} from './message.ts';
import { DNS_CLASS, DNS_TYPE, type DnsRecord } from './records.ts';

const QUESTION = { name: 'db.corp.test', type: DNS_TYPE.a, class: DNS_CLASS.internet };
const record = (name: string, type: number, data: DnsRecord['data']): DnsRecord => ({
  name,
  type,
  class: DNS_CLASS.internet,
  ttlSeconds: 1,
  data,
});
const ANSWERS: readonly DnsRecord[] = [
  record('db.corp.test', DNS_TYPE.a, { kind: 'address', address: ip('100.96.0.1') }),
  record('db.corp.test', DNS_TYPE.aaaa, { kind: 'address', address: ip('fd00::1') }),
  record('www.corp.test', DNS_TYPE.cname, { kind: 'name', name: 'db.corp.test' }),
  record('corp.test', DNS_TYPE.mx, { kind: 'mx', preference: 10, exchange: 'mail.corp.test' }),
  record('_sip._udp.corp.test', DNS_TYPE.srv, {
    kind: 'srv',
    priority: 1,
    weight: 2,
    port: 5060,
    target: 'db.corp.test',
  }),
  record('corp.test', DNS_TYPE.txt, {
    kind: 'txt',
    strings: [utf8Encode('v=spf1'), new Uint8Array(0)],
  }),
  record('corp.test', DNS_TYPE.soa, {
    kind: 'soa',
    primary: 'ns.corp.test',
    mailbox: 'root.corp.test',
    serial: 4_000_000_000,
    refresh: 1,
    retry: 2,
    expire: 3,
    minimum: 4,
  }),
  record('corp.test', 999, { kind: 'raw', bytes: Uint8Array.of(1, 2, 3) }),
];

function written(message: DnsMessage, maxLength?: number): Uint8Array {
  const bytes = writeDnsMessage(message, maxLength);
  if (!bytes) throw new Error('test message cannot be written');
  return bytes;
}

describe('against dns-packet', () => {
  test('a query is the same bytes', () => {
    const theirs = dnsPacket.encode({
      type: 'query',
      id: 4711,
      flags: dnsPacket.RECURSION_DESIRED,
      questions: [{ name: 'db.corp.test', type: 'A' }],
    });
    expect(toHex(written(dnsQuery(4711, QUESTION)))).toBe(theirs.toString('hex'));
  });

  test('our response is what they read', () => {
    const bytes = written(dnsResponse(dnsQuery(7, QUESTION), DNS_RCODE.noError, ANSWERS));
    const theirs = dnsPacket.decode(Buffer.from(bytes));
    expect(theirs.questions).toMatchObject([{ name: 'db.corp.test', type: 'A' }]);
    expect(theirs.answers?.map(({ type }) => type)).toEqual([
      'A',
      'AAAA',
      'CNAME',
      'MX',
      'SRV',
      'TXT',
      'SOA',
      'UNKNOWN_999',
    ]);
    expect(theirs.answers).toMatchObject([
      { data: '100.96.0.1' },
      { data: 'fd00::1' },
      { name: 'www.corp.test', data: 'db.corp.test' },
      { data: { preference: 10, exchange: 'mail.corp.test' } },
      { data: { priority: 1, weight: 2, port: 5060, target: 'db.corp.test' } },
      {},
      { data: { mname: 'ns.corp.test', rname: 'root.corp.test', serial: 4_000_000_000 } },
      {},
    ]);
    expect(theirs.flags ?? 0).toBe(dnsPacket.RECURSION_DESIRED | dnsPacket.RECURSION_AVAILABLE);
  });

  test('their response is what we read', () => {
    const theirs = dnsPacket.encode({
      type: 'response',
      id: 9,
      flags: dnsPacket.AUTHORITATIVE_ANSWER,
      questions: [{ name: 'a.b', type: 'TXT' }],
      answers: [
        { name: 'a.b', type: 'TXT', ttl: 3, data: ['x', 'y'] },
        { name: 'c.a.b', type: 'NS', ttl: 3, data: 'ns.a.b' },
      ],
      additionals: [
        {
          name: '.',
          type: 'OPT',
          udpPayloadSize: 1232,
          extendedRcode: 0,
          ednsVersion: 0,
          flags: 0,
          flag_do: false,
          options: [],
        },
      ],
    });
    expect(parseDnsMessage(Uint8Array.from(theirs))).toMatchObject({
      id: 9,
      isResponse: true,
      isAuthoritative: true,
      answers: [
        { name: 'a.b', data: { kind: 'txt', strings: [utf8Encode('x'), utf8Encode('y')] } },
        { name: 'c.a.b', data: { kind: 'name', name: 'ns.a.b' } },
      ],
      additionals: [{ name: '', type: DNS_TYPE.opt, class: 1232 }],
    });
  });
});

describe('truncation', () => {
  const many = Array.from({ length: 100 }, () => ANSWERS[0]).filter(
    (answer) => answer !== undefined,
  );

  test('records that do not fit are left out and TC is set', () => {
    const bytes = written(dnsResponse(dnsQuery(1, QUESTION), 0, many), 512);
    const message = parseDnsMessage(bytes);
    expect(bytes.length).toBeLessThanOrEqual(512);
    expect(message?.isTruncated).toBe(true);
    expect(message?.answers.length).toBe(Math.floor((512 - 30) / 16));
  });

  test('a message that fits exactly is whole', () => {
    const response = dnsResponse(dnsQuery(1, QUESTION), 0, ANSWERS);
    const length = written(response).length;
    expect(parseDnsMessage(written(response, length))?.isTruncated).toBe(false);
    expect(parseDnsMessage(written(response, length - 1))?.isTruncated).toBe(true);
  });

  test('a question that does not fit cannot be written', () => {
    expect(writeDnsMessage(dnsQuery(1, QUESTION), 20)).toBeUndefined();
  });
});

test('every message survives a round trip', () => {
  const answers = fc.array(fc.constantFrom(...ANSWERS), { maxLength: 20 });
  fc.assert(
    fc.property(answers, answers, answers, fc.nat(65_535), (a, b, c, id) => {
      const message = {
        ...dnsResponse(dnsQuery(id, QUESTION), 3, a),
        authorities: b,
        additionals: c,
      };
      expect(parseDnsMessage(written(message))).toEqual(message);
    }),
  );
});

test('no bytes make the parser throw', () => {
  const valid = written(dnsResponse(dnsQuery(1, QUESTION), 0, ANSWERS));
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => void parseDnsMessage(bytes)));
  fc.assert(
    fc.property(fc.nat(valid.length), fc.nat(255), fc.nat(valid.length), (at, value, length) => {
      const bytes = valid.slice(0, length);
      if (at < length) bytes[at] = value;
      parseDnsMessage(bytes);
    }),
    { numRuns: 3000 },
  );
});
