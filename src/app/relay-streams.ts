// How gateway and client reach relays where UDP is blocked: from settings to sockets.

import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { IpAddress } from '../base/address.ts';
import type { Log } from '../base/log.ts';
import { ClientStreams } from '../io/relay/client-streams.ts';
import type { RelayStreamConfig } from './options.ts';
import { SettingsError } from './program.ts';

export class RelayCaError extends SettingsError {
  readonly code = 'FZ_ERR_RELAY_CA';
}

/** Throws `RelayCaError`. */
export function openStreams(
  { caFile, tlsName }: RelayStreamConfig,
  log: Log,
  connect?: (address: IpAddress, port: number) => Socket,
): ClientStreams {
  return new ClientStreams({
    log: log.child('streams'),
    ...(caFile === undefined ? {} : { extraCa: readCa(caFile) }),
    ...(tlsName === undefined ? {} : { serverName: tlsName }),
    ...(connect && { connect }),
  });
}

function readCa(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new RelayCaError(`the certificate authorities in ${file} cannot be read`, { cause });
  }
}
