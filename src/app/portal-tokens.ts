// `firezone-portal token ...`: tokens in the database, made for a site, an actor or a relay. A token is shown once, when it is
// made; what is kept is its hash. A running portal notices changes by itself.

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { FzError } from '../base/errors.ts';
import { type UnixMillis, unixMillis } from '../base/time.ts';
import { createNodeCrypto } from '../io/crypto/node-crypto.ts';
import { PolicyFile } from '../io/portal/policy-file.ts';
import { SqlitePortalStore } from '../io/portal/portal-store.ts';
import { randomUuid } from '../roles/portal/credentials.ts';
import { durationMs, tokenHash } from '../roles/portal/policy-compile.ts';
import type { StoredToken } from '../roles/portal/store.ts';
import { parseTimestamp } from '../roles/portal/wall-time.ts';

// Implementation

/** Random bytes of a token: not to be guessed, so that a plain hash of it is safe to keep. */
const TOKEN_BYTES = 32;

/** The site or actor is not in the policy, or there is no such token. */
export class TokenCommandError extends FzError {
  readonly code = 'FZ_ERR_PORTAL_TOKEN';
}

type Kind = StoredToken['kind'];

interface CreateFlags {
  readonly policy: string;
  readonly database: string;
  readonly name: string;
  readonly expires?: UnixMillis;
}

interface SharedOptions {
  readonly policy: () => Option;
  readonly database: () => Option;
}

export function addTokenCommands(program: Command, shared: SharedOptions): void {
  const token = program.command('token').description('make, list and revoke tokens');
  const create = token.command('create').description('make a token and print it, once');
  for (const [kind, owner, text] of [
    ['gateway', '<site>', 'the site whose gateways use it'],
    ['client', '<actor>', 'the actor whose devices use it'],
    ['relay', '[relay]', 'a name'],
  ] as const) {
    create
      .command(kind)
      .argument(owner, text)
      .addOption(shared.policy())
      .addOption(shared.database())
      .addOption(new Option('-n, --name <name>', 'what to call the token in lists').default(''))
      .addOption(
        new Option(
          '-e, --expires <time>',
          'when it ends: 8h, 30d, or a time such as 2027-01-31',
        ).argParser(parseExpiry),
      )
      .action((of: string | undefined, flags: CreateFlags) =>
        createToken(kind, of ?? 'relay', flags),
      );
  }
  token
    .command('list')
    .description('list the tokens of the database')
    .addOption(shared.database())
    .action(({ database }: { database: string }) => listTokens(database));
  token
    .command('revoke')
    .description('end a token; who is connected with it is told')
    .argument('<id>', 'its id, or the beginning of it')
    .addOption(shared.database())
    .action((id: string, { database }: { database: string }) => revokeToken(id, database));
  token
    .command('hash')
    .description('read a token from standard input and print its hash for the policy file')
    .action(() => {
      const text = readFileSync(0, 'utf8').trim();
      process.stdout.write(`sha256:${tokenHash(createNodeCrypto(), text)}\n`);
    });
}

function createToken(kind: Kind, owner: string, flags: CreateFlags): void {
  requireOwner(kind, owner, flags);
  const crypto = createNodeCrypto();
  const secret = `fz${kind.charAt(0)}_${randomBytes(TOKEN_BYTES).toString('base64url')}`;
  withStore(flags.database, (store) =>
    store.addToken({
      id: randomUuid(crypto),
      kind,
      owner,
      name: flags.name,
      hash: tokenHash(crypto, secret),
      createdAt: unixMillis(Date.now()),
      expiresAt: flags.expires,
    }),
  );
  process.stdout.write(`${secret}\n`);
}

function requireOwner(kind: Kind, owner: string, flags: CreateFlags): void {
  if (kind === 'relay') return;
  withStore(flags.database, (store) => {
    const deps = { crypto: createNodeCrypto(), ids: store };
    const loaded = new PolicyFile(
      flags.policy,
      deps,
      () => {},
      () => {},
    ).load();
    if (loaded.kind === 'faults')
      throw new TokenCommandError(
        `the policy has faults; see firezone-portal check ${flags.policy}`,
      );
    const known = kind === 'gateway' ? loaded.policy.sites : loaded.policy.actors;
    if (known.has(owner)) return;
    const what = kind === 'gateway' ? 'site' : 'actor';
    const names = [...known.keys()].join(', ') || '(none)';
    throw new TokenCommandError(`no ${what} "${owner}" in ${flags.policy}; there are: ${names}`);
  });
}

function listTokens(database: string): void {
  withStore(database, (store) => {
    const rows = store
      .tokens()
      .map((token) => [
        token.id,
        token.kind,
        token.owner,
        token.name || '-',
        dateOf(token.createdAt),
        token.expiresAt === undefined ? 'never' : dateOf(token.expiresAt),
      ]);
    const table = [['ID', 'KIND', 'FOR', 'NAME', 'MADE', 'ENDS'], ...rows];
    const widths = [0, 1, 2, 3, 4, 5].map((i) =>
      Math.max(...table.map((row) => row[i]?.length ?? 0)),
    );
    for (const row of table) {
      const cells = row.map((cell, i) => cell.padEnd(widths[i] ?? 0));
      process.stdout.write(`${cells.join('  ').trimEnd()}\n`);
    }
  });
}

function revokeToken(id: string, database: string): void {
  withStore(database, (store) => {
    const matches = store.tokens().filter((token) => token.id.startsWith(id.toLowerCase()));
    const [token] = matches;
    if (!token || matches.length > 1) {
      const what = matches.length > 1 ? 'several tokens begin' : 'no token begins';
      throw new TokenCommandError(`${what} with "${id}"; see firezone-portal token list`);
    }
    store.removeToken(token.id);
    process.stdout.write(`revoked ${token.id} (${token.kind}, ${token.owner})\n`);
  });
}

function withStore<T>(database: string, work: (store: SqlitePortalStore) => T): T {
  const store = new SqlitePortalStore(database);
  try {
    return work(store);
  } finally {
    store.close();
  }
}

function parseExpiry(text: string): UnixMillis {
  if (/^[1-9][0-9]{0,6}[smhd]$/.test(text)) return unixMillis(Date.now() + durationMs(text));
  const time = parseTimestamp(text);
  if (time === undefined)
    throw new InvalidArgumentError(
      'It must be a duration such as 8h or 30d, or 2027-01-31T18:00:00Z.',
    );
  return time;
}

function dateOf(time: UnixMillis): string {
  return `${new Date(time).toISOString().slice(0, 16).replace('T', ' ')}Z`;
}
