// What the process may do: CAP_NET_ADMIN (real user 0 or the effective capability, operations 4 step 2) and /dev/net/tun.
// Each thing that is missing is one sentence for the operator that says what to do.

import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { isSea } from 'node:sea';
import { FzError } from '../../base/errors.ts';

// Specification

/** Bit of CAP_NET_ADMIN in the capability sets of /proc/self/status (capabilities(7)). */
const CAP_NET_ADMIN_BIT = 12n;
const TUN_DEVICE_FILE = '/dev/net/tun';

export class PrivilegeError extends FzError {
  readonly code = 'FZ_ERR_PRIVILEGES';
}

export class TunDeviceFileError extends FzError {
  readonly code = 'FZ_ERR_TUN_FILE';
}

export function hasNetAdmin(): boolean {
  const status = readFileSync('/proc/self/status', 'utf8');
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> CAP_NET_ADMIN_BIT) & 1n) === 1n;
}

/** Throws with what is missing for creating a TUN device and configuring the network. */
export function requireNetAdmin(program: string): void {
  if (hasNetAdmin()) return;
  const executable = isSea() ? process.execPath : `dist/${program} (made by npm run build)`;
  throw new PrivilegeError(
    `${program} needs the capability CAP_NET_ADMIN: run it as root (sudo), ` +
      `or give the single executable the capability: sudo setcap 'cap_net_admin+eip' ${executable}`,
  );
}

export function requireTunDeviceFile(): void {
  try {
    accessSync(TUN_DEVICE_FILE, constants.R_OK | constants.W_OK);
  } catch (cause) {
    throw new TunDeviceFileError(
      existsSync(TUN_DEVICE_FILE)
        ? `${TUN_DEVICE_FILE} is closed to this user: sudo chmod 0666 ${TUN_DEVICE_FILE} ` +
            '(the usual mode; making a device needs CAP_NET_ADMIN all the same)'
        : `${TUN_DEVICE_FILE} is missing: load the module (sudo modprobe tun), ` +
            `or in a container pass --device ${TUN_DEVICE_FILE}`,
      { cause },
    );
  }
}
