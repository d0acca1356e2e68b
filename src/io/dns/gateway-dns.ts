// The gateway's own DNS server on its tunnel addresses (operations 10.2): clients send it the queries about DNS resources that they cannot answer
// themselves (SRV, TXT), and it hands them on to the host's name servers, so that they are answered from the site's view.
//
// Deviates from operations 10.2: the name servers are asked in the order of resolv.conf, and one that fails gives its turn to the next until that
// fails; nothing is probed, so nothing leaves the host that no client asked for.

import { setTimeout as sleep } from 'node:timers/promises';
import { endpoint, type IpAddress } from '../../base/address.ts';
import type { Log } from '../../base/log.ts';
import { GATEWAY_DNS_PORT } from '../../wire/control/address-plan.ts';
import {
  DNS_RCODE,
  dnsResponse,
  parseDnsMessage,
  writeDnsMessage,
} from '../../wire/dns/message.ts';
import { DnsForwarder } from './dns-forwarder.ts';
import { DnsListener, type DnsTransport } from './dns-listener.ts';
import { HostFiles } from './host-files.ts';

// Specification (operations 10.2)
const UPSTREAM_PORT = 53;
const MAX_UDP_ANSWER = 1_200;
const LISTEN_ATTEMPTS = 3;
const LISTEN_RETRY_MS = 100;

export interface GatewayDnsOptions {
  readonly log: Log;
  readonly files?: HostFiles;
  readonly port?: number;
  readonly upstreamPort?: number;
}

export class GatewayDns {
  readonly #log: Log;
  readonly #files: HostFiles;
  readonly #forwarder = new DnsForwarder();
  readonly #listener: DnsListener;
  readonly #upstreamPort: number;
  /** How often a name server failed: which one is asked. */
  #failures = 0;
  #addresses = '';

  constructor(options: GatewayDnsOptions) {
    this.#log = options.log;
    this.#files = options.files ?? new HostFiles('/etc/hosts', '/etc/resolv.conf');
    this.#upstreamPort = options.upstreamPort ?? UPSTREAM_PORT;
    this.#listener = new DnsListener(
      (query, _server, transport, reply) => void this.#serve(query, transport, reply),
      options.log,
      options.port ?? GATEWAY_DNS_PORT,
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
    reply: (answer: Uint8Array) => void,
  ): Promise<void> {
    const query = parseDnsMessage(bytes);
    if (!query || query.isResponse) return;
    const failure = (): Uint8Array | undefined =>
      writeDnsMessage(dnsResponse(query, DNS_RCODE.serverFailure));
    const answer = (await this.#ask(bytes, transport)) ?? failure();
    if (!answer) return;
    const fits = transport === 'tcp' || answer.length <= MAX_UDP_ANSWER;
    const sent = fits ? answer : (truncated(answer) ?? failure());
    if (sent) reply(sent);
  }

  async #ask(bytes: Uint8Array, transport: DnsTransport): Promise<Uint8Array | undefined> {
    const { servers } = await this.#files.read();
    const addresses = servers.filter((server): server is IpAddress => !server.includes('%'));
    const turn = this.#failures;
    const address = addresses[turn % Math.max(1, addresses.length)];
    if (address === undefined) {
      this.#log.warn('A DNS query found no name server in resolv.conf');
      return undefined;
    }
    const server = endpoint(address, this.#upstreamPort);
    let outcome = await this.#forwarder.forward(bytes, server, transport);
    if (outcome.kind === 'failed' && outcome.reason === 'unreachable' && transport === 'tcp') {
      // Not every name server serves TCP; what fits into a datagram need not suffer from that.
      outcome = await this.#forwarder.forward(bytes, server, 'udp');
    }
    if (outcome.kind === 'answered') return outcome.answer;
    // Only the first of those that failed together moves on.
    if (outcome.reason !== 'too-many' && this.#failures === turn) this.#failures++;
    return undefined;
  }
}

/** As much as fits into a datagram, with TC, so that the client asks again over TCP. */
function truncated(answer: Uint8Array): Uint8Array | undefined {
  const message = parseDnsMessage(answer);
  return message && writeDnsMessage(message, MAX_UDP_ANSWER);
}
