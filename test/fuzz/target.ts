// What a fuzz target is: a name, which is also its corpus folder, and a function that must neither throw nor hang on any bytes.
// It may throw on purpose when two readings of the same bytes disagree.

export interface FuzzTarget {
  readonly name: string;
  run(bytes: Uint8Array): void;
}

/** One of a few changes that find most faults in parsers: bits, lengths, copies, repetitions. `random` yields [0, 1). */
export function mutate(input: Uint8Array, random: () => number): Uint8Array {
  const below = (bound: number): number => Math.floor(random() * bound);
  let bytes = input.slice();
  for (let round = 1 + below(3); round > 0; round--) {
    const position = below(bytes.length + 1);
    switch (below(7)) {
      case 0:
        if (position < bytes.length) bytes[position] = (bytes[position] ?? 0) ^ (1 << below(8));
        break;
      case 1:
        if (position < bytes.length) bytes[position] = below(256);
        break;
      case 2:
        if (position < bytes.length) bytes[position] = [0, 1, 127, 128, 255][below(5)] ?? 0;
        break;
      case 3:
        bytes = bytes.slice(0, position);
        break;
      case 4:
        bytes = Uint8Array.from([...bytes, ...Array.from({ length: below(40) }, () => below(256))]);
        break;
      case 5:
        bytes = Uint8Array.from([...bytes.slice(0, position), ...bytes.slice(below(position + 1))]);
        break;
      default:
        bytes.copyWithin(position, below(bytes.length + 1), below(bytes.length + 1));
    }
  }
  return bytes.length > MAX_LENGTH ? bytes.slice(0, MAX_LENGTH) : bytes;
}

const MAX_LENGTH = 4096;
