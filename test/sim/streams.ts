// All chance of a world, from one seed. Whoever needs chance asks for a stream of its own by name, so that one more draw in one place does not shift what
// happens in all others.

import { SeededRandom } from '../../src/base/random.ts';

export class Streams {
  readonly seed: number;

  constructor(seed: number) {
    this.seed = seed;
  }

  /** The same name always gives the same stream, from its beginning. */
  of(name: string): SeededRandom {
    return new SeededRandom(this.number(name));
  }

  /** A seed for whoever makes its own generator, such as the seeded crypto. */
  number(name: string): number {
    let hash = 0x811c9dc5 ^ Math.imul(this.seed, 0x9e3779b1);
    // FNV-1a, with the seed in its basis.
    for (let i = 0; i < name.length; i++) {
      hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
    }
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
    return (hash ^ (hash >>> 13)) >>> 0;
  }
}
