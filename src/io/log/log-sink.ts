// Where log lines go: standard output, one line per event, written before the call returns, so that the last line before a crash is
// there. For people (operations 2.2) or as JSON (operations 2.3). The target is the dotted name of the module that speaks.
//
//   2026-08-10T09:00:00.250Z  INFO link.connection: connection established clientId=… durationMs=12
//   {"timestamp":"2026-08-10T09:00:00.250000Z","level":"INFO","clientId":"…","message":"…","target":"link.connection"}

import pino from 'pino';
import { toHex } from '../../base/bytes.ts';
import { FzError, InvariantError } from '../../base/errors.ts';
import type { Log, LogFields } from '../../base/log.ts';
import { isLevelWithin, type LogFilter, type LogLevel, parseLogFilter } from './log-filter.ts';

// Implementation
const ROOT_TARGET = 'firezone';
/** Text that stays readable and greppable without quotes. */
const BARE = /^[^\s"=\\\p{Cc}]+$/u;
const ESCAPE = '\u001b[';
const DIM = '2';
const COLOURS: Readonly<Record<LogLevel, string>> = {
  trace: '35',
  debug: '34',
  info: '32',
  warn: '33',
  error: '31',
};

export interface LogDestination {
  write(line: string): unknown;
}

export interface LogOptions {
  readonly format: 'human' | 'json';
  /** `parseLogFilter(process.env.RUST_LOG)`; absent: `info`. */
  readonly filter?: LogFilter;
  /** Default: standard output, synchronous. */
  readonly destination?: LogDestination;
  /** Default: if standard output is a terminal and `NO_COLOR` is not set. */
  readonly colours?: boolean;
}

type LineFormat = (line: Line) => string;

interface Line {
  readonly time: Date;
  readonly level: LogLevel;
  readonly target: string;
  readonly message: string;
  readonly fields: LogFields;
}

export function createLog(options: LogOptions): Log {
  const filter = options.filter ?? parseLogFilter(undefined);
  const isTerminal = options.destination === undefined && process.stdout.isTTY === true;
  const hasColours = options.colours ?? (isTerminal && process.env['NO_COLOR'] === undefined);
  return new SinkLog(
    {
      filter,
      format: options.format === 'json' ? jsonLine : hasColours ? colouredLine : humanLine,
      destination: options.destination ?? standardOutput(),
    },
    ROOT_TARGET,
    {},
  );
}

function standardOutput(): LogDestination {
  const destination = pino.destination({ dest: 1, sync: true });
  destination.on('error', () => {}); // A reader that went away (`| head`) must not end the program
  return destination;
}

interface Sink {
  readonly filter: LogFilter;
  readonly format: LineFormat;
  readonly destination: LogDestination;
}

class SinkLog implements Log {
  readonly debugEnabled: boolean;
  readonly traceEnabled: boolean;
  readonly #sink: Sink;
  readonly #limit: LogLevel | 'off';
  readonly #target: string;
  readonly #fields: LogFields;

  constructor(sink: Sink, target: string, fields: LogFields) {
    this.#sink = sink;
    this.#target = target;
    this.#fields = fields;
    this.#limit = sink.filter.levelOf(target);
    this.debugEnabled = isLevelWithin('debug', this.#limit);
    this.traceEnabled = isLevelWithin('trace', this.#limit);
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
    if (this.debugEnabled) this.#write('debug', message, fields);
  }

  trace(message: string, fields?: LogFields): void {
    if (this.traceEnabled) this.#write('trace', message, fields);
  }

  child(target: string, fields: LogFields = {}): Log {
    return new SinkLog(this.#sink, target, { ...this.#fields, ...fields });
  }

  /** Fields of the event come first, those of the context behind, as operations 2.2 has it. */
  #write(level: LogLevel, message: string, fields: LogFields = {}): void {
    if (!isLevelWithin(level, this.#limit)) return;
    const { format, destination } = this.#sink;
    const all = { ...fields, ...omit(this.#fields, fields) };
    const line = { time: new Date(), level, target: this.#target, message, fields: all };
    destination.write(`${format(line)}\n`);
  }
}

function humanLine({ time, level, target, message, fields }: Line): string {
  const name = level.toUpperCase().padStart(5);
  return `${time.toISOString()} ${name} ${target}: ${oneLine(message)}${fieldsText(fields)}`;
}

function colouredLine({ time, level, target, message, fields }: Line): string {
  const name = coloured(COLOURS[level], level.toUpperCase().padStart(5));
  const head = `${coloured(DIM, time.toISOString())} ${name} ${coloured(DIM, `${target}:`)}`;
  return `${head} ${oneLine(message)}${fieldsText(fields)}`;
}

function coloured(code: string, text: string): string {
  return `${ESCAPE}${code}m${text}${ESCAPE}0m`;
}

function jsonLine({ time, level, target, message, fields }: Line): string {
  const timestamp = time.toISOString().replace('Z', '000Z');
  const line: Record<string, unknown> = { timestamp, level: level.toUpperCase() };
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined && value !== null) line[key] = plain(value);
  }
  return JSON.stringify({ ...line, message, target });
}

function fieldsText(fields: LogFields): string {
  let text = '';
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined && value !== null) text += ` ${key}=${valueText(value)}`;
  }
  return text;
}

function valueText(value: unknown): string {
  const simple = plain(value);
  const text = typeof simple === 'string' ? simple : JSON.stringify(simple);
  return typeof simple !== 'string' || BARE.test(text) ? text : JSON.stringify(text);
}

/** What JSON can carry: errors as their sentence and causes (a bug with its stack), bytes as hex, big numbers as text. */
function plain(value: unknown): unknown {
  if (value instanceof Error) return errorText(value);
  if (value instanceof Uint8Array) return toHex(value);
  if (typeof value === 'bigint' || typeof value === 'symbol') return String(value);
  if (typeof value === 'function') return `function ${value.name}`;
  if (typeof value !== 'object' || value === null) return value;
  try {
    return JSON.parse(JSON.stringify(value, (_, inner) => (isTree(inner) ? inner : plain(inner))));
  } catch {
    return String(value); // Cycles: a log line must not throw
  }
}

/** Arrays and plain objects, which JSON walks through itself. */
function isTree(value: unknown): boolean {
  if (Array.isArray(value)) return true;
  return (
    typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
  );
}

function errorText(error: Error): string {
  const isBug = error instanceof InvariantError || !(error instanceof FzError);
  const parts = [isBug ? (error.stack ?? error.message) : error.message];
  for (let cause = error.cause; cause instanceof Error; cause = cause.cause) {
    parts.push(cause.message);
    if (parts.length > 8) break;
  }
  return parts.join(': ');
}

/** A field of the event hides the same field of the context. */
function omit(fields: LogFields, hidden: LogFields): LogFields {
  return Object.fromEntries(Object.entries(fields).filter(([key]) => !(key in hidden)));
}

/** Remote text in a message cannot forge a second line. */
function oneLine(message: string): string {
  return message.replaceAll(/[\p{Cc}]+/gu, ' ');
}
