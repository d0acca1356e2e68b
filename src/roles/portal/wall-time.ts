// Calendar time as the policy file and the ingest token write it: RFC 3339 text to and from `UnixMillis`. The pure layers
// have no `Date`; the calendar is the proleptic Gregorian one, leap seconds do not exist.

import { type UnixMillis, unixMillis } from '../../base/time.ts';

const DAY_MS = 86_400_000;
const TIMESTAMP =
  /^(\d{4})-(\d{2})-(\d{2})(?:[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?([Zz]|[+-]\d{2}:\d{2}))?$/;

/** Parses RFC 3339; a bare date is its midnight in UTC; a time of day needs its zone. */
export function parseTimestamp(text: string): UnixMillis | undefined {
  const match = TIMESTAMP.exec(text);
  if (!match) return undefined;
  const [year, month, day] = [Number(match[1]), Number(match[2]), Number(match[3])];
  const [hour, minute, second] = [
    Number(match[4] ?? 0),
    Number(match[5] ?? 0),
    Number(match[6] ?? 0),
  ];
  if (month < 1 || month > 12 || day < 1 || day > daysInMonth(year, month)) return undefined;
  if (hour > 23 || minute > 59 || second > 59) return undefined;
  const milliseconds = Math.trunc(Number(`0.${match[7] ?? '0'}`) * 1000);
  const offsetMinutes = parseOffset(match[8] ?? 'Z');
  if (offsetMinutes === undefined) return undefined;
  const timeOfDay = ((hour * 60 + minute - offsetMinutes) * 60 + second) * 1000;
  return unixMillis(daysFromCivil(year, month, day) * DAY_MS + timeOfDay + milliseconds);
}

/** `2026-01-01T00:00:00.000000Z`, the form that the portal puts into ingest tokens (portal 15, T7). */
export function formatTimestamp(unix: UnixMillis): string {
  const days = Math.floor(unix / DAY_MS);
  const [year, month, day] = civilFromDays(days);
  const rest = Math.floor(unix - days * DAY_MS);
  const time = [
    Math.floor(rest / 3_600_000),
    Math.floor(rest / 60_000) % 60,
    Math.floor(rest / 1000) % 60,
  ];
  const date = [String(year).padStart(4, '0'), pad(month), pad(day)].join('-');
  return `${date}T${time.map(pad).join(':')}.${String(rest % 1000).padStart(3, '0')}000Z`;
}

const pad = (value: number): string => String(value).padStart(2, '0');

function parseOffset(text: string): number | undefined {
  if (text === 'Z' || text === 'z') return 0;
  const [hours, minutes] = [Number(text.slice(1, 3)), Number(text.slice(4, 6))];
  if (hours > 23 || minutes > 59) return undefined;
  return (text.startsWith('-') ? -1 : 1) * (hours * 60 + minutes);
}

function daysInMonth(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

/** Days since 1970-01-01. Years begin in March, so that the leap day is a year's last. */
function daysFromCivil(year: number, month: number, day: number): number {
  const shifted = month <= 2 ? year - 1 : year;
  const era = Math.floor(shifted / 400);
  const yearOfEra = shifted - era * 400;
  const dayOfYear = Math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1;
  const dayOfEra =
    yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}

function civilFromDays(days: number): [number, number, number] {
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra -
      Math.floor(dayOfEra / 1460) +
      Math.floor(dayOfEra / 36_524) -
      Math.floor(dayOfEra / 146_096)) /
      365,
  );
  const dayOfYear =
    dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const monthIndex = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * monthIndex + 2) / 5) + 1;
  const month = monthIndex < 10 ? monthIndex + 3 : monthIndex - 9;
  return [yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day];
}
