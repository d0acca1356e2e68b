// The per-datagram and per-super-packet work of WireGuard in TypeScript.

import { instant } from '../src/base/time.ts';
import { ReplayWindow } from '../src/proto/wireguard/replay-window.ts';
import { isDataMessage, readReceiverIndex } from '../src/wire/wireguard/messages.ts';
import { Pair } from '../test/support/wireguard-pair.ts';
import { measureHot } from './support/hot.ts';

const TWO_32 = 0x1_0000_0000;
const pair = new Pair();
pair.connect();
const { tunnel } = pair.gateway;
const receiverIndex = tunnel.snapshot().sessions[0]?.localIndex ?? 0;
const slot = tunnel.receiveSlot(receiverIndex);
const now = instant(1000.25);
const view = new DataView(new ArrayBuffer(2048));
view.setUint32(0, 4, true);
view.setUint32(4, receiverIndex, true);

const inOrder = new ReplayWindow();
const disordered = new ReplayWindow();

await measureHot([
  {
    name: 'data message: type and receiver index',
    run: () => {
      if (isDataMessage(view, 0, 1300)) readReceiverIndex(view, 0);
    },
  },
  { name: 'replay window, in order', run: (i) => void inOrder.accept(i, 0) },
  {
    name: 'replay window, blocks of 64 reversed',
    run: (i) => void disordered.accept((i - (i % 64) + 63 - (i % 64)) % TWO_32, 0),
  },
  { name: 'tunnel: slot of a receiver index', run: () => void tunnel.receiveSlot(receiverIndex) },
  {
    name: 'tunnel: accept the counter of a datagram',
    run: (i) => void tunnel.acceptCounter(slot, i, 0, 1280, now),
  },
  { name: 'tunnel: slot to send with', run: () => void tunnel.sendSlot(now) },
  { name: 'tunnel: note that data went out', run: () => tunnel.noteSent(now) },
]);
