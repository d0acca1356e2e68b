// Nanoseconds for a decision, by how many resources there are: all of one client, or spread over a thousand. Every packet is UDP, whose
// policy is asked for each time. What a decision costs that is not remembered is reported beside it.

import { at } from '../../src/base/bytes.ts';
import { writeUdpPacket } from '../../src/wire/ip/write-packet.ts';
import type { GatewayResource } from '../../src/wire/portal/resources.ts';
import { cidr, type TestClient, udp } from '../../test/support/gateway-world.ts';
import { ip } from '../../test/support/packets.ts';
import {
  authorizeAll,
  CLIENTS,
  clientOf,
  gate,
  nanosecondsOf,
  newWorld,
  report,
  Sender,
} from './subject.ts';

const FLOWS = 8_192;
const COUNTS = [1, 100, 10_000, 100_000] as const;
/** The cost may grow by this factor from 100 resources to 100,000. */
const MAX_GROWTH = 2;

/** Networks of three sizes, and hosts; none contains another. */
function resource(i: number): GatewayResource {
  const host = `10.${(i >> 14) & 255}.${(i >> 6) & 255}.${(i & 63) * 4}`;
  return cidr(`resource-${i}`, `${host}/${30 + (i % 3)}`, [udp(53), udp(1_000, 2_000)]);
}

const addressOf = (i: number): string => `10.${(i >> 14) & 255}.${(i >> 6) & 255}.${(i & 63) * 4}`;

function* range(from: number, to: number): Iterable<GatewayResource> {
  for (let i = from; i < to; i++) yield resource(i);
}

const packetTo = (client: TestClient, destination: string, sourcePort: number): Uint8Array =>
  writeUdpPacket({
    source: ip(client.ipv4),
    destination: ip(destination),
    sourcePort,
    destinationPort: 53,
    payload: new Uint8Array(32),
  });

/** `clients`: how many share the resources. Cost of a decision about a known flow, and of one that the policy has changed for. */
function measure(
  count: number,
  clients: number,
): { readonly known: number; readonly changed: number } {
  const world = newWorld();
  const share = Math.max(1, Math.floor(count / clients));
  for (let i = 0; i < clients; i++)
    authorizeAll(world, clientOf(i), range(i * share, (i + 1) * share));
  // The others are there, too.
  for (let i = clients; i < CLIENTS; i++) authorizeAll(world, clientOf(i), range(0, 1));
  const sender = new Sender(world);
  const packets = Array.from({ length: FLOWS }, (_, flow) => {
    const slot = flow % clients;
    // Spread over all that the client has.
    const which = slot * share + ((Math.imul(flow, 0x9e3779b1) >>> 0) % share);
    return { slot, packet: packetTo(clientOf(slot), addressOf(which), 2_000 + flow) };
  });
  const run = (i: number): void => {
    const { slot, packet } = at(packets, i & (FLOWS - 1));
    if (!sender.send(slot, packet)) throw new Error('the packet of the benchmark is refused');
  };
  const known = nanosecondsOf(run);
  // Addresses of the host are part of the policy: all answers are asked for again.
  const changed = nanosecondsOf(
    (i) => {
      if ((i & (FLOWS - 1)) === 0) world.gateway.setLocalAddresses([], world.now);
      run(i);
    },
    { calls: FLOWS, rounds: 20 },
  );
  return { known, changed };
}

export function measureDecisions(): void {
  for (const [what, clients] of [
    ['one client has all', 1],
    [`spread over ${CLIENTS} clients`, CLIENTS],
  ] as const) {
    const costs = new Map<number, number>();
    for (const count of COUNTS) {
      const { known, changed } = measure(count, clients);
      costs.set(count, known);
      report(`decision, ${count} resources, ${what}`, known, 'ns');
      report('  after a change of policy', changed, 'ns');
    }
    const growth = (costs.get(100_000) ?? 0) / (costs.get(100) ?? 1);
    gate(`growth from 100 to 100000, ${what}`, growth, MAX_GROWTH, 'x');
  }
}
