// What the client needs of the node that keeps its sealed paths, so that tests can stand in for it.

import type { Node } from '../../link/node.ts';

export type ClientLink = Pick<
  Node,
  | 'publicKey'
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
  | 'reset'
  | 'pollTransmit'
  | 'handleStream'
  | 'pollStreamCommand'
  | 'pollEvent'
  | 'pollPacket'
  | 'pollTimeout'
  | 'snapshot'
>;
