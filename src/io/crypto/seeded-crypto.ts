// The real primitives with a predictable source of random bytes, so that a test or a simulation repeats byte for byte.
// Never for anything that leaves the test bench.

import type { CryptoProvider } from '../../base/crypto.ts';
import { SeededRandom } from '../../base/random.ts';
import { createNodeCrypto } from './node-crypto.ts';

export function createSeededCrypto(seed: number): CryptoProvider {
  const random = new SeededRandom(seed);
  return createNodeCrypto((length) => {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) bytes[i] = random.nextUint32();
    return bytes;
  });
}
