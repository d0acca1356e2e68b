// Scenarios about operators' mistakes: one clear line that says what to do, the right exit code, and nothing left behind (operations 1.4).

import { expect } from '../expectations.ts';
import type { Lab } from '../lab.ts';
import { DIRECT } from '../router-rules.ts';
import type { Scenario } from '../scenario.ts';

interface Mistake {
  readonly env?: Readonly<Record<string, string>>;
  /** Wraps the command, for example to take a capability away. */
  readonly wrapper?: readonly string[];
  readonly says: RegExp;
  readonly exitCode: number;
}

/** Starts a second gateway on a host of its own and expects it to give up. */
async function givesUp(lab: Lab, mistake: Mistake): Promise<string> {
  const run = await lab.runSpareGateway(mistake.env ?? {}, mistake.wrapper ?? []);
  const last = run.output.trim().split('\n').at(-1) ?? '';
  expect(run.exitCode === mistake.exitCode, `exit code ${run.exitCode}: ${last}`);
  expect(mistake.says.test(run.output), `it said: ${last}`);
  const left = await lab.exec('spare', [
    'sh',
    '-c',
    'ip -o link show | grep -c tun-firezone; nft list tables',
  ]);
  expect(left.stdout.trim() === '0', `left behind: ${left.stdout.trim()}`);
  const line = run.output.split('\n').findLast((text) => mistake.says.test(text)) ?? '';
  return `exit ${run.exitCode}: ${line.replace(/^.*?(Eventloop failed: |firezone-gateway: )/, '').slice(0, 90)}`;
}

export const REFUSE: readonly Scenario[] = [
  {
    name: 'bad-token',
    network: DIRECT,
    run: (lab) =>
      givesUp(lab, {
        env: { FIREZONE_TOKEN: 'not-a-token-of-the-lab' },
        says: /token/,
        exitCode: 1,
      }),
  },
  {
    name: 'duplicate-id',
    network: DIRECT,
    waits: true,
    run: (lab) =>
      givesUp(lab, {
        env: { FIREZONE_ID: lab.gatewayId },
        says: /same FIREZONE_ID/,
        exitCode: 1,
      }),
  },
  {
    name: 'no-portal',
    network: DIRECT,
    waits: true,
    run: (lab) =>
      givesUp(lab, {
        env: { FIREZONE_API_URL: lab.urls.noPortal },
        says: /cannot be reached.*FIREZONE_API_URL/,
        exitCode: 1,
      }),
  },
  {
    name: 'no-tun',
    network: DIRECT,
    run: (lab) =>
      givesUp(lab, {
        wrapper: [
          'unshare',
          '--mount',
          'sh',
          '-c',
          'mount -t tmpfs none /dev/net && exec "$@"',
          'sh',
        ],
        says: /\/dev\/net\/tun.*modprobe tun/,
        exitCode: 1,
      }),
  },
  {
    name: 'no-capability',
    network: DIRECT,
    run: (lab) =>
      givesUp(lab, {
        // Not by another user: a user namespace has none.
        wrapper: ['setpriv', '--inh-caps', '-all', '--bounding-set', '-all'],
        says: /CAP_NET_ADMIN.*setcap/,
        exitCode: 1,
      }),
  },
];
