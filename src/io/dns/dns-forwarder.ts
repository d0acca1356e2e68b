// Forwards the queries of the client's stub to one upstream server each and hands back the answer, whatever it is.

import type { Endpoint } from '../../base/address.ts';
import { type AskOutcome, askServer, type DnsTransport } from './ask-server.ts';

// Specification: client 9.
const TIMEOUT_MS = 5_000;
const MAX_CONCURRENT = 1_000;

export type ForwardOutcome = AskOutcome | { readonly kind: 'failed'; readonly reason: 'too-many' };

export class DnsForwarder {
  #underWay = 0;

  /** Never rejects. */
  async forward(
    query: Uint8Array,
    server: Endpoint,
    transport: DnsTransport,
  ): Promise<ForwardOutcome> {
    if (this.#underWay >= MAX_CONCURRENT) return { kind: 'failed', reason: 'too-many' };
    this.#underWay++;
    const to = { host: server.address, port: server.port };
    const outcome = await askServer(query, to, transport, TIMEOUT_MS);
    this.#underWay--;
    return outcome;
  }
}
