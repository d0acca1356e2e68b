// The logger that pure layers receive. The message is a constant sentence, values are fields. Addresses, domains, keys
// and tokens never go above `debug`. Arguments that cost are built behind `if (log.traceEnabled)`.

export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  readonly debugEnabled: boolean;
  readonly traceEnabled: boolean;
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  trace(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` (for example `{ clientId }`) to each line. `target` is the dotted module name. */
  child(target: string, fields?: LogFields): Log;
}

export const SILENT_LOG: Log = {
  debugEnabled: false,
  traceEnabled: false,
  error() {},
  warn() {},
  info() {},
  debug() {},
  trace() {},
  child: () => SILENT_LOG,
};
