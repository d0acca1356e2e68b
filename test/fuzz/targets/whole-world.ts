// Clients, a gateway, relays and the portal in one process, under a list of operations: requests, policies that come, go and expire, spoofed
// sources, roaming, outages of the portal, losses, restarts, pauses. Nothing reaches a resource but what the policy gives its sender at that
// time (one second of grace after a revocation), from its own address; answers come to whom they belong, once; and in the end, on a good
// network, who may reach something reaches it.

import { DNS_TYPE } from '../../../src/wire/dns/records.ts';
import {
  type Arrival,
  type ClientMember,
  type GatewayMember,
  PairWorld,
} from '../../support/pair-world.ts';
import { basePolicy } from '../../support/portal-bench.ts';
import { PORT_RESTRICTED, SYMMETRIC } from '../../support/virtual-network.ts';
import { hashOf, observe } from '../engine/edges.ts';
import { Operations } from '../operations.ts';

export const name = 'whole-world';
export const kind = 'operations';
export const isHeavy = true;

const MAX_OPERATIONS = 16;
const PAUSES = [10, 200, 1_000, 5_000, 30_000, 130_000, 400_000];
/** After a revocation: until the portal has said so, and one second. */
const GRACE_MS = 1_200;
const RECOVERY_MS = 90_000;
/** Of the test's clock (`START` of the bench) as the policy writes time. */
const ZERO = Date.parse('2026-01-01T00:00:00Z');
const REAL = '10.2.0.40';
const PLACES = [
  '10.20.0.5',
  '10.20.0.200',
  '10.20.1.5',
  '10.99.0.1',
  '1.1.1.1',
  '100.64.0.1',
  '100.96.0.1',
];

interface Rule {
  /** In the network's time; `undefined`: until it is revoked. */
  readonly until: number | undefined;
}

class World {
  readonly pair: PairWorld;
  readonly gateway: GatewayMember;
  readonly alice: ClientMember;
  readonly bob: ClientMember;
  rules: Record<'net' | 'git', Rule | undefined> = {
    net: { until: undefined },
    git: { until: undefined },
  };
  /** Until when packets under a rule that is gone may still arrive. */
  graceUntil = { net: 0, git: 0 };
  sent = new Map<string, { readonly from: ClientMember; readonly source: string }>();
  loss = 0;
  moves = 0;

  constructor(ops: Operations) {
    this.pair = new PairWorld(policyOf(this.rules));
    const { pair } = this;
    pair.addRelay('203.0.113.10:3478');
    pair.addRelay('203.0.113.11:3478');
    const behaviour = ops.pick([undefined, PORT_RESTRICTED, SYMMETRIC]);
    const nat = behaviour && pair.network.addNat({ ...behaviour, publicAddress: '203.0.113.77' });
    this.gateway = pair.addGateway('gw-1', { host: '198.51.100.20:52625' });
    this.alice = pair.addClient(
      'client-1',
      nat ? { host: '10.1.0.2:52625', nat, knowsHost: false } : { host: '192.0.2.10:52625' },
    );
    this.bob = pair.addClient('phone', { host: '192.0.2.30:52625' }, 'bob-token');
    this.gateway.names.set('git.corp.test', [REAL]);
    const answer = this.gateway.host.onTunPacket;
    this.gateway.host.onTunPacket = (packet, now) => {
      answer(packet, now);
      const arrival = this.gateway.delivered.at(-1);
      if (arrival) this.judge(arrival);
    };
    let count = 0;
    pair.network.isDelivered = () => this.loss === 0 || ++count % this.loss !== 0;
  }

  get now(): number {
    return this.pair.network.now;
  }

  judge({ source, destination, text }: Arrival): void {
    const sent = this.sent.get(text);
    if (!sent) throw new Error(`nobody sent ${text}`);
    if (source !== sent.source) throw new Error('another source than its sender’s');
    if (source !== sent.from.ipv4 && source !== sent.from.ipv6)
      throw new Error('a spoofed source passed');
    if (sent.from === this.bob) throw new Error('bob reached something');
    const rule = destination === REAL ? 'git' : 'net';
    if (rule === 'net' && !destination.startsWith('10.20.0.'))
      throw new Error(`${destination} is no resource`);
    const current = this.rules[rule];
    const isOver =
      current === undefined || (current.until !== undefined && this.now > current.until + GRACE_MS);
    if (isOver && this.now > this.graceUntil[rule])
      throw new Error(`reached ${rule} without a rule`);
  }

  send(from: ClientMember, destination: string, source?: string): string {
    const text = `packet ${this.sent.size}`;
    this.sent.set(text, { from, source: source ?? from.ipv4 });
    from.send(destination, text, source);
    return text;
  }

  setRule(rule: 'net' | 'git', value: Rule | undefined): void {
    this.graceUntil[rule] = Math.max(this.graceUntil[rule], this.now + GRACE_MS);
    this.rules = { ...this.rules, [rule]: value };
    this.pair.setPolicy(policyOf(this.rules));
    // An outage of the portal delays what it says.
    if (!this.gateway.party) this.graceUntil[rule] = Number.POSITIVE_INFINITY;
  }
}

export function run(bytes: Uint8Array): void {
  const ops = new Operations(bytes);
  const world = new World(ops);
  for (let i = 0; i < MAX_OPERATIONS && !ops.isAtEnd; i++) {
    perform(ops, world);
    check(world);
  }
  recover(world);
  observe(
    hashOf(
      `${world.gateway.states.length} ${new Set(world.alice.heard).size} ${world.alice.states.at(-1)}`,
    ),
  );
}

function perform(ops: Operations, world: World): void {
  const { pair, alice, bob, gateway } = world;
  switch (ops.byte() % 16) {
    case 0:
    case 1:
    case 2: {
      const from = ops.byte() % 4 === 0 ? bob : alice;
      const spoofed =
        ops.byte() % 4 === 0 ? ops.pick([alice.ipv4, bob.ipv4, '10.20.0.5']) : undefined;
      for (let i = 1 + (ops.byte() % 3); i > 0; i--) world.send(from, ops.pick(PLACES), spoofed);
      return pair.run(1_000);
    }
    case 3:
    case 4: {
      const proxies = alice.resolve(
        'git.corp.test',
        ops.byte() % 2 === 0 ? DNS_TYPE.a : DNS_TYPE.aaaa,
      );
      const [proxy] = proxies.filter((address) => !address.includes(':'));
      if (proxy) world.send(alice, proxy);
      return pair.run(1_000);
    }
    case 5:
    case 6:
    case 7:
      return pair.run(ops.pick(PAUSES));
    case 8:
    case 9: {
      const rule = ops.pick(['net', 'git'] as const);
      return world.setRule(rule, anyRule(ops, world.now));
    }
    case 10:
      world.loss = ops.pick([0, 0, 2, 3, 7]);
      return;
    case 11:
      alice.roam(`192.0.2.10:${20_000 + ++world.moves}`, 'client-token');
      return pair.run(1_000);
    case 12:
      if (gateway.party) gateway.disconnect();
      else reconnect(world);
      return pair.run(500);
    case 13:
      if (alice.party) alice.disconnect();
      else alice.connect('client-token');
      return pair.run(500);
    default:
      return replay(ops, world);
  }
}

/** What the portal could not say meanwhile it says now. */
function reconnect(world: World): void {
  world.gateway.connect('gateway-token');
  const end = world.now + GRACE_MS;
  for (const rule of ['net', 'git'] as const)
    if (world.graceUntil[rule] > end) world.graceUntil[rule] = end;
}

function anyRule(ops: Operations, now: number): Rule | undefined {
  switch (ops.byte() % 3) {
    case 0:
      return undefined;
    case 1:
      return { until: Math.ceil(now / 1_000) * 1_000 + ops.pick([2, 10, 60]) * 1_000 };
    default:
      return { until: undefined };
  }
}

function replay(ops: Operations, { pair, alice, gateway }: World): void {
  const datagram = pair.network.sent.at(-1 - (ops.byte() % 12));
  if (!datagram) return;
  const payload = ops.damage(datagram.payload.slice());
  const host = ops.byte() % 2 === 0 ? alice.host.address : gateway.host.address;
  pair.network.send({ source: datagram.source, destination: host, payload });
  pair.run(50);
}

function check({ alice, bob, sent }: World): void {
  for (const member of [alice, bob]) {
    const texts = member.texts();
    if (new Set(texts).size !== texts.length) throw new Error('an answer came twice');
    if (texts.some((text) => sent.get(text.toLowerCase())?.from !== member))
      throw new Error('an answer came to somebody else');
  }
}

function recover(world: World): void {
  const { pair, alice, gateway } = world;
  world.loss = 0;
  if (!gateway.party) reconnect(world);
  if (!alice.party) alice.connect('client-token');
  world.setRule('net', { until: undefined });
  world.setRule('git', { until: undefined });
  pair.run(1_000);
  const isAnswered = (destination: string): boolean => {
    for (let waited = 0; waited < RECOVERY_MS; waited += 2_000) {
      const text = world.send(alice, destination);
      if (pair.runUntil(() => alice.texts().includes(text.toUpperCase()), 2_000)) return true;
    }
    return false;
  };
  if (!isAnswered('10.20.0.9')) throw new Error('the network is not reached');
  const [proxy] = alice.resolve('git.corp.test');
  if (proxy === undefined) throw new Error('the name has no address');
  if (!isAnswered(proxy)) throw new Error('the name is not reached');
  // And no longer when it is over, whatever state they are in.
  world.setRule('net', undefined);
  pair.run(GRACE_MS);
  world.send(alice, '10.20.0.9');
  pair.run(2_000);
  check(world);
}

function policyOf(rules: World['rules']): unknown {
  const policy = basePolicy();
  policy.resources[1] = { ...policy.resources[1], filters: [] };
  policy.policies = (['net', 'git'] as const).flatMap((resource) => {
    const rule = rules[resource];
    if (!rule) return [];
    const expires = rule.until === undefined ? {} : { expires: timestamp(rule.until) };
    return [{ group: 'staff', resource, ...expires }];
  });
  return policy;
}

/** The network's time begins 5 s before the bench's `START`. */
function timestamp(at: number): string {
  return new Date(ZERO + at - 5_000).toISOString().replace(/\.\d+Z$/, 'Z');
}
