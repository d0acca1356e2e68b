// The NAT table beside its model: any packets, sweeps and pauses give the same sessions, and both directions stay inverse.

import { addressFromWords, type IpAddress, writeAddressWords } from '../../../src/base/address.ts';
import { instant } from '../../../src/base/time.ts';
import { NAT, NatTable } from '../../../src/proto/nat/nat-table.ts';
import { ParsedPacket, TRANSPORT } from '../../../src/wire/ip/parsed-packet.ts';
import { IP_PROTOCOL } from '../../../src/wire/ip/protocol.ts';
import { NatModel } from '../../support/nat-model.ts';
import { ip } from '../../support/packets.ts';
import { observe } from '../engine/edges.ts';
import { Operations } from '../operations.ts';

export const name = 'nat-table';
export const kind = 'operations';

const MAX_OPERATIONS = 64;
const PORTS = [40_000, 40_001, 40_002, 65_535, 65_534, 1, 2, 0];
const REMOTE_PORTS = [80, 443, 0];
const PROXIES = ['100.96.0.1', '100.96.0.2', 'fd00:2021:1111:8000::1'].map(ip);
const REALS = ['10.0.0.1', '10.0.0.2', '2001:db8::1'].map(ip);
const CLIENT = ip('100.64.0.5');
const FLAGS = [16, 2, 18, 1, 17, 4, 20, 0, 3, 6];
/** Whole seconds, because the table sweeps at most once a second. */
const WAITS = [1, 4, 5, 6, 59, 60, 61, 119, 120, 121, 899, 900, 901, 7_439, 7_440].map(
  (seconds) => seconds * 1_000,
);
const TRANSPORTS = [TRANSPORT.tcp, TRANSPORT.udp, TRANSPORT.echo];

const packet = new ParsedPacket();
const real = new Int32Array(4);

interface World {
  readonly nat: NatTable;
  readonly model: NatModel;
  now: number;
}

export function run(bytes: Uint8Array): void {
  const ops = new Operations(bytes);
  const world: World = { nat: new NatTable(ops.byte()), model: new NatModel(), now: 0 };
  for (let i = 0; i < MAX_OPERATIONS && !ops.isAtEnd; i++) perform(ops, world);
  observe(world.nat.count * 64 + world.nat.expiredCount);
}

function perform(ops: Operations, world: World): void {
  switch (ops.byte() % 8) {
    case 0:
    case 1:
      return wait(world, ops.pick(WAITS));
    case 2:
      return ops.byte() % 4 === 0 ? connection(ops, world) : late(ops, world);
    case 3:
    case 4:
      return toClient(ops, world);
    default:
      return toResource(ops, world);
  }
}

/** Each sweep at its own instant. */
function wait(world: World, milliseconds: number): void {
  const { nat, model } = world;
  const end = world.now + milliseconds;
  for (let due = nat.pollTimeout(); due !== undefined && due <= end; due = nat.pollTimeout()) {
    world.now = Math.max(world.now, due);
    nat.handleTimeout(instant(world.now));
    model.sweep(world.now);
    if (nat.count !== model.sessions.length) throw new Error('another number of sessions');
    if (nat.pollTimeout() === due) throw new Error('a deadline that does not pass');
  }
  world.now = end;
}

/** The loop is late: a packet comes before the sweep that is due. */
function late(ops: Operations, world: World): void {
  world.now += ops.pick(WAITS);
  if (ops.byte() % 2 === 0) toClient(ops, world);
  else toResource(ops, world);
  world.nat.handleTimeout(instant(world.now));
  world.model.sweep(world.now);
}

function toResource(ops: Operations, world: World): void {
  sendOut(anyPacket(ops), ops.pick(PROXIES), ops.pick(REALS), world);
}

/** The port that the resource sees. */
function sendOut(
  fields: Fields,
  address: IpAddress,
  to: IpAddress,
  { nat, model, now }: World,
): number {
  fill(fields, CLIENT, address, fields.port, fields.remotePort);
  writeAddressWords(to, real, 0);
  const known = nat.findToResource(packet, instant(now));
  const session = known === NAT.unknown ? nat.allocate(packet, real, 0, instant(now)) : known;
  if (session < 0) throw new Error(`no session: ${session}`);
  if (session === known) nat.noteToResource(session, packet, instant(now));
  const expected = model.toResource({ ...fields, address }, to, now);
  if (nat.outsidePortOf(session) !== expected.outsidePort) throw new Error('another port');
  if (addressFromWords(nat.rows, nat.outsideOf(session)) !== expected.outside)
    throw new Error('another address');
  return expected.outsidePort;
}

function toClient(ops: Operations, world: World): void {
  takeIn(anyPacket(ops), ops.pick(REALS), world);
}

function takeIn(fields: Fields, address: IpAddress, { nat, model, now }: World): void {
  fill(fields, address, CLIENT, fields.remotePort, fields.port);
  const session = nat.findToClient(packet, instant(now));
  const expected = model.toClient({ ...fields, address }, now);
  if (expected === 'expired' || expected === 'unknown') {
    if (session !== NAT[expected]) throw new Error(`${session} and not ${expected}`);
    return;
  }
  if (session >= 0) nat.noteToClient(session, fields.flags, instant(now));
  if (session < 0 || nat.insidePortOf(session) !== expected.insidePort)
    throw new Error('another inside port');
  if (addressFromWords(nat.rows, nat.insideOf(session)) !== expected.inside)
    throw new Error('another inside address');
}

/** A whole TCP connection, until it is closed by both sides or by one; what comes of it is seen afterwards. */
function connection(ops: Operations, world: World): void {
  const fields = { ...anyPacket(ops), transport: TRANSPORT.tcp, remotePort: 80 };
  const address = ops.pick(PROXIES);
  const to = ops.pick(REALS);
  const end = ops.pick([17, 17, 4]);
  const outside = sendOut(withFlags(fields, 2), address, to, world);
  const back = { ...fields, port: outside };
  takeIn(withFlags(back, 18), to, world);
  sendOut(withFlags(fields, end), address, to, world);
  takeIn(withFlags(back, end), to, world);
  wait(world, ops.pick([1_000, 5_000, 6_000]));
  takeIn(withFlags(back, 16), to, world);
}

function withFlags(fields: Fields, flags: number): Fields {
  const has = (flag: number): boolean => (flags & flag) !== 0;
  return { ...fields, flags, isFin: has(1), isRst: has(4), isSyn: isSyn(flags) };
}

interface Fields {
  readonly transport: number;
  readonly port: number;
  readonly remotePort: number;
  readonly flags: number;
  readonly isFin: boolean;
  readonly isRst: boolean;
  readonly isSyn: boolean;
}

function anyPacket(ops: Operations): Fields {
  const transport = ops.pick(TRANSPORTS);
  const port = ops.pick(PORTS);
  const isTcp = transport === TRANSPORT.tcp;
  const flags = isTcp ? ops.pick(FLAGS) : 0;
  const remotePort = isTcp ? ops.pick(REMOTE_PORTS) : 0;
  const has = (flag: number): boolean => (flags & flag) !== 0;
  return { transport, port, remotePort, flags, isFin: has(1), isRst: has(4), isSyn: isSyn(flags) };
}

/** A connection begins with SYN and without ACK. */
function isSyn(flags: number): boolean {
  return (flags & 18) === 2;
}

function fill(
  { transport, flags }: Fields,
  source: IpAddress,
  destination: IpAddress,
  sourcePort: number,
  destinationPort: number,
): void {
  writeAddressWords(source, packet.addresses, 0);
  writeAddressWords(destination, packet.addresses, 4);
  packet.transport = transport;
  packet.protocol = protocolOf(transport);
  packet.tcpFlags = flags;
  packet.sourcePort = sourcePort;
  packet.destinationPort = destinationPort;
}

function protocolOf(transport: number): number {
  if (transport === TRANSPORT.echo) return IP_PROTOCOL.icmp;
  return transport === TRANSPORT.tcp ? IP_PROTOCOL.tcp : IP_PROTOCOL.udp;
}
