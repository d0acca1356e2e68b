// All that happens in a world as lines for people, and its packets as captures: what passed each tunnel's TUN device, decrypted, one per program, and what
// passed the outer network, as it was sent.

import type { Instant } from '../../../src/base/time.ts';
import { writeUdpPacket } from '../../../src/wire/ip/write-packet.ts';
import type { Datagram, NetworkTap } from '../network/datagram.ts';
import type { Observer } from '../oracle.ts';
import { factsOf, markOf } from '../traffic/mark.ts';
import type { World } from '../world.ts';
import type { CapturedPacket } from './pcapng.ts';

/** The last ones count; a world that was cut short has fewer. */
const MAX_LINES = 50_000;
const MAX_PACKETS = 50_000;
const OUTER = 'outer-network';

export interface Capture {
  readonly name: string;
  readonly packets: readonly CapturedPacket[];
}

export class Recorder {
  readonly #lines: string[] = [];
  readonly #captures = new Map<string, CapturedPacket[]>();

  /** Watches this world from now on. */
  watch(world: World): Observer {
    world.network.taps.push(this.#tap());
    return this.#observer();
  }

  get lines(): readonly string[] {
    return this.#lines;
  }

  captures(): readonly Capture[] {
    return [...this.#captures]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, packets]) => ({ name, packets }));
  }

  #tap(): NetworkTap {
    return {
      sent: (datagram, now) => {
        const { source, destination, payload, origin } = datagram;
        this.#say(now, `${origin}: ${source.key} > ${destination.key}, ${kindOf(payload)}`);
        this.#capture(OUTER, now, packetOf(datagram));
      },
      dropped: ({ source, destination }: Datagram, reason, where, now) =>
        this.#say(now, `lost at ${where}: ${source.key} > ${destination.key}, ${reason}`),
    };
  }

  #observer(): Observer {
    return {
      stepBegins: (step, index, at) => this.#say(at, `STEP ${index} ${JSON.stringify(step)}`),
      portal: ({ kind, ...fact }, at) => this.#say(at, `portal ${kind} ${shorten(fact)}`),
      heard: ({ actor, event, payload, at }) =>
        this.#say(at, `${actor} hears ${event} ${shorten(payload)}`),
      innerSent: ({ client, packet, at, isForged }) => {
        this.#say(at, `${client} ${isForged ? 'forges' : 'sends'} ${textOf(packet)}`);
        this.#capture(client, at, packet);
      },
      delivered: ({ gateway, packet, at }) => {
        this.#say(at, `${gateway} delivers ${textOf(packet)}`);
        this.#capture(gateway, at, packet);
      },
      answered: ({ gateway, packet, at }) => {
        this.#say(at, `${gateway} gets ${textOf(packet)}`);
        this.#capture(gateway, at, packet);
      },
      received: ({ client, packet, at }) => {
        this.#say(at, `${client} receives ${textOf(packet)}`);
        this.#capture(client, at, packet);
      },
      dropped: ({ actor, direction, reason, count, at }) =>
        this.#say(at, `${actor} drops ${count} ${direction}: ${reason}`),
      resolved: ({ client, name, answer, rcode, by, at }) =>
        this.#say(
          at,
          `${client} resolves ${name} by ${by}: ${answer?.join(' ') ?? rcode ?? 'nothing'}`,
        ),
      actorEvent: ({ actor, event, at }) => this.#say(at, `${actor} says ${event.kind}`),
      lifeCycle: (actor, role, change, at) => this.#say(at, `${role} ${actor} ${change}`),
      healed: (at) => this.#say(at, 'all disturbances end'),
    };
  }

  #say(at: Instant, text: string): void {
    if (this.#lines.length === MAX_LINES) this.#lines.splice(0, MAX_LINES / 2);
    this.#lines.push(`${(at / 1_000).toFixed(6).padStart(14)} ${text}`);
  }

  #capture(name: string, at: Instant, packet: Uint8Array): void {
    const packets = this.#captures.get(name) ?? [];
    this.#captures.set(name, packets);
    if (packets.length < MAX_PACKETS) packets.push({ at, packet: packet.slice() });
  }
}

/** A datagram with IP and UDP headers of its own. */
function packetOf({ source, destination, payload }: Datagram): Uint8Array {
  return writeUdpPacket({
    source: source.address,
    destination: destination.address,
    hopLimit: 64,
    sourcePort: source.port,
    destinationPort: destination.port,
    payload,
  });
}

function textOf(packet: Uint8Array): string {
  const facts = factsOf(packet);
  if (!facts) return `${packet.length} bytes`;
  const { protocol, source, destination, sourcePort, destinationPort } = facts;
  const mark = markOf(packet);
  const what = mark ? ` (exchange ${mark.exchange}, ${mark.sequence})` : '';
  return `protocol ${protocol} ${source} ${sourcePort} > ${destination} ${destinationPort}, ${packet.length} bytes${what}`;
}

/** By the first bytes (connectivity 1). */
function kindOf(payload: Uint8Array): string {
  const first = payload[0] ?? 0;
  const length = `${payload.length} bytes`;
  if (first >= 0x40 && first < 0x80) return `channel data, ${length}`;
  if (payload[4] === 0x21 && payload[5] === 0x12) return `STUN, ${length}`;
  const names = ['', 'handshake initiation', 'handshake response', 'cookie reply', 'data'];
  return `${names[first] || 'unknown'}, ${length}`;
}

function shorten(json: unknown): string {
  const text = JSON.stringify(json) ?? '';
  return text.length > 2_000 ? `${text.slice(0, 2_000)}…` : text;
}
