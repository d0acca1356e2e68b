// The WAN between two namespaces, for whoever tests or measures over it: starts the program (wan.mjs), changes its conditions, ends it.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';

/** As the flags of the program; percentages where it says so there. */
export interface WanFlags {
  readonly seed?: number;
  readonly rtt?: number;
  readonly jitter?: number;
  readonly loss?: number;
  readonly reorder?: number;
  readonly 'reorder-ms'?: number;
  readonly duplicate?: number;
  readonly mbit?: number;
  readonly queue?: number;
}

export type WanCounters = Readonly<Record<string, number>>;

export interface WanReport {
  readonly toRight: WanCounters;
  readonly toLeft: WanCounters;
}

export class Wan {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, output: Interface) {
    this.#child = child;
    this.#lines = output[Symbol.asyncIterator]();
  }

  /** Both devices are in their namespaces when it resolves, `NAMESPACE:DEVICE` each; they are down and have no addresses. */
  static async start(
    root: string,
    left: string,
    right: string,
    flags: WanFlags = {},
  ): Promise<Wan> {
    const options = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
    const program = join(root, 'test', 'e2e', 'wan', 'wan.mjs');
    const args = [program, `--left=${left}`, `--right=${right}`, ...options];
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    // It may end with its devices, before it is told.
    child.stdin.on('error', () => {});
    const wan = new Wan(child, createInterface({ input: child.stdout }));
    await wan.#hears('ready');
    return wan;
  }

  /** Other conditions for whatever comes from now on; what is not given is perfect. */
  async change(flags: Omit<WanFlags, 'seed'>): Promise<void> {
    this.#child.stdin?.write(`${JSON.stringify(flags)}\n`);
    await this.#hears('changed');
  }

  /** Removes both devices; says what passed and what did not. */
  async stop(): Promise<WanReport> {
    const ended = this.#child.exitCode === null ? once(this.#child, 'exit') : undefined;
    this.#child.stdin?.end();
    const { value } = await this.#lines.next();
    await ended;
    return JSON.parse(String(value)) as WanReport;
  }

  async #hears(word: string): Promise<void> {
    const { value, done } = await this.#lines.next();
    if (done || value !== word) throw new Error(`the WAN said ${value ?? 'nothing'}, not ${word}`);
  }
}
