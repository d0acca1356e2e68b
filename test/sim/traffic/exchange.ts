// An application of a client that talks to one machine: datagrams or echo requests that are to come back, or a TCP connection with data both ways. What is
// not answered is sent again after growing pauses. It knows addresses, not names.

import type { IpAddress } from '../../../src/base/address.ts';
import { GSO_TYPE } from '../../../src/base/batch.ts';
import { concat } from '../../../src/base/bytes.ts';
import { TCP_FLAG } from '../../../src/wire/ip/tcp.ts';
import {
  writeEchoPacket,
  writeTcpPacket,
  writeUdpPacket,
} from '../../../src/wire/ip/write-packet.ts';
import type { ClientProgram } from '../actors/client-program.ts';
import type { TunInput } from '../actors/tunnel-program.ts';
import type { Context } from '../context.ts';
import { factsOf, isIcmpError, MARK_LENGTH, markOf, writeMark } from './mark.ts';

/** Payload of a packet at most: all headers fit into the tunnel's MTU beside it. */
export const SEGMENT = 1_200;
/** Of applications, by number of exchange. */
export const FIRST_PORT = 20_000;
/** A TCP sequence number has 16 bits beside the mark; a super-packet 64 KiB. */
const MAX_BYTES = 48_000;
const MAX_DATAGRAMS = 24;

export interface ExchangeOptions {
  readonly id: number;
  readonly client: ClientProgram;
  readonly kind: 'udp' | 'tcp' | 'echo';
  readonly destination: IpAddress;
  readonly port: number;
  readonly bytes: number;
  /** Datagrams or requests; writes of a TCP connection. */
  readonly count: number;
  /** What has no answer is sent again after each of these. */
  readonly pausesMs: readonly number[];
}

export class Exchange {
  readonly options: ExchangeOptions;
  readonly #context: Context;
  readonly #source: IpAddress;
  readonly #sourcePort: number;
  /** Sequences of what has to be answered. */
  readonly #open = new Set<number>();
  /** Bytes of a TCP connection. */
  readonly #total: number = 0;
  #isConnected = false;
  #hasEnded = false;
  #tries = 0;
  answerCount = 0;
  /** The last ICMP error or reset. */
  error: string | undefined;

  constructor(context: Context, options: ExchangeOptions) {
    const { client, destination, id } = options;
    this.options = options;
    this.#context = context;
    this.#source = (destination.includes(':') ? client.ipv6 : client.ipv4) as IpAddress;
    this.#sourcePort = FIRST_PORT + id;
    const { bytes, count, kind } = options;
    if (kind === 'tcp') {
      const total = Math.min(MAX_BYTES, Math.max(1, bytes) * Math.max(1, count));
      for (let at = 0; at < total; at += SEGMENT) this.#open.add(at + 1);
      this.#total = total;
    } else {
      const many = kind === 'udp' ? Math.ceil(bytes / SEGMENT) : 1;
      const datagrams = Math.min(MAX_DATAGRAMS, Math.max(1, many) * Math.max(1, count));
      for (let sequence = 0; sequence < datagrams; sequence++) this.#open.add(sequence);
    }
  }

  get isDone(): boolean {
    return this.#open.size === 0;
  }

  get sourcePort(): number {
    return this.#sourcePort;
  }

  /** False while there is nowhere to send from. */
  start(): boolean {
    if (this.#source === ('' as IpAddress)) return false;
    this.#try();
    return true;
  }

  /** Nothing is sent any more. */
  stop(): void {
    this.#hasEnded = true;
  }

  handle(packet: Uint8Array): void {
    const facts = factsOf(packet);
    if (!facts) return;
    if (isIcmpError(facts)) {
      this.error = `ICMP ${facts.icmpType}/${facts.icmpCode}`;
      return;
    }
    const mark = markOf(packet);
    if (!mark) return;
    const { kind } = this.options;
    if (kind !== 'tcp') {
      if (this.#open.delete(mark.sequence)) this.answerCount++;
      return;
    }
    if ((facts.tcpFlags & TCP_FLAG.rst) !== 0) {
      this.error = 'reset';
      return;
    }
    if ((facts.tcpFlags & TCP_FLAG.syn) !== 0) {
      if (this.#isConnected) return;
      this.#isConnected = true;
      return this.#sendOpen();
    }
    if (packet.length > facts.payloadOffset && this.#open.delete(mark.sequence)) {
      this.answerCount++;
      if (this.isDone)
        this.#send([{ packet: this.#tcp(TCP_FLAG.fin | TCP_FLAG.ack, this.#total + 1) }]);
    }
  }

  #try(): void {
    const { scheduler } = this.#context;
    if (this.#hasEnded || this.isDone) return;
    this.#sendOpen();
    const pause = this.options.pausesMs[this.#tries++];
    if (pause !== undefined) scheduler.call(pause, () => this.#try());
  }

  #sendOpen(): void {
    const { kind } = this.options;
    if (kind === 'tcp' && !this.#isConnected) {
      return this.#send([{ packet: this.#tcp(TCP_FLAG.syn, 0) }]);
    }
    this.#send(kind === 'tcp' ? this.#data() : this.#datagrams());
  }

  #send(inputs: readonly TunInput[]): void {
    const { client, destination, id } = this.options;
    if (!client.isRunning || client.isAsleep || !client.routes(destination)) return;
    const { watchers, scheduler } = this.#context;
    for (const { packet } of inputs) {
      const sequence = markOf(packet)?.sequence ?? 0;
      const about = { at: scheduler.now, client: client.name, exchange: id, sequence };
      watchers.innerSent({ ...about, packet, isForged: false });
    }
    client.send(destination, inputs);
  }

  /** Runs of segments that follow each other are super-packets. */
  #data(): TunInput[] {
    const inputs: TunInput[] = [];
    let run: number[] = [];
    for (const sequence of this.#open) {
      const last = run.at(-1);
      if (last !== undefined && sequence !== last + SEGMENT) {
        inputs.push(this.#super(run));
        run = [];
      }
      run.push(sequence);
    }
    if (run.length > 0) inputs.push(this.#super(run));
    return inputs;
  }

  #super(sequences: readonly number[]): TunInput {
    const [first = 1] = sequences;
    const end = Math.min(this.#total, (sequences.at(-1) ?? first) - 1 + SEGMENT);
    const length = end - (first - 1);
    const payload = new Uint8Array(length);
    for (let i = 0; i < length; i++) payload[i] = (first + i) & 255;
    const packet = this.#tcp(TCP_FLAG.ack | TCP_FLAG.psh, first, payload);
    if (length <= SEGMENT) return { packet };
    const type = this.#source.includes(':') ? GSO_TYPE.tcp6 : GSO_TYPE.tcp4;
    return { packet, gso: { type, segment: SEGMENT, headers: packet.length - length } };
  }

  #tcp(flags: number, sequence: number, payload: Uint8Array = new Uint8Array()): Uint8Array {
    const { id, destination, port } = this.options;
    return writeTcpPacket({
      source: this.#source,
      destination,
      sourcePort: this.#sourcePort,
      destinationPort: port,
      sequence: ((id << 16) | (sequence & 0xffff)) >>> 0,
      acknowledgment: (flags & TCP_FLAG.ack) !== 0 ? (id << 16) >>> 0 : 0,
      flags,
      payload,
    });
  }

  #datagrams(): TunInput[] {
    const { kind, bytes } = this.options;
    if (kind === 'echo')
      return [...this.#open].map((sequence) => ({ packet: this.#echo(sequence) }));
    if (bytes <= SEGMENT) {
      return [...this.#open].map((sequence) => ({
        packet: this.#udp(this.#mark(sequence, bytes)),
      }));
    }
    const marks = [...this.#open].map((sequence) => this.#mark(sequence, SEGMENT));
    const packet = this.#udp(concat(...marks));
    if (marks.length === 1) return [{ packet }];
    const headers = packet.length - marks.length * SEGMENT;
    return [{ packet, gso: { type: GSO_TYPE.udp, segment: SEGMENT, headers } }];
  }

  #mark(sequence: number, bytes: number): Uint8Array {
    const length = Math.max(MARK_LENGTH, Math.min(bytes, SEGMENT));
    return writeMark({ exchange: this.options.id, sequence, isAnswer: false }, length);
  }

  #udp(payload: Uint8Array): Uint8Array {
    const { destination, port } = this.options;
    const ports = { sourcePort: this.#sourcePort, destinationPort: port };
    return writeUdpPacket({ source: this.#source, destination, ...ports, payload });
  }

  #echo(sequence: number): Uint8Array {
    const { destination, id, bytes } = this.options;
    return writeEchoPacket({
      source: this.#source,
      destination,
      kind: 'request',
      identifier: id & 0xffff,
      sequence,
      payload: this.#mark(sequence, bytes),
    });
  }
}
