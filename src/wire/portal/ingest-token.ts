// The flow-log ingest token in authorizations (portal-protocol 5.6): a JWT whose shape and claims are checked. Neither
// signature nor expiry is verified: its key belongs to the portal, and whoever is handed the token only passes it on.

import { z } from 'zod';
import { fromBase64, utf8Decode } from '../../base/bytes.ts';
import { BOOLEAN, STRING, UNSIGNED } from './scalars.ts';
import { object, optional, type Schema, text } from './schema.ts';

export interface IngestToken {
  /** The token itself, a secret. */
  readonly text: string;
  readonly claims: IngestClaims;
}

export interface IngestClaims {
  readonly accountId: string;
  readonly role: 'initiator' | 'responder';
  readonly uploadsEnabled: boolean;
  readonly initiatorDeviceId: string;
  readonly responderDeviceId: string;
  readonly policyAuthorizationId: string;
  readonly policyId: string;
  readonly resourceId: string;
  readonly resourceName: string;
  readonly resourceAddress: string | null;
  readonly initiatorActorId: string;
  readonly initiatorActorName: string;
  readonly initiatorActorEmail: string | null;
  readonly initiatorAuthProviderId: string | null;
  readonly initiatorClientVersion: string | null;
  readonly initiatorDeviceOsName: string | null;
  readonly initiatorDeviceOsVersion: string | null;
  readonly initiatorDeviceSerial: string | null;
  readonly initiatorDeviceUuid: string | null;
  readonly initiatorDeviceIdentifierForVendor: string | null;
  readonly initiatorDeviceFirebaseInstallationId: string | null;
  readonly authorizedAt: string;
  readonly authorizationExpiresAt: string;
  readonly iat: number;
  readonly exp: number;
}

const CLAIMS: Schema<IngestClaims> = object<IngestClaims>({
  account_id: STRING,
  role: z.enum(['initiator', 'responder']),
  uploads_enabled: BOOLEAN,
  initiator_device_id: STRING,
  responder_device_id: STRING,
  policy_authorization_id: STRING,
  policy_id: STRING,
  resource_id: STRING,
  resource_name: STRING,
  resource_address: optional(STRING),
  initiator_actor_id: STRING,
  initiator_actor_name: STRING,
  initiator_actor_email: optional(STRING),
  initiator_auth_provider_id: optional(STRING),
  initiator_client_version: optional(STRING),
  initiator_device_os_name: optional(STRING),
  initiator_device_os_version: optional(STRING),
  initiator_device_serial: optional(STRING),
  initiator_device_uuid: optional(STRING),
  initiator_device_identifier_for_vendor: optional(STRING),
  initiator_device_firebase_installation_id: optional(STRING),
  authorized_at: STRING,
  authorization_expires_at: STRING,
  iat: UNSIGNED,
  exp: UNSIGNED,
});

export const INGEST_TOKEN: Schema<IngestToken> = text(
  'a flow-log ingest token (JWT)',
  parseIngestToken,
  (token) => token.text,
);

/** `undefined` unless there are three segments, HS256, every mandatory claim and a signature. */
export function parseIngestToken(token: string): IngestToken | undefined {
  const [headerText = '', claimsText = '', signatureText = '', ...rest] = token.split('.');
  if (rest.length > 0) return undefined;
  const header = z.object({ alg: z.literal('HS256') }).safeParse(decodeJson(headerText));
  const claims = CLAIMS.safeParse(decodeJson(claimsText));
  const signature = decodeBase64Url(signatureText);
  if (!header.success || !claims.success || !signature?.length) return undefined;
  return { text: token, claims: claims.data };
}

/** The payload segment's JSON, for whoever issues tokens. */
export function writeIngestClaims(claims: IngestClaims): unknown {
  return z.encode(CLAIMS, claims);
}

function decodeJson(segment: string): unknown {
  const bytes = decodeBase64Url(segment);
  const json = bytes && utf8Decode(bytes);
  if (json === undefined) return undefined;
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

/** RFC 4648 §5 without padding, as RFC 7515 §2 has it. */
function decodeBase64Url(segment: string): Uint8Array | undefined {
  if (!/^[A-Za-z0-9_-]*$/.test(segment)) return undefined;
  const standard = segment.replaceAll('-', '+').replaceAll('_', '/');
  return fromBase64(standard.padEnd(Math.ceil(standard.length / 4) * 4, '='));
}
