// Operations 13.2 and 16 (properties 41 to 48) in the gateway as it is: packets in, events of flows out.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  BOB,
  CLIENT_IPV4,
  cidr,
  dns,
  GATEWAY_IPV4,
  GatewayWorld,
  icmp,
  internet,
  tcp,
  udp,
} from '../../../../test/support/gateway-world.ts';
import { ip } from '../../../../test/support/packets.ts';
import { TCP_FLAG } from '../../../wire/ip/tcp.ts';
import { writeEchoPacket, writeTcpPacket, writeUdpPacket } from '../../../wire/ip/write-packet.ts';
import type { Flow, FlowEvent, FlowTotals } from './flow-record.ts';

const { syn, ack, fin, rst } = TCP_FLAG;
const SERVER = '10.0.0.9';
const PROXY = '100.96.0.1';
const REAL = '10.20.30.40';

interface Segment {
  readonly flags?: number;
  readonly bytes?: number;
  readonly sourcePort?: number;
  readonly port?: number;
  readonly to?: string;
  readonly client?: typeof BOB;
}

function tracked(): GatewayWorld {
  const world = new GatewayWorld();
  world.authorize(cidr('lan', '10.0.0.0/24'));
  world.authorize(dns('db', '*.corp.test', [tcp(1, 65_535), udp(1, 65_535)]));
  world.setUp('db', 'DB.corp.test', [PROXY], [REAL]);
  world.gateway.trackFlows(true);
  world.setOuter('198.51.100.7', 40_000);
  return world;
}

function send(world: GatewayWorld, segment: Segment = {}): boolean {
  const { flags = ack, bytes = 0, sourcePort = 40_001, port = 443, to = SERVER, client } = segment;
  const packet = writeTcpPacket({
    source: ip(client?.ipv4 ?? CLIENT_IPV4),
    destination: ip(to),
    sourcePort,
    destinationPort: port,
    flags,
    payload: new Uint8Array(bytes),
  });
  return world.fromClient(packet, client && { client }).forwarded !== undefined;
}

function receive(world: GatewayWorld, segment: Segment = {}): void {
  const { flags = ack, bytes = 0, sourcePort = 40_001, port = 443, to = SERVER } = segment;
  const payload = new Uint8Array(bytes);
  const ports = { sourcePort: port, destinationPort: sourcePort };
  world.fromTun(
    writeTcpPacket({ source: ip(to), destination: CLIENT_IPV4, ...ports, flags, payload }),
  );
}

function sendUdp(world: GatewayWorld, to: string, port: number, bytes = 10): void {
  const fields = { sourcePort: 5_000, destinationPort: port, payload: new Uint8Array(bytes) };
  world.fromClient(writeUdpPacket({ source: CLIENT_IPV4, destination: ip(to), ...fields }));
}

const flowEvents = (world: GatewayWorld): FlowEvent[] =>
  world.events().flatMap((event) => ('flow' in event ? [event] : []));
const kinds = (events: readonly FlowEvent[]): string[] => events.map(({ kind }) => kind.slice(5));
const completed = (
  events: readonly FlowEvent[],
): { readonly flow: Flow; readonly totals: FlowTotals }[] =>
  events.flatMap((event) => (event.kind === 'flow-completed' ? [event] : []));

function open(world: GatewayWorld, segment: Segment = {}): void {
  send(world, { ...segment, flags: syn });
  receive(world, { ...segment, flags: syn | ack });
  send(world, segment);
}

describe('operations 16-41: a connection is one flow', () => {
  test('SYN, its retransmission, data, FIN of both sides', () => {
    const world = tracked();
    send(world, { flags: syn });
    send(world, { flags: syn });
    receive(world, { flags: syn | ack });
    send(world, { bytes: 100 });
    receive(world, { bytes: 1_000 });
    send(world, { flags: fin | ack });
    world.advance(50);
    receive(world, { flags: fin | ack });
    expect(kinds(flowEvents(world))).toEqual(['started']);
    world.advance(7);
    const [over] = completed(flowEvents(world));
    expect(over?.totals).toEqual({
      end: 50,
      lastPacket: 50,
      packetsToResource: 4,
      packetsToClient: 3,
      bytesToResource: 100,
      bytesToClient: 1_000,
    });
  });

  test('a SYN behind data on the same tuple begins another', () => {
    const world = tracked();
    open(world);
    send(world, { flags: syn });
    expect(kinds(flowEvents(world))).toEqual(['started', 'completed', 'started']);
  });
});

test('operations 16-42: what is left of a closed connection begins no flow', () => {
  const world = tracked();
  for (const flags of [ack, fin, fin | ack, rst, rst | ack]) send(world, { flags });
  expect(flowEvents(world)).toEqual([]);
  send(world, { flags: ack, bytes: 1 });
  expect(kinds(flowEvents(world))).toEqual(['started']);
});

test('operations 16-42: the last ACK behind FIN of both sides is not a flow of its own', () => {
  const world = tracked();
  open(world);
  send(world, { flags: fin | ack });
  receive(world, { flags: fin | ack });
  world.advance(0);
  send(world);
  expect(kinds(flowEvents(world))).toEqual(['started', 'completed']);
});

test.each([
  ['to the resource', send],
  ['to the client', receive],
])('operations 16-43: RST %s ends the flow at once and counts', (_, way) => {
  const world = tracked();
  open(world);
  const before = way === send ? 2 : 1;
  way(world, { flags: rst });
  const [over] = completed(flowEvents(world));
  expect(way === send ? over?.totals.packetsToResource : over?.totals.packetsToClient).toBe(
    before + 1,
  );
  expect(over?.totals.end).toBe(world.now);
});

test('operations 16-44: two minutes of silence end a flow, and its last packet keeps its time', () => {
  const world = tracked();
  sendUdp(world, SERVER, 53);
  world.advance(1_000);
  sendUdp(world, SERVER, 53);
  world.advance(120_000);
  expect(kinds(flowEvents(world))).toEqual(['started']);
  world.advance(2_000);
  const [over] = completed(flowEvents(world));
  expect(over?.totals).toMatchObject({ lastPacket: 1_000, end: 123_000, packetsToResource: 2 });
  expect(world.gateway.pollTimeout()).not.toBe(123_000);
});

describe('operations 16-45: outer addresses', () => {
  const sources = (flow: Flow | undefined): number[] =>
    flow?.outers.map(({ sourcePort }) => sourcePort) ?? [];

  test('are appended when they change, also to earlier ones', () => {
    const world = tracked();
    open(world);
    world.setOuter('198.51.100.8', 40_000);
    send(world);
    send(world);
    world.setOuter('198.51.100.7', 40_000);
    send(world, { flags: rst });
    const [over] = completed(flowEvents(world));
    expect(over?.flow.outers.map(({ source }) => source)).toEqual([
      '198.51.100.7',
      '198.51.100.8',
      '198.51.100.7',
    ]);
    expect(over?.flow.outers[0]).toMatchObject({
      destination: '192.0.2.10',
      destinationPort: 52_625,
    });
  });

  test('split the flow with the seventeenth', () => {
    const world = tracked();
    open(world);
    for (let port = 40_001; port <= 40_015; port++) {
      world.setOuter('198.51.100.7', port);
      send(world);
    }
    expect(kinds(flowEvents(world))).toEqual(['started']);
    world.setOuter('198.51.100.7', 40_016);
    send(world, { bytes: 1 });
    const events = flowEvents(world);
    expect(kinds(events)).toEqual(['completed', 'started']);
    expect(sources(completed(events)[0]?.flow)).toHaveLength(16);
    expect(sources(events[1]?.flow)).toEqual([40_016]);
  });

  test('change with packets of the client only', () => {
    const world = tracked();
    open(world);
    world.setOuter('198.51.100.9', 1);
    receive(world);
    receive(world, { flags: rst });
    expect(sources(completed(flowEvents(world))[0]?.flow)).toEqual([40_000]);
  });
});

test('operations 16-46: answers that could not be sent are not counted', () => {
  const world = tracked();
  open(world);
  world.link.isReady = false;
  world.link.sendOutcome = 'unknown-peer';
  receive(world, { bytes: 500 });
  world.link.isReady = true;
  receive(world, { bytes: 20 });
  send(world, { flags: rst });
  const [over] = completed(flowEvents(world));
  expect(over?.totals).toMatchObject({ bytesToClient: 20, packetsToClient: 2 });
});

test('operations 16-47: connections of several clients with equal ports to one server are several flows', () => {
  const world = tracked();
  world.authorize(cidr('lan', '10.0.0.0/24'), { client: BOB });
  send(world, { flags: syn });
  send(world, { flags: syn, client: BOB });
  expect(flowEvents(world).map(({ flow }) => flow.client)).toEqual(['alice', 'bob']);
});

describe('operations 16-48: switching', () => {
  test('off keeps what is open until it ends, with every packet, and begins nothing', () => {
    const world = tracked();
    open(world);
    world.gateway.trackFlows(false);
    send(world, { bytes: 7 });
    send(world, { flags: syn, sourcePort: 40_002 });
    send(world, { flags: rst });
    const events = flowEvents(world);
    expect(kinds(events)).toEqual(['started', 'completed']);
    expect(completed(events)[0]?.totals.bytesToResource).toBe(7);
  });

  test('nothing is recorded before it is on, and then clients that are here already', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24'));
    send(world, { flags: syn });
    world.gateway.trackFlows(true);
    expect(flowEvents(world)).toEqual([]);
    send(world, { bytes: 1 });
    expect(kinds(flowEvents(world))).toEqual(['started']);
  });

  test('the end of the gateway ends all flows; the end of a client, its own', () => {
    const world = tracked();
    world.authorize(cidr('lan', '10.0.0.0/24'), { client: BOB });
    open(world);
    send(world, { flags: syn, client: BOB });
    world.revoke('lan', BOB);
    expect(completed(flowEvents(world)).map(({ flow }) => flow.client)).toEqual(['bob']);
    world.advance(20);
    world.gateway.shutDown(world.now);
    expect(completed(flowEvents(world))[0]?.totals.end).toBe(20);
  });
});

describe('the key is what the resource sees', () => {
  test('real address and port, and the name the client used', () => {
    const world = tracked();
    send(world, { flags: syn, to: PROXY });
    const [{ flow } = { flow: undefined }] = flowEvents(world);
    expect(flow).toMatchObject({
      protocol: 'tcp',
      resource: 'db',
      innerSource: CLIENT_IPV4,
      innerSourcePort: 40_001,
      innerDestination: REAL,
      innerDestinationPort: 443,
      domain: 'DB.corp.test',
    });
  });

  test('each port of the resource is a flow of its own, also behind one UDP session', () => {
    const world = tracked();
    for (const port of [53, 54, 53]) sendUdp(world, PROXY, port);
    expect(flowEvents(world).map(({ flow }) => flow.innerDestinationPort)).toEqual([53, 54]);
  });

  test('only TCP and UDP of an authorization: no echo, nothing to the gateway itself, nothing refused', () => {
    const world = tracked();
    const echo = { kind: 'request', identifier: 1, sequence: 1 } as const;
    world.fromClient(writeEchoPacket({ source: CLIENT_IPV4, destination: ip(SERVER), ...echo }));
    sendUdp(world, GATEWAY_IPV4, 53_535);
    sendUdp(world, '10.0.1.1', 53);
    expect(flowEvents(world)).toEqual([]);
  });

  test('another resource that takes over begins another flow', () => {
    const world = tracked();
    world.authorize(cidr('narrow', '10.0.0.9/32', [tcp(443)]));
    open(world);
    world.revoke('narrow');
    send(world, { bytes: 3 });
    const events = flowEvents(world);
    expect(events.map(({ kind, flow }) => [kind.slice(5), flow.resource])).toEqual([
      ['started', 'narrow'],
      ['completed', 'narrow'],
      ['started', 'lan'],
    ]);
  });

  test('of the Internet resource, too; and it goes on when filters change', () => {
    const world = new GatewayWorld();
    world.gateway.trackFlows(true);
    world.authorize(internet('net'));
    send(world, { flags: syn, to: '1.1.1.1' });
    world.authorize(cidr('lan', '10.0.0.0/24', [icmp]));
    send(world, { to: '1.1.1.1', bytes: 1 });
    const events = flowEvents(world);
    expect(events.map(({ kind, flow }) => [kind, flow.resource])).toEqual([
      ['flow-started', 'net'],
    ]);
  });
});

test('a super-packet counts as its segments and their bytes, in both directions', () => {
  const world = tracked();
  open(world);
  const ports = { sourcePort: 40_001, destinationPort: 443 };
  const first = writeTcpPacket({
    source: CLIENT_IPV4,
    destination: ip(SERVER),
    ...ports,
    flags: ack,
    payload: new Uint8Array(1_200),
  });
  world.superFromClient(first, { ip: 20, transport: 20 }, 1_200 * 9 + 1);
  const answer = writeTcpPacket({
    source: ip(SERVER),
    destination: CLIENT_IPV4,
    sourcePort: 443,
    destinationPort: 40_001,
    flags: ack,
    payload: new Uint8Array(30_001),
  });
  world.fromTun(answer, { gsoType: 1, gsoSegment: 1_000, headerLength: 40, isPartial: true });
  send(world, { flags: rst });
  const [over] = completed(flowEvents(world));
  expect(over?.totals).toMatchObject({
    packetsToResource: 3 + 10,
    bytesToResource: 1_200 * 9 + 1,
    packetsToClient: 1 + 31,
    bytesToClient: 30_001,
  });
  // The sums of the client are of whole packets: each segment has its headers.
  expect(world.gateway.snapshot().clients[0]?.traffic).toEqual({
    packetsToResource: 13,
    bytesToResource: 1_200 * 9 + 1 + 13 * 40,
    packetsToClient: 32,
    bytesToClient: 30_001 + 32 * 40,
  });
});

test('whatever is sent, counters of flows are exact and none is lost', () => {
  const step = fc.record({
    way: fc.constantFrom('send', 'receive', 'time'),
    flags: fc.constantFrom(syn, ack, ack, ack, fin | ack, rst),
    bytes: fc.integer({ min: 0, max: 40 }),
    sourcePort: fc.constantFrom(40_001, 40_002, 40_003),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const world = tracked();
      const events: FlowEvent[] = [];
      let sentBytes = 0;
      for (const { way, flags, bytes, sourcePort } of steps) {
        const segment = { flags, bytes, sourcePort };
        if (way === 'time') world.advance(bytes * 1_000);
        else if (way === 'receive') receive(world, segment);
        else {
          const wasOpen = isOpen(events, sourcePort);
          send(world, segment);
          const fresh = flowEvents(world);
          if (wasOpen || fresh.length > 0) sentBytes += bytes;
          events.push(...fresh);
        }
        events.push(...flowEvents(world));
      }
      world.gateway.shutDown(world.now);
      events.push(...flowEvents(world));
      const over = completed(events);
      const starts = events.filter(({ kind }) => kind === 'flow-started');
      expect(over).toHaveLength(starts.length);
      for (const { flow, totals } of over) {
        expect(totals.lastPacket).toBeGreaterThanOrEqual(flow.start);
        expect(totals.end).toBeGreaterThanOrEqual(totals.lastPacket);
        expect(totals.packetsToResource).toBeGreaterThan(0);
      }
      expect(over.reduce((sum, { totals }) => sum + totals.bytesToResource, 0)).toBe(sentBytes);
    }),
    { numRuns: 100 },
  );
});

/** Whether the last thing heard of a tuple is that it began. */
function isOpen(events: readonly FlowEvent[], sourcePort: number): boolean {
  return (
    events.findLast(({ flow }) => flow.innerSourcePort === sourcePort)?.kind === 'flow-started'
  );
}
