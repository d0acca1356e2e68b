// Set-up (scripts/setup.mjs): does nothing where everything is there, and without root says in one line what to run. Needs root to become somebody else.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from './npm-start.ts';

const isRoot = process.getuid?.() === 0;
if (!isRoot) console.warn('skipped: set-up as somebody else needs root');

const SETUP = [process.execPath, join(ROOT, 'scripts', 'setup.mjs')];

describe('set-up', () => {
  it('does nothing and says nothing the second time', () => {
    const [command = '', ...args] = SETUP;
    spawnSync(command, args);
    const second = spawnSync(command, args, { encoding: 'utf8' });
    expect([second.status, second.stdout, second.stderr]).toEqual([0, '', '']);
  });

  it.skipIf(!isRoot)(
    'names the one command to run where packages are missing and it is not root',
    () => {
      const user = ['--reuid', '65534', '--regid', '65534', '--clear-groups'];
      const { status, stdout, stderr } = spawnSync('/usr/bin/setpriv', [...user, ...SETUP], {
        encoding: 'utf8',
        // Only the programs that make the advice possible.
        env: { PATH: join(ROOT, 'test', 'e2e', 'apt-only') },
      });
      expect(stderr).toMatch(
        /^setup: system packages are missing; run: sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev .*'\n$/,
      );
      expect([status, stdout]).toEqual([1, '']);
    },
  );
});
