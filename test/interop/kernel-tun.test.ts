// The native add-on against the real kernel: a TUN device, its interface, offloads both ways, a network that blocks. Each scenario
// runs in a network namespace of its own.

import { spawnSync } from 'node:child_process';
import { accessSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { beforeAll, describe, expect, it } from 'vitest';

const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const bundle = path('../../build/interop/kernel-scenarios.mjs');

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root for a network namespace';
  try {
    accessSync('/dev/net/tun');
  } catch {
    return 'there is no /dev/net/tun';
  }
  const probe = spawnSync('unshare', ['--net', 'ip', 'link'], { stdio: 'ignore' });
  return probe.status === 0 ? undefined : 'cannot make a network namespace';
}

function scenario(name: string): { readonly [key: string]: unknown } {
  const result = spawnSync('unshare', ['--net', process.execPath, bundle, name], {
    encoding: 'utf8',
  });
  if (result.status !== 0) throw new Error(result.stderr);
  return JSON.parse(result.stdout);
}

const reason = whyNot();

describe.skipIf(reason !== undefined)(
  `the kernel's TUN${reason ? ` (skipped: ${reason})` : ''}`,
  () => {
    beforeAll(async () => {
      await build({
        entryPoints: [path('support/kernel-scenarios.ts')],
        outfile: bundle,
        bundle: true,
        platform: 'node',
        format: 'esm',
        target: 'node20',
        packages: 'external',
        logLevel: 'warning',
      });
    });

    it('takes addresses, routes and rules, changes only what differs, and gives the rules back', () => {
      expect(scenario('interface')).toMatchObject({
        families: [4, 6],
        problems: 0,
        link: [
          {
            mtu: 1280,
            txqlen: 10_000,
            addr_info: [
              { local: '100.64.0.2', prefixlen: 32 },
              { local: 'fd00:2021:1111::1', prefixlen: 128 },
            ],
          },
        ],
        routes4: [{ dst: '100.64.0.0/11', protocol: 'static' }],
        routes6: [{ dst: 'fd00:2021:1111::/107', protocol: 'static' }],
        rules: true,
        left: false,
      });
    });

    it.each(['echo4', 'echo6'])('gives and takes UDP super-packets: %s', (name) => {
      const result = scenario(name);
      expect(result).toMatchObject({ forwarded: 20, packets: 20, written: 20, bytes: 10_000 });
      expect(result['superPackets']).toBe(1);
    });

    it('lets sends wait in order when the network blocks, and loses none of them', () => {
      const result = scenario('slow');
      expect(result).toMatchObject({ isBlocked: false, dropped: 0, inOrder: true, controls: 1 });
      expect(result['control']).toBe('sent');
      expect(result['blocked']).toBeGreaterThan(0);
      expect(result['drained']).toBeGreaterThan(0);
      expect(result['received']).toBe(result['sent']);
    });
  },
);
