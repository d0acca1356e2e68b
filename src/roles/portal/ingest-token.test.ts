import { expect, test } from 'vitest';
import { utf8Encode } from '../../base/bytes.ts';
import { unixMillis } from '../../base/time.ts';
import { createNodeCrypto } from '../../io/crypto/node-crypto.ts';
import { parseIngestToken } from '../../wire/portal/ingest-token.ts';
import { base64Url } from './credentials.ts';
import { ingestToken } from './ingest-token.ts';

const crypto = createNodeCrypto();
const KEY = utf8Encode('lab-ingest-key');

/** Vector T7 of the portal protocol. */
const T7 =
  'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJhY2NvdW50X2lkIjoiOTk5OTk5OTktMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAxIiwiaWF0IjoxNzY3MjI1NjAwLCJleHAiOjE3Njk5MDQwMDAsInVwbG9hZHNfZW5hYmxlZCI6ZmFsc2UsInJvbGUiOiJyZXNwb25kZXIiLCJpbml0aWF0b3JfZGV2aWNlX2lkIjoiMTExMTExMTEtMjIyMi00MzMzLTg0NDQtNTU1NTU1NTU1NTU1IiwicmVzcG9uZGVyX2RldmljZV9pZCI6ImFhYWFhYWFhLWJiYmItNGNjYy04ZGRkLWVlZWVlZWVlZWVlZSIsInBvbGljeV9hdXRob3JpemF0aW9uX2lkIjoiOTk5OTk5OTktMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMGFhIiwicG9saWN5X2lkIjoiOTk5OTk5OTktMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMGJiIiwicmVzb3VyY2VfaWQiOiI5OTk5OTk5OS0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMDAwY2MiLCJyZXNvdXJjZV9uYW1lIjoibGFiIG5ldCIsImluaXRpYXRvcl9hY3Rvcl9pZCI6Ijk5OTk5OTk5LTAwMDAtNDAwMC04MDAwLTAwMDAwMDAwMDBkZCIsImluaXRpYXRvcl9hY3Rvcl9uYW1lIjoiTGFiIFVzZXIiLCJhdXRob3JpemVkX2F0IjoiMjAyNi0wMS0wMVQwMDowMDowMC4wMDAwMDBaIiwiYXV0aG9yaXphdGlvbl9leHBpcmVzX2F0IjoiMjAyNi0wMS0wMlQwMDowMDowMC4wMDAwMDBaIn0.eV8g9baS3Azk4jhreJLEaVkKVj6sIIemQYQCXF70ytc';

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

function signatureOf(token: string): string {
  const signed = token.slice(0, token.lastIndexOf('.'));
  return base64Url(crypto.hmacSha256(KEY, utf8Encode(signed)));
}
