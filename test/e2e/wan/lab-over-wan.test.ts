// The programs over lines that are far, lossy, slow, or mix things up: connections come up and flows go on. Client and gateway each have such a line.

import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LAB_ADDRESSES } from '../../../src/app/lab/addresses.ts';
import { downloadDigest, fetchOk } from '../../../src/app/lab/http.ts';
import { Lab } from '../../../src/app/lab/lab.ts';
import { patternDigest } from '../../../src/app/lab/resource-server.ts';
import { DIRECT, RELAYED, type ScenarioNetwork } from '../../../src/app/lab/router-rules.ts';
import { putWanBefore } from './lab-wan.ts';
import type { Wan, WanFlags } from './wan.ts';

const isMissing =
  process.getuid?.() !== 0 ||
  ['nft', 'curl', 'ping'].some((name) => spawnSync('which', [name]).status !== 0);
if (isMissing) console.warn('skipped: the lab over a WAN needs root, nft, curl and ping');

const RESOURCE = LAB_ADDRESSES.resourceHosts[0].ipv4;

class FarLab {
  readonly lab: Lab;
  readonly #wans: readonly Wan[];

  static async create(network: ScenarioNetwork): Promise<FarLab> {
    const lab = await Lab.create({ ...network, keepLogs: false, onProgress: () => {} });
    const wans = [await putWanBefore(lab, 'gateway'), await putWanBefore(lab, 'client')];
    return new FarLab(lab, wans);
  }

  constructor(lab: Lab, wans: readonly Wan[]) {
    this.lab = lab;
    this.#wans = wans;
  }

  /** Each line gets these conditions; the client starts anew and has no connection yet. */
  async restart(flags: Omit<WanFlags, 'seed'>): Promise<void> {
    await this.lab.client.stop();
    for (const wan of this.#wans) await wan.change(flags);
    this.lab.client.start();
    await this.lab.waitUntilReady();
  }

  async ping(count: number, intervalS: number): Promise<readonly number[]> {
    const command = ['ping', '-n', '-c', `${count}`, '-i', `${intervalS}`, '-W', '5', RESOURCE];
    const { stdout } = await this.lab.exec('client', command);
    return [...stdout.matchAll(/time=([0-9.]+)/g)].map((match) => Number(match[1]));
  }

  async close(): Promise<void> {
    for (const wan of this.#wans) await wan.change({});
    await this.lab.close();
    await Promise.all(this.#wans.map((wan) => wan.stop()));
  }
}

describe.skipIf(isMissing).each([
  ['direct', DIRECT],
  ['relayed', RELAYED],
] as const)('a connection over a WAN, %s', (kind, network) => {
  let far: FarLab | undefined;
  const there = (): FarLab => far ?? expect.unreachable();

  beforeAll(async () => {
    far = await FarLab.create(network);
  });

  afterAll(() => far?.close());

  it('comes up through 20 % loss from end to end, and a download is complete', async () => {
    const { lab } = there();
    await there().restart({ loss: 10.6, rtt: 2 });
    await fetchOk(lab, lab.urls.httpIpv4, { timeoutMs: 60_000 });
    expect(await lab.paths()).toEqual([kind]);
    const { digest } = await downloadDigest(lab, lab.urls.bytes(200_000), 100_000);
    expect(digest).toBe(patternDigest(200_000));
  });

  it('comes up at 100 ms from end to end before a second ping would have', async () => {
    await there().restart({ rtt: 50 });
    const times = await there().ping(5, 1.5);
    expect(times).toHaveLength(5);
    // Three times from end to end at least: policy, handshake, echo.
    expect(times[0]).toBeGreaterThan(200);
    expect(times[0]).toBeLessThan(1_500);
    expect(Math.min(...times)).toBeGreaterThanOrEqual(100);
    expect(Math.min(...times)).toBeLessThan(150);
    expect(await there().lab.paths()).toEqual([kind]);
  });

  it('loses nothing where packets overtake each other', async () => {
    const { lab } = there();
    await there().restart({ rtt: 10, reorder: 10, 'reorder-ms': 8 });
    await fetchOk(lab, lab.urls.httpIpv4);
    const bytes = 10_000_000;
    const { digest } = await downloadDigest(lab, lab.urls.bytes(bytes), 60_000);
    expect(digest).toBe(patternDigest(bytes));
    expect(await there().ping(100, 0.02)).toHaveLength(100);
    for (const role of ['client', 'gateway'] as const) {
      expect(JSON.stringify(await lab.state(role))).not.toMatch(/"(replayed|too-old)":[1-9]/);
    }
  });

  it('keeps a ping usable on a slow line that a download fills', async () => {
    const { lab } = there();
    // 64 KiB at 10 Mbit/s: each line by itself makes a packet wait for at most 52 ms.
    await there().restart({ rtt: 10, mbit: 10, queue: 64 });
    await fetchOk(lab, lab.urls.httpIpv4);
    const bytes = 6_000_000;
    const download = downloadDigest(lab, lab.urls.bytes(bytes), 60_000);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const times = await there().ping(30, 0.1);
    const { digest, seconds } = await download;
    expect(digest).toBe(patternDigest(bytes));
    expect((bytes * 8) / seconds / 1e6).toBeGreaterThan(4);
    expect(times.length).toBeGreaterThanOrEqual(20);
    expect([...times].sort((a, b) => a - b)[Math.floor(times.length / 2)]).toBeLessThan(150);
  });
});
