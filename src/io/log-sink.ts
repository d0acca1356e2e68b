// Where log lines go. For people: time, level, target, message and fields, one line each; for collectors: JSON by `pino`. The
// target is the dotted name of the module that speaks.

import pino from 'pino';
import type { Log, LogFields } from '../base/log.ts';

export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'trace';

const LEVELS: readonly LogLevel[] = ['error', 'warn', 'info', 'debug', 'trace'];

export interface LogOptions {
  readonly format: 'human' | 'json';
  readonly level: LogLevel;
  /** Default: standard output. */
  readonly destination?: NodeJS.WritableStream;
}

export function createLog(options: LogOptions): Log {
  const { format, level, destination = process.stdout } = options;
  if (format === 'human') return new HumanLog(destination, level, '', {});
  return new JsonLog(pino({ level, base: null }, destination));
}

/** The level of a filter such as `info`, `debug,wire=trace`: the last entry without a target; `info` if there is none. */
export function levelOf(filter: string | undefined): LogLevel {
  let level: LogLevel = 'info';
  for (const part of (filter ?? '').split(',')) {
    const word = part.trim().toLowerCase();
    level = LEVELS.find((it) => it === word) ?? level;
  }
  return level;
}

/** `2026-11-25T02:00:00.000Z  INFO portal: connected role=gateway`. */
class HumanLog implements Log {
  readonly debugEnabled: boolean;
  readonly traceEnabled: boolean;
  readonly #destination: NodeJS.WritableStream;
  readonly #level: LogLevel;
  readonly #target: string;
  readonly #fields: LogFields;

  constructor(
    destination: NodeJS.WritableStream,
    level: LogLevel,
    target: string,
    fields: LogFields,
  ) {
    this.#destination = destination;
    this.#level = level;
    this.#target = target;
    this.#fields = fields;
    this.debugEnabled = LEVELS.indexOf(level) >= LEVELS.indexOf('debug');
    this.traceEnabled = level === 'trace';
  }

  error(message: string, fields?: LogFields): void {
    this.#write('error', message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    this.#write('warn', message, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.#write('info', message, fields);
  }

  debug(message: string, fields?: LogFields): void {
    this.#write('debug', message, fields);
  }

  trace(message: string, fields?: LogFields): void {
    this.#write('trace', message, fields);
  }

  child(target: string, fields: LogFields = {}): Log {
    return new HumanLog(this.#destination, this.#level, target, { ...this.#fields, ...fields });
  }

  #write(level: LogLevel, message: string, fields: LogFields = {}): void {
    if (LEVELS.indexOf(level) > LEVELS.indexOf(this.#level)) return;
    const target = this.#target === '' ? '' : `${this.#target}: `;
    const head = `${new Date().toISOString()} ${level.toUpperCase().padStart(5)} ${target}${message}`;
    this.#destination.write(`${head}${textOf({ ...this.#fields, ...fields })}\n`);
  }
}

function textOf(fields: LogFields): string {
  let text = '';
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    text += ` ${key}=${valueText(value)}`;
  }
  return text;
}

function valueText(value: unknown): string {
  if (value instanceof Error) return JSON.stringify(value.message);
  if (typeof value === 'string') return /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
  return JSON.stringify(value) ?? String(value);
}

class JsonLog implements Log {
  readonly debugEnabled: boolean;
  readonly traceEnabled: boolean;
  readonly #pino: pino.Logger;

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
    return new JsonLog(this.#pino.child({ target, ...fields }));
  }
}
