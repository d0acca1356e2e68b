// The WAN as a program; usage in wan.mjs. Prints "ready" once both devices are in their namespaces, takes changes as lines of JSON on its standard
// input (the flags without dashes), and prints its counters when it ends: on SIGTERM, when nobody is left to write to it, or when a device is gone.

import { spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { PERFECT, type WanConditions, WanLink } from './wan-link.ts';

const FLAGS = ['rtt', 'jitter', 'loss', 'reorder', 'reorder-ms', 'duplicate', 'mbit', 'queue'];
const DEFAULT_REORDER_MS = 10;

interface Place {
  readonly namespace: string;
  readonly device: string;
}

function main(): void {
  const { values } = parseArgs({
    options: {
      left: { type: 'string' },
      right: { type: 'string' },
      seed: { type: 'string', default: '1' },
      ...Object.fromEntries(FLAGS.map((name) => [name, { type: 'string' as const }])),
    },
  });
  const [left, right] = [placeOf(values.left), placeOf(values.right)];
  const wan = new WanLink(`wl${process.pid}`, `wr${process.pid}`, Number(values.seed));
  const change = (flags: Readonly<Record<string, unknown>>): void => {
    const conditions = conditionsOf(flags);
    wan.change(conditions, conditions);
  };
  change(values);
  const end = (): void => {
    console.log(JSON.stringify(wan.counters()));
    wan.close();
    process.exit(0);
  };
  wan.start(end);
  move(wan.left.name, left);
  move(wan.right.name, right);
  createInterface({ input: process.stdin })
    .on('line', (line) => {
      change(JSON.parse(line) as Record<string, unknown>);
      console.log('changed');
    })
    .on('close', end);
  process.on('SIGTERM', end);
  console.log('ready');
}

/** Half of the round trip is added in each direction. */
function conditionsOf(flags: Readonly<Record<string, unknown>>): WanConditions {
  const number = (name: string, otherwise = 0): number => {
    const value = flags[name] === undefined ? otherwise : Number(flags[name]);
    if (!(value >= 0)) throw new Error(`--${name} is not a number`);
    return value;
  };
  const percent = (name: string): number => number(name) / 100;
  return {
    latencyMs: number('rtt') / 2,
    jitterMs: number('jitter'),
    loss: percent('loss'),
    reorder: percent('reorder'),
    reorderMs: number('reorder-ms', DEFAULT_REORDER_MS),
    duplicate: percent('duplicate'),
    queueBytes: number('queue', PERFECT.queueBytes / 1024) * 1024,
    ...(number('mbit') > 0 ? { kilobitsPerSecond: number('mbit') * 1000 } : {}),
  };
}

function placeOf(text: string | undefined): Place {
  const [namespace = '', device = ''] = (text ?? '').split(':');
  if (namespace === '' || device === '') {
    throw new Error('--left and --right are needed, each as NAMESPACE:DEVICE');
  }
  return { namespace, device };
}

/** A device keeps its descriptor wherever it goes. */
function move(name: string, { namespace, device }: Place): void {
  const args = ['link', 'set', name, 'netns', namespace, 'name', device];
  const { status, stderr } = spawnSync('ip', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr.trim()}`);
}

main();
