import { describe, expect, test } from 'vitest';
import { type Endpoint, parseEndpoint } from '../../base/address.ts';
import { parseCandidate } from '../../proto/ice/candidate.ts';
import type { LocalCandidateInfo } from '../../proto/ice/local-candidates.ts';
import { hostCandidates, RemoteCandidateBook, seedCandidates } from './candidates.ts';

const at = (text: string): Endpoint => parseEndpoint(text) ?? expect.unreachable();

function local(
  kind: LocalCandidateInfo['kind'],
  address: string,
  base = address,
): LocalCandidateInfo {
  return { kind, address: at(address), base: at(base) };
}

function relay(...infos: readonly LocalCandidateInfo[]): {
  candidates: Map<string, LocalCandidateInfo>;
} {
  return { candidates: new Map(infos.map((info) => [info.address.key, info])) };
}

function remote(kind: string, address: string, port: number) {
  return (
    parseCandidate(`candidate:1 1 udp 5 ${address} ${port} typ ${kind}`) ?? expect.unreachable()
  );
}

describe('a connection starts with', () => {
  test('hosts and reflexive addresses of all relays, relayed ones of its own, each once, best first', () => {
    const host = local('host', '10.0.0.2:52625');
    const own = relay(
      host,
      local('srflx', '203.0.113.7:4000', '10.0.0.2:52625'),
      local('relayed', '198.51.100.1:50000'),
    );
    const other = relay(
      host,
      local('host', '[2001:db8::2]:52625'),
      local('srflx', '203.0.113.7:4001', '10.0.0.2:52625'),
      local('relayed', '198.51.100.2:50000'),
    );
    const seeds = seedCandidates([host], own, [own, other]);
    expect(seeds.map(({ address }) => address.key)).toEqual([
      '[2001:db8::2]:52625',
      '10.0.0.2:52625',
      '203.0.113.7:4000',
      '203.0.113.7:4001',
      '198.51.100.1:50000',
    ]);
  });

  test('a relayed address of the family of the path to the relay before the other one', () => {
    const own = relay(
      { ...local('relayed', '[2001:db8::9]:50000'), viaFamily: 4 },
      { ...local('relayed', '198.51.100.1:50000'), viaFamily: 4 },
    );
    expect(
      seedCandidates([], own, [own]).map(({ address }) => address.port && address.address),
    ).toEqual(['198.51.100.1', '2001:db8::9']);
  });
});

test('of our own addresses those that nobody could reach are left out, and there is a limit', () => {
  const texts = [
    '0.0.0.0:1',
    '169.254.1.1:1',
    '224.0.0.1:1',
    '10.0.0.1:0',
    '10.0.0.1:1',
    '[ff02::1]:1',
    '[fd00::1]:1',
  ];
  expect(hostCandidates(texts.map(at)).map(({ address }) => address.key)).toEqual([
    '10.0.0.1:1',
    '[fd00::1]:1',
  ]);
  const many = Array.from({ length: 40 }, (_, i) => at(`10.0.0.${i + 1}:1`));
  expect(hostCandidates(many)).toHaveLength(16);
});

describe('guessed candidates', () => {
  test('join the reflexive IP with host ports, two per call, none twice', () => {
    const book = new RemoteCandidateBook();
    for (const port of [1, 2, 3]) book.add(remote('host', '10.0.0.2', port));
    expect(book.guess()).toEqual([]);
    book.add(remote('srflx', '203.0.113.7', 1));
    const first = book.guess();
    expect(first.map(({ kind, address }) => `${kind} ${address.key}`)).toEqual([
      'srflx 203.0.113.7:2',
      'srflx 203.0.113.7:3',
    ]);
    expect(first[0]?.priority).toBe(1_694_498_559);
    expect(book.guess()).toEqual([]);
  });

  test('never mix or use IPv6, and forget what was withdrawn', () => {
    const book = new RemoteCandidateBook();
    book.add(remote('host', '2001:db8::2', 1));
    book.add(remote('srflx', '2001:db8::7', 9));
    book.add(remote('srflx', '203.0.113.7', 9));
    expect(book.guess()).toEqual([]);
    book.add(remote('host', '10.0.0.2', 1));
    book.remove(remote('srflx', '203.0.113.7', 9));
    expect(book.guess()).toEqual([]);
  });

  test('are bounded, however many candidates a peer signals', () => {
    const book = new RemoteCandidateBook();
    let count = 0;
    for (let i = 1; i < 200; i++) {
      book.add(remote('host', `10.0.0.${i}`, i));
      book.add(remote('srflx', `203.0.113.${i}`, i));
      count += book.guess().length;
    }
    expect(count).toBeLessThanOrEqual(15 * 15);
  });
});
