// Bytes for in-tunnel control packets: what is read survives being written and read again.

import { viewOf } from '../../../src/base/bytes.ts';
import {
  isControlPacket,
  parseControlPacket,
  writeControlPacket,
} from '../../../src/wire/control/p2p-control.ts';

export const name = 'control-packet';
export const kind = 'bytes';

export function run(bytes: Uint8Array): void {
  if (isControlPacket(viewOf(bytes), 0, bytes.length)) parseControlPacket(bytes);
}

export function compare(bytes: Uint8Array): void {
  if (!isControlPacket(viewOf(bytes), 0, bytes.length)) return;
  const event = parseControlPacket(bytes);
  if (!event) return;
  const again = parseControlPacket(writeControlPacket(event));
  if (JSON.stringify(again) !== JSON.stringify(event)) throw new Error('an event changed');
}
