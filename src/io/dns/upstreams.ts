// The host's name servers, asked as one (data-plane 9.7, operations 10): in the order of their rank, the next one as soon as one
// refuses, and beside it as soon as one is slow. The first answer that decides something counts. What resolv.conf says is taken over
// when it changes, and said in the log.

import type { Log } from '../../base/log.ts';
import { DNS_RCODE } from '../../wire/dns/message.ts';
import { type AskOutcome, askServer, type DnsTransport } from './ask-server.ts';
import type { HostFiles, ResolvConfSettings } from './host-files.ts';
import { ServerRanking } from './server-ranking.ts';

// Specification (RFC 1035 §4.2)
const DNS_PORT = 53;

// Implementation
/** A server that has not answered for so long gets company; it may still be the first. */
const PATIENCE_MS = 400;
/** Of one try, unless `options timeout` says otherwise. */
const TRY_MS = 5_000;
/** Rounds through all servers, unless `options attempts` says otherwise. */
const ATTEMPTS = 2;

export interface UpstreamOptions {
  readonly files: HostFiles;
  readonly log: Log;
  /** Of all name servers; others than 53 are for tests. */
  readonly port?: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

/** `either`: over UDP, and over TCP if the answer was truncated. */
export type UpstreamTransport = DnsTransport | 'either';

interface Race {
  readonly query: Uint8Array;
  readonly transport: UpstreamTransport;
  readonly candidates: readonly string[];
  readonly tryMs: number;
}

export type UpstreamOutcome =
  | { readonly kind: 'answered'; readonly answer: Uint8Array }
  | { readonly kind: 'failed'; readonly reason: 'timeout' | 'no-name-servers' };

export class Upstreams {
  readonly #files: HostFiles;
  readonly #log: Log;
  readonly #port: number;
  readonly #now: () => number;
  readonly #ranking = new ServerRanking();
  #settings: ResolvConfSettings | undefined;

  constructor(options: UpstreamOptions) {
    this.#files = options.files;
    this.#log = options.log;
    this.#port = options.port ?? DNS_PORT;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Never rejects. Without an answer that decides, one that says it cannot (SERVFAIL, REFUSED) is better than none. */
  async ask(
    query: Uint8Array,
    transport: UpstreamTransport,
    withinMs: number,
  ): Promise<UpstreamOutcome> {
    const settings = await this.#read();
    const { servers, attempts = ATTEMPTS, timeoutMs = TRY_MS } = settings;
    if (servers.length === 0) return { kind: 'failed', reason: 'no-name-servers' };
    const ranked = this.#ranking.rank(servers, this.#now());
    const candidates = Array.from({ length: attempts }, () => ranked).flat();
    const race = { query, transport, candidates, tryMs: Math.min(withinMs, timeoutMs) };
    return this.#race(race, withinMs);
  }

  #race(race: Race, withinMs: number): Promise<UpstreamOutcome> {
    return new Promise((resolve) => {
      const others = new AbortController();
      let [next, running] = [0, 0];
      let refusal: Uint8Array | undefined;
      let company: NodeJS.Timeout | undefined;
      const finish = (answer: Uint8Array | undefined): void => {
        clearTimeout(company);
        clearTimeout(end);
        others.abort();
        resolve(answer ? { kind: 'answered', answer } : { kind: 'failed', reason: 'timeout' });
      };
      const end = setTimeout(() => finish(refusal), withinMs);
      const askNext = (): void => {
        clearTimeout(company);
        if (others.signal.aborted) return;
        const server = race.candidates[next++];
        if (server === undefined) {
          if (running === 0) finish(refusal);
          return;
        }
        running++;
        company = setTimeout(askNext, PATIENCE_MS);
        void this.#askOne(race, server, others.signal).then((outcome) => {
          running--;
          if (others.signal.aborted) return;
          if (outcome.kind === 'answered' && decides(outcome.answer)) return finish(outcome.answer);
          if (outcome.kind === 'answered') refusal = outcome.answer;
          askNext();
        });
      };
      askNext();
    });
  }

  /** A server without TCP is asked over UDP all the same: what fits into a datagram need not suffer from that. */
  async #askOne(
    { query, transport, tryMs }: Race,
    host: string,
    signal: AbortSignal,
  ): Promise<AskOutcome> {
    const server = { host, port: this.#port };
    const startedAt = this.#now();
    const ask = (over: DnsTransport): Promise<AskOutcome> =>
      askServer(query, server, over, tryMs, signal);
    let outcome = await ask(transport === 'tcp' ? 'tcp' : 'udp');
    if (outcome.kind === 'answered') {
      if (transport === 'either' && isTruncated(outcome.answer)) {
        const whole = await ask('tcp');
        if (whole.kind === 'answered') outcome = whole;
      }
    } else if (outcome.reason === 'unreachable' && transport === 'tcp') outcome = await ask('udp');
    const now = this.#now();
    if (outcome.kind === 'answered') {
      const isUsable = decides(outcome.answer);
      this.#ranking.note(host, isUsable ? now - startedAt : 'failed', now);
    } else if (outcome.reason === 'cancelled') {
      // Slower than another, at least so much.
      this.#ranking.note(host, now - startedAt, now);
    } else this.#ranking.note(host, 'failed', now);
    return outcome;
  }

  async #read(): Promise<ResolvConfSettings> {
    const log = this.#log;
    const settings = await this.#files.readResolvConf();
    if (settings === this.#settings) return settings;
    this.#settings = settings;
    const from = this.#files.resolvConfPath;
    for (const line of settings.unusable) log.warn('A line of resolv.conf is unusable', { line });
    if (settings.servers.length === 0) log.warn('No name server is configured', { from });
    else log.info('Name servers', { servers: settings.servers, from });
    return settings;
  }
}

function isTruncated(answer: Uint8Array): boolean {
  return ((answer[2] ?? 0) & 2) !== 0;
}

/** Whether an answer settles the question: there are records, there are none, or there is no such name. */
function decides(answer: Uint8Array): boolean {
  const rcode = (answer[3] ?? 0) & 15;
  return rcode === DNS_RCODE.noError || rcode === DNS_RCODE.nameError;
}
