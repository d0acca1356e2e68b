// Where an incoming datagram goes (connectivity 6, with the improvements of connectivity 14.1, 14.2 and 14.23): to a relay's allocation,
// through a relay to what is inside, to a connection's agent, or to its tunnel. It looks things up and changes nothing but the limits in front
// of the handshakes.
//
//   relay socket?  STUN ─▶ allocation       ChannelData, Data indication ─▶ unwrap, then go on with the payload
//   STUN?          request ─▶ user name     response ─▶ transaction id
//   WireGuard?     1, 2 ─▶ gate first       1 ─▶ static key       2, 3, 4 ─▶ receiver index >> 8

import { familyOf } from '../../base/address.ts';
import { at, toHex } from '../../base/bytes.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import type { Instant } from '../../base/time.ts';
import { connectionIndexOf } from '../../proto/wireguard/connection-index.ts';
import { type OpenedInitiation, openInitiationStatic } from '../../proto/wireguard/handshake.ts';
import { type GateDropReason, HandshakeGate } from '../../proto/wireguard/handshake-gate.ts';
import type { TunnelDropReason } from '../../proto/wireguard/tunnel.ts';
import {
  findAttribute,
  isStun,
  parseStun,
  STUN_HEADER_LENGTH,
  STUN_METHOD,
  type StunMessage,
  transactionKey,
} from '../../wire/stun/message.ts';
import { isChannelDataByte, parseChannelData } from '../../wire/turn/channel-data.ts';
import { parseWireGuard, type WireGuardMessage } from '../../wire/wireguard/messages.ts';
import type { Connection } from '../connection/connection.ts';
import type { Datagram } from '../connection/path-finder.ts';
import type { Relay, Relays } from '../relays/relays.ts';
import type { Demux } from './demux.ts';
import type { RecentlyDisconnected } from './recently-disconnected.ts';

const KEY_LENGTH = 32; // WireGuard §5.4

/** The keys of the node and what guards them; a new one with every reset. */
export interface Identity {
  readonly privateKey: Uint8Array;
  readonly publicKey: Uint8Array;
  readonly gate: HandshakeGate;
}

export function createIdentity(crypto: CryptoProvider, now: Instant): Identity {
  const privateKey = crypto.randomBytes(KEY_LENGTH);
  const publicKey = crypto.x25519PublicKey(privateKey);
  return { privateKey, publicKey, gate: new HandshakeGate({ crypto, publicKey }, now) };
}

export type ArrivalDropReason =
  | GateDropReason
  | 'not-ours'
  | 'left-relay'
  | 'unknown-channel'
  | 'malformed-indication'
  | 'not-binding'
  | 'unknown-username'
  | 'unknown-transaction'
  | 'unknown-public-key'
  | 'unknown-index'
  | 'not-for-our-key'
  | 'recently-disconnected';

/** A datagram for a connection. */
export type Delivery =
  | {
      readonly kind: 'stun';
      readonly to: Connection;
      readonly message: StunMessage;
      readonly datagram: Datagram;
    }
  | {
      readonly kind: 'initiation';
      readonly to: Connection;
      readonly opened: OpenedInitiation;
      readonly datagram: Datagram;
    }
  | {
      readonly kind: 'response' | 'cookie-reply' | 'data';
      readonly to: Connection;
      readonly datagram: Datagram;
    };

export type Arrival =
  | Delivery
  | { readonly kind: 'dropped'; readonly reason: ArrivalDropReason }
  | { readonly kind: 'relay'; readonly relay: Relay }
  /** Under load: to be sent back where the handshake message came from. */
  | { readonly kind: 'cookie'; readonly cookieReply: Uint8Array; readonly datagram: Datagram };

export type DeliveryOutcome =
  | Uint8Array
  | TunnelDropReason
  /** By the agent of the connection, which counts why. */
  | 'refused-by-agent'
  | undefined;

export interface DispatchDeps {
  readonly crypto: CryptoProvider;
  readonly relays: Relays;
  readonly demux: Demux<Connection>;
  readonly recent: RecentlyDisconnected;
}

export class Dispatcher {
  readonly #deps: DispatchDeps;

  constructor(deps: DispatchDeps) {
    this.#deps = deps;
  }

  find(datagram: Datagram, identity: Identity, now: Instant): Arrival {
    const { bytes, from } = datagram;
    if (bytes.length === 0) return dropped('not-ours');
    const { relays } = this.#deps;
    const isChannelData = isChannelDataByte(at(bytes, 0));
    if (!isChannelData && !isStun(bytes)) return this.#findPeer(datagram, identity, now);
    const relay = relays.findByServer(from);
    if (relay === undefined) {
      if (relays.isLeft(from)) return dropped('left-relay');
      return this.#findPeer(datagram, identity, now);
    }
    if (isDataIndication(bytes)) {
      const data = unwrapIndication(relay, bytes);
      return data ? this.#findPeer(data, identity, now) : dropped('malformed-indication');
    }
    if (!isChannelData) return { kind: 'relay', relay };
    const inner = unwrap(relay, bytes);
    return inner ? this.#findPeer(inner, identity, now) : dropped('unknown-channel');
  }

  /** Steps 3 and 4: from here on it does not matter which way it came. */
  #findPeer(datagram: Datagram, identity: Identity, now: Instant): Arrival {
    if (isStun(datagram.bytes)) return this.#findByStun(datagram, now);
    const message = parseWireGuard(datagram.bytes);
    if (message === undefined) return dropped('not-ours');
    if (message.kind === 'initiation' || message.kind === 'response') {
      const verdict = identity.gate.admit(datagram.bytes, datagram.from, now);
      if (verdict.kind === 'dropped') return verdict;
      if (verdict.kind === 'reply') {
        return { kind: 'cookie', cookieReply: verdict.cookieReply, datagram };
      }
    }
    return message.kind === 'initiation'
      ? this.#findByPublicKey(datagram, identity, now)
      : this.#findByIndex(message, datagram, now);
  }

  #findByStun(datagram: Datagram, now: Instant): Arrival {
    const message = parseStun(datagram.bytes);
    if (message === undefined) return dropped('not-ours');
    if (message.method !== STUN_METHOD.binding || message.class === 'indication') {
      return dropped('not-binding');
    }
    if (message.class !== 'request') {
      const to = this.#deps.demux.takeTransaction(transactionKey(message.transactionId), now);
      return to ? { kind: 'stun', to, message, datagram } : dropped('unknown-transaction');
    }
    const username = findAttribute(message, 'username') ?? '';
    const to = this.#deps.demux.findByUsername(username);
    if (to) return { kind: 'stun', to, message, datagram };
    return this.#unknown('username', username, 'unknown-username', now);
  }

  #findByPublicKey(datagram: Datagram, identity: Identity, now: Instant): Arrival {
    const opened = openInitiationStatic(this.#deps.crypto, identity, datagram.bytes);
    if (opened === undefined) return dropped('not-for-our-key');
    const to = this.#deps.demux.findByPublicKey(opened.remotePublicKey);
    if (to) return { kind: 'initiation', to, opened, datagram };
    return this.#unknown('public-key', toHex(opened.remotePublicKey), 'unknown-public-key', now);
  }

  #findByIndex(
    message: Exclude<WireGuardMessage, { kind: 'initiation' }>,
    datagram: Datagram,
    now: Instant,
  ): Arrival {
    const index = connectionIndexOf(message.receiverIndex);
    const to = this.#deps.demux.findByIndex(index);
    if (to) return { kind: message.kind, to, datagram };
    return this.#unknown('index', index, 'unknown-index', now);
  }

  /** connectivity 11.25. */
  #unknown(
    kind: 'username' | 'public-key' | 'index',
    value: string | number,
    reason: ArrivalDropReason,
    now: Instant,
  ): Arrival {
    return dropped(this.#deps.recent.has(kind, value, now) ? 'recently-disconnected' : reason);
  }
}

/** An inner packet of the cold path, why the datagram was dropped, or nothing. */
export function deliver(arrival: Delivery, now: Instant): DeliveryOutcome {
  const { to, datagram } = arrival;
  switch (arrival.kind) {
    case 'stun':
      return to.handleStun(arrival.message, datagram, now) ? undefined : 'refused-by-agent';
    case 'initiation':
      return to.handleInitiation(arrival.opened, datagram, now);
    case 'response':
      return to.handleResponse(datagram, now);
    case 'cookie-reply':
      return to.handleCookieReply(datagram, now);
    case 'data':
      return to.handleData(datagram, now);
  }
}

/** connectivity 6, step 2: goes on as if it had come from the peer to our relayed address. */
function unwrap(relay: Relay, bytes: Uint8Array): Datagram | undefined {
  const data = parseChannelData(bytes);
  const ends = data && relay.allocation.handleChannelData(data.channel);
  return ends && { bytes: data.payload, from: ends.peer, local: ends.relayed };
}

/** RFC 8656 §11.4: method 0x007, class indication. */
function isDataIndication(bytes: Uint8Array): boolean {
  return bytes.length >= STUN_HEADER_LENGTH && at(bytes, 0) === 0x00 && at(bytes, 1) === 0x17;
}

/**
 * A standard relay passes on what comes from any port of a peer's address: behind a NAT that maps each destination to another port, a
 * peer's check is only seen here. What it is worth is judged like everything else; the answer to a good check binds a channel.
 */
function unwrapIndication(relay: Relay, bytes: Uint8Array): Datagram | undefined {
  const message = parseStun(bytes);
  const peer = message && findAttribute(message, 'xor-peer-address');
  const data = message && findAttribute(message, 'data');
  const local = peer && relay.allocation.relayedAddress(familyOf(peer.address));
  return peer && data?.length && local ? { bytes: data, from: peer, local } : undefined;
}

function dropped(reason: ArrivalDropReason): Arrival {
  return { kind: 'dropped', reason };
}
