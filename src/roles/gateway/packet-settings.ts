// What the operator may set about packets.

import { MAX_PACKET_LENGTH } from '../../wire/ip/protocol.ts';

export interface PacketSettings {
  /** MTU of the TUN device; larger packets than the tunnel's standard are used only where a client's path carries them. */
  readonly tunMtu: number;
  /** Lower the segment size that TCP connections announce to what the tunnel carries. */
  readonly clampMss: boolean;
  /** Whether a resource may begin a connection to a client, from an address and port that the client may reach. */
  readonly mayResourcesInitiate: boolean;
}

export const DEFAULT_PACKET_SETTINGS: PacketSettings = {
  tunMtu: MAX_PACKET_LENGTH,
  clampMss: true,
  mayResourcesInitiate: false,
};
