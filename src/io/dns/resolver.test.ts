// The resolver against name servers on loopback that do as a script says, and files of our own (data-plane 9.7, operations 10, 18.6, 18.7; DN-2,
// DN-6 to DN-9).

import { mkdtempSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  address,
  alias,
  type DnsScript,
  DnsServer,
  type Scripted,
  soa,
  zone,
} from '../../../test/support/dns-server.ts';
import { type Log, SILENT_LOG } from '../../base/log.ts';
import { DNS_CLASS, DNS_TYPE } from '../../wire/dns/records.ts';
import { HostFiles, parseHosts, parseResolvConf } from './host-files.ts';
import { SystemResolver } from './resolver.ts';
import { Upstreams } from './upstreams.ts';

let folder: string;
let server: DnsServer;
let now: number;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'resolver-'));
  now = 0;
  server = new DnsServer();
  await server.listen(['127.0.0.1', '127.0.0.2', '127.0.0.3']);
});

afterEach(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

function resolverWith(
  resolvConf = 'nameserver 127.0.0.1\n',
  { hosts = '', log = SILENT_LOG }: { hosts?: string; log?: Log } = {},
): SystemResolver {
  const [hostsPath, resolvConfPath] = [join(folder, 'hosts'), join(folder, 'resolv.conf')];
  writeFileSync(hostsPath, hosts);
  writeFileSync(resolvConfPath, resolvConf);
  const files = new HostFiles(hostsPath, resolvConfPath);
  const upstreams = new Upstreams({ files, log, port: server.port });
  return new SystemResolver({ files, upstreams, log, now: () => now });
}

async function addressesOf(resolver: SystemResolver, name: string): Promise<readonly string[]> {
  const outcome = await resolver.resolve(name);
  return outcome.kind === 'resolved' ? outcome.addresses : [outcome.reason];
}

describe('look-ups', () => {
  test('both families, IPv4 first; one query of each for names asked at the same time', async () => {
    const real = ['10.0.0.1', '10.0.0.2', '2001:db8::1'];
    server.script = zone(...real.map((text) => address('db.test', text)));
    const resolver = resolverWith();
    const all = await Promise.all(
      ['db.test', 'DB.test.', 'db.test'].map((name) => addressesOf(resolver, name)),
    );
    for (const addresses of all) expect(addresses).toEqual(real);
    expect([...server.questions()].sort()).toEqual(['A db.test', 'AAAA db.test']);
  });

  test('the hosts file comes first and asks nobody, nor does localhost', async () => {
    const hosts = '# local\n10.1.1.1 db.test db # comment\n::1 db.test\n';
    const resolver = resolverWith(undefined, { hosts });
    expect(await addressesOf(resolver, 'DB.test')).toEqual(['10.1.1.1', '::1']);
    expect(await addressesOf(resolver, 'a.localhost')).toEqual([]);
    expect(server.asked).toEqual([]);
  });

  test('answers live exactly as long as their TTL, the least of a chain of aliases', async () => {
    const chain =
      (real: string): DnsScript =>
      ({ type }) =>
        type === DNS_TYPE.a
          ? [{ answers: [alias('db.test', 'X.test', 5), address('x.test', real, 60)] }]
          : [{ answers: [alias('db.test', 'X.test', 5)], authorities: [soa('test', 60, 60)] }];
    server.script = chain('10.0.0.1');
    const resolver = resolverWith();
    await resolver.resolve('db.test');
    server.script = chain('10.0.0.2');
    now = 4_999;
    expect(await addressesOf(resolver, 'db.test')).toEqual(['10.0.0.1']);
    now = 5_000;
    expect(await addressesOf(resolver, 'db.test')).toEqual(['10.0.0.2']);
  });

  test('a TTL of zero is not kept', async () => {
    server.script = zone(address('db.test', '10.0.0.1', 0));
    const resolver = resolverWith();
    await resolver.resolve('db.test');
    await resolver.resolve('db.test');
    expect(server.questions().filter((text) => text === 'A db.test')).toHaveLength(2);
  });

  test('a name that does not exist has no addresses as long as its SOA says, or for a short while', async () => {
    server.script = ({ name }) => [
      { rcode: 3, authorities: name === 'none.test' ? [soa('test', 60, 7)] : [] },
    ];
    const resolver = resolverWith();
    expect(await addressesOf(resolver, 'none.test')).toEqual([]);
    expect(await addressesOf(resolver, 'void.test')).toEqual([]);
    server.script = zone(address('none.test', '10.0.0.1'), address('void.test', '10.0.0.2'));
    now = 1_999;
    expect(await addressesOf(resolver, 'void.test')).toEqual([]);
    now = 2_000;
    expect(await addressesOf(resolver, 'void.test')).toEqual(['10.0.0.2']);
    now = 6_999;
    expect(await addressesOf(resolver, 'none.test')).toEqual([]);
    now = 7_000;
    expect(await addressesOf(resolver, 'none.test')).toEqual(['10.0.0.1']);
  });

  test('a server that fails counts as no addresses and is asked again; what was known counts on', async () => {
    const resolver = resolverWith();
    server.script = zone(address('old.test', '10.0.0.1', 5));
    await resolver.resolve('old.test');
    server.script = () => [{ rcode: 2 }];
    expect(await addressesOf(resolver, 'bad.test')).toEqual([]);
    now = 6_000;
    expect(await addressesOf(resolver, 'old.test')).toEqual(['10.0.0.1']);
    now = 5_000 + 3_600_000;
    expect(await addressesOf(resolver, 'old.test')).toEqual([]);
    server.script = zone(address('bad.test', '2001:db8::1'));
    expect(await addressesOf(resolver, 'bad.test')).toEqual(['2001:db8::1']);
  });

  test.each<[string, Scripted[] | undefined]>([
    ['says there is no such name', [{ rcode: 3 }]],
    ['fails', [{ rcode: 2 }]],
    ['is refused', [{ rcode: 5 }]],
    ['is silent', []],
    ["has another zone's SOA", [{ authorities: [soa('other.test', 9, 9)] }]],
    ['has an address of the wrong family', [{ answers: [address('nas.corp.test', '10.9.9.9')] }]],
  ])('DN-2, DN-6: the AAAA half that %s does not speak for the A half', async (_, ipv6) => {
    server.script = ({ type }) =>
      type === DNS_TYPE.a ? [{ answers: [address('nas.corp.test', '10.2.0.40')] }] : (ipv6 ?? []);
    const resolver = resolverWith();
    expect(await addressesOf(resolver, 'nas.corp.test')).toEqual(['10.2.0.40']);
    expect(await addressesOf(resolver, 'nas.corp.test')).toEqual(['10.2.0.40']);
    expect(server.questions().filter((text) => text.startsWith('A '))).toHaveLength(1);
  });

  test('DN-6: the owner names of an answer may have any case', async () => {
    server.script = ({ name, type }) =>
      type === DNS_TYPE.a && name === 'db.corp.test'
        ? [
            {
              answers: [alias('dB.cORP.TesT', 'N1.corp.test'), address('n1.CORP.test', '10.0.0.1')],
            },
          ]
        : [{}];
    expect(await addressesOf(resolverWith(), 'Db.Corp.tEsT')).toEqual(['10.0.0.1']);
  });

  test('aliases are followed over several answers; a loop has no addresses', async () => {
    server.script = ({ name, type }) => {
      if (type !== DNS_TYPE.a) return [{}];
      if (name === 'a.test') return [{ answers: [alias('a.test', 'b.test')] }];
      if (name === 'b.test') return [{ answers: [address('b.test', '10.0.0.2')] }];
      return [{ answers: [alias('l.test', 'm.test'), alias('m.test', 'l.test')] }];
    };
    const resolver = resolverWith();
    expect(await addressesOf(resolver, 'a.test')).toEqual(['10.0.0.2']);
    expect(await addressesOf(resolver, 'l.test')).toEqual([]);
    server.script = ({ name }) => [
      { answers: [alias(name, name === 'x.test' ? 'y.test' : 'x.test')] },
    ];
    expect(await addressesOf(resolver, 'x.test')).toEqual([]);
    expect(server.asked.length).toBeLessThan(60);
  });

  test('a truncated answer is asked for again over TCP', async () => {
    const many = Array.from({ length: 100 }, (_, i) => address('big.test', `10.0.1.${i}`));
    server.script = ({ transport, type }) => {
      if (type !== DNS_TYPE.a) return [{}];
      return transport === 'udp' ? [{ isTruncated: true }] : [{ answers: many }];
    };
    expect(await addressesOf(resolverWith(), 'big.test')).toHaveLength(100);
  });

  test('answers with a wrong id, from elsewhere, or to another question are passed over', async () => {
    const forged = { answers: [address('db.test', '10.6.6.6')] };
    const questions = [{ name: 'evil.test', type: DNS_TYPE.a, class: DNS_CLASS.internet }];
    server.script = ({ type }) =>
      type === DNS_TYPE.a
        ? [
            { ...forged, idOffset: 1 },
            { ...forged, fromElsewhere: true },
            { ...forged, questions },
            { ...forged, isResponse: false },
            { answers: [address('db.test', '10.0.0.1'), address('other.test', '10.6.6.6')] },
          ]
        : [{}];
    expect(await addressesOf(resolverWith(), 'db.test')).toEqual(['10.0.0.1']);
  });

  test('DN-7: a domain is absolute, only a single label is looked up in the search list', async () => {
    server.script = zone(
      address('fileserver.corp.test', '10.0.0.1'),
      address('api.partner.test.corp.test', '10.2.0.66'),
    );
    const resolver = resolverWith(
      'nameserver 127.0.0.1\nsearch ns.test corp.test\noptions ndots:5\n',
    );
    expect(await addressesOf(resolver, 'api.partner.test')).toEqual([]);
    expect([...server.questions()].sort()).toEqual(['A api.partner.test', 'AAAA api.partner.test']);
    expect(await addressesOf(resolver, 'fileserver')).toEqual(['10.0.0.1']);
    expect(
      server
        .questions()
        .slice(2)
        .filter((question) => question.startsWith('A ')),
    ).toEqual(['A fileserver.ns.test', 'A fileserver.corp.test']);
  });

  test('without name servers only the hosts file counts', async () => {
    const resolver = resolverWith('# nothing\n', { hosts: '10.0.0.1 db.test\n' });
    expect(await addressesOf(resolver, 'db.test')).toEqual(['10.0.0.1']);
    expect(await addressesOf(resolver, 'other.test')).toEqual(['no-name-servers']);
  });
});

describe('several name servers', () => {
  const THREE = 'nameserver 127.0.0.1\nnameserver 127.0.0.2\nnameserver 127.0.0.3\n';
  const serversAsked = (name: string): string[] =>
    server.asked.flatMap((line) => (line.includes(` A ${name}`) ? [line.split(' ')[0] ?? ''] : []));

  test('one that refuses is followed by the next, and is the last one from then on', async () => {
    server.script = ({ server: at, name, type }) =>
      at === '127.0.0.1'
        ? [{ rcode: 2 }]
        : [{ answers: type === DNS_TYPE.a ? [address(name, '10.0.0.1')] : [] }];
    const resolver = resolverWith(THREE);
    expect(await addressesOf(resolver, 'a.test')).toEqual(['10.0.0.1']);
    expect(serversAsked('a.test')).toEqual(['127.0.0.1', '127.0.0.2']);
    expect(await addressesOf(resolver, 'b.test')).toEqual(['10.0.0.1']);
    expect(serversAsked('b.test')).toEqual(['127.0.0.2']);
  });

  test('one that is silent gets company; the first answer counts', async () => {
    server.script = ({ server: at, name, type }) =>
      at === '127.0.0.1'
        ? []
        : [{ answers: type === DNS_TYPE.a ? [address(name, '10.0.0.1')] : [] }];
    expect(await addressesOf(resolverWith(THREE), 'a.test')).toEqual(['10.0.0.1']);
    expect(serversAsked('a.test')).toEqual(['127.0.0.1', '127.0.0.2']);
  });

  test('a query that was lost is sent again', async () => {
    let first = true;
    server.script = ({ name, type }) => {
      if (type !== DNS_TYPE.a) return [{}];
      const isLost = first;
      first = false;
      return isLost ? [] : [{ answers: [address(name, '10.0.0.1')] }];
    };
    expect(await addressesOf(resolverWith(), 'a.test')).toEqual(['10.0.0.1']);
  });

  test('servers with a zone are asked through it', async () => {
    const ofIpv6 = new DnsServer();
    await ofIpv6.listen(['::1']);
    ofIpv6.script = zone(address('a.test', '10.0.0.1'));
    writeFileSync(join(folder, 'resolv.conf'), 'nameserver ::1%lo\n');
    const files = new HostFiles(join(folder, 'hosts'), join(folder, 'resolv.conf'));
    const upstreams = new Upstreams({ files, log: SILENT_LOG, port: ofIpv6.port });
    const resolver = new SystemResolver({ files, upstreams, log: SILENT_LOG });
    expect(await addressesOf(resolver, 'a.test')).toEqual(['10.0.0.1']);
    ofIpv6.close();
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
      'options rotate ndots:2 retrans:1 retry:1 edns0 trust-ad timeout:x',
      'options attempts:3 timeout:99',
      'sortlist 10.0.0.0',
      ...[3, 4, 5, 6, 7].map((i) => `nameserver 10.0.0.${i}`),
    ].join('\n');
    expect(parseResolvConf(text)).toEqual({
      servers: [
        '10.0.0.1',
        'fe80::1%eth0',
        '10.2.0.53',
        ...[3, 4, 5, 6, 7].map((i) => `10.0.0.${i}`),
      ],
      search: ['b.test', 'c.test'],
      attempts: 3,
      timeoutMs: 5_000,
      unusable: ['nameserver nonsense', 'nameserver', 'nameserver fe80::1%a/b'],
    });
    expect(parseResolvConf('')).toEqual({ servers: [], search: [], unusable: [] });
  });

  test('DN-8: the log says once what is unusable, and that nothing is configured', async () => {
    const lines: string[] = [];
    const note = (text: string, fields?: object): void =>
      void lines.push(`${text} ${JSON.stringify(fields)}`);
    const log: Log = { ...SILENT_LOG, warn: note, info: note };
    const resolver = resolverWith('nameserver x\n', { log });
    await resolver.resolve('a.test');
    await resolver.resolve('b.test');
    expect(lines.map((line) => line.split(' {')[0])).toEqual([
      'A line of resolv.conf is unusable',
      'No name server is configured',
    ]);
  });

  const NEW = 'nameserver 127.0.0.1\n';
  test.each<[string, (path: string, other: string) => void]>([
    ['is written in place', (path) => writeFileSync(path, NEW)],
    [
      'is renamed over',
      (path, other) => {
        writeFileSync(other, NEW);
        renameSync(other, path);
      },
    ],
    [
      'is a link that is pointed elsewhere',
      (path, other) => {
        writeFileSync(other, NEW);
        rmSync(path);
        symlinkSync(other, path);
      },
    ],
  ])('DN-9: a resolv.conf that was empty and %s is read again', async (_, change) => {
    server.script = zone(address('db.test', '10.0.0.1'));
    const resolver = resolverWith('');
    expect(await addressesOf(resolver, 'db.test')).toEqual(['no-name-servers']);
    change(join(folder, 'resolv.conf'), join(folder, 'other'));
    await vi.waitFor(
      async () => expect(await addressesOf(resolver, 'db.test')).toEqual(['10.0.0.1']),
      { timeout: 5_000, interval: 100 },
    );
  });

  test('DN-9: a file with equal size, time and place is read again by what stands in it', async () => {
    server.script = zone(address('db.test', '10.0.0.1'));
    const path = join(folder, 'resolv.conf');
    const resolver = resolverWith('#ameserver 127.0.0.1\n');
    utimesSync(path, 1, 1);
    expect(await addressesOf(resolver, 'db.test')).toEqual(['no-name-servers']);
    writeFileSync(path, NEW);
    utimesSync(path, 1, 1);
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
