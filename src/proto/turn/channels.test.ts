// Numbers, lifetimes and cool-downs of a client's channels (relay 8.1, 1 to 8).

import { expect, it } from 'vitest';
import { parsed } from '../../../test/support/turn-world.ts';
import type { Endpoint } from '../../base/address.ts';
import { type Instant, instant } from '../../base/time.ts';
import { type Channel, Channels } from './channels.ts';

const RELAYED = parsed('198.51.100.7:50000');
const minutes = (count: number): Instant => instant(count * 60_000);

function peer(index: number): Endpoint {
  return parsed(`192.0.2.1:${1 + index}`);
}

function bound(channels: Channels, index: number, now: Instant): Channel | undefined {
  const channel = channels.reserve({ peer: peer(index), relayed: RELAYED }, now);
  if (channel) channels.confirm(channel.number, now);
  return channel;
}

it('hands out every number once, from 0x4000 on, and none more', () => {
  const channels = new Channels();
  for (let i = 0; i < 4096; i++) {
    expect(bound(channels, i, minutes(0))?.number).toBe(0x4000 + i);
  }
  expect(bound(channels, 4096, minutes(0))).toBeUndefined();
  channels.expire(instant(899_999));
  expect(bound(channels, 4096, instant(899_999))).toBeUndefined();
  channels.expire(minutes(15));
  expect(bound(channels, 4096, minutes(15))?.number).toBe(0x4000);
  expect(bound(channels, 4097, minutes(15))?.number).toBe(0x4001);
});

it('prefers numbers never used to those that have expired', () => {
  const channels = new Channels();
  for (let i = 0; i < 100; i++) bound(channels, i, minutes(0));
  channels.expire(minutes(20));
  expect(channels.count).toBe(0);
  expect(bound(channels, 200, minutes(20))?.number).toBe(0x4064);
});

it('skips numbers in use after a full round', () => {
  const channels = new Channels();
  for (let i = 0; i < 4096; i++) bound(channels, i, minutes(0));
  channels.receive(0x4000);
  expect(channels.pollRefresh(minutes(5))?.number).toBe(0x4000);
  channels.confirm(0x4000, minutes(5));
  channels.expire(minutes(15));
  expect(bound(channels, 5000, minutes(15))?.number).toBe(0x4001);
});

it('gives a peer its own number again during the cool-down, not later', () => {
  const channels = new Channels();
  bound(channels, 1, minutes(0));
  expect(bound(channels, 1, minutes(12))?.number).toBe(0x4000);
  channels.expire(minutes(28));
  expect(bound(channels, 1, minutes(28))?.number).toBe(0x4001);
});

it('is due for a refresh half way, with data and without one in flight', () => {
  const channels = new Channels();
  bound(channels, 1, minutes(0));
  expect(channels.pollRefresh(minutes(6))).toBeUndefined();
  channels.receive(0x4000);
  expect(channels.pollTimeout()).toBe(minutes(5));
  expect(channels.pollRefresh(instant(299_999))).toBeUndefined();
  expect(channels.pollRefresh(minutes(5))?.number).toBe(0x4000);
  expect(channels.pollRefresh(minutes(5))).toBeUndefined();
  channels.confirm(0x4000, minutes(5));
  expect(channels.pollRefresh(minutes(10))).toBeUndefined();
});

it('yields who is behind a channel once it is confirmed', () => {
  const channels = new Channels();
  channels.reserve({ peer: peer(1), relayed: RELAYED }, minutes(0));
  expect(channels.numberTo(peer(1), minutes(0))).toBe(0x4000);
  expect(channels.receive(0x4000)).toBeUndefined();
  channels.confirm(0x4000, minutes(0));
  expect(channels.receive(0x4000)?.peer.key).toBe(peer(1).key);
  expect(channels.numberTo(peer(1), instant(599_999))).toBe(0x4000);
  expect(channels.numberTo(peer(1), minutes(10))).toBeUndefined();
});
