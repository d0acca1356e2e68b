// Packets of the client that do not pass in one piece: fragments in both directions, and packets longer than a gateway's tunnel carries.

import { describe, expect, it } from 'vitest';
import { ClientWorld, cidrResource, GATEWAY_A } from '../../../test/support/client-world.ts';
import { ip } from '../../../test/support/packets.ts';
import { endpoint, parseIp } from '../../base/address.ts';
import { toHex, viewOf } from '../../base/bytes.ts';
import { peerId } from '../../base/ids.ts';
import { pathOf } from '../../link/outbound/path.ts';
import { Reassembly } from '../../proto/fragments/reassembly.ts';
import { writeControlPacket } from '../../wire/control/p2p-control.ts';
import { splitPacket } from '../../wire/ip/fragment.ts';
import { writeUdpPacket } from '../../wire/ip/write-packet.ts';

const OWN = { 4: '100.64.0.5', 6: 'fd00:2021:1111::5' } as const;
const PEER = { 4: '10.0.0.9', 6: '2001:db8::9' } as const;

const large = (family: 4 | 6, to: 'gateway' | 'host', length = 8_000): Uint8Array => {
  const [source, destination] = to === 'gateway' ? [OWN, PEER] : [PEER, OWN];
  return writeUdpPacket({
    source: ip(source[family]),
    destination: ip(destination[family]),
    identification: 7,
    sourcePort: 4_000,
    destinationPort: 4_000,
    payload: Uint8Array.from({ length }, (_, i) => i),
  });
};

function connected(tunMtu?: number): ClientWorld {
  const world = new ClientWorld(
    [cidrResource('lan', '10.0.0.0/24'), cidrResource('lan6', '2001:db8::/64')],
    undefined,
    true,
    tunMtu,
  );
  for (const [resource, family] of [
    ['lan', 4],
    ['lan6', 6],
  ] as const) {
    world.fromTun(large(family, 'gateway', 10));
    world.grant(resource);
  }
  world.established();
  return world;
}

function join(parts: readonly Uint8Array[], world: ClientWorld): string | undefined {
  const reassembly = new Reassembly();
  for (const part of parts) {
    const outcome = reassembly.add('', part, world.now);
    if (outcome.kind === 'whole') return toHex(outcome.packet.bytes);
  }
  return undefined;
}

describe('fragments', () => {
  it.each([4, 6] as const)(
    'of this host over IPv%i go to the gateway as they were cut',
    (family) => {
      const world = connected();
      const packet = large(family, 'gateway');
      const before = world.sentData().length;
      for (const part of splitPacket(packet, 7, 1_280)) expect(world.fromTun(part)).toBeUndefined();
      const sent = world.sentData().slice(before);
      expect(sent.length).toBe(splitPacket(packet, 7, 1_280).length);
      expect(join(sent, world)).toBe(toHex(packet));
      expect(world.drops()).toEqual({});
    },
  );

  it.each([4, 6] as const)('of a resource over IPv%i reach this host as one packet', (family) => {
    const world = connected();
    const packet = large(family, 'host');
    for (const part of splitPacket(packet, 7, 1_280)) expect(world.fromGateway(part)).toBe(false);
    expect(world.toTun().map(toHex)).toEqual([toHex(packet)]);
  });

  it('are decided as a whole: no foreign source, no foreign destination', () => {
    const world = connected();
    const foreign = writeUdpPacket({
      source: ip('10.7.0.1'),
      destination: ip(OWN[4]),
      sourcePort: 1,
      destinationPort: 1,
      payload: new Uint8Array(3_000),
    });
    for (const part of splitPacket(foreign, 7, 1_280)) world.fromGateway(part);
    expect(world.toTun()).toEqual([]);
    expect(world.drops()).toEqual({ 'source-not-allowed': 1 });
  });

  it('that never become whole are forgotten, and counted', () => {
    const world = connected();
    const [first] = splitPacket(large(4, 'host'), 7, 1_280);
    if (first) world.fromGateway(first);
    world.advance(15_000);
    expect(world.drops()).toEqual({ 'fragment-timeout': 1 });
  });

  it('that overlap are refused (RFC 5722)', () => {
    const world = connected();
    const [first, second, ...rest] = splitPacket(large(6, 'host'), 7, 1_280);
    if (!first || !second) throw new Error('there are at least two fragments');
    const overlapping = second.slice();
    viewOf(overlapping).setUint16(42, viewOf(second).getUint16(42) - 8);
    for (const part of [first, overlapping, second, ...rest]) world.fromGateway(part);
    expect(world.toTun()).toEqual([]);
    expect(world.drops()['fragment-overlap']).toBeGreaterThan(0);
  });
});

describe('a packet that is longer than the tunnel carries', () => {
  it('is answered with "too big"', () => {
    const world = connected(1_500);
    expect(world.fromTun(large(6, 'gateway', 1_400))).toBeUndefined();
    const [error] = world.toTun();
    expect(error && viewOf(error).getUint32(44)).toBe(1_280);
    expect(error?.[40]).toBe(2);
    expect(world.drops()).toEqual({ 'too-large': 1 });
  });

  it('goes in fragments if it may', () => {
    const world = connected(1_500);
    const packet = large(4, 'gateway', 1_400);
    const before = world.sentData().length;
    expect(world.fromTun(packet)).toBeUndefined();
    const sent = world.sentData().slice(before);
    expect(sent.length).toBe(2);
    expect(join(sent, world)).toBe(toHex(packet));
  });

  it('goes as it is where a probe of its length was answered', () => {
    const world = connected(1_500);
    const [local, remote] = [parseIp('192.0.2.1'), parseIp('192.0.2.2')];
    if (!local || !remote) throw new Error('these are addresses');
    const ends = { local: endpoint(local, 1), remote: endpoint(remote, 2) };
    const path = pathOf({ ...ends, localKind: 'host', remoteKind: 'host' });
    world.link.events.push({ kind: 'path-changed', peer: peerId(GATEWAY_A.id), path });
    world.advance(0);
    world.advance(0);
    for (const event of world.sentControl())
      if (event.kind === 'mtu-probe')
        world.fromGateway(writeControlPacket({ ...event, kind: 'mtu-probe-answer' }));
    expect(world.fromTun(large(6, 'gateway', 1_400))).toBe(GATEWAY_A.id);
    expect(world.toTun()).toEqual([]);
  });
});
