// Lines as operations 2.2 and 2.3 have them.

import { execFileSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FzError, InvariantError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { parseLogFilter } from './log-filter.ts';
import { createLog, type LogOptions } from './log-sink.ts';

const NOW = '2026-08-10T09:00:00.250Z';
const lines: string[] = [];
const destination = { write: (line: string) => lines.push(line) };

function log(options: Partial<LogOptions> = {}): Log {
  return createLog({ format: 'human', destination, ...options });
}

const last = (): string => lines.at(-1) ?? '';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: new Date(NOW) });
  lines.length = 0;
});

afterEach(() => {
  vi.useRealTimers();
});

class NetworkError extends FzError {
  readonly code = 'FZ_ERR_TEST';
}

describe('a human line', () => {
  it('has time, padded level, target, message, fields of the event and of its context', () => {
    const child = log().child('link.connection', { clientId: 'c-1' });
    child.info('connection established', { durationMs: 12, path: 'direct' });
    expect(last()).toBe(
      `${NOW}  INFO link.connection: connection established durationMs=12 path=direct clientId=c-1\n`,
    );
    child.warn('odd');
    expect(last()).toContain(' WARN link.connection: odd');
    child.error('broken');
    expect(last()).toContain(' ERROR link.connection: broken');
  });

  it('quotes text that would be ambiguous and leaves out what is absent', () => {
    log().info('x', { a: 'two words', b: 'say "hi"', c: '', d: undefined, e: null, f: 'a=b' });
    expect(last()).toBe(`${NOW}  INFO firezone: x a="two words" b="say \\"hi\\"" c="" f="a=b"\n`);
  });

  it('stays one line whatever remote text holds', () => {
    log().info('evil\nINFO forged', { name: 'a\n2026 ERROR forged' });
    expect(lines.length).toBe(1);
    expect(last().indexOf('\n')).toBe(last().length - 1);
  });

  it('keeps the byte counters of a flow beside each other', () => {
    log({ filter: parseLogFilter(undefined, { flowLogs: true }) })
      .child('flow_logs::tcp')
      .trace('TCP flow completed', { rx_bytes: 0, tx_bytes: 0 });
    expect(last()).toMatch(/flow_logs.*TCP flow completed rx_bytes=0 tx_bytes=0/);
  });

  it('is coloured on request', () => {
    log({ colours: true }).info('x');
    expect(last()).toContain('\u001b[32m INFO\u001b[0m');
  });

  it('shows failures by their sentence and causes, and bugs by their stack', () => {
    const cause = new Error('connection refused');
    log().error('x', { error: new NetworkError('cannot reach the portal', { cause }) });
    expect(last()).toContain('error="cannot reach the portal: connection refused"');
    log().error('x', { error: new InvariantError('a test breaks it') });
    expect(last()).toContain('log-sink.test.ts');
  });

  it('carries bytes, big numbers, objects and cycles without throwing', () => {
    const cycle: Record<string, unknown> = {};
    cycle['self'] = cycle;
    log().info('x', { key: Uint8Array.of(1, 255), big: 2n ** 64n, list: [1, 'a'], cycle });
    expect(last()).toContain('key=01ff big=18446744073709551616 list=[1,"a"]');
  });
});

describe('a JSON line', () => {
  it('is one flat object with time in microseconds and an upper-case level', () => {
    log({ format: 'json' })
      .child('portal', { siteId: 's' })
      .info('Connected to portal', { host: 'example.com', error: new NetworkError('no') });
    expect(JSON.parse(last())).toEqual({
      timestamp: '2026-08-10T09:00:00.250000Z',
      level: 'INFO',
      host: 'example.com',
      error: 'no',
      siteId: 's',
      message: 'Connected to portal',
      target: 'portal',
    });
  });
});

describe('the filter', () => {
  it('decides by target, once per child', () => {
    const root = log({ filter: parseLogFilter('warn,link=debug') });
    const link = root.child('link');
    expect([link.debugEnabled, link.traceEnabled, root.debugEnabled]).toEqual([true, false, false]);
    root.info('no');
    link.debug('yes');
    link.trace('no');
    root.child('portal').info('no');
    expect(lines.length).toBe(1);
  });

  it('that is empty silences even errors', () => {
    log({ filter: parseLogFilter('') }).error('no');
    expect(lines).toEqual([]);
  });

  it('defaults to info', () => {
    log().debug('no');
    log().info('yes');
    expect(lines.length).toBe(1);
  });
});

describe('standard output', () => {
  it('has the last line when the process dies right after', () => {
    const script = `import('pino').then(({ default: pino }) => {
      pino.destination({ dest: 1, sync: true }).write('last words\\n');
      process.kill(process.pid, 'SIGKILL');
    });`;
    const shell = `"$0" -e "$1" | cat`;
    const output = execFileSync('sh', ['-c', shell, process.execPath, script], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    expect(output).toBe('last words\n');
  });
});
