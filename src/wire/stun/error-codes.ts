// Error codes of STUN (RFC 8489 §14.8), TURN (RFC 8656 §19) and ICE (RFC 8445 §16.2), with the reason phrases that we send.

// Specification
export const STUN_ERROR = {
  tryAlternate: 300,
  badRequest: 400,
  unauthenticated: 401,
  forbidden: 403,
  unknownAttribute: 420,
  allocationMismatch: 437,
  staleNonce: 438,
  addressFamilyNotSupported: 440,
  wrongCredentials: 441,
  peerAddressFamilyMismatch: 443,
  allocationQuotaReached: 486,
  roleConflict: 487,
  serverError: 500,
  insufficientCapacity: 508,
} as const;

const REASONS: ReadonlyMap<number, string> = new Map([
  [STUN_ERROR.badRequest, 'Bad Request'],
  [STUN_ERROR.unauthenticated, 'Unauthorized'],
  [STUN_ERROR.forbidden, 'Forbidden'],
  [STUN_ERROR.unknownAttribute, 'Unknown Attribute'],
  [STUN_ERROR.allocationMismatch, 'Allocation Mismatch'],
  [STUN_ERROR.staleNonce, 'Stale Nonce'],
  [STUN_ERROR.addressFamilyNotSupported, 'Address Family not Supported'],
  [STUN_ERROR.peerAddressFamilyMismatch, 'Peer Address Family Mismatch'],
  [STUN_ERROR.allocationQuotaReached, 'Allocation Quota Reached'],
  [STUN_ERROR.roleConflict, 'Role Conflict'],
  [STUN_ERROR.serverError, 'Server Error'],
  [STUN_ERROR.insufficientCapacity, 'Insufficient Capacity'],
]);

export function errorReason(code: number): string {
  return REASONS.get(code) ?? '';
}
