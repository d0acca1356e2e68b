// The requests of a TURN client and their attributes, in connlib's order (relay 4.3) and with the reductions that make coturn
// accept them (relay 7.2): REFRESH and CHANNEL-BIND name neither transport nor address family.

import type { Endpoint } from '../../base/address.ts';
import type { StunAttribute } from '../../wire/stun/attributes.ts';
import { ATTRIBUTE_TYPE } from '../../wire/stun/attributes.ts';
import { STUN_METHOD } from '../../wire/stun/message.ts';
import type { TurnAuth } from './auth.ts';

// Specification
const TRANSPORT_UDP = 17; // RFC 8656 §18.7

export type TurnRequest =
  | { readonly kind: 'binding' }
  | { readonly kind: 'allocate' }
  /** `delete`: with LIFETIME 0 (RFC 8656 §7.1). */
  | { readonly kind: 'refresh'; readonly purpose: 'extend' | 'delete' }
  | { readonly kind: 'channel-bind'; readonly channel: number; readonly peer: Endpoint };

export type TurnRequestKind = TurnRequest['kind'];

const METHODS: Readonly<Record<TurnRequestKind, number>> = {
  binding: STUN_METHOD.binding,
  allocate: STUN_METHOD.allocate,
  refresh: STUN_METHOD.refresh,
  'channel-bind': STUN_METHOD.channelBind,
};

export function methodOf(request: TurnRequest): number {
  return METHODS[request.kind];
}

/** Without those whose type is in `refused`: the relay does not know them (RFC 8489 §6.3.4, relay 7.2 rule 10). */
export function requestAttributes(
  request: TurnRequest,
  software: string,
  auth: TurnAuth,
  refused: ReadonlySet<number>,
): readonly StunAttribute[] {
  const own = ownAttributes(request, { kind: 'software', value: software }).filter(
    ({ kind }) => kind === 'unknown' || !refused.has(ATTRIBUTE_TYPE[kind]),
  );
  return request.kind === 'binding' ? own : [...own, ...auth.attributes()];
}

function ownAttributes(request: TurnRequest, software: StunAttribute): readonly StunAttribute[] {
  switch (request.kind) {
    case 'binding':
      return [software];
    case 'allocate':
      return [
        { kind: 'requested-transport', value: TRANSPORT_UDP },
        { kind: 'additional-address-family', value: 6 },
        { kind: 'early-additional-address-family', value: 6 },
        software,
      ];
    case 'refresh':
      return request.purpose === 'delete' ? [software, { kind: 'lifetime', value: 0 }] : [software];
    case 'channel-bind':
      return [
        { kind: 'xor-peer-address', value: request.peer },
        { kind: 'channel-number', value: request.channel },
        software,
      ];
  }
}
