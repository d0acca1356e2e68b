// Bytes for the DNS codec: what is read can be written, and then means the same.

import { parseDnsMessage, writeDnsMessage } from '../../../src/wire/dns/message.ts';

export const name = 'dns-message';
export const kind = 'bytes';

export function run(bytes: Uint8Array): void {
  parseDnsMessage(bytes);
}

export function compare(bytes: Uint8Array): void {
  const message = parseDnsMessage(bytes);
  if (!message) return;
  const written = writeDnsMessage(message);
  // A message with many pointers can be longer without them.
  if (!written) return;
  const again = parseDnsMessage(written);
  if (message.isTruncated !== again?.isTruncated) return;
  if (JSON.stringify(again) !== JSON.stringify(message)) throw new Error('a message changed');
  const short = writeDnsMessage(message, 512);
  if (short && short.length > 512) throw new Error('a message is too long');
}
