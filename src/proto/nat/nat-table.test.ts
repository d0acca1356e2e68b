// Data-plane 9.4 and 15.2 (N1 to N5): sessions, their ends, ports, limits; and the table against a model.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ModelPacket, NatModel } from '../../../test/support/nat-model.ts';
import { ip, parsed } from '../../../test/support/packets.ts';
import { addressFromWords, type IpAddress, writeAddressWords } from '../../base/address.ts';
import { type Instant, instant } from '../../base/time.ts';
import { EmbeddedPacket } from '../../wire/ip/embedded-packet.ts';
import { type ParsedPacket, TRANSPORT } from '../../wire/ip/parsed-packet.ts';
import { TCP_FLAG } from '../../wire/ip/tcp.ts';
import {
  writeEchoPacket,
  writeIcmpPacket,
  writeIpPacket,
  writeTcpPacket,
  writeUdpPacket,
} from '../../wire/ip/write-packet.ts';
import { MAX_SESSIONS, NAT, NatTable } from './nat-table.ts';

const CLIENT = ip('100.64.0.5');
const PROXY = ip('100.96.0.1');
const REAL = ip('10.20.30.40');
const T0 = instant(1000);
const at = (ms: number): Instant => instant(1000 + ms);

function words(address: IpAddress): Int32Array {
  const out = new Int32Array(4);
  writeAddressWords(address, out, 0);
  return out;
}

interface Fields {
  readonly transport?: number;
  readonly from?: IpAddress;
  readonly to?: IpAddress;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly flags?: number;
}

function packet(fields: Fields): ParsedPacket {
  const source = fields.from ?? CLIENT;
  const destination = fields.to ?? PROXY;
  const ports = {
    sourcePort: fields.sourcePort ?? 40_000,
    destinationPort: fields.destinationPort ?? 443,
  };
  const addresses = { source, destination };
  if (fields.transport === TRANSPORT.udp) return parsed(writeUdpPacket({ ...addresses, ...ports }));
  if (fields.transport === TRANSPORT.echo) {
    const isToResource = fields.from === undefined;
    return parsed(
      writeEchoPacket({
        ...addresses,
        kind: isToResource ? 'request' : 'reply',
        identifier: isToResource ? ports.sourcePort : ports.destinationPort,
        sequence: 1,
      }),
    );
  }
  return parsed(writeTcpPacket({ ...addresses, ...ports, flags: fields.flags ?? TCP_FLAG.ack }));
}

const reply = (fields: Fields): ParsedPacket =>
  packet({ from: REAL, to: CLIENT, sourcePort: 443, destinationPort: 40_000, ...fields });

function send(nat: NatTable, fields: Fields, now: Instant, real: IpAddress = REAL): number {
  const to = packet(fields);
  const known = nat.findToResource(to, now);
  if (known === NAT.unknown) return nat.allocate(to, words(real), 0, now);
  if (known >= 0) nat.noteToResource(known, to, now);
  return known;
}

function receive(nat: NatTable, fields: Fields, now: Instant): number {
  const from = reply(fields);
  const session = nat.findToClient(from, now);
  if (session >= 0) nat.noteToClient(session, from.tcpFlags, now);
  return session;
}

/** What an ICMP error about this packet quotes. */
function quoted(fields: Fields): EmbeddedPacket {
  const { addresses, protocol, transport, sourcePort, destinationPort } = packet(fields);
  const about = new EmbeddedPacket();
  about.addresses.set(addresses);
  return Object.assign(about, { protocol, transport, sourcePort, destinationPort });
}

describe('a session', () => {
  test('keeps the source port and maps the reply back', () => {
    const nat = new NatTable(1);
    const session = send(nat, {}, T0);
    expect(nat.outsidePortOf(session)).toBe(40_000);
    expect(addressFromWords(nat.rows, nat.outsideOf(session))).toBe(REAL);
    expect(receive(nat, {}, T0)).toBe(session);
    expect(nat.insidePortOf(session)).toBe(40_000);
    expect(addressFromWords(nat.rows, nat.insideOf(session))).toBe(PROXY);
  });

  test('serves one connection: another port of the resource is another one (data-plane 17.10)', () => {
    const nat = new NatTable(1);
    const [web, other] = [80, 81].map((destinationPort) => send(nat, { destinationPort }, T0));
    expect(web).not.toBe(other);
    expect([web, other].map((session = -1) => nat.outsidePortOf(session))).toEqual([
      40_000, 40_000,
    ]);
  });

  test('another proxy address of the same real address gets the next port', () => {
    const nat = new NatTable(1);
    send(nat, {}, T0);
    const other = send(nat, { to: ip('100.96.0.2') }, T0);
    expect(nat.outsidePortOf(other)).toBe(40_001);
    expect(
      addressFromWords(nat.rows, nat.insideOf(receive(nat, { destinationPort: 40_001 }, T0))),
    ).toBe('100.96.0.2');
  });

  test('ports go round from 65535 to 1', () => {
    const nat = new NatTable(1);
    send(nat, { sourcePort: 65_535 }, T0);
    const other = send(nat, { sourcePort: 65_535, to: ip('100.96.0.2') }, T0);
    expect(nat.outsidePortOf(other)).toBe(1);
  });

  test('data-plane 15.2-N5: keeps its real address when the mapping changes; a new source port takes the new one', () => {
    const nat = new NatTable(1);
    send(nat, {}, T0);
    const old = send(nat, {}, T0, ip('10.20.30.41'));
    const fresh = send(nat, { sourcePort: 40_001 }, T0, ip('10.20.30.41'));
    expect(addressFromWords(nat.rows, nat.outsideOf(old))).toBe(REAL);
    expect(addressFromWords(nat.rows, nat.outsideOf(fresh))).toBe('10.20.30.41');
  });

  test('TCP, UDP and echo are apart', () => {
    const nat = new NatTable(1);
    const all = [TRANSPORT.tcp, TRANSPORT.udp, TRANSPORT.echo].map((transport) =>
      send(nat, { transport }, T0),
    );
    expect(new Set(all).size).toBe(3);
    expect(all.map((session) => nat.outsidePortOf(session))).toEqual([40_000, 40_000, 40_000]);
  });

  test('other protocols have one for each resource, with nothing to choose', () => {
    const nat = new NatTable(1);
    const gre = (source: IpAddress, destination: IpAddress): ParsedPacket =>
      parsed(writeIpPacket({ source, destination, protocol: 47, payload: new Uint8Array(4) }));
    const to = gre(CLIENT, REAL);
    expect(nat.findToResource(to, T0)).toBe(NAT.unknown);
    const session = nat.allocate(to, words(REAL), 0, T0);
    expect(nat.isTranslated(session)).toBe(false);
    expect(nat.findToClient(gre(REAL, CLIENT), T0)).toBe(session);
    expect(nat.findToClient(gre(ip('10.0.0.9'), CLIENT), T0)).toBe(NAT.unknown);
    expect(nat.allocate(gre(CLIENT, PROXY), words(REAL), 0, T0)).toBe(NAT.exhausted);
  });

  test('other ICMP queries wait for their reply, and for nothing else', () => {
    const nat = new NatTable(1);
    const icmp = (source: IpAddress, destination: IpAddress, type: number): ParsedPacket =>
      parsed(writeIcmpPacket({ source, destination, type, code: 0 }));
    const timestamp = icmp(CLIENT, REAL, 13);
    expect(nat.findToResource(timestamp, T0)).toBe(NAT.unknown);
    const session = nat.allocate(timestamp, words(REAL), 0, T0);
    expect(nat.findToClient(icmp(REAL, CLIENT, 14), T0)).toBe(session);
    expect(nat.findToClient(icmp(REAL, CLIENT, 18), T0)).toBe(NAT.unknown);
    expect(nat.findToClient(icmp(REAL, CLIENT, 13), T0)).toBe(NAT.unsupported);
    expect(nat.findToResource(icmp(CLIENT, REAL, 5), T0)).toBe(NAT.unsupported);
  });

  test('that a resource begins is found from both sides', () => {
    const nat = new NatTable(1);
    const session = nat.admit(reply({ flags: TCP_FLAG.syn }), T0);
    expect(receive(nat, {}, T0)).toBe(session);
    expect(nat.findToResource(packet({ to: REAL }), T0)).toBe(session);
    expect(nat.admit(reply({ flags: TCP_FLAG.syn }), T0)).toBe(NAT.exhausted);
  });
});

describe('the end of a session', () => {
  test.each([
    ['TCP', TRANSPORT.tcp, 7_440_000],
    ['UDP', TRANSPORT.udp, 120_000],
    ['echo', TRANSPORT.echo, 120_000],
  ])(
    '%s lives as long as its protocol allows since the last packet of either side',
    (_, transport, lifetime) => {
      const nat = new NatTable(1);
      send(nat, { transport }, T0);
      expect(receive(nat, { transport }, T0)).toBeGreaterThanOrEqual(0);
      expect(receive(nat, { transport }, at(lifetime - 1))).toBeGreaterThanOrEqual(0);
      expect(receive(nat, { transport }, at(lifetime - 1 + lifetime))).toBe(NAT.expired);
      expect(nat.count).toBe(0);
    },
  );

  test('without any answer it is over 60 s after the last packet to the resource', () => {
    const nat = new NatTable(1);
    send(nat, {}, T0);
    send(nat, {}, at(50_000));
    nat.handleTimeout(at(109_999));
    expect(nat.count).toBe(1);
    nat.handleTimeout(at(110_999));
    expect(nat.count).toBe(0);
    expect(receive(nat, {}, at(111_000))).toBe(NAT.expired);
  });

  test('FIN of both sides leaves 5 s, of one side nothing changes', () => {
    const nat = new NatTable(1);
    send(nat, {}, T0);
    send(nat, { flags: TCP_FLAG.fin }, T0);
    expect(receive(nat, {}, at(6_000))).toBeGreaterThanOrEqual(0);
    expect(receive(nat, { flags: TCP_FLAG.fin | TCP_FLAG.ack }, at(6_000))).toBeGreaterThanOrEqual(
      0,
    );
    expect(receive(nat, {}, at(10_999))).toBeGreaterThanOrEqual(0);
    nat.handleTimeout(at(15_998));
    expect(nat.count).toBe(1);
    nat.handleTimeout(at(17_000));
    expect(nat.count).toBe(0);
  });

  test.each(['client', 'resource'])(
    'data-plane 15.2-N3: RST of the %s ends it at the next sweep',
    (side) => {
      const nat = new NatTable(1);
      send(nat, {}, T0);
      receive(nat, {}, T0);
      if (side === 'client') send(nat, { flags: TCP_FLAG.rst }, at(10));
      else receive(nat, { flags: TCP_FLAG.rst }, at(10));
      expect(nat.pollTimeout()).toBe(at(10));
      expect(receive(nat, {}, at(10))).toBeGreaterThanOrEqual(0);
      nat.handleTimeout(at(11));
      expect(receive(nat, {}, at(12))).toBe(NAT.expired);
    },
  );

  test('RST in the very first packet does not end it', () => {
    const nat = new NatTable(1);
    send(nat, { flags: TCP_FLAG.rst }, T0);
    nat.handleTimeout(at(2_000));
    expect(nat.count).toBe(1);
  });

  test('RST of one of two connections with one source port does not end the other', () => {
    const nat = new NatTable(1);
    send(nat, { destinationPort: 80 }, T0);
    send(nat, { destinationPort: 443 }, T0);
    send(nat, { destinationPort: 443, flags: TCP_FLAG.rst }, T0);
    nat.handleTimeout(at(2_000));
    expect(nat.count).toBe(1);
    expect(receive(nat, { sourcePort: 80 }, at(2_000))).toBeGreaterThanOrEqual(0);
  });

  test.each([
    ['RST', [TCP_FLAG.rst], []],
    ['FIN of both sides', [TCP_FLAG.fin], [TCP_FLAG.fin | TCP_FLAG.ack]],
  ])('a SYN after %s begins anew, to where the name leads now', (_, toResource, toClient) => {
    const nat = new NatTable(1);
    send(nat, {}, T0);
    for (const flags of toResource) send(nat, { flags }, T0);
    for (const flags of toClient) receive(nat, { flags }, T0);
    const other = ip('10.20.30.41');
    expect(addressFromWords(nat.rows, nat.outsideOf(send(nat, {}, at(1), other)))).toBe(REAL);
    const fresh = send(nat, { flags: TCP_FLAG.syn }, at(1), other);
    expect(addressFromWords(nat.rows, nat.outsideOf(fresh))).toBe(other);
    expect(receive(nat, {}, at(1))).toBe(NAT.expired);
  });

  test('an ICMP error about it confirms and refreshes it', () => {
    const nat = new NatTable(1);
    const session = send(nat, {}, T0);
    expect(nat.findOfError(quoted({ to: REAL }), at(50_000))).toBe(session);
    nat.noteToClient(session, 0, at(50_000));
    nat.handleTimeout(at(70_000));
    expect(nat.count).toBe(1);
    expect(nat.findOfError(quoted({ to: REAL, sourcePort: 40_001 }), at(50_000))).toBe(NAT.unknown);
  });

  test('an ICMP error of the client finds the session whose packet it received', () => {
    const nat = new NatTable(1);
    const session = send(nat, {}, T0);
    const received = { from: PROXY, to: CLIENT, sourcePort: 443, destinationPort: 40_000 };
    expect(nat.findOfClientError(quoted(received), T0)).toBe(session);
    expect(nat.findOfClientError(quoted({ ...received, sourcePort: 80 }), T0)).toBe(NAT.unknown);
    expect(nat.findOfClientError(quoted(received), at(60_000))).toBe(NAT.unknown);
  });

  test('an expired tuple that is used again is live, translated or not', () => {
    const nat = new NatTable(1);
    send(nat, {}, T0);
    nat.handleTimeout(at(61_000));
    expect(receive(nat, {}, at(61_000))).toBe(NAT.expired);
    send(nat, { to: REAL }, at(61_000));
    expect(receive(nat, {}, at(61_000))).toBeGreaterThanOrEqual(0);
    nat.handleTimeout(at(10_000_000));
    expect(receive(nat, {}, at(10_000_000))).toBe(NAT.unknown);
    send(nat, {}, at(10_000_000));
    expect(receive(nat, {}, at(10_000_000))).toBeGreaterThanOrEqual(0);
  });

  test('expired tuples are forgotten in the end', () => {
    const nat = new NatTable(1);
    send(nat, {}, T0);
    nat.handleTimeout(at(61_000));
    expect(nat.expiredCount).toBe(1);
    nat.handleTimeout(at(61_000 + 900_000));
    expect(nat.expiredCount).toBe(0);
    expect(receive(nat, {}, at(1_000_000))).toBe(NAT.unknown);
  });
});

describe('limits', () => {
  function full(isConfirmed: (i: number) => boolean): NatTable {
    const nat = new NatTable(1);
    for (let i = 0; i < MAX_SESSIONS; i++) {
      const fields = { sourcePort: 1 + (i & 4095), to: ip(`100.96.1.${i >> 12}`) };
      expect(send(nat, fields, T0, ip(`10.0.0.${i >> 12}`))).toBeGreaterThanOrEqual(0);
      if (!isConfirmed(i)) continue;
      const from = ip(`10.0.0.${i >> 12}`);
      receive(nat, { from, destinationPort: fields.sourcePort }, T0);
    }
    return nat;
  }

  test('sessions are limited; while all are in use the next is refused', () => {
    const nat = full(() => true);
    expect(send(nat, { to: ip('100.96.2.1') }, T0)).toBe(NAT.exhausted);
    nat.handleTimeout(at(7_440_000));
    expect(nat.count).toBe(0);
    expect(nat.expiredCount).toBe(MAX_SESSIONS);
    expect(send(nat, { to: ip('100.96.2.1') }, at(7_440_000))).toBeGreaterThanOrEqual(0);
  });

  test('a session that never had an answer makes room', () => {
    const nat = full((i) => i !== 40);
    expect(send(nat, { to: ip('100.96.2.1') }, T0)).toBeGreaterThanOrEqual(0);
    expect(nat.count).toBe(MAX_SESSIONS);
    expect(receive(nat, { from: ip('10.0.0.0'), destinationPort: 41 }, T0)).toBe(NAT.expired);
  });

  test('a sweep in slices removes the same as a sweep at once', () => {
    const nat = full((i) => i % 3 === 0);
    let slices = 0;
    for (; (nat.pollTimeout() ?? Infinity) <= at(60_000) && slices < 1_000; slices++) {
      nat.sweep(at(60_000), 1_000);
    }
    expect(slices).toBeGreaterThan(16);
    expect(nat.count).toBe(Math.ceil(MAX_SESSIONS / 3));
    expect(nat.pollTimeout()).toBe(at(7_440_000));
  });

  test('what begins or ends while a sweep is under way is not missed by the next', () => {
    const nat = full(() => false);
    nat.sweep(at(60_000), 1_000);
    send(nat, { to: ip('100.96.2.1') }, at(60_000));
    nat.handleTimeout(at(60_001));
    expect(nat.count).toBe(1);
    nat.handleTimeout(nat.pollTimeout() ?? T0);
    expect(nat.count).toBe(0);
  });

  test('where all ports near the wanted one are taken, any other is found without looking at them all', () => {
    const nat = new NatTable(1);
    for (let i = 0; i < 4096; i++) send(nat, { sourcePort: 1000 + i }, T0);
    const session = send(nat, { sourcePort: 1000, to: ip('100.96.0.2') }, T0);
    const port = nat.outsidePortOf(session);
    expect(port < 1000 || port >= 5096).toBe(true);
  });
});

test('a session costs at most 160 bytes, also just after the table has grown', () => {
  const nat = new NatTable(1);
  let worst = 0;
  for (let i = 0; i < MAX_SESSIONS; i++) {
    send(nat, { sourcePort: 1 + (i & 0x3fff) }, T0);
    if (nat.count >= 1_000) worst = Math.max(worst, nat.bytes / nat.count);
  }
  expect(worst).toBeLessThanOrEqual(160);
});

describe('against the model', () => {
  const step = fc.record({
    kind: fc.constantFrom('toResource', 'toResource', 'toClient', 'sweep', 'wait'),
    transport: fc.constantFrom(TRANSPORT.tcp, TRANSPORT.udp, TRANSPORT.echo),
    port: fc.constantFrom(40_000, 40_001, 65_535, 1),
    remotePort: fc.constantFrom(80, 80, 80, 443),
    proxy: fc.constantFrom('100.96.0.1', '100.96.0.2'),
    real: fc.constantFrom('10.0.0.1', '10.0.0.2'),
    flags: fc.constantFrom(16, 16, 16, 1, 2, 4),
    wait: fc.constantFrom(1, 4_999, 5_000, 59_999, 60_000, 120_000, 900_000, 7_440_000),
  });

  test('data-plane 15.2-N1, N2: any sequence of packets, sweeps and pauses gives the same sessions', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.integer(), (steps, seed) => {
        const nat = new NatTable(seed);
        const model = new NatModel();
        let now = 0;
        for (const { kind, transport, port, remotePort, proxy, real, flags, wait } of steps) {
          const isTcp = transport === TRANSPORT.tcp;
          const common: Omit<ModelPacket, 'address'> = {
            transport,
            port,
            remotePort: isTcp ? remotePort : 0,
            isFin: isTcp && flags === 1,
            isRst: isTcp && flags === 4,
            isSyn: isTcp && flags === 2,
          };
          if (kind === 'wait') now += wait;
          if (kind === 'sweep') {
            now += 1000;
            nat.handleTimeout(instant(now));
            model.sweep(now);
            expect(nat.count).toBe(model.sessions.length);
          }
          if (kind === 'toResource') {
            const fields = {
              transport,
              to: ip(proxy),
              sourcePort: port,
              destinationPort: remotePort,
              flags,
            };
            const session = send(nat, fields, instant(now), ip(real));
            const expected = model.toResource({ ...common, address: proxy }, real, now);
            expect(nat.outsidePortOf(session)).toBe(expected.outsidePort);
            expect(addressFromWords(nat.rows, nat.outsideOf(session))).toBe(expected.outside);
          }
          if (kind === 'toClient') {
            const fields = {
              transport,
              from: ip(real),
              sourcePort: remotePort,
              destinationPort: port,
              flags,
            };
            const session = receive(nat, fields, instant(now));
            const expected = model.toClient({ ...common, address: real }, now);
            if (expected === 'expired') expect(session).toBe(NAT.expired);
            else if (expected === 'unknown') expect(session).toBe(NAT.unknown);
            else expect(nat.insidePortOf(session)).toBe(expected.insidePort);
          }
        }
      }),
      { numRuns: 400 },
    );
  });
});
