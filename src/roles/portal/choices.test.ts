import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { networkContains, parseIp, parseNetwork } from '../../base/address.ts';
import { gatewayId, relayId, siteId } from '../../base/ids.ts';
import { SeededRandom } from '../../base/random.ts';
import { instant, later } from '../../base/time.ts';
import { createSeededCrypto } from '../../io/crypto/seeded-crypto.ts';
import { allocateAddresses } from './addresses.ts';
import { distanceKm } from './distance.ts';
import { chooseGateway, type GatewayCandidate } from './gateway-choice.ts';
import type { Location } from './policy.ts';
import { knownRelays, type OnlineRelay, PRESENCE_DEBOUNCE_MS, RelayPresence } from './presence.ts';
import { RateLimiter } from './rate-limit.ts';
import { isCompatible, operatingSystemOf, versionFromUserAgent } from './versions.ts';

const BERLIN = { latitude: 52.52, longitude: 13.405 };
const PARIS = { latitude: 48.8566, longitude: 2.3522 };
const TOKYO = { latitude: 35.68, longitude: 139.69 };
const SITE = siteId('50000000-0000-4000-8000-000000000001');
const at = instant(1000);

describe('versions', () => {
  test('the User-Agent names them, with or without an operating system', () => {
    const agent = 'Alpine Linux/3.19.0 gateway/1.6.0 (x86_64; 6.8.0)';
    expect(versionFromUserAgent(agent)).toMatchObject({ component: 'gateway', numbers: [1, 6, 0] });
    expect(versionFromUserAgent('relay/0.1.0')).toMatchObject({ component: 'relay' });
    expect(versionFromUserAgent('Debian/12.0.0 headless-client/1.5.11')?.text).toBe('1.5.11');
    expect(versionFromUserAgent('curl/8.0')).toBeUndefined();
    expect(versionFromUserAgent('')).toBeUndefined();
    expect(operatingSystemOf(agent)).toEqual({ name: 'Alpine Linux', version: '3.19.0' });
    expect(operatingSystemOf('something')).toEqual({ name: 'something', version: null });
  });

  test.each([
    ['1.5.11', '1.4.0', true],
    ['1.5.11', '1.6.9', true],
    ['1.5.11', '1.7.0', false],
    ['1.5.11', '1.3.9', false],
    ['1.9.0', '1.10.0', true],
    ['1.0.0', '1.0.0', true],
    ['2.0.0', '1.9.0', false],
    ['1.5.11', '0.1.0', true],
    ['0.1.0', '1.6.0', true],
  ])('client %s and gateway %s fit: %s', (client, gateway, expected) => {
    const version = (text: string) => versionFromUserAgent(`gateway/${text}`);
    expect(isCompatible(version(client), version(gateway))).toBe(expected);
  });

  test('who does not say a version is not held to one', () => {
    expect(isCompatible(undefined, versionFromUserAgent('gateway/1.0.0'))).toBe(true);
    expect(isCompatible(versionFromUserAgent('gateway/1.5.0'), undefined)).toBe(true);
  });
});

describe('choice of a gateway', () => {
  const candidate = (n: number, version: string, location?: Location): GatewayCandidate => ({
    gatewayId: gatewayId(`gateway-${n}`),
    siteId: SITE,
    version: versionFromUserAgent(`gateway/${version}`),
    location,
  });
  const wish = {
    siteId: SITE,
    clientVersion: versionFromUserAgent('headless-client/1.5.11'),
    connected: new Set<string>(),
    location: undefined,
  };
  const choose = (all: GatewayCandidate[], changes = {}, seed = 1) =>
    chooseGateway(all, { ...wish, ...changes }, new SeededRandom(seed));

  test('none of the site is online', () => {
    expect(choose([]).kind).toBe('offline');
    expect(choose([candidate(1, '1.6.0')], { siteId: siteId('other') }).kind).toBe('offline');
  });

  test('only incompatible ones are online', () => {
    expect(choose([candidate(1, '1.9.0')]).kind).toBe('version-mismatch');
  });

  test('a connected one is preferred, if it fits', () => {
    const all = [1, 2, 3, 4].map((n) => candidate(n, n === 4 ? '1.9.0' : '1.6.0'));
    for (let seed = 0; seed < 20; seed++) {
      const choice = choose(all, { connected: new Set(['gateway-3', 'gateway-4']) }, seed);
      expect(choice).toMatchObject({ gateway: { gatewayId: 'gateway-3' } });
    }
  });

  test('without a location every fitting one has its turn', () => {
    const all = [1, 2, 3].map((n) => candidate(n, '1.6.0'));
    const chosen = new Set<string>();
    for (let seed = 0; seed < 50; seed++) {
      const choice = choose(all, {}, seed);
      if (choice.kind === 'chosen') chosen.add(choice.gateway.gatewayId);
    }
    expect(chosen.size).toBe(3);
  });

  test('the nearest place wins, there the newest version as a number', () => {
    const all = [
      candidate(1, '1.6.9', TOKYO),
      candidate(2, '1.6.9', PARIS),
      candidate(3, '1.6.10', PARIS),
      candidate(4, '1.6.11'),
    ];
    for (let seed = 0; seed < 20; seed++) {
      const choice = choose(all, { location: BERLIN }, seed);
      expect(choice).toMatchObject({ gateway: { gatewayId: 'gateway-3' } });
    }
  });
});

describe('distance', () => {
  test('vector T8: Berlin to Paris', () => {
    expect(distanceKm(BERLIN, PARIS)).toBeCloseTo(877.463, 3);
    expect(distanceKm(PARIS, PARIS)).toBe(0);
  });
});

describe('relays', () => {
  const relay = (n: number, location?: Location): OnlineRelay => ({
    id: relayId(`relay-${n}`),
    ipv4: parseIp(`203.0.113.${n}`),
    ipv6: undefined,
    port: 3478,
    stampSecret: `secret-${n}`,
    location,
  });
  const presenceOf = (...relays: OnlineRelay[]): RelayPresence => {
    const presence = new RelayPresence(new SeededRandom(3));
    for (const it of relays) presence.relayOnline(it, at);
    return presence;
  };
  const ids = (relays: readonly OnlineRelay[]): string[] => relays.map((it) => it.id).sort();

  test('the two nearest are selected even if they share a place; unknown places come last', () => {
    const presence = presenceOf(relay(1, TOKYO), relay(2, PARIS), relay(3, PARIS), relay(4));
    expect(ids(presence.select(BERLIN))).toEqual(['relay-2', 'relay-3']);
    expect(ids(presenceOf(relay(4), relay(1, TOKYO)).select(BERLIN))).toEqual([
      'relay-1',
      'relay-4',
    ]);
  });

  test('two by chance when the own place is unknown, fewer if there are no more', () => {
    expect(presenceOf(relay(1), relay(2), relay(3)).select(undefined)).toHaveLength(2);
    expect(presenceOf(relay(1)).select(undefined)).toHaveLength(1);
    expect(presenceOf().select(undefined)).toEqual([]);
  });

  test('many rapid changes are looked at once, a second after the last', () => {
    const presence = presenceOf(relay(1));
    let now = at;
    for (let i = 0; i < 10; i++) {
      now = later(now, 900);
      expect(presence.handleTimeout(now)).toBe(false);
      presence.relayOnline(relay(2), now);
    }
    expect(presence.pollTimeout()).toBe(later(now, PRESENCE_DEBOUNCE_MS));
    expect(presence.handleTimeout(later(now, PRESENCE_DEBOUNCE_MS))).toBe(true);
    expect(presence.handleTimeout(later(now, 5000))).toBe(false);
    expect(presence.pollTimeout()).toBeUndefined();
  });

  test('exactly those that are gone are named, with what there is instead', () => {
    const presence = presenceOf(relay(1), relay(2));
    const known = knownRelays([relay(1), relay(2)]);
    expect(presence.changeFor(known, undefined)).toBeUndefined();
    presence.relayOffline(relayId('relay-1'), at);
    presence.relayOnline(relay(3), at);
    const change = presence.changeFor(known, undefined);
    expect(change?.disconnectedIds).toEqual(['relay-1']);
    expect(ids(change?.connected ?? [])).toEqual(['relay-2', 'relay-3']);
  });

  test('who knows fewer than two hears of a new one, and of nothing it knows', () => {
    const presence = presenceOf(relay(1));
    expect(presence.changeFor(knownRelays([]), undefined)?.connected).toHaveLength(1);
    expect(presence.changeFor(knownRelays([relay(1)]), undefined)).toBeUndefined();
  });

  test('one that comes back at another address is told again', () => {
    const moved = { ...relay(1), port: 3479 };
    const presence = presenceOf(moved, relay(2));
    const change = presence.changeFor(knownRelays([relay(1), relay(2)]), undefined);
    expect(change).toMatchObject({ disconnectedIds: [] });
    expect(change?.connected).toContainEqual(moved);
  });
});

describe('tunnel addresses', () => {
  const pool4 = parseNetwork('100.64.0.0/11');
  const pool6 = parseNetwork('fd00:2021:1111::/107');

  test('lie in the pools, differ, and are never the first or the last', () => {
    const crypto = createSeededCrypto(5);
    const taken = new Set<string>();
    for (let i = 0; i < 500; i++) {
      const addresses = allocateAddresses(crypto, (address) => taken.has(address));
      if (!addresses || !pool4 || !pool6) throw new Error('none');
      expect(networkContains(pool4, addresses.ipv4)).toBe(true);
      expect(networkContains(pool6, addresses.ipv6)).toBe(true);
      expect(['100.64.0.0', '100.95.255.255']).not.toContain(addresses.ipv4);
      taken.add(addresses.ipv4).add(addresses.ipv6);
    }
    expect(taken.size).toBe(1000);
  });

  test('the search wraps around the end of the pool', () => {
    const crypto = {
      ...createSeededCrypto(1),
      randomBytes: () => Uint8Array.of(0, 0x1f, 0xff, 0xfd),
    };
    const first = allocateAddresses(crypto, () => false);
    expect(first?.ipv4).toBe('100.95.255.254');
    const second = allocateAddresses(crypto, (address) => address === first?.ipv4);
    expect(second?.ipv4).toBe('100.64.0.1');
  });
});

describe('rate limit', () => {
  test('a burst, then one a second; others are not disturbed', () => {
    const limiter = new RateLimiter(2);
    expect([1, 2, 3].map(() => limiter.take('a', at))).toEqual([true, true, false]);
    expect(limiter.take('b', at)).toBe(true);
    expect(limiter.take('a', later(at, 999))).toBe(false);
    expect(limiter.take('a', later(at, 1000))).toBe(true);
    expect(limiter.take('a', later(at, 1000))).toBe(false);
  });

  test('the table does not grow without end', () => {
    const limiter = new RateLimiter(1);
    for (let i = 0; i < 70_000; i++) limiter.take(`key ${i}`, at);
    expect(limiter.size).toBe(65_536);
  });

  test('never more than the burst and the refill', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 3000 }), { maxLength: 50 }), (gaps) => {
        const limiter = new RateLimiter(3);
        let now = at;
        let taken = 0;
        for (const gap of gaps) {
          now = later(now, gap);
          if (limiter.take('a', now)) taken += 1;
        }
        expect(taken).toBeLessThanOrEqual(3 + (now - at) / 1000);
      }),
    );
  });
});
