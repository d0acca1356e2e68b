// A client role under a list of operations: packets from applications and from hostile gateways, DNS messages, portal messages in any order, events of the
// link, resets, jumps in time. Nothing throws, no buffer leaves its limits, nothing foreign enters the TUN device, and nothing is
// sent to a gateway that is not connected.

import { addressFromWords } from '../../../src/base/address.ts';
import { peerId, resourceId } from '../../../src/base/ids.ts';
import { later } from '../../../src/base/time.ts';
import { writeControlPacket } from '../../../src/wire/control/p2p-control.ts';
import { DNS_TYPE } from '../../../src/wire/dns/records.ts';
import { DESTINATION_WORDS } from '../../../src/wire/ip/parsed-packet.ts';
import {
  ClientWorld,
  cidrResource,
  dnsResource,
  GATEWAY_A,
  GATEWAY_B,
  interfaceSettings,
  internetResource,
  OWN_IPV4,
  OWN_IPV6,
  SENTINEL,
} from '../../support/client-world.ts';
import { tcp, udp } from '../../support/gateway-world.ts';
import { ip, parse } from '../../support/packets.ts';
import { Operations } from '../operations.ts';
import { anyPacketOf } from '../packets.ts';

export const name = 'client-role';
export const kind = 'operations';

const MAX_OPERATIONS = 32;
const RESOURCES = [
  cidrResource('net', '10.20.0.0/24'),
  cidrResource('narrow', '10.20.0.128/25', [tcp(443)]),
  cidrResource('six', '2001:db8::/32', [udp(1, 5_000)]),
  dnsResource('git', 'git.corp.test', { filters: [tcp(443)] }),
  dnsResource('all', '**.corp.test'),
  dnsResource('six-only', '*.six.test', { ipStack: 'ipv6_only' }),
  internetResource('internet'),
];
const GATEWAYS = [GATEWAY_A, GATEWAY_B];
const NAMES = [
  'git.corp.test',
  'GIT.Corp.test',
  'a.b.corp.test',
  'x.six.test',
  'example.test',
  '1.0.96.100.in-addr.arpa',
  'use-application-dns.net',
];
const TYPES = [DNS_TYPE.a, DNS_TYPE.aaaa, DNS_TYPE.ptr, DNS_TYPE.https, 16, 33, 255];
const SERVERS = ['9.9.9.9', '2001:db8::53', SENTINEL, '127.0.0.1'];
const OWN = [OWN_IPV4, OWN_IPV6];
const PLACES = [
  '10.20.0.5',
  '10.20.0.200',
  '100.96.0.1',
  '100.96.0.5',
  'fd00:2021:1111:8000::1',
  '100.100.111.1',
  '1.1.1.1',
  '224.0.0.1',
  '2001:db8::5',
  'ff02::1',
  '::1',
  '127.0.0.1',
  GATEWAY_A.ipv4,
  GATEWAY_A.ipv6,
  GATEWAY_B.ipv4,
];
const EVERYWHERE = [...OWN, ...PLACES];
const JUMPS = [0, 1, 1_999, 2_000, 10_000, 120_000, 2 ** 33];

export function run(bytes: Uint8Array): void {
  const ops = new Operations(bytes);
  const world = new ClientWorld(ops.some(RESOURCES));
  for (let i = 0; i < MAX_OPERATIONS && !ops.isAtEnd; i++) {
    perform(ops, world);
    check(world);
  }
  world.client.shutdown(world.now);
}

function perform(ops: Operations, world: ClientWorld): void {
  const resource = ops.pick(RESOURCES);
  const gateway = ops.pick(GATEWAYS);
  const { client } = world;
  switch (ops.byte() % 16) {
    case 0:
      return world.init(ops.some(RESOURCES), ops.some(SERVERS));
    case 1: {
      const payload = { ...resource, name: `${ops.byte()}` };
      return world.portal({ event: 'resource_created_or_updated', payload });
    }
    case 2:
      return world.portal({ event: 'resource_deleted', payload: resource.id });
    case 3:
    case 4:
      return world.grant(resource.id, gateway);
    case 5:
      return world.refuse(resource.id, ops.pick(['offline', 'forbidden'] as const));
    case 6: {
      world.query(ops.pick(NAMES), ops.pick(TYPES), ops.pick(SERVERS));
      client.handleDnsQuery(ops.bytes(64), ip(SENTINEL), world.now);
      return;
    }
    case 7:
      return changeLink(ops, world, gateway.id);
    case 8:
      return changeSurroundings(ops, world);
    case 9:
      world.now = later(world.now, ops.pick(JUMPS));
      return client.handleTimeout(world.now);
    case 10: {
      const { id } = resource;
      const status = ops.pick(['active', 'inactive'] as const);
      const domain = ops.pick(NAMES);
      const packet = writeControlPacket({ kind: 'domain-status', resource: id, domain, status });
      world.fromGateway(ops.damage(packet), gateway.id);
      return;
    }
    case 11:
    case 12: {
      const packet = ops.damage(anyPacketOf(ops, EVERYWHERE, EVERYWHERE));
      if (!world.fromGateway(packet, gateway.id)) return;
      const { outcome, packet: arrived } = parse(packet);
      const destination = addressFromWords(arrived.addresses, DESTINATION_WORDS);
      if (outcome !== 'parsed' || (destination !== OWN_IPV4 && destination !== OWN_IPV6))
        throw new Error('something foreign entered the TUN device');
      return;
    }
    default: {
      const sources = ops.byte() % 4 === 0 ? EVERYWHERE : OWN;
      const options = ops.byte() % 4 === 0 ? { isPartial: true } : {};
      const peer = world.fromTun(ops.damage(anyPacketOf(ops, sources, EVERYWHERE)), options);
      if (peer !== undefined && !world.link.slots.includes(peer))
        throw new Error('sealed for nobody');
    }
  }
}

function changeLink(ops: Operations, world: ClientWorld, gateway: string): void {
  const { link } = world;
  switch (ops.byte() % 7) {
    case 0:
      return world.established(gateway);
    case 1:
      return world.failed(gateway);
    case 2:
      link.isReady = !link.isReady;
      return;
    case 3:
      link.sendOutcome = ops.pick(['sent', 'waiting', 'still-connecting', 'failed'] as const);
      return;
    case 4:
      link.hasRelays = !link.hasRelays;
      return;
    case 5:
      link.upsertOfKnown = ops.pick(['reused', 'replaced'] as const);
      return;
    default:
      link.arrived.push({
        peer: peerId(gateway),
        bytes: anyPacketOf(ops, EVERYWHERE, EVERYWHERE),
        ecn: 0,
      });
      world.client.handleTimeout(world.now);
  }
}

function changeSurroundings(ops: Operations, world: ClientWorld): void {
  const { client, now } = world;
  switch (ops.byte() % 6) {
    case 0:
      return client.handlePortalDisconnected();
    case 1:
      return client.handlePortalConnected(now);
    case 2:
      return client.reset(now);
    case 3:
      return client.setSystemResolvers(ops.some(SERVERS).map(ip));
    case 4: {
      const payload = { interface: interfaceSettings(ops.some(SERVERS)) };
      return world.portal({ event: 'config_changed', payload });
    }
    default:
      return world.grant(resourceId('unknown'));
  }
}

function check(world: ClientWorld): void {
  const { client, link, now } = world;
  world.events();
  world.toTun();
  link.sent.length = 0;
  const snapshot = client.snapshot() as {
    access: { pending: number; waiting: number };
    names: number;
  };
  const { pending, waiting } = snapshot.access;
  if (pending > RESOURCES.length) throw new Error('asks for more than there is');
  if (waiting > 2 * GATEWAYS.length * 128) throw new Error('too much waits');
  if (snapshot.names > NAMES.length) throw new Error('more names than were asked for');
  const due = client.pollTimeout();
  if (due === undefined) return;
  if (Number.isNaN(due)) throw new Error('no time');
  if (due <= now) client.handleTimeout(now);
  const next = client.pollTimeout();
  if (next !== undefined && next <= now) throw new Error('a deadline that does not pass');
}
