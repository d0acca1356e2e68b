// Notices when this host's way to the network changes: addresses come or go, the default route is another one, or the machine slept
// (client 10.3, connectivity 14.19, rtnetlink(7)). The kernel says so at once; what it says is only a reason to look, so that lost messages and bursts do no harm,
// and a host where it cannot be asked is looked at every second.

import { familyOf, type IpAddress, type IpFamily, ipBytes, parseIp } from '../../base/address.ts';
import type { Log } from '../../base/log.ts';
import { bootNow, monotonicNow } from '../clock.ts';
import { type NetlinkHandle, native } from '../packets/native.ts';
import { SOCKET_MARK } from '../packets/udp.ts';
import { localAddresses } from './local-network.ts';
import {
  attribute,
  attributeU32,
  fixedPart,
  NetlinkError,
  netlinkCall,
  RTM,
  readAttributes,
} from './netlink.ts';

// Specification (linux/rtnetlink.h)
/** RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE. */
const GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
const AF: Readonly<Record<IpFamily, number>> = { 4: 2, 6: 10 };
const RTA = {
  destination: 1,
  outputInterface: 4,
  gateway: 5,
  preferredSource: 7,
  mark: 16,
} as const;
const ROUTE_LENGTH = 12;

// Implementation
/** Addresses of a network come one by one; what is said within this time is looked at once. */
const SETTLE_MS = 150;
/** For a host where the kernel does not tell, and to notice that it slept. */
const POLL_MS = 1_000;
/** The two clocks are read one after the other; a sleep is longer than this. */
const SLEEP_MS = 500;
/** Documentation addresses (RFC 5737, RFC 3849): nobody has a route for them but the default one. */
const SOMEWHERE: readonly string[] = ['198.51.100.1', '2001:db8::1'];

export interface NetworkChange {
  readonly kind: 'addresses' | 'route' | 'slept';
  /** All of this host's, those of the tunnel left out. */
  readonly addresses: readonly IpAddress[];
}

export class NetworkWatch {
  readonly #excluded: string;
  readonly #onChange: (change: NetworkChange) => void;
  readonly #timer: NodeJS.Timeout;
  readonly #buffer = new Uint8Array(65_536);
  #subscription: NetlinkHandle | undefined;
  #settling: NodeJS.Timeout | undefined;
  #addresses: string;
  #route: string;
  #asleepMs: number;

  /** `excluded`: our own TUN device. */
  constructor(excluded: string, log: Log, onChange: (change: NetworkChange) => void) {
    this.#excluded = excluded;
    this.#onChange = onChange;
    this.#addresses = localAddresses(excluded).join(' ');
    this.#route = wayOut();
    this.#asleepMs = bootNow() - monotonicNow();
    this.#subscribe(log);
    this.#timer = setInterval(() => this.#poll(), POLL_MS);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
    clearTimeout(this.#settling);
    if (this.#subscription) native().netlinkClose(this.#subscription);
    this.#subscription = undefined;
  }

  #subscribe(log: Log): void {
    const opened = native().netlinkSubscribe(GROUPS, () => this.#hear());
    if (typeof opened === 'number') {
      log.info('The kernel does not tell of network changes: looking every second', {
        errno: opened,
      });
      return;
    }
    this.#subscription = opened;
  }

  #hear(): void {
    if (this.#subscription === undefined) return;
    native().netlinkHear(this.#subscription, this.#buffer);
    this.#settling ??= setTimeout(() => this.#look(), SETTLE_MS);
  }

  #poll(): void {
    const asleepMs = bootNow() - monotonicNow();
    const hasSlept = asleepMs - this.#asleepMs > SLEEP_MS;
    this.#asleepMs = asleepMs;
    if (hasSlept) this.#look('slept');
    else if (this.#subscription === undefined) this.#look();
  }

  /** No addresses at all is no network to change to. */
  #look(fallback?: 'slept'): void {
    this.#settling = undefined;
    const addresses = localAddresses(this.#excluded);
    const text = addresses.join(' ');
    const route = wayOut();
    const isOther = text !== this.#addresses && addresses.length > 0;
    const kind = isOther ? 'addresses' : route !== this.#route ? 'route' : fallback;
    if (addresses.length > 0) this.#addresses = text;
    this.#route = route;
    if (kind !== undefined) this.#onChange({ kind, addresses });
  }
}

/** How datagrams to far away leave now: interface, next hop, source; for each family. */
function wayOut(): string {
  return SOMEWHERE.map((text) => {
    const destination = parseIp(text);
    return destination === undefined ? '' : wayTo(destination);
  }).join(' ');
}

function wayTo(destination: IpAddress): string {
  const family = familyOf(destination);
  const bytes = ipBytes(destination);
  try {
    const answers = netlinkCall(
      `no route to ${destination}`,
      RTM.getRoute,
      0,
      fixedPart(ROUTE_LENGTH, (set) => {
        set.u8(0, AF[family]);
        set.u8(1, bytes.length * 8);
      }),
      attribute(RTA.destination, bytes),
      attributeU32(RTA.mark, SOCKET_MARK),
    );
    const route = answers.find(({ type }) => type === RTM.newRoute);
    const found = route && readAttributes(route.body, ROUTE_LENGTH);
    const parts = [RTA.outputInterface, RTA.gateway, RTA.preferredSource];
    return parts.map((type) => found?.get(type)?.join('.') ?? '-').join('/');
  } catch (error) {
    if (error instanceof NetlinkError) return error.errno;
    throw error;
  }
}
