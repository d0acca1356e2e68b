// Packets that come in fragments, from this host or out of a tunnel: put together under budgets, so that they can be decided like any
// other packet. Cold.

import { viewOf } from '../../base/bytes.ts';
import type { Counters } from '../../base/counters.ts';
import type { PeerId } from '../../base/ids.ts';
import type { Instant } from '../../base/time.ts';
import {
  type FragmentDrop,
  Reassembly,
  type WholePacket,
} from '../../proto/fragments/reassembly.ts';
import { type ParsedPacket, parsePacket } from '../../wire/ip/parsed-packet.ts';

/** All packets of this host share one budget. */
const THIS_HOST = 'host';

export class Fragments {
  readonly #drops: Pick<Counters<FragmentDrop | 'malformed'>, 'add'>;
  readonly #outgoing = new Reassembly();
  readonly #incoming = new Reassembly();

  constructor(drops: Pick<Counters<FragmentDrop | 'malformed'>, 'add'>) {
    this.#drops = drops;
  }

  /** The whole packet, parsed to `target`, when `fragment` completes it. `from`: whose tunnel, or `undefined`: this host. */
  take(
    from: PeerId | undefined,
    fragment: Uint8Array,
    target: ParsedPacket,
    now: Instant,
  ): WholePacket | undefined {
    this.handleTimeout(now);
    const reassembly = from === undefined ? this.#outgoing : this.#incoming;
    const outcome = reassembly.add(from ?? THIS_HOST, fragment, now);
    if (outcome.kind === 'held') return undefined;
    if (outcome.kind === 'dropped') return this.#drop(outcome.reason);
    const { bytes } = outcome.packet;
    const isParsed = parsePacket(viewOf(bytes), 0, bytes.length, target) === 'parsed';
    return isParsed ? outcome.packet : this.#drop('malformed');
  }

  /** Packets that did not become whole in time are dropped, and counted as one each. */
  handleTimeout(now: Instant): void {
    const count = this.#outgoing.handleTimeout(now) + this.#incoming.handleTimeout(now);
    if (count > 0) this.#drops.add('fragment-timeout', count);
  }

  #drop(reason: FragmentDrop | 'malformed'): undefined {
    this.#drops.add(reason);
  }
}
