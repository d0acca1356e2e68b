// What the kernel says when a host's network changes, in a namespace of our own (rtnetlink(7)). Root only.
//
//   v0 192.0.2.2/24, default route by 192.0.2.1 --- v1, its other end, in the same namespace

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const NAME = `fz-watch-${process.pid}`;
const isRoot = process.getuid?.() === 0;

const SCRIPT = `
  const { NetworkWatch } = await import('${ROOT}/dist/io/host/network-watch.js');
  const { SILENT_LOG } = await import('${ROOT}/dist/base/log.js');
  new NetworkWatch('tun-firezone', SILENT_LOG, (change) => console.log(JSON.stringify(change)));
  console.log('"ready"');
  setInterval(() => {}, 1_000);
`;

function ip(...args: string[]): void {
  const { status, stderr } = spawnSync('ip', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr}`);
}
const inside = (...args: string[]): void => ip('-n', NAME, ...args);

class Watcher {
  readonly #child: ChildProcess;
  readonly #lines: unknown[] = [];

  constructor() {
    const args = ['netns', 'exec', NAME, process.execPath, '--input-type=module', '-e', SCRIPT];
    this.#child = spawn('ip', args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const { stdout } = this.#child;
    if (stdout)
      createInterface({ input: stdout }).on('line', (line) => this.#lines.push(JSON.parse(line)));
  }

  /** The next thing it says, and how long that took. */
  async next(withinMs: number): Promise<{ said: unknown; tookMs: number }> {
    const start = performance.now();
    while (this.#lines.length === 0) {
      if (performance.now() - start > withinMs) throw new Error('it said nothing');
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return { said: this.#lines.shift(), tookMs: performance.now() - start };
  }

  async end(): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.kill();
    await ended;
  }
}

describe.skipIf(!isRoot)('a host whose network changes', () => {
  let watcher: Watcher;

  beforeEach(async () => {
    ip('netns', 'add', NAME);
    inside('link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1');
    for (const name of ['lo', 'v0', 'v1']) inside('link', 'set', name, 'up');
    inside('address', 'add', '192.0.2.2/24', 'dev', 'v0');
    inside('route', 'add', 'default', 'via', '192.0.2.1');
    watcher = new Watcher();
    expect((await watcher.next(10_000)).said).toBe('ready');
  });

  afterEach(async () => {
    await watcher.end();
    ip('netns', 'delete', NAME);
  });

  test('another address is noticed within a second, once', async () => {
    inside('address', 'flush', 'dev', 'v0', 'scope', 'global');
    inside('address', 'add', '192.0.2.3/24', 'dev', 'v0');
    inside('route', 'add', 'default', 'via', '192.0.2.1');
    const { said, tookMs } = await watcher.next(2_000);
    expect(said).toMatchObject({ kind: 'addresses', addresses: ['192.0.2.3'] });
    expect(tookMs).toBeLessThan(1_000);
    await expect(watcher.next(1_500)).rejects.toThrow('it said nothing');
  }, 20_000);

  test('what does not matter is not reported: a route to one network, a device without addresses', async () => {
    inside('route', 'add', '203.0.113.0/24', 'via', '192.0.2.1');
    inside('link', 'add', 'v2', 'type', 'veth', 'peer', 'name', 'v3');
    await expect(watcher.next(1_500)).rejects.toThrow('it said nothing');
  }, 20_000);

  test('another default route is noticed although all addresses stay', async () => {
    inside('route', 'replace', 'default', 'via', '192.0.2.9');
    const { said, tookMs } = await watcher.next(2_000);
    expect(said).toMatchObject({ kind: 'route', addresses: ['192.0.2.2'] });
    expect(tookMs).toBeLessThan(1_000);
  }, 20_000);
});
