// Identities. Ids stay strings as they were received; the brand keeps a client from being taken for a relay.

import type { Brand } from './time.ts';

export type ClientId = Brand<string, 'ClientId'>;
export type GatewayId = Brand<string, 'GatewayId'>;
export type RelayId = Brand<string, 'RelayId'>;
export type ResourceId = Brand<string, 'ResourceId'>;
export type SiteId = Brand<string, 'SiteId'>;
/** The remote end of a link: a client's id on a gateway, a gateway's id on a client. */
export type PeerId = Brand<string, 'PeerId'>;

export const clientId = (text: string): ClientId => text as ClientId;
export const gatewayId = (text: string): GatewayId => text as GatewayId;
export const relayId = (text: string): RelayId => text as RelayId;
export const resourceId = (text: string): ResourceId => text as ResourceId;
export const siteId = (text: string): SiteId => text as SiteId;
export const peerId = (text: string): PeerId => text as PeerId;
