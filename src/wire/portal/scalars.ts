// Ids, keys, addresses and times in portal messages (portal-protocol 5): parsed once here, so that everything behind the
// border holds brands and bytes instead of texts.

import { z } from 'zod';
import {
  type Endpoint,
  familyOf,
  formatNetwork,
  type IpAddress,
  type IpFamily,
  type IpNetwork,
  parseEndpoint,
  parseIp,
  parseNetwork,
} from '../../base/address.ts';
import { fromBase64, toBase64 } from '../../base/bytes.ts';
import {
  type ClientId,
  clientId,
  type GatewayId,
  gatewayId,
  type RelayId,
  type ResourceId,
  relayId,
  resourceId,
  type SiteId,
  siteId,
} from '../../base/ids.ts';
import { type UnixMillis, unixMillis } from '../../base/time.ts';
import { type Schema, text } from './schema.ts';

// Specification
/** X25519 public keys and pre-shared keys (portal-protocol 5). */
const KEY_LENGTH = 32;

export const CLIENT_ID: Schema<ClientId> = id(clientId);
export const GATEWAY_ID: Schema<GatewayId> = id(gatewayId);
export const RELAY_ID: Schema<RelayId> = id(relayId);
export const RESOURCE_ID: Schema<ResourceId> = id(resourceId);
export const SITE_ID: Schema<SiteId> = id(siteId);

export const KEY: Schema<Uint8Array> = text('a base64 key of 32 bytes', parseKey, toBase64);

export const IP: Schema<IpAddress> = text('an IP address', parseIp, String);
export const IPV4: Schema<IpAddress> = ipOf(4);
export const IPV6: Schema<IpAddress> = ipOf(6);

/** An address that may carry the mask of its host network (`/32`, `/128`), which is written. */
export const HOST_NETWORK: Schema<IpAddress> = text(
  'an IP address with a full mask',
  (input) => hostNetwork(input),
  (address) => `${address}/${familyOf(address) === 4 ? 32 : 128}`,
);

/** The same, written without mask. */
export const HOST_ADDRESS: Schema<IpAddress> = text('an IP address', hostNetwork, String);

export const ENDPOINT: Schema<Endpoint> = text(
  'an address with port',
  parseEndpoint,
  (value) => value.key,
);

/** The prefix must be there and no host bit may be set (portal-protocol 5.3). */
export const NETWORK: Schema<IpNetwork> = text(
  'a network with prefix and without host bits',
  strictNetwork,
  formatNetwork,
);

export const CANDIDATE: Schema<string> = text('an ICE candidate', candidate, String);

/** Whole non-negative seconds on the wire (portal-protocol 5). */
export const UNIX_TIME: Schema<UnixMillis> = z.codec(
  z.int().nonnegative().meta({ description: 'seconds since 1970' }),
  z.custom<UnixMillis>(),
  {
    decode: (seconds): UnixMillis => unixMillis(seconds * 1000),
    encode: (time) => Math.floor(time / 1000),
  },
);

export const STRING: Schema<string> = z.string();
export const NUMBER: Schema<number> = z.number();
export const UNSIGNED: Schema<number> = z.int().nonnegative();
export const BOOLEAN: Schema<boolean> = z.boolean();
export const FALSE_IF_ABSENT: Schema<boolean> = z.boolean().default(false);

/** Ids are UUIDs in text; upper case is accepted and made lower, as the portal writes them. */
function id<Id extends string>(make: (text: string) => Id): Schema<Id> {
  const pattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
  return text(
    'a UUID',
    (input) => {
      const lower = input.toLowerCase();
      return pattern.test(lower) ? make(lower) : undefined;
    },
    String,
  );
}

function ipOf(family: IpFamily): Schema<IpAddress> {
  return text(
    `an IPv${family} address`,
    (input) => {
      const address = parseIp(input);
      return address !== undefined && familyOf(address) === family ? address : undefined;
    },
    String,
  );
}

function parseKey(input: string): Uint8Array | undefined {
  const bytes = fromBase64(input);
  return bytes?.length === KEY_LENGTH ? bytes : undefined;
}

function hostNetwork(input: string): IpAddress | undefined {
  const parsed = parseNetwork(input);
  if (parsed === undefined) return undefined;
  return parsed.prefixLength === (familyOf(parsed.address) === 4 ? 32 : 128)
    ? parsed.address
    : undefined;
}

function strictNetwork(input: string): IpNetwork | undefined {
  const [addressText = '', length] = input.split('/');
  const parsed = parseNetwork(input);
  if (parsed === undefined || length === undefined) return undefined;
  return parsed.address === parseIp(addressText) ? parsed : undefined;
}

/** What is asked of a candidate before ICE sees it (portal-protocol 5.5): its prefix and a 32-bit priority. */
function candidate(input: string): string | undefined {
  const priority = input.split(' ')[3] ?? '';
  const isPriority = /^[0-9]{1,10}$/.test(priority) && Number(priority) <= 0xffff_ffff;
  return input.startsWith('candidate:') && isPriority ? input : undefined;
}
