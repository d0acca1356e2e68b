// What an error response means to an allocation (RFC 8656 §7.4, §12.2; relay 4.8 and 7.2), as a table. 401, 438 and 420 do not
// get here: `transactions.ts` repeats the request. Doing what the table says is the allocation's business.

import { STUN_ERROR } from '../../wire/stun/error-codes.ts';
import type { TurnRequestKind } from './requests.ts';

export type ErrorAction =
  /** The relay knows an allocation that we do not, or the other way round. */
  | 'resolve-mismatch'
  /** Somebody else's user name owns our 5-tuple (relay 7.2 rule 7). */
  | 'wait-for-other-user'
  /** Nothing more to be had from this relay now. */
  | 'suspend'
  /** Forget the channel, look whether the allocation still stands (relay 7.2 rule 8). */
  | 'forget-channel-and-probe'
  | 'forget-channel'
  /** Do not ask for this peer again within the lifetime of a channel (relay 7.2 rule 9). */
  | 'forbid-peer'
  | 'wait';

export function actionFor(code: number, request: TurnRequestKind): ErrorAction {
  if (request === 'binding') return 'wait';
  if (code === STUN_ERROR.allocationMismatch) return 'resolve-mismatch';
  if (code === STUN_ERROR.wrongCredentials) return 'wait-for-other-user';
  if (request === 'allocate') return 'suspend';
  if (request !== 'channel-bind') return 'wait';
  switch (code) {
    case STUN_ERROR.badRequest:
      return 'forget-channel-and-probe';
    case STUN_ERROR.forbidden:
    case STUN_ERROR.peerAddressFamilyMismatch:
      return 'forbid-peer';
    default:
      return 'forget-channel';
  }
}
