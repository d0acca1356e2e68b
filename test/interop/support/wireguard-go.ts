// A foreign peer: wireguard-go, its tunnel interface in a network namespace of its own, its UDP socket on our loopback.
//
//   WireGuardEnd ── 127.0.0.1 UDP ── wireguard-go ── TUN ──▌namespace: 10.77.0.2, ping

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fromBase64, toBase64 } from '../../../src/base/bytes.ts';

export const OUR_ADDRESS = '10.77.0.1';
export const ITS_ADDRESS = '10.77.0.2';

interface PeerKeys {
  readonly publicKey: Uint8Array;
  readonly presharedKey: Uint8Array;
}

const PROGRAMS = ['wireguard-go', 'wg', 'ping', 'ip'];
const PACKAGES = ['wireguard-go', 'wireguard-tools', 'iputils-ping', 'iproute2'];

let instances = 0;

/** Why this machine cannot run wireguard-go; `undefined` if it can. Installs the Debian packages when it may. */
export function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root, for a network namespace and a TUN device';
  if (!existsSync('/dev/net/tun')) return 'needs /dev/net/tun';
  if (!PROGRAMS.every(has)) install();
  return PROGRAMS.every(has) ? undefined : `needs the packages ${PACKAGES.join(', ')}`;
}

export class WireGuardGo {
  readonly #id = `fzwg${process.pid % 100_000}${instances++}`;
  #folder = '';
  #process: ChildProcess | undefined;
  port = 0;
  publicKey: Uint8Array = new Uint8Array();

  async start(): Promise<void> {
    this.#folder = mkdtempSync(join(tmpdir(), 'wireguard-'));
    run('ip', 'netns', 'add', this.#id);
    this.#process = spawn('wireguard-go', ['-f', this.#id], {
      stdio: 'ignore',
      env: { ...process.env, WG_PROCESS_FOREGROUND: '1' },
    });
    for (let i = 0; i < 100 && !existsSync(`/var/run/wireguard/${this.#id}.sock`); i++) {
      await sleep(50);
    }
    run('ip', 'link', 'set', this.#id, 'netns', this.#id);
    this.#inside('ip', 'addr', 'add', `${ITS_ADDRESS}/24`, 'dev', this.#id);
    this.#inside('ip', 'link', 'set', this.#id, 'mtu', '1280', 'up');
    const key = run('wg', 'genkey').trim();
    this.#wg('private-key', this.#file('key', key));
    this.publicKey = fromBase64(run('wg', 'show', this.#id, 'public-key').trim()) ?? this.publicKey;
    for (let i = 0; i < 60 && this.port === 0; i++) {
      await sleep(100);
      this.port = Number(run('wg', 'show', this.#id, 'listen-port'));
    }
  }

  addPeer(end: PeerKeys, port: number, ...extra: string[]): void {
    this.#wg(
      'peer',
      toBase64(end.publicKey),
      'preshared-key',
      this.#file('psk', toBase64(end.presharedKey)),
      'endpoint',
      `127.0.0.1:${port}`,
      'allowed-ips',
      `${OUR_ADDRESS}/32`,
      ...extra,
    );
  }

  /** Unix seconds of its last handshake with our end. */
  latestHandshake(): number {
    return Number(run('wg', 'show', this.#id, 'latest-handshakes').trim().split('\t')[1]);
  }

  /** Pings our end from inside; the number of replies. */
  async ping(count: number, interval = 0.2): Promise<number> {
    const args = ['netns', 'exec', this.#id, 'ping', '-n', '-c', `${count}`, '-i', `${interval}`];
    const child = spawn('ip', [...args, '-W', '2', OUR_ADDRESS]);
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
    });
    await new Promise((resolve) => child.on('close', resolve));
    return Number(/(\d+) received/.exec(text)?.[1] ?? 0);
  }

  async stop(): Promise<void> {
    if (this.#process && this.#process.exitCode === null) {
      const ended = new Promise((resolve) => this.#process?.on('exit', resolve));
      this.#process.kill();
      await ended;
    }
    run('ip', 'netns', 'del', this.#id);
    rmSync(this.#folder, { recursive: true });
  }

  #wg(...args: string[]): void {
    run('wg', 'set', this.#id, ...args);
  }

  #inside(...args: string[]): void {
    run('ip', 'netns', 'exec', this.#id, ...args);
  }

  #file(name: string, content: string): string {
    const path = join(this.#folder, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  }
}

function has(program: string): boolean {
  return ['/usr/bin', '/usr/sbin', '/bin', '/sbin'].some((dir) => existsSync(join(dir, program)));
}

function install(): void {
  try {
    run('apt-get', 'install', '-y', '--no-install-recommends', ...PACKAGES);
  } catch {
    // The caller looks again and says what is missing.
  }
}

function run(program: string, ...args: string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
