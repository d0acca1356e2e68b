// Domains that wait for their addresses: one query for each client, resource and domain, however often it is asked for
// (data-plane 9.2, 17.3, 17.22). Clients take turns; what one client may have running and waiting is limited, so that none keeps the
// others waiting.

import type { ClientId } from '../../base/ids.ts';
import { earliest, type Instant, later } from '../../base/time.ts';
import type { DomainSetup } from './dns-nat.ts';

// Specification (data-plane 1.3)
const TIMEOUT_MS = 10_000;
const MAX_RUNNING = 1_000;

// Implementation
/** A client that resumes with many domains needs some at once, not all. */
const MAX_RUNNING_PER_CLIENT = 64;
/** Of one client; the next is refused and the client asks again. */
const MAX_WAITING_PER_CLIENT = 1_024;

interface Job {
  readonly client: ClientId;
  readonly key: string;
  /** The newest wish: its proxies count. */
  setup: DomainSetup;
  queryId: number;
  startedAt: Instant;
}

interface ClientJobs {
  readonly waiting: Map<string, Job>;
  readonly running: Map<string, Job>;
}

export interface FinishedSetup {
  readonly client: ClientId;
  readonly setup: DomainSetup;
}

export class DomainSetups {
  readonly #clients = new Map<ClientId, ClientJobs>();
  readonly #byQuery = new Map<number, Job>();
  readonly #started: Job[] = [];
  #nextQueryId = 1;

  /** `merged`: it is answered together with an earlier one. */
  add(client: ClientId, setup: DomainSetup, now: Instant): 'added' | 'merged' | 'refused' {
    const key = `${setup.resource} ${setup.key}`;
    const jobs = this.#jobsOf(client);
    const known = jobs.running.get(key) ?? jobs.waiting.get(key);
    if (known) {
      known.setup = setup;
      return 'merged';
    }
    if (jobs.waiting.size >= MAX_WAITING_PER_CLIENT) return 'refused';
    jobs.waiting.set(key, { client, key, setup, queryId: 0, startedAt: now });
    this.#start(now);
    return 'added';
  }

  /** The job whose query was answered; `undefined` for queries that are over. */
  finish(queryId: number, now: Instant): FinishedSetup | undefined {
    const job = this.#byQuery.get(queryId);
    if (job) this.#remove(job);
    // Also after the answer for a client that is gone, whose place is free.
    this.#start(now);
    return job;
  }

  /** Jobs that got no answer in time. */
  takeTimedOut(now: Instant): FinishedSetup[] {
    const timedOut: FinishedSetup[] = [];
    for (const job of this.#byQuery.values()) {
      // In order of their start.
      if (now < later(job.startedAt, TIMEOUT_MS)) break;
      this.#remove(job);
      timedOut.push(job);
    }
    if (timedOut.length > 0) this.#start(now);
    return timedOut;
  }

  forget(client: ClientId): void {
    const jobs = this.#clients.get(client);
    for (const job of jobs?.running.values() ?? []) this.#byQuery.delete(job.queryId);
    this.#clients.delete(client);
  }

  pollQuery(): { readonly queryId: number; readonly domain: string } | undefined {
    for (let job = this.#started.shift(); job; job = this.#started.shift()) {
      if (this.#byQuery.has(job.queryId)) return { queryId: job.queryId, domain: job.setup.domain };
    }
    return undefined;
  }

  pollTimeout(): Instant | undefined {
    const [first] = this.#byQuery.values();
    return first && earliest(later(first.startedAt, TIMEOUT_MS));
  }

  get runningCount(): number {
    return this.#byQuery.size;
  }

  get waitingCount(): number {
    let count = 0;
    for (const { waiting } of this.#clients.values()) count += waiting.size;
    return count;
  }

  /** One job of each client in turn, while there is room. */
  #start(now: Instant): void {
    for (let isProgress = true; isProgress; ) {
      isProgress = false;
      for (const jobs of this.#clients.values()) {
        if (this.#byQuery.size >= MAX_RUNNING) return;
        const [job] = jobs.waiting.values();
        if (!job || jobs.running.size >= MAX_RUNNING_PER_CLIENT) continue;
        job.queryId = this.#nextQueryId++;
        job.startedAt = now;
        jobs.waiting.delete(job.key);
        jobs.running.set(job.key, job);
        this.#byQuery.set(job.queryId, job);
        this.#started.push(job);
        isProgress = true;
      }
    }
  }

  #remove(job: Job): void {
    this.#byQuery.delete(job.queryId);
    const jobs = this.#clients.get(job.client);
    jobs?.running.delete(job.key);
    if (jobs?.running.size === 0 && jobs.waiting.size === 0) this.#clients.delete(job.client);
  }

  #jobsOf(client: ClientId): ClientJobs {
    const known = this.#clients.get(client);
    if (known) return known;
    const jobs: ClientJobs = { waiting: new Map(), running: new Map() };
    this.#clients.set(client, jobs);
    return jobs;
  }
}
