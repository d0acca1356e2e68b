import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createNodeCrypto } from '../io/crypto/node-crypto.ts';
import { SqlitePortalStore } from '../io/portal/portal-store.ts';
import { tokenHash } from '../roles/portal/policy-compile.ts';
import { addTokenCommands } from './portal-tokens.ts';

const POLICY = `
sites: [{name: home}]
groups: [staff]
actors: [{name: alice, groups: [staff]}]
`;

let folder: string;
let database: string;
let output: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'portal-tokens-'));
  database = join(folder, 'portal.db');
  writeFileSync(join(folder, 'policy.yaml'), POLICY);
  output = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    output += String(chunk);
    return true;
  });
});

afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

describe('firezone-portal token', () => {
  test('prints a token once and keeps its hash', async () => {
    const token = (await run('create', 'gateway', 'home', '-n', 'rack 2', '-e', '30d')).trim();
    expect(token).toMatch(/^fzg_[\w-]{43}$/);
    const store = new SqlitePortalStore(database);
    const [kept] = store.tokens();
    store.close();
    expect(kept).toMatchObject({ kind: 'gateway', owner: 'home', name: 'rack 2' });
    expect(kept?.hash).toBe(tokenHash(createNodeCrypto(), token));
    expect((kept?.expiresAt ?? 0) - (kept?.createdAt ?? 0)).toBeCloseTo(30 * 86_400_000, -5);
    expect(JSON.stringify(kept)).not.toContain(token);
    expect(await run('list')).toMatch(/^ID .*\n[0-9a-f-]{36} {2}gateway {2}home {2}rack 2 /);
  });

  test('ends a token by the beginning of its id', async () => {
    await run('create', 'client', 'alice');
    await run('create', 'relay');
    const store = new SqlitePortalStore(database);
    const [first] = store.tokens();
    store.close();
    expect(await run('revoke', first?.id.slice(0, 8) ?? '')).toContain(`revoked ${first?.id}`);
    expect(await run('list')).not.toContain(first?.id);
    await expect(run('revoke', 'zzz')).rejects.toThrow('no token begins with "zzz"');
  });

  test('names what there is when the owner is unknown', async () => {
    await expect(run('create', 'gateway', 'hme')).rejects.toThrow('there are: home');
    await expect(run('create', 'client', 'bob')).rejects.toThrow('there are: alice');
  });

  test('refuses an end that is no time', async () => {
    await expect(run('create', 'relay', '-e', 'soon')).rejects.toThrow('duration');
  });
});

async function run(...words: string[]): Promise<string> {
  output = '';
  const program = new Command('firezone-portal').exitOverride().configureOutput({ writeErr() {} });
  const options = {
    policy: () => new Option('-p, --policy <file>').default(join(folder, 'policy.yaml')),
    database: () => new Option('-d, --database <file>').default(database),
  };
  addTokenCommands(program, options);
  await program.parseAsync(['token', ...words], { from: 'user' });
  return output;
}
