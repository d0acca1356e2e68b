// The applications of all clients: gives each exchange its number, finds out where it goes, and hands what comes back to the exchange it belongs to.

import { type IpAddress, networkContains, parseNetwork } from '../../../src/base/address.ts';
import type { ResourceEntry } from '../../../src/roles/portal/policy-schema.ts';
import { DNS_TYPE } from '../../../src/wire/dns/records.ts';
import type { ClientProgram } from '../actors/client-program.ts';
import type { World } from '../world.ts';
import { Exchange, type ExchangeOptions, FIRST_PORT } from './exchange.ts';
import { factsOf, isIcmpError } from './mark.ts';

/** Each has a port of its own. */
const MAX_EXCHANGES = 40_000;

export interface Target {
  readonly destination: IpAddress;
  /** Where the name came from, if it has one. */
  readonly name?: string;
}

export class Traffic {
  readonly exchanges: Map<number, Exchange> = new Map();
  readonly #world: World;
  #count = 0;

  constructor(world: World) {
    this.#world = world;
  }

  counts(): { started: number; answered: number } {
    const answered = [...this.exchanges.values()].filter(({ answerCount }) => answerCount > 0);
    return { started: this.#count, answered: answered.length };
  }

  start(options: Omit<ExchangeOptions, 'id'>): Exchange | undefined {
    if (this.#count === MAX_EXCHANGES) return undefined;
    const id = ++this.#count;
    const exchange = new Exchange(this.#world.context, { ...options, id });
    this.exchanges.set(id, exchange);
    return exchange.start() ? exchange : undefined;
  }

  handleReceived(client: ClientProgram, packet: Uint8Array): void {
    const exchange = this.exchangeOf(packet);
    if (exchange?.options.client === client) exchange.handle(packet);
  }

  /** Whose answer it is, by the application's port: errors quote too little for a mark. */
  exchangeOf(packet: Uint8Array): Exchange | undefined {
    const facts = factsOf(packet);
    if (!facts) return undefined;
    const isError = isIcmpError(facts);
    const offset = isError ? facts.transportOffset + 8 : 0;
    const inner = isError ? factsOf(packet.subarray(offset)) : facts;
    if (!inner) return undefined;
    const port = isError ? inner.sourcePort : inner.destinationPort;
    const isEcho = inner.icmpType >= 0;
    return this.exchanges.get(
      isEcho ? echoIdentifier(packet, offset + inner.transportOffset) : port - FIRST_PORT,
    );
  }

  /** Where an application goes that wants the resource: an address, or what its resolver says now. */
  find(
    client: ClientProgram,
    resource: ResourceEntry,
    wish: { readonly family: 4 | 6; readonly target: number },
  ): Target | undefined {
    const { family, target } = wish;
    const isOfFamily = (address: string): boolean => address.includes(':') === (family === 6);
    const hosts = this.#world.plan.resourceHosts
      .filter(({ site }) => site === resource.site)
      .flatMap(({ addresses }) => addresses)
      .filter((address) => isOfFamily(address));
    if (resource.type === 'dns') return this.#resolved(client, this.nameOf(resource), family);
    const within = hosts.filter((address) => isCovered(resource, address));
    const destination = within[target % within.length];
    return destination === undefined ? undefined : { destination: destination as IpAddress };
  }

  /** A name under the resource's pattern. */
  nameOf(resource: ResourceEntry & { readonly type: 'dns' }): string {
    const { address } = resource;
    if (address.startsWith('**.')) return `a.b${address.slice(2)}`;
    return address.startsWith('*.') ? `www${address.slice(1)}` : address;
  }

  #resolved(client: ClientProgram, name: string, family: 4 | 6): Target | undefined {
    const answer = client.ask(name, family === 4 ? DNS_TYPE.a : DNS_TYPE.aaaa);
    if (answer.kind !== 'answered') return undefined;
    for (const { data } of answer.response.answers) {
      if (data.kind === 'address') return { destination: data.address, name };
    }
    return undefined;
  }
}

/** Whether an address is one of the resource's, which is not a name. */
export function isCovered(resource: ResourceEntry, address: string): boolean {
  if (resource.type === 'internet') return !/^(10\.|fd)/.test(address);
  const network = resource.type === 'cidr' ? parseNetwork(resource.address) : undefined;
  return network !== undefined && networkContains(network, address as IpAddress);
}

function echoIdentifier(packet: Uint8Array, offset: number): number {
  return ((packet[offset + 4] ?? 0) << 8) | (packet[offset + 5] ?? 0);
}
