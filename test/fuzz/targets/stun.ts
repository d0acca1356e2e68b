// STUN messages and ChannelData: any bytes parse or do not; what parses is written again and parses to the same.

import { equalBytes } from '../../../src/base/bytes.ts';
import { createSeededCrypto } from '../../../src/io/crypto/seeded-crypto.ts';
import { verifyFingerprint } from '../../../src/wire/stun/fingerprint.ts';
import { verifyIntegrity } from '../../../src/wire/stun/integrity.ts';
import {
  isStun,
  parseStun,
  type StunMessage,
  unknownRequiredAttributes,
  writeStun,
} from '../../../src/wire/stun/message.ts';
import { parseChannelData, writeChannelData } from '../../../src/wire/turn/channel-data.ts';

export const name = 'stun';
export const kind = 'bytes';

const crypto = createSeededCrypto(1);
const KEY = new Uint8Array(16);

export function run(bytes: Uint8Array): void {
  const message = parseStun(bytes);
  if (message && !isStun(bytes)) throw new Error('a message is not what it was taken for');
}

export function compare(bytes: Uint8Array): void {
  const data = parseChannelData(bytes);
  if (data && !equalBytes(writeChannelData(data.channel, data.payload), bytes)) {
    throw new Error('ChannelData does not read as it was written');
  }
  const message = parseStun(bytes);
  if (!message) return;
  if (data) throw new Error('a message is not what it was taken for');
  verifyIntegrity(message, KEY, crypto);
  verifyFingerprint(message);
  unknownRequiredAttributes(message);
  const again = parseStun(writeStun(message, crypto));
  if (!again || describe(again) !== describe(message)) {
    throw new Error('a message does not read as it was written');
  }
}

function describe({ method, class: cls, attributes }: StunMessage): string {
  const list = attributes.map(({ kind, value }) => [
    kind,
    typeof value === 'bigint' ? String(value) : value,
  ]);
  return JSON.stringify([method, cls, list]);
}
