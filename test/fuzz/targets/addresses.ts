// Addresses, endpoints, networks and the text forms of bytes, beside what Node makes of the same text.

import { isIPv4, isIPv6 } from 'node:net';
import {
  addressFromWords,
  formatNetwork,
  ipBytes,
  ipFromBytes,
  networkContains,
  parseEndpoint,
  parseIp,
  parseNetwork,
  writeAddressWords,
} from '../../../src/base/address.ts';
import {
  equalBytes,
  fromBase64,
  fromHex,
  toBase64,
  toHex,
  utf8Decode,
  utf8Encode,
} from '../../../src/base/bytes.ts';

export const name = 'addresses';
export const kind = 'bytes';

const words = new Int32Array(4);
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function run(bytes: Uint8Array): void {
  const text = utf8Decode(bytes);
  if (text === undefined) return;
  parseIp(text);
  parseEndpoint(text);
  parseNetwork(text);
}

export function compare(bytes: Uint8Array): void {
  const text = utf8Decode(bytes);
  if (text !== nodeText(bytes)) throw new Error('UTF-8 is read differently');
  if (text === undefined) return compareBytes(bytes);
  if (!equalBytes(utf8Encode(text), bytes)) throw new Error('UTF-8 is written differently');
  const address = parseIp(text);
  if ((address !== undefined) !== (isIPv4(text) || (isIPv6(text) && !text.includes('%'))))
    throw new Error(`Node thinks otherwise of ${JSON.stringify(text)}`);
  if (address !== undefined) {
    if (parseIp(address) !== address || ipFromBytes(ipBytes(address)) !== address)
      throw new Error('not canonical');
    writeAddressWords(address, words, 0);
    const back = addressFromWords(words, 0);
    if (back !== address && !address.startsWith('::ffff:')) throw new Error('other words');
  }
  const endpoint = parseEndpoint(text);
  if (endpoint && parseEndpoint(endpoint.key)?.key !== endpoint.key) throw new Error('no key');
  const network = parseNetwork(text);
  if (network && !networkContains(network, network.address)) throw new Error('outside of itself');
  if (
    network &&
    formatNetwork(parseNetwork(formatNetwork(network)) ?? network) !== formatNetwork(network)
  )
    throw new Error('another network');
  const fromText = fromBase64(text);
  if (fromText && toBase64(fromText) !== text) throw new Error('base64 is not canonical');
}

function compareBytes(bytes: Uint8Array): void {
  if (toBase64(bytes) !== Buffer.from(bytes).toString('base64')) throw new Error('base64 differs');
  const hex = fromHex(toHex(bytes));
  if (!hex || !equalBytes(hex, bytes)) throw new Error('hex differs');
}

function nodeText(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}
