// A program of the lab: started in its namespace with a log file of its own, awaited by a line of its output, stopped by its id.

import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { FzError } from '../../base/errors.ts';

/** A program of the lab ended or did not get ready. */
export class LabProgramError extends FzError {
  readonly code = 'FZ_ERR_LAB_PROGRAM';
}

// Implementation
const POLL_MS = 25;
const STOP_TIMEOUT_MS = 5_000;

export interface ProcessPlan {
  readonly name: string;
  readonly logFile: string;
  /** Starts the program; its output goes to `logFile`, appended. */
  readonly spawn: () => ChildProcess;
}

export class ManagedProcess {
  readonly name: string;
  readonly logFile: string;
  readonly #spawn: () => ChildProcess;
  #child: ChildProcess | undefined;
  #exit: Promise<number | null> = Promise.resolve(null);
  /** Where the log of the present run begins. */
  #logStart = 0;

  constructor({ name, logFile, spawn }: ProcessPlan) {
    this.name = name;
    this.logFile = logFile;
    this.#spawn = spawn;
  }

  start(): void {
    this.#logStart = this.#logText().length;
    const child = this.#spawn();
    this.#child = child;
    this.#exit = new Promise((resolve) => {
      child.once('exit', (code) => resolve(code));
      child.once('error', () => resolve(null));
    });
  }

  /** Of the program itself: `ip netns exec` replaces itself. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && !this.#child.signalCode;
  }

  /** Output of the present run. */
  log(): string {
    return this.#logText().slice(this.#logStart);
  }

  /** Lines at WARN or above since the lab began. */
  warnings(): string[] {
    return this.#logText()
      .split('\n')
      .filter((line) => / (WARN|ERROR) /.test(line));
  }

  /** Resolves when the present run has printed what `pattern` matches; rejects when the program ends or time is up. */
  async waitForLine(pattern: RegExp, timeoutMs: number): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!pattern.test(this.log())) {
      const tail = this.log().trim().split('\n').slice(-3).join(' | ');
      if (!this.isRunning)
        throw new LabProgramError(`${this.name} ended early (${this.#ending()}): ${tail}`);
      if (Date.now() > deadline) throw new LabProgramError(`${this.name} is not ready: ${tail}`);
      await pause(POLL_MS);
    }
  }

  /** Asks the program to end and makes it end; resolves with its exit code (`null`: by a signal). */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.isRunning) this.#child?.kill(signal);
    const timer = setTimeout(() => this.#child?.kill('SIGKILL'), STOP_TIMEOUT_MS);
    const code = await this.#exit;
    clearTimeout(timer);
    return code;
  }

  /** The exit code once it ends by itself. */
  async waitForExit(timeoutMs: number): Promise<number | null> {
    const timeout = pause(timeoutMs).then(() => {
      throw new LabProgramError(`${this.name} still runs after ${timeoutMs} ms`);
    });
    return Promise.race([this.#exit, timeout]);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  #ending(): string {
    return this.#child?.signalCode ?? `exit code ${this.#child?.exitCode}`;
  }

  #logText(): string {
    try {
      return readFileSync(this.logFile, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
      throw error;
    }
  }
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds).unref());
}
