// The resolver against a name server on loopback and files of our own.

import { createSocket, type Socket } from 'node:dgram';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import dnsPacket from 'dns-packet';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseHosts, parseResolvConf } from './host-files.ts';
import { SystemResolver } from './resolver.ts';

interface Zone {
  readonly [name: string]:
    | { readonly a?: string[]; readonly aaaa?: string[]; readonly ttl?: number }
    | 'SERVFAIL';
}

let folder: string;
let socket: Socket;
let port: number;
let zone: Zone;
let asked: string[];
let now: number;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'resolver-'));
  asked = [];
  now = 0;
  zone = {};
  socket = createSocket('udp4');
  socket.on('message', (bytes, from) => {
    const query = dnsPacket.decode(bytes);
    const [question] = query.questions ?? [];
    if (!question) return;
    asked.push(`${question.type} ${question.name}`);
    const entry = zone[question.name];
    const rcode = entry === 'SERVFAIL' ? 2 : entry === undefined ? 3 : 0;
    const found = entry === undefined || entry === 'SERVFAIL' ? {} : entry;
    const addresses = (question.type === 'A' ? found.a : found.aaaa) ?? [];
    const answer = dnsPacket.encode({
      type: 'response',
      id: query.id ?? 0,
      flags: rcode | dnsPacket.RECURSION_AVAILABLE,
      questions: [question],
      answers: addresses.map((data) => ({
        name: question.name,
        type: question.type as 'A',
        ttl: found.ttl ?? 60,
        data,
      })),
    });
    socket.send(answer, from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  port = socket.address().port;
});

afterEach(() => {
  socket.close();
  rmSync(folder, { recursive: true });
});

function resolverWith(resolvConf = 'nameserver 127.0.0.1\n', hosts = ''): SystemResolver {
  const [hostsPath, resolvConfPath] = [join(folder, 'hosts'), join(folder, 'resolv.conf')];
  writeFileSync(hostsPath, hosts);
  writeFileSync(resolvConfPath, resolvConf);
  return new SystemResolver({ hostsPath, resolvConfPath, port, now: () => now });
}

async function addressesOf(resolver: SystemResolver, name: string): Promise<readonly string[]> {
  const outcome = await resolver.resolve(name);
  return outcome.kind === 'resolved' ? outcome.addresses : [outcome.reason];
}

describe('look-ups', () => {
  test('both families, IPv4 first; one query of each for names asked at the same time', async () => {
    zone = { 'db.test': { a: ['10.0.0.1', '10.0.0.2'], aaaa: ['2001:db8::1'] } };
    const resolver = resolverWith();
    const all = await Promise.all(
      ['db.test', 'DB.test.', 'db.test'].map((name) => addressesOf(resolver, name)),
    );
    for (const addresses of all) {
      expect(addresses.slice(2)).toEqual(['2001:db8::1']);
      expect([...addresses.slice(0, 2)].sort()).toEqual(['10.0.0.1', '10.0.0.2']);
    }
    expect([...asked].sort()).toEqual(['A db.test', 'AAAA db.test']);
  });

  test('the hosts file comes first and asks nobody', async () => {
    const resolver = resolverWith(
      undefined,
      '# local\n10.1.1.1 db.test db # comment\n::1 db.test\n',
    );
    expect(await addressesOf(resolver, 'DB.test')).toEqual(['10.1.1.1', '::1']);
    expect(asked).toEqual([]);
  });

  test('answers live as long as their TTL', async () => {
    zone = { 'db.test': { a: ['10.0.0.1'], ttl: 5 } };
    const resolver = resolverWith();
    await resolver.resolve('db.test');
    zone = { 'db.test': { a: ['10.0.0.2'], ttl: 5 } };
    now = 4_999;
    expect(await addressesOf(resolver, 'db.test')).toEqual(['10.0.0.1']);
    now = 5_000;
    expect(await addressesOf(resolver, 'db.test')).toEqual(['10.0.0.2']);
  });

  test('a name that does not exist has no addresses, for a short while', async () => {
    const resolver = resolverWith();
    expect(await addressesOf(resolver, 'none.test')).toEqual([]);
    zone = { 'none.test': { a: ['10.0.0.1'] } };
    expect(await addressesOf(resolver, 'none.test')).toEqual([]);
    now = 2_000;
    expect(await addressesOf(resolver, 'none.test')).toEqual(['10.0.0.1']);
  });

  test('a server that fails counts as no addresses and is asked again', async () => {
    zone = { 'bad.test': 'SERVFAIL' };
    const resolver = resolverWith();
    expect(await addressesOf(resolver, 'bad.test')).toEqual([]);
    zone = { 'bad.test': { aaaa: ['2001:db8::1'] } };
    expect(await addressesOf(resolver, 'bad.test')).toEqual(['2001:db8::1']);
  });

  test('the search list is tried after the name, or before it if the name has too few dots', async () => {
    zone = { 'db.corp.test': { a: ['10.0.0.1'] }, 'a.b.corp.test': { a: ['10.0.0.2'] } };
    const after = resolverWith('nameserver 127.0.0.1\nsearch corp.test\n');
    expect(await addressesOf(after, 'a.b')).toEqual(['10.0.0.2']);
    expect(asked.filter((question) => question.startsWith('A '))).toEqual([
      'A a.b',
      'A a.b.corp.test',
    ]);
    asked = [];
    expect(await addressesOf(after, 'db')).toEqual(['10.0.0.1']);
    expect(asked.filter((question) => question.startsWith('A '))).toEqual(['A db.corp.test']);
  });

  test('without name servers only the hosts file counts', async () => {
    const resolver = resolverWith('# nothing\n', '10.0.0.1 db.test\n');
    expect(await addressesOf(resolver, 'db.test')).toEqual(['10.0.0.1']);
    expect(await addressesOf(resolver, 'other.test')).toEqual(['no-name-servers']);
  });
});

describe('files', () => {
  test('resolv.conf', () => {
    const text =
      'nameserver 10.0.0.1\nnameserver fe80::1%eth0 # zone\nnameserver nonsense\ndomain a.test\nsearch B.test c.test.\noptions rotate ndots:2\n';
    expect(parseResolvConf(text)).toEqual({
      servers: ['10.0.0.1', 'fe80::1'],
      search: ['b.test', 'c.test'],
      ndots: 2,
    });
    expect(parseResolvConf('')).toEqual({ servers: [], search: [], ndots: 1 });
  });

  test('hosts: several names, several addresses, nonsense', () => {
    const hosts = parseHosts('10.0.0.1\ta B\n10.0.0.2 a\nx y\n10.0.0.1 a\n#10.0.0.3 a\n');
    expect([...hosts]).toEqual([
      ['a', ['10.0.0.1', '10.0.0.2']],
      ['b', ['10.0.0.1']],
    ]);
  });
});
