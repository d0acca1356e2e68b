// A client that speaks correctly but lies: whatever it seals, past all rules of its own role, is still from a client with a valid key (data-plane 3.3, 9, 15).

import type { IpAddress } from '../../../src/base/address.ts';
import { utf8Encode } from '../../../src/base/bytes.ts';
import { writeControlPacket } from '../../../src/wire/control/p2p-control.ts';
import { writeIcmpPacket, writeUdpPacket } from '../../../src/wire/ip/write-packet.ts';
import type { ClientProgram } from '../actors/client-program.ts';
import { Dice } from '../dice.ts';
import type { Attack } from '../steps/step.ts';
import type { World } from '../world.ts';

const FLOOD = 150;
/** Of others, of nobody, and special. */
const SOURCES = ['100.64.0.1', '100.95.1.1', '10.0.0.1', '127.0.0.1', '0.0.0.0', '1.1.1.1'];
const SOURCES_IPV6 = ['fd00:2021:1111::1', 'fd50::1', '::1', '::', 'ff02::1', '2606:4700::1111'];
const PROXIES = [
  '100.100.111.1',
  '100.64.0.9',
  '10.0.0.1',
  '127.0.0.1',
  '100.96.0.1',
  '100.127.0.1',
];
const VICTIMS = ['127.0.0.1', '255.255.255.255', '224.0.0.1', '169.254.1.1', '::1', 'fe80::1'];
/** No application has it. */
const MESSAGE = utf8Encode('nobody should get this');

export type Lie = Extract<Attack, { by: 'client' }>['what'];

export function lie(world: World, client: ClientProgram, what: Lie, seed: number): void {
  const dice = new Dice(seed);
  world.liars.add(client.name);
  switch (what) {
    case 'spoof':
      return spoof(world, client, dice);
    case 'proxies':
      return flood(() => client.sealPastRules(assignedIps(world, client, dice)));
    case 'icmp':
      return flood(() => client.sealPastRules(error(world, client, dice)));
    case 'candidates':
      return inventCandidates(client, dice);
    case 'status':
      client.sealPastRules(
        writeControlPacket({ kind: 'domain-status', resource: '', domain: 'x', status: 'active' }),
      );
      client.sealPastRules(new Uint8Array(dice.below(60)).fill(dice.below(256)));
  }
}

function flood(once: () => void): void {
  for (let i = 0; i < FLOOD; i++) once();
}

function spoof(world: World, client: ClientProgram, dice: Dice): void {
  const others = world.clients.filter((it) => it !== client);
  for (let i = 0; i < 20; i++) {
    const destination = dice.pick(addressesOf(world));
    const isIpv6 = destination.includes(':');
    const theirs = others.map(({ ipv4, ipv6 }) => (isIpv6 ? ipv6 : ipv4)).filter((it) => it !== '');
    const source = dice.pick([...theirs, ...(isIpv6 ? SOURCES_IPV6 : SOURCES)]);
    client.sealPastRules(udp(source, destination, dice));
  }
}

function udp(source: string, destination: string, dice: Dice): Uint8Array {
  return writeUdpPacket({
    source: source as IpAddress,
    destination: destination as IpAddress,
    sourcePort: dice.between(1, 60_000),
    destinationPort: dice.pick([53, 80, 443, 5_001]),
    payload: MESSAGE,
  });
}

function assignedIps(world: World, client: ClientProgram, dice: Dice): Uint8Array {
  const known = resourceIdsOf(client);
  const resource = known.length > 0 && dice.chance(0.8) ? dice.pick(known) : 'no such thing';
  const domain = dice.pick([...world.plan.names.map((it) => it.name), 'x'.repeat(300), '', '..']);
  const proxyIps = Array.from({ length: dice.pick([0, 1, 8, 40]) }, () => dice.pick(PROXIES));
  return writeControlPacket({
    kind: 'assigned-ips',
    resource,
    domain,
    proxyIps: proxyIps.map((text) => text as IpAddress),
  });
}

/** About a packet that the resource never sent. */
function error(world: World, client: ClientProgram, dice: Dice): Uint8Array {
  const destination = dice.pick(addressesOf(world));
  const isIpv6 = destination.includes(':');
  const own = (isIpv6 ? client.ipv6 : client.ipv4) || (isIpv6 ? '::1' : '127.0.0.1');
  const [type, code] = isIpv6 ? [1, 4] : [3, 3];
  return writeIcmpPacket({
    source: own as IpAddress,
    destination: destination as IpAddress,
    type,
    code,
    payload: udp(destination, own, dice),
  });
}

function inventCandidates(client: ClientProgram, dice: Dice): void {
  for (const { peer } of client.nodeSnapshot()?.connections ?? []) {
    const candidates = Array.from({ length: 60 }, (_, index) => {
      const kind = dice.pick(['host', 'srflx', 'relay']);
      const port = dice.pick([0, 1, 3_478, 52_625, 65_535]);
      const where = `${dice.pick(VICTIMS)} ${port} typ ${kind}`;
      return `candidate:${index} 1 udp ${dice.below(1 << 30)} ${where} raddr 0.0.0.0 rport 0`;
    });
    client.say('new_gateway_ice_candidates', { gateway_id: peer, candidates });
  }
}

function resourceIdsOf(client: ClientProgram): string[] {
  const found = JSON.stringify(client.snapshot() ?? {}).matchAll(/"id":"([0-9a-f-]{36})"/g);
  return [...found].map(([, id = '']) => id);
}

function addressesOf(world: World): string[] {
  return world.plan.resourceHosts.flatMap(({ addresses }) => addresses);
}
