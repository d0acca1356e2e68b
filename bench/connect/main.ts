// How long a user waits for a connection: from the first packet of an application to its first answer, in the lab, over WANs of several lengths, beside
// what it takes at least.
//
//   npm run bench -- connect [--runs 200] [--rtt 0,20,100] [--paths direct,relayed] [--modes ice,iceless] [--json]
//
// The client's and the gateway's line have half of the round trip each; portal and relay are in the middle. The bound is the portal's round trip (client,
// portal, gateway and back), the relay's (a candidate pair is found), and from end to end the handshake and the first answer. Round trips are measured,
// not assumed. Needs root, nftables, curl and ping.

import { parseArgs } from 'node:util';
import { LAB_ADDRESSES } from '../../src/app/lab/addresses.ts';
import { Lab } from '../../src/app/lab/lab.ts';
import { DIRECT, RELAYED } from '../../src/app/lab/router-rules.ts';
import { putWanBefore } from '../../test/e2e/wan/lab-wan.ts';
import type { Wan } from '../../test/e2e/wan/wan.ts';
import {
  type GeneratedResult,
  type GeneratorPlan,
  grantTokens,
  runGenerator,
} from '../clients/generator.ts';

/** A client has its relays after a few round trips; the user's first packet comes later than that. */
const SETTLE_ROUND_TRIPS = 5;
const SETTLE_MS = 150;
/** So that the portal's limit for each of them does not slow the runs down. */
const TOKENS = 64;
const PATIENCE_MS = 10_000;
const RUN_TIMEOUT_MS = 20 * 60_000;
/** The first ones find cold caches and compilers. */
const WARM_UP_RUNS = 5;
const NETWORKS = { direct: DIRECT, relayed: RELAYED } as const;

interface Bound {
  readonly endToEnd: number;
  readonly total: number;
}

interface Summary {
  readonly path: string;
  readonly mode: string;
  readonly rtt: number;
  readonly runs: number;
  readonly failed: number;
  readonly otherPath: number;
  readonly bound: number;
  /** Milliseconds. */
  readonly min: number;
  readonly median: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
  /** Of the runs, within one measured round trip of the bound (and 10 ms, for computing). */
  readonly withinOneRoundTrip: number;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '200' },
      rtt: { type: 'string', default: '0,20,100' },
      paths: { type: 'string', default: 'direct,relayed' },
      modes: { type: 'string', default: 'ice,iceless' },
      json: { type: 'boolean', default: false },
    },
  });
  const summaries: Summary[] = [];
  for (const path of values.paths.split(',') as (keyof typeof NETWORKS)[]) {
    if (!(path in NETWORKS)) throw new Error(`--paths: there is no ${path}`);
    const far = await FarLab.create(path);
    try {
      for (const rtt of values.rtt.split(',').map(Number)) {
        for (const mode of values.modes.split(',')) {
          const summary = await far.measure(rtt, mode, Number(values.runs));
          summaries.push(summary);
          if (!values.json) console.log(format(summary));
        }
      }
    } finally {
      await far.close();
    }
  }
  if (values.json) console.log(JSON.stringify(summaries));
}

class FarLab {
  readonly #path: string;
  readonly #lab: Lab;
  readonly #wans: readonly Wan[];
  readonly #tokens: readonly string[];

  static async create(path: keyof typeof NETWORKS): Promise<FarLab> {
    const options = { ...NETWORKS[path], keepLogs: false, onProgress: () => {} };
    const lab = await Lab.create(options);
    try {
      const wans = [await putWanBefore(lab, 'gateway'), await putWanBefore(lab, 'client')];
      await lab.client.stop();
      return new FarLab(path, lab, wans, await grantTokens(lab, TOKENS));
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  private constructor(path: string, lab: Lab, wans: readonly Wan[], tokens: readonly string[]) {
    this.#path = path;
    this.#lab = lab;
    this.#wans = wans;
    this.#tokens = tokens;
  }

  async measure(rtt: number, mode: string, runs: number): Promise<Summary> {
    for (const wan of this.#wans) await wan.change({ rtt: rtt / 2 });
    const bound = await this.#bound();
    const plan: GeneratorPlan = {
      apiUrl: this.#lab.portalUrl,
      tokens: this.#tokens,
      iceless: mode === 'iceless',
      resource: LAB_ADDRESSES.resourceHosts[0].ipv4,
      count: runs + WARM_UP_RUNS,
      settleMs: SETTLE_MS + SETTLE_ROUND_TRIPS * rtt,
      patienceMs: PATIENCE_MS,
    };
    const self = [process.execPath, process.argv[1] ?? '', 'generator', JSON.stringify(plan)];
    const { code, stdout, stderr } = await this.#lab.exec('client', self, RUN_TIMEOUT_MS);
    if (code !== 0) throw new Error(`the generator ended with ${code}: ${stderr}`);
    const results = stdout.trim().split('\n').slice(WARM_UP_RUNS);
    const parsed = results.map((line) => JSON.parse(line) as GeneratedResult);
    return summarize({ path: this.#path, mode, rtt, bound }, parsed);
  }

  async close(): Promise<void> {
    await Promise.all(this.#wans.map((wan) => wan.change({})));
    await this.#lab.close();
    await Promise.all(this.#wans.map((wan) => wan.stop()));
  }

  async #bound(): Promise<Bound> {
    const { portal, relay1 } = LAB_ADDRESSES;
    const toPortal = await this.#roundTrip('client', portal.ipv4);
    const toRelay = await this.#roundTrip('client', relay1.ipv4);
    const gatewayToPortal = await this.#roundTrip('gateway', portal.ipv4);
    const gatewayToRelay = await this.#roundTrip('gateway', relay1.ipv4);
    const endToEnd = toRelay + gatewayToRelay;
    return { endToEnd, total: toPortal + gatewayToPortal + toRelay + 2 * endToEnd };
  }

  async #roundTrip(from: 'client' | 'gateway', to: string): Promise<number> {
    const command = ['ping', '-n', '-c', '20', '-i', '0.02', to];
    const { stdout } = await this.#lab.exec(from, command);
    const times = [...stdout.matchAll(/time=([0-9.]+)/g)].map((match) => Number(match[1]));
    if (times.length === 0) throw new Error(`${to} does not answer`);
    return quantile(times, 0.5);
  }
}

function summarize(
  about: { readonly path: string; readonly mode: string; readonly rtt: number; bound: Bound },
  results: readonly GeneratedResult[],
): Summary {
  const times = results.flatMap(({ answer }) => (answer === undefined ? [] : [answer]));
  const { path, mode, rtt, bound } = about;
  const enough = bound.total + bound.endToEnd + 10;
  return {
    path,
    mode,
    rtt,
    runs: results.length,
    failed: results.length - times.length,
    otherPath: results.filter((result) => result.path !== path).length,
    bound: bound.total,
    min: quantile(times, 0),
    median: quantile(times, 0.5),
    p90: quantile(times, 0.9),
    p99: quantile(times, 0.99),
    max: quantile(times, 1),
    withinOneRoundTrip: times.filter((time) => time <= enough).length,
  };
}

function quantile(values: readonly number[], fraction: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(fraction * sorted.length))] ?? Number.NaN;
}

function format(summary: Summary): string {
  const ms = (value: number): string => value.toFixed(0).padStart(5);
  const { path, mode, rtt, runs, failed, otherPath, bound, min, median, p90, p99, max } = summary;
  return (
    `${path.padEnd(8)} ${mode.padEnd(8)} rtt ${ms(rtt)} ms | bound ${ms(bound)} | min ${ms(min)} median ${ms(median)} ` +
    `p90 ${ms(p90)} p99 ${ms(p99)} max ${ms(max)} | within one round trip ${summary.withinOneRoundTrip}/${runs}` +
    (failed + otherPath > 0 ? ` | failed ${failed}, other path ${otherPath}` : '')
  );
}

if (process.argv[2] === 'generator') await runGenerator(process.argv[3] ?? '');
else await main();
