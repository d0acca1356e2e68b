// A connection from this program to itself, in memory, a few times after the start: ICE, STUN, the handshake and the cipher as they are used, over two nodes that
// exist for this alone. It compiles what the first client would otherwise wait for, and it is a self-test: a host on which it fails is told so.
// Measured 2026-11: the first connections of a fresh process took 246, 189, 120, 125, 56 and 82 ms (docs/interop.md).

import { type Endpoint, endpoint, parseIp } from '../base/address.ts';
import type { CryptoProvider } from '../base/crypto.ts';
import { assert } from '../base/errors.ts';
import { type PeerId, peerId } from '../base/ids.ts';
import { type Log, SILENT_LOG } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { type Instant, instant, later, type WallClock } from '../base/time.ts';
import { createWallClock, SystemRandom } from '../io/clock.ts';
import { createNodeCrypto } from '../io/crypto/node-crypto.ts';
import { Node } from '../link/node.ts';
import { PlainAead } from '../proto/batch/plain-aead.ts';
import { writeUdpPacket } from '../wire/ip/write-packet.ts';

// Implementation
/** After this many the time of a round no longer falls. */
const ROUNDS = 8;
/** Steps of virtual time in a round; a connection needs some ten. */
const MAX_STEPS = 400;
const STEP_MS = 5;
const KEY_SLOTS = 16;
/** Worth nothing: both ends live in this process. */
const CREDENTIALS = {
  client: { ufrag: 'warm', password: 'client-password-of-22c' },
  gateway: { ufrag: 'self', password: 'gateway-password-22cha' },
} as const;
const [CLIENT, GATEWAY] = [peerId('warm-up-client'), peerId('warm-up-gateway')];

interface WarmUpDeps {
  readonly crypto: CryptoProvider;
  readonly random: Random;
  readonly wallClock: WallClock;
}

/** One round per turn of the event loop, so that nothing waits for more than one. Never rejects; false if the self-test failed. */
export async function warmUp(log: Log): Promise<boolean> {
  const startedAt = performance.now();
  const deps = {
    crypto: createNodeCrypto(),
    random: new SystemRandom(),
    wallClock: createWallClock(),
  };
  for (let round = 0; round < ROUNDS; round++) {
    await new Promise((resolve) => setImmediate(resolve));
    try {
      if (connectOnce(deps)) continue;
      log.warn('The self-test failed: no connection to itself', { round });
    } catch (error) {
      log.warn('The self-test failed', { error: String(error) });
    }
    return false;
  }
  log.debug('Warmed up', { milliseconds: Math.round(performance.now() - startedAt) });
  return true;
}

/** True if a packet arrived in each direction. */
function connectOnce(deps: WarmUpDeps): boolean {
  const now = instant(0);
  const client = new End('client', '192.0.2.1', deps, now);
  const gateway = new End('gateway', '192.0.2.2', deps, now);
  const presharedKey = deps.crypto.randomBytes(32);
  const [localCredentials, remoteCredentials] = [CREDENTIALS.client, CREDENTIALS.gateway];
  gateway.node.upsertConnection(
    {
      id: CLIENT,
      remotePublicKey: client.node.publicKey,
      presharedKey,
      localCredentials: remoteCredentials,
      remoteCredentials: localCredentials,
    },
    now,
  );
  client.node.upsertConnection(
    {
      id: GATEWAY,
      remotePublicKey: gateway.node.publicKey,
      presharedKey,
      localCredentials,
      remoteCredentials,
    },
    now,
  );
  for (let step = 0, at: Instant = now; step < MAX_STEPS; step++, at = later(at, STEP_MS)) {
    client.exchange(GATEWAY, gateway, CLIENT, at);
    gateway.exchange(CLIENT, client, GATEWAY, at);
    if (client.hasReceived && gateway.hasReceived) return true;
  }
  return false;
}

class End {
  readonly node: Node;
  readonly #endpoint: Endpoint;
  #hasReceived = false;

  constructor(role: 'client' | 'gateway', address: string, deps: WarmUpDeps, now: Instant) {
    const { crypto, random, wallClock } = deps;
    const aead = new PlainAead(crypto, KEY_SLOTS);
    this.node = new Node(
      { role, allowNoRelays: true },
      { crypto, random, aead, wallClock, log: SILENT_LOG },
      now,
    );
    const ip = parseIp(address);
    assert(ip !== undefined, 'a documentation address is an address');
    this.#endpoint = endpoint(ip, 1);
    this.node.setLocalAddresses([this.#endpoint], now);
  }

  get hasReceived(): boolean {
    return this.#hasReceived;
  }

  /** Everything that this end has to say reaches the other. */
  exchange(peer: PeerId, other: End, ourName: PeerId, now: Instant): void {
    this.node.handleTimeout(now);
    for (let event = this.node.pollEvent(); event; event = this.node.pollEvent()) {
      if (event.kind === 'connection-established') this.#send(peer, now);
      if (event.kind !== 'candidates-added') continue;
      for (const text of event.candidates) other.node.addRemoteCandidate(ourName, text, now);
    }
    for (let out = this.node.pollTransmit(); out; out = this.node.pollTransmit()) {
      other.node.handleDatagram(out.payload, this.#endpoint, other.#endpoint, out.ecn, now);
    }
    while (this.node.pollPacket()) this.#hasReceived = true;
  }

  #send(peer: PeerId, now: Instant): void {
    const { address } = this.#endpoint;
    const packet = writeUdpPacket({
      source: address,
      destination: address,
      sourcePort: 1,
      destinationPort: 2,
      payload: new Uint8Array(64),
    });
    this.node.sendPacket(peer, packet, 0, now);
  }
}
