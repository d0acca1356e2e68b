// The `Retry-After` header (RFC 9110 §10.2.3): whole seconds or an HTTP date (RFC 9110 §5.6.7; RFC 2822 zones are accepted
// as well, portal-protocol 4.3). Anything else counts as absent.

import type { UnixMillis } from '../../base/time.ts';

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];

/** Milliseconds to wait; a date in the past is 0. */
export function parseRetryAfter(value: string, unixNow: UnixMillis): number | undefined {
  if (/^[0-9]{1,12}$/.test(value)) return Number(value) * 1000;
  const date = parseHttpDate(value);
  return date === undefined ? undefined : Math.max(0, date - unixNow);
}

/** Milliseconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT` (or with a zone like `+0100`). */
function parseHttpDate(value: string): number | undefined {
  const match =
    /^(?:[A-Za-z]{3},\s+)?(\d{1,2})\s+([A-Za-z]{3})\s+(\d{4})\s+(\d{2}):(\d{2})(?::(\d{2}))?\s+(GMT|UTC?|[+-]\d{4})$/.exec(
      value.trim(),
    );
  if (match === null) return undefined;
  const [, day, monthName = '', year, hour, minute, second = '0', zone = ''] = match;
  const month = MONTHS.indexOf(monthName.toLowerCase());
  if (month < 0 || Number(day) < 1 || Number(day) > 31) return undefined;
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 60) return undefined;
  const days = daysSince1970(Number(year), month + 1, Number(day));
  const seconds = days * 86_400 + Number(hour) * 3600 + Number(minute) * 60 + Number(second);
  return (seconds - zoneSeconds(zone)) * 1000;
}

function zoneSeconds(zone: string): number {
  if (!/^[+-]/.test(zone)) return 0;
  const seconds = Number(zone.slice(1, 3)) * 3600 + Number(zone.slice(3, 5)) * 60;
  return zone.startsWith('-') ? -seconds : seconds;
}

/** Proleptic Gregorian calendar, in years that begin with March so that leap days come last. */
function daysSince1970(year: number, month: number, day: number): number {
  const marchYear = month > 2 ? year : year - 1;
  const era = Math.floor(marchYear / 400);
  const yearOfEra = marchYear - era * 400;
  const dayOfYear = Math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1;
  const dayOfEra =
    yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}
