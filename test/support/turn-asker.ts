// Speaks STUN to a `TurnServer` by hand, request by request, under a clock of its own.

import type { Endpoint } from '../../src/base/address.ts';
import { SILENT_LOG } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { instant, later, unixMillis, WallClock } from '../../src/base/time.ts';
import { createSeededCrypto } from '../../src/io/crypto/seeded-crypto.ts';
import { findUser, relayPassword } from '../../src/proto/turn/server/credentials.ts';
import { TurnServer } from '../../src/proto/turn/server/server.ts';
import type {
  ServerTransmit,
  TurnServerCommand,
  TurnServerConfig,
} from '../../src/proto/turn/server/server-types.ts';
import type { StunAttribute } from '../../src/wire/stun/attributes.ts';
import { longTermKey, verifyIntegrity } from '../../src/wire/stun/integrity.ts';
import {
  findAttribute,
  parseStun,
  STUN_METHOD,
  type StunMessage,
  writeStun,
} from '../../src/wire/stun/message.ts';
import { parsed, RELAY_V4, STAMP_SECRET } from './turn-world.ts';

export const crypto = createSeededCrypto(11);
export const CLIENT: Endpoint = parsed('203.0.113.9:40000');
export const OTHER: Endpoint = parsed('203.0.113.9:40001');
export const USERNAME = '1999999999:lab-salt';
export const TRANSPORT: StunAttribute = { kind: 'requested-transport', value: 17 };
export const DUAL: StunAttribute = { kind: 'additional-address-family', value: 6 };

/** One who speaks STUN by hand. */
export class Asker {
  readonly server: TurnServer;
  now = instant(0);
  readonly commands: TurnServerCommand[] = [];
  opens = true;
  #transaction = 0;
  readonly #nonces = new Map<string, string>();

  constructor(config: Partial<TurnServerConfig> = {}) {
    this.server = new TurnServer(
      {
        publicAddresses: [RELAY_V4.address, parsed('[2001:db8::7]:1').address],
        ports: { lowest: 49152, highest: 65535 },
        software: 'firezone-relay; rev=xxxxxxxx',
        stampSecret: STAMP_SECRET,
        peerPolicy: { allowsLoopback: false, denied: [] },
        ...config,
      },
      {
        crypto,
        random: new SeededRandom(1),
        wallClock: new WallClock(instant(0), unixMillis(1_767_225_600_000)),
        log: SILENT_LOG,
      },
    );
  }

  pass(milliseconds: number): void {
    this.now = later(this.now, milliseconds);
    this.server.handleTimeout(this.now);
    this.runCommands();
  }

  /** What the server sent since the last look. */
  takeTransmits(): ServerTransmit[] {
    const taken: ServerTransmit[] = [];
    for (let next = this.server.pollTransmit(); next; next = this.server.pollTransmit()) {
      taken.push(next);
    }
    return taken;
  }

  /** As it stands. */
  raw(bytes: Uint8Array, from: Endpoint = CLIENT): StunMessage | undefined {
    this.server.handleDatagram(bytes, from, RELAY_V4, this.now);
    this.runCommands();
    const answer = this.server.pollTransmit();
    return answer && parseStun(answer.payload);
  }

  runCommands(): void {
    for (;;) {
      const command = this.server.pollCommand();
      if (!command) return;
      this.commands.push(command);
      if (command.kind !== 'open-sockets') continue;
      if (this.opens) this.server.handleSocketsOpened(command.allocation, this.now);
      else this.server.handleSocketsFailed(command.allocation);
    }
  }

  /** Authenticated; fetches a nonce first if it has none. */
  ask(
    method: number,
    attributes: readonly StunAttribute[],
    options: { from?: Endpoint; username?: string; password?: string; transaction?: number } = {},
  ): StunMessage | undefined {
    const { from = CLIENT, username = USERNAME, transaction = ++this.#transaction } = options;
    const [expiry = '', salt = ''] = username.split(':');
    const password = options.password ?? relayPassword(expiry, STAMP_SECRET, salt, crypto);
    const nonce = this.#nonces.get(from.key) ?? this.fetchNonce(from);
    return this.raw(
      writeStun(
        {
          method,
          class: 'request',
          transactionId: transactionId(transaction),
          attributes: [
            ...attributes,
            { kind: 'username', value: username },
            { kind: 'realm', value: 'firezone' },
            { kind: 'nonce', value: nonce },
          ],
          integrityKey: longTermKey(username, 'firezone', password, crypto),
        },
        crypto,
      ),
      from,
    );
  }

  fetchNonce(from: Endpoint): string {
    const answer = this.raw(request(STUN_METHOD.allocate, [TRANSPORT]), from);
    const nonce = (answer && findAttribute(answer, 'nonce')) ?? '';
    this.#nonces.set(from.key, nonce);
    return nonce;
  }

  allocate(
    attributes: readonly StunAttribute[] = [TRANSPORT, DUAL],
    options: Parameters<Asker['ask']>[2] = {},
  ): StunMessage | undefined {
    return this.ask(STUN_METHOD.allocate, attributes, options);
  }

  bind(number: number, peer: Endpoint, from: Endpoint = CLIENT): StunMessage | undefined {
    return this.ask(
      STUN_METHOD.channelBind,
      [
        { kind: 'channel-number', value: number },
        { kind: 'xor-peer-address', value: peer },
      ],
      { from },
    );
  }

  refresh(lifetime?: number, from: Endpoint = CLIENT): StunMessage | undefined {
    const attributes: StunAttribute[] =
      lifetime === undefined ? [] : [{ kind: 'lifetime', value: lifetime }];
    return this.ask(STUN_METHOD.refresh, attributes, { from });
  }
}

export function request(method: number, attributes: readonly StunAttribute[]): Uint8Array {
  const message = {
    method,
    class: 'request',
    transactionId: transactionId(0),
    attributes,
  } as const;
  return writeStun(message, crypto);
}

export function transactionId(number: number): Uint8Array {
  const bytes = new Uint8Array(12);
  new DataView(bytes.buffer).setUint32(8, number);
  return bytes;
}

export function code(message: StunMessage | undefined): number | undefined {
  return message && findAttribute(message, 'error-code')?.code;
}

export function isSigned(message: StunMessage | undefined): boolean {
  const user = findUser(USERNAME, STAMP_SECRET, crypto, unixMillis(0));
  return user !== undefined && message !== undefined && verifyIntegrity(message, user.key, crypto);
}
