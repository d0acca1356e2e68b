// A machine on the virtual Internet: interfaces with addresses, UDP sockets, a monotonic clock that stands still while it sleeps, and a wall clock that
// can be set. It may have a translator of its own for IPv4 on a network without it (464XLAT, RFC 6877).

import { type Endpoint, endpoint, familyOf, type IpAddress } from '../../../src/base/address.ts';
import { type Instant, instant, type UnixMillis, unixMillis } from '../../../src/base/time.ts';
import type { Datagram } from './datagram.ts';
import type { LinkConditions } from './link.ts';
import { embeddedIpv4, synthesized } from './router.ts';
import { onGrain } from './scheduler.ts';
import { Attachment, type Fabric, readdressed, type Segment } from './segment.ts';

export type Receiver = (datagram: Datagram, now: Instant) => void;

export interface HostClock {
  /** Whether the monotonic clock goes on during sleep (CLOCK_BOOTTIME) or stands still (CLOCK_MONOTONIC). */
  readonly countsSleep: boolean;
}

// Specification
/** RFC 7335: the IPv4 address of a host's own translator. */
const CLAT_ADDRESS = '192.0.0.2' as IpAddress;

export class Interface {
  readonly host: Host;
  readonly name: string;
  attachment: Attachment;
  addresses: readonly IpAddress[] = [];
  readonly #fabric: Fabric;
  #conditions: LinkConditions;

  constructor(
    fabric: Fabric,
    host: Host,
    name: string,
    segment: Segment,
    conditions: LinkConditions,
  ) {
    this.#fabric = fabric;
    this.host = host;
    this.name = name;
    this.#conditions = conditions;
    this.attachment = this.#attach(segment);
  }

  get isUp(): boolean {
    return this.attachment.isUp;
  }

  setUp(isUp: boolean): void {
    this.attachment.isUp = isUp;
  }

  setConditions(conditions: LinkConditions): void {
    this.#conditions = conditions;
    this.attachment.setConditions(conditions);
  }

  get conditions(): LinkConditions {
    return this.#conditions;
  }

  /** Another cable: addresses of the old network are gone. */
  move(segment: Segment, addresses: readonly string[]): void {
    this.setAddresses([]);
    this.attachment.isUp = false;
    this.attachment = this.#attach(segment);
    this.setAddresses(addresses);
  }

  setAddresses(addresses: readonly string[]): void {
    const { segment } = this.attachment;
    for (const address of this.addresses) segment.release(address, this.attachment);
    this.addresses = addresses.map((text) => text as IpAddress);
    for (const address of this.addresses) segment.claim(address, this.attachment);
  }

  #attach(segment: Segment): Attachment {
    const name = `${this.host.name} ${this.name}`;
    return new Attachment(this.#fabric, segment, name, this.#conditions, {
      receive: (datagram, now) => this.host.receive(datagram, now),
    });
  }
}

export class Host {
  readonly name: string;
  readonly interfaces: Interface[] = [];
  /** Has an own translator for IPv4 where the network has none. */
  hasClat = false;
  readonly #fabric: Fabric;
  readonly #sockets = new Map<string, Receiver>();
  readonly #countsSleep: boolean;
  /** What its monotonic clock is behind the world's. */
  #behindMs = 0;
  #asleepSince: Instant | undefined;
  /** What its wall clock shows at the world's zero. */
  #wallAtZero: number;

  constructor(fabric: Fabric, name: string, wallAtZero: number, clock: HostClock) {
    this.#fabric = fabric;
    this.name = name;
    this.#wallAtZero = wallAtZero;
    this.#countsSleep = clock.countsSleep;
  }

  addInterface(name: string, segment: Segment, conditions: LinkConditions): Interface {
    const added = new Interface(this.#fabric, this, name, segment, conditions);
    this.interfaces.push(added);
    return added;
  }

  /** Of all interfaces that are up, in their order; with its own translator's, where it has one and no other IPv4. */
  get addresses(): IpAddress[] {
    const own = this.interfaces.flatMap(({ isUp, addresses }) => (isUp ? addresses : []));
    const needsClat = this.hasClat && own.length > 0 && !own.some((a) => familyOf(a) === 4);
    return needsClat ? [...own, CLAT_ADDRESS] : own;
  }

  /** Its address as a server on the Internet sees it: the outermost translator's, where there is one. */
  get shownAddress(): IpAddress | undefined {
    const [address] = this.addresses;
    const own = this.interfaces.find(({ addresses }) => address && addresses.includes(address));
    let shown = address;
    for (let at = own?.attachment.segment; at?.router; at = at.router.outside) {
      shown = at.router.addressShown(shown);
    }
    return shown;
  }

  get isAsleep(): boolean {
    return this.#asleepSince !== undefined;
  }

  /** Its monotonic clock; a program that it runs knows no other. */
  get now(): Instant {
    return this.toOwn(this.#asleepSince ?? this.#fabric.scheduler.now);
  }

  get wallNow(): UnixMillis {
    return unixMillis(this.#wallAtZero + this.#fabric.scheduler.now);
  }

  toOwn(world: Instant): Instant {
    return instant(world - this.#behindMs);
  }

  /** The first time of the world at which its clock shows that, or more. */
  toWorld(own: Instant): Instant {
    return instant(onGrain(own) + this.#behindMs);
  }

  /** Somebody sets the wall clock. */
  stepWallClock(byMs: number): void {
    this.#wallAtZero += byMs;
  }

  sleep(): void {
    this.#asleepSince ??= this.#fabric.scheduler.now;
  }

  wake(): void {
    if (this.#asleepSince === undefined) return;
    const slept = this.#fabric.scheduler.now - this.#asleepSince;
    this.#asleepSince = undefined;
    if (!this.#countsSleep) this.#behindMs += slept;
  }

  /** A socket of one family on all addresses. False if the port is taken. */
  listen(family: 4 | 6, port: number, receiver: Receiver): boolean {
    const key = `${family}:${port}`;
    if (this.#sockets.has(key)) return false;
    this.#sockets.set(key, receiver);
    return true;
  }

  close(family: 4 | 6, port: number): void {
    this.#sockets.delete(`${family}:${port}`);
  }

  /** All its sockets: the machine lost power. */
  closeAll(): void {
    this.#sockets.clear();
  }

  get socketCount(): number {
    return this.#sockets.size;
  }

  /**
   * From the socket at `port`. `source` absent: the kernel chooses. A datagram leaves only from an address that an interface has, as `sendmsg` with packet
   * information does.
   */
  send(
    port: number,
    source: IpAddress | undefined,
    destination: Endpoint,
    payload: Uint8Array,
    ecn = 0,
  ): boolean {
    const family = familyOf(destination.address);
    const from = source ?? this.#chosenSource(family);
    const origin = this.name;
    const shown = endpoint(from ?? ((family === 4 ? '0.0.0.0' : '::') as IpAddress), port);
    const datagram = { source: shown, destination, payload, ecn, origin };
    for (const { sent } of this.#fabric.taps) sent?.(datagram, this.#fabric.scheduler.now);
    if (this.isAsleep) return this.#refuse(datagram, 'host-asleep');
    if (from === undefined || familyOf(from) !== family) {
      return this.#refuse(datagram, 'no-source-address');
    }
    if (from === CLAT_ADDRESS) return this.#sendTranslated(datagram);
    const out = this.interfaces.find(({ isUp, addresses }) => isUp && addresses.includes(from));
    if (!out) return this.#refuse(datagram, 'no-source-address');
    out.attachment.send(datagram);
    return true;
  }

  receive(arrived: Datagram, now: Instant): void {
    const datagram = this.hasClat ? this.#untranslated(arrived) : arrived;
    if (this.#fabric.isParted(datagram.origin, this.name)) {
      return this.#fabric.drop(datagram, 'partition', this.name);
    }
    if (this.isAsleep) return this.#fabric.drop(datagram, 'host-asleep', this.name);
    const { destination } = datagram;
    const receiver = this.#sockets.get(`${familyOf(destination.address)}:${destination.port}`);
    if (!receiver) return this.#fabric.drop(datagram, 'no-listener', this.name);
    for (const { delivered } of this.#fabric.taps) delivered?.(datagram, this.name, now);
    receiver(datagram, now);
  }

  #chosenSource(family: 4 | 6): IpAddress | undefined {
    return this.addresses.find((address) => familyOf(address) === family);
  }

  #sendTranslated(datagram: Datagram): boolean {
    const from = this.#chosenSource(6);
    const out = this.interfaces.find(
      ({ isUp, addresses }) => isUp && from !== undefined && addresses.includes(from),
    );
    if (!out || from === undefined) return this.#refuse(datagram, 'no-source-address');
    const source = endpoint(from, datagram.source.port);
    out.attachment.send(readdressed(datagram, source, synthesized(datagram.destination)));
    return true;
  }

  #untranslated(datagram: Datagram): Datagram {
    const remote = embeddedIpv4(datagram.source.address);
    if (remote === undefined || !this.addresses.includes(CLAT_ADDRESS)) return datagram;
    const { source, destination } = datagram;
    return readdressed(
      datagram,
      endpoint(remote, source.port),
      endpoint(CLAT_ADDRESS, destination.port),
    );
  }

  #refuse(datagram: Datagram, reason: 'host-asleep' | 'no-source-address'): boolean {
    this.#fabric.drop(datagram, reason, this.name);
    return false;
  }
}
