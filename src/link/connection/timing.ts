// The timing profiles of a connection by the role of its node (connectivity 3): the gateway is slow to declare a client dead,
// because only the client can re-establish (connectivity 12).

import {
  CLIENT_IDLE_TIMING,
  CLIENT_TIMING,
  GATEWAY_IDLE_TIMING,
  GATEWAY_TIMING,
  type IceTiming,
} from '../../proto/ice/timing.ts';
import type { TimerConfig } from '../../proto/wireguard/timers.ts';

export type LinkRole = 'client' | 'gateway';

export interface ConnectionTimings {
  readonly active: IceTiming;
  readonly idle: IceTiming;
}

// Specification

/** connectivity 3, the ICE values; REKEY_ATTEMPT exceeds the client's ICE failure time of 16.5 s (connectivity 12). */
const ICE_TUNNEL_TIMING: TimerConfig = {
  rekeyAttemptMs: 20_000,
  keepaliveMs: 10_000,
  rekeyTimeoutMs: 5_000,
};
/** iceless 7: without checks it is re-keying that shows a dead path. */
const ICELESS_TUNNEL_TIMING: TimerConfig = {
  rekeyAttemptMs: 90_000,
  keepaliveMs: 5_000,
  rekeyTimeoutMs: 2_000,
};

// Implementation

/**
 * Nothing authentic of a client for this long, and it is gone (connectivity 14.22; otherwise 540 s): the slowest client, an idle one of
 * the earliest generation, gives its last pair up after 240 s without an answer and speaks every 60 s until then.
 */
const SILENT_CLIENT_MS = 250_000;

const TIMINGS: Readonly<Record<LinkRole, ConnectionTimings>> = {
  client: { active: CLIENT_TIMING, idle: CLIENT_IDLE_TIMING },
  gateway: { active: GATEWAY_TIMING, idle: GATEWAY_IDLE_TIMING },
};

export function timingsOf(role: LinkRole): ConnectionTimings {
  return TIMINGS[role];
}

/** How long a peer may be silent; a client notices by its checks instead. */
export function silenceLimitMs(role: LinkRole): number {
  return role === 'gateway' ? SILENT_CLIENT_MS : Number.POSITIVE_INFINITY;
}

export function tunnelTimingOf(useIceless: boolean): TimerConfig {
  return useIceless ? ICELESS_TUNNEL_TIMING : ICE_TUNNEL_TIMING;
}
