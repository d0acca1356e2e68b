// What a TURN server reads out of requests, without any state (RFC 8656 §7.2, §12.2; relay 5.3).

import { findAttribute, STUN_METHOD, type StunMessage } from '../../../wire/stun/message.ts';

// Specification
const DEFAULT_LIFETIME_SECONDS = 600; // RFC 8656 §3.2, relay 5.3
const MAX_LIFETIME_SECONDS = 3600; // relay 5.3

const METHOD_NAMES: ReadonlyMap<number, string> = new Map([
  [STUN_METHOD.binding, 'binding'],
  [STUN_METHOD.allocate, 'allocate'],
  [STUN_METHOD.refresh, 'refresh'],
  [STUN_METHOD.channelBind, 'channel-bind'],
  [STUN_METHOD.createPermission, 'create-permission'],
]);

/** Whether the attributes are there without which a request is refused before authentication (relay 5.3). */
export function hasWhatItNeeds(request: StunMessage): boolean {
  switch (request.method) {
    case STUN_METHOD.allocate:
      return findAttribute(request, 'requested-transport') !== undefined;
    case STUN_METHOD.channelBind:
      return (
        findAttribute(request, 'channel-number') !== undefined &&
        findAttribute(request, 'xor-peer-address') !== undefined
      );
    default:
      return true;
  }
}

/** Seconds. */
export function grantLifetime(request: StunMessage): number {
  const requested = findAttribute(request, 'lifetime');
  return Math.min(requested ?? DEFAULT_LIFETIME_SECONDS, MAX_LIFETIME_SECONDS);
}

/** For counters. */
export function methodName(method: number): string {
  return METHOD_NAMES.get(method) ?? 'other';
}
