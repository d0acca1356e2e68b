// The clients of a gateway, by id and by tunnel address (data-plane 2.1). A tunnel address belongs to the client that took it last.

import { type IpAddress, writeAddressWords } from '../../base/address.ts';
import { at } from '../../base/bytes.ts';
import type { ClientId, PeerId } from '../../base/ids.ts';
import { WordTable } from '../../base/word-table.ts';
import type { ClientPeer } from './client-peer.ts';

export class Clients {
  readonly #byId = new Map<string, ClientPeer>();
  readonly #byAddress: WordTable;
  /** What the values of `#byAddress` number. */
  readonly #places: (ClientPeer | undefined)[] = [];
  readonly #probe = new Int32Array(4);

  constructor(seed: number) {
    this.#byAddress = new WordTable(seed);
  }

  get count(): number {
    return this.#byId.size;
  }

  get(id: ClientId | PeerId): ClientPeer | undefined {
    return this.#byId.get(id);
  }

  [Symbol.iterator](): IterableIterator<ClientPeer> {
    return this.#byId.values();
  }

  /** Hot: the client whose tunnel address stands at `index`. */
  findByAddress(words: Int32Array, index: number): ClientPeer | undefined {
    const place = this.#byAddress.get(words, index, 0);
    return place < 0 ? undefined : at(this.#places, place);
  }

  add(client: ClientPeer): void {
    const free = this.#places.indexOf(undefined);
    const place = free < 0 ? this.#places.length : free;
    this.#places[place] = client;
    this.#byId.set(client.id, client);
    for (const address of [client.addresses.ipv4, client.addresses.ipv6]) {
      this.#byAddress.set(this.#words(address), 0, 0, place);
    }
  }

  remove(client: ClientPeer): void {
    this.#byId.delete(client.id);
    for (const address of [client.addresses.ipv4, client.addresses.ipv6]) {
      const words = this.#words(address);
      if (this.findByAddress(words, 0) === client) this.#byAddress.delete(words, 0, 0);
    }
    const place = this.#places.indexOf(client);
    if (place >= 0) this.#places[place] = undefined;
  }

  #words(address: IpAddress): Int32Array {
    writeAddressWords(address, this.#probe, 0);
    return this.#probe;
  }
}
