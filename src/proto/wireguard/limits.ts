// The numbers of WireGuard that more than one file here needs (WireGuard §6.1, connectivity 7.8).

// Specification
export const REKEY_AFTER_MS = 120_000;
export const REJECT_AFTER_MS = 180_000;
/** connectivity 7.7: the initiator stops sending this long after establishment, so that its peer never sees an expired session. */
export const INITIATOR_SENDS_MS = 170_000;
/** connectivity 7.8, rule 6: three lifetimes without a handshake end the tunnel. */
export const EXPIRE_AFTER_MS = 540_000;
/** connectivity 7.8, rule 14: jitter in front of each initiation that a timer wants. */
export const REKEY_JITTER_MS = 333;
/** connectivity 7.7: a session's place is its index modulo this. */
export const SESSION_SLOTS = 8;
/** Beyond connectivity 7.11, whose tunnels have an MTU of 1280: the most that can be set. What one tunnel carries is the role's to know. */
export const MAX_INNER_LENGTH = 9000;

// Implementation
/**
 * Deviates from WireGuard §6.1 (2^60 and 2^64 - 2^13 - 1): counters are exact numbers, so sessions end below 2^53. At ten million
 * packets per second that is after 28 years; a session lives for three minutes.
 */
export const REKEY_AFTER_MESSAGES: number = 2 ** 52;
export const REJECT_AFTER_MESSAGES: number = 2 ** 53 - 2 ** 13 - 1;
