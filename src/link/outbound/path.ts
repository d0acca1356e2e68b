// The path of a connection: the pair of endpoints that ICE nominated, and how a datagram gets there (connectivity 4.5, 8).
// `writePathRow` is the border to bulk data: the row of `TransportAead.paths` that `sealSend` follows.

import { type Endpoint, writeAddressWords } from '../../base/address.ts';
import { PATH } from '../../base/batch.ts';
import type { CandidateKind } from '../../proto/ice/priority.ts';

export interface Path {
  /** `relayed` as soon as a relay stands at either end. */
  readonly kind: 'direct' | 'relayed';
  /** Our address; one of our relayed addresses if the datagrams go through our relay. */
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly localKind: CandidateKind;
  readonly remoteKind: CandidateKind;
}

export function pathOf(ends: Omit<Path, 'kind'>): Path {
  const { local, remote, localKind, remoteKind } = ends;
  const isRelayed = localKind === 'relayed' || remoteKind === 'relayed';
  return { kind: isRelayed ? 'relayed' : 'direct', local, remote, localKind, remoteKind };
}

/** Where the datagrams of a path physically go. */
export type Route =
  | { readonly kind: 'direct'; readonly source: Endpoint; readonly destination: Endpoint }
  /** ChannelData to the relay, from any address (connectivity 8.2). */
  | { readonly kind: 'channel'; readonly relay: Endpoint; readonly channel: number };

export function isSamePath(a: Path, b: Path): boolean {
  return a.local.key === b.local.key && a.remote.key === b.remote.key;
}

/** Writes the row of `slot`; without a route the slot is not usable. */
export function writePathRow(paths: Int32Array, slot: number, route: Route | undefined): void {
  const row = slot * PATH.stride;
  paths.fill(0, row, row + PATH.stride);
  if (route === undefined) return;
  const destination = route.kind === 'direct' ? route.destination : route.relay;
  writeAddressWords(destination.address, paths, row + PATH.remote);
  paths[row + PATH.remotePort] = destination.port;
  if (route.kind === 'direct') writeAddressWords(route.source.address, paths, row + PATH.local);
  else paths[row + PATH.channel] = route.channel;
  paths[row + PATH.usable] = 1;
}
