// Builds and runs our little program around pion (../pion/main.go): lines of text in, lines of JSON out.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
const BINARY = join(ROOT, 'build', 'interop', 'pion');
const BUILD_TIMEOUT_MS = 110_000;
const PATIENCE_MS = 20_000;

export type PionLine = Readonly<Record<string, unknown>>;

/** Why this machine cannot run pion; `undefined` if it can. The modules come from the Go module proxy, the first time. */
export function whyNoPion(): string | undefined {
  if (spawnSync('go', ['version']).status !== 0) return 'needs Go';
  const { status, stderr } = spawnSync('go', ['build', '-o', BINARY, '.'], {
    cwd: join(ROOT, 'test', 'interop', 'pion'),
    encoding: 'utf8',
    timeout: BUILD_TIMEOUT_MS,
    env: { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-buildvcs=false -mod=readonly' },
  });
  return status === 0 ? undefined : `cannot build with Go: ${stderr?.trim().split('\n')[0]}`;
}

export class Pion {
  readonly #child: ChildProcess;
  readonly #lines: PionLine[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(...args: string[]) {
    const child = spawn(BINARY, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child = child;
    createInterface({ input: child.stdout }).on('line', (line) => {
      this.#lines.push(JSON.parse(line) as PionLine);
      for (const check of this.#waiting) check();
    });
  }

  say(line: string): void {
    this.#child.stdin?.write(`${line}\n`);
  }

  /** The first line, past or to come, that has all of this. */
  async hears(wanted: PionLine): Promise<PionLine> {
    const find = (): PionLine | undefined =>
      this.#lines.find((line) =>
        Object.entries(wanted).every(([key, value]) =>
          value === undefined ? key in line : line[key] === value,
        ),
      );
    return new Promise((resolve, reject) => {
      const check = (): void => {
        const found = find();
        if (!found) return;
        clearTimeout(timer);
        this.#waiting.delete(check);
        resolve(found);
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(check);
        reject(new Error(`never came: ${JSON.stringify(wanted)}; ${JSON.stringify(this.#lines)}`));
      }, PATIENCE_MS);
      this.#waiting.add(check);
      check();
    });
  }

  /** Everything said so far under `key`. */
  all(key: string): readonly unknown[] {
    return this.#lines.flatMap((line) => (key in line ? [line[key]] : []));
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.stdin?.end();
    const impatient = setTimeout(() => this.#child.kill('SIGKILL'), PATIENCE_MS);
    await ended;
    clearTimeout(impatient);
  }
}
