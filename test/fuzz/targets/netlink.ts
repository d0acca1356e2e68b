// What the kernel answers on a netlink socket: messages and their attributes lie inside the answer, whatever it is.

import { readAttributes, readMessages, readU32 } from '../../../src/io/host/netlink.ts';

export const name = 'netlink';
export const kind = 'bytes';

const FIXED_PARTS = [0, 8, 12, 16];

export function run(bytes: Uint8Array): void {
  let total = 0;
  for (const { body } of readMessages(bytes)) {
    total += 16 + body.length;
    for (const skip of FIXED_PARTS) {
      let inside = 0;
      for (const value of readAttributes(body, skip).values()) {
        inside += value.length;
        if (value.length >= 4) readU32(value);
      }
      if (inside > body.length) throw new Error('more attributes than bytes');
    }
  }
  if (total > bytes.length) throw new Error('more messages than bytes');
}
