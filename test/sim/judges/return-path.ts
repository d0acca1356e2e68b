// Whose packet is it? What a client gets is an answer to what it sent itself: from where it sent it, to the port it came from, byte for byte. Never one
// client's packet to another, never out of nothing (data-plane 4.2, 15).

import { toHex } from '../../../src/base/bytes.ts';
import type { Fault, Observer, ReceivedPacket } from '../oracle.ts';
import { factsOf, isIcmpError, markOf } from '../traffic/mark.ts';
import type { World } from '../world.ts';

const RULE = 'a client gets answers to its own packets and nothing else';

export class ReturnPath implements Observer {
  readonly #world: World;
  #faults: Fault[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  received({ client, packet, at }: ReceivedPacket): void {
    const facts = factsOf(packet);
    const exchange = this.#world.traffic.exchangeOf(packet);
    const complain = (expected: string, found: string): void => {
      this.#faults.push({ at, rule: RULE, expected, found: `${client}: ${found}` });
    };
    if (!facts || !exchange) {
      return complain('an answer to a packet of an application', toHex(packet));
    }
    const { options, sourcePort } = exchange;
    if (options.client.name !== client) return complain(options.client.name, client);
    const isError = isIcmpError(facts);
    const inner = isError ? factsOf(packet.subarray(facts.transportOffset + 8)) : facts;
    if (!inner) return complain('an error about a packet', 'an error about nothing');
    const remote = isError ? inner.destination : inner.source;
    if (remote !== options.destination) return complain(options.destination, remote);
    if (options.kind === 'echo') return;
    const [own, other] = isError
      ? [inner.sourcePort, inner.destinationPort]
      : [inner.destinationPort, inner.sourcePort];
    if (own !== sourcePort || other !== options.port) {
      return complain(`ports ${sourcePort} and ${options.port}`, `ports ${own} and ${other}`);
    }
    if (!isError && !isIntact(packet, facts.payloadOffset)) complain('the bytes sent', 'others');
  }

  takeFaults(): readonly Fault[] {
    const taken = this.#faults;
    if (taken.length > 0) this.#faults = [];
    return taken;
  }
}

/** The pattern behind a mark (`writeMark`). */
function isIntact(packet: Uint8Array, offset: number): boolean {
  const mark = markOf(packet);
  const facts = factsOf(packet);
  if (!mark || facts?.protocol !== 17) return true;
  for (let i = 11; offset + i < packet.length; i++) {
    if (packet[offset + i] !== ((mark.exchange + i) & 255)) return false;
  }
  return true;
}
