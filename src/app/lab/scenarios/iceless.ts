// Scenarios without ICE (iceless): paths that probes find, downloads across a change of networks in both modes, and a change of the mode itself.

import { expect } from '../expectations.ts';
import { downloadDigest, fetchOk } from '../http.ts';
import type { Lab } from '../lab.ts';
import { patternDigest } from '../resource-server.ts';
import { DIRECT, RELAYED, type ScenarioNetwork } from '../router-rules.ts';
import type { Scenario } from '../scenario.ts';
import { expectPath } from './reach.ts';

const RATE = 4_000_000;
const ROAM_BYTES = 5 * RATE;
/** With the half second for which there is no network at all. */
const MAX_SILENCE_SECONDS = 2;

const DIRECT_ICELESS: ScenarioNetwork = { ...DIRECT, iceless: true };
const RELAYED_ICELESS: ScenarioNetwork = { ...RELAYED, iceless: true };

async function reach(lab: Lab, kind: 'direct' | 'relayed'): Promise<string> {
  const page = await fetchOk(lab, lab.urls.httpIpv4);
  expect((await modeOf(lab)) === 'iceless', 'the connection is one with ICE');
  return `${await expectPath(lab, kind)}, first page in ${page.milliseconds} ms`;
}

/**
 * A download across the move, and beside it a trickle of ten lines a second: the server's pace catches up after a pause, so that only the trickle shows how
 * long there was silence.
 */
async function roam(lab: Lab): Promise<string> {
  await fetchOk(lab, lab.urls.httpIpv4);
  const mode = await modeOf(lab);
  const keyBefore = await lab.clientPublicKey();
  const flow = lab.watchFlow(lab.urls.slowHttp);
  try {
    const download = downloadDigest(lab, `${lab.urls.bytes(ROAM_BYTES)}&rate=${RATE}`, 60_000);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    await lab.roamClient();
    const { digest } = await download;
    expect(digest === patternDigest(ROAM_BYTES), 'the download has the wrong checksum');
    const isSameKey = keyBefore === (await lab.clientPublicKey());
    expect(
      isSameKey === (mode === 'iceless'),
      `${mode}: the key is ${isSameKey ? 'the same' : 'new'}`,
    );
    const silence = flow.longestGapMs() / 1_000;
    expect(flow.lines() > 0, 'the trickle never began');
    expect(silence <= MAX_SILENCE_SECONDS, `${mode}: silence of ${silence.toFixed(1)} s`);
    return `${mode}: silence of ${silence.toFixed(1)} s, ${isSameKey ? 'same' : 'new'} key`;
  } finally {
    flow.stop();
  }
}

/** The account changes its mind twice; each next authorization makes a new connection. */
async function switchMode(lab: Lab): Promise<string> {
  const seen: string[] = [];
  try {
    for (const iceless of [false, true]) {
      lab.policy.edit((policy) => {
        policy.settings = { iceless };
      });
      await lab.settlePolicy();
      await lab.restart('client');
      await lab.waitUntilReady();
      await fetchOk(lab, lab.urls.httpIpv4);
      seen.push(await modeOf(lab));
    }
  } finally {
    lab.policy.restore();
    await lab.settlePolicy();
  }
  expect(seen.join() === 'ice,iceless', `the modes were ${seen.join()}`);
  return 'ICE after the switch, none after the next';
}

/** Of the client's connection. */
async function modeOf(lab: Lab): Promise<'ice' | 'iceless' | 'none'> {
  const state = await lab.state('client');
  const client = state?.['client'] as { node?: { connections?: object[] } } | undefined;
  const [connection] = client?.node?.connections ?? [];
  if (connection === undefined) return 'none';
  return 'iceless' in connection ? 'iceless' : 'ice';
}

export const ICELESS: readonly Scenario[] = [
  { name: 'iceless-direct', network: DIRECT_ICELESS, run: (lab) => reach(lab, 'direct') },
  { name: 'iceless-download-roaming', network: DIRECT_ICELESS, run: roam },
  { name: 'iceless-switch', network: DIRECT_ICELESS, run: switchMode },
  { name: 'iceless-relayed', network: RELAYED_ICELESS, run: (lab) => reach(lab, 'relayed') },
  { name: 'iceless-relayed-download-roaming', network: RELAYED_ICELESS, run: roam },
  { name: 'ice-download-roaming', network: DIRECT, run: roam },
];
