// Our data path with nothing behind it: the loop, the native cipher with one fixed key, and a role that forwards everything. It
// speaks the floor's wire format, so that the native path can be measured and tuned by itself; the gateway proper comes on top.
//
//   forwarder TUN LOCAL_PORT PEER_ADDRESS PEER_PORT

import { parseIp, writeAddressWords } from '../../src/base/address.ts';
import type { ReceiveBatch, TunBatch } from '../../src/base/batch.ts';
import { DATAGRAM, PATH, RUN, SUPER, TUN_PACKET, VERDICT } from '../../src/base/batch.ts';
import { at } from '../../src/base/bytes.ts';
import { SILENT_LOG } from '../../src/base/log.ts';
import { Loop } from '../../src/io/loop.ts';
import { NativeAead } from '../../src/io/packets/aead.ts';
import { nativeCounters } from '../../src/io/packets/native.ts';
import { TunDevice } from '../../src/io/packets/tun.ts';
import { TunnelSockets } from '../../src/io/packets/udp.ts';
import type { TunnelRole } from '../../src/roles/tunnel-role.ts';

const DATA_MESSAGE = 4;
/** The floor's. */
const KEY: Uint8Array = new Uint8Array(32).fill(7);

class ForwardEverything implements TunnelRole {
  handleRuns(batch: ReceiveBatch): void {
    for (let i = 0; i < batch.runCount; i++) {
      const row = i * RUN.stride;
      const isData = batch.view.getUint32(at(batch.runs, row + RUN.offset), true) === DATA_MESSAGE;
      batch.runs[row + RUN.slot] = isData ? 0 : -1;
      batch.runs[row + RUN.headerLength] = 0;
    }
  }

  handleOpened(batch: ReceiveBatch): void {
    for (let i = 0; i < batch.datagramCount; i++) {
      const row = i * DATAGRAM.stride;
      batch.datagrams[row + DATAGRAM.accepted] =
        at(batch.datagrams, row + DATAGRAM.length) > 0 ? 1 : 0;
    }
  }

  handleSuperPackets(batch: ReceiveBatch): void {
    for (let i = 0; i < batch.superCount; i++) {
      batch.superPackets[i * SUPER.stride + SUPER.verdict] = VERDICT.forward;
    }
  }

  handleTunPackets(batch: TunBatch): void {
    for (let i = 0; i < batch.packetCount; i++) {
      batch.packets[i * TUN_PACKET.stride + TUN_PACKET.slot] = 0;
    }
  }

  handleTimeout(): void {}

  pollTransmit(): undefined {}

  pollTunPacket(): undefined {}

  pollTimeout(): undefined {}

  snapshot(): unknown {
    return {};
  }
}

export function runForwarder(args: readonly string[]): void {
  const [name = '', port = '', peerText = '', peerPort = ''] = args;
  const peer = parseIp(peerText);
  if (peer === undefined) throw new Error('usage: forwarder TUN LOCAL_PORT PEER_ADDRESS PEER_PORT');
  const aead = new NativeAead(1);
  aead.install(KEY, KEY, 0);
  writeAddressWords(peer, aead.paths, PATH.remote);
  aead.paths[PATH.remotePort] = Number(peerPort);
  aead.paths[PATH.usable] = 1;
  const loop = new Loop({
    role: new ForwardEverything(),
    aead,
    log: SILENT_LOG,
    onTurn: () => {},
    onFatal: (error) => {
      console.error(error);
      process.exit(1);
    },
  });
  loop.useTun(TunDevice.open(name));
  loop.useSockets(TunnelSockets.open({ port: Number(port) }));
  process.on('SIGTERM', () => {
    if (process.env['FORWARDER_COUNTERS']) {
      const counted = Object.entries(nativeCounters()).filter(([, value]) => value > 0);
      console.error({ ...Object.fromEntries(counted), ...loop.counters.snapshot() });
    }
    process.exit(0);
  });
}
