import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { unixMillis } from '../../base/time.ts';
import { formatTimestamp, parseTimestamp } from './wall-time.ts';

describe('timestamps', () => {
  test('are read as Node reads them', () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date('0001-01-01'), max: new Date('9999-12-31'), noInvalidDate: true }),
        (date) => {
          expect(parseTimestamp(date.toISOString())).toBe(date.getTime());
        },
      ),
    );
  });

  test('are written as the portal writes them', () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date('1900-01-01'), max: new Date('9999-12-31'), noInvalidDate: true }),
        (date) => {
          const text = formatTimestamp(unixMillis(date.getTime()));
          expect(text).toBe(date.toISOString().replace('Z', '000Z'));
        },
      ),
    );
    expect(formatTimestamp(unixMillis(1_767_225_600_000))).toBe('2026-01-01T00:00:00.000000Z');
  });

  test('may carry an offset, and a bare date is its midnight in UTC', () => {
    expect(parseTimestamp('2027-01-31T18:00:00+01:30')).toBe(Date.parse('2027-01-31T16:30:00Z'));
    expect(parseTimestamp('2027-01-31T18:00-08:00')).toBe(Date.parse('2027-02-01T02:00:00Z'));
    expect(parseTimestamp('2028-02-29')).toBe(Date.parse('2028-02-29T00:00:00Z'));
  });

  test.each([
    '',
    'tomorrow',
    '2027-02-29',
    '2027-13-01',
    '2027-00-01',
    '2027-01-32',
    '2027-01-31T24:00:00Z',
    '2027-01-31T18:60:00Z',
    '2027-01-31T18:00:00',
    '2027-01-31T18:00:00+25:00',
    '2027-1-31',
  ])('%j is refused', (text) => {
    expect(parseTimestamp(text)).toBeUndefined();
  });
});
