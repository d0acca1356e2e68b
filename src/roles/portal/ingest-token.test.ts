import { expect, test } from 'vitest';
import {
  INGEST_TOKEN_CLIENT,
  INGEST_TOKEN_OPERATIONS,
  INGEST_TOKEN_T7 as T7,
} from '../../../test/vectors/portal.ts';
import { utf8Encode } from '../../base/bytes.ts';
import { unixMillis } from '../../base/time.ts';
import { createNodeCrypto } from '../../io/crypto/node-crypto.ts';
import { parseIngestToken } from '../../wire/portal/ingest-token.ts';
import { base64Url } from './credentials.ts';
import { ingestToken } from './ingest-token.ts';

const crypto = createNodeCrypto();
const KEY = utf8Encode('lab-ingest-key');

test('vector T7: the same subject gives the same claims, signed with the same key', () => {
  const { text } = ingestToken(crypto, KEY, {
    role: 'responder',
    accountId: '99999999-0000-4000-8000-000000000001',
    clientId: '11111111-2222-4333-8444-555555555555',
    gatewayId: 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee',
    authorizationId: '99999999-0000-4000-8000-0000000000aa',
    policyId: '99999999-0000-4000-8000-0000000000bb',
    resourceId: '99999999-0000-4000-8000-0000000000cc',
    resourceName: 'lab net',
    actorId: '99999999-0000-4000-8000-0000000000dd',
    actorName: 'Lab User',
    authorizedAt: unixMillis(Date.parse('2026-01-01T00:00:00Z')),
    expiresAt: unixMillis(Date.parse('2026-01-02T00:00:00Z')),
  });
  // T7 ends 31 days after it was made; ours ends 30 days after its authorization, which is the same day.
  expect(parseIngestToken(text)?.claims).toEqual(parseIngestToken(T7)?.claims);
  for (const token of [text, T7]) expect(token.split('.')[2]).toBe(signatureOf(token));
});

test.each([
  ['operations 17.5', INGEST_TOKEN_OPERATIONS, 'lab-ingest-key-0001'],
  ['client 20', INGEST_TOKEN_CLIENT, 'lab-flow-key'],
])('the signature of the vector of %s is ours', (_, token, key) => {
  expect(token.split('.')[2]).toBe(signatureOf(token, utf8Encode(key)));
});

function signatureOf(token: string, key: Uint8Array = KEY): string {
  const signed = token.slice(0, token.lastIndexOf('.'));
  return base64Url(crypto.hmacSha256(key, utf8Encode(signed)));
}
