import { describe, expect, test } from 'vitest';
import { formatNetwork } from '../../base/address.ts';
import { checkDnsPattern, checkFilters, checkNetwork } from './resource-rules.ts';

describe('networks', () => {
  test.each([
    ['10.0.0.0/8', '10.0.0.0/8'],
    ['10.1.2.3', '10.1.2.3/32'],
    ['2001:DB8::/32', '2001:db8::/32'],
    ['2001:db8::1', '2001:db8::1/128'],
  ])('%s is %s', (text, expected) => {
    const checked = checkNetwork(text);
    expect(checked.ok && formatNetwork(checked.value)).toBe(expected);
  });

  test.each([
    ['10.0.0.1/8', 'host bits set; the network is 10.0.0.0/8'],
    ['0.0.0.0/0', '"internet"'],
    ['::/0', '"internet"'],
    ['127.0.0.1', 'reserved'],
    ['100.64.1.0/24', 'lies in 100.64.0.0/10'],
    ['fd00:2021:1111:5::/64', 'reserved'],
    ['10.0.0.0/33', 'is not a network'],
    ['example.com', 'is not a network'],
  ])('%s is refused: %s', (text, problem) => {
    const checked = checkNetwork(text);
    expect(checked.ok).toBe(false);
    expect(!checked.ok && checked.problem).toContain(problem);
  });
});

describe('domain patterns', () => {
  test.each(['example.com', '*.example.com', '**.example.com', 'a-?.b*c.example.com', '_x.local'])(
    '%s is allowed',
    (text) => {
      expect(checkDnsPattern(text)).toEqual({ ok: true, value: text });
    },
  );

  test.each([
    ['', 'each label'],
    ['a..b', 'each label'],
    ['a**.example.com', '** must be a whole label'],
    ['example.*', 'last label'],
    ['*', 'last label'],
    ['localhost', 'localhost'],
    ['my.localhost', 'localhost'],
    ['exa mple.com', 'consists of'],
    [`${'a'.repeat(64)}.com`, 'each label'],
    ['10.0.0.1', 'use the type cidr'],
  ])('%j is refused: %s', (text, problem) => {
    const checked = checkDnsPattern(text);
    expect(!checked.ok && checked.problem).toContain(problem);
  });
});

describe('filters', () => {
  test('are rendered one for each port entry', () => {
    const entries = [
      'icmp',
      'tcp 443',
      { protocol: 'udp' as const, ports: [53, '8000 - 8001'] },
      'tcp 8000-8001',
    ];
    expect(checkFilters(entries)).toEqual({
      ok: true,
      value: [
        { protocol: 'icmp' },
        { protocol: 'tcp', portRangeStart: 443, portRangeEnd: 443 },
        { protocol: 'udp', portRangeStart: 53, portRangeEnd: 53 },
        { protocol: 'udp', portRangeStart: 8000, portRangeEnd: 8001 },
        { protocol: 'tcp', portRangeStart: 8000, portRangeEnd: 8001 },
      ],
    });
    expect(checkFilters(['tcp', 'UDP/53'])).toEqual({
      ok: true,
      value: [
        { protocol: 'tcp', portRangeStart: 0, portRangeEnd: 65535 },
        { protocol: 'udp', portRangeStart: 53, portRangeEnd: 53 },
      ],
    });
  });

  test.each([
    [['sctp'], 'is not a filter'],
    [['icmp 8'], 'is not a filter'],
    [['tcp 0'], 'is not a filter'],
    [['tcp 70000'], 'is not a filter'],
    [['tcp 90-80'], 'is not a filter'],
    [['tcp 80-90', 'tcp 85'], 'overlap'],
    [['tcp', 'tcp 85'], 'overlap'],
    [[{ protocol: 'tcp' as const, ports: ['x'] }], 'is not a port'],
  ])('%j is refused: %s', (entries, problem) => {
    const checked = checkFilters(entries);
    expect(!checked.ok && checked.problem).toContain(problem);
  });
});
