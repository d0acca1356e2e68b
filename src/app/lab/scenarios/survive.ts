// Scenarios about what must not hurt, or only for a moment: a client that moves, programs that restart, a portal that is away, and bulk in both
// directions with every byte right.

import { createHash } from 'node:crypto';
import { type DualAddress, LAB_ADDRESSES, LAB_ROUTERS } from '../addresses.ts';
import { eventually, expect } from '../expectations.ts';
import { downloadDigest, fetchOk, isReachable } from '../http.ts';
import type { Lab } from '../lab.ts';
import { patternDigest } from '../resource-server.ts';
import { DIRECT, RELAYED } from '../router-rules.ts';
import type { Scenario } from '../scenario.ts';

const MEGABYTE = 1_000_000;
const ROAM_BYTES = 20 * MEGABYTE;
const BULK_BYTES = 50 * MEGABYTE;
/** Where the gateway's host is after it moved. */
const GATEWAY_ELSEWHERE: DualAddress = { ipv4: '10.31.0.101', ipv6: '2001:db8:31::101' };
/** Of a flow beside a download, whose own pace catches up after a pause; for each of two moves. */
const MAX_SILENCE_SECONDS = 2;
const BACK_WITHIN_MS = 30_000;

async function reachable(lab: Lab): Promise<number> {
  const startedAt = Date.now();
  await eventually('traffic is back', BACK_WITHIN_MS, async () =>
    (await isReachable(lab, lab.urls.httpIpv4)) ? true : undefined,
  );
  return Date.now() - startedAt;
}

async function roam(lab: Lab): Promise<string> {
  await fetchOk(lab, lab.urls.httpIpv4);
  const keyBefore = await lab.clientPublicKey();
  const download = downloadDigest(lab, `${lab.urls.bytes(ROAM_BYTES)}&rate=4000000`, 60_000);
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  await lab.roamClient();
  const { digest, seconds } = await download;
  expect(digest === patternDigest(ROAM_BYTES), 'the download has the wrong checksum');
  const keyAfter = await lab.clientPublicKey();
  expect(keyBefore !== keyAfter, 'the client reset with a new key');
  return `20 MB in ${seconds.toFixed(1)} s across the move, new key`;
}

/** The gateway's host gets other addresses in the middle of a download (connectivity 14.15, 14.19), and its first ones again. */
async function moveGateway(lab: Lab): Promise<string> {
  await fetchOk(lab, lab.urls.httpIpv4);
  const flow = lab.watchFlow(lab.urls.slowHttp);
  try {
    const download = downloadDigest(lab, `${lab.urls.bytes(ROAM_BYTES)}&rate=4000000`, 60_000);
    await eventually('the flow runs', 5_000, async () => (flow.lines() > 5 ? true : undefined));
    await readdressGateway(lab, GATEWAY_ELSEWHERE);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    await readdressGateway(lab, LAB_ADDRESSES.gateway);
    const { digest, seconds } = await download;
    expect(digest === patternDigest(ROAM_BYTES), 'the download has the wrong checksum');
    const silence = flow.longestGapMs() / 1_000;
    expect(silence <= MAX_SILENCE_SECONDS, `the flow stood still for ${silence.toFixed(1)} s`);
    return `20 MB in ${seconds.toFixed(1)} s across two moves, silence of ${silence.toFixed(1)} s`;
  } finally {
    flow.stop();
  }
}

async function readdressGateway(lab: Lab, { ipv4, ipv6 }: DualAddress): Promise<void> {
  const router = LAB_ROUTERS['gateway-router'].inside;
  const commands = [
    'address flush dev eth0 scope global',
    `address add ${ipv4}/24 dev eth0`,
    `route replace default via ${router.ipv4}`,
    `-6 address add ${ipv6}/64 dev eth0 nodad`,
    `-6 route replace default via ${router.ipv6}`,
  ];
  for (const command of commands) await lab.exec('gateway', ['ip', ...command.split(' ')]);
}

async function portalDown(lab: Lab): Promise<string> {
  await fetchOk(lab, lab.urls.httpIpv4);
  await lab.portal.stop('SIGKILL');
  try {
    for (let i = 0; i < 5; i++) {
      await fetchOk(lab, lab.urls.httpIpv4);
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  } finally {
    await lab.startPortal();
    await lab.waitUntilReady();
  }
  return 'five pages while the portal was away';
}

async function restart(lab: Lab, who: 'gateway' | 'portal' | 'relay'): Promise<string> {
  await fetchOk(lab, lab.urls.httpIpv4);
  await lab.restart(who);
  const took = await reachable(lab);
  await lab.waitUntilReady();
  return `traffic ${took < 1_000 ? 'never stopped' : `was back after ${(took / 1_000).toFixed(1)} s`}`;
}

async function bulk(lab: Lab): Promise<string> {
  await fetchOk(lab, lab.urls.httpIpv4);
  const quietBefore = lab.warnings().length;
  const down = await downloadDigest(lab, lab.urls.bytes(BULK_BYTES), 60_000);
  expect(down.digest === patternDigest(BULK_BYTES), 'the download has the wrong checksum');
  const script = `head -c ${BULK_BYTES} /dev/zero | curl --silent --fail --max-time 60 -T - '${lab.urls.upload}'`;
  const startedAt = performance.now();
  const up = await lab.exec('client', ['bash', '-c', script]);
  const upSeconds = (performance.now() - startedAt) / 1_000;
  const zeros = createHash('sha256').update(Buffer.alloc(BULK_BYTES)).digest('hex');
  expect(
    up.stdout.trim() === `${BULK_BYTES} ${zeros}`,
    `the upload arrived as ${up.stdout.trim()}`,
  );
  const warnings = lab.warnings().slice(quietBefore);
  expect(warnings.length === 0, `logged at WARN: ${warnings[0]}`);
  const rate = (seconds: number): string => ((BULK_BYTES * 8) / seconds / 1e9).toFixed(2);
  return `down ${rate(down.seconds)} Gbit/s, up ${rate(upSeconds)} Gbit/s`;
}

export const SURVIVE: readonly Scenario[] = [
  { name: 'roam', network: DIRECT, run: roam },
  { name: 'gateway-moves', network: DIRECT, run: moveGateway },
  { name: 'gateway-restart', network: DIRECT, run: (lab) => restart(lab, 'gateway') },
  { name: 'portal-restart', network: DIRECT, run: (lab) => restart(lab, 'portal') },
  { name: 'portal-down', network: DIRECT, run: portalDown },
  { name: 'relay-restart', network: RELAYED, run: (lab) => restart(lab, 'relay') },
  { name: 'download-direct', network: DIRECT, run: bulk },
  { name: 'download-relayed', network: RELAYED, run: bulk },
];
