import { Buffer } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import {
  INGEST_TOKEN_CLIENT,
  INGEST_TOKEN_OPERATIONS,
  INGEST_TOKEN_T7,
} from '../../../test/vectors/portal.ts';
import { parseIngestToken, writeIngestClaims } from './ingest-token.ts';

const [header = '', payload = '', signature = ''] = INGEST_TOKEN_T7.split('.');
const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>;
const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const withClaims = (changed: unknown): string => [header, encode(changed), signature].join('.');

describe('the ingest token', () => {
  it('of vector T7 is read, and its claims are written as they were', () => {
    const token = parseIngestToken(INGEST_TOKEN_T7);
    expect(token).toMatchObject({
      text: INGEST_TOKEN_T7,
      claims: {
        role: 'responder',
        uploadsEnabled: false,
        resourceName: 'lab net',
        iat: 1767225600,
      },
    });
    expect(token && writeIngestClaims(token.claims)).toEqual(claims);
  });

  it.each([
    ['operations 17.5', INGEST_TOKEN_OPERATIONS, 'responder', 'Lab web', true, 1_786_352_400],
    ['client 20', INGEST_TOKEN_CLIENT, 'initiator', 'lab', false, 1_790_000_000],
  ])('of %s is read and written, too', (_, text, role, resourceName, uploadsEnabled, iat) => {
    const read = parseIngestToken(text);
    expect(read?.claims).toMatchObject({ role, resourceName, uploadsEnabled, iat });
    const written = Buffer.from(text.split('.')[1] ?? '', 'base64url').toString();
    expect(read && writeIngestClaims(read.claims)).toEqual(JSON.parse(written));
  });

  it('may have unknown claims, and lack optional ones', () => {
    expect(parseIngestToken(withClaims({ ...claims, more: [1] }))).toBeDefined();
    expect(parseIngestToken(withClaims({ ...claims, initiator_actor_email: 'a@b' }))).toMatchObject(
      {
        claims: { initiatorActorEmail: 'a@b', resourceAddress: null },
      },
    );
  });

  it.each(Object.keys(claims))('must have %s', (name) => {
    const rest = Object.fromEntries(Object.entries(claims).filter(([key]) => key !== name));
    expect(parseIngestToken(withClaims(rest))).toBeUndefined();
  });

  it.each([
    ['two segments', [header, payload].join('.')],
    ['four segments', [INGEST_TOKEN_T7, 'x'].join('.')],
    ['an empty signature', [header, payload, ''].join('.')],
    ['another algorithm', [encode({ alg: 'none' }), payload, signature].join('.')],
    ['padding', [header, payload, 'AA=='].join('.')],
    ['the standard alphabet', [header, payload, '+/+/'].join('.')],
    ['claims that are no object', [header, encode([]), signature].join('.')],
    ['claims that are no JSON', [header, 'AAAA', signature].join('.')],
    ['nothing', ''],
  ])('is refused with %s', (_, token) => expect(parseIngestToken(token)).toBeUndefined());

  it('is refused with claims of another type', () => {
    for (const change of [{ role: 'judge' }, { iat: -1 }, { uploads_enabled: 'no' }]) {
      expect(parseIngestToken(withClaims({ ...claims, ...change }))).toBeUndefined();
    }
  });
});
