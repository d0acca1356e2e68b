// Which name server is asked first: the fastest of the last minute, failures counted as slowness (operations 18.6). What is older than
// the window is forgotten, so a server that died is avoided at once and one that came back is tried again. Nothing is probed.

// Implementation
const WINDOW_MS = 60_000;
/** Of one server. */
const MAX_SAMPLES = 32;
/** What a failure counts as; also the end of the scale. */
const FAILURE_MS = 5_000;
/** What a server counts as that was not asked lately: it is tried when the others are slower than this. */
const UNKNOWN_MS = 50;

interface Sample {
  readonly at: number;
  readonly ms: number;
}

export class ServerRanking {
  readonly #samples = new Map<string, Sample[]>();

  /** A server answered after `ms`, or did not. */
  note(server: string, outcome: number | 'failed', now: number): void {
    const samples = this.#samples.get(server) ?? [];
    samples.push({
      at: now,
      ms: outcome === 'failed' ? FAILURE_MS : Math.min(outcome, FAILURE_MS),
    });
    if (samples.length > MAX_SAMPLES) samples.shift();
    this.#samples.set(server, samples);
  }

  /** The servers in the order they should be asked in; equal ones as they are listed. Others are forgotten. */
  rank(servers: readonly string[], now: number): readonly string[] {
    for (const known of this.#samples.keys()) {
      if (!servers.includes(known)) this.#samples.delete(known);
    }
    const scores = new Map(servers.map((server) => [server, this.#score(server, now)]));
    const scoreOf = (server: string): number => scores.get(server) ?? UNKNOWN_MS;
    return [...servers].sort((a, b) => scoreOf(a) - scoreOf(b));
  }

  /** The mean of the window. */
  #score(server: string, now: number): number {
    const recent = (this.#samples.get(server) ?? []).filter(({ at }) => now - at < WINDOW_MS);
    if (recent.length === 0) return UNKNOWN_MS;
    return recent.reduce((sum, { ms }) => sum + ms, 0) / recent.length;
  }
}
