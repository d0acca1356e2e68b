// coturn (the Debian package) on loopback, in both configurations of relay 7.3: with a shared secret, and with users.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Endpoint, parseEndpoint } from '../../../src/base/address.ts';
import type { TurnCredentials } from '../../../src/proto/turn/auth.ts';

const SECRET = 'turn-interop-secret';
const STATIC_PASSWORD = 'of-a-static-user';
const STATIC_USERS = ['gw', 'a', 'b'];

export type CoturnUsers = 'by secret' | 'static';

export const isCoturnMissing: boolean = spawnSync('turnserver', ['--version']).error !== undefined;

export interface CoturnPlan {
  readonly directory: string;
  readonly port: number;
  /** The first of 200 for its relayed addresses: of no other file's, because files run at the same time. */
  readonly relayPorts: number;
  readonly users?: CoturnUsers;
  /** TLS at this port. */
  readonly tls?: { readonly port: number; readonly cert: string; readonly key: string };
  readonly settings?: readonly string[];
}

/** Resolves when it answers over both families. */
export async function startCoturn(plan: CoturnPlan): Promise<ChildProcess> {
  const file = join(plan.directory, 'turnserver.conf');
  writeFileSync(file, `${settingsOf(plan).join('\n')}\n`);
  const child = spawn('turnserver', ['-c', file], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`coturn does not start: ${output}`));
    }, 10_000);
    const onOutput = (chunk: Buffer): void => {
      output += chunk.toString();
      if (!output.includes('SQLite DB connection success')) return;
      clearTimeout(timer);
      resolve();
    };
    child.stdout.on('data', onOutput);
    child.stderr.on('data', onOutput);
    child.once('exit', (code) => reject(new Error(`coturn ended with ${code}: ${output}`)));
  });
  await untilAnswers('127.0.0.1', plan.port);
  await untilAnswers('::1', plan.port);
  return child;
}

export function coturnCredentials(users: CoturnUsers, name: string): TurnCredentials {
  const username = users === 'static' ? name : `1999999999:${name}`;
  const password =
    users === 'static'
      ? STATIC_PASSWORD
      : createHmac('sha1', SECRET).update(username).digest('base64');
  return { username, password, realm: 'firezone' };
}

export function toEndpoint(text: string): Endpoint {
  const value = parseEndpoint(text);
  if (!value) throw new Error(`not an endpoint: ${text}`);
  return value;
}

function settingsOf(plan: CoturnPlan): string[] {
  const { directory, port, relayPorts, users, tls, settings = [] } = plan;
  const accounts =
    users === 'static'
      ? ['lt-cred-mech', ...STATIC_USERS.map((name) => `user=${name}:${STATIC_PASSWORD}`)]
      : ['use-auth-secret', `static-auth-secret=${SECRET}`];
  return [
    `listening-port=${port}`,
    'listening-ip=127.0.0.1',
    'listening-ip=::1',
    'relay-ip=127.0.0.1',
    'relay-ip=::1',
    'realm=firezone',
    ...accounts,
    `min-port=${relayPorts}`,
    `max-port=${relayPorts + 199}`,
    'allow-loopback-peers',
    'no-multicast-peers',
    'no-rfc5780',
    ...(tls
      ? [`tls-listening-port=${tls.port}`, `cert=${tls.cert}`, `pkey=${tls.key}`]
      : ['no-tls']),
    'no-dtls',
    'no-cli',
    `userdb=${join(directory, 'turndb')}`,
    `pidfile=${join(directory, 'turnserver.pid')}`,
    'log-file=stdout',
    'simple-log',
    ...settings,
  ];
}

/** Its log says that it listens before it does. */
async function untilAnswers(address: string, port: number): Promise<void> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  let isAnswered = false;
  socket.on('message', () => {
    isAnswered = true;
  });
  const binding = Buffer.from('000100002112a442000102030405060708090a0b', 'hex');
  for (let attempt = 0; attempt < 200 && !isAnswered; attempt++) {
    socket.send(binding, port, address);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  socket.close();
  if (!isAnswered) throw new Error('coturn does not answer');
}
