// One story of a whole world (`pair-world.ts`): two clients, a gateway, relays, NAT and the portal, with names, refusals, losses, outages,
// roaming, expiry and minutes of idleness. Told as the list of all that can be seen from outside, in order: every datagram, every message of the
// portal, every packet that arrived. For tests of what a world may depend on.

import { toHex } from '../../src/base/bytes.ts';
import { DNS_TYPE } from '../../src/wire/dns/records.ts';
import { type ClientMember, type GatewayMember, PairWorld } from './pair-world.ts';
import { basePolicy, type Message } from './portal-bench.ts';
import { SYMMETRIC } from './virtual-network.ts';

export interface StoryOptions {
  /** JSON of the portal and of the policy, as it is told. */
  readonly retell?: (json: unknown) => unknown;
}

export function tellStory({ retell = (json) => json }: StoryOptions = {}): string[] {
  const trace: string[] = [];
  const world = new PairWorld(retell(policyOf(true)));
  world.onTheWay = ({ event, payload }: Message): Message => {
    trace.push(`${world.network.now} portal ${event}`);
    return { event, payload: retell(payload) };
  };
  world.addRelay('203.0.113.10:3478');
  world.addRelay('203.0.113.11:3478');
  const nat = world.network.addNat({ ...SYMMETRIC, publicAddress: '203.0.113.77' });
  const gateway = world.addGateway('gw-1', { host: '198.51.100.20:52625' });
  gateway.names.set('git.corp.test', ['10.2.0.40', '2001:db8:2::40']);
  const hidden = { host: '10.1.0.2:52625', nat, knowsHost: false };
  const alice = world.addClient('client-1', hidden);
  const bob = world.addClient('phone', { host: '192.0.2.30:52625' }, 'bob-token');
  live(world, gateway, alice, bob);
  for (const { at, source, destination, payload } of world.network.sent)
    trace.push(`${at} ${source.key} > ${destination.key} ${toHex(payload)}`);
  for (const member of [alice, bob])
    for (const { source, text } of member.arrivals()) trace.push(`${source} says ${text}`);
  for (const { destination, text } of gateway.delivered) trace.push(`${destination} gets ${text}`);
  trace.push([...alice.states, ...bob.states, ...gateway.states].join());
  return trace;
}

function live(
  world: PairWorld,
  gateway: GatewayMember,
  alice: ClientMember,
  bob: ClientMember,
): void {
  let sent = 0;
  const send = (destination: string): void => {
    alice.send(destination, `packet ${++sent}`);
    bob.send(destination, `packet ${sent} of bob`);
    world.run(3_000);
  };
  const sendToNames = (): void => {
    for (const type of [DNS_TYPE.a, DNS_TYPE.aaaa])
      for (const proxy of alice.resolve('git.corp.test', type)) send(proxy);
  };
  send('10.20.0.5');
  sendToNames();
  let count = 0;
  world.network.isDelivered = () => ++count % 4 !== 0;
  for (let i = 0; i < 3; i++) send(`10.20.0.${i}`);
  world.network.isDelivered = () => true;
  world.setPolicy(policyOf(false));
  send('10.20.0.5');
  gateway.disconnect();
  world.setPolicy(policyOf(true));
  world.run(20_000);
  gateway.connect('gateway-token');
  alice.roam('192.0.2.11:52625', 'client-token');
  send('10.20.0.5');
  sendToNames();
  world.run(600_000);
  send('10.20.0.5');
}

function policyOf(isNetAllowed: boolean): unknown {
  const policy = basePolicy();
  policy.resources[1] = { ...policy.resources[1], filters: [] };
  policy.policies[0] = { ...policy.policies[0], expires: '2026-01-01T00:05:00Z' };
  return isNetAllowed ? policy : { ...policy, policies: policy.policies.slice(1) };
}
