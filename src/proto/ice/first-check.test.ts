// The first check is never wasted, whoever hears of the other first (RFC 8445 §7.3.1.4). Behind NATs the check that arrives before
// the other side has sent anything dies at that side's NAT; the other side's check, when it arrives, triggers it again at once.
// The official pair waits for its retransmission instead: 250 ms.
//
//   client 10.0.0.2 -- NAT 198.51.100.7 --(latency)-- NAT 203.0.113.7 -- gateway 192.168.1.5

import { describe, expect, test } from 'vitest';
import { IceWorld, type PeerOptions } from '../../../test/support/ice-world.ts';
import { PORT_RESTRICTED, VirtualNetwork } from '../../../test/support/virtual-network.ts';
import { later } from '../../base/time.ts';

/** From the moment when both know each other until client and gateway have their path; `skew` < 0: the gateway knew first. */
function setUpTimes(latencyMs: number, skew: number): { client: number; gateway: number } {
  const network = new VirtualNetwork();
  network.latencyMs = latencyMs;
  const left = network.addNat({ publicAddress: '198.51.100.7', ...PORT_RESTRICTED });
  const right = network.addNat({ publicAddress: '203.0.113.7', ...PORT_RESTRICTED });
  const [ours, theirs]: PeerOptions[] = [
    { host: '10.0.0.2:52625', nat: left },
    { host: '192.168.1.5:52625', nat: right },
  ];
  const world = new IceWorld(network, ours ?? expect.unreachable(), theirs ?? expect.unreachable());
  const { client, gateway } = world;
  const ofClient = client.gather(ours ?? expect.unreachable());
  const ofGateway = gateway.gather(theirs ?? expect.unreachable());
  const tellGateway = (): void => client.signalTo(gateway, ofClient);
  const tellClient = (): void => gateway.signalTo(client, ofGateway);
  (skew < 0 ? tellGateway : tellClient)();
  world.runFor(Math.abs(skew));
  const start = world.now;
  (skew < 0 ? tellClient : tellGateway)();
  world.runUntil(later(start, 2_000));
  const at = (peer: typeof client): number =>
    (peer.events.find(({ kind }) => kind === 'nominated')?.at ?? expect.unreachable()) - start;
  return { client: at(client), gateway: at(gateway) };
}

const SKEWS = [-200, -60, -30, -15, -5, -2, 0, 2, 5, 15, 30, 60, 200];

describe('behind NATs, by how much earlier one side knew of the other', () => {
  // Golden: milliseconds until the client has its path, at 10 ms one way.
  test.each([
    [-200, 20],
    [-60, 20],
    [-30, 20],
    [-15, 20],
    [-5, 20],
    [0, 20],
    [5, 15],
    [15, 30],
    [30, 30],
    [60, 30],
    [200, 30],
  ])('%d ms: the client has its path %d ms after both know', (skew, expected) => {
    expect(setUpTimes(10, skew)).toEqual({ client: expected, gateway: expected + 10 });
  });

  test.each([1, 3, 10, 25, 50, 120])(
    'it takes at most three times the %d ms of one way, for every skew',
    (latency) => {
      const times = SKEWS.map((skew) => setUpTimes(latency, skew).client);
      expect(Math.max(...times)).toBeLessThanOrEqual(3 * latency);
    },
  );
});
