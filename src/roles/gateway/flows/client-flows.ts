// Hot path. The flows of one client: when one begins, what counts for it and when it is over (operations 13.2). Looked at only for packets
// that were forwarded; without anybody who wants to know of flows it does not exist at all.
//
//   first packet to the resource -> started        RST, a SYN behind data, a 17th path, another resource -> completed at once
//                                                   FIN of both sides -> at the next timeout       silence of 2 min -> by the sweep
//
// A flow belongs to the resource that allows it. Unlike the reference, it is over as soon as another resource takes its place, not two
// minutes later.

import { addressFromWords } from '../../../base/address.ts';
import { RUN } from '../../../base/batch.ts';
import { int32At } from '../../../base/bytes.ts';
import type { ClientId } from '../../../base/ids.ts';
import type { Instant } from '../../../base/time.ts';
import type { NatTable } from '../../../proto/nat/nat-table.ts';
import { type ParsedPacket, SOURCE_WORDS, TRANSPORT } from '../../../wire/ip/parsed-packet.ts';
import { IP_PROTOCOL } from '../../../wire/ip/protocol.ts';
import { TCP_FLAG } from '../../../wire/ip/tcp.ts';
import type { Flow, FlowSink, OuterPath } from './flow-record.ts';
import { FLOW, FlowTable } from './flow-table.ts';

// Specification (operations 13.2)
const IDLE_MS = 120_000;
const MAX_PATHS = 16;

const FIN_BOTH: number = FLOW.finToResource | FLOW.finToClient;
/** Words of a run that make a path: remote address and port, local address and port, which follow each other. */
const PATH_WORDS = 10;

/** To whom a flow belongs. */
export type FlowOwner = Pick<Flow, 'resource' | 'token' | 'domain'>;

/** What the tracker asks of a client. */
export interface FlowClient {
  readonly id: ClientId;
  readonly nat: NatTable;
  /** Of the packet that was just forwarded, -1: none. */
  readonly lastSession: number;
  /** What allows the packets of a session with this port of the resource. */
  resourceOf(session: number, packet: ParsedPacket, port: number): FlowOwner | undefined;
}

/** What it shares with the flows of other clients. */
export interface FlowOutput {
  /** Whether new flows are recorded. */
  readonly isRecording: boolean;
  /** Flows of all clients. */
  openCount: number;
  readonly events: FlowSink;
  noteFinished(flows: ClientFlows): void;
  noteFull(): void;
}

type Known = Omit<Flow, 'outers'>;

export class ClientFlows {
  readonly #client: FlowClient;
  readonly #output: FlowOutput;
  readonly #table: FlowTable<Known>;
  /** Of the packets that arrive now. */
  readonly #path = new Int32Array(PATH_WORDS);
  /** Its number, 0: none is known. */
  #pathNumber = 0;
  #cursor = 0;
  /** Flows both sides have ended. */
  readonly #finished: number[] = [];

  constructor(client: FlowClient, output: FlowOutput, seed: number) {
    this.#client = client;
    this.#output = output;
    this.#table = new FlowTable(seed);
  }

  /** The packets that follow came with the run at `row`. */
  notePath(runs: Int32Array, row: number): void {
    const path = this.#path;
    const first = row + RUN.remote;
    let isSame = this.#pathNumber > 0;
    for (let i = 0; isSame && i < PATH_WORDS; i++)
      isSame = int32At(path, i) === int32At(runs, first + i);
    if (isSame || int32At(runs, row + RUN.remotePort) === 0) return;
    for (let i = 0; i < PATH_WORDS; i++) path[i] = int32At(runs, first + i);
    this.#pathNumber++;
  }

  /** `segments` packets of the client with `payload` bytes together were forwarded. */
  noteToResource(packet: ParsedPacket, payload: number, segments: number, now: Instant): void {
    const { transport, tcpFlags } = packet;
    const session = this.#client.lastSession;
    if (session < 0 || (transport !== TRANSPORT.tcp && transport !== TRANSPORT.udp)) return;
    const table = this.#table;
    let flow = this.#find(session, packet.protocol, packet.destinationPort);
    if (flow >= 0 && this.#isOver(flow, session, packet)) {
      this.#complete(flow, now);
      flow = -1;
    }
    if (flow < 0) {
      if (!this.#output.isRecording || !canBegin(packet, payload)) return;
      flow = this.#begin(session, packet, now);
      if (flow < 0) return;
    }
    if (table.pathOf(flow) !== this.#pathNumber) this.#addPath(flow, now);
    table.countToResource(flow, segments, payload, now);
    if ((tcpFlags & TCP_FLAG.syn) === 0) table.setState(flow, FLOW.hasBegun);
    this.#noteEnd(flow, tcpFlags, FLOW.finToResource, now);
  }

  /** `segments` packets were sent to the client. */
  noteToClient(packet: ParsedPacket, payload: number, segments: number, now: Instant): void {
    const { transport } = packet;
    const session = this.#client.lastSession;
    if (session < 0 || (transport !== TRANSPORT.tcp && transport !== TRANSPORT.udp)) return;
    const flow = this.#find(session, packet.protocol, packet.sourcePort);
    if (flow < 0) return;
    this.#table.countToClient(flow, segments, payload, now);
    this.#noteEnd(flow, packet.tcpFlags, FLOW.finToClient, now);
  }

  /** Completes what both sides have ended. */
  completeFinished(now: Instant): void {
    for (const flow of this.#finished) {
      if ((this.#table.stateOf(flow) & FIN_BOTH) === FIN_BOTH)
        this.#complete(flow, this.#table.totalsOf(flow, now).lastPacket);
    }
    this.#finished.length = 0;
  }

  /** Looks at up to `budget` rows for silent flows; what is left of it. A sweep begins where the last one stopped. */
  sweep(now: Instant, budget: number): number {
    let left = budget;
    for (; this.#cursor < this.#table.rowCount && left > 0; this.#cursor++, left--) {
      if (this.#table.isIdle(this.#cursor, IDLE_MS, now)) this.#complete(this.#cursor, now);
    }
    if (this.#cursor >= this.#table.rowCount) this.#cursor = 0;
    return left;
  }

  completeAll(now: Instant): void {
    for (let flow = 0; flow < this.#table.rowCount; flow++) {
      if (this.#table.stateOf(flow) !== 0) this.#complete(flow, now);
    }
    this.#finished.length = 0;
  }

  #find(session: number, protocol: number, resourcePort: number): number {
    const { nat } = this.#client;
    const ports = (nat.outsidePortOf(session) << 16) | resourcePort;
    return this.#table.find(nat.rows, nat.outsideOf(session), ports, protocol);
  }

  /** Whether this packet of the client belongs to another flow with the same tuple. */
  #isOver(flow: number, session: number, packet: ParsedPacket): boolean {
    const table = this.#table;
    const isSyn = (packet.tcpFlags & TCP_FLAG.syn) !== 0;
    if (isSyn && (table.stateOf(flow) & FLOW.hasBegun) !== 0) return true;
    const epoch = this.#client.nat.epochOf(session);
    if (epoch !== table.epochOf(flow)) {
      table.setEpoch(flow, epoch);
      const now = this.#client.resourceOf(session, packet, packet.destinationPort)?.resource;
      if (now !== table.get(flow)?.resource) return true;
    }
    const isNewPath = table.pathOf(flow) !== this.#pathNumber;
    return isNewPath && (table.get(flow)?.outers.length ?? 0) >= MAX_PATHS;
  }

  /** Cold. */
  #begin(session: number, packet: ParsedPacket, now: Instant): number {
    const { nat, id } = this.#client;
    const { protocol, destinationPort } = packet;
    const owner = this.#client.resourceOf(session, packet, destinationPort);
    if (!owner) return -1;
    const index = nat.outsideOf(session);
    const port = nat.outsidePortOf(session);
    const known = {
      protocol: protocol === IP_PROTOCOL.tcp ? ('tcp' as const) : ('udp' as const),
      client: id,
      ...owner,
      innerSource: addressFromWords(packet.addresses, SOURCE_WORDS),
      innerSourcePort: port,
      innerDestination: addressFromWords(nat.rows, index),
      innerDestinationPort: destinationPort,
      outers: this.#pathNumber > 0 ? [this.#outerPath(now)] : [],
      start: now,
    };
    const key = { words: nat.rows, index, ports: (port << 16) | destinationPort, protocol };
    const flow = this.#table.add(key, known, now);
    if (flow < 0) {
      this.#output.noteFull();
      return -1;
    }
    this.#output.openCount++;
    this.#table.setEpoch(flow, nat.epochOf(session));
    this.#table.setPath(flow, this.#pathNumber);
    this.#output.events.push({
      kind: 'flow-started',
      flow: { ...known, outers: [...known.outers] },
    });
    return flow;
  }

  /** Cold. */
  #addPath(flow: number, now: Instant): void {
    this.#table.setPath(flow, this.#pathNumber);
    this.#table.get(flow)?.outers.push(this.#outerPath(now));
  }

  #outerPath(activatedAt: Instant): OuterPath {
    const path = this.#path;
    return {
      source: addressFromWords(path, 0),
      sourcePort: int32At(path, 4),
      destination: addressFromWords(path, 5),
      destinationPort: int32At(path, 9),
      activatedAt,
    };
  }

  #noteEnd(flow: number, tcpFlags: number, fin: number, now: Instant): void {
    if ((tcpFlags & (TCP_FLAG.rst | TCP_FLAG.fin)) === 0) return;
    if ((tcpFlags & TCP_FLAG.rst) !== 0) {
      this.#complete(flow, now);
      return;
    }
    const before = this.#table.stateOf(flow);
    this.#table.setState(flow, fin);
    if ((before & FIN_BOTH) === FIN_BOTH || ((before | fin) & FIN_BOTH) !== FIN_BOTH) return;
    this.#finished.push(flow);
    this.#output.noteFinished(this);
  }

  /** Cold. */
  #complete(flow: number, end: Instant): void {
    const totals = this.#table.totalsOf(flow, end);
    const known = this.#table.take(flow);
    if (!known) return;
    this.#output.openCount--;
    this.#output.events.push({ kind: 'flow-completed', flow: known, totals });
  }
}

/** The rest of a connection that is over begins none: FIN, RST, a bare ACK. */
function canBegin({ transport, tcpFlags }: ParsedPacket, payload: number): boolean {
  if (transport === TRANSPORT.udp) return true;
  if ((tcpFlags & (TCP_FLAG.fin | TCP_FLAG.rst)) !== 0) return false;
  const isBareAck = (tcpFlags & (TCP_FLAG.syn | TCP_FLAG.ack)) === TCP_FLAG.ack && payload === 0;
  return !isBareAck;
}
