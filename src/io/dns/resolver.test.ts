// The resolver against a name server on loopback and files of our own.

import { createSocket, type Socket } from 'node:dgram';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import dnsPacket from 'dns-packet';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { parseHosts, parseResolvConf } from './host-files.ts';
import { SystemResolver } from './resolver.ts';

interface Zone {
  readonly [name: string]:
    | { readonly a?: string[]; readonly aaaa?: string[]; readonly ttl?: number }
    | 'SERVFAIL'
    | 'NO-AAAA';
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
    if (entry === 'NO-AAAA' && question.type === 'AAAA') return;
    const rcode = entry === 'SERVFAIL' ? 2 : entry === undefined ? 3 : 0;
    const found =
      entry === 'NO-AAAA' ? { a: ['10.0.0.7'] } : typeof entry === 'object' ? entry : {};
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

  test('a family that is silent is not waited for when the other has addresses', async () => {
    zone = { 'half.test': 'NO-AAAA' };
    expect(await addressesOf(resolverWith(), 'half.test')).toEqual(['10.0.0.7']);
  });

  test('a domain is absolute, only a single label is looked up in the search list', async () => {
    zone = {
      'db.corp.test': { a: ['10.0.0.1'] },
      'api.partner.test.corp.test': { a: ['10.0.0.66'] },
    };
    const resolver = resolverWith(
      'nameserver 127.0.0.1\nsearch ns.test corp.test\noptions ndots:5\n',
    );
    expect(await addressesOf(resolver, 'api.partner.test')).toEqual([]);
    expect([...asked].sort()).toEqual(['A api.partner.test', 'AAAA api.partner.test']);
    expect(await addressesOf(resolver, 'db')).toEqual(['10.0.0.1']);
    expect(asked.slice(2).filter((question) => question.startsWith('A '))).toEqual([
      'A db.ns.test',
      'A db.corp.test',
    ]);
  });

  test('without name servers only the hosts file counts', async () => {
    const resolver = resolverWith('# nothing\n', '10.0.0.1 db.test\n');
    expect(await addressesOf(resolver, 'db.test')).toEqual(['10.0.0.1']);
    expect(await addressesOf(resolver, 'other.test')).toEqual(['no-name-servers']);
  });
});

describe('files', () => {
  test('resolv.conf with lines of all kinds', () => {
    const text = [
      '\uFEFFnameserver\t10.0.0.1  \r',
      'nameserver fe80::1%eth0 # zone',
      'nameserver ::ffff:10.2.0.53',
      'nameserver nonsense',
      'nameserver',
      'nameserver fe80::1%a/b',
      'nameserver 10.0.0.1',
      'domain a.test',
      'search B.test c.test.',
      'options rotate ndots:2 retrans:1 timeout:x',
      'sortlist 10.0.0.0',
    ].join('\n');
    expect(parseResolvConf(text)).toEqual({
      servers: ['10.0.0.1', 'fe80::1%eth0', '10.2.0.53'],
      search: ['b.test', 'c.test'],
    });
    expect(parseResolvConf('')).toEqual({ servers: [], search: [] });
  });

  test('a resolv.conf that is replaced is read again, an empty one heals', async () => {
    zone = { 'db.test': { a: ['10.0.0.1'] } };
    const resolver = resolverWith('');
    expect(await addressesOf(resolver, 'db.test')).toEqual(['no-name-servers']);
    const fresh = join(folder, 'fresh');
    writeFileSync(fresh, 'nameserver 127.0.0.1\n');
    renameSync(fresh, join(folder, 'resolv.conf'));
    await vi.waitFor(
      async () => expect(await addressesOf(resolver, 'db.test')).toEqual(['10.0.0.1']),
      { timeout: 5_000, interval: 100 },
    );
  });

  test('hosts: several names, several addresses, nonsense', () => {
    const hosts = parseHosts('10.0.0.1\ta B\n10.0.0.2 a\nx y\n10.0.0.1 a\n#10.0.0.3 a\n');
    expect([...hosts]).toEqual([
      ['a', ['10.0.0.1', '10.0.0.2']],
      ['b', ['10.0.0.1']],
    ]);
  });
});
