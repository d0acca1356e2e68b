// Which lines are written: the directives of `RUST_LOG` (operations 2.1), so that the filters operators already have work unchanged.
//
//   info                       everything from info up
//   warn,link=debug            one module in detail
//   wire::api::send=trace      official names; `::` and `.` are the same
//   link[peer]=trace           accepted; there are no spans here, so it never matches

import { FzError } from '../../base/errors.ts';

export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'trace';

// Specification (operations 2.1)
const DEFAULT_FILTER = 'info';
/** In front of what the operator says, who can thus override it: modules of the official program, kept so that its filters mean the same. */
const QUIET_LIST = [
  'netlink_proto=warn',
  'os_info=warn',
  'rustls=warn',
  'opentelemetry_sdk=info',
  'opentelemetry=info',
  'hyper_util=info',
  'h2=info',
  'hickory_proto=info',
  'hickory_resolver=info',
  'netlink_packet_route=info',
].join(',');

const LEVELS: readonly (LogLevel | 'off')[] = ['off', 'error', 'warn', 'info', 'debug', 'trace'];

export class LogFilterError extends FzError {
  readonly code = 'FZ_ERR_LOG_FILTER';
}

interface Directive {
  readonly target: string;
  readonly level: LogLevel | 'off';
}

export class LogFilter {
  readonly #directives: readonly Directive[];

  constructor(directives: readonly Directive[]) {
    this.#directives = directives;
  }

  /** The longest prefix wins; of equal ones the last. A target that no directive matches is off. */
  levelOf(target: string): LogLevel | 'off' {
    const name = normalized(target);
    let best: Directive | undefined;
    for (const directive of this.#directives) {
      if (!name.startsWith(directive.target)) continue;
      if (best === undefined || directive.target.length >= best.target.length) best = directive;
    }
    return best?.level ?? 'off';
  }
}

/** Whether a line of `level` passes a target whose level is `limit`. */
export function isLevelWithin(level: LogLevel, limit: LogLevel | 'off'): boolean {
  return LEVELS.indexOf(level) <= LEVELS.indexOf(limit);
}

/** `text`: of `RUST_LOG`, absent or empty have different meanings. Throws `LogFilterError` for a directive that does not parse. */
export function parseLogFilter(
  text: string | undefined,
  options: { readonly flowLogs: boolean } = { flowLogs: false },
): LogFilter {
  const parts = [QUIET_LIST, text ?? DEFAULT_FILTER];
  if (options.flowLogs) parts.push('flow_logs=trace');
  const directives = parts
    .join(',')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .flatMap(parseDirective);
  return new LogFilter(directives);
}

/** `level`, `target=level` or `target[span]=level`. */
function parseDirective(text: string): readonly Directive[] {
  const match = /^(?:([A-Za-z0-9_.:-]*)(\[[^\]]*\])?=)?([A-Za-z]+)$/.exec(text);
  const level = LEVELS.find((name) => name === match?.[3]?.toLowerCase());
  if (!match || level === undefined) {
    throw new LogFilterError(
      `the log filter has a part that is no directive: "${text}" (a level or target=level, where level is one of ${LEVELS.join(', ')})`,
    );
  }
  if (match[2] !== undefined) return [];
  return [{ target: normalized(match[1] ?? ''), level }];
}

function normalized(target: string): string {
  return target.replaceAll('::', '.');
}
