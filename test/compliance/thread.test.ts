// The add-on in worker threads: one that ends with open, watched descriptors takes nothing else with it.

import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';

const SCRIPT = `
  const { parentPort, workerData } = require('node:worker_threads');
  const holder = { exports: {} };
  process.dlopen(holder, workerData);
  const addon = holder.exports;
  const socket = addon.udpOpen(4, Uint8Array.of(127, 0, 0, 1), 0, 65536, 65536, 0, 1, new Int32Array(5));
  addon.udpWatch(socket, () => {});
  const [first] = addon.tunPair(3);
  addon.tunWatch(first, () => {});
  parentPort.postMessage('watching');
`;

it('ends a thread with watched descriptors', async () => {
  const workerData = fileURLToPath(new URL('../../build/firezone.node', import.meta.url));
  for (let i = 0; i < 3; i++) {
    const worker = new Worker(SCRIPT, { eval: true, workerData });
    expect(await once(worker, 'message')).toEqual(['watching']);
    expect(await worker.terminate()).toBe(1);
  }
});
