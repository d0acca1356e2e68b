// Randomness is handed in. `Random` is for jitter, tie-breaks and choices; keys, transaction ids and
// credentials come from `CryptoProvider.randomBytes`.

export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
}

/** Uniform integer in [0, bound). */
export function randomBelow(random: Random, bound: number): number {
  return Math.floor(random.next() * bound);
}

/** A small seedable generator (xoshiro128**) for tests and simulations; not for secrets. */
export class SeededRandom implements Random {
  readonly #state = new Uint32Array(4);

  constructor(seed: number) {
    let z = seed >>> 0;
    for (let i = 0; i < 4; i++) {
      z = (z + 0x9e3779b9) >>> 0;
      let x = z;
      x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
      x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
      this.#state[i] = x ^ (x >>> 16);
    }
  }

  next(): number {
    return this.nextUint32() / 0x1_0000_0000;
  }

  nextUint32(): number {
    const s = this.#state;
    const s1 = s[1] as number;
    const rotated = Math.imul(s1, 5);
    const result = Math.imul((rotated << 7) | (rotated >>> 25), 9) >>> 0;
    const t = s1 << 9;
    s[2] = (s[2] as number) ^ (s[0] as number);
    s[3] = (s[3] as number) ^ s1;
    s[1] = s1 ^ (s[2] as number);
    s[0] = (s[0] as number) ^ (s[3] as number);
    s[2] = (s[2] as number) ^ t;
    const s3 = s[3] as number;
    s[3] = (s3 << 11) | (s3 >>> 21);
    return result;
  }
}
