// The gateway's work per super-packet, in both directions: parse, policy, NAT, verdict. One super-packet is up to 64 KiB of a bulk
// flow, so its share of a byte is small; of a flow of small packets it is everything.

import {
  createReceiveBatch,
  createTunBatch,
  SUPER,
  SUPER_FLAG,
  TUN_FLAG,
  TUN_PACKET,
} from '../src/base/batch.ts';
import { at } from '../src/base/bytes.ts';
import { instant } from '../src/base/time.ts';
import { parseSuperPacket } from '../src/wire/ip/batch-rows.ts';
import { ParsedPacket } from '../src/wire/ip/parsed-packet.ts';
import { TCP_FLAG } from '../src/wire/ip/tcp.ts';
import { writeTcpPacket, writeUdpPacket } from '../src/wire/ip/write-packet.ts';
import {
  ALICE,
  cidr,
  dns,
  GatewayWorld,
  internet,
  tcp,
  udp,
} from '../test/support/gateway-world.ts';
import { ip } from '../test/support/packets.ts';
import { measureHot } from './support/hot.ts';

const PAYLOAD = new Uint8Array(1_240);
const SUPER_LENGTH = 40 + 64 * PAYLOAD.length - 20_000;
const FLOWS = 256;

function world(): GatewayWorld {
  const result = new GatewayWorld();
  result.now = instant(1_000.25);
  result.authorize(cidr('lan', '10.0.0.0/24', [tcp(443), udp(53)]));
  for (let i = 0; i < 100; i++) result.authorize(cidr(`net-${i}`, `10.${i + 1}.0.0/16`, [tcp(80)]));
  result.authorize(dns('db', 'db.test', [tcp(443), udp(53)]));
  result.setUp('db', 'db.test', ['100.96.0.1'], ['10.20.30.40']);
  return result;
}

const tcpTo = (destination: string, sourcePort: number): Uint8Array =>
  writeTcpPacket({
    source: ip(ALICE.ipv4),
    destination: ip(destination),
    sourcePort,
    destinationPort: 443,
    flags: TCP_FLAG.ack,
    payload: PAYLOAD,
  });

/** A batch of one super-packet per flow; the headers are put back in front of each call, because translation edits them. */
function fromClient(
  gateway: GatewayWorld,
  first: (flow: number) => Uint8Array,
): (i: number) => void {
  const batch = createReceiveBatch(65_536, 4, 4);
  const { now } = gateway;
  const packets = Array.from({ length: FLOWS }, (_, flow) => first(flow));
  const row = batch.superPackets;
  row[SUPER.offset] = 64;
  row[SUPER.length] = SUPER_LENGTH;
  row[SUPER.ipHeaderLength] = 20;
  row[SUPER.transportHeaderLength] = 20;
  row[SUPER.segmentLength] = PAYLOAD.length;
  row[SUPER.segments] = 48;
  row[SUPER.flags] = SUPER_FLAG.checksumOnWrite;
  batch.superCount = 1;
  const headers = packets.map((packet) => packet.slice(0, 40));
  batch.slab.set(packets[0] ?? PAYLOAD, 64);
  return (i) => {
    batch.slab.set(at(headers, i & (FLOWS - 1)), 64);
    gateway.gateway.handleSuperPackets(batch, now);
    if (row[SUPER.verdict] !== 1) throw new Error('the packet of the benchmark is refused');
  };
}

/** Single small packets with checksums to keep. */
function smallFromClient(gateway: GatewayWorld, destination: string): (i: number) => void {
  const { now } = gateway;
  const packets = Array.from({ length: FLOWS }, (_, flow) =>
    writeUdpPacket({
      source: ip(ALICE.ipv4),
      destination: ip(destination),
      sourcePort: 2_000 + flow,
      destinationPort: 53,
      payload: new Uint8Array(36),
    }),
  );
  const batch = createReceiveBatch(65_536, 4, 4);
  const row = batch.superPackets;
  row[SUPER.offset] = 64;
  row[SUPER.length] = 64;
  row[SUPER.segments] = 1;
  batch.superCount = 1;
  return (i) => {
    batch.slab.set(at(packets, i & (FLOWS - 1)), 64);
    gateway.gateway.handleSuperPackets(batch, now);
    if (row[SUPER.verdict] !== 1) throw new Error('the packet of the benchmark is refused');
  };
}

function fromTun(gateway: GatewayWorld, source: string): (i: number) => void {
  const { now } = gateway;
  const batch = createTunBatch(65_536, 4);
  const headers = Array.from({ length: FLOWS }, (_, flow) =>
    writeTcpPacket({
      source: ip(source),
      destination: ip(ALICE.ipv4),
      sourcePort: 443,
      destinationPort: 2_000 + flow,
      flags: TCP_FLAG.ack,
      payload: new Uint8Array(50_000),
    }).slice(0, 40),
  );
  const row = batch.packets;
  row[TUN_PACKET.offset] = 64;
  row[TUN_PACKET.length] = 50_040;
  row[TUN_PACKET.gsoType] = 1;
  row[TUN_PACKET.gsoSegment] = PAYLOAD.length;
  row[TUN_PACKET.headerLength] = 40;
  row[TUN_PACKET.flags] = TUN_FLAG.checksumNeeded;
  batch.packetCount = 1;
  return (i) => {
    batch.slab.set(at(headers, i & (FLOWS - 1)), 64);
    gateway.gateway.handleTunPackets(batch, now);
    if (row[TUN_PACKET.slot] !== 0) throw new Error('the packet of the benchmark is refused');
  };
}

const plain = world();
const translated = world();
const open = new GatewayWorld();
open.now = instant(1_000.25);
open.authorize(internet('net'));
for (let flow = 0; flow < FLOWS; flow++) translated.fromClient(tcpTo('100.96.0.1', 2_000 + flow));
const parser = new ParsedPacket();
const parseBatch = createReceiveBatch(65_536, 4, 4);
parseBatch.slab.set(tcpTo('10.0.0.1', 1), 64);
parseBatch.superPackets.set([64, 1_280, 20, 20, 6, 0, 0, 1]);

await measureHot([
  { name: 'parse a packet', run: () => void parseSuperPacket(parseBatch, 0, parser, 1_280) },
  {
    name: 'super-packet to a network (101 resources)',
    run: fromClient(plain, (flow) => tcpTo('10.0.0.1', 2_000 + flow)),
  },
  {
    name: 'super-packet to the Internet',
    run: fromClient(open, (flow) => tcpTo('1.1.1.1', 2_000 + flow)),
  },
  {
    name: 'super-packet to a domain (NAT)',
    run: fromClient(translated, (flow) => tcpTo('100.96.0.1', 2_000 + flow)),
  },
  { name: 'small packet to a network', run: smallFromClient(plain, '10.0.0.1') },
  {
    name: 'small packet to a domain (NAT, checksums)',
    run: smallFromClient(translated, '100.96.0.1'),
  },
  { name: 'GSO packet from a network', run: fromTun(plain, '10.0.0.1') },
  { name: 'GSO packet from a domain (NAT)', run: fromTun(translated, '10.20.30.40') },
]);
