import { describe, expect, it } from 'vitest';
import { type IceCandidate, parseCandidate } from './candidate.ts';
import { optimisticCandidates } from './optimistic.ts';

const parse = (...texts: readonly string[]): IceCandidate[] =>
  texts.flatMap((text) => parseCandidate(`candidate:f 1 udp 1 ${text}`) ?? []);
const addresses = (known: readonly IceCandidate[]): string[] =>
  optimisticCandidates(known).map(({ address }) => address.key);

describe('guessed candidates', () => {
  it('combine the address of a server-reflexive with the port of a host candidate', () => {
    const known = parse('10.0.0.2 52625 typ host', '198.51.100.7 40001 typ srflx');
    expect(addresses(known)).toEqual(['198.51.100.7:52625']);
    expect(optimisticCandidates(known)[0]).toMatchObject({ kind: 'srflx', priority: 1694498559 });
  });

  it('are not made for IPv6, nor of relayed candidates, nor where the address is known', () => {
    expect(addresses(parse('fd00::2 52625 typ host', '2001:db8::7 40001 typ srflx'))).toEqual([]);
    expect(addresses(parse('10.0.0.2 52625 typ host', '203.0.113.9 50100 typ relay'))).toEqual([]);
    expect(
      addresses(
        parse(
          '10.0.0.2 52625 typ host',
          '198.51.100.7 40001 typ srflx',
          '198.51.100.7 52625 typ prflx',
        ),
      ),
    ).toEqual([]);
  });

  it('are at most two at a time', () => {
    const hosts = [1, 2, 3, 4].map((n) => `10.0.0.${n} ${1000 + n} typ host`);
    const known = parse(...hosts, '198.51.100.7 40001 typ srflx', '198.51.100.8 40001 typ srflx');
    expect(addresses(known)).toEqual(['198.51.100.7:1001', '198.51.100.7:1002']);
    expect(addresses([...known, ...optimisticCandidates(known)])).toHaveLength(2);
  });
});
