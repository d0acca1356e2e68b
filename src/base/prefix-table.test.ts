// The table against a list of networks.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  familyOf,
  formatNetwork,
  type IpAddress,
  type IpNetwork,
  ipFromBytes,
  network,
  networkContains,
  parseNetwork,
  writeAddressWords,
} from './address.ts';
import { PrefixTable } from './prefix-table.ts';

/** Addresses of few distinct bits, so that networks overlap. */
const byte = fc.constantFrom(0, 1, 10, 128, 255);
const address = fc.oneof(
  fc.array(byte, { minLength: 4, maxLength: 4 }).map((b) => ipFromBytes(Uint8Array.from(b))),
  fc
    .array(byte, { minLength: 2, maxLength: 2 })
    .map((b) => ipFromBytes(Uint8Array.from([0xfd, ...Array(13).fill(0), ...b]))),
);
const anyNetwork = fc
  .tuple(address, fc.nat(128))
  .map(([base, length]) => network(base, Math.min(length, familyOf(base) === 4 ? 32 : 128)));
const operation = fc.record({
  kind: fc.constantFrom('set', 'set', 'delete', 'find'),
  network: anyNetwork,
  address,
  value: fc.nat(),
});

function words(text: IpAddress): Int32Array {
  const out = new Int32Array(5);
  writeAddressWords(text, out, 1);
  return out;
}

test('any sequence of operations gives what a list gives', () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
      const table = new PrefixTable<number>();
      const twin = new Map<string, { network: IpNetwork; value: number }>();
      for (const { kind, network: net, address: ip, value } of operations) {
        const key = formatNetwork(net);
        if (kind === 'set') {
          table.set(net, value);
          twin.set(key, { network: net, value });
        } else if (kind === 'delete') {
          expect(table.delete(net)).toBe(twin.delete(key));
        }
        expect(table.get(net)).toBe(twin.get(key)?.value);
        expect(table.count).toBe(twin.size);
        const expected = [...twin.values()]
          .filter((entry) => networkContains(entry.network, ip))
          .sort((a, b) => a.network.prefixLength - b.network.prefixLength)
          .map((entry) => entry.value);
        const ranks = [...Array(table.lengthCount(familyOf(ip))).keys()];
        const found = ranks.map((rank) => table.ofLength(familyOf(ip), rank, words(ip), 1));
        expect(found.filter((value) => value !== undefined)).toEqual(expected);
        expect(table.longest(familyOf(ip), words(ip), 1)).toBe(expected.at(-1));
      }
    }),
    { numRuns: 300 },
  );
});

test('the IPv6 default network does not contain IPv4', () => {
  const table = new PrefixTable<string>();
  table.set(parseNetwork('::/0') as IpNetwork, 'all');
  expect(table.longest(4, words('10.0.0.1' as IpAddress), 1)).toBeUndefined();
  expect(table.longest(6, words('fd00::1' as IpAddress), 1)).toBe('all');
});
