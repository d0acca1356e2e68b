// What all programs share: one line for an operator's mistake and the exit codes of operations 1.4. 0 stopped as asked, 1 could not run or
// went wrong, 2 wrong usage.

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Command, CommanderError } from 'commander';
import { FzError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';

// Specification: operations 1.4.
export const EXIT = { ok: 0, failure: 1, usage: 2 } as const;

// Implementation
/** The bundled executable has no package file beside it; the bundler puts the version here. */
declare const FIREZONE_BUNDLED_VERSION: string | undefined;

/** Whether this is the single executable, which has no checkout around it. */
export function isBundled(): boolean {
  return typeof FIREZONE_BUNDLED_VERSION === 'string';
}

export function programVersion(): string {
  if (typeof FIREZONE_BUNDLED_VERSION === 'string') return FIREZONE_BUNDLED_VERSION;
  const manifest = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'package.json');
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
}

/** Settings that are well-formed each and cannot be used: exit code 2, as for those that are not. */
export abstract class SettingsError extends FzError {}

/** Parses `argv` and runs the chosen action; turns whatever goes wrong into one line and an exit code. */
export async function runProgram(command: Command): Promise<void> {
  refuseExit(command);
  try {
    await command.parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
      return;
    }
    process.stderr.write(`${command.name()}: ${describeFailure(error)}\n`);
    process.exitCode = error instanceof SettingsError ? EXIT.usage : EXIT.failure;
    // A rejected start may leave sockets open that would keep the process alive.
    process.exit();
  }
}

/** What a daemon's process consists of. */
export interface Daemon {
  start(): Promise<void>;
  /** Ends orderly; takes at most a few seconds. */
  stop(): Promise<void>;
}

/**
 * Runs a daemon until SIGINT or SIGTERM (exit code 0) or until it calls `onFatal` (one ERROR line, exit code 1). What goes wrong
 * before it runs is thrown, and is `runProgram`'s to say.
 */
export async function runUntilEnd(
  log: Log,
  create: (onFatal: (error: unknown) => void) => Daemon,
): Promise<never> {
  let daemon: Daemon | undefined;
  const cause = await new Promise<unknown>((end, refuse) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => end(signal));
    daemon = create(end);
    daemon.start().catch(async (error: unknown) => {
      await daemon?.stop();
      refuse(error);
    });
  });
  const isAsked = cause === 'SIGINT' || cause === 'SIGTERM';
  if (isAsked) log.info('Stopping', { signal: cause });
  else log.error(`Eventloop failed: ${describeFailure(cause)}`);
  await daemon?.stop();
  log.info('Stopped');
  process.exit(isAsked ? EXIT.ok : EXIT.failure);
}

/** Our own errors by their sentence and causes; a bug by its stack. */
export function describeFailure(error: unknown): string {
  if (!(error instanceof FzError)) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  const parts = [`${error.message}`];
  for (let cause = error.cause; cause instanceof Error; cause = cause.cause) {
    if (!parts.some((part) => part.includes(cause.message))) parts.push(cause.message);
  }
  return `${parts.join(': ')} [${error.code}]`;
}

/** So that a wrong command line reaches `runProgram` as an error; for commands that are made late, too. */
export function refuseExit(command: Command): void {
  command.exitOverride().showHelpAfterError();
  for (const child of command.commands) refuseExit(child);
}
