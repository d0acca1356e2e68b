// One path agent on a virtual clock, with whatever a test wants to answer its probes. Records what it sends and says, with times. The
// addresses are those of the worked example (iceless 10).

import { type Endpoint, parseEndpoint } from '../../src/base/address.ts';
import { type Instant, instant, later } from '../../src/base/time.ts';
import { PathAgent } from '../../src/proto/iceless/agent.ts';
import type {
  DescribedEnds,
  Ends,
  PathEvent,
  PathTransmit,
} from '../../src/proto/iceless/agent-types.ts';
import type { PathCandidate, PathCandidateKind } from '../../src/wire/iceless/candidate.ts';
import { type Probe, parseProbe } from '../../src/wire/iceless/probe.ts';

export function socket(text: string): Endpoint {
  const parsed = parseEndpoint(text);
  if (!parsed) throw new Error(`not an endpoint: ${text}`);
  return parsed;
}

export function pathCandidate(
  kind: PathCandidateKind,
  address: string,
  base: string = address,
): PathCandidate {
  return { kind, address: socket(address), base: socket(base) };
}

/** Of the client in iceless 10. */
export const H: PathCandidate = pathCandidate('host', '192.168.7.20:52625');
export const S: PathCandidate = pathCandidate('srflx', '203.0.113.9:40001', '192.168.7.20:52625');
export const R: PathCandidate = pathCandidate(
  'relayed',
  '198.51.100.5:49170',
  '192.168.7.20:52625',
);
/** Of the gateway in iceless 10. */
export const GH: PathCandidate = pathCandidate('host', '10.1.0.4:52625');
export const GS: PathCandidate = pathCandidate('srflx', '203.0.113.80:52625', '10.1.0.4:52625');
export const GR: PathCandidate = pathCandidate('relayed', '198.51.100.77:49300', '10.1.0.4:52625');

const NAMES: ReadonlyMap<string, string> = new Map([
  [H.address.key, 'h'],
  [S.address.key, 's'],
  [R.address.key, 'r'],
  [GH.address.key, 'gh'],
  [GS.address.key, 'gs'],
  [GR.address.key, 'gr'],
]);

/** `h>gr`, as the worked example writes it. */
export function nameOf({ local, remote }: Ends): string {
  const name = ({ key }: Endpoint): string => NAMES.get(key) ?? key;
  return `${name(local)}>${name(remote)}`;
}

export function ends(local: PathCandidate, remote: PathCandidate): Ends {
  const own = local.kind === 'relayed' ? local.address : local.base;
  return { local: own, remote: remote.address };
}

export interface Sent extends PathTransmit {
  readonly at: Instant;
  readonly pair: string;
  readonly probe: Probe | undefined;
}

interface Mail {
  readonly at: Instant;
  readonly deliver: (now: Instant) => void;
}

export class AgentDriver {
  readonly agent: PathAgent;
  readonly sent: Sent[] = [];
  readonly events: { readonly at: Instant; readonly event: PathEvent }[] = [];
  now: Instant = instant(0);
  /** The round trip of a pair whose probes are answered. */
  roundTripOf: (pair: string) => number | undefined = () => undefined;
  #mail: Mail[] = [];
  readonly #lastQuestion = new Map<string, Probe>();

  constructor() {
    this.agent = new PathAgent(this.now);
  }

  /** With these locals and remotes, in this order. */
  static of(locals: readonly PathCandidate[], remotes: readonly PathCandidate[]): AgentDriver {
    const driver = new AgentDriver();
    for (const local of locals) driver.agent.addLocal(local, driver.now);
    for (const remote of remotes) driver.agent.addRemote(remote, 'signalled', driver.now);
    return driver;
  }

  /** A session by a handshake that the peer answered on this pair. */
  establish(pair: Ends): this {
    this.agent.sendInitiation(Uint8Array.of(1, 0, 0, 0), this.now);
    this.agent.handleAcceptedResponse(Uint8Array.of(2, 0, 0, 0), pair, this.now);
    this.agent.startProbing(this.now);
    this.#drain();
    return this;
  }

  /** The peer's answer to the last probe of that pair. */
  answer(pair: Ends): void {
    const question = this.#lastQuestion.get(nameOf(pair));
    if (question === undefined) throw new Error(`no probe was sent on ${nameOf(pair)}`);
    this.agent.handleProbe({ ...question, kind: 'reply' }, pair, this.now);
    this.#drain();
  }

  run(milliseconds: number): void {
    const end = later(this.now, milliseconds);
    this.#drain();
    for (;;) {
      const due = Math.min(
        this.agent.pollTimeout() ?? Number.POSITIVE_INFINITY,
        ...this.#mail.map(({ at }) => at),
      );
      if (due > end) break;
      if (due > this.now) this.now = instant(due);
      const isReady = ({ at }: Mail): boolean => at <= this.now;
      const ready = this.#mail.filter(isReady);
      this.#mail = this.#mail.filter((mail) => !isReady(mail));
      for (const { deliver } of ready) deliver(this.now);
      this.agent.handleTimeout(this.now);
      this.#drain();
    }
    this.now = end;
  }

  /** What was sent since the last call, drained. */
  take(): readonly Sent[] {
    this.#drain();
    return this.sent.splice(0);
  }

  get primary(): string | undefined {
    const { primary } = this.agent.snapshot();
    return primary && nameOf(primary);
  }

  /** The pairs that became the primary. */
  get changes(): readonly string[] {
    return this.events
      .filter(({ event }) => event.kind === 'primary-changed')
      .map(({ event }) => nameOf(event));
  }

  pair(name: string): ReturnType<PathAgent['snapshot']>['pairs'][number] {
    const found = this.agent.snapshot().pairs.find((pair: DescribedEnds) => nameOf(pair) === name);
    if (!found) throw new Error(`no pair ${name}`);
    return found;
  }

  /** Copies of a handshake message per pair. */
  static copies(sent: readonly Sent[]): Record<string, number> {
    return countBy(sent.filter(({ form }) => form === 'datagram'));
  }

  /** Probes of our own per pair. */
  static probes(sent: readonly Sent[]): Record<string, number> {
    return countBy(sent.filter(({ probe }) => probe?.kind === 'request'));
  }

  #drain(): void {
    const { agent } = this;
    for (let out = agent.pollTransmit(); out; out = agent.pollTransmit()) this.#note(out);
    for (let event = agent.pollEvent(); event; event = agent.pollEvent()) {
      this.events.push({ at: this.now, event });
    }
  }

  #note(out: PathTransmit): void {
    const pair = nameOf(out);
    const probe = out.form === 'datagram' ? undefined : parseProbe(out.payload);
    this.sent.push({ ...out, at: this.now, pair, probe });
    if (probe?.kind !== 'request') return;
    this.#lastQuestion.set(pair, probe);
    const roundTrip = this.roundTripOf(pair);
    if (roundTrip === undefined) return;
    const deliver = (now: Instant): void =>
      this.agent.handleProbe({ ...probe, kind: 'reply' }, out, now);
    this.#mail.push({ at: later(this.now, roundTrip), deliver });
  }
}

function countBy(sent: readonly Sent[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { pair } of sent) counts[pair] = (counts[pair] ?? 0) + 1;
  return counts;
}
