// Clients of a relay that came by TCP or TLS (RFC 8656 §2.1). Each is named by a stream endpoint (`base/stream-endpoint.ts`); what it
// looks like from here stands beside it. Who connects and then does nothing of use is disconnected: a message must come in time, and
// a connection without an allocation ends after a while, as slow or silent connections cost memory.

import type { Endpoint, IpAddress } from '../../../base/address.ts';
import { type Instant, later } from '../../../base/time.ts';

// Implementation
/** Each may hold one incomplete message. */
const MAX_STREAMS = 4096;
/** A site with many clients behind one address, in a network without UDP. */
const MAX_STREAMS_PER_SOURCE = 256;
/** Since its last whole message, without an allocation. With one, the allocation's lifetime is the limit. */
const IDLE_MS = 30_000;

export interface StreamClient {
  readonly stream: Endpoint;
  /** The far end of the connection. */
  readonly seen: Endpoint;
  closesAt: Instant;
}

export class StreamClients {
  /** By the key of the stream; the one that closes first stands first. */
  readonly #clients = new Map<string, StreamClient>();
  readonly #bySource = new Map<IpAddress, number>();

  /** False: there are too many, of all or of this source. */
  add(stream: Endpoint, seen: Endpoint, now: Instant): boolean {
    const ofSource = this.#bySource.get(seen.address) ?? 0;
    if (this.#clients.size >= MAX_STREAMS || ofSource >= MAX_STREAMS_PER_SOURCE) return false;
    this.#bySource.set(seen.address, ofSource + 1);
    this.#clients.set(stream.key, { stream, seen, closesAt: later(now, IDLE_MS) });
    return true;
  }

  remove(stream: Endpoint): void {
    const client = this.#clients.get(stream.key);
    if (!client) return;
    this.#clients.delete(stream.key);
    const left = (this.#bySource.get(client.seen.address) ?? 1) - 1;
    if (left === 0) this.#bySource.delete(client.seen.address);
    else this.#bySource.set(client.seen.address, left);
  }

  /** The client, after a whole message of it. */
  touch(stream: Endpoint, now: Instant): StreamClient | undefined {
    const client = this.#clients.get(stream.key);
    if (!client) return undefined;
    client.closesAt = later(now, IDLE_MS);
    this.#clients.delete(stream.key);
    this.#clients.set(stream.key, client);
    return client;
  }

  /** One that was silent for too long; unless it is closed, `touch` it. */
  findIdle(now: Instant): StreamClient | undefined {
    const first = this.#first();
    return first && first.closesAt <= now ? first : undefined;
  }

  pollTimeout(): Instant | undefined {
    return this.#first()?.closesAt;
  }

  get count(): number {
    return this.#clients.size;
  }

  #first(): StreamClient | undefined {
    for (const client of this.#clients.values()) return client;
    return undefined;
  }
}
