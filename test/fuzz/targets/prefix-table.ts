// The prefix table beside a list that is searched from end to end: after any sets and deletes both find the same.

import {
  familyOf,
  type IpNetwork,
  networkContains,
  parseNetwork,
  writeAddressWords,
} from '../../../src/base/address.ts';
import { PrefixTable } from '../../../src/base/prefix-table.ts';
import { observe } from '../engine/edges.ts';
import { Operations } from '../operations.ts';

export const name = 'prefix-table';
export const kind = 'operations';

const NETWORKS = [
  '0.0.0.0/0',
  '10.0.0.0/8',
  '10.0.0.0/9',
  '10.128.0.0/9',
  '10.20.0.0/16',
  '10.20.0.0/24',
  '10.20.0.128/25',
  '10.20.0.5/32',
  '128.0.0.0/1',
  '255.255.255.255/32',
  '::/0',
  '2001:db8::/32',
  '2001:db8::/48',
  '2001:db8:0:1::/64',
  '2001:db8::5/128',
  '8000::/1',
  '::/96',
  '::10.20.0.0/112',
  '::ffff:0:0/95',
  'fd00::/8',
].map(networkOf);
const WORDS = NETWORKS.flatMap(({ address }) => {
  const words = new Int32Array(4);
  writeAddressWords(address, words, 0);
  return words;
});
const MAX_OPERATIONS = 64;

export function run(bytes: Uint8Array): void {
  const ops = new Operations(bytes);
  const table = new PrefixTable<number>();
  const twin = new Map<IpNetwork, number>();
  for (let i = 0; i < MAX_OPERATIONS && !ops.isAtEnd; i++) {
    const operation = ops.byte();
    const index = ops.byte() % NETWORKS.length;
    const network = NETWORKS[index];
    const words = WORDS[index];
    if (!network || !words) throw new Error('no network');
    if (operation % 3 === 0) {
      table.set(network, i + 1);
      twin.set(network, i + 1);
    } else if (operation % 3 === 1) {
      if (table.delete(network) !== twin.delete(network)) throw new Error('was it there?');
    } else {
      compareLookUp(table, twin, network, words);
    }
    if (table.get(network) !== twin.get(network)) throw new Error('another value');
    if (table.count !== twin.size) throw new Error('another count');
  }
  observe(twin.size);
}

function compareLookUp(
  table: PrefixTable<number>,
  twin: ReadonlyMap<IpNetwork, number>,
  { address }: IpNetwork,
  words: Int32Array,
): void {
  const family = familyOf(address);
  const expected = [...twin]
    .filter(([network]) => networkContains(network, address))
    .sort(([a], [b]) => a.prefixLength - b.prefixLength)
    .map(([, value]) => value);
  const ranks = [...Array(table.lengthCount(family)).keys()];
  const found = ranks.flatMap((rank) => table.ofLength(family, rank, words, 0) ?? []);
  if (found.join() !== expected.join()) throw new Error('other networks contain it');
  if (table.longest(family, words, 0) !== expected.at(-1)) throw new Error('another longest');
}

function networkOf(text: string): IpNetwork {
  const network = parseNetwork(text);
  if (!network) throw new Error(`no network: ${text}`);
  return network;
}
