// The flow-log ingest token that each authorization must carry (portal 5.6, client 7.5): a JSON Web Token, HS256 (RFC 7515,
// RFC 7518 §3.2). Components look only at its shape; this portal takes no uploads, so every token says so.

import { utf8Encode } from '../../base/bytes.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import type { UnixMillis } from '../../base/time.ts';
import { base64Url } from './credentials.ts';
import { formatTimestamp } from './wall-time.ts';

// Specification

/** portal 10.12: a token outlives its authorization by 30 days. */
const INGEST_GRACE_SECONDS = 30 * 86_400;

export interface IngestClaims {
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

export function ingestToken(crypto: CryptoProvider, key: Uint8Array, claims: IngestClaims): string {
  const payload = {
    account_id: claims.accountId,
    iat: Math.floor(claims.authorizedAt / 1000),
    exp: Math.floor(claims.expiresAt / 1000) + INGEST_GRACE_SECONDS,
    uploads_enabled: false,
    role: claims.role,
    initiator_device_id: claims.clientId,
    responder_device_id: claims.gatewayId,
    policy_authorization_id: claims.authorizationId,
    policy_id: claims.policyId,
    resource_id: claims.resourceId,
    resource_name: claims.resourceName,
    initiator_actor_id: claims.actorId,
    initiator_actor_name: claims.actorName,
    authorized_at: formatTimestamp(claims.authorizedAt),
    authorization_expires_at: formatTimestamp(claims.expiresAt),
  };
  const signed = `${segment({ alg: 'HS256', typ: 'JWT' })}.${segment(payload)}`;
  return `${signed}.${base64Url(crypto.hmacSha256(key, utf8Encode(signed)))}`;
}

function segment(value: unknown): string {
  return base64Url(utf8Encode(JSON.stringify(value)));
}
