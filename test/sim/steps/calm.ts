// Liveness: after all disturbances ended and the network was good for a while, whatever the policy allows must work. What is asked is drawn from the
// state of the world, so that it stays the same when other steps are left out.

import type { IpAddress } from '../../../src/base/address.ts';
import type { ResourceEntry } from '../../../src/roles/portal/policy-schema.ts';
import type { ClientProgram } from '../actors/client-program.ts';
import { Dice } from '../dice.ts';
import { isRuleLive, visibleResources } from '../policy-view.ts';
import type { Exchange } from '../traffic/exchange.ts';
import { isCovered } from '../traffic/traffic.ts';
import type { World } from '../world.ts';

/**
 * After so long there is an answer: the sum of what may have to end first. A portal connection that is found dead (portal-protocol 4.3: heartbeats), the
 * longest pause before the next dial (60 s, twice that with jitter), an ICE agent that gives up and its grace (connectivity 4.6, 5.9), then a request, its
 * grant, the checks and the handshake.
 */
const ANSWER_MS = 285_000;
const START_MS = 5_000;
const LOOK_MS = 500;
/** An application is patient. */
const PAUSES_MS = [1_000, 2_000, 4_000, ...Array.from({ length: 40 }, () => 8_000)];
const MAX_PROBES = 6;
/** A gateway keeps what a name stood for up to the longest TTL, and asks anew seldom (data-plane 9.7). */
const NAME_MS = 600_000;

export function keepCalm(world: World): void {
  world.endDisturbances();
  // Whoever died with the disturbance is started again by its supervisor.
  world.run(2 * START_MS);
  const probes = drawProbes(world);
  const exchanges = new Map<Probe, Exchange>();
  const isAnswered = (probe: Probe): boolean => (exchanges.get(probe)?.answerCount ?? 0) > 0;
  for (let waited = 0; !probes.every(isAnswered); waited += LOOK_MS) {
    if (waited >= ANSWER_MS) return complain(world, probes, exchanges);
    for (const probe of probes) {
      const exchange = exchanges.has(probe) ? undefined : begin(world, probe);
      if (exchange) exchanges.set(probe, exchange);
    }
    world.run(LOOK_MS);
  }
  for (const exchange of exchanges.values()) exchange.stop();
}

function complain(
  world: World,
  probes: readonly Probe[],
  exchanges: ReadonlyMap<Probe, Exchange>,
): void {
  for (const probe of probes) {
    const exchange = exchanges.get(probe);
    if (exchange && exchange.answerCount > 0) continue;
    const { client, resource } = probe;
    const { kind, destination, port } = exchange?.options ?? {};
    const how = exchange ? `${kind} to ${destination} port ${port}` : 'its name';
    const found = exchange ? (exchange.error ?? 'silence') : 'no address';
    world.fault(
      'what is allowed is answered',
      `an answer for ${client.name} from ${resource.name} (${how})`,
      found,
    );
  }
}

interface Probe {
  readonly client: ClientProgram;
  readonly resource: ResourceEntry;
  readonly destination: IpAddress | undefined;
  readonly family: 4 | 6;
}

function drawProbes(world: World): Probe[] {
  const all = world.clients.flatMap((client) => probesOf(world, client));
  const dice = new Dice(world.streams.number(`calm ${world.now}`));
  const drawn: Probe[] = [];
  while (all.length > 0 && drawn.length < MAX_PROBES) {
    drawn.push(...all.splice(dice.below(all.length), 1));
  }
  return drawn;
}

/** One for each resource that the client must be able to reach now, and for a while yet. */
function probesOf(world: World, client: ClientProgram): Probe[] {
  const { policy } = world.portal;
  if (!client.isRunning || world.liars.has(client.name) || !hasWay(world)) return [];
  const until = world.wallNow + 2 * ANSWER_MS;
  const visible = visibleResources(policy, client.actor, world.wallNow);
  const lasting = visible.filter((resource) =>
    policy.policies.some((it) => isRuleLive(policy, it, client.actor, resource.name, until)),
  );
  return lasting.flatMap((resource) => {
    const isServed = world.gateways.some(
      ({ site, isRunning }) => isRunning && site === resource.site,
    );
    const place = isServed ? placeOf(world, client, resource, visible) : undefined;
    return place ? [{ client, resource, ...place }] : [];
  });
}

/** Where one comes through to a machine that answers, in spite of other resources that lie over this one. */
function placeOf(
  world: World,
  client: ClientProgram,
  resource: ResourceEntry,
  visible: readonly ResourceEntry[],
): Pick<Probe, 'destination' | 'family'> | undefined {
  const network = world.siteNetworks.get(resource.site);
  if (!network) return undefined;
  if (resource.type === 'dns') {
    const name = world.traffic.nameOf(resource);
    const isShadowed = visible.some(
      (it) => it !== resource && it.type === 'dns' && world.traffic.nameOf(it) === name,
    );
    const addresses = world.names.addressesOf(name, resource.site);
    const isGood = addresses.length > 0 && addresses.every((it) => network.answers(it));
    const isOld = world.now - world.names.changedAt(name) > NAME_MS;
    if (!isGood || isShadowed || !isOld) return undefined;
    return { destination: undefined, family: addresses[0]?.includes(':') ? 6 : 4 };
  }
  if (resource.type === 'internet' && !client.plan.activatesInternetResource) return undefined;
  const destination = world.plan.resourceHosts
    .flatMap(({ addresses }) => addresses)
    .find(
      (address) =>
        network.answers(address) &&
        visible.every((it) => isCovered(it, address) === (it === resource)),
    );
  if (destination === undefined) return undefined;
  return { destination: destination as IpAddress, family: destination.includes(':') ? 6 : 4 };
}

/** A relay that speaks both families is a way for everybody. */
function hasWay({ relays }: World): boolean {
  return (
    relays.length > 0 &&
    relays.every(
      ({ isRunning, isConnectedToPortal, host }) =>
        isRunning && isConnectedToPortal && host.addresses.length === 2,
    )
  );
}

function begin(
  world: World,
  { client, resource, destination, family }: Probe,
): Exchange | undefined {
  const found =
    destination ?? world.traffic.find(client, resource, { family, target: 0 })?.destination;
  const filters = resource.type === 'internet' ? [] : resource.filters;
  if (found === undefined || !client.routes(found)) return undefined;
  const [kind, port] = allowedBy(filters.filter((it) => typeof it === 'string'));
  const common = { client, kind, destination: found, port };
  return world.traffic.start({ ...common, bytes: 200, count: 1, pausesMs: PAUSES_MS });
}

function allowedBy(filters: readonly string[]): ['udp' | 'tcp' | 'echo', number] {
  const [first] = filters;
  if (first === undefined) return ['tcp', 443];
  if (first === 'icmp') return ['echo', 0];
  const [protocol, ports] = first.split(' ');
  return [protocol === 'tcp' ? 'tcp' : 'udp', Number.parseInt(ports ?? '443', 10)];
}
