// TAI64N timestamps: what makes an initiation newer than the last (WireGuard §5.1, connectivity 7.1). The label is compared,
// never interpreted.

import { at, viewOf } from '../../base/bytes.ts';
import type { UnixMillis } from '../../base/time.ts';

// Specification
export const TAI64N_LENGTH = 12;
/** 2^62 in the high word marks seconds since 1970 TAI. */
const EPOCH_HIGH_WORD = 0x4000_0000;
/** connectivity 7.1 fixes 37 seconds between TAI and UTC. */
const TAI_OFFSET_SECONDS = 37;

/** Eight bytes of seconds, four of nanoseconds, big-endian. */
export function tai64n(time: UnixMillis): Uint8Array {
  const bytes = new Uint8Array(TAI64N_LENGTH);
  const view = viewOf(bytes);
  const seconds = Math.floor(time / 1000);
  const nanoseconds = Math.floor((time - seconds * 1000) * 1e6);
  const label = seconds + TAI_OFFSET_SECONDS;
  view.setUint32(0, EPOCH_HIGH_WORD + Math.floor(label / 0x1_0000_0000));
  view.setUint32(4, label % 0x1_0000_0000);
  view.setUint32(8, nanoseconds);
  return bytes;
}

/** Later in seconds, or in nanoseconds: the same as the order of the bytes. */
export function isLaterTai64n(candidate: Uint8Array, than: Uint8Array): boolean {
  for (let i = 0; i < TAI64N_LENGTH; i++) {
    if (at(candidate, i) !== at(than, i)) return at(candidate, i) > at(than, i);
  }
  return false;
}

/** The next timestamp after `timestamp`: two initiations within one tick of the clock still differ. */
export function successorTai64n(timestamp: Uint8Array): Uint8Array {
  const next = timestamp.slice();
  for (let i = TAI64N_LENGTH - 1; i >= 0; i--) {
    const byte = (at(next, i) + 1) & 255;
    next[i] = byte;
    if (byte !== 0) break;
  }
  return next;
}
