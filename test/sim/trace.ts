// A running hash of everything that happens in a world: equal for two runs if and only if, as good as certainly, they were the same byte for byte. Two lanes
// of FNV-1a with different bases, and a mixing of both at the end; against chance, not against an enemy.

const PRIME = 0x01000193;

export class TraceHash {
  #low = 0x811c9dc5 | 0;
  #high = 0x2f1b0e27 | 0;

  text(text: string): void {
    for (let i = 0; i < text.length; i++) this.#add(text.charCodeAt(i));
    this.#add(0x10000);
  }

  bytes(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) this.#add(bytes[i] ?? 0);
    this.#add(0x10001);
  }

  /** 16 hexadecimal digits. */
  digest(): string {
    return hex(mixed(this.#low ^ (this.#high >>> 7))) + hex(mixed(this.#high ^ (this.#low << 9)));
  }

  #add(value: number): void {
    this.#low = Math.imul(this.#low ^ value, PRIME);
    this.#high = Math.imul(this.#high ^ value, PRIME + 0x3d2);
    this.#high ^= this.#high >>> 13;
  }
}

function mixed(value: number): number {
  const first = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  const second = Math.imul(first ^ (first >>> 13), 0xc2b2ae35);
  return (second ^ (second >>> 16)) >>> 0;
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0');
}
