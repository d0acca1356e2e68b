// Nanoseconds for a decision, by how many resources there are: all of one client, or spread over a thousand. Every packet is UDP, whose
// policy is asked for each time: of what is remembered, or, after a change of policy, of the routes. However many resources there are, every
// flow has an address and port of its own, so that what is remembered is as much.

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

const packetTo = (client: TestClient, destination: string, flow: number): Uint8Array =>
  writeUdpPacket({
    source: ip(client.ipv4),
    destination: ip(destination),
    sourcePort: 2_000 + flow,
    destinationPort: 1_000 + (flow % 1_001),
    payload: new Uint8Array(32),
  });

/** Of a decision about a known flow, and of one that the policy has changed for. */
interface Costs {
  readonly known: number;
  readonly changed: number;
}

/** `clients`: how many share the resources. */
function measure(count: number, clients: number): Costs {
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
    return { slot, packet: packetTo(clientOf(slot), addressOf(which), flow) };
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
    const costs = new Map<number, Costs>();
    for (const count of COUNTS) {
      const cost = measure(count, clients);
      costs.set(count, cost);
      report(`decision, ${count} resources, ${what}`, cost.known, 'ns');
      report('  after a change of policy', cost.changed, 'ns');
    }
    const [few, many] = [costs.get(100), costs.get(100_000)];
    if (!few || !many) throw new Error('the benchmark lacks what it compares');
    gate(`growth from 100 to 100000, ${what}`, many.known / few.known, MAX_GROWTH, 'x');
    gate('  after a change of policy', many.changed / few.changed, MAX_GROWTH, 'x');
  }
}
