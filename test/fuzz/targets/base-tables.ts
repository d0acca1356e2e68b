// The expiring map, the word table, the replay window and the flow cache beside plain maps and sets that do the same slowly.

import { ExpiringMap } from '../../../src/base/expiring-map.ts';
import { type Instant, instant } from '../../../src/base/time.ts';
import { WordTable } from '../../../src/base/word-table.ts';
import { REPLAY_WINDOW_BITS, ReplayWindow } from '../../../src/proto/wireguard/replay-window.ts';
import { FlowCache } from '../../../src/roles/gateway/flow-cache.ts';
import { observe } from '../engine/edges.ts';
import { Operations } from '../operations.ts';

export const name = 'base-tables';
export const kind = 'operations';

const MAX_OPERATIONS = 96;
const KEYS = Array.from({ length: 32 }, (_, i) => Int32Array.of(0, 0, 0xffff, i * 0x01010101));

export function run(bytes: Uint8Array): void {
  const ops = new Operations(bytes);
  const machines = [expiringMap, wordTable, replayWindow, flowCache];
  (machines[ops.byte() % machines.length] ?? expiringMap)(ops);
}

function expiringMap(ops: Operations): void {
  const map = new ExpiringMap<number, number>();
  const twin = new Map<number, { value: number; end: number | undefined }>();
  let now = 0;
  for (let i = 0; i < MAX_OPERATIONS && !ops.isAtEnd; i++) {
    const key = ops.byte() % 8;
    const end: Instant | undefined = ops.byte() % 4 === 0 ? undefined : instant(now + ops.byte());
    switch (ops.byte() % 5) {
      case 0:
      case 1:
        map.set(key, i, end);
        twin.set(key, { value: i, end });
        break;
      case 2: {
        const entry = twin.get(key);
        if (map.setExpiry(key, end) !== (entry !== undefined)) throw new Error('was it there?');
        if (entry) entry.end = end;
        break;
      }
      case 3:
        if (map.take(key) !== twin.get(key)?.value) throw new Error('another value');
        twin.delete(key);
        break;
      default: {
        now += ops.byte();
        const over = [...twin].filter(([, entry]) => entry.end !== undefined && now >= entry.end);
        const taken = map.takeExpired(instant(now));
        const isSame = over.every(([end], k) => taken[k]?.[0] === end);
        if (taken.length !== over.length || !isSame) throw new Error('others are over');
        for (const [end] of over) twin.delete(end);
      }
    }
    const ends = [...twin.values()].flatMap(({ end }) => end ?? []);
    const next = ends.length === 0 ? undefined : Math.min(...ends);
    if (map.size !== twin.size || map.nextExpiry !== next) throw new Error('another next end');
    if (map.get(key) !== twin.get(key)?.value) throw new Error('another value');
  }
  observe(twin.size);
}

function wordTable(ops: Operations): void {
  const table = new WordTable(ops.byte());
  const twin = new Map<number, number>();
  for (let i = 0; i < MAX_OPERATIONS && !ops.isAtEnd; i++) {
    const operation = ops.byte();
    const words = ops.pick(KEYS);
    const extra = operation >> 6;
    const key = keyOf(words, extra);
    if (operation % 3 === 0) {
      if (table.delete(words, 0, extra) !== twin.delete(key)) throw new Error('was it there?');
    } else {
      table.set(words, 0, extra, i);
      twin.set(key, i);
    }
    if (table.count !== twin.size) throw new Error('another count');
    if (table.get(words, 0, extra) !== (twin.get(key) ?? -1)) throw new Error('another value');
  }
  for (const words of KEYS) {
    for (let extra = 0; extra < 4; extra++) {
      const value = twin.get(keyOf(words, extra)) ?? -1;
      if (table.get(words, 0, extra) !== value) throw new Error('another value in the end');
    }
  }
  observe(0x100 + twin.size);
}

function keyOf(words: Int32Array, extra: number): number {
  return (words[3] ?? 0) * 4 + extra;
}

function replayWindow(ops: Operations): void {
  const window = new ReplayWindow();
  const seen = new Set<number>();
  let next = 0;
  for (let i = 0; i < MAX_OPERATIONS && !ops.isAtEnd; i++) {
    const jump = [1, 2, 31, 32, 33, 8190, 8191, 8192, 8193, 65_536, 2 ** 32][ops.byte() % 11] ?? 0;
    const ahead = ops.byte() % 2 === 0;
    const counter = Math.max(0, ahead ? next - 1 + jump : next - jump) + (ops.byte() % 3);
    const [low, high] = [counter >>> 0, Math.floor(counter / 2 ** 32)];
    const isOld = counter + REPLAY_WINDOW_BITS < next;
    const isFresh = !isOld && !seen.has(counter);
    if ((window.check(low, high) === 'fresh') !== isFresh) throw new Error(`not fresh: ${counter}`);
    if (window.accept(low, high) !== isFresh) throw new Error(`accepted ${counter}`);
    seen.add(counter);
    next = Math.max(next, isFresh ? counter + 1 : 0);
  }
}

function flowCache(ops: Operations): void {
  const cache = new FlowCache();
  const twin = new Map<string, number>();
  let epoch = cache.nextEpoch();
  for (let i = 0; i < MAX_OPERATIONS && !ops.isAtEnd; i++) {
    const operation = ops.byte();
    if (operation % 16 === 0) epoch = cache.nextEpoch();
    const words = ops.pick(KEYS);
    const key = `${epoch} ${operation} ${words[3]}`;
    const answer = cache.find(epoch, operation, words, 0);
    // It may forget, but never answers for another.
    if (answer >= 0 && twin.get(key) !== answer) throw new Error('the answer of another');
    if (answer >= 0) continue;
    cache.remember(i);
    twin.set(key, i);
  }
}
