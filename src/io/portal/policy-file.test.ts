import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MemoryStore } from '../../roles/portal/store.ts';
import { createSeededCrypto } from '../crypto/seeded-crypto.ts';
import { formatFaults, type LoadedPolicy, loadPolicyText, PolicyFile } from './policy-file.ts';

const deps = { crypto: createSeededCrypto(1), ids: new MemoryStore() };

const GOOD = `
sites:
  - name: home
    gateway_tokens: [gateway-token]
groups: [staff]
actors:
  - name: alice
    groups: [staff]
    tokens:
      - client-token
resources:
  - name: net
    type: cidr
    site: home
    address: 10.20.0.0/24
policies:
  - {group: staff, resource: net}
`;

describe('faults name line and column', () => {
  test.each<[string, string, string]>([
    [
      'a reference',
      GOOD.replace('site: home', 'site: hme'),
      '14:5: resources[0].site: unknown site "hme"; allowed: home',
    ],
    [
      'a value',
      GOOD.replace('10.20.0.0/24', '10.20.0.1/24'),
      '15:5: resources[0].address: "10.20.0.1/24" has host bits set',
    ],
    ['an unknown key', GOOD.replace('type: cidr', 'typ: cidr'), 'resources[0]'],
    [
      'a flow entry',
      GOOD.replace('resource: net', 'resource: nett'),
      '17:20: policies[0].resource: unknown resource "nett"',
    ],
    [
      'a list element',
      GOOD.replace('- client-token', '- a b'),
      '10:9: actors[0].tokens[0]: a token has 8 to 512 characters',
    ],
    ['broken YAML', `${GOOD}\n  oops: [`, ':'],
    ['a duplicate key', `${GOOD}sites: []\n`, '18:1: Map keys must be unique'],
    ['text instead of a mapping', 'hello', '1:1: expected a section'],
  ])('%s', (_, text, expected) => {
    const loaded = loadPolicyText(text, deps);
    if (loaded.kind !== 'faults') throw new Error('no fault');
    expect(formatFaults('policy.yaml', loaded.faults)).toContain(expected);
  });

  test('a good text is a policy; an empty one too', () => {
    expect(loadPolicyText(GOOD, deps).kind).toBe('policy');
    expect(loadPolicyText('# nothing yet\n', deps).kind).toBe('policy');
  });

  test('many faults are cut short', () => {
    const many = `resources:\n${'  - {name: x, type: cidr, site: y, address: z}\n'.repeat(50)}`;
    const loaded = loadPolicyText(many, deps);
    if (loaded.kind !== 'faults') throw new Error('no fault');
    expect(formatFaults('p', loaded.faults).split('\n')).toHaveLength(21);
  });

  test('aliases that explode are refused', () => {
    const bomb = `a: &a [x, x, x, x, x, x, x, x, x, x]\n${['b', 'c', 'd', 'e', 'f']
      .map((name, i) => `${name}: &${name} [${`*${'abcde'[i]}, `.repeat(10)}]`)
      .join('\n')}\n`;
    const loaded = loadPolicyText(bomb, deps);
    expect(loaded.kind).toBe('faults');
  });
});

describe('a file that changes', () => {
  let folder: string;
  let path: string;
  let file: PolicyFile;
  let seen: (LoadedPolicy | 'unreadable')[];
  let wake: () => void;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'portal-policy-'));
    path = join(folder, 'policy.yaml');
    writeFileSync(path, GOOD);
    seen = [];
    wake = () => {};
    const note = (what: LoadedPolicy | 'unreadable'): void => {
      seen.push(what);
      wake();
    };
    file = new PolicyFile(path, deps, note, () => note('unreadable'));
    expect(file.load().kind).toBe('policy');
    file.watch();
  });

  afterEach(() => {
    file.close();
    rmSync(folder, { recursive: true });
  });

  const next = (): Promise<void> => new Promise((resolve) => (wake = resolve));

  test('is read again when it is written in place, replaced, broken and mended', async () => {
    let change = next();
    writeFileSync(path, GOOD.replace('/24', '/25'));
    await change;
    change = next();
    writeFileSync(`${path}.new`, GOOD.replace('/24', '/26'));
    renameSync(`${path}.new`, path);
    await change;
    change = next();
    writeFileSync(path, 'sites: 5');
    await change;
    change = next();
    rmSync(path);
    await change;
    change = next();
    writeFileSync(path, GOOD);
    await change;
    const kinds = seen.map((it) => (it === 'unreadable' ? it : it.kind));
    expect(kinds).toEqual(['policy', 'policy', 'faults', 'unreadable', 'policy']);
  });
});

test('a file that is not there is one clear error', () => {
  const file = new PolicyFile(
    '/nonexistent/policy.yaml',
    deps,
    () => {},
    () => {},
  );
  expect(() => file.load()).toThrow('cannot read the policy file /nonexistent/policy.yaml');
});
