// `npm run bench -- start`: how long `npm start` takes where everything is set up already, twice: until the first line of the lab, until the lab says
// that it is ready, and until a page has come through the tunnel. Needs root. The machine should be quiet: the load average is printed beside the times.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { loadavg } from 'node:os';

// Implementation
const ROUNDS = 2;
const FIRST_LINE = /^lab: /m;
const READY = /The lab is ready/;
/** The first of the lines that the screen offers. */
const TRY_THIS = /^ {2}(ip netns exec \S+ curl \S+)$/m;
const TIMEOUT_MS = 60_000;

interface Times {
  readonly firstLine: number;
  readonly ready: number;
  readonly firstPage: number;
}

class Start {
  readonly #child: ChildProcess;
  readonly #startedAt = performance.now();
  #output = '';
  #error = '';

  constructor() {
    this.#child = spawn('npm', ['start'], { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child.stdout?.on('data', (chunk) => {
      this.#output += chunk;
    });
    this.#child.stderr?.on('data', (chunk) => {
      this.#error += chunk;
    });
  }

  get output(): string {
    return this.#output;
  }

  /** Milliseconds from the start until `pattern` was printed. */
  async printed(pattern: RegExp): Promise<number> {
    while (!pattern.test(this.#output)) {
      const elapsed = performance.now() - this.#startedAt;
      if (this.#child.exitCode !== null || elapsed > TIMEOUT_MS) {
        throw new Error(`npm start did not print ${pattern}:\n${this.#output}${this.#error}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return this.elapsed();
  }

  elapsed(): number {
    return Math.round(performance.now() - this.#startedAt);
  }

  /** As Ctrl-C does: the whole process group. */
  async interrupt(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    if (this.#child.exitCode !== null) return;
    process.kill(-(this.#child.pid ?? 0), 'SIGINT');
    await ended;
  }
}

async function measure(): Promise<Times> {
  const start = new Start();
  try {
    const firstLine = await start.printed(FIRST_LINE);
    const ready = await start.printed(READY);
    await start.printed(TRY_THIS);
    const command = TRY_THIS.exec(start.output)?.[1] ?? 'false';
    const page = spawnSync('sh', ['-c', `${command} --silent --fail`], { encoding: 'utf8' });
    if (page.status !== 0) throw new Error(`\`${command}\` failed with ${page.status}`);
    return { firstLine, ready, firstPage: start.elapsed() };
  } finally {
    await start.interrupt();
  }
}

if (process.getuid?.() !== 0) {
  console.log('skipped: needs root');
  process.exit(0);
}
console.log('npm start, everything set up; goals: first line 2.0 s, ready 5.0 s');
for (let round = 1; round <= ROUNDS; round++) {
  const load = loadavg()[0]?.toFixed(1);
  const { firstLine, ready, firstPage } = await measure();
  const seconds = (milliseconds: number): string => `${(milliseconds / 1_000).toFixed(2)} s`;
  console.log(
    `  start ${round}: first line ${seconds(firstLine)}, ready ${seconds(ready)}, first page ${seconds(firstPage)} (load ${load})`,
  );
}
