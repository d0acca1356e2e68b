// The portal against a model: gateways and clients that believe exactly what they are told. Whatever happens in whatever
// order, what a connected gateway lets through is what the portal has granted, and what a connected client sees is what the
// policy shows it.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Party, PortalBench, START } from '../../../test/support/portal-bench.ts';

const RESOURCES = ['one', 'two', 'three'];
const ids = RESOURCES.map((_, i) => `10000000-0000-4000-8000-00000000000${i}`);
const ACTORS = ['ann', 'ben'];
const MINUTE = 60_000;

interface Edit {
  /** By resource: which groups may use it, for how many minutes from the start; 0: for ever. */
  readonly rules: readonly {
    readonly resource: number;
    readonly group: number;
    readonly minutes: number;
  }[];
  readonly addresses: readonly number[];
  readonly members: readonly boolean[];
}

const edit = fc.record<Edit>({
  rules: fc.array(
    fc.record({
      resource: fc.nat({ max: 2 }),
      group: fc.nat({ max: 1 }),
      minutes: fc.constantFrom(0, 0, 2, 5, 30),
    }),
    { maxLength: 5 },
  ),
  addresses: fc.array(fc.nat({ max: 2 }), { minLength: 3, maxLength: 3 }),
  members: fc.array(fc.constantFrom(true, true, true, false), { minLength: 4, maxLength: 4 }),
});

type Step =
  | { readonly kind: 'gateway' | 'client'; readonly index: number; readonly isUp: boolean }
  | { readonly kind: 'request'; readonly client: number; readonly resource: number }
  | { readonly kind: 'acknowledge' }
  | { readonly kind: 'wait'; readonly milliseconds: number }
  | { readonly kind: 'edit'; readonly edit: Edit }
  | { readonly kind: 'noise'; readonly event: string; readonly payload: unknown };

const EVENTS = [
  'request_authorization',
  'authorization_created',
  'broadcast_ice_candidates',
  'new_gateway_ice_candidates',
  'invalidate_gateway_ice_candidates',
  'no_relays',
  'set_snownet_capabilities',
  'phx_join',
  'nonsense',
];

const index = fc.nat({ max: 1 });
const step = fc.oneof<fc.Arbitrary<Step>[]>(
  fc.record({
    kind: fc.constantFrom('gateway', 'client'),
    index,
    isUp: fc.constantFrom(true, true, false),
  }),
  fc.record({ kind: fc.constant('request'), client: index, resource: fc.nat({ max: 2 }) }),
  fc.record({ kind: fc.constant('request'), client: index, resource: fc.nat({ max: 2 }) }),
  fc.record({ kind: fc.constant('acknowledge') }),
  fc.record({
    kind: fc.constant('wait'),
    milliseconds: fc.constantFrom(1, 1000, 15_000, MINUTE, 10 * MINUTE),
  }),
  fc.record({ kind: fc.constant('edit'), edit }),
  fc.record({
    kind: fc.constant('noise'),
    event: fc.constantFrom(...EVENTS),
    payload: fc.oneof(
      fc.jsonValue(),
      fc.record({ resource_id: fc.constantFrom(...ids, 'x'), candidates: fc.jsonValue() }),
    ),
  }),
);

describe('any order of events', () => {
  test('leaves gateways and clients with what the policy says', () => {
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 10, maxLength: 60, size: 'max' }),
        edit,
        fc.boolean(),
        (steps, first, startsConnected) => {
          const world = new World(first, startsConnected);
          for (const it of steps) {
            world.run(it);
            world.check();
          }
          world.run({ kind: 'wait', milliseconds: 60 * MINUTE });
          world.check();
        },
      ),
      { numRuns: 100 },
    );
  });

  test('and the same seed gives the same messages, byte for byte', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30, size: 'max' }), edit, (steps, first) => {
        const logs = [new World(first), new World(first)].map((world) => {
          for (const it of steps) world.run(it);
          return JSON.stringify(world.told);
        });
        expect(logs[0]).toBe(logs[1]);
      }),
      { numRuns: 30 },
    );
  });
});

interface GatewayModel {
  readonly party: Party;
  /** `client resource` to the end of the access, in unix seconds. */
  access: Map<string, number>;
  readonly unanswered: string[];
}

interface ClientModel {
  readonly party: Party;
  resources: Map<string, unknown>;
}

class World {
  readonly bench: PortalBench;
  readonly gateways: (GatewayModel | undefined)[] = [undefined, undefined];
  readonly clients: (ClientModel | undefined)[] = [undefined, undefined];
  readonly told: unknown[] = [];
  #edit: Edit;

  constructor(first: Edit, startsConnected = true) {
    this.#edit = first;
    this.bench = new PortalBench(policyOf(first));
    for (const index of startsConnected ? [0, 1] : []) {
      this.run({ kind: 'gateway', index, isUp: true });
      this.run({ kind: 'client', index, isUp: true });
    }
  }

  run(it: Step): void {
    const { bench } = this;
    switch (it.kind) {
      case 'gateway':
        this.#toggle(this.gateways, it.index, it.isUp, () => ({
          party: bench.gateway(`gw-${it.index}`, it.index),
          access: new Map(),
          unanswered: [],
        }));
        break;
      case 'client':
        this.#toggle(this.clients, it.index, it.isUp, () => ({
          party: bench.client(`c-${it.index}`, it.index, { token: `token-of-${ACTORS[it.index]}` }),
          resources: new Map(),
        }));
        break;
      case 'request': {
        const client = this.clients[it.client];
        const request = { resource_id: ids[it.resource], connected_gateway_ids: [] };
        if (client) bench.send(client.party, 'request_authorization', request);
        break;
      }
      case 'acknowledge':
        for (const gateway of this.gateways) {
          const ref = gateway?.unanswered.shift();
          if (gateway && ref) bench.send(gateway.party, 'authorization_created', { ref });
        }
        break;
      case 'wait':
        bench.advance(it.milliseconds);
        break;
      case 'edit':
        this.#edit = it.edit;
        bench.setPolicy(policyOf(it.edit));
        break;
      case 'noise':
        for (const party of bench.parties.values()) bench.send(party, it.event, it.payload);
        break;
    }
    this.#read();
  }

  #toggle<T extends { readonly party: Party }>(
    list: (T | undefined)[],
    at: number,
    isUp: boolean,
    make: () => T,
  ): void {
    const current = list[at];
    if (current && !isUp) {
      this.bench.leave(current.party);
      list[at] = undefined;
    }
    if (!current && isUp) list[at] = make();
  }

  #read(): void {
    for (const gateway of this.gateways) if (gateway) this.#readGateway(gateway);
    for (const client of this.clients) if (client) this.#readClient(client);
  }

  #readGateway(gateway: GatewayModel): void {
    for (const { event, payload } of gateway.party.inbox.splice(0)) {
      this.told.push([event, payload]);
      if (event === 'init') {
        gateway.access = new Map(
          payload.authorizations.map((it: Record<string, unknown>) => [
            `${it['client_id']} ${it['resource_id']}`,
            it['expires_at'],
          ]),
        );
      } else if (event === 'create_authorization') {
        gateway.access.set(`${payload.client.id} ${payload.resource.id}`, payload.expires_at);
        gateway.unanswered.push(payload.ref);
      } else if (event === 'reject_access') {
        gateway.access.delete(`${payload.client_id} ${payload.resource_id}`);
      }
    }
    const seconds = this.#unixSeconds();
    for (const [key, end] of gateway.access) if (end <= seconds) gateway.access.delete(key);
  }

  #readClient(client: ClientModel): void {
    for (const { event, payload } of client.party.inbox.splice(0)) {
      this.told.push([event, payload]);
      if (event === 'init') {
        client.resources = new Map(payload.resources.map((it: { id: string }) => [it.id, it]));
      } else if (event === 'resource_created_or_updated') client.resources.set(payload.id, payload);
      else if (event === 'resource_deleted') client.resources.delete(payload);
    }
  }

  check(): void {
    const snapshot = this.bench.portal.snapshot();
    const gatewayIds = new Map(snapshot.sessions.map((it) => [it['session'], it['gatewayId']]));
    for (const gateway of this.gateways) {
      if (!gateway) continue;
      const id = gatewayIds.get(gateway.party.session);
      const rows = snapshot.authorizations.filter((row) => row['gatewayId'] === id);
      const granted = rows.map((row) => `${row['clientId']} ${row['resourceId']}`);
      expect([...gateway.access.keys()].sort()).toEqual(granted.sort());
    }
    for (const [i, client] of this.clients.entries()) {
      if (!client) continue;
      expect(client.party.ended).toBeUndefined();
      expect([...client.resources.keys()].sort()).toEqual(this.#visibleTo(i));
      for (const [id, resource] of client.resources) {
        const address = addressOf(this.#edit, ids.indexOf(id));
        expect(resource).toMatchObject({ address });
      }
    }
  }

  #visibleTo(actor: number): string[] {
    const minutes = (this.bench.now - 5000) / MINUTE;
    const visible = this.#edit.rules.filter(
      (rule) =>
        isMember(this.#edit, actor, rule.group) && (rule.minutes === 0 || rule.minutes > minutes),
    );
    return [...new Set(visible.map((rule) => ids[rule.resource] ?? ''))].sort();
  }

  #unixSeconds(): number {
    return (START + (this.bench.now - 5000)) / 1000;
  }
}

function isMember(it: Edit, actor: number, group: number): boolean {
  return it.members[actor * 2 + group] === true;
}

function addressOf(it: Edit, resource: number): string {
  return `10.${resource}.${it.addresses[resource]}.0/24`;
}

function policyOf(it: Edit): unknown {
  const groups = ['g0', 'g1'];
  return {
    sites: [{ name: 'home', gateway_tokens: ['gateway-token'] }],
    groups,
    actors: ACTORS.map((name, i) => ({
      name,
      groups: groups.filter((_, k) => isMember(it, i, k)),
      tokens: [`token-of-${name}`],
    })),
    resources: RESOURCES.map((name, i) => ({
      id: ids[i],
      name,
      type: 'cidr',
      site: 'home',
      address: addressOf(it, i),
    })),
    policies: it.rules.map((rule) => ({
      group: groups[rule.group],
      resource: RESOURCES[rule.resource],
      ...(rule.minutes === 0
        ? {}
        : { expires: new Date(START + rule.minutes * MINUTE).toISOString() }),
    })),
  };
}
