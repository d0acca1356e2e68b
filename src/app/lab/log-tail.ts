// Reads what was appended to a log file since the last time.

import { closeSync, openSync, readSync } from 'node:fs';

// Implementation
const CHUNK_LENGTH = 65_536;

export class LogTail {
  readonly #path: string;
  #offset = 0;
  #partial = '';

  constructor(path: string) {
    this.#path = path;
  }

  /** Whole new lines. */
  readNew(): string[] {
    const file = openSync(this.#path, 'r');
    const buffer = Buffer.alloc(CHUNK_LENGTH);
    try {
      for (let count = 1; count > 0; ) {
        count = readSync(file, buffer, 0, CHUNK_LENGTH, this.#offset);
        this.#offset += count;
        this.#partial += buffer.toString('utf8', 0, count);
      }
    } finally {
      closeSync(file);
    }
    const lines = this.#partial.split('\n');
    this.#partial = lines.pop() ?? '';
    return lines.filter((line) => line !== '');
  }
}
