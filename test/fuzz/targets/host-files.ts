// Files of the host that others write: hosts, resolv.conf, os-release, and the filter of log lines. Any text means something or nothing.

import { parseIp } from '../../../src/base/address.ts';
import { utf8Decode } from '../../../src/base/bytes.ts';
import { parseHosts, parseResolvConf } from '../../../src/io/dns/host-files.ts';
import { parseOsRelease } from '../../../src/io/host/identity.ts';
import { LogFilterError, parseLogFilter } from '../../../src/io/log/log-filter.ts';

export const name = 'host-files';
export const kind = 'bytes';

export function run(bytes: Uint8Array): void {
  const text = utf8Decode(bytes);
  if (text === undefined) return;
  for (const [key, addresses] of parseHosts(text)) {
    if (/[A-Z]/.test(key) || addresses.length === 0) throw new Error('no entry of hosts');
  }
  const { servers, search } = parseResolvConf(text);
  for (const server of servers) {
    const [address = '', ...zone] = server.split('%');
    if (parseIp(address) !== address || zone.length > 1) throw new Error('no name server');
  }
  if (search.includes('')) throw new Error('an empty suffix');
  parseOsRelease(text);
  try {
    parseLogFilter(text).levelOf('link');
  } catch (error) {
    if (!(error instanceof LogFilterError)) throw error;
  }
}
