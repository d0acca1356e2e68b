// Messages between the portal and relays (portal-protocol 9.1, relay 6). A relay sends nothing but its join.

import { z } from 'zod';
import { EMPTY, type Empty } from './common.ts';
import { MessageSet, object, type ParsedMessage, type Schema } from './schema.ts';

/** Portal to relay. */
export type RelayInbound = { readonly event: 'init'; readonly payload: Empty };

/** Payload of a relay's join. */
export interface RelayJoin {
  /** Hex of 32 random bytes, made at process start: the key of all TURN credentials (portal-protocol 9.3). */
  readonly stampSecret: string;
}

export const RELAY_JOIN: Schema<RelayJoin> = object<RelayJoin>({
  stamp_secret: z.string().min(1).max(255),
});

export const RELAY_INBOUND: MessageSet<RelayInbound> = new MessageSet<RelayInbound>({
  init: EMPTY,
});

export function parseRelayInbound(event: string, payload: unknown): ParsedMessage<RelayInbound> {
  return RELAY_INBOUND.parse(event, payload);
}

/** `undefined` if the payload of the join is malformed. */
export function parseRelayJoin(payload: unknown): RelayJoin | undefined {
  return RELAY_JOIN.safeParse(payload).data;
}

export function writeRelayJoin(join: RelayJoin): unknown {
  return z.encode(RELAY_JOIN, join);
}
