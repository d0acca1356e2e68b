// A name server that does as a script says, over UDP and TCP on one port of several loopback addresses.

import { createSocket, type Socket } from 'node:dgram';
import { createServer, type Server } from 'node:net';
import { viewOf } from '../../src/base/bytes.ts';
import {
  type DnsMessage,
  type DnsQuestion,
  dnsResponse,
  parseDnsMessage,
  writeDnsMessage,
} from '../../src/wire/dns/message.ts';
import { DNS_CLASS, DNS_TYPE, type DnsData, type DnsRecord } from '../../src/wire/dns/records.ts';
import { ip } from './packets.ts';

export interface Asked extends DnsQuestion {
  readonly server: string;
  readonly transport: 'udp' | 'tcp';
}

export interface Scripted extends Partial<Omit<DnsMessage, 'questions'>> {
  readonly questions?: readonly DnsQuestion[];
  /** Added to the id. */
  readonly idOffset?: number;
  /** Sent from a socket that was not asked. */
  readonly fromElsewhere?: boolean;
}

/** Answers to one query, in order; none: silence. */
export type DnsScript = (asked: Asked) => readonly Scripted[] | Promise<readonly Scripted[]>;

export class DnsServer {
  readonly asked: string[] = [];
  script: DnsScript = () => [{ rcode: 3 }];
  readonly #open: (Socket | Server)[] = [];
  #port = 0;

  get port(): number {
    return this.#port;
  }

  async listen(addresses: readonly string[] = ['127.0.0.1']): Promise<void> {
    for (const address of addresses) {
      await this.#listenUdp(address);
      await this.#listenTcp(address);
    }
  }

  close(): void {
    for (const server of this.#open.splice(0)) server.close();
  }

  /** Which queries came, without the server: `A db.test`. */
  questions(): readonly string[] {
    return this.asked.map((line) => line.split(' ').slice(1, 3).join(' '));
  }

  async #listenUdp(address: string): Promise<void> {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    const elsewhere = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    this.#open.push(socket, elsewhere);
    socket.on('message', async (bytes, from) => {
      for (const { answer, script } of await this.#answers(bytes, address, 'udp')) {
        const sender = script.fromElsewhere === true ? elsewhere : socket;
        if (this.#open.length > 0) sender.send(answer, from.port, from.address);
      }
    });
    await new Promise<void>((resolve) => socket.bind(this.#port, address, resolve));
    this.#port = socket.address().port;
  }

  async #listenTcp(address: string): Promise<void> {
    const server = createServer((connection) => {
      connection.on('error', () => {});
      connection.on('data', async (bytes) => {
        for (const { answer } of await this.#answers(bytes.subarray(2), address, 'tcp')) {
          const length = Buffer.alloc(2);
          length.writeUInt16BE(answer.length);
          connection.write(Buffer.concat([length, answer]));
        }
      });
    });
    this.#open.push(server);
    await new Promise<void>((resolve) => server.listen(this.#port, address, resolve));
  }

  async #answers(
    bytes: Uint8Array,
    server: string,
    transport: 'udp' | 'tcp',
  ): Promise<{ readonly answer: Uint8Array; readonly script: Scripted }[]> {
    const query = parseDnsMessage(Uint8Array.from(bytes));
    const [question] = query?.questions ?? [];
    if (!query || !question) return [];
    const type = Object.entries(DNS_TYPE).find(([, value]) => value === question.type)?.[0];
    this.asked.push(`${server} ${type?.toUpperCase()} ${question.name} ${transport}`);
    const scripts = await this.script({ ...question, server, transport });
    return scripts.map((script) => {
      const { idOffset = 0, fromElsewhere: _, ...fields } = script;
      const message = { ...dnsResponse(query, 0), ...fields };
      const answer = writeDnsMessage(message) ?? new Uint8Array(0);
      viewOf(answer).setUint16(0, (query.id + idOffset) & 0xffff);
      return { answer, script };
    });
  }
}

export function address(name: string, text: string, ttlSeconds = 60): DnsRecord {
  const type = text.includes(':') ? DNS_TYPE.aaaa : DNS_TYPE.a;
  return record(name, type, { kind: 'address', address: ip(text) }, ttlSeconds);
}

export function alias(name: string, to: string, ttlSeconds = 60): DnsRecord {
  return record(name, DNS_TYPE.cname, { kind: 'name', name: to }, ttlSeconds);
}

export function soa(name: string, ttlSeconds: number, minimum: number): DnsRecord {
  const numbers = { serial: 1, refresh: 1, retry: 1, expire: 1, minimum };
  const data = { kind: 'soa', primary: `ns.${name}`, mailbox: `dns.${name}`, ...numbers } as const;
  return record(name, DNS_TYPE.soa, data, ttlSeconds);
}

function record(name: string, type: number, data: DnsData, ttlSeconds: number): DnsRecord {
  return { name, type, class: DNS_CLASS.internet, ttlSeconds, data };
}

/** The records of a zone that have the question's name and type. */
export function zone(...records: readonly DnsRecord[]): DnsScript {
  return ({ name, type }) => {
    const ofName = records.filter((entry) => entry.name.toLowerCase() === name.toLowerCase());
    if (ofName.length === 0) return [{ rcode: 3 }];
    return [{ answers: ofName.filter((entry) => entry.type === type) }];
  };
}
