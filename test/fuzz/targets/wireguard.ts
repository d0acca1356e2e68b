// Bytes for WireGuard. The first byte chooses how deep they go: as they are; with a right `mac1`, so that the handshake sees
// them; or sealed, so that only a peer could have sent them.

import { viewOf } from '../../../src/base/bytes.ts';
import { createNodeCrypto } from '../../../src/io/crypto/node-crypto.ts';
import { mac1Key, mac1Of } from '../../../src/proto/wireguard/macs.ts';
import { innerPacketLength } from '../../../src/wire/wireguard/inner-packet.ts';
import {
  isDataMessage,
  mac1Offset,
  parseWireGuard,
  readCounterHigh,
  readCounterLow,
  readReceiverIndex,
} from '../../../src/wire/wireguard/messages.ts';
import { Pair } from '../../support/wireguard-pair.ts';

export const name = 'wireguard';
export const kind = 'bytes';

const crypto = createNodeCrypto();
const gatewayPublicKey = crypto.x25519PublicKey(
  Uint8Array.from({ length: 32 }, (_, i) => 0x41 + i),
);
const gatewayMac1Key = mac1Key(crypto, gatewayPublicKey);
const pair = new Pair();
pair.connect();

export function run(bytes: Uint8Array): void {
  const message = bytes.slice(1);
  switch ((bytes[0] ?? 0) % 3) {
    case 0:
      compareReadings(message);
      return deliver(message);
    case 1:
      if (message.length >= 32) {
        message.set(mac1Of(crypto, gatewayMac1Key, message), mac1Offset(message));
      }
      return deliver(message);
    default:
      return deliverSealed(message);
  }
}

function compareReadings(message: Uint8Array): void {
  const view = viewOf(message);
  const parsed = parseWireGuard(message);
  const isData = message.length >= 4 && isDataMessage(view, 0, message.length);
  if (isData !== (parsed?.kind === 'data')) throw new Error('hot and cold parser disagree');
  if (parsed?.kind !== 'data') return;
  const agrees =
    parsed.receiverIndex === readReceiverIndex(view, 0) &&
    parsed.counterLow === readCounterLow(view, 0) &&
    parsed.counterHigh === readCounterHigh(view, 0);
  if (!agrees) throw new Error('hot and cold accessors disagree');
}

function deliver(message: Uint8Array): void {
  pair.gateway.deliver(message, pair.client.address, pair.now);
  drain();
}

/** What an authenticated peer can do: any inner bytes. */
function deliverSealed(content: Uint8Array): void {
  const slot = pair.client.tunnel.sendSlot(pair.now);
  if (slot < 0) throw new Error('the pair lost its session');
  pair.gateway.deliver(pair.client.aead.sealOne(slot, content), pair.client.address, pair.now);
  for (const packet of pair.gateway.received.splice(0)) {
    if (innerPacketLength(packet) !== packet.length) throw new Error('a packet was not cut');
  }
  drain();
}

function drain(): void {
  pair.gateway.takeOutput();
  pair.gateway.drops.length = 0;
}
