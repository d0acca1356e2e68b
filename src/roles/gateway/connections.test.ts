// Beyond the reference (data-plane 17.8, 17.10 to 17.14): what belongs to a connection finds its way in both directions, for every
// protocol; what nobody asked for does not; and TCP never announces more than the tunnel carries.

import { describe, expect, test } from 'vitest';
import {
  ALICE,
  cidr,
  dns,
  GatewayWorld,
  internet,
  tcp,
  udp,
} from '../../../test/support/gateway-world.ts';
import { checksumsAreRight, ip, parsed } from '../../../test/support/packets.ts';
import { addressFromWords } from '../../base/address.ts';
import { toHex, viewOf } from '../../base/bytes.ts';
import { instant } from '../../base/time.ts';
import { Reassembly } from '../../proto/fragments/reassembly.ts';
import { splitPacket } from '../../wire/ip/fragment.ts';
import { TCP_FLAG } from '../../wire/ip/tcp.ts';
import {
  writeEchoPacket,
  writeIcmpPacket,
  writeIpPacket,
  writeTcpPacket,
  writeUdpPacket,
} from '../../wire/ip/write-packet.ts';

const NOTHING = new Uint8Array(0);
const isV6 = (address: string): boolean => address.includes(':');
const own = (peer: string): string => (isV6(peer) ? ALICE.ipv6 : ALICE.ipv4);

const raw = (from: string, to: string, protocol: number): Uint8Array =>
  writeIpPacket({ source: ip(from), destination: ip(to), protocol, payload: new Uint8Array(16) });

const icmpMessage = (
  from: string,
  to: string,
  type: number,
  payload: Uint8Array = NOTHING,
): Uint8Array => writeIcmpPacket({ source: ip(from), destination: ip(to), type, code: 0, payload });

interface Segment {
  readonly from: string;
  readonly to: string;
  readonly ports: readonly [number, number];
  readonly flags?: number;
}

const segment = ({ from, to, ports, flags = TCP_FLAG.ack }: Segment): Uint8Array =>
  writeTcpPacket({
    source: ip(from),
    destination: ip(to),
    sourcePort: ports[0],
    destinationPort: ports[1],
    flags,
  });

const datagram = ({ from, to, ports }: Segment): Uint8Array =>
  writeUdpPacket({
    source: ip(from),
    destination: ip(to),
    sourcePort: ports[0],
    destinationPort: ports[1],
    payload: Uint8Array.of(1, 2, 3, 4),
  });

function lan(packets = {}): GatewayWorld {
  const world = new GatewayWorld({ packets });
  world.authorize(cidr('lan', '10.0.0.0/24'));
  world.authorize(cidr('six', '2001:db8::/64'));
  return world;
}

function withDomain(): GatewayWorld {
  const world = new GatewayWorld();
  world.authorize(dns('db', 'db.test', [tcp(443), udp(53)]));
  world.setUp(
    'db',
    'db.test',
    ['100.96.0.1', 'fd00:2021:1111:8000::1'],
    ['10.9.0.7', '2001:db8:5::80'],
  );
  return world;
}

describe('data-plane 17.12: the way back of every protocol that may go out', () => {
  const PROTOCOLS = [
    ['IP in IP', 4],
    ['IPv6 in IP', 41],
    ['GRE', 47],
    ['ESP', 50],
    ['AH', 51],
    ['OSPF', 89],
    ['SCTP', 132],
    ['UDP-Lite', 136],
  ] as const;
  const CASES = PROTOCOLS.flatMap(([name, protocol]) =>
    ['10.0.0.9', '2001:db8::9'].map((peer) => [name, peer, protocol] as const),
  );

  test.each(CASES)('%s to and from %s', (_, peer, protocol) => {
    const world = lan();
    const answer = raw(peer, own(peer), protocol);
    expect(world.fromTun(answer).slot).toBe(-1);
    expect(world.drops()).toEqual({ 'not-initiated': 1 });
    const { forwarded } = world.fromClient(raw(own(peer), peer, protocol));
    expect(toHex(forwarded ?? NOTHING)).toBe(toHex(raw(own(peer), peer, protocol)));
    expect(toHex(world.fromTun(answer).sealed ?? NOTHING)).toBe(toHex(answer));
    // Another protocol, another resource, a policy that changed, and silence.
    expect(world.fromTun(raw(peer, own(peer), 46)).slot).toBe(-1);
    const neighbour = peer.replace(/9$/, '8');
    expect(world.fromTun(raw(neighbour, own(peer), protocol)).slot).toBe(-1);
    world.advance(599_999);
    expect(world.fromTun(answer).slot).toBe(0);
    world.advance(600_000);
    expect(world.fromTun(answer).slot).toBe(-1);
    world.fromClient(raw(own(peer), peer, protocol));
    world.authorize(cidr('other', '10.1.0.0/24'));
    world.revoke('lan');
    world.revoke('six');
    expect(world.fromTun(answer).slot).toBe(-1);
  });

  test('the Internet resource has it, too', () => {
    const world = new GatewayWorld();
    world.authorize(internet('net'));
    world.fromClient(raw(ALICE.ipv4, '1.1.1.1', 47));
    expect(world.fromTun(raw('1.1.1.1', ALICE.ipv4, 47)).slot).toBe(0);
    expect(world.fromTun(raw('1.1.1.2', ALICE.ipv4, 47)).slot).toBe(-1);
  });

  test.each([
    ['timestamp', '10.0.0.9', 13, 14],
    ['information', '10.0.0.9', 15, 16],
    ['address mask', '10.0.0.9', 17, 18],
    ['extended echo', '10.0.0.9', 42, 43],
    ['node information', '2001:db8::9', 139, 140],
    ['extended echo', '2001:db8::9', 160, 161],
  ])('the reply to the ICMP query "%s" from %s', (_, peer, query, reply) => {
    const world = lan();
    const answer = icmpMessage(peer, own(peer), reply);
    expect(world.fromTun(answer).slot).toBe(-1);
    expect(world.fromClient(icmpMessage(own(peer), peer, query)).forwarded).toBeDefined();
    expect(world.fromTun(answer).slot).toBe(0);
    expect(world.fromTun(icmpMessage(peer, own(peer), query)).slot).toBe(-1);
    expect(world.drops()).toEqual({ 'not-initiated': 1, 'unsupported-icmp': 1 });
  });
});

describe('data-plane 17.8: what a resource may send without having been asked', () => {
  const from = '10.0.0.9';
  const to = ALICE.ipv4;
  const syn = segment({ from, to, ports: [22, 5000], flags: TCP_FLAG.syn });
  const ping = writeEchoPacket({
    source: ip(from),
    destination: ip(to),
    kind: 'request',
    identifier: 1,
    sequence: 1,
  });
  const pong = writeEchoPacket({
    source: ip(from),
    destination: ip(to),
    kind: 'reply',
    identifier: 1,
    sequence: 1,
  });

  test('no connection, no datagram, no ping', () => {
    const world = lan();
    for (const packet of [syn, datagram({ from, to, ports: [53, 5000] }), ping, pong])
      expect(world.fromTun(packet).slot).toBe(-1);
    expect(world.drops()).toEqual({ 'not-initiated': 4 });
  });

  test('the middle of a TCP connection that began before this process did', () => {
    const world = lan();
    expect(world.fromTun(segment({ from, to, ports: [22, 5000] })).slot).toBe(0);
    const synAck = TCP_FLAG.syn | TCP_FLAG.ack;
    expect(world.fromTun(segment({ from, to, ports: [22, 5000], flags: synAck })).slot).toBe(0);
    expect(world.gateway.snapshot().clients[0]?.natSessions).toBe(0);
  });

  test('a connection, if the operator wants it, from where the client may go', () => {
    const world = lan({ mayResourcesInitiate: true });
    for (const packet of [syn, datagram({ from, to, ports: [53, 5000] }), ping])
      expect(world.fromTun(packet).slot).toBe(0);
    expect(world.fromTun(pong).slot).toBe(0);
    expect(world.gateway.snapshot().clients[0]?.natSessions).toBe(3);
    expect(world.fromTun(segment({ from: '10.0.1.9', to, ports: [22, 1], flags: 2 })).slot).toBe(
      -1,
    );
    const unasked = writeEchoPacket({
      source: ip(from),
      destination: ip(to),
      kind: 'reply',
      identifier: 2,
      sequence: 1,
    });
    expect(world.fromTun(unasked).slot).toBe(-1);
    expect(world.drops()).toEqual({ 'not-allowed': 1, 'not-initiated': 1 });
  });
});

describe('data-plane 17.10, 17.11: connections share nothing', () => {
  test('data-plane 9.4: RST in the very first packet does not end the session it begins', () => {
    const world = withDomain();
    const ports = [40_000, 443] as const;
    const first = { from: ALICE.ipv4, to: '100.96.0.1', ports, flags: TCP_FLAG.rst };
    world.fromClient(segment(first));
    world.advance(5_000);
    const answer = { from: '10.9.0.7', to: ALICE.ipv4, ports: [443, 40_000] as const };
    expect(world.fromTun(segment(answer)).slot).toBe(0);
  });

  test('the reset of one does not end another with the same port and address', () => {
    const world = withDomain();
    const ports = [40_000, 443] as const;
    const request = { from: ALICE.ipv4, to: '100.96.0.1', ports };
    world.fromClient(segment(request));
    world.fromClient(datagram({ ...request, ports: [40_000, 53] }));
    world.fromClient(segment({ ...request, flags: TCP_FLAG.rst }));
    world.advance(2_000);
    const answer = { from: '10.9.0.7', to: ALICE.ipv4 };
    expect(world.fromTun(segment({ ...answer, ports: [443, 40_000] })).slot).toBe(-1);
    expect(world.fromTun(datagram({ ...answer, ports: [53, 40_000] })).slot).toBe(0);
    expect(world.drops()).toEqual({ 'expired-session': 1 });
  });

  test('a plain and a translated connection to one address have different ports outside', () => {
    const world = withDomain();
    world.authorize(cidr('lan', '10.9.0.0/24'));
    const ports = [40_000, 443] as const;
    const plain = world.fromClient(segment({ from: ALICE.ipv4, to: '10.9.0.7', ports })).forwarded;
    const named = world.fromClient(
      segment({ from: ALICE.ipv4, to: '100.96.0.1', ports }),
    ).forwarded;
    expect(parsed(plain ?? NOTHING).sourcePort).toBe(40_000);
    expect(parsed(named ?? NOTHING).sourcePort).toBe(40_001);
    const sources = [40_000, 40_001].map((port) => {
      const answer = segment({ from: '10.9.0.7', to: ALICE.ipv4, ports: [443, port] });
      const packet = parsed(world.fromTun(answer).sealed ?? NOTHING);
      return [addressFromWords(packet.addresses, 0), packet.destinationPort];
    });
    expect(sources).toEqual([
      ['10.9.0.7', 40_000],
      ['100.96.0.1', 40_000],
    ]);
  });
});

describe('data-plane 17.13: ICMP errors of a client', () => {
  const tooBig = (about: Uint8Array, from: string, to: string): Uint8Array =>
    isV6(from)
      ? writeIcmpPacket({
          source: ip(from),
          destination: ip(to),
          type: 2,
          code: 0,
          rest: 1300,
          payload: about,
        })
      : writeIcmpPacket({
          source: ip(from),
          destination: ip(to),
          type: 3,
          code: 4,
          rest: 1300,
          payload: about,
        });

  test('about a live connection reach a network resource as they are', () => {
    const world = lan();
    const ports = [40_000, 22] as const;
    world.fromClient(segment({ from: ALICE.ipv4, to: '10.0.0.9', ports }));
    const received = segment({ from: '10.0.0.9', to: ALICE.ipv4, ports: [22, 40_000] });
    const error = tooBig(received.subarray(0, 28), ALICE.ipv4, '10.0.0.9');
    expect(toHex(world.fromClient(error).forwarded ?? NOTHING)).toBe(toHex(error));
  });

  test.each([
    ['100.96.0.1', '10.9.0.7'],
    ['fd00:2021:1111:8000::1', '2001:db8:5::80'],
  ])('about a translated connection to %s are about what %s sent', (proxy, real) => {
    const world = withDomain();
    // The port is taken, so that the port inside has to change, too.
    world.authorize(cidr('plain', isV6(real) ? '2001:db8:5::/64' : '10.9.0.0/24'));
    world.fromClient(segment({ from: own(proxy), to: real, ports: [40_000, 443] }));
    world.fromClient(segment({ from: own(proxy), to: proxy, ports: [40_000, 443] }));
    const sent = segment({ from: real, to: own(proxy), ports: [443, 40_001] });
    const received = world.fromTun(sent).sealed ?? NOTHING;
    expect(addressFromWords(parsed(received).addresses, 0)).toBe(proxy);
    const { forwarded = NOTHING } = world.fromClient(tooBig(received, own(proxy), proxy));
    expect(addressFromWords(parsed(forwarded).addresses, 4)).toBe(real);
    expect(checksumsAreRight(forwarded)).toBe(true);
    const packet = parsed(forwarded);
    expect(toHex(forwarded.subarray(packet.headerLength + 8))).toBe(toHex(sent));
    expect(viewOf(forwarded).getUint32(packet.headerLength + 4)).toBe(1300);
  });

  test.each(['nothing', 'revoked', 'another destination', 'another client', 'foreign source'])(
    'are dropped without an answer: %s',
    (why) => {
      const world = lan();
      world.authorize(cidr('keep', '10.3.0.0/24'));
      const ports = [40_000, 22] as const;
      if (why !== 'nothing') world.fromClient(segment({ from: ALICE.ipv4, to: '10.0.0.9', ports }));
      if (why === 'revoked') world.revoke('lan');
      const to = why === 'another client' ? '100.64.0.6' : ALICE.ipv4;
      const about = segment({ from: '10.0.0.9', to, ports: [22, 40_000] });
      const source = why === 'foreign source' ? '100.64.0.6' : ALICE.ipv4;
      const destination = why === 'another destination' ? '10.0.0.8' : '10.0.0.9';
      const { forwarded, answers } = world.fromClient(tooBig(about, source, destination));
      expect([forwarded, answers]).toEqual([undefined, []]);
      expect(world.drops()).toEqual({ 'icmp-error-of-client': 1 });
    },
  );

  test('about a tunnel of another protocol pass in both directions while it lives', () => {
    const world = lan();
    world.fromClient(raw(ALICE.ipv4, '10.0.0.9', 47));
    const outbound = tooBig(raw('10.0.0.9', ALICE.ipv4, 47), ALICE.ipv4, '10.0.0.9');
    expect(world.fromClient(outbound).forwarded).toBeDefined();
    const inbound = tooBig(raw(ALICE.ipv4, '10.0.0.9', 47), '192.0.2.1', ALICE.ipv4);
    expect(toHex(world.fromTun(inbound).sealed ?? NOTHING)).toBe(toHex(inbound));
    const unknown = tooBig(raw(ALICE.ipv4, '10.0.0.8', 47), '192.0.2.1', ALICE.ipv4);
    expect(world.fromTun(unknown).slot).toBe(-1);
    expect(world.drops()).toEqual({ 'unsupported-icmp': 1 });
  });
});

describe('data-plane 17.14: ICMP errors from the network', () => {
  test("of the gateway's own kernel do not show the real address, and keep their source", () => {
    const world = withDomain();
    const sent = segment({ from: ALICE.ipv4, to: '100.96.0.1', ports: [40_000, 443] });
    const { forwarded = NOTHING } = world.fromClient(sent);
    const { alone } = world.fromTun(icmpMessage('100.64.0.2', ALICE.ipv4, 11, forwarded));
    const [error = NOTHING] = alone;
    expect(addressFromWords(parsed(error).addresses, 0)).toBe('100.64.0.2');
    expect(toHex(error.subarray(28))).toBe(toHex(sent));
    expect(checksumsAreRight(error)).toBe(true);
  });

  test('keep the length in front of extensions (RFC 4884), if it can be true', () => {
    const world = withDomain();
    const sent = segment({ from: ALICE.ipv4, to: '100.96.0.1', ports: [40_000, 443] });
    const { forwarded = NOTHING } = world.fromClient(sent);
    const quoted = new Uint8Array(140);
    quoted.set(forwarded);
    for (const [words, kept] of [
      [32, 32],
      [36, 0],
    ] as const) {
      const error = writeIcmpPacket({
        source: ip('192.0.2.1'),
        destination: ip(ALICE.ipv4),
        type: 11,
        code: 0,
        rest: words << 16,
        payload: quoted,
      });
      const [translated = NOTHING] = world.fromTun(error).alone;
      expect(viewOf(translated).getUint32(24)).toBe(kept << 16);
    }
  });
});

describe('the segment size that a SYN announces', () => {
  const OPTIONS = Uint8Array.of(2, 4, 0x05, 0xb4);
  /** A SYN with MSS 1460. */
  function syn(
    from: string,
    to: string,
    ports: readonly [number, number],
    flags: number,
  ): Uint8Array {
    const plain = writeTcpPacket({
      source: ip(from),
      destination: ip(to),
      sourcePort: ports[0],
      destinationPort: ports[1],
      flags,
      payload: OPTIONS,
    });
    const offset = parsed(plain).headerLength + 12;
    plain[offset] = 0x60;
    const view = viewOf(plain);
    const field = offset + 4;
    // The header is longer by a word now: 0x6000 instead of 0x5000.
    const sum = (~view.getUint16(field) & 0xffff) + 0x1000;
    view.setUint16(field, ~((sum & 0xffff) + (sum >>> 16)) & 0xffff);
    return plain;
  }
  const mssOf = (packet: Uint8Array | undefined): number =>
    packet ? viewOf(packet).getUint16(packet.length - 2) : -1;

  test.each([
    ['10.0.0.9', 1240],
    ['2001:db8::9', 1220],
  ])('is what the tunnel carries, in both directions, to and from %s', (peer, expected) => {
    const world = lan();
    const out = world.fromClient(syn(own(peer), peer, [40_000, 22], TCP_FLAG.syn)).forwarded;
    expect(mssOf(out)).toBe(expected);
    expect(checksumsAreRight(out ?? NOTHING)).toBe(true);
    const back = syn(peer, own(peer), [22, 40_000], TCP_FLAG.syn | TCP_FLAG.ack);
    const { sealed } = world.fromTun(back);
    expect(mssOf(sealed)).toBe(expected);
    expect(checksumsAreRight(sealed ?? NOTHING)).toBe(true);
  });

  test('is left alone if the operator wants that', () => {
    const world = lan({ clampMss: false });
    const { forwarded } = world.fromClient(syn(ALICE.ipv4, '10.0.0.9', [40_000, 22], TCP_FLAG.syn));
    expect(mssOf(forwarded)).toBe(1460);
  });
});

describe('data-plane 17.15: a packet in fragments', () => {
  const large = (from: string, to: string, ports: readonly [number, number]): Uint8Array =>
    writeUdpPacket({
      identification: 9,
      source: ip(from),
      destination: ip(to),
      sourcePort: ports[0],
      destinationPort: ports[1],
      payload: new Uint8Array(8_192).fill(7),
    });

  function join(parts: readonly Uint8Array[]): Uint8Array | undefined {
    const reassembly = new Reassembly();
    for (const part of parts) {
      const outcome = reassembly.add('test', part, instant(0));
      if (outcome.kind === 'whole') return outcome.packet.bytes;
    }
    return undefined;
  }

  test('is decided and translated as a whole, and goes on in fragments, in both directions', () => {
    const world = withDomain();
    const request = splitPacket(large(ALICE.ipv4, '100.96.0.1', [40_000, 53]), 9, 1_280);
    for (const part of request) expect(world.fromClient(part).forwarded).toBeUndefined();
    const toResource: Uint8Array[] = [];
    for (let part = world.gateway.pollTunPacket(); part; part = world.gateway.pollTunPacket())
      toResource.push(part);
    expect(join(toResource)).toEqual(large(ALICE.ipv4, '10.9.0.7', [40_000, 53]));
    const answer = splitPacket(large('10.9.0.7', ALICE.ipv4, [53, 40_000]), 9, 1_280);
    const toClient = answer.flatMap((part) => world.fromTun(part).alone);
    expect(toClient.every(({ length }) => length <= 1_280)).toBe(true);
    expect(join(toClient)).toEqual(large('100.96.0.1', ALICE.ipv4, [53, 40_000]));
    expect(world.drops()).toEqual({});
  });

  test('that no filter allows is refused as a whole', () => {
    const world = withDomain();
    const parts = splitPacket(large(ALICE.ipv4, '100.96.0.1', [40_000, 99]), 9, 1_280);
    const answers = parts.flatMap((part) => world.fromClient(part).answers);
    expect(answers).toHaveLength(1);
    expect(world.gateway.pollTunPacket()).toBeUndefined();
    expect(world.drops()).toEqual({ filtered: 1 });
  });
});
