// A gateway role with two clients, one of them hostile, under a list of operations: packets of all kinds, control packets, portal messages, answers of
// resolvers, events of the link, jumps in time. Nothing throws, no table leaves its limits, nobody speaks as somebody else, and a
// client without any authorization reaches nothing.

import { addressFromWords, endpoint } from '../../../src/base/address.ts';
import { clientId, peerId, resourceId } from '../../../src/base/ids.ts';
import { unixMillis } from '../../../src/base/time.ts';
import { isProxyAddress } from '../../../src/wire/control/address-plan.ts';
import { DESTINATION_WORDS, SOURCE_WORDS } from '../../../src/wire/ip/parsed-packet.ts';
import {
  ALICE,
  BOB,
  cidr,
  dns,
  GATEWAY_IPV4,
  GATEWAY_IPV6,
  GatewayWorld,
  icmp,
  initPayload,
  internet,
  type TestClient,
  tcp,
  UNIX_ZERO,
  udp,
} from '../../support/gateway-world.ts';
import { ip, parse } from '../../support/packets.ts';
import { Operations } from '../operations.ts';
import { anyPacketOf } from '../packets.ts';

export const name = 'gateway-role';
export const kind = 'operations';

const MAX_OPERATIONS = 32;
const CLIENTS = [ALICE, BOB];
const RESOURCES = [
  cidr('net', '10.20.0.0/24'),
  cidr('narrow', '10.20.0.128/25', [tcp(443), icmp]),
  cidr('six', '2001:db8::/32', [udp(1, 5_000)]),
  dns('git', 'git.corp.test', [tcp(443), udp(4_000), icmp]),
  dns('all', '**.corp.test'),
  internet('internet'),
];
const DOMAINS = [
  'git.corp.test',
  'GIT.corp.TEST',
  'a.b.corp.test',
  'example.test',
  '',
  '\u0000',
  'x'.repeat(255),
];
const PROXIES = [
  '100.96.0.1',
  '100.96.0.2',
  '100.96.0.3',
  '100.96.0.4',
  'fd00:2021:1111:8000::',
  'fd00:2021:1111:8000::1',
  '10.0.0.1',
  '::1',
];
const PLACES = [
  '10.20.0.5',
  '10.20.0.200',
  '10.2.0.40',
  '127.0.0.1',
  '0.0.0.0',
  '224.0.0.1',
  '255.255.255.255',
  '1.1.1.1',
  '169.254.169.254',
  '2001:db8::5',
  '::1',
  'fe80::1',
  'ff02::1',
  '::',
];
const PEERS = [ALICE.ipv4, ALICE.ipv6, BOB.ipv4, BOB.ipv6, GATEWAY_IPV4, GATEWAY_IPV6];
const EVERYWHERE = [...PLACES, ...PEERS, ...PROXIES.slice(0, 6)];
const DURATIONS = [undefined, 1, 1_000, 60_000, 2 ** 40, -5, 0];
const JUMPS = [0, 1, 10, 1_000, 10_000, 60_000, 120_000, 7_500_000, 2 ** 33];

export function run(bytes: Uint8Array): void {
  const ops = new Operations(bytes);
  const world = new GatewayWorld();
  for (let i = 0; i < MAX_OPERATIONS && !ops.isAtEnd; i++) {
    perform(ops, world);
    check(world);
  }
  world.gateway.shutDown(world.now);
  perform(ops, world);
  check(world);
}

function perform(ops: Operations, world: GatewayWorld): void {
  const client = ops.pick(CLIENTS);
  const resource = ops.pick(RESOURCES);
  switch (ops.byte() % 16) {
    case 0:
    case 1: {
      const expiresIn = ops.pick(DURATIONS);
      return world.authorize(resource, {
        client,
        ...(expiresIn === undefined ? {} : { expiresIn }),
      });
    }
    case 2:
      return world.revoke(resource.id, client);
    case 3:
    case 4:
      return world.assign(resource.id, ops.pick(DOMAINS), ops.some(PROXIES), client);
    case 5: {
      const addresses = ops.some(EVERYWHERE).map(ip);
      const result =
        ops.byte() % 4 === 0
          ? { kind: 'failed' as const }
          : { kind: 'resolved' as const, addresses };
      return world.gateway.handleResolved(ops.byte() % 16, result, world.now);
    }
    case 6:
      return world.advance(ops.pick(JUMPS));
    case 7: {
      const kept = ops
        .some(RESOURCES)
        .map(({ id }) => ({ client: client.id, resource: id, expiresIn: ops.pick(JUMPS) }));
      return world.portal({ event: 'init', payload: initPayload(kept) });
    }
    case 8:
      return changeLink(ops, world, client);
    case 9:
      return changePortal(ops, world, client, resource.id);
    case 10:
    case 11: {
      const packet = anyPacketOf(ops, EVERYWHERE, EVERYWHERE);
      const { sealed, slot } = world.fromTun(ops.damage(packet));
      return sealed && checkSealed(sealed, world.link.slots[slot]);
    }
    default: {
      const isHonest = ops.byte() % 2 === 0;
      const sources = isHonest ? [client.ipv4, client.ipv6] : EVERYWHERE;
      const packet = ops.damage(anyPacketOf(ops, sources, EVERYWHERE));
      const { forwarded } = world.fromClient(packet, { client, ecn: ops.byte() % 4 });
      return forwarded && checkForwarded(forwarded, client, world);
    }
  }
}

function changeLink(ops: Operations, world: GatewayWorld, client: TestClient): void {
  const { link } = world;
  const peer = peerId(client.id);
  switch (ops.byte() % 6) {
    case 0:
      link.removeConnection(peer);
      link.events.push({ kind: 'connection-failed', peer, reason: 'ice-disconnected' });
      break;
    case 1:
      link.events.push({ kind: 'connection-closed', peer: peerId('nobody') });
      break;
    case 2:
      link.isReady = !link.isReady;
      break;
    case 3:
      link.sendOutcome = ops.pick(['sent', 'waiting', 'still-connecting', 'failed'] as const);
      break;
    case 4:
      link.hasRelays = !link.hasRelays;
      break;
    default:
      link.arrived.push({ peer, bytes: anyPacketOf(ops, EVERYWHERE, EVERYWHERE), ecn: 0 });
  }
  world.gateway.handleTimeout(world.now);
}

function changePortal(
  ops: Operations,
  world: GatewayWorld,
  client: TestClient,
  resource: string,
): void {
  const { gateway, now } = world;
  switch (ops.byte() % 5) {
    case 0:
      return gateway.handlePortalDisconnected(now);
    case 1:
      return gateway.handlePortalConnected(now);
    case 2:
      return world.portal({ event: 'resource_updated', payload: ops.pick(RESOURCES) });
    case 3:
      return world.portal({
        event: 'access_authorization_expiry_updated',
        payload: {
          clientId: clientId(client.id),
          resourceId: resourceId(resource),
          expiresAt: unixMillis(UNIX_ZERO + ops.pick(JUMPS)),
        },
      });
    default:
      return gateway.setLocalAddresses(
        ops.some(EVERYWHERE).map((address) => endpoint(ip(address), 1)),
        now,
      );
  }
}

/** Into the network: as the client itself, to no place inside the tunnels, and only while it has anything. */
function checkForwarded(bytes: Uint8Array, client: TestClient, world: GatewayWorld): void {
  const { outcome, packet } = parse(bytes);
  if (outcome !== 'parsed') throw new Error(`forwarded what is ${outcome}`);
  const source = addressFromWords(packet.addresses, SOURCE_WORDS);
  const destination = addressFromWords(packet.addresses, DESTINATION_WORDS);
  if (source !== client.ipv4 && source !== client.ipv6) throw new Error(`spoofed ${source}`);
  if (isProxyAddress(destination)) throw new Error('a proxy address left the tunnel');
  if ([ALICE, BOB].some(({ ipv4, ipv6 }) => destination === ipv4 || destination === ipv6))
    throw new Error('a client reached another');
  const known = world.gateway.snapshot().clients.find(({ id }) => id === client.id);
  if (!known || known.authorizations.length === 0)
    throw new Error('forwarded without authorization');
}

function checkSealed(bytes: Uint8Array, peer: string | undefined): void {
  const { outcome, packet } = parse(bytes);
  const client = CLIENTS.find(({ id }) => id === peer);
  if (outcome !== 'parsed' || !client) throw new Error('sealed for nobody');
  const destination = addressFromWords(packet.addresses, DESTINATION_WORDS);
  if (destination !== client.ipv4 && destination !== client.ipv6)
    throw new Error(`sealed for ${peer} what is for ${destination}`);
}

function check(world: GatewayWorld): void {
  const { gateway, link, now } = world;
  world.events();
  while (gateway.pollTunPacket()) {
    // Its rules are those of `fromClient`.
  }
  link.sent.length = 0;
  const { clients, domainQueries } = gateway.snapshot();
  if (clients.length > CLIENTS.length) throw new Error('more clients than there are');
  for (const { translations, natSessions, expiredNatTuples } of clients) {
    if (translations > 32_768 || natSessions > 16_384 || expiredNatTuples > 16_384)
      throw new Error('a table left its limits');
  }
  if (domainQueries.running > 128) throw new Error('more queries than clients may have');
  const due = gateway.pollTimeout();
  if (due === undefined) return;
  if (Number.isNaN(due)) throw new Error('no time');
  if (due <= now) gateway.handleTimeout(now);
  const next = gateway.pollTimeout();
  if (next !== undefined && next <= now) throw new Error('a deadline that does not pass');
}
