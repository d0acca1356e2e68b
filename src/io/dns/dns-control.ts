// Control of the system resolver by /etc/resolv.conf (client 10.3, modes `etc-resolv-conf` and `disabled`): the original is kept in the state
// folder, the file is rewritten in place (it may be a bind mount), and put back at exit and at the next start after a crash.

import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { type IpAddress, parseIp } from '../../base/address.ts';
import { FzError } from '../../base/errors.ts';

// Specification: client 10.3.
const MAGIC_LINE = '# BEGIN Firezone DNS configuration';
const RESOLV_CONF = '/etc/resolv.conf';

export class ResolvConfError extends FzError {
  readonly code = 'FZ_ERR_RESOLV_CONF';
}

export class ResolvConf {
  readonly #backup: string;
  readonly #path: string;

  constructor(backupPath: string, path: string = RESOLV_CONF) {
    this.#backup = backupPath;
    this.#path = path;
  }

  /** Name servers of the host itself, whether or not the file is ours at the moment. Zones are cut off. */
  systemServers(): IpAddress[] {
    const text = this.#isOurs() ? this.#readBackup() : readFileSync(this.#path, 'utf8');
    const servers = [...text.matchAll(/^\s*nameserver\s+([^\s%#;]+)/gm)].flatMap(
      ([, word = '']) => {
        const address = parseIp(word);
        return address === undefined ? [] : [address];
      },
    );
    return [...new Set(servers)];
  }

  /** Points the system at `servers`; an empty list leaves the file as it is. */
  apply(servers: readonly IpAddress[], searchDomain: string | undefined): void {
    if (servers.length === 0) return;
    if (!this.#isOurs()) this.#saveBackup();
    const lines = [
      MAGIC_LINE,
      ...servers.map((server) => `nameserver ${server}`),
      ...(searchDomain ? [`search ${searchDomain}`, 'options ndots:1'] : []),
    ];
    this.#write(`${lines.join('\n')}\n`);
  }

  /** Puts the original back; does nothing if the file is not ours. */
  revert(): void {
    if (!this.#isOurs()) return;
    this.#write(this.#readBackup());
    rmSync(this.#backup, { force: true });
  }

  /** Whether the file is ours now. */
  get isInForce(): boolean {
    return this.#isOurs();
  }

  #isOurs(): boolean {
    return readFileSync(this.#path, 'utf8').startsWith(MAGIC_LINE);
  }

  #saveBackup(): void {
    if (!statSync(this.#path).isFile()) {
      throw new ResolvConfError(
        `${this.#path} is not a regular file; start with --dns-control disabled`,
      );
    }
    mkdirSync(dirname(this.#backup), { recursive: true, mode: 0o700 });
    writeFileSync(`${this.#backup}.new`, readFileSync(this.#path));
    renameSync(`${this.#backup}.new`, this.#backup);
  }

  #readBackup(): string {
    try {
      return readFileSync(this.#backup, 'utf8');
    } catch (cause) {
      throw new ResolvConfError(
        `the original of ${this.#path} is gone (${this.#backup}); write it anew`,
        {
          cause,
        },
      );
    }
  }

  /** In place, because a rename over a bind mount fails and would break the link of other namespaces to it. */
  #write(text: string): void {
    try {
      writeFileSync(this.#path, text);
    } catch (cause) {
      throw new ResolvConfError(`cannot write ${this.#path}; start with --dns-control disabled`, {
        cause,
      });
    }
  }
}
