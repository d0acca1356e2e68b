// Where log lines go: `pino` behind the `Log` interface of the pure layers. Human lines for a terminal, JSON for collectors.
// A line carries its time, level, target (the dotted module name), message and fields.

import pino from 'pino';
import pretty from 'pino-pretty';
import type { Log, LogFields } from '../base/log.ts';

export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'trace';

export interface LogOptions {
  readonly format: 'human' | 'json';
  readonly level: LogLevel;
  /** Default: standard output. */
  readonly destination?: NodeJS.WritableStream;
}

export function createLog(options: LogOptions): Log {
  const destination = options.destination ?? process.stdout;
  const stream =
    options.format === 'json'
      ? destination
      : pretty({
          destination,
          sync: true,
          colorize: destination === process.stdout && process.stdout.isTTY,
          ignore: 'pid,hostname,target',
          translateTime: 'yyyy-mm-dd HH:MM:ss.l',
          singleLine: true,
        });
  return new PinoLog(pino({ level: options.level, base: null }, stream));
}

/** The level of a filter such as `info`, `debug,wire=trace`: the last entry without a target; `info` if there is none. */
export function levelOf(filter: string | undefined): LogLevel {
  let level: LogLevel = 'info';
  for (const part of (filter ?? '').split(',')) {
    const word = part.trim().toLowerCase();
    if (isLevel(word)) level = word;
  }
  return level;
}

function isLevel(word: string): word is LogLevel {
  return ['error', 'warn', 'info', 'debug', 'trace'].includes(word);
}

class PinoLog implements Log {
  readonly #pino: pino.Logger;
  readonly debugEnabled: boolean;
  readonly traceEnabled: boolean;

  constructor(logger: pino.Logger) {
    this.#pino = logger;
    this.debugEnabled = logger.isLevelEnabled('debug');
    this.traceEnabled = logger.isLevelEnabled('trace');
  }

  error(message: string, fields: LogFields = {}): void {
    this.#pino.error(fields, message);
  }

  warn(message: string, fields: LogFields = {}): void {
    this.#pino.warn(fields, message);
  }

  info(message: string, fields: LogFields = {}): void {
    this.#pino.info(fields, message);
  }

  debug(message: string, fields: LogFields = {}): void {
    this.#pino.debug(fields, message);
  }

  trace(message: string, fields: LogFields = {}): void {
    this.#pino.trace(fields, message);
  }

  child(target: string, fields: LogFields = {}): Log {
    return new PinoLog(this.#pino.child({ target, ...fields }));
  }
}
