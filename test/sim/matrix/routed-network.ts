// The virtual Internet with routers (`test/sim/network`) as a network for the machines of `test/support`: an endpoint belongs to the host that has its
// address, and leaves from there.

import { type Endpoint, familyOf, type IpAddress } from '../../../src/base/address.ts';
import type { Instant } from '../../../src/base/time.ts';
import type { Datagram, DatagramNetwork, Receiver } from '../../support/virtual-network.ts';
import type { Host } from '../network/host.ts';
import { GOOD_LINK, type LinkConditions } from '../network/link.ts';
import { Network } from '../network/network.ts';
import type { Segment } from '../network/segment.ts';
import { Streams } from '../streams.ts';

export class RoutedNetwork implements DatagramNetwork {
  readonly internet: Network;
  isDelivered: (datagram: Datagram) => boolean = () => true;
  readonly #hosts = new Map<IpAddress, Host>();

  constructor(seed = 1) {
    this.internet = new Network(new Streams(seed));
  }

  addHost(
    name: string,
    segment: Segment,
    addresses: readonly string[],
    link: LinkConditions = GOOD_LINK,
  ): Host {
    const host = this.internet.addHost(name);
    host.addInterface('eth0', segment, link).setAddresses(addresses);
    for (const address of host.addresses) this.#hosts.set(address, host);
    return host;
  }

  attach({ address, port }: Endpoint, _nat: unknown, receive: Receiver): void {
    this.#hosts.get(address)?.listen(familyOf(address), port, receive);
  }

  detach({ address, port }: Endpoint): void {
    this.#hosts.get(address)?.close(familyOf(address), port);
  }

  send(datagram: Datagram): void {
    if (!this.isDelivered(datagram)) return;
    const { source, destination, payload } = datagram;
    this.#hosts.get(source.address)?.send(source.port, source.address, destination, payload);
  }

  nextArrival(): Instant | undefined {
    return this.internet.scheduler.next();
  }

  deliver(): void {
    while (this.internet.scheduler.runOne());
  }

  get now(): Instant {
    return this.internet.now;
  }

  set now(to: Instant) {
    this.internet.scheduler.advance(to);
  }
}
