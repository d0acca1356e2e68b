import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { basePolicy, R1, SITE } from '../../../test/support/portal-bench.ts';
import { unixMillis } from '../../base/time.ts';
import { createSeededCrypto } from '../../io/crypto/seeded-crypto.ts';
import { evaluate, visibleResources } from './policy.ts';
import { compilePolicy, durationMs } from './policy-compile.ts';
import { MemoryStore } from './store.ts';

const deps = { crypto: createSeededCrypto(1), ids: new MemoryStore() };
const now = unixMillis(Date.parse('2026-01-01T00:00:00Z'));

describe('a policy', () => {
  test('may be empty', () => {
    for (const data of [undefined, null, {}]) {
      expect(compilePolicy(data, deps).kind).toBe('policy');
    }
  });

  test('keeps the ids it gives and remembers those it makes', () => {
    const first = compiled(basePolicy());
    expect(first.sites.get('home')?.id).toBe(SITE);
    expect(first.resources.get(R1 as never)?.name).toBe('net');
    const id = first.sites.get('away')?.id;
    expect(id).toMatch(/^[0-9a-f-]{36}$/);
    expect(compiled(basePolicy()).sites.get('away')?.id).toBe(id);
    expect(first.actors.get('alice')?.id).not.toBe(first.actors.get('bob')?.id);
  });

  test('shows an actor what its groups may use, and grants it', () => {
    const policy = compiled(basePolicy());
    const alice = policy.actors.get('alice');
    const bob = policy.actors.get('bob');
    if (!alice || !bob) throw new Error('actors');
    expect(visibleResources(policy, alice, now).map((it) => it.name)).toEqual(['net', 'git']);
    expect(visibleResources(policy, bob, now)).toEqual([]);
    const context = { remoteIp: undefined };
    expect(evaluate(policy, alice, R1 as never, context, now).kind).toBe('granted');
    expect(evaluate(policy, bob, R1 as never, context, now).kind).toBe('not-found');
  });

  test('a rule that is switched off or over gives nothing', () => {
    const policy = compiled({
      ...basePolicy(),
      policies: [
        { group: 'staff', resource: 'net', enabled: false },
        { group: 'staff', resource: 'git', expires: '2025-12-31' },
      ],
    });
    const alice = policy.actors.get('alice');
    if (!alice) throw new Error('alice');
    expect(visibleResources(policy, alice, now)).toEqual([]);
  });
});

describe('faults say where, what and what is allowed', () => {
  const base = basePolicy();
  test.each<[string, unknown, string, string]>([
    ['an unknown key', { ...base, sitse: [] }, 'sitse', 'unknown key; allowed: account, sites'],
    ['a wrong shape', { sites: 5 }, 'sites', 'expected a list, found 5'],
    ['no mapping at all', [1], '', 'expected a section with the keys account, sites'],
    ['a bad account', { account: 'A b' }, 'account', 'a-z, 0-9 and _'],
    [
      'an unknown site',
      changed('resources', 0, { site: 'hme' }),
      'resources.0.site',
      'allowed: home, away',
    ],
    [
      'an unknown group',
      changed('policies', 0, { group: 'x' }),
      'policies.0.group',
      'allowed: staff, guests',
    ],
    [
      'an unknown resource',
      changed('policies', 1, { resource: 'x' }),
      'policies.1.resource',
      'net, git, everything',
    ],
    [
      'a group of an actor',
      changed('actors', 0, { groups: ['x'] }),
      'actors.0.groups.0',
      'unknown group "x"',
    ],
    [
      'a name used twice',
      changed('resources', 1, { name: 'net' }),
      'resources.1.name',
      'used twice',
    ],
    ['an id used twice', changed('resources', 1, { id: R1 }), 'resources.1.id', 'used twice'],
    [
      'a token used twice',
      changed('actors', 0, { tokens: ['gateway-token'] }),
      'actors.0.tokens.0',
      'already belongs to gateway "home"',
    ],
    [
      'a short token',
      changed('actors', 0, { tokens: ['abc'] }),
      'actors.0.tokens.0',
      '8 to 512 characters',
    ],
    [
      'a bad hash',
      changed('actors', 0, { tokens: [{ hash: 'sha256:zz' }] }),
      'actors.0.tokens.0.hash',
      '64',
    ],
    [
      'a bad type',
      changed('resources', 0, { type: 'ip' }),
      'resources.0.type',
      'allowed: cidr, dns, internet',
    ],
    [
      'a bad network',
      changed('resources', 0, { address: '10.0.0.1/8' }),
      'resources.0.address',
      'the network is 10.0.0.0/8',
    ],
    [
      'a bad pattern',
      changed('resources', 1, { address: 'a.*' }),
      'resources.1.address',
      'last label',
    ],
    [
      'a bad filter',
      changed('resources', 1, { filters: ['tpc 1'] }),
      'resources.1.filters',
      'allowed: icmp, tcp',
    ],
    ['a bad time', changed('policies', 0, { expires: 'soon' }), 'policies.0.expires', '2027-01-31'],
    [
      'a bad condition',
      changed('policies', 0, { conditions: { remote_ip: ['x'] } }),
      'policies.0.conditions.remote_ip.0',
      'is not a network',
    ],
    [
      'a bad DNS server',
      { ...base, dns: { upstream: ['dns.example'] } },
      'dns.upstream.0',
      'is not an IP address',
    ],
    [
      'a bad lifetime',
      { ...base, settings: { authorization_lifetime: '8 hours' } },
      'settings.authorization_lifetime',
      '30d',
    ],
    [
      'a missing name',
      { ...base, sites: [{}] },
      'sites.0.name',
      'expected a string, found nothing',
    ],
    [
      'a bad stack',
      changed('resources', 1, { ip_stack: 'six' }),
      'resources.1.ip_stack',
      'allowed: dual, ipv4_only, ipv6_only',
    ],
  ])('%s', (_, data, path, problem) => {
    const result = compilePolicy(data, deps);
    const faults = result.kind === 'faults' ? result.faults : [];
    const found = faults.map((fault) => `${fault.path.join('.')}: ${fault.problem}`);
    expect(
      faults.find((fault) => fault.path.join('.') === path)?.problem,
      found.join('\n'),
    ).toContain(problem);
  });

  test('all faults of a stage come at once', () => {
    const policy = basePolicy();
    for (const resource of policy.resources) resource['site'] = 'nowhere';
    const result = compilePolicy(policy, deps);
    expect(result.kind === 'faults' && result.faults).toHaveLength(3);
  });

  test('no data whatever throws', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (data) => {
        expect(['policy', 'faults']).toContain(compilePolicy(data, deps).kind);
      }),
    );
    const key = fc.constantFrom(...Object.keys(base));
    fc.assert(
      fc.property(key, fc.array(fc.jsonValue(), { maxLength: 3 }), (name, value) => {
        expect(compilePolicy({ ...base, [name]: value }, deps).kind).toBeDefined();
      }),
    );
  });
});

test('durations have one number and one unit', () => {
  expect(['90s', '15m', '8h', '30d'].map(durationMs)).toEqual([
    90_000, 900_000, 28_800_000, 2_592_000_000,
  ]);
});

function compiled(data: unknown) {
  const result = compilePolicy(data, deps);
  if (result.kind === 'faults') throw new Error(JSON.stringify(result.faults));
  return result.policy;
}

function changed(
  list: 'resources' | 'policies' | 'actors',
  index: number,
  change: object,
): unknown {
  const policy = basePolicy();
  const entries: object[] = policy[list];
  entries[index] = { ...entries[index], ...change };
  return policy;
}
