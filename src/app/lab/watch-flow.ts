// A flow that can be watched: an HTTP response that trickles ten lines a second into a curl on the client.

import { execFile } from 'node:child_process';
import type { LabNetwork } from './topology.ts';

export interface Flow {
  /** Lines that have arrived. */
  readonly lines: () => number;
  /** Wall-clock time of the last one, in milliseconds; 0 before the first. */
  readonly lastLineAt: () => number;
  /** The longest time without a line since the first one, until now. */
  readonly longestGapMs: () => number;
  readonly isRunning: () => boolean;
  readonly stop: () => void;
}

export function watchFlow(network: LabNetwork, url: string): Flow {
  let [lines, lastLineAt, longestGap, isRunning] = [0, 0, 0, true];
  const gap = (): number => (lines === 0 ? 0 : Date.now() - lastLineAt);
  const child = execFile(
    'ip',
    ['netns', 'exec', network.namespaceOf('client'), 'curl', '--silent', '--no-buffer', url],
    () => {
      isRunning = false;
    },
  );
  child.stdout?.on('data', (text: string) => {
    longestGap = Math.max(longestGap, gap());
    lines += text.split('\n').length - 1;
    lastLineAt = Date.now();
  });
  return {
    lines: () => lines,
    lastLineAt: () => lastLineAt,
    longestGapMs: () => Math.max(longestGap, gap()),
    isRunning: () => isRunning,
    stop: () => void child.kill('SIGKILL'),
  };
}
