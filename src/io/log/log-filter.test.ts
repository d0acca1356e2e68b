// Directives as operations 2.1 has them.

import { describe, expect, it } from 'vitest';
import { isLevelWithin, LogFilterError, parseLogFilter } from './log-filter.ts';

describe('a log filter', () => {
  it('that is absent lets info pass, and one that is empty lets nothing pass', () => {
    expect(parseLogFilter(undefined).levelOf('link')).toBe('info');
    expect(parseLogFilter('').levelOf('link')).toBe('off');
    expect(parseLogFilter('').levelOf('rustls')).toBe('warn');
  });

  it('gives the longest prefix its say, and the later of equal ones', () => {
    const filter = parseLogFilter('warn,link=debug,link.relays=trace,link=info');
    expect(filter.levelOf('portal')).toBe('warn');
    expect(filter.levelOf('link')).toBe('info');
    expect(filter.levelOf('link.connection')).toBe('info');
    expect(filter.levelOf('link.relays')).toBe('trace');
    expect(filter.levelOf('link.relays.pool')).toBe('trace');
  });

  it('has no default level unless one is given', () => {
    expect(parseLogFilter('link=debug').levelOf('portal')).toBe('off');
  });

  it('takes official names, any case, blanks and empty parts', () => {
    const filter = parseLogFilter(' INFO, ,wire::api::send=Trace ,');
    expect(filter.levelOf('wire.api.send')).toBe('trace');
    expect(filter.levelOf('wire::api::send')).toBe('trace');
    expect(filter.levelOf('wire::api::recv')).toBe('info');
  });

  it('lets the operator override the quiet list', () => {
    expect(parseLogFilter('trace').levelOf('rustls')).toBe('warn');
    expect(parseLogFilter('info,rustls=trace').levelOf('rustls')).toBe('trace');
  });

  it('can switch a target off', () => {
    expect(parseLogFilter('info,noisy=off').levelOf('noisy.part')).toBe('off');
  });

  it('accepts spans, which never match', () => {
    expect(parseLogFilter('info,link[peer]=trace').levelOf('link')).toBe('info');
  });

  it('adds flow logs on request', () => {
    const filter = parseLogFilter(undefined, { flowLogs: true });
    expect(filter.levelOf('flow_logs::tcp')).toBe('trace');
    expect(filter.levelOf('link')).toBe('info');
  });

  it('names the part that does not parse', () => {
    for (const text of ['loud', 'info,link=', 'link=loud', 'a=b=c', '=', 'link[peer=info']) {
      expect(() => parseLogFilter(text)).toThrow(LogFilterError);
    }
    expect(() => parseLogFilter('info,link=loud')).toThrow('"link=loud"');
  });
});

describe('levels', () => {
  it('pass when they are not more talkative than the limit', () => {
    expect(isLevelWithin('error', 'warn')).toBe(true);
    expect(isLevelWithin('info', 'info')).toBe(true);
    expect(isLevelWithin('debug', 'info')).toBe(false);
    expect(isLevelWithin('error', 'off')).toBe(false);
  });
});
