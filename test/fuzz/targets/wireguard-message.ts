// WireGuard messages without a tunnel: the parser of all four, the hot readers of data messages, and the length of what is inside.

import { viewOf } from '../../../src/base/bytes.ts';
import { innerPacketLength } from '../../../src/wire/wireguard/inner-packet.ts';
import {
  isDataMessage,
  mac1Offset,
  parseWireGuard,
  readCounterHigh,
  readCounterLow,
  readReceiverIndex,
} from '../../../src/wire/wireguard/messages.ts';

export const name = 'wireguard-message';
export const kind = 'bytes';

export function run(bytes: Uint8Array): void {
  const view = viewOf(bytes);
  const message = parseWireGuard(bytes);
  const isData = isDataMessage(view, 0, bytes.length);
  if (isData !== (message?.kind === 'data')) throw new Error('hot and cold parser disagree');
  const inner = innerPacketLength(bytes);
  if (inner !== undefined && inner > bytes.length) throw new Error('longer inside than outside');
  if (message?.kind === 'data') {
    const agrees =
      message.receiverIndex === readReceiverIndex(view, 0) &&
      message.counterLow === readCounterLow(view, 0) &&
      message.counterHigh === readCounterHigh(view, 0);
    if (!agrees) throw new Error('hot and cold accessors disagree');
  } else if (message?.kind === 'initiation' || message?.kind === 'response') {
    if (mac1Offset(bytes) + 32 !== bytes.length) throw new Error('mac1 is somewhere else');
  }
}
