import { describe, expect, test } from 'vitest';
import { instant } from '../../base/time.ts';
import { type Addressee, Demux } from './demux.ts';

function addressee(index: number, key = index): Addressee {
  return {
    index,
    remotePublicKey: new Uint8Array(32).fill(key),
    username: `gw${index}:cl${index}`,
  };
}

const id = (n: number): string => String(n).padStart(24, '0');

describe('Demux', () => {
  test('finds a connection by index, user name and public key until it is removed', () => {
    const demux = new Demux<Addressee>();
    const one = addressee(1);
    demux.add(one);
    demux.add(addressee(2));
    expect(demux.findByIndex(1)).toBe(one);
    expect(demux.findByUsername('gw1:cl1')).toBe(one);
    expect(demux.findByPublicKey(one.remotePublicKey)).toBe(one);
    demux.remove(one);
    expect(demux.findByIndex(1)).toBeUndefined();
    expect(demux.findByUsername('gw1:cl1')).toBeUndefined();
    expect(demux.findByPublicKey(one.remotePublicKey)).toBeUndefined();
    expect(demux.snapshot()).toEqual({ indices: 1, usernames: 1, publicKeys: 1, transactions: 0 });
  });

  test('of two connections that claim one key the first is found, then the other', () => {
    const demux = new Demux<Addressee>();
    const first = addressee(1, 9);
    const second = addressee(2, 9);
    demux.add(first);
    demux.add(second);
    expect(demux.findByPublicKey(first.remotePublicKey)).toBe(first);
    demux.remove(first);
    expect(demux.findByPublicKey(first.remotePublicKey)).toBe(second);
  });

  test('a transaction is found once and only within ten seconds', () => {
    const demux = new Demux<Addressee>();
    const one = addressee(1);
    demux.rememberTransaction(id(1), one, instant(0));
    expect(demux.takeTransaction(id(1), instant(9_999))).toBe(one);
    expect(demux.takeTransaction(id(1), instant(9_999))).toBeUndefined();
    demux.rememberTransaction(id(2), one, instant(0));
    expect(demux.takeTransaction(id(2), instant(10_000))).toBeUndefined();
  });

  test('transactions vanish on time', () => {
    const demux = new Demux<Addressee>();
    demux.rememberTransaction(id(1), addressee(1), instant(0));
    demux.rememberTransaction(id(2), addressee(1), instant(4_000));
    expect(demux.pollTimeout()).toBe(10_000);
    demux.handleTimeout(instant(10_000));
    expect(demux.transactionCount).toBe(1);
    demux.handleTimeout(instant(14_000));
    expect(demux.pollTimeout()).toBeUndefined();
  });

  test('removing a connection removes all of its transactions and only those', () => {
    const demux = new Demux<Addressee>();
    const one = addressee(1);
    const two = addressee(2);
    for (let i = 0; i < 6; i++) demux.rememberTransaction(id(i), i % 2 ? one : two, instant(0));
    demux.remove(one);
    expect(demux.transactionCount).toBe(3);
    expect(demux.takeTransaction(id(0), instant(1))).toBe(two);
    expect(demux.takeTransaction(id(1), instant(1))).toBeUndefined();
  });
});
