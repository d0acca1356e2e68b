// The virtual Internet: what RFC 4787 says of NAT boxes, what links do, and that a seed decides everything.

import { describe, expect, test } from 'vitest';
import { utf8Encode } from '../../../src/base/bytes.ts';
import { instant } from '../../../src/base/time.ts';
import { Streams } from '../streams.ts';
import { type Datagram, endpointOf } from './datagram.ts';
import type { Host } from './host.ts';
import { GOOD_LINK, type LinkConditions } from './link.ts';
import { FULL_CONE, type NatBehaviour, PORT_RESTRICTED, SYMMETRIC } from './nat-table.ts';
import { Network } from './network.ts';
import type { Router } from './router.ts';
import type { Segment } from './segment.ts';

const PORT = 52_625;
const ECHO = endpointOf('198.51.100.1:3478');

class Bench {
  readonly network: Network;
  readonly got: { readonly host: string; readonly datagram: Datagram; readonly at: number }[] = [];

  constructor(seed = 1) {
    this.network = new Network(new Streams(seed));
  }

  host(
    name: string,
    segment: Segment,
    addresses: string[],
    link: LinkConditions = GOOD_LINK,
  ): Host {
    const host = this.network.addHost(name);
    host.addInterface('eth0', segment, link).setAddresses(addresses);
    for (const family of [4, 6] as const) {
      for (const port of [PORT, 3478, 3479]) {
        host.listen(family, port, (datagram, now) => {
          this.got.push({ host: name, datagram, at: now });
        });
      }
    }
    return host;
  }

  nat(behaviour: NatBehaviour, address = '203.0.113.7', outside?: Segment): Router {
    const ipv4 = { kind: 'nat', address, behaviour } as const;
    return this.network.addRouter({ name: address, ipv4, ipv6: { kind: 'none' } }, outside);
  }

  run(milliseconds: number): void {
    const { scheduler } = this.network;
    const end = scheduler.now + milliseconds;
    for (let next = scheduler.next(); next !== undefined && next <= end; next = scheduler.next()) {
      scheduler.advance(next);
      while (scheduler.runOne());
    }
    scheduler.advance(instant(end));
  }

  send(from: Host, to: string, text = 'x', port = PORT): void {
    from.send(port, undefined, endpointOf(to), utf8Encode(text));
  }

  /** The endpoints that `host` shows, in the order of what arrived at others. */
  sources(): string[] {
    return this.got.map(({ datagram }) => datagram.source.key);
  }

  drops(): Record<string, number> {
    return Object.fromEntries(this.network.dropCounts);
  }
}

describe('a NAT box', () => {
  test('shows one endpoint to all where its mapping does not depend on them', () => {
    const bench = new Bench();
    const inside = bench.host('in', bench.nat(FULL_CONE).inside, ['10.0.0.2']);
    bench.host('out', bench.network.internet, [ECHO.address, '198.51.100.2']);
    bench.send(inside, ECHO.key);
    bench.send(inside, '198.51.100.2:3479');
    bench.run(100);
    expect(bench.sources()).toEqual(['203.0.113.7:40001', '203.0.113.7:40001']);
  });

  test('shows another endpoint to each where it does', () => {
    const bench = new Bench();
    const inside = bench.host('in', bench.nat(SYMMETRIC).inside, ['10.0.0.2']);
    bench.host('out', bench.network.internet, [ECHO.address]);
    bench.send(inside, ECHO.key);
    bench.send(inside, `${ECHO.address}:3479`);
    bench.run(100);
    expect(new Set(bench.sources()).size).toBe(2);
  });

  test.each([
    ['endpoint-independent', 3],
    ['address-dependent', 2],
    ['address-and-port-dependent', 1],
  ] as const)('with %s filtering lets in what it should', (filtering, expected) => {
    const bench = new Bench();
    const inside = bench.host('in', bench.nat({ ...FULL_CONE, filtering }).inside, ['10.0.0.2']);
    const out = bench.host('out', bench.network.internet, [ECHO.address]);
    const other = bench.host('other', bench.network.internet, ['198.51.100.9']);
    bench.send(inside, ECHO.key);
    bench.run(100);
    bench.got.length = 0;
    bench.send(out, '203.0.113.7:40001', 'same endpoint', 3478);
    bench.send(out, '203.0.113.7:40001', 'other port', 3479);
    bench.send(other, '203.0.113.7:40001', 'other address', 3478);
    bench.run(100);
    expect(bench.got.length).toBe(expected);
    expect(bench.got.every(({ host }) => host === 'in')).toBe(true);
  });

  test('keeps the port where it preserves ports and it is free', () => {
    const bench = new Bench();
    const router = bench.nat({ ...SYMMETRIC, ports: 'preserve' });
    const first = bench.host('a', router.inside, ['10.0.0.2']);
    const second = bench.host('b', router.inside, ['10.0.0.3']);
    bench.host('out', bench.network.internet, [ECHO.address]);
    bench.send(first, ECHO.key);
    bench.send(second, ECHO.key);
    bench.run(100);
    expect(bench.sources()).toEqual([`203.0.113.7:${PORT}`, `203.0.113.7:${PORT + 1}`]);
  });

  test('forgets a mapping without traffic, and all with a reboot', () => {
    const bench = new Bench();
    const router = bench.nat({ ...FULL_CONE, mappingMs: 30_000 });
    const inside = bench.host('in', router.inside, ['10.0.0.2']);
    const out = bench.host('out', bench.network.internet, [ECHO.address]);
    bench.send(inside, ECHO.key);
    bench.run(29_000);
    bench.send(out, '203.0.113.7:40001');
    bench.run(29_000);
    bench.send(out, '203.0.113.7:40001');
    bench.run(31_000);
    bench.send(out, '203.0.113.7:40001');
    bench.run(100);
    expect(bench.got.filter(({ host }) => host === 'in').length).toBe(2);
    expect(bench.drops()).toEqual({ 'no-mapping': 1 });
    bench.send(inside, ECHO.key);
    router.reboot(1_000, bench.network.now);
    bench.run(100);
    expect(bench.drops()).toEqual({ 'no-mapping': 1, rebooting: 1 });
  });

  test.each([true, false])('hairpin: %s', (hairpin) => {
    const bench = new Bench();
    const router = bench.nat({ ...FULL_CONE, hairpin });
    const first = bench.host('a', router.inside, ['10.0.0.2']);
    const second = bench.host('b', router.inside, ['10.0.0.3']);
    bench.send(first, ECHO.key);
    bench.run(100);
    bench.send(second, '203.0.113.7:40001');
    bench.run(100);
    expect(bench.sources()).toEqual(hairpin ? ['203.0.113.7:40002'] : []);
  });

  test('in series with another translates twice', () => {
    const bench = new Bench();
    const carrier = bench.nat(SYMMETRIC, '203.0.113.1');
    const home = bench.nat(PORT_RESTRICTED, '100.64.0.7', carrier.inside);
    const inside = bench.host('in', home.inside, ['192.168.1.2']);
    const out = bench.host('out', bench.network.internet, [ECHO.address]);
    bench.send(inside, ECHO.key);
    bench.run(100);
    expect(bench.sources()).toEqual(['203.0.113.1:40001']);
    bench.send(out, '203.0.113.1:40001', 'back', 3478);
    bench.run(100);
    expect(bench.got[1]?.host).toBe('in');
  });
});

describe('a host', () => {
  test('without IPv4 reaches IPv4 through NAT64, by its own translator', () => {
    const bench = new Bench();
    const router = bench.network.addRouter({
      name: 'mobile',
      ipv4: { kind: 'none' },
      ipv6: { kind: 'route', firewall: 'stateful' },
      nat64: { address: '203.0.113.64', behaviour: SYMMETRIC },
    });
    const phone = bench.host('phone', router.inside, ['2001:db8:1::2']);
    phone.hasClat = true;
    const out = bench.host('out', bench.network.internet, [ECHO.address]);
    expect(phone.addresses).toEqual(['2001:db8:1::2', '192.0.0.2']);
    bench.send(phone, ECHO.key);
    bench.run(100);
    expect(bench.sources()).toEqual(['203.0.113.64:40001']);
    bench.send(out, '203.0.113.64:40001', 'back', 3478);
    bench.run(100);
    expect(bench.got[1]?.datagram.source.key).toBe(ECHO.key);
    expect(bench.got[1]?.datagram.destination.key).toBe(`192.0.0.2:${PORT}`);
  });

  test('behind a stateful firewall is reached by IPv6 after it spoke first', () => {
    const bench = new Bench();
    const router = bench.network.addRouter({
      name: 'home',
      ipv4: { kind: 'none' },
      ipv6: { kind: 'route', firewall: 'stateful' },
    });
    const inside = bench.host('in', router.inside, ['2001:db8:1::2']);
    const out = bench.host('out', bench.network.internet, ['2001:db8:2::2']);
    bench.send(out, `[2001:db8:1::2]:${PORT}`);
    bench.run(100);
    expect(bench.drops()).toEqual({ filtered: 1 });
    bench.send(inside, `[2001:db8:2::2]:${PORT}`);
    bench.run(100);
    expect(bench.got.map(({ host }) => host)).toEqual(['out']);
    bench.send(out, `[2001:db8:1::2]:${PORT}`);
    bench.run(100);
    expect(bench.got.length).toBe(2);
  });

  test('behind a firewall for UDP reaches one port or none', () => {
    const bench = new Bench();
    const router = bench.nat(FULL_CONE);
    const inside = bench.host('in', router.inside, ['10.0.0.2']);
    bench.host('out', bench.network.internet, [ECHO.address]);
    router.outboundRule = { ports: [3478] };
    bench.send(inside, ECHO.key);
    bench.send(inside, `${ECHO.address}:3479`);
    bench.run(100);
    router.outboundRule = 'no-udp';
    bench.send(inside, ECHO.key);
    bench.run(100);
    expect(bench.got.length).toBe(1);
    expect(bench.drops()).toEqual({ firewall: 2 });
  });

  test('that sleeps gets nothing, and its clock stands still', () => {
    const bench = new Bench();
    const out = bench.host('out', bench.network.internet, [ECHO.address]);
    const sleeper = bench.host('sleeper', bench.network.internet, ['198.51.100.2']);
    bench.run(1_000);
    sleeper.sleep();
    bench.send(out, '198.51.100.2:3478');
    bench.run(5_000);
    expect(sleeper.now).toBe(1_000);
    sleeper.wake();
    expect(sleeper.now).toBe(1_000);
    expect(sleeper.toWorld(sleeper.now)).toBe(6_000);
    bench.send(out, '198.51.100.2:3478');
    bench.run(100);
    expect(bench.got.length).toBe(1);
    expect(bench.drops()).toEqual({ 'host-asleep': 1 });
  });

  test('kept apart from another gets nothing of it', () => {
    const bench = new Bench();
    const a = bench.host('a', bench.network.internet, ['198.51.100.2']);
    bench.host('b', bench.network.internet, ['198.51.100.3']);
    bench.network.part('a', 'b');
    bench.send(a, '198.51.100.3:3478');
    bench.run(100);
    bench.network.join('a', 'b');
    bench.send(a, '198.51.100.3:3478');
    bench.run(100);
    expect(bench.got.length).toBe(1);
    expect(bench.drops()).toEqual({ partition: 1 });
  });
});

describe('a link', () => {
  const texts = Array.from({ length: 200 }, (_, index) => String(index).padStart(4, '0'));

  function travel(link: Partial<LinkConditions>, seed = 1): Bench {
    const bench = new Bench(seed);
    const from = bench.host('from', bench.network.internet, ['198.51.100.2'], {
      ...GOOD_LINK,
      ...link,
    });
    bench.host('to', bench.network.internet, [ECHO.address], { ...GOOD_LINK, latencyMs: 0 });
    for (const text of texts) {
      bench.send(from, ECHO.key, text);
      bench.run(1);
    }
    bench.run(10_000);
    return bench;
  }

  const arrived = ({ got }: Bench): string[] =>
    got.map(({ datagram }) => new TextDecoder().decode(datagram.payload));

  test('delivers all in order, with jitter as well', () => {
    const bench = travel({ jitterMs: 50 });
    expect(arrived(bench)).toEqual(texts);
  });

  test('loses some, in bursts if told so', () => {
    expect(arrived(travel({ loss: 0.5 })).length).toBeGreaterThan(50);
    expect(arrived(travel({ loss: 0.5 })).length).toBeLessThan(150);
    const burst = travel({ burst: { begin: 0.05, end: 0.1, loss: 1 } });
    expect(burst.drops()['burst-loss']).toBeGreaterThan(20);
    expect(arrived(burst).length).toBeGreaterThan(20);
  });

  test('reorders and duplicates, and corrupts one bit', () => {
    expect(arrived(travel({ reorder: 0.2, reorderMs: 40 }))).not.toEqual(texts);
    expect(arrived(travel({ reorder: 0.2, reorderMs: 40 })).sort()).toEqual(texts);
    expect(arrived(travel({ duplicate: 0.5 })).length).toBeGreaterThan(250);
    expect(
      arrived(travel({ corrupt: 0.5 })).filter((text) => texts.includes(text)).length,
    ).toBeLessThan(180);
  });

  test('with a rate delays, and drops what its queue cannot hold', () => {
    const bench = travel({ kilobitsPerSecond: 64, queueBytes: 500 });
    expect(bench.drops()['queue-full']).toBeGreaterThan(0);
    const last = bench.got.at(-1)?.at ?? 0;
    expect(last).toBeGreaterThan(200);
  });

  test('drops what is longer than its MTU', () => {
    const bench = new Bench();
    const from = bench.host('from', bench.network.internet, ['198.51.100.2'], {
      ...GOOD_LINK,
      mtu: 1280,
    });
    bench.host('to', bench.network.internet, [ECHO.address]);
    bench.send(from, ECHO.key, 'x'.repeat(1252));
    bench.send(from, ECHO.key, 'x'.repeat(1253));
    bench.run(100);
    expect(bench.got.length).toBe(1);
    expect(bench.drops()).toEqual({ 'too-big': 1 });
  });

  test('does the same again for the same seed, and something else for another', () => {
    const link = {
      loss: 0.1,
      jitterMs: 20,
      reorder: 0.1,
      reorderMs: 30,
      duplicate: 0.1,
      corrupt: 0.1,
    };
    const trace = (seed: number): string =>
      JSON.stringify(travel(link, seed).got.map(({ at, datagram }) => [at, [...datagram.payload]]));
    expect(trace(7)).toBe(trace(7));
    expect(trace(7)).not.toBe(trace(8));
  });
});
