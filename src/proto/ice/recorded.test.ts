// Held against what official peers sent: our agent in the gateway's place says the same, byte for byte.

import { describe, expect, it } from 'vitest';
import { ep } from '../../../test/support/virtual-network.ts';
import {
  clientAnswer,
  clientNomination,
  clientRequest,
  gatewayAnswer,
  gatewayCandidates,
  gatewayRequest,
  recordedClient,
  recordedGateway,
} from '../../../test/vectors/ice.ts';
import { toHex } from '../../base/bytes.ts';
import { SILENT_LOG } from '../../base/log.ts';
import { instant } from '../../base/time.ts';
import { createSeededCrypto } from '../../io/crypto/seeded-crypto.ts';
import { findAttribute, parseStun, type StunMessage } from '../../wire/stun/message.ts';
import { IceAgent } from './agent.ts';
import {
  acceptBindingRequest,
  authenticationFailure,
  writeBindingRequest,
} from './binding-messages.ts';
import { formatCandidate, type IceCandidate, parseCandidate } from './candidate.ts';
import type { LocalCandidateInfo } from './local-candidates.ts';
import { GATEWAY_TIMING } from './timing.ts';

const crypto = createSeededCrypto(1);
const NOW = instant(0);

function parse(bytes: Uint8Array): StunMessage {
  const message = parseStun(bytes);
  if (!message) throw new Error('not a STUN message');
  return message;
}

function candidate(text: string): IceCandidate {
  const parsed = parseCandidate(text);
  if (!parsed) throw new Error(text);
  return parsed;
}

/** The recorded gateway's agent, with its candidates in the recorded order. */
function createGateway(): { agent: IceAgent; added: (IceCandidate | undefined)[] } {
  const agent = new IceAgent(
    {
      role: 'controlled',
      localCredentials: recordedGateway,
      remoteCredentials: recordedClient,
      timing: GATEWAY_TIMING,
    },
    { crypto, log: SILENT_LOG },
    NOW,
  );
  const bases = { srflx6: ep('[fd31::100]:52625'), srflx4: ep('10.31.0.100:52625') };
  const added = gatewayCandidates.map((text) => {
    const { kind, address } = candidate(text);
    const mapped = address.key.startsWith('[') ? bases.srflx6 : bases.srflx4;
    const base = kind === 'srflx' ? mapped : address;
    const info: LocalCandidateInfo = { kind, address, base, viaFamily: 6 };
    return agent.addLocalCandidate(kind === 'relayed' ? info : { kind, address, base }, NOW);
  });
  return { agent, added };
}

describe('recorded messages', () => {
  it('of the gateway are what we write', () => {
    const message = parse(gatewayRequest);
    const request = acceptBindingRequest(message, recordedClient, crypto);
    if (typeof request === 'string') throw new Error(request);
    expect(request).toMatchObject({ role: 'controlled', useCandidate: false });
    const { transactionId } = message;
    const { password } = recordedClient;
    const written = writeBindingRequest({ ...request, transactionId, password }, crypto);
    expect(toHex(written)).toBe(toHex(gatewayRequest));
  });

  it('of the client are authentic, answers and nominations too', () => {
    const answer = parse(clientAnswer);
    expect(authenticationFailure(answer, recordedClient.password, crypto)).toBeUndefined();
    expect(findAttribute(answer, 'xor-mapped-address')).toEqual(ep('10.9.0.102:52625'));
    expect(acceptBindingRequest(parse(clientNomination), recordedGateway, crypto)).toMatchObject({
      role: 'controlling',
      useCandidate: true,
    });
  });

  it('of the client are answered as the gateway answered', () => {
    const { agent } = createGateway();
    const path = { source: ep('[fd09::101]:52625'), local: ep('[fd31::100]:52625') };
    expect(agent.handleStun(parse(clientRequest), path, NOW)).toBe(true);
    const answer = agent.pollTransmit();
    expect(answer && toHex(answer.payload)).toBe(toHex(gatewayAnswer));
  });
});

describe('recorded candidates', () => {
  it('survive parsing and writing', () => {
    for (const text of gatewayCandidates) expect(formatCandidate(candidate(text))).toBe(text);
  });

  it('get the same priorities, related addresses and order from our agent', () => {
    const withoutHash = (text: string): string => text.replace(/^candidate:(.{8})\S+/, '$1');
    const { agent, added } = createGateway();
    const ours = added.map((one) => (one ? formatCandidate(one) : ''));
    expect(ours.map(withoutHash)).toEqual(gatewayCandidates.map(withoutHash));
    const order = agent.localCandidates().map(({ address }) => address.key);
    expect(order).toEqual(gatewayCandidates.map((text) => candidate(text).address.key));
  });
});
