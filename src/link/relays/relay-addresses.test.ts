import { expect, test } from 'vitest';
import { type Endpoint, parseEndpoint, writeAddressWords } from '../../base/address.ts';
import { RelayAddresses } from './relay-addresses.ts';

const at = (text: string): Endpoint => parseEndpoint(text) as Endpoint;

function words(endpoint: Endpoint): Int32Array {
  const out = new Int32Array(7);
  writeAddressWords(endpoint.address, out, 2);
  out[6] = endpoint.port;
  return out;
}

test('a relay is known by every one of its sockets, whatever the port', () => {
  const addresses = new RelayAddresses<string>(4);
  addresses.add(at('203.0.113.1:3478'), 'a');
  addresses.add(at('[2001:db8::1]:3478'), 'a');
  addresses.add(at('203.0.113.1:5000'), 'b');
  expect(addresses.find(words(at('203.0.113.1:3478')), 2)).toBe('a');
  expect(addresses.find(words(at('[2001:db8::1]:3478')), 2)).toBe('a');
  expect(addresses.find(words(at('203.0.113.1:5000')), 2)).toBe('b');
  expect(addresses.find(words(at('203.0.113.2:3478')), 2)).toBeUndefined();
  expect(addresses.find(words(at('[::ffff:203.0.113.1]:3479')), 2)).toBeUndefined();
});

test('removing a relay leaves the others', () => {
  const addresses = new RelayAddresses<string>(3);
  addresses.add(at('203.0.113.1:3478'), 'a');
  addresses.add(at('203.0.113.2:3478'), 'b');
  addresses.add(at('203.0.113.1:3479'), 'a');
  expect(addresses.add(at('203.0.113.4:3478'), 'c')).toBe(false);
  addresses.remove('a');
  expect(addresses.find(words(at('203.0.113.1:3478')), 2)).toBeUndefined();
  expect(addresses.find(words(at('203.0.113.1:3479')), 2)).toBeUndefined();
  expect(addresses.find(words(at('203.0.113.2:3478')), 2)).toBe('b');
});
