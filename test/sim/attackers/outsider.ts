// Somebody on the Internet who has no key, sees datagrams arrive, and sends from any address: what it saw again, to whom it came from, with bits turned, or made
// up handshakes and noise. Nothing of it may reach anybody or do harm (connectivity 11, relay 8, data-plane 15).

import { endpoint, type IpAddress } from '../../../src/base/address.ts';
import { Dice } from '../dice.ts';
import type { Datagram, NetworkTap } from '../network/datagram.ts';
import type { Attack } from '../steps/step.ts';
import type { World } from '../world.ts';

const MEMORY = 64;
const AGAIN = 80;
const HANDSHAKES = 200;
const OWN = endpoint('5.66.6.6' as IpAddress, 4_444);

export class Outsider {
  readonly tap: NetworkTap;
  readonly #world: World;
  readonly #seen: Datagram[] = [];
  #next = 0;

  constructor(world: World) {
    this.#world = world;
    this.tap = {
      // As it was on the Internet: where an answer would go.
      delivered: (datagram) => {
        this.#seen[this.#next] = datagram;
        this.#next = (this.#next + 1) % MEMORY;
      },
    };
  }

  attack(what: Extract<Attack, { by: 'outsider' }>['what'], seed: number): void {
    if (this.#seen.length === 0) return;
    const dice = new Dice(seed);
    const times = what === 'handshakes' ? HANDSHAKES : AGAIN;
    for (let i = 0; i < times; i++) this.#send(this.#made(what, dice.pick(this.#seen), dice));
  }

  #made(what: string, seen: Datagram, dice: Dice): Datagram {
    const source = dice.chance(0.5) ? seen.source : OWN;
    const forged = { ...seen, source, origin: 'outsider' };
    switch (what) {
      case 'reflect':
        return { ...forged, source: seen.destination, destination: seen.source };
      case 'mutate':
        return { ...forged, payload: mutated(seen.payload, dice) };
      case 'handshakes':
        return { ...forged, payload: handshake(dice) };
      case 'noise':
        return { ...forged, payload: noise(dice) };
      default:
        return forged;
    }
  }

  /** Straight to the host it was for, past its NAT as well: the worst case. */
  #send(datagram: Datagram): void {
    const { network } = this.#world;
    const { address } = datagram.destination;
    const host = network.hosts.find(({ addresses }) => addresses.includes(address));
    host?.receive(datagram, network.now);
  }
}

function mutated(payload: Uint8Array, dice: Dice): Uint8Array {
  const copy = payload.slice(0, dice.chance(0.2) ? dice.below(payload.length + 1) : undefined);
  for (let flips = dice.between(1, 4); flips > 0 && copy.length > 0; flips--) {
    const at = dice.below(copy.length);
    copy[at] = (copy[at] ?? 0) ^ (1 << dice.below(8));
  }
  return copy;
}

/** A WireGuard initiation in form only (WireGuard §5.4.2). */
function handshake(dice: Dice): Uint8Array {
  const bytes = new Uint8Array(148).map(() => dice.below(256));
  bytes.set([1, 0, 0, 0]);
  return bytes;
}

function noise(dice: Dice): Uint8Array {
  const bytes = new Uint8Array(dice.below(1_400)).map(() => dice.below(256));
  const heads = [
    [4, 0, 0, 0],
    [2, 0, 0, 0],
    [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42],
    [0x40, 0],
  ];
  bytes.set(dice.pick(heads).slice(0, bytes.length));
  return bytes;
}
