// Vectors of connectivity 13.2.

import { describe, expect, it } from 'vitest';
import { ep } from '../../../test/support/virtual-network.ts';
import { fromHex, toHex } from '../../base/bytes.ts';
import { createSeededCrypto } from '../../io/crypto/seeded-crypto.ts';
import { parseStun, STUN_METHOD, type StunMessage, writeStun } from '../../wire/stun/message.ts';
import {
  acceptBindingRequest,
  authenticationFailure,
  isRoleConflict,
  judgeRoles,
  writeBindingRequest,
  writeBindingSuccess,
  writeRoleConflict,
} from './binding-messages.ts';

const crypto = createSeededCrypto(1);
const OWN = { ufrag: 'gwuf', password: 'gatewaypassword0123456' };
const ID = Uint8Array.from({ length: 12 }, (_, i) => i);

const REQUEST = `000100482112a442000102030405060708090a0b
  00060009677775663a636c7566000000 802a00081122334455667788 002400046efffeff 00250000
  0008001446faf42c01386d0031fc2453b26ba99ef2ad12a8 80280004b29d0d24`;
const SUCCESS = `0101002c2112a442000102030405060708090a0b 002000080001ec83e112a64d
  00080014a90ecff1efbcb33583cae3a92792cfa67dfc1be1 80280004f4da6a09`;
const CONFLICT = `011100382112a442000102030405060708090a0b
  0009001100000457526f6c6520436f6e666c696374000000
  0008001454c2c0728914ca92f23bc31e15ba8f4cc2e3d22c 80280004c15dcffe`;

const plain = (text: string): string => text.replaceAll(/\s/g, '');
function parsed(text: string): StunMessage {
  const message = parseStun(fromHex(text) ?? new Uint8Array());
  if (!message) throw new Error('not a STUN message');
  return message;
}

const FIELDS = {
  receiverUfrag: 'gwuf',
  senderUfrag: 'cluf',
  role: 'controlling' as const,
  tieBreaker: 0x1122334455667788n,
  priority: 0x6efffeff,
  useCandidate: true,
};

describe('messages of ICE', () => {
  it('are written as in the vectors', () => {
    const request = writeBindingRequest(
      { ...FIELDS, transactionId: ID, password: OWN.password },
      crypto,
    );
    expect(toHex(request)).toBe(plain(REQUEST));
    const success = writeBindingSuccess(ID, ep('192.0.2.15:52625'), OWN.password, crypto);
    expect(toHex(success)).toBe(plain(SUCCESS));
    expect(toHex(writeRoleConflict(ID, OWN.password, crypto))).toBe(plain(CONFLICT));
  });

  it('are read as in the vectors', () => {
    expect(acceptBindingRequest(parsed(REQUEST), OWN, crypto)).toEqual(FIELDS);
    expect(authenticationFailure(parsed(SUCCESS), OWN.password, crypto)).toBeUndefined();
    expect(isRoleConflict(parsed(CONFLICT))).toBe(true);
    expect(isRoleConflict(parsed(SUCCESS))).toBe(false);
  });
});

describe('a request', () => {
  it('for another, or signed otherwise, or without fingerprint is refused', () => {
    const message = parsed(REQUEST);
    expect(acceptBindingRequest(message, { ...OWN, ufrag: 'x' }, crypto)).toBe('wrong-username');
    const other = { ...OWN, password: 'x' };
    expect(acceptBindingRequest(message, other, crypto)).toBe('not-authenticated');
    const bare = parsed(
      plain(REQUEST)
        .replace(/^00010048/, '00010040')
        .slice(0, -16),
    );
    expect(acceptBindingRequest(bare, OWN, crypto)).toBe('no-fingerprint');
    const broken = parsed(plain(REQUEST).replace(/24$/, '25'));
    expect(acceptBindingRequest(broken, OWN, crypto)).toBe('no-fingerprint');
  });

  it('without USERNAME, PRIORITY or role is malformed', () => {
    const attributes = parsed(REQUEST).attributes.slice(0, 3);
    for (const missing of attributes) {
      const bytes = writeStun(
        {
          method: STUN_METHOD.binding,
          class: 'request',
          transactionId: ID,
          attributes: attributes.filter((attribute) => attribute !== missing),
        },
        crypto,
      );
      expect(acceptBindingRequest(parsed(toHex(bytes)), OWN, crypto)).toBe('malformed');
    }
  });
});

describe('a role conflict', () => {
  it.each([
    ['controlling', 2n, 'controlled', 1n, 'agree'],
    ['controlling', 2n, 'controlling', 1n, 'refuse'],
    ['controlling', 1n, 'controlling', 1n, 'refuse'],
    ['controlling', 1n, 'controlling', 2n, 'switch'],
    ['controlled', 2n, 'controlled', 1n, 'switch'],
    ['controlled', 1n, 'controlled', 2n, 'refuse'],
    ['controlled', 0xffff_ffff_ffff_ffffn, 'controlled', 0x7fff_ffff_ffff_ffffn, 'switch'],
  ] as const)('of %s (%i) with %s (%i) ends in: %s', (ours, own, theirs, other, verdict) => {
    const request = { ...FIELDS, role: theirs, tieBreaker: other };
    expect(judgeRoles({ role: ours, tieBreaker: own }, request)).toBe(verdict);
  });
});
