// Many clients at once: so many start within so much time, connect and ping a resource, in one process over real sockets; what that costs the gateway,
// and how long the slowest waits.
//
//   npm run bench -- clients [--count 1000] [--seconds 10] [--path direct|relayed] [--mode iceless|ice] [--json]
//
// Targets: nobody waits more than 3 s for an answer, the gateway stays under one core. All programs and all clients share this machine's cores. Needs
// root, nftables and curl.

import { readdirSync, readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { LAB_ADDRESSES } from '../../src/app/lab/addresses.ts';
import { Lab } from '../../src/app/lab/lab.ts';
import { DIRECT, RELAYED } from '../../src/app/lab/router-rules.ts';
import {
  type GeneratedResult,
  type GeneratorPlan,
  grantTokens,
  runGenerator,
} from './generator.ts';

const PATIENCE_MS = 30_000;
const LONGEST_WAIT_MS = 3_000;
/** Clients in the crowd are asked for by one file descriptor limit: sockets of both families, portal connections, stand-ins for TUN devices. */
const DESCRIPTORS_PER_CLIENT = 8;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      count: { type: 'string', default: '1000' },
      seconds: { type: 'string', default: '10' },
      path: { type: 'string', default: 'direct' },
      mode: { type: 'string', default: 'iceless' },
      json: { type: 'boolean', default: false },
    },
  });
  const network = values.path === 'relayed' ? RELAYED : DIRECT;
  const lab = await Lab.create({ ...network, keepLogs: false, onProgress: () => {} });
  try {
    await lab.client.stop();
    const plan: GeneratorPlan = {
      apiUrl: lab.portalUrl,
      tokens: await grantTokens(lab, Number(values.count)),
      iceless: values.mode === 'iceless',
      resource: LAB_ADDRESSES.resourceHosts[0].ipv4,
      count: Number(values.count),
      withinMs: Number(values.seconds) * 1_000,
      patienceMs: PATIENCE_MS,
    };
    const { pid } = lab.gateway;
    if (pid === undefined) throw new Error('the gateway does not run');
    const [cpuBefore, startedAt] = [cpuSeconds(pid), performance.now()];
    const limit = `ulimit -n ${1_000 + plan.count * DESCRIPTORS_PER_CLIENT} && exec "$@"`;
    const { code, stdout, stderr } = await lab.exec(
      'client',
      [
        'sh',
        '-c',
        limit,
        'sh',
        process.execPath,
        process.argv[1] ?? '',
        'generator',
        JSON.stringify(plan),
      ],
      plan.withinMs === undefined ? 0 : plan.withinMs + 2 * PATIENCE_MS,
    );
    const seconds = (performance.now() - startedAt) / 1_000;
    const cores = (cpuSeconds(pid) - cpuBefore) / Math.max(Number(values.seconds), 1);
    if (code !== 0)
      throw new Error(`the generator ended with ${code}: ${stderr} ${stdout.slice(-2_000)}`);
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
    const results = lines.filter((line): line is GeneratedResult => typeof line === 'object');
    report({ ...summarize(results), gatewayCores: cores, seconds }, values.json);
  } finally {
    await lab.close();
  }
}

interface Summary {
  readonly clients: number;
  readonly failed: number;
  /** From the start of a client until it may send; milliseconds. */
  readonly usable: Spread;
  /** From its first packet to its first answer. */
  readonly answer: Spread;
  readonly late: number;
  readonly paths: Readonly<Record<string, number>>;
}

interface Spread {
  readonly median: number;
  readonly p99: number;
  readonly max: number;
}

function summarize(results: readonly GeneratedResult[]): Summary {
  const answers = results.flatMap(({ answer }) => (answer === undefined ? [] : [answer]));
  const paths: Record<string, number> = {};
  for (const { path } of results) paths[path] = (paths[path] ?? 0) + 1;
  return {
    clients: results.length,
    failed: results.length - answers.length,
    usable: spread(results.map(({ usable }) => usable)),
    answer: spread(answers),
    late: answers.filter((time) => time > LONGEST_WAIT_MS).length,
    paths,
  };
}

function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (fraction: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(fraction * sorted.length))] ?? Number.NaN;
  return { median: at(0.5), p99: at(0.99), max: at(1) };
}

function report(
  summary: Summary & { readonly gatewayCores: number; readonly seconds: number },
  isJson: boolean,
): void {
  if (isJson) return console.log(JSON.stringify(summary));
  const { clients, failed, late, gatewayCores, seconds, usable, answer, paths } = summary;
  const format = ({ median, p99, max }: Spread): string =>
    `median ${median.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms, slowest ${max.toFixed(0)} ms`;
  console.log(`clients        ${clients} in ${seconds.toFixed(1)} s, ${failed} without an answer`);
  console.log(`until usable   ${format(usable)}`);
  console.log(`first answer   ${format(answer)}; ${late} after more than 3 s`);
  console.log(`paths          ${JSON.stringify(paths)}`);
  console.log(`gateway        ${gatewayCores.toFixed(2)} cores`);
}

/** Run time of all threads of a process, from the scheduler. */
function cpuSeconds(pid: number): number {
  let nanoseconds = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    nanoseconds += Number(
      readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0],
    );
  }
  return nanoseconds / 1e9;
}

if (process.argv[2] === 'generator') await runGenerator(process.argv[3] ?? '');
else await main();
