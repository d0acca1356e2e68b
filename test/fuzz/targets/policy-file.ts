// Policy files: any text is a policy or a list of faults, each at a place inside the text, and never an exception.

import { utf8Decode } from '../../../src/base/bytes.ts';
import { createSeededCrypto } from '../../../src/io/crypto/seeded-crypto.ts';
import { formatFaults, loadPolicyText } from '../../../src/io/portal/policy-file.ts';
import { MemoryStore } from '../../../src/roles/portal/store.ts';

export const name = 'policy-file';
export const kind = 'bytes';

const crypto = createSeededCrypto(1);

export function run(bytes: Uint8Array): void {
  const text = utf8Decode(bytes);
  if (text === undefined) return;
  const loaded = loadPolicyText(text, { crypto, ids: new MemoryStore() });
  if (loaded.kind !== 'faults') return;
  if (loaded.faults.length === 0) throw new Error('faults without a fault');
  const lines = text.split(/\r\n|\r|\n/).length;
  for (const { line, column, problem } of loaded.faults) {
    if (line < 1 || line > lines + 1 || column < 1 || problem === '')
      throw new Error(`a fault at ${line}:${column} of ${lines} lines: ${problem}`);
  }
  formatFaults('policy.yaml', loaded.faults);
}
