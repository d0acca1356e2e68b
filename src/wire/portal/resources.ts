// Resources as gateways see them (portal-protocol 5.3) and as clients see them (portal-protocol 8.4, client 5.2). Domain
// patterns stay texts; whoever matches them parses them.

import { z } from 'zod';
import type { IpAddress, IpNetwork } from '../../base/address.ts';
import type { ClientId, ResourceId, SiteId } from '../../base/ids.ts';
import { FILTER, FILTERS, type Filter } from './common.ts';
import { CLIENT_ID, HOST_NETWORK, NETWORK, RESOURCE_ID, SITE_ID, STRING } from './scalars.ts';
import {
  lenientArray,
  nullable,
  object,
  optional,
  type Schema,
  strictArray,
  tagged,
} from './schema.ts';

// Specification
/** Name of the Internet resource when none is given (client 5.2). */
const INTERNET_RESOURCE_NAME = 'Internet Resource';

export type GatewayResource = GatewayDnsResource | GatewayCidrResource | GatewayInternetResource;

export interface GatewayDnsResource {
  readonly type: 'dns';
  readonly id: ResourceId;
  /** Domain pattern. */
  readonly address: string;
  readonly name: string;
  /** None: everything is allowed. */
  readonly filters: readonly Filter[];
}

export interface GatewayCidrResource {
  readonly type: 'cidr';
  readonly id: ResourceId;
  readonly address: IpNetwork;
  readonly name: string;
  readonly filters: readonly Filter[];
}

export interface GatewayInternetResource {
  readonly type: 'internet';
  readonly id: ResourceId;
}

/** An unknown type makes the whole message malformed on a gateway (portal-protocol 5.3). */
export const GATEWAY_RESOURCE: Schema<GatewayResource> = tagged<GatewayResource>('type', [
  object<GatewayDnsResource>({
    type: z.literal('dns'),
    id: RESOURCE_ID,
    address: STRING,
    name: STRING,
    filters: FILTERS,
  }),
  object<GatewayCidrResource>({
    type: z.literal('cidr'),
    id: RESOURCE_ID,
    address: NETWORK,
    name: STRING,
    filters: FILTERS,
  }),
  object<GatewayInternetResource>({ type: z.literal('internet'), id: RESOURCE_ID }),
]);

export interface Site {
  readonly id: SiteId;
  readonly name: string;
}

export type IpStack = 'dual' | 'ipv4_only' | 'ipv6_only';

export type ClientResource =
  | ClientDnsResource
  | ClientCidrResource
  | ClientInternetResource
  | StaticDevicePool
  | DynamicDevicePool;

export interface ClientDnsResource {
  readonly type: 'dns';
  readonly id: ResourceId;
  readonly name: string;
  /** Domain pattern. */
  readonly address: string;
  readonly addressDescription: string | null;
  readonly sites: readonly Site[];
  readonly ipStack: IpStack;
  readonly filters: readonly Filter[];
}

export interface ClientCidrResource {
  readonly type: 'cidr';
  readonly id: ResourceId;
  readonly name: string;
  readonly address: IpNetwork;
  readonly addressDescription: string | null;
  readonly sites: readonly Site[];
  readonly filters: readonly Filter[];
}

export interface ClientInternetResource {
  readonly type: 'internet';
  readonly id: ResourceId;
  readonly name: string;
  readonly sites: readonly Site[];
  readonly canBeDisabled: boolean | null;
}

export interface StaticDevicePool {
  readonly type: 'static_device_pool';
  readonly id: ResourceId;
  readonly name: string;
  readonly devices: readonly PoolDevice[];
  readonly filters: readonly Filter[];
}

export interface DynamicDevicePool {
  readonly type: 'dynamic_device_pool';
  readonly id: ResourceId;
  readonly name: string;
  /** Domain pattern. */
  readonly address: string;
  readonly filters: readonly Filter[];
}

export interface PoolDevice {
  readonly clientId: ClientId;
  readonly ipv4: IpAddress;
  readonly ipv6: IpAddress;
}

/** Older portals call sites `gateway_groups`; both at once is malformed (client 5.2). */
const SITES_ALIAS = { gateway_groups: 'sites' } as const;
const SITES = strictArray(object<Site>({ id: SITE_ID, name: STRING }));
const FILTERS_OR_NONE: Schema<readonly Filter[]> = z.array(FILTER).default([]);

export const CLIENT_RESOURCE: Schema<ClientResource> = tagged<ClientResource>('type', [
  object<ClientDnsResource>(
    {
      type: z.literal('dns'),
      id: RESOURCE_ID,
      name: STRING,
      address: STRING,
      address_description: nullable(STRING),
      sites: SITES,
      ip_stack: z.enum(['dual', 'ipv4_only', 'ipv6_only']).default('dual'),
      filters: FILTERS_OR_NONE,
    },
    SITES_ALIAS,
  ),
  object<ClientCidrResource>(
    {
      type: z.literal('cidr'),
      id: RESOURCE_ID,
      name: STRING,
      address: NETWORK,
      address_description: nullable(STRING),
      sites: SITES,
      filters: FILTERS_OR_NONE,
    },
    SITES_ALIAS,
  ),
  object<ClientInternetResource>(
    {
      type: z.literal('internet'),
      id: RESOURCE_ID,
      name: z.string().default(INTERNET_RESOURCE_NAME),
      sites: SITES,
      can_be_disabled: optional(z.boolean()),
    },
    SITES_ALIAS,
  ),
  object<StaticDevicePool>({
    type: z.literal('static_device_pool'),
    id: RESOURCE_ID,
    name: STRING,
    devices: strictArray(
      object<PoolDevice>(
        { client_id: CLIENT_ID, ipv4: HOST_NETWORK, ipv6: HOST_NETWORK },
        { id: 'client_id' },
      ),
    ),
    filters: FILTERS_OR_NONE,
  }),
  object<DynamicDevicePool>({
    type: z.literal('dynamic_device_pool'),
    id: RESOURCE_ID,
    name: STRING,
    address: STRING,
    filters: FILTERS_OR_NONE,
  }),
]);

/** Each on its own: unknown types and malformed resources are left out (portal-protocol 8.4). */
export const CLIENT_RESOURCES: Schema<readonly ClientResource[]> = lenientArray(CLIENT_RESOURCE);
