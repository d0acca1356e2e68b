// What the gateway needs of the node that keeps its sealed paths, so that tests can stand in for it.

import type { Node } from '../../link/node.ts';
import type { SendOutcome } from '../../link/node-types.ts';

export type GatewayLink = Pick<
  Node,
  | 'handleRuns'
  | 'handleOpened'
  | 'handleTimeout'
  | 'peerOfSlot'
  | 'sendSlot'
  | 'sendPacket'
  | 'upsertConnection'
  | 'addRemoteCandidate'
  | 'removeRemoteCandidate'
  | 'closeConnection'
  | 'removeConnection'
  | 'closeAll'
  | 'releaseRelays'
  | 'updateRelays'
  | 'setLocalAddresses'
  | 'handleNetworkChange'
  | 'pollTransmit'
  | 'handleStream'
  | 'pollStreamCommand'
  | 'pollEvent'
  | 'pollPacket'
  | 'pollTimeout'
  | 'connectionState'
  | 'snapshot'
>;

/** Whether `sendPacket` took the packet: it is sent, or waits for a handshake. */
export function wasTaken(outcome: SendOutcome): boolean {
  return outcome === 'sent' || outcome === 'waiting';
}
