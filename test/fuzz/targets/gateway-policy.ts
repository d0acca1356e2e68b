// Packets for the gateway role, from a client and from the TUN device, with time passing. Whatever the bytes are: what goes on to
// the TUN device comes from the client's own addresses and goes to no other peer; what goes to the client is addressed to it.
//
// Each packet is a byte for direction and time, a byte for its length, and its bytes.

import { addressFromWords } from '../../../src/base/address.ts';
import { isProxyAddress, isTunnelAddress } from '../../../src/wire/control/address-plan.ts';
import {
  ALICE,
  cidr,
  dns,
  GATEWAY_IPV4,
  GATEWAY_IPV6,
  GatewayWorld,
  tcp,
} from '../../support/gateway-world.ts';
import { parsed } from '../../support/packets.ts';

export const name = 'gateway-policy';
export const kind = 'operations';

export function run(input: Uint8Array): void {
  const world = new GatewayWorld();
  world.authorize(cidr('lan', '10.0.0.0/8', [tcp(22)]));
  world.authorize(cidr('all', '2001:db8::/32'));
  world.authorize(dns('db', '**.test'));
  world.setUp(
    'db',
    'db.test',
    ['100.96.0.1', 'fd00:2021:1111:8000::2'],
    ['10.20.30.40', '2001:db8:5::80'],
  );
  for (let i = 0; i + 2 <= input.length; ) {
    const [control = 0, length = 0] = input.subarray(i, i + 2);
    const packet = input.slice(i + 2, i + 2 + length);
    i += 2 + length;
    if ((control & 0xc0) === 0xc0) world.advance((control & 0x3f) * 5_000);
    if ((control & 1) === 0) checkToResource(world, packet);
    else checkToClient(world, packet);
    world.events();
  }
  world.gateway.snapshot();
}

function checkToResource(world: GatewayWorld, packet: Uint8Array): void {
  const { forwarded } = world.fromClient(packet);
  if (!forwarded) return;
  const { addresses } = parsed(forwarded);
  const source = addressFromWords(addresses, 0);
  const destination = addressFromWords(addresses, 4);
  if (source !== ALICE.ipv4 && source !== ALICE.ipv6) throw new Error('a spoofed packet passed');
  const isOwn = destination === GATEWAY_IPV4 || destination === GATEWAY_IPV6;
  if (isTunnelAddress(destination) && !isOwn) throw new Error('another peer was reached');
  if (isProxyAddress(destination)) throw new Error('a packet was not translated');
}

function checkToClient(world: GatewayWorld, packet: Uint8Array): void {
  const { sealed, alone } = world.fromTun(packet);
  for (const bytes of sealed ? [sealed, ...alone] : alone) {
    const destination = addressFromWords(parsed(bytes).addresses, 4);
    if (destination !== ALICE.ipv4 && destination !== ALICE.ipv6)
      throw new Error('somebody else’s packet was sent');
  }
}
