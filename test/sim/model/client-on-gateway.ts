// One client on a gateway, and the judgement about its packets: data-plane 3.3 towards the resource, 4.2 back, 9 and 10 for names. Each judgement builds the
// list of all outcomes that are right now, finds the one that was seen in it, and remembers what follows from it.

import {
  type Address,
  isIpv4,
  isMulticast,
  isProxy,
  isSentinel,
  isTunnel,
  show,
} from './address.ts';
import { type FlowRecord, Flows, isTranslated, type Outside } from './flows.ts';
import type { Complaint, GatewayModel, Json, ToResource } from './gateway.ts';
import { type Answer, classify, Grants, type Resource } from './grants.ts';
import { type Packet, read } from './packet.ts';
import {
  changed,
  isFaithful,
  isSameError,
  type Refusal,
  refusalOf,
  translatedError,
} from './rewrite.ts';
import { matches } from './rules.ts';

// Specification
const GATEWAY_DNS_PORT = 53_535; // client 11.2
const MAX_PROXY_ADDRESSES = 8; // data-plane 17.1
/** docs/wire/data-plane.md: so long an expired flow is told from a new one. */
const EXPIRED_REMEMBERED_MS = 900_000;
/** docs/wire/data-plane.md: a client that is refused faster than this may hear nothing. */
const REFUSALS_PER_SECOND = 100;
const RESOLUTION_MS = 10_000; // data-plane 1.3
const REPEATED_WITHIN_MS = 1_000; // docs/wire/data-plane.md

type Verdict =
  | { readonly kind: 'forward'; readonly to: Outside | 'unchanged' }
  | { readonly kind: 'refuse'; readonly refusal: Refusal }
  | { readonly kind: 'drop'; readonly why: string };

interface Mapping {
  readonly domain: string;
  readonly resources: Set<string>;
  /** What the address may stand for; `undefined`: nothing of its family. */
  targets: readonly (Address | undefined)[];
}

interface Setup {
  readonly resource: string;
  readonly domain: string;
  readonly proxies: readonly Address[];
  readonly at: number;
  readonly isValid: boolean;
}

/** Packets one of which the client must be sent; `isCertain`: sending none would be wrong, if it is connected. */
interface ToClient {
  readonly packets: readonly Uint8Array[];
  readonly isCertain: boolean;
}

const NOTHING: ToClient = { packets: [], isCertain: false };
const drop = (why: string): Verdict => ({ kind: 'drop', why });
const refuse = (refusal: Refusal): Verdict => ({ kind: 'refuse', refusal });

export class ClientOnGateway {
  readonly own: readonly Address[];
  readonly grants: Grants = new Grants();
  readonly flows: Flows = new Flows();
  readonly #gateway: GatewayModel;
  readonly #mappings = new Map<Address, Mapping>();
  #setups: Setup[] = [];
  #refusals: number[] = [];

  constructor(own: readonly Address[], gateway: GatewayModel) {
    this.own = own;
    this.#gateway = gateway;
  }

  /** data-plane 3.3 from step 5 on; the packet was read, is for one host, and is no control packet. */
  judgeToResource(packet: Packet, actual: ToResource, now: number): Complaint {
    const verdicts = this.grants
      .possible(now)
      .flatMap((resources) => this.#toResource(packet, resources, now));
    if (actual.forwarded && this.#isErrorOfClient(packet, actual.forwarded, now)) return undefined;
    for (const verdict of verdicts) {
      if (this.#agrees(verdict, packet, actual, now)) return undefined;
    }
    return `${say(packet)}: expected ${saying(verdicts)}, but ${saw(actual)}`;
  }

  /** Issue 5: an error about a live flow goes to where the flow goes, about the packet as the resource sent it. */
  #isErrorOfClient(packet: Packet, forwarded: Uint8Array, now: number): boolean {
    const { about } = packet;
    const reading = read(forwarded);
    if (!about || reading.kind !== 'packet' || !this.own.includes(packet.source)) return false;
    const { source, destination, about: seen } = reading.packet;
    const isAllowed = this.grants
      .possible(now)
      .some(
        (granted) => this.#answer(about, granted, about.source, about.sourcePort) === 'allowed',
      );
    if (!isAllowed || !seen || source !== packet.source) return false;
    return this.flows
      .ofReceived(about)
      .some(
        (record) =>
          this.flows.liveness(record, now) !== 'over' &&
          destination === record.address &&
          seen.source === record.address &&
          seen.sourcePort === about.sourcePort &&
          seen.destination === about.destination &&
          seen.destinationPort === record.port,
      );
  }

  #toResource(packet: Packet, resources: readonly Resource[], now: number): Verdict[] {
    const { source, destination, kind, destinationPort } = packet;
    // data-plane 3.3 step 5; issue 5: errors about a live flow may pass, those about nothing never.
    if (packet.about) {
      const isKnown = this.flows.ofAnswer(packet.about).length > 0;
      const passes = isKnown && this.#answer(packet, resources, destination, 0) === 'allowed';
      return [drop('error of a client'), ...(passes ? this.#forwards(packet, now) : [])];
    }
    if (!this.own.includes(source)) return [refuse('prohibited')];
    if (this.#gateway.own.includes(destination)) {
      const isService = kind === 'echo' || destinationPort === GATEWAY_DNS_PORT;
      return isService ? [{ kind: 'forward', to: 'unchanged' }] : [refuse('prohibited')];
    }
    if (isTunnel(destination)) return [refuse('prohibited')];
    const answer = this.#answer(packet, resources, destination, destinationPort);
    if (answer === 'internet-rejected') return [refuse('unreachable')];
    if (answer !== 'allowed') return [refuse('prohibited')];
    return this.#forwards(packet, now);
  }

  #answer(
    { kind }: Pick<Packet, 'kind'>,
    resources: readonly Resource[],
    remote: Address,
    port: number,
  ): Answer {
    const named = this.#mappings.get(remote)?.resources ?? new Set<string>();
    const known = { named, relays: this.#gateway.relays };
    return classify(resources, known, { address: remote, kind, port });
  }

  /** Steps 10 to 16: where an allowed packet may go. */
  #forwards(packet: Packet, now: number): Verdict[] {
    const { destination, sourcePort: port, kind } = packet;
    const isTranslatable = kind === 'tcp' || kind === 'udp' || kind === 'echo';
    const known = this.flows.find(packet);
    const state = known && this.flows.liveness(known, now);
    const kept: Verdict[] = known && state !== 'over' ? [{ kind: 'forward', to: known }] : [];
    if (state === 'live') return kept;
    if (!isProxy(destination)) {
      // A flow of a name may have the port still, also when the name leads elsewhere by now.
      const isReal =
        [...this.#mappings.values()].some(({ targets }) => targets.includes(destination)) ||
        this.flows.holder({ kind, address: destination, port }, packet, now) !== 'over';
      if (!isReal || !isTranslatable) return [...kept, { kind: 'forward', to: 'unchanged' }];
      return [...kept, ...this.#fresh(packet, [destination], now)];
    }
    const mapping = this.#mappings.get(destination);
    if (!mapping) return [...kept, refuse('unreachable')];
    const verdicts: Verdict[] = [...kept];
    if (mapping.targets.includes(undefined)) verdicts.push(refuse('unreachable'));
    const targets = mapping.targets.filter((target) => target !== undefined);
    if (isTranslatable) return [...verdicts, ...this.#fresh(packet, targets, now)];
    // data-plane 3.3 step 14; issue 5 may carry other protocols, too.
    verdicts.push(drop('nothing to translate'));
    for (const target of targets) verdicts.push({ kind: 'forward', to: { address: target, port } });
    return verdicts;
  }

  /** A new flow: the source port is kept, unless somebody else has it; flows of one port may share what they have. */
  #fresh(packet: Packet, targets: readonly Address[], now: number): Verdict[] {
    const { kind, sourcePort: port } = packet;
    const shared = this.flows.siblings(packet, now);
    const verdicts: Verdict[] = shared.map((to) => ({ kind: 'forward', to }));
    for (const target of targets) {
      const holder = this.flows.holder({ kind, address: target, port }, packet, now);
      if (holder !== 'live') verdicts.push({ kind: 'forward', to: { address: target, port } });
      if (holder !== 'over') verdicts.push({ kind: 'forward', to: { address: target, port: -1 } });
    }
    return verdicts;
  }

  #agrees(verdict: Verdict, packet: Packet, actual: ToResource, now: number): boolean {
    if (verdict.kind === 'drop') return actual.forwarded === undefined && !hasError(actual);
    if (verdict.kind === 'refuse') {
      if (actual.forwarded !== undefined) return false;
      const expected = refusalOf(verdict.refusal, packet);
      if (!hasError(actual)) return this.#mayBeSilent(now);
      this.#refusals.push(now);
      return actual.answers.some((answer) => isSameError(answer, expected));
    }
    const { forwarded } = actual;
    if (!forwarded) return false;
    const reading = read(forwarded);
    if (reading.kind !== 'packet') return false;
    const { to } = verdict;
    if (to === 'unchanged') {
      if (!isFaithful(forwarded, packet.bytes, packet)) return false;
      this.flows.noteOut(
        packet,
        { address: packet.destination, port: packet.sourcePort },
        packet.tcpFlags,
        now,
      );
      return true;
    }
    const port = to.port < 0 ? reading.packet.sourcePort : to.port;
    const outside = { address: to.address, port };
    if (this.flows.holder({ ...outside, kind: packet.kind }, packet, now) === 'live') return false;
    const expected = changed(packet, { destination: to.address, sourcePort: port });
    if (!isFaithful(forwarded, expected, packet)) return false;
    this.flows.noteOut(packet, outside, packet.tcpFlags, now);
    return true;
  }

  /** docs/wire/data-plane.md: refusals are limited for each client. */
  #mayBeSilent(now: number): boolean {
    this.#refusals = this.#refusals.filter((at) => at > now - 1_000);
    return this.#refusals.length >= REFUSALS_PER_SECOND;
  }

  /**
   * data-plane 4.2 from step 5 on: all packets that this client may be sent for one from the network. Empty: it must be dropped. `isCertain`: not sending it
   * would be wrong, if the client is connected.
   */
  toClient(packet: Packet, now: number): ToClient {
    const outcomes = this.grants
      .possible(now)
      .map((resources) => this.#toClient(packet, resources, now));
    return {
      packets: outcomes.flatMap(({ packets }) => packets),
      isCertain: outcomes.every(({ packets, isCertain }) => isCertain && packets.length === 1),
    };
  }

  #toClient(packet: Packet, resources: readonly Resource[], now: number): ToClient {
    if (this.#gateway.own.includes(packet.source))
      return { packets: [packet.bytes], isCertain: true };
    const { about } = packet;
    const all = about ? this.flows.ofError(about) : this.flows.ofAnswer(packet);
    const known = all.filter((record) => this.flows.liveness(record, now) !== 'over');
    const translated = known.filter(isTranslated);
    // Late answers to a translated flow are nobody's (data-plane 4.2-9), as long as they are known as such.
    const over = known.length === 0 ? all.filter(isTranslated) : [];
    // Another port of the host than the one that was spoken to may be told apart or not (data-plane 9.4).
    const remote = about ? about.destinationPort : packet.sourcePort;
    const isOver = over.some(
      (record) => [0, remote].includes(record.remotePort) && !this.#isForgotten(record, now),
    );
    if (isOver) return NOTHING;
    const plain = this.#plainToClient(packet, resources);
    if (translated.length === 0) {
      // Who was not spoken to by the client may be kept out although a rule would let it in (data-plane 17.8), and so may what no flow can be told from.
      const isAnswer = known.some(
        (record) =>
          this.flows.liveness(record, now) === 'live' && [0, remote].includes(record.remotePort),
      );
      const isSure = isAnswer || (about !== undefined && all.length === 0);
      return { packets: plain, isCertain: isSure && plain.length > 0 };
    }
    const isExact = translated.every(
      (record) =>
        this.flows.liveness(record, now) === 'live' && [0, remote].includes(record.remotePort),
    );
    const passing = translated.filter(
      ({ insideAddress }) => about || this.#passes(packet, resources, insideAddress),
    );
    const packets = distinct([
      ...passing.map((record) => this.#back(packet, record)),
      ...(isExact ? [] : plain),
    ]);
    return { packets, isCertain: isExact && packets.length === 1 };
  }

  #plainToClient(packet: Packet, resources: readonly Resource[]): Uint8Array[] {
    if (isTunnel(packet.source)) return [];
    // Issue 5: an error about a live flow of a protocol without ports may come through, too.
    const isError = packet.about !== undefined || isErrorAboutOther(packet);
    return isError || this.#passes(packet, resources, packet.source) ? [packet.bytes] : [];
  }

  #passes(packet: Packet, resources: readonly Resource[], remote: Address): boolean {
    return this.#answer(packet, resources, remote, packet.sourcePort) === 'allowed';
  }

  #back(packet: Packet, record: FlowRecord): Uint8Array {
    const { insideAddress: source, insidePort: port } = record;
    if (packet.about) return translatedError(packet, { source, port });
    return changed(packet, { source, destinationPort: port });
  }

  /** Sooner than the gateway forgets it, by less than a second more than a session lives. */
  #isForgotten({ lastOut, lastIn = 0 }: FlowRecord, now: number): boolean {
    return now > Math.max(lastOut, lastIn) + EXPIRED_REMEMBERED_MS;
  }

  /** A packet from the network was sent to the client: the flow is answered. */
  noteAnswered(packet: Packet, wasSent: boolean, now: number): void {
    const { about, tcpFlags } = packet;
    const port = about ? about.destinationPort : packet.sourcePort;
    for (const record of about ? this.flows.ofError(about) : this.flows.ofAnswer(packet)) {
      const state = this.flows.liveness(record, now);
      // Dropped: whether it was still somebody's answer is not known.
      if (state === 'over' || (state === 'maybe' && !wasSent)) continue;
      this.flows.noteIn(record, port, tcpFlags, now);
    }
  }

  /** data-plane 9.2: a wish arrived. Remembered until it is answered. */
  wishes(json: Json, now: number): void {
    const { resource: id, domain, proxy_ips: ips } = json;
    const proxies: Address[] = ips;
    const resource = this.grants.get(id, now);
    const areProxies = proxies.every((proxy) => isProxy(proxy) && !isSentinel(proxy));
    const isValid =
      resource?.type === 'dns' &&
      matches(resource.pattern, domain) &&
      areProxies &&
      proxies.length <= MAX_PROXY_ADDRESSES &&
      new Set(proxies).size === proxies.length;
    this.#setups = this.#setups.filter(({ at }) => at > now - 2 * RESOLUTION_MS);
    this.#setups.push({ resource: id, domain: domain.toLowerCase(), proxies, at: now, isValid });
  }

  /** data-plane 9.2, 9.3: the client is told the state of a name. */
  judgeStatus(json: Json, now: number): Complaint {
    const { resource, status } = json;
    const domain = json.domain.toLowerCase();
    const asked = this.#setups.filter(
      (setup) => setup.resource === resource && setup.domain === domain,
    );
    const where = `${domain} of ${resource}`;
    if (asked.length === 0) return `${where} is said to be ${status}, which nobody asked`;
    if (status !== 'Active') return undefined;
    const valid = asked.findLast(({ isValid }) => isValid);
    if (!valid) return `data-plane 17.1: ${where} became Active by an invalid wish`;
    if (!this.grants.get(resource, now))
      return `data-plane 9.2-1: ${where} became Active without authorization`;
    const answer = this.#gateway.answer(domain);
    if (!answer || answer.at < valid.at - REPEATED_WITHIN_MS - RESOLUTION_MS) {
      return `data-plane 9.2-3: ${where} became Active, but was not looked up`;
    }
    // Whoever asked before may still get an answer of its own, with its own addresses.
    this.#setups = this.#setups.filter((setup) => setup !== valid);
    this.#map(valid, answer.addresses);
    return undefined;
  }

  /** data-plane 9.3. */
  #map({ resource, domain, proxies }: Setup, addresses: readonly Address[]): void {
    const isRenumbered = proxies.some((proxy) => {
      const known = this.#mappings.get(proxy);
      return known !== undefined && known.domain !== domain;
    });
    if (isRenumbered) {
      this.#mappings.clear();
      this.flows.clear();
    }
    const usable = [...new Set(addresses)].filter(isUsable).sort();
    for (const isV4 of [true, false]) {
      const real = usable.filter((entry) => isIpv4(entry) === isV4);
      const ours = proxies.filter((proxy) => isIpv4(proxy) === isV4).sort();
      ours.forEach((proxy, index) => {
        const known = this.#mappings.get(proxy) ?? { domain, resources: new Set(), targets: [] };
        known.resources.add(resource);
        known.targets = [real[index % real.length]];
        this.#mappings.set(proxy, known);
      });
    }
  }
}

/** docs/wire/data-plane.md: what no name may lead to. */
function isUsable(entry: Address): boolean {
  const isLocal = isIpv4(entry)
    ? /^(7f|00|a9fe)/.test(entry)
    : /^(fe[89ab]|0{31}[01]$)/.test(entry);
  return (
    !isLocal && !isMulticast(entry) && !isTunnel(entry) && !isProxy(entry) && !isSentinel(entry)
  );
}

function hasError({ answers }: ToResource): boolean {
  return answers.length > 0;
}

function distinct(packets: readonly Uint8Array[]): Uint8Array[] {
  const byText = new Map(packets.map((packet) => [packet.join(), packet]));
  return [...byText.values()];
}

function isErrorAboutOther({ kind, icmpType, source }: Packet): boolean {
  return kind === 'icmp' && (isIpv4(source) ? [3, 11] : [1, 2, 3]).includes(icmpType);
}

export function say(packet: Packet): string {
  const { source, destination, kind, sourcePort, destinationPort } = packet;
  const what = kind === 'icmp' ? `icmp ${packet.icmpType}/${packet.icmpCode}` : kind;
  return `${what} ${show(source)}:${sourcePort} to ${show(destination)}:${destinationPort}`;
}

function saying(verdicts: readonly Verdict[]): string {
  const texts = verdicts.map((verdict) => {
    if (verdict.kind === 'drop') return `a drop (${verdict.why})`;
    if (verdict.kind === 'refuse') return verdict.refusal;
    const { to } = verdict;
    return to === 'unchanged'
      ? 'forwarded as it is'
      : `forwarded to ${show(to.address)} from ${to.port}`;
  });
  return [...new Set(texts)].join(' or ');
}

function saw({ forwarded, answers }: ToResource): string {
  if (forwarded) {
    const reading = read(forwarded);
    return `it was forwarded as ${reading.kind === 'packet' ? say(reading.packet) : reading.kind}`;
  }
  if (answers.length === 0) return 'it was dropped';
  return `it was answered with ${answers.map((answer) => {
    const reading = read(answer);
    return reading.kind === 'packet' ? say(reading.packet) : reading.kind;
  })}`;
}
