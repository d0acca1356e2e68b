// What can go wrong between a component and the portal, as data: a *hiccup* is retried after a delay, a *failure* ends the
// channel (portal-protocol 4.3 to 4.5). The decision which of the two an HTTP answer is stands here (4.4).

import { isRecord } from '../../wire/phoenix/frame.ts';

export type HiccupCause =
  | { readonly kind: 'unresolved'; readonly detail: string }
  | { readonly kind: 'connect-failed'; readonly detail: string }
  | { readonly kind: 'connect-timeout' }
  | {
      readonly kind: 'http-status';
      readonly status: number;
      readonly problem: ProblemDetails | undefined;
    }
  | { readonly kind: 'close-frame'; readonly code: number; readonly reason: string }
  | { readonly kind: 'connection-lost'; readonly detail: string }
  | { readonly kind: 'channel-closed' }
  | { readonly kind: 'truncated-frame' }
  | { readonly kind: 'join-timeout' }
  | { readonly kind: 'heartbeats-unanswered' };

export type ChannelFailure =
  /** The token is bad: discard it and sign in again. */
  | { readonly kind: 'invalid-token' }
  | { readonly kind: 'authentication-failed'; readonly detail: string }
  | { readonly kind: 'join-refused'; readonly reason: string }
  | { readonly kind: 'retries-exhausted'; readonly cause: HiccupCause };

/** An HTTP answer to the upgrade other than 101. */
export interface HttpRefusal {
  readonly status: number;
  readonly contentType: string | undefined;
  readonly retryAfter: string | undefined;
  readonly body: string;
}

/** RFC 9457, as far as it is used: both members are optional. */
export interface ProblemDetails {
  readonly code: string | undefined;
  readonly detail: string | undefined;
}

// Specification
/** portal-protocol 4.4 */
const INVALID_TOKEN_CODES: readonly (string | undefined)[] = ['invalid_token', 'missing_token'];
const NO_REASON = 'no reason provided';

/** 401 is the only status that ends the channel (portal-protocol 4.4). */
export function judgeRefusal(refusal: HttpRefusal): ChannelFailure | HiccupCause {
  const problem = parseProblemDetails(refusal.contentType, refusal.body);
  if (refusal.status !== 401) return { kind: 'http-status', status: refusal.status, problem };
  if (INVALID_TOKEN_CODES.includes(problem?.code ?? '')) return { kind: 'invalid-token' };
  return { kind: 'authentication-failed', detail: problem?.detail ?? NO_REASON };
}

/** The media type is compared without case and parameters; the body must be a JSON object. */
export function parseProblemDetails(
  contentType: string | undefined,
  body: string,
): ProblemDetails | undefined {
  const mediaType = contentType?.split(';')[0]?.trim().toLowerCase();
  if (mediaType !== 'application/problem+json') return undefined;
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    return undefined;
  }
  if (!isRecord(json)) return undefined;
  const { code, detail } = json;
  return {
    code: typeof code === 'string' ? code : undefined,
    detail: typeof detail === 'string' ? detail : undefined,
  };
}

export function isFailure(judged: ChannelFailure | HiccupCause): judged is ChannelFailure {
  switch (judged.kind) {
    case 'invalid-token':
    case 'authentication-failed':
    case 'join-refused':
    case 'retries-exhausted':
      return true;
    default:
      return false;
  }
}
