// What the relay's routing costs: a batch of full runs from a client and from a peer, with a thousand other channels. A million warm
// calls must not cause a garbage collection.
//
//   npm run bench -- relay

import { endpoint, parseIp, writeAddressWords } from '../src/base/address.ts';
import { createReceiveBatch, type ReceiveBatch, RUN } from '../src/base/batch.ts';
import { instant } from '../src/base/time.ts';
import { ChannelBindings, relaySocket } from '../src/proto/turn/server/channel-bindings.ts';
import { createForwardBatch, Forwarding } from '../src/proto/turn/server/forwarding.ts';
import { writeChannelData } from '../src/wire/turn/channel-data.ts';
import { measureHot } from './support/hot.ts';

const DATAGRAMS = 48;
const OTHER_CHANNELS = 1000;
const client = endpointOf('203.0.113.9', 40_000);
const peer = endpointOf('192.0.2.33', 52_625);
const bindings = new ChannelBindings(1);
const owner = { index: 0, client, local: endpointOf('198.51.100.7', 3478) };
bindings.bind(owner, 0x4000, peer, instant(0));
for (let i = 0; i < OTHER_CHANNELS; i++) {
  const other = { ...owner, index: 1 + i, client: endpointOf('203.0.113.10', 1024 + i) };
  bindings.bind(other, 0x4000, peer, instant(0));
}
const forwarding = new Forwarding(bindings, { add: () => {} });
const out = createForwardBatch(1024);
const fromClient = batchOf(client, writeChannelData(0x4000, new Uint8Array(1312)));
const fromPeer = batchOf(peer, new Uint8Array(1312));

await measureHot([
  {
    name: `run of ${DATAGRAMS} from a client`,
    run(): void {
      out.count = 0;
      forwarding.forwardToPeers(fromClient, 0, 0, out);
    },
  },
  {
    name: `run of ${DATAGRAMS} from a peer`,
    run(): void {
      out.count = 0;
      forwarding.forwardToClient(fromPeer, 0, relaySocket(0, 4), out);
    },
  },
]);

function batchOf(remote: typeof client, datagram: Uint8Array): ReceiveBatch {
  const batch = createReceiveBatch(65_536, 1, 1);
  for (let i = 0; i < DATAGRAMS; i++) batch.slab.set(datagram, i * datagram.length);
  batch.runs[RUN.length] = DATAGRAMS * datagram.length;
  batch.runs[RUN.segmentLength] = datagram.length;
  writeAddressWords(remote.address, batch.runs, RUN.remote);
  batch.runs[RUN.remotePort] = remote.port;
  batch.runCount = 1;
  return batch;
}

function endpointOf(address: string, port: number): ReturnType<typeof endpoint> {
  const ip = parseIp(address);
  if (ip === undefined) throw new Error('not an address');
  return endpoint(ip, port);
}
