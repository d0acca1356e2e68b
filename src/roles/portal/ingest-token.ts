// The flow-log ingest token that each authorization must carry (portal 5.6, client 7.5): a JSON Web Token, HS256 (RFC 7515,
// RFC 7518 §3.2). Components look only at its shape; this portal takes no uploads, so every token says so.

import { utf8Encode } from '../../base/bytes.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import type { UnixMillis } from '../../base/time.ts';
import {
  type IngestClaims,
  type IngestToken,
  writeIngestClaims,
} from '../../wire/portal/ingest-token.ts';
import { base64Url } from './credentials.ts';
import { formatTimestamp } from './wall-time.ts';

// Specification

/** portal 10.12: a token outlives its authorization by 30 days. */
const INGEST_GRACE_SECONDS = 30 * 86_400;

export interface IngestSubject {
  readonly role: 'initiator' | 'responder';
  readonly accountId: string;
  readonly clientId: string;
  readonly gatewayId: string;
  readonly authorizationId: string;
  readonly policyId: string;
  readonly resourceId: string;
  readonly resourceName: string;
  readonly actorId: string;
  readonly actorName: string;
  readonly authorizedAt: UnixMillis;
  readonly expiresAt: UnixMillis;
}

export function ingestToken(
  crypto: CryptoProvider,
  key: Uint8Array,
  subject: IngestSubject,
): IngestToken {
  const claims = claimsOf(subject);
  const header = segment({ alg: 'HS256', typ: 'JWT' });
  const signed = `${header}.${segment(writeIngestClaims(claims))}`;
  const signature = base64Url(crypto.hmacSha256(key, utf8Encode(signed)));
  return { text: `${signed}.${signature}`, claims };
}

function claimsOf(subject: IngestSubject): IngestClaims {
  return {
    accountId: subject.accountId,
    iat: Math.floor(subject.authorizedAt / 1000),
    exp: Math.floor(subject.expiresAt / 1000) + INGEST_GRACE_SECONDS,
    uploadsEnabled: false,
    role: subject.role,
    initiatorDeviceId: subject.clientId,
    responderDeviceId: subject.gatewayId,
    policyAuthorizationId: subject.authorizationId,
    policyId: subject.policyId,
    resourceId: subject.resourceId,
    resourceName: subject.resourceName,
    resourceAddress: null,
    initiatorActorId: subject.actorId,
    initiatorActorName: subject.actorName,
    initiatorActorEmail: null,
    initiatorAuthProviderId: null,
    initiatorClientVersion: null,
    initiatorDeviceOsName: null,
    initiatorDeviceOsVersion: null,
    initiatorDeviceSerial: null,
    initiatorDeviceUuid: null,
    initiatorDeviceIdentifierForVendor: null,
    initiatorDeviceFirebaseInstallationId: null,
    authorizedAt: formatTimestamp(subject.authorizedAt),
    authorizationExpiresAt: formatTimestamp(subject.expiresAt),
  };
}

function segment(value: unknown): string {
  return base64Url(utf8Encode(JSON.stringify(value)));
}
