// Hot path. What the policy says about an address and port of one client, remembered in the cache that all clients share until anything
// of the client's policy changes.

import type { IpFamily } from '../../base/address.ts';
import { at } from '../../base/bytes.ts';
import { type ParsedPacket, TRANSPORT } from '../../wire/ip/parsed-packet.ts';
import type { Authorizations, PolicyAnswer } from './authorizations.ts';
import type { GatewayWide } from './gateway-wide.ts';

const ANSWERS: readonly PolicyAnswer[] = [
  'allowed',
  'no-resource',
  'filtered',
  'internet-rejected',
];

/** An address where it stands, reused. */
interface AddressKey {
  family: IpFamily;
  words: Int32Array;
  index: number;
}

export class PolicyAnswers {
  /** Another number after each change of the policy. */
  epoch: number;
  readonly #wide: GatewayWide;
  readonly #authorizations: Authorizations;
  readonly #key: AddressKey = { family: 4, words: new Int32Array(0), index: 0 };
  readonly #flow = { transport: 0, port: 0 };

  constructor(wide: GatewayWide, authorizations: Authorizations) {
    this.#wide = wide;
    this.#authorizations = authorizations;
    this.epoch = wide.flows.nextEpoch();
  }

  /** To be called after every change of authorizations or translations. */
  forget(): void {
    this.epoch = this.#wide.flows.nextEpoch();
  }

  /** About the resource whose address stands at `index`, and its port. */
  about(
    packet: Pick<ParsedPacket, 'addresses' | 'transport' | 'version'>,
    index: 0 | 4,
    port: number,
  ): PolicyAnswer {
    const { addresses, transport } = packet;
    const hasPorts = transport === TRANSPORT.tcp || transport === TRANSPORT.udp;
    const flow = (packet.version << 20) | (transport << 16) | (hasPorts ? port : 0);
    const { flows } = this.#wide;
    const known = flows.find(this.epoch, flow, addresses, index);
    if (known >= 0) return at(ANSWERS, known);
    const key = this.#key;
    key.family = packet.version === 4 ? 4 : 6;
    key.words = addresses;
    key.index = index;
    this.#flow.transport = transport;
    this.#flow.port = port;
    const answer = this.#authorizations.classify(key, this.#flow, this.#wide.rejectList);
    flows.remember(ANSWERS.indexOf(answer));
    return answer;
  }
}
