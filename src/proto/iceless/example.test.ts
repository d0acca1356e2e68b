// The worked example of iceless 10, line by line: two agents, one relay each, 10 ms apart directly and 35 ms over relays, 60 ms over the portal. The
// client's NAT lets in only whom it has sent to, the gateway's everybody. Where we are better than the table says, the line says so.

import { beforeAll, describe, expect, test } from 'vitest';
import { ends, GH, GR, GS, H, nameOf, R, S } from '../../../test/support/path-agent.ts';
import { type Instant, instant, later } from '../../base/time.ts';
import { type Probe, parseProbe } from '../../wire/iceless/probe.ts';
import { PathAgent } from './agent.ts';
import type { Ends, PathEvent, PathTransmit } from './agent-types.ts';

const DIRECT_MS = 10;
const RELAYED_MS = 35;
const SIGNALLED_MS = 60;
const INITIATION = Uint8Array.of(1, 0, 0, 0, 0x11);
const RESPONSE = Uint8Array.of(2, 0, 0, 0, 0x22);
const KEEPALIVE = Uint8Array.of(4);

/** What the pair of the sender is called, and where its datagrams come out. The rest leads nowhere. */
const ROUTES: ReadonlyMap<string, { readonly to: Ends; readonly milliseconds: number }> = new Map([
  ['h>gs', { to: { local: GH.address, remote: S.address }, milliseconds: DIRECT_MS }],
  ['h>gr', { to: { local: GR.address, remote: S.address }, milliseconds: RELAYED_MS }],
  ['r>gs', { to: { local: GH.address, remote: R.address }, milliseconds: RELAYED_MS }],
  ['r>gr', { to: { local: GR.address, remote: R.address }, milliseconds: RELAYED_MS }],
  ['gh>s', { to: { local: H.address, remote: GS.address }, milliseconds: DIRECT_MS }],
  ['gh>r', { to: { local: R.address, remote: GS.address }, milliseconds: RELAYED_MS }],
  ['gr>s', { to: { local: H.address, remote: GR.address }, milliseconds: RELAYED_MS }],
  ['gr>r', { to: { local: R.address, remote: GR.address }, milliseconds: RELAYED_MS }],
]);

type Side = 'client' | 'gateway';

interface Line {
  readonly at: number;
  readonly side: Side;
  readonly pair: string;
  readonly what: 'initiation' | 'response' | 'keepalive' | 'request' | 'reply';
  readonly probe: Probe | undefined;
}

/** Both agents, and of each what its connection and tunnel do. */
class Example {
  readonly sent: Line[] = [];
  readonly changes: { readonly at: number; readonly side: Side; readonly pair: string }[] = [];
  readonly peerRekeys: { readonly at: number; readonly count: number }[] = [];
  now: Instant = instant(0);
  readonly client = new PathAgent(this.now);
  readonly gateway = new PathAgent(this.now);
  #received = { client: 0, gateway: 0 };
  #mail: { readonly at: Instant; readonly deliver: () => void }[] = [];

  readonly #losesDirectCopies: boolean;

  /** The reference sends no initiation directly: here those of ours are lost, unless said otherwise. */
  constructor(losesDirectCopies = true) {
    this.#losesDirectCopies = losesDirectCopies;
    for (const candidate of [H, S, R]) this.client.addLocal(candidate, this.now);
    this.client.sendInitiation(INITIATION, this.now);
    for (const candidate of [GH, GS, GR]) this.gateway.addLocal(candidate, this.now);
    this.#post(SIGNALLED_MS, () => {
      for (const [agent, candidates] of [
        [this.gateway, [H, S, R]],
        [this.client, [GH, GS, GR]],
      ] as const) {
        for (const candidate of candidates) {
          agent.addRemote(candidate, 'signalled', this.now);
          agent.addGuesses(this.now);
        }
      }
    });
  }

  run(until: number): this {
    for (;;) {
      this.#drain('client');
      this.#drain('gateway');
      const due = Math.min(
        ...[this.client, this.gateway].map((agent) => agent.pollTimeout() ?? until + 1),
        ...this.#mail.map(({ at }) => at),
      );
      if (due > until) return this;
      this.now = instant(Math.max(due, this.now));
      const ready = this.#mail.filter(({ at }) => at <= this.now);
      this.#mail = this.#mail.filter(({ at }) => at > this.now);
      for (const { deliver } of ready) deliver();
      this.client.handleTimeout(this.now);
      this.gateway.handleTimeout(this.now);
    }
  }

  times(side: Side, pair: string, what: Line['what']): number[] {
    return this.sent
      .filter((line) => line.side === side && line.pair === pair && line.what === what)
      .map(({ at }) => at);
  }

  /** What the primary was at that time. */
  primaryAt(side: Side, at: number): string | undefined {
    return this.changes.findLast((change) => change.side === side && change.at <= at)?.pair;
  }

  #drain(side: Side): void {
    const agent = this[side];
    for (let out = agent.pollTransmit(); out; out = agent.pollTransmit()) this.#send(side, out);
    for (let event = agent.pollEvent(); event; event = agent.pollEvent()) this.#note(side, event);
  }

  #note(side: Side, event: PathEvent): void {
    if (event.kind !== 'primary-changed') return;
    this.changes.push({ at: this.now, side, pair: nameOf(event) });
  }

  #send(side: Side, { form, payload, ...pair }: PathTransmit): void {
    if (form !== 'datagram') return this.#carry(side, pair, form, payload);
    return this.#carry(side, pair, payload[0] === 1 ? 'initiation' : 'response', payload);
  }

  #carry(side: Side, pair: Ends, what: Line['what'], payload: Uint8Array): void {
    const name = nameOf(pair);
    const probe = what === 'request' || what === 'reply' ? parseProbe(payload) : undefined;
    this.sent.push({ at: this.now, side, pair: name, what, probe });
    const route = ROUTES.get(name);
    if (!route) return;
    // The client's NAT.
    const opening = this.#losesDirectCopies ? 'request' : 'initiation';
    const isOpen = name !== 'gh>s' || this.times('client', 'h>gs', opening).length > 0;
    if (!isOpen || (what === 'initiation' && name === 'h>gs' && this.#losesDirectCopies)) return;
    const peer = side === 'client' ? 'gateway' : 'client';
    this.#post(route.milliseconds, () => this.#receive(peer, route.to, what, payload));
  }

  #receive(side: Side, path: Ends, what: Line['what'], payload: Uint8Array): void {
    const agent = this[side];
    if (what === 'initiation' || what === 'response') {
      if (agent.recallHandshake(payload, what === 'initiation', path, this.now)) return;
      if (what === 'initiation') this.#accept(path, payload);
      else this.#complete(path, payload);
      return;
    }
    this.#received[side] += 1;
    agent.noteTraffic({ received: this.#received[side], sent: 0 }, this.now);
    agent.startProbing(this.now);
    const probe = parseProbe(payload);
    if (probe) agent.handleProbe(probe, path, this.now);
    else agent.handleData(path, this.now);
    this.#count();
  }

  #accept(path: Ends, payload: Uint8Array): void {
    this.gateway.handleAcceptedInitiation(payload, RESPONSE, path, this.now);
    this.#count();
    this.#carry('gateway', path, 'response', RESPONSE);
  }

  #complete(path: Ends, payload: Uint8Array): void {
    this.client.handleAcceptedResponse(payload, path, this.now);
    const { primary } = this.client.snapshot();
    if (primary) this.#carry('client', primary, 'keepalive', KEEPALIVE);
    this.client.startProbing(this.now);
  }

  #count(): void {
    this.peerRekeys.push({ at: this.now, count: this.gateway.snapshot().peerRekeys });
  }

  #post(milliseconds: number, deliver: () => void): void {
    this.#mail.push({ at: later(this.now, milliseconds), deliver });
  }
}

describe('iceless 10, line by line', () => {
  let it: Example;
  beforeAll(() => {
    it = new Example().run(40_000);
  });

  test('0: the initiation is buffered: nothing can be sent yet', () => {
    expect(it.sent.filter(({ at }) => at < 60)).toEqual([]);
  });

  test('the pairs of the client, their order, ids, kinds and ranks', () => {
    const { pairs } = it.client.snapshot();
    const rows = pairs.map((pair) => [nameOf(pair), pair.id, pair.localKind, pair.remoteKind]);
    expect(rows).toEqual([
      ['h>gh', 1, 'srflx', 'host'],
      ['h>gr', 7, 'srflx', 'relayed'],
      ['h>gs', 4, 'srflx', 'srflx'],
      ['r>gh', 2, 'relayed', 'host'],
      ['r>gr', 8, 'relayed', 'relayed'],
      ['r>gs', 5, 'relayed', 'srflx'],
    ]);
    const ranked = pairs.toSorted((a, b) => a.bucket - b.bucket).map((pair) => nameOf(pair));
    expect(ranked).toEqual(['h>gh', 'h>gs', 'r>gh', 'r>gs', 'h>gr', 'r>gr']);
  });

  test('the gateway guesses a forwarded port, the client has nothing new to guess', () => {
    const origins = (agent: PathAgent): string[] =>
      agent
        .snapshot()
        .remoteCandidates.filter(({ origin }) => origin === 'guessed')
        .map(({ candidate }) => candidate.address.key);
    expect(origins(it.gateway)).toEqual(['203.0.113.9:52625']);
    expect(origins(it.client)).toEqual([]);
  });

  test('60: it goes out on every pair with a relay, in the order of the table, and again at 110 (better: directly, too)', () => {
    const first = it.sent.filter(({ at, what }) => at === 60 && what === 'initiation');
    const relayed = ['h>gr', 'r>gh', 'r>gr', 'r>gs'];
    expect(first.map(({ pair }) => pair)).toEqual(['h>gh', 'h>gr', 'h>gs', ...relayed.slice(1)]);
    expect(it.times('client', 'h>gr', 'initiation')).toEqual([60, 110]);
  });

  test('95: the gateway accepts it over its relay: primary, one re-key, the answer on that path', () => {
    expect(it.primaryAt('gateway', 95)).toBe('gr>s');
    expect(it.peerRekeys[0]).toEqual({ at: 95, count: 1 });
    expect(it.times('gateway', 'gr>s', 'response')[0]).toBe(95);
  });

  test('95: no probe of the gateway is lost for want of a key (better than the table)', () => {
    const requests = it.sent.filter(({ side, what }) => side === 'gateway' && what === 'request');
    expect(requests[0]?.at).toBe(140);
  });

  test('96...: copies on other paths and of the ladder are answered where they come from', () => {
    expect(it.times('gateway', 'gr>r', 'response')).toContain(95);
    expect(it.times('gateway', 'gh>r', 'response')).toContain(95);
    expect(it.times('gateway', 'gr>s', 'response')).toEqual([95, 145]);
  });

  test('130: the client has its session over the relay, confirms it there, and asks all six pairs', () => {
    expect(it.primaryAt('client', 130)).toBe('h>gr');
    expect(it.times('client', 'h>gr', 'keepalive')).toEqual([130]);
    const asked = it.sent.filter(({ at, side }) => side === 'client' && at === 130);
    expect(asked.filter(({ what }) => what === 'request').map(({ pair }) => pair)).toEqual([
      'h>gh',
      'h>gr',
      'h>gs',
      'r>gh',
      'r>gr',
      'r>gs',
    ]);
    expect(it.times('client', 'h>gs', 'request').slice(0, 5)).toEqual([
      130, 330, 630, 1_130, 2_130,
    ]);
  });

  test('140: a probe of the client comes directly: the gateway may send, the count is zero, the answer goes back', () => {
    expect(it.peerRekeys.find(({ at }) => at >= 140)?.count).toBe(0);
    expect(it.times('gateway', 'gh>s', 'reply')[0]).toBe(140);
  });

  test('150: the client has measured 20 ms and sends directly', () => {
    expect(it.changes.filter(({ side }) => side === 'client')).toEqual([
      { at: 130, side: 'client', pair: 'h>gr' },
      { at: 150, side: 'client', pair: 'h>gs' },
    ]);
    expect(it.client.snapshot().pairs.find((pair) => nameOf(pair) === 'h>gs')?.rtt).toBe(20);
  });

  test('165 and 200: the relayed probe is answered over the relay, 70 ms, and changes nothing', () => {
    expect(it.times('gateway', 'gr>s', 'reply')[0]).toBe(165);
    const relayed = it.client.snapshot().pairs.find((pair) => nameOf(pair) === 'h>gr');
    expect(relayed?.rtt).toBe(70);
    expect(it.primaryAt('client', 40_000)).toBe('h>gs');
  });

  test('160: the gateway sends directly, too (better than the table, which says 315)', () => {
    expect(it.times('gateway', 'gh>s', 'request')[0]).toBe(140);
    expect(it.changes.filter(({ side }) => side === 'gateway')).toEqual([
      { at: 95, side: 'gateway', pair: 'gr>s' },
      { at: 160, side: 'gateway', pair: 'gh>s' },
    ]);
  });

  test('9130: the twelfth probe of the client; then only the primary is asked, every 25 s', () => {
    const times = it.times('client', 'h>gs', 'request');
    expect(times.slice(0, 12).at(-1)).toBe(9_130);
    expect(times.slice(12)).toEqual([34_130]);
    const later = it.sent.filter(({ at, side, what }) => {
      return side === 'client' && what === 'request' && at > 9_130;
    });
    expect(later.map(({ pair }) => pair)).toEqual(['h>gs']);
  });

  test('where the direct copies arrive, all is done at 80 (better than the table: 315)', () => {
    const better = new Example(false).run(1_000);
    expect(better.primaryAt('gateway', 70)).toBe('gh>s');
    expect(better.primaryAt('client', 80)).toBe('h>gs');
    expect(better.changes).toHaveLength(2);
  });

  test('every pair of the client was asked twelve times', () => {
    for (const [local, remote] of [
      [H, GH],
      [H, GR],
      [R, GH],
      [R, GR],
      [R, GS],
    ] as const) {
      expect(it.times('client', nameOf(ends(local, remote)), 'request')).toHaveLength(12);
    }
  });
});
