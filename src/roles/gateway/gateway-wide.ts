// What all clients of a gateway share: its own tunnel addresses, the cache of policy answers, the Internet reject list. Hot path.

import { type IpAddress, type IpNetwork, writeAddressWords } from '../../base/address.ts';
import { viewOf } from '../../base/bytes.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import { InternetRejectList, laboratoryNetworks } from '../../proto/filter/reject-list.ts';
import { RulesPool } from '../../proto/filter/rules.ts';
import type { ParsedPacket } from '../../wire/ip/parsed-packet.ts';
import { PathMtus } from '../path-mtus.ts';
import { FlowCache } from './flow-cache.ts';
import { isAddressOf } from './own-address.ts';
import { DEFAULT_PACKET_SETTINGS, type PacketSettings } from './packet-settings.ts';

export interface TunnelAddresses {
  readonly ipv4: IpAddress;
  readonly ipv6: IpAddress;
}

export class GatewayWide {
  readonly flows: FlowCache = new FlowCache();
  readonly rules: RulesPool = new RulesPool();
  readonly exceptions: readonly IpNetwork[];
  readonly settings: PacketSettings;
  readonly mtus: PathMtus;
  readonly #crypto: CryptoProvider;
  /** IPv4 at 0, IPv6 at 4. */
  readonly #own = new Int32Array(8);
  #addresses: TunnelAddresses | undefined;
  #hostAddresses: readonly IpAddress[] = [];
  #relayAddresses: readonly IpAddress[] = [];
  #rejectList: InternetRejectList;

  /** `exceptions`: special networks that names and Internet resources may lead to at this site. */
  constructor(
    crypto: CryptoProvider,
    exceptions: readonly IpNetwork[] = [],
    settings: Partial<PacketSettings> = {},
  ) {
    this.#crypto = crypto;
    this.exceptions = exceptions;
    this.settings = { ...DEFAULT_PACKET_SETTINGS, ...settings };
    this.mtus = new PathMtus(this.settings.tunMtu);
    this.#rejectList = new InternetRejectList({ exceptions });
  }

  /** `undefined` until the portal's first `init`. */
  get addresses(): TunnelAddresses | undefined {
    return this.#addresses;
  }

  get rejectList(): InternetRejectList {
    return this.#rejectList;
  }

  /** Effective for existing clients, too (data-plane 17.16). */
  setAddresses(addresses: TunnelAddresses): void {
    this.#addresses = addresses;
    writeAddressWords(addresses.ipv4, this.#own, 0);
    writeAddressWords(addresses.ipv6, this.#own, 4);
  }

  /** Addresses of the gateway's host that no Internet resource covers. The caller renews all epochs. */
  setHostAddresses(addresses: readonly IpAddress[]): void {
    this.#hostAddresses = addresses;
    this.#renewRejectList();
  }

  /**
   * Relays are on the Internet by definition. Where they have addresses for documentation, this is a laboratory, and these are its
   * Internet. The caller renews all epochs.
   */
  setRelayAddresses(addresses: readonly IpAddress[]): void {
    this.#relayAddresses = addresses;
    this.#renewRejectList();
  }

  isOwn(packet: ParsedPacket, index: 0 | 4): boolean {
    return this.#addresses !== undefined && isAddressOf(this.#own, packet, index);
  }

  /** Unpredictable, for hash tables. */
  nextSeed(): number {
    return viewOf(this.#crypto.randomBytes(4)).getInt32(0);
  }

  #renewRejectList(): void {
    this.#rejectList = new InternetRejectList({
      ownAddresses: this.#hostAddresses,
      exceptions: [...this.exceptions, ...laboratoryNetworks(this.#relayAddresses)],
    });
  }
}
