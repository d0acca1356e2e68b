// The gateway's own DNS server on its tunnel addresses (operations 10.2): clients send it the queries about DNS resources that they cannot answer
// themselves (SRV, TXT), and it hands them on to the host's name servers, so that they are answered from the site's view.
//
// Beyond operations 10.2: the name servers are those that resolv.conf has now, in the order in which they answered lately; nothing is
// probed, so nothing leaves the host that no client asked for. One client's queries and connections are limited; what is too much is
// answered with SERVFAIL.

import { setTimeout as sleep } from 'node:timers/promises';
import type { IpAddress } from '../../base/address.ts';
import type { Log } from '../../base/log.ts';
import { GATEWAY_DNS_PORT } from '../../wire/control/address-plan.ts';
import {
  DNS_RCODE,
  dnsResponse,
  parseDnsMessage,
  writeDnsMessage,
} from '../../wire/dns/message.ts';
import type { DnsTransport } from './ask-server.ts';
import { DnsListener, type Reply } from './dns-listener.ts';
import type { Upstreams } from './upstreams.ts';

// Specification (operations 10.2)
const QUERY_TIMEOUT_MS = 5_000;
const MAX_QUERIES = 1_000;
const MAX_UDP_ANSWER = 1_200;
const LISTEN_ATTEMPTS = 3;
const LISTEN_RETRY_MS = 100;

// Implementation
/** More than an application asks at once; fifteen clients that flood still leave room for others. */
const MAX_QUERIES_PER_CLIENT = 64;
const MAX_CONNECTIONS = 256;
const MAX_CONNECTIONS_PER_CLIENT = 16;

export interface GatewayDnsOptions {
  readonly log: Log;
  readonly upstreams: Upstreams;
  readonly port?: number;
}

export class GatewayDns {
  readonly #log: Log;
  readonly #upstreams: Upstreams;
  readonly #listener: DnsListener;
  /** Queries under way, by client. */
  readonly #underWay = new Map<string, number>();
  #total = 0;
  #addresses = '';

  constructor(options: GatewayDnsOptions) {
    this.#log = options.log;
    this.#upstreams = options.upstreams;
    this.#listener = new DnsListener(
      (query, _server, transport, reply, client) =>
        void this.#serve(query, transport, reply, client),
      options.log,
      {
        port: options.port ?? GATEWAY_DNS_PORT,
        maxConnections: MAX_CONNECTIONS,
        maxConnectionsPerPeer: MAX_CONNECTIONS_PER_CLIENT,
      },
    );
  }

  /** Serves on these addresses from now on; the same ones again change nothing. Rejects with `DnsListenError` after three attempts. */
  async listen(addresses: readonly IpAddress[]): Promise<void> {
    if (addresses.join() === this.#addresses) return;
    this.#addresses = addresses.join();
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#listener.listen(addresses);
        return;
      } catch (error) {
        if (attempt < LISTEN_ATTEMPTS) {
          this.#log.debug('The DNS server could not be opened', { attempt });
          await sleep(LISTEN_RETRY_MS);
          continue;
        }
        this.#addresses = '';
        this.#listener.close();
        throw error;
      }
    }
  }

  close(): void {
    this.#addresses = '';
    this.#listener.close();
  }

  async #serve(
    bytes: Uint8Array,
    transport: DnsTransport,
    reply: Reply,
    client: string,
  ): Promise<void> {
    const query = parseDnsMessage(bytes);
    if (!query || query.isResponse) return reply(undefined);
    const failure = (): Uint8Array | undefined =>
      writeDnsMessage(dnsResponse(query, DNS_RCODE.serverFailure));
    const answer = (await this.#ask(bytes, transport, client)) ?? failure();
    if (!answer) return;
    const fits = transport === 'tcp' || answer.length <= MAX_UDP_ANSWER;
    const sent = fits ? answer : (truncated(answer) ?? failure());
    if (sent) reply(sent);
  }

  async #ask(
    bytes: Uint8Array,
    transport: DnsTransport,
    client: string,
  ): Promise<Uint8Array | undefined> {
    const underWay = this.#underWay.get(client) ?? 0;
    if (underWay >= MAX_QUERIES_PER_CLIENT || this.#total >= MAX_QUERIES) {
      this.#log.debug('Too many DNS queries at once', { client });
      return undefined;
    }
    this.#underWay.set(client, underWay + 1);
    this.#total++;
    const outcome = await this.#upstreams.ask(bytes, transport, QUERY_TIMEOUT_MS);
    this.#total--;
    const left = (this.#underWay.get(client) ?? 1) - 1;
    if (left > 0) this.#underWay.set(client, left);
    else this.#underWay.delete(client);
    return outcome.kind === 'answered' ? outcome.answer : undefined;
  }
}

/** As much as fits into a datagram, with TC, so that the client asks again over TCP. */
function truncated(answer: Uint8Array): Uint8Array | undefined {
  const message = parseDnsMessage(answer);
  return message && writeDnsMessage(message, MAX_UDP_ANSWER);
}
