// The recorded portal conversations of `test/vectors/portal` (origin: test/vectors/SOURCES.md).

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const FOLDER = join(dirname(fileURLToPath(import.meta.url)), '../vectors/portal');

export interface RecordedFrame {
  readonly component: 'gateway' | 'client' | 'relay';
  readonly direction: 'to-portal' | 'from-portal';
  readonly frame: {
    readonly topic: string;
    readonly event: string;
    readonly payload: unknown;
    readonly ref: number | null;
  };
}

export interface RecordedUpgrade {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

export function recordedFrames(generation: '1.3' | '1.5' | '1.6'): RecordedFrame[] {
  return readLines(`generation-${generation}.ndjson`) as RecordedFrame[];
}

export function recordedUpgrades(): RecordedUpgrade[] {
  return readLines('upgrades.ndjson') as RecordedUpgrade[];
}

function readLines(file: string): unknown[] {
  const lines = readFileSync(join(FOLDER, file), 'utf8').split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as unknown);
}
