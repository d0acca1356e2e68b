// A datagram for a gateway with a connection and a relay: from the relay, from the peer and from a stranger, alone and in a run. It
// must not throw, and no table may grow.

import { GATEWAY, LinkWorld } from '../../support/link-world.ts';
import { RelayMachine } from '../../support/relay-machine.ts';
import { ep, VirtualNetwork } from '../../support/virtual-network.ts';

export const name = 'link-datagram';
export const kind = 'bytes';

const STRANGER = ep('203.0.113.66:3478');

interface Target {
  readonly world: LinkWorld;
  readonly relay: RelayMachine;
  readonly tables: string;
}

let target: Target | undefined;

export function run(bytes: Uint8Array): void {
  target ??= createTarget();
  const { world, relay } = target;
  const { gateway, client, network } = world;
  for (const source of [relay.listen, client.host, STRANGER]) {
    const datagram = { source, destination: gateway.host, payload: bytes };
    gateway.receive([datagram], network.now);
    gateway.receive([datagram, datagram], network.now);
  }
  gateway.drain(network.now);
  const tables = JSON.stringify(gateway.node.snapshot().tables);
  if (tables !== target.tables) throw new Error(`the tables changed: ${tables}`);
}

function createTarget(): Target {
  const network = new VirtualNetwork();
  // Other keys than those of the session that the corpus was recorded from: nothing of it is authentic here.
  const world = new LinkWorld(
    network,
    { host: '192.0.2.10:52625', allowNoRelays: true, seed: 11 },
    { host: '198.51.100.20:52625', allowNoRelays: true, seed: 12 },
  );
  const relay = new RelayMachine(network, '198.51.100.100:3478');
  world.add(relay);
  world.announce([relay]);
  world.run(1_000);
  world.connect();
  world.client.send(GATEWAY, new Uint8Array(40).fill(0x45));
  world.run(1_000);
  // Requests of ours that are under way would be answered by some inputs.
  network.isDelivered = () => false;
  world.run(15_000);
  const tables = JSON.stringify(world.gateway.node.snapshot().tables);
  return { world, relay, tables };
}
