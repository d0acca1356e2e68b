// What the loop asks of whom, in which order, and how much of it in one turn. Sockets, TUN, clock and role are fakes.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { endpoint, parseIp } from '../base/address.ts';
import type { ReceiveBatch, TransportAead, TunBatch } from '../base/batch.ts';
import { InvariantError } from '../base/errors.ts';
import { SILENT_LOG } from '../base/log.ts';
import { type Instant, instant } from '../base/time.ts';
import type { Transmit } from '../base/transmit.ts';
import type { TunnelRole } from '../roles/tunnel-role.ts';
import { Loop, type LoopSocket, type LoopSockets, type LoopTun } from './loop.ts';

const address = parseIp('192.0.2.1');
const transmit: Transmit = {
  destination: address ? endpoint(address, 1) : expect.unreachable(),
  payload: new Uint8Array(1),
  ecn: 0,
};

/** All fakes write what was asked of them into one list. */
class Fakes {
  now = 0;
  readonly calls: string[] = [];
  readonly fatal: unknown[] = [];
  readonly transmits: Transmit[] = [];
  readonly tunPackets: Uint8Array[] = [];
  deadline: Instant | undefined;
  batchesToReceive = 0;
  batchesToRead = 0;
  superPackets = 1;
  isBlocked = false;
  blocksAfterSeal = false;
  fault: Error | undefined;
  containsFaults = false;
  onTurn: (now: Instant) => void = () => {};
  readable: (socket: LoopSocket) => void = () => {};
  drained: () => void = () => {};
  tunReadable: () => void = () => {};

  readonly socket: LoopSocket = {
    receive: (batch) => {
      batch.runCount = this.batchesToReceive > 0 ? 1 : 0;
      this.batchesToReceive -= batch.runCount;
      return batch.runCount;
    },
  };
  readonly sockets: LoopSockets = this.#makeSockets();
  readonly tun: LoopTun = {
    onReadable: (callback) => {
      this.tunReadable = callback;
    },
    pause: (paused) => void this.calls.push(paused ? 'tun.pause' : 'tun.resume'),
    read: (batch) => {
      batch.packetCount = this.batchesToRead > 0 ? 1 : 0;
      this.batchesToRead -= batch.packetCount;
      return batch.packetCount;
    },
    write: () => void this.calls.push('tun.write'),
    writePacket: () => {
      this.calls.push('tun.writePacket');
      return true;
    },
  };
  readonly loop: Loop;

  constructor() {
    this.loop = new Loop({
      role: this.#makeRole(),
      aead: this.#makeAead(),
      log: SILENT_LOG,
      onTurn: (now) => this.onTurn(now),
      onFatal: (error) => void this.fatal.push(error),
      clock: () => instant(this.now + performance.now()),
    });
    this.loop.useSockets(this.sockets);
    this.loop.useTun(this.tun);
    this.calls.length = 0;
  }

  #makeSockets(): LoopSockets {
    const isBlocked = (): boolean => this.isBlocked;
    return {
      onReadable: (callback) => {
        this.readable = callback;
      },
      onDrained: (callback) => {
        this.drained = callback;
      },
      get isBlocked() {
        return isBlocked();
      },
      sealSend: () => {
        this.calls.push('sealSend');
        return !this.blocksAfterSeal;
      },
      send: () => {
        this.calls.push('send');
        return 'sent';
      },
    };
  }

  #makeRole(): TunnelRole {
    const step = (name: string) => (_: ReceiveBatch | TunBatch) => {
      this.calls.push(name);
      if (this.fault) throw this.fault;
    };
    return {
      handleRuns: step('handleRuns'),
      handleOpened: step('handleOpened'),
      handleSuperPackets: step('handleSuperPackets'),
      handleTunPackets: step('handleTunPackets'),
      handleTimeout: () => {
        this.calls.push('handleTimeout');
        this.deadline = undefined;
      },
      handleFault: () => this.containsFaults,
      pollTransmit: () => this.transmits.shift(),
      pollTunPacket: () => this.tunPackets.shift(),
      pollTimeout: () => this.deadline,
      snapshot: () => ({}),
    };
  }

  #makeAead(): TransportAead {
    return {
      capacity: 0,
      sendCounters: new Float64Array(0),
      paths: new Int32Array(0),
      install: () => -1,
      remove: () => {},
      sealOne: () => new Uint8Array(),
      openOne: () => undefined,
      open: () => void this.calls.push('open'),
      gather: (batch) => {
        this.calls.push('gather');
        batch.superCount = this.superPackets;
      },
    };
  }
}

let fakes: Fakes;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  fakes = new Fakes();
});

afterEach(() => {
  fakes.loop.stop();
  vi.useRealTimers();
});

describe('a readable socket', () => {
  it('is received from, opened, gathered and written in this order', () => {
    fakes.batchesToReceive = 1;
    fakes.readable(fakes.socket);
    expect(fakes.calls).toEqual([
      'handleRuns',
      'open',
      'handleOpened',
      'gather',
      'handleSuperPackets',
      'tun.write',
    ]);
  });

  it('gives four batches a turn and leaves the rest for the next', () => {
    fakes.batchesToReceive = 10;
    fakes.readable(fakes.socket);
    expect(fakes.calls.filter((call) => call === 'open').length).toBe(4);
    expect(fakes.batchesToReceive).toBe(6);
  });

  it('without super-packets asks neither the policy nor the TUN', () => {
    fakes.superPackets = 0;
    fakes.batchesToReceive = 1;
    fakes.readable(fakes.socket);
    expect(fakes.calls).toEqual(['handleRuns', 'open', 'handleOpened', 'gather']);
  });

  it('that was replaced is not heard any more', () => {
    const { readable } = fakes;
    fakes.loop.useSockets({ ...fakes.sockets, onReadable: () => {} });
    fakes.calls.length = 0;
    fakes.batchesToReceive = 1;
    readable(fakes.socket);
    expect(fakes.calls).toEqual([]);
  });
});

describe('a readable TUN', () => {
  it('is read, judged, sealed and sent, four batches a turn', () => {
    fakes.batchesToRead = 10;
    fakes.tunReadable();
    expect(fakes.calls.slice(0, 2)).toEqual(['handleTunPackets', 'sealSend']);
    expect(fakes.batchesToRead).toBe(6);
  });

  it('pauses while the network takes nothing, and goes on when it has drained', () => {
    fakes.batchesToRead = 2;
    fakes.blocksAfterSeal = true;
    fakes.tunReadable();
    expect(fakes.calls).toEqual(['handleTunPackets', 'sealSend', 'tun.pause']);
    fakes.isBlocked = true;
    fakes.tunReadable();
    expect(fakes.batchesToRead).toBe(1);
    fakes.drained();
    expect(fakes.calls.at(-1)).toBe('tun.resume');
  });
});

describe('the end of a turn', () => {
  it('drains transmits and packets, then lets the app look for events', () => {
    fakes.onTurn = () => void fakes.calls.push('onTurn');
    fakes.loop.run(() => {
      fakes.transmits.push(transmit, transmit);
      fakes.tunPackets.push(new Uint8Array(20));
    });
    expect(fakes.calls).toEqual(['send', 'send', 'tun.writePacket', 'onTurn']);
  });

  it('comes before work that was asked for during the turn', () => {
    let isAsked = false;
    fakes.onTurn = () => {
      fakes.calls.push('onTurn');
      if (isAsked) return;
      isAsked = true;
      fakes.loop.run(() => void fakes.calls.push('work'));
      fakes.calls.push('asked');
    };
    fakes.loop.run(() => void fakes.calls.push('first'));
    expect(fakes.calls).toEqual(['first', 'onTurn', 'asked', 'work', 'onTurn']);
  });

  it('counts packets that have no TUN and datagrams that have no socket', () => {
    const loop = new Loop({
      role: {
        handleRuns() {},
        handleOpened() {},
        handleSuperPackets() {},
        handleTunPackets() {},
        handleTimeout() {},
        pollTransmit: () => fakes.transmits.shift(),
        pollTunPacket: () => fakes.tunPackets.shift(),
        pollTimeout: () => undefined,
        snapshot: () => ({}),
      },
      aead: {} as TransportAead,
      log: SILENT_LOG,
      onTurn: () => {},
      onFatal: () => {},
    });
    fakes.transmits.push(transmit);
    fakes.tunPackets.push(new Uint8Array(1));
    loop.run(() => {});
    expect(loop.counters.snapshot()).toEqual({
      'transmits-no-socket': 1,
      'tun-packets-refused': 1,
    });
  });
});

describe('the timer', () => {
  it('calls handleTimeout at the deadline and not before', () => {
    fakes.loop.run((now) => {
      fakes.deadline = instant(now + 250);
    });
    vi.advanceTimersByTime(249);
    expect(fakes.calls).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(fakes.calls).toEqual(['handleTimeout']);
  });

  it('moves forward with an earlier deadline, and is kept for a later one', () => {
    const setTimer = vi.spyOn(globalThis, 'setTimeout');
    const ask = (milliseconds: number): void =>
      fakes.loop.run((now) => {
        fakes.deadline = instant(now + milliseconds);
      });
    ask(1000);
    ask(2000);
    ask(3000);
    expect(setTimer).toHaveBeenCalledTimes(1);
    ask(100);
    expect(setTimer).toHaveBeenCalledTimes(2);
    vi.advanceTimersByTime(100);
    expect(fakes.calls).toEqual(['handleTimeout']);
  });

  it('handles a deadline that is due within the same turn', () => {
    fakes.loop.run((now) => {
      fakes.deadline = now;
    });
    expect(fakes.calls).toEqual(['handleTimeout']);
  });

  it('does not spin when a deadline stays due', () => {
    fakes.onTurn = (now) => {
      fakes.deadline = now;
    };
    fakes.loop.run(() => {});
    expect(fakes.loop.counters.get('spins')).toBe(1);
    expect(fakes.calls.length).toBe(8);
    vi.advanceTimersByTime(1);
    expect(fakes.loop.counters.get('spins')).toBe(2);
  });

  it('takes deadlines further away than a timer can be set', () => {
    fakes.loop.run((now) => {
      fakes.deadline = instant(now + 2 ** 33);
    });
    expect(fakes.calls).toEqual([]);
  });
});

describe('a fault', () => {
  it('that a link contains is counted, and the loop goes on', () => {
    fakes.fault = new InvariantError('a test breaks it');
    fakes.containsFaults = true;
    fakes.batchesToReceive = 1;
    fakes.readable(fakes.socket);
    expect(fakes.loop.counters.get('contained-faults')).toBe(1);
    fakes.fault = undefined;
    fakes.batchesToReceive = 1;
    fakes.calls.length = 0;
    fakes.readable(fakes.socket);
    expect(fakes.calls).toContain('tun.write');
    expect(fakes.fatal).toEqual([]);
  });

  it('that nobody contains, or of another kind, stops the loop', () => {
    for (const fault of [new InvariantError('a test breaks it'), new TypeError('a bug')]) {
      fakes = new Fakes();
      fakes.fault = fault;
      fakes.containsFaults = fault instanceof TypeError;
      fakes.batchesToReceive = 2;
      fakes.readable(fakes.socket);
      expect(fakes.fatal).toEqual([fault]);
      fakes.readable(fakes.socket);
      expect(fakes.calls).toEqual(['handleRuns']);
    }
  });
});
