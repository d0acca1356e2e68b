// Where a component's token comes from (operations 1.3, client 2.1). Whatever white space is left in it is removed where the
// header is written (`proto/phoenix/channel.ts`).

import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { FzError } from '../../base/errors.ts';

/** No token, or one that everybody could read. */
export class TokenError extends FzError {
  readonly code = 'FZ_ERR_TOKEN';
}

type Environment = Readonly<Record<string, string | undefined>>;

// Specification
const TOKEN_VARIABLE = 'FIREZONE_TOKEN';
/** systemd's folder of credentials (operations 1.3). */
const CREDENTIALS_VARIABLE = 'CREDENTIALS_DIRECTORY';
/** client 2.1 */
export const CLIENT_TOKEN_FILE = '/etc/dev.firezone.client/token';
/** Bits that a client's token file must not have: nobody but its owner may read or write it (client 2.1). */
const FOREIGN_MODE = 0o177;

/**
 * The configured token (argument or variable); if that is the path of a file, as container secrets are, what stands in the
 * file; else systemd's credential.
 */
export function gatewayToken(configured: string | undefined, environment: Environment): string {
  if (configured !== undefined) {
    return configured.startsWith('/') && existsSync(configured)
      ? readToken(configured)
      : configured;
  }
  const credentials = environment[CREDENTIALS_VARIABLE];
  if (credentials === undefined) {
    throw new TokenError(`no token: give it as argument or in ${TOKEN_VARIABLE}`);
  }
  return readToken(join(credentials, TOKEN_VARIABLE));
}

/** The configured token, else a file that only root can read. */
export function clientToken(configured: string | undefined, file: string): string {
  if (configured !== undefined) return configured;
  const status = statSync(file, { throwIfNoEntry: false });
  if (status === undefined) {
    throw new TokenError(`no token: set ${TOKEN_VARIABLE} or write it to ${file}`);
  }
  if (status.uid !== 0 || status.gid !== 0 || (status.mode & FOREIGN_MODE) !== 0) {
    throw new TokenError(`${file} must belong to root:root with mode 0400 or 0600`);
  }
  return readToken(file);
}

function readToken(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (cause) {
    throw new TokenError(`cannot read the token from ${file}`, { cause });
  }
}
