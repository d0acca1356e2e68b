// What one client's flows became on the gateway, as it was seen: data-plane 9.4 without any algorithm. A flow keeps its translation while it lives; the
// answer to every flow is told from the answers to all others; a port is kept where nobody else has it. Plain flows are flows whose address stays.

import type { Address } from './address.ts';
import type { Flow, Kind } from './packet.ts';

// Specification (data-plane 1.3, 9.4)
const LIFETIME_MS: Readonly<Record<Kind, number>> = {
  tcp: 7_440_000,
  udp: 120_000,
  echo: 120_000,
  icmp: 120_000,
  other: 120_000,
};
/** docs/wire/data-plane.md: so long a gateway may know flows whose address stays, and those of other protocols. */
const LONGEST_PLAIN_MS = 600_000;
const UNCONFIRMED_MS = 60_000;
const CLOSED_MS = 5_000;
/** Sessions that ended are swept at least so often. */
const SWEEP_MS = 1_000;

const FIN = 1;
const RST = 4;

export interface Outside {
  readonly address: Address;
  readonly port: number;
}

export interface FlowRecord extends Outside {
  readonly kind: Kind;
  readonly insideAddress: Address;
  readonly insidePort: number;
  /** The resource's port; 0 for an echo, whose identifier is `port`. */
  readonly remotePort: number;
  lastOut: number;
  lastIn: number | undefined;
  finOut: boolean;
  finIn: boolean;
  resetAt: number | undefined;
  /** A packet came when it may have been over: it goes on as it was, began anew with none of its flags, or the packet was none of its own. */
  isUncertain: boolean;
  /** When another port of the same host sent something to it, too. */
  strayAt: number | undefined;
}

export type Liveness = 'live' | 'maybe' | 'over';

export class Flows {
  #records: FlowRecord[] = [];

  /** The record of exactly this flow from the client. */
  find(flow: Flow): FlowRecord | undefined {
    return this.#records.findLast(
      (record) =>
        isSiblingOf(record, flow) &&
        (flow.kind === 'echo' || record.remotePort === flow.destinationPort),
    );
  }

  /** Flows from the same port to the same address; a gateway may give them one translation. */
  siblings(flow: Flow, now: number): FlowRecord[] {
    return this.#records.filter(
      (record) => isSiblingOf(record, flow) && this.liveness(record, now) !== 'over',
    );
  }

  /** Whose answer this packet from the network may be. */
  ofAnswer(flow: Flow): FlowRecord[] {
    return this.#records.filter(
      (record) =>
        record.kind === flow.kind &&
        record.address === flow.source &&
        record.port === flow.destinationPort,
    );
  }

  /** Whose answer, as the client sees it, an error of the client may be about. */
  ofReceived(about: Flow): FlowRecord[] {
    return this.#records.filter(
      (record) =>
        record.kind === about.kind &&
        record.insideAddress === about.source &&
        record.insidePort === about.destinationPort,
    );
  }

  /** Whose packet an error from the network may be about. */
  ofError(about: Flow): FlowRecord[] {
    return this.#records.filter(
      (record) =>
        record.kind === about.kind &&
        record.address === about.destination &&
        record.port === about.sourcePort,
    );
  }

  /** Whether somebody else's answers come to this port: `live`, so it is taken; `maybe`, if they come from another port of the host. */
  holder(outside: Outside & { readonly kind: Kind }, by: Flow, now: number): Liveness {
    const port = by.kind === 'echo' ? 0 : by.destinationPort;
    const states = this.#records
      .filter(
        (record) =>
          record.kind === outside.kind &&
          record.address === outside.address &&
          record.port === outside.port &&
          !isSiblingOf(record, by),
      )
      .map((record) => {
        const state = this.liveness(record, now);
        return state === 'live' && record.remotePort !== port ? 'maybe' : state;
      });
    return states.includes('live') ? 'live' : states.includes('maybe') ? 'maybe' : 'over';
  }

  noteOut(flow: Flow, outside: Outside, flags: number, now: number): void {
    const known = this.find(flow);
    const isSame = known && known.address === outside.address && known.port === outside.port;
    const state = known && this.liveness(known, now);
    if (!isSame || state === 'over') {
      // Whoever takes a port that was another's takes its late answers, too (data-plane 9.4).
      const isLeft = (other: FlowRecord): boolean =>
        hasOutside(other, flow, outside) && this.liveness(other, now) === 'over';
      this.#records = this.#records.filter((other) => other !== known && !isLeft(other));
      this.#records.push({
        ...outside,
        kind: flow.kind,
        insideAddress: flow.destination,
        insidePort: flow.sourcePort,
        remotePort: flow.kind === 'echo' ? 0 : flow.destinationPort,
        lastOut: now,
        lastIn: undefined,
        finOut: false,
        finIn: false,
        resetAt: undefined,
        isUncertain: false,
        strayAt: undefined,
      });
      return;
    }
    known.isUncertain ||= mayBeOver(known, now);
    known.lastOut = now;
    known.finOut ||= (flags & FIN) !== 0;
    if ((flags & RST) !== 0) known.resetAt ??= now;
  }

  /** `port`: the sender's. */
  noteIn(record: FlowRecord, port: number, flags: number, now: number): void {
    if (record.remotePort !== port && record.kind !== 'echo') {
      record.strayAt = now;
      return;
    }
    record.isUncertain ||= mayBeOver(record, now);
    record.lastIn = now;
    record.finIn ||= (flags & FIN) !== 0;
    if ((flags & RST) !== 0) record.resetAt ??= now;
  }

  /**
   * `maybe`: within a second of its end, or one of several connections that share a port and of which one has been closed; whether that ends the
   * others is left open.
   */
  liveness(record: FlowRecord, now: number): Liveness {
    const { strayAt, lastIn } = record;
    const longest = Math.max(lastOf(record), strayAt ?? 0) + longestOf(record);
    if (record.isUncertain) return now <= longest + SWEEP_MS ? 'maybe' : 'over';
    const end = endOf(record);
    if (now < end) return this.#hasClosedSibling(record) ? 'maybe' : 'live';
    if (now <= end + SWEEP_MS) return 'maybe';
    const isShared =
      strayAt !== undefined ||
      this.#records.some((other) => other !== record && shares(other, record));
    const isLong = !isTranslated(record) && lastIn !== undefined && !isClosing(record);
    return (isShared || isLong) && now <= longest + SWEEP_MS ? 'maybe' : 'over';
  }

  clear(): void {
    this.#records = [];
  }

  get count(): number {
    return this.#records.length;
  }

  #hasClosedSibling(record: FlowRecord): boolean {
    return this.#records.some(
      (other) =>
        other !== record &&
        shares(other, record) &&
        (other.resetAt !== undefined || other.finOut || other.finIn),
    );
  }
}

function hasOutside(record: FlowRecord, flow: Flow, { address, port }: Outside): boolean {
  const isSame = record.kind === flow.kind && record.address === address && record.port === port;
  return isSame && (flow.kind !== 'tcp' || record.remotePort === flow.destinationPort);
}

function lastOf({ lastOut, lastIn }: FlowRecord): number {
  return Math.max(lastOut, lastIn ?? 0);
}

function longestOf(record: FlowRecord): number {
  const { kind } = record;
  const isPlain = !isTranslated(record) && kind !== 'tcp';
  return isPlain ? LONGEST_PLAIN_MS : LIFETIME_MS[kind];
}

/** Whether address or port are others outside. */
export function isTranslated({ insideAddress, insidePort, address, port }: FlowRecord): boolean {
  return insideAddress !== address || insidePort !== port;
}

function isClosing({ resetAt, finOut, finIn }: FlowRecord): boolean {
  return resetAt !== undefined || (finOut && finIn);
}

function mayBeOver(record: FlowRecord, now: number): boolean {
  return isClosing(record) || now >= endOf(record);
}

/** When it ends, unless another packet comes. */
function endOf(record: FlowRecord): number {
  const { kind, lastOut, lastIn, resetAt } = record;
  const last = lastOf(record);
  const end = lastIn === undefined ? lastOut + UNCONFIRMED_MS : last + LIFETIME_MS[kind];
  return isClosing(record) ? Math.min(end, resetAt ?? Infinity, last + CLOSED_MS) : end;
}

function isSiblingOf(record: FlowRecord, flow: Flow): boolean {
  return (
    record.kind === flow.kind &&
    record.insideAddress === flow.destination &&
    record.insidePort === flow.sourcePort
  );
}

function shares(a: FlowRecord, b: FlowRecord): boolean {
  return a.kind === b.kind && a.insideAddress === b.insideAddress && a.insidePort === b.insidePort;
}
