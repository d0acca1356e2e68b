// What goes into a TURN server and what comes out of it: settings, commands, reasons, numbers.

import type { Endpoint, IpAddress, IpFamily } from '../../../base/address.ts';
import type { CryptoProvider } from '../../../base/crypto.ts';
import type { Log } from '../../../base/log.ts';
import type { Random } from '../../../base/random.ts';
import type { WallClock } from '../../../base/time.ts';
import type { Transmit } from '../../../base/transmit.ts';
import type { PortRange } from './allocations.ts';
import type { ForwardDrop, ForwardTotals } from './forwarding.ts';
import type { PeerPolicy } from './peer-policy.ts';

export interface TurnServerConfig {
  /** What clients are told: one address of each family that is served. */
  readonly publicAddresses: readonly IpAddress[];
  readonly ports: PortRange;
  readonly software: string;
  readonly stampSecret: string;
  readonly peerPolicy: PeerPolicy;
}

export interface TurnServerDeps {
  readonly crypto: CryptoProvider;
  readonly random: Random;
  readonly wallClock: WallClock;
  readonly log: Log;
}

export interface ServerTransmit extends Transmit {
  /** The socket to leave from (`channel-bindings.ts`). */
  readonly socket: number;
}

export type TurnServerCommand =
  /** To be answered by `handleSocketsOpened` or `handleSocketsFailed`. */
  | {
      readonly kind: 'open-sockets';
      readonly allocation: number;
      readonly port: number;
      readonly families: readonly IpFamily[];
    }
  | {
      readonly kind: 'close-sockets';
      readonly allocation: number;
      readonly families: readonly IpFamily[];
    }
  /** The client does nothing with its connection. `handleStreamClosed` need not follow. */
  | { readonly kind: 'close-stream'; readonly stream: Endpoint };

export type ServerDrop =
  | ForwardDrop
  /** Neither channel nor permission. */
  | 'no-peer'
  | 'no-permission'
  | 'malformed-indication'
  | 'unknown-stream'
  | 'port-zero'
  | 'not-turn'
  | 'not-a-request'
  | 'rate-limited'
  | 'unknown-user-name'
  | 'allocation-not-ready';

export interface TurnServerSnapshot {
  readonly allocationCount: number;
  readonly boundChannelCount: number;
  readonly permissionCount: number;
  readonly streamCount: number;
  readonly isDraining: boolean;
  readonly totals: Readonly<ForwardTotals>;
  readonly drops: Readonly<Record<string, number>>;
  readonly responses: Readonly<Record<string, number>>;
}
