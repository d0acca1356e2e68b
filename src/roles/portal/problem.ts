// Refusals of the HTTP upgrade (portal 10.2.4); `io` writes them as problem details (RFC 9457).

export interface Refusal {
  readonly kind: 'refused';
  readonly status: 400 | 401 | 402 | 404 | 409 | 426 | 500 | 503;
  readonly code: string;
  readonly detail: string;
  readonly retryAfterSeconds?: number;
}

export const INVALID_TOKEN: Refusal = {
  kind: 'refused',
  status: 401,
  code: 'invalid_token',
  detail: 'Invalid token',
};

export const MISSING_TOKEN: Refusal = {
  kind: 'refused',
  status: 401,
  code: 'missing_token',
  detail: 'Missing token',
};

export const ALREADY_CONNECTED: Refusal = {
  kind: 'refused',
  status: 409,
  code: 'gateway_already_connected',
  detail: 'A gateway with this ID is already connected',
};

export const LIMITS_EXCEEDED: Refusal = {
  kind: 'refused',
  status: 402,
  code: 'limits_exceeded',
  detail: 'This portal holds as many devices as it is allowed to',
};

export const RATE_LIMITED: Refusal = {
  kind: 'refused',
  status: 503,
  code: 'rate_limit',
  detail: 'Service Unavailable',
  retryAfterSeconds: 1,
};

export const OVERLOADED: Refusal = {
  kind: 'refused',
  status: 503,
  code: 'overloaded',
  detail: 'This portal has as many connections as it is allowed to',
  retryAfterSeconds: 10,
};

export const STOPPING: Refusal = {
  kind: 'refused',
  status: 503,
  code: 'stopping',
  detail: 'This portal is about to stop',
  retryAfterSeconds: 1,
};

/** Gateways before 1.6.0 and clients before 1.5.11 ask for the unversioned path. */
export const OLD_GENERATION: Refusal = {
  kind: 'refused',
  status: 426,
  code: 'unsupported_api_version',
  detail:
    'This portal speaks version 2 of the API: use gateway 1.6.0 or newer, client 1.5.11 or newer',
};

export const NOT_A_WEBSOCKET: Refusal = {
  kind: 'refused',
  status: 426,
  code: 'upgrade_required',
  detail: 'This path is a WebSocket',
};

export const NOT_FOUND: Refusal = {
  kind: 'refused',
  status: 404,
  code: 'not_found',
  detail: 'Not Found',
};

export const UNHANDLED: Refusal = {
  kind: 'refused',
  status: 500,
  code: 'unhandled_connect_error',
  detail: 'An unexpected error occurred.',
};

export function invalidParameters(detail: string): Refusal {
  return { kind: 'refused', status: 400, code: 'invalid_connect_params', detail };
}
