// Runs a portal until a signal: database, policy file, server and health listener, wired in one visible place. Also what the
// lab starts when it wants a portal of its own.

import type { Endpoint } from '../base/address.ts';
import type { Log } from '../base/log.ts';
import { createWallClock, monotonicNow, SystemRandom } from '../io/clock.ts';
import { createNodeCrypto } from '../io/crypto/node-crypto.ts';
import { HealthServer } from '../io/health-server.ts';
import {
  formatFaults,
  type LoadedPolicy,
  PolicyFile,
  PolicyFileError,
} from '../io/portal/policy-file.ts';
import { PortalServer } from '../io/portal/portal-server.ts';
import { SqlitePortalStore } from '../io/portal/portal-store.ts';
import { Portal } from '../roles/portal/portal.ts';
import { CONNECT_BURST } from '../roles/portal/rate-limit.ts';

// Implementation

/** How often to look whether the command line changed tokens. */
const STORE_POLL_MS = 500;

export interface ServeOptions {
  readonly listen: Endpoint;
  readonly policy: string;
  /** File, or `:memory:`. */
  readonly database: string;
  readonly baseUrl: string;
  readonly trustProxy: boolean;
  readonly healthAddress: Endpoint | undefined;
}

/** Resolves once the portal has stopped. Rejects with an `FzError` if it cannot start. */
export async function serve(options: ServeOptions, log: Log): Promise<void> {
  const stopped = new Promise<NodeJS.Signals>((resolve) => {
    process.once('SIGINT', resolve);
    process.once('SIGTERM', resolve);
  });
  const portal = await startPortal(options, log);
  log.info('portal is ready', { listen: portal.address.key, policy: options.policy });
  const reload = (): void => portal.reload();
  process.on('SIGHUP', reload);
  const signal = await stopped;
  process.off('SIGHUP', reload);
  log.info('stopping', { signal });
  await portal.stop();
}

export interface RunningPortal {
  readonly address: Endpoint;
  /** Looks at the policy file now; it is watched anyway. */
  reload(): void;
  stop(): Promise<void>;
}

export async function startPortal(options: ServeOptions, log: Log): Promise<RunningPortal> {
  const crypto = createNodeCrypto();
  const store = new SqlitePortalStore(options.database, (cause) =>
    log.error('authorizations could not be written, trying again', { cause }),
  );
  let server: PortalServer | undefined;
  const file = new PolicyFile(
    options.policy,
    { crypto, ids: store },
    (loaded) => applyChange(loaded, options.policy, server, log),
    (cause) => log.warn('policy file cannot be read, the old policy stays in force', { cause }),
  );
  try {
    const first = file.load();
    if (first.kind === 'faults')
      throw new PolicyFileError(
        `the policy has faults\n${formatFaults(options.policy, first.faults)}`,
      );
    const now = monotonicNow();
    const deps = {
      crypto,
      random: new SystemRandom(),
      store,
      wallClock: createWallClock(now),
      log: log.child('portal'),
    };
    const config = { baseUrl: options.baseUrl, connectBurst: CONNECT_BURST };
    const portal = new Portal(config, deps, first.policy, now);
    server = await PortalServer.create(serverOptions(options), portal, log.child('portal.http'));
    file.watch();
    return await finishStart(server, store, file, options, log);
  } catch (error) {
    file.close();
    await server?.close();
    store.close();
    throw error;
  }
}

async function finishStart(
  server: PortalServer,
  store: SqlitePortalStore,
  file: PolicyFile,
  options: ServeOptions,
  log: Log,
): Promise<RunningPortal> {
  const source = { notReady: () => [], snapshot: () => server.snapshot() };
  const health =
    options.healthAddress && (await HealthServer.create(options.healthAddress, source));
  const poll = setInterval(() => {
    try {
      if (store.wasChanged()) server.recheckTokens();
    } catch (cause) {
      log.error('the database cannot be read', { cause });
    }
  }, STORE_POLL_MS);
  return {
    address: server.address,
    reload: () => file.reload(),
    async stop(): Promise<void> {
      clearInterval(poll);
      file.close();
      health?.close();
      await server.close();
      store.close();
    },
  };
}

function serverOptions(options: ServeOptions): Parameters<typeof PortalServer.create>[0] {
  const { listen, trustProxy } = options;
  return { listen, trustProxy, basePath: new URL(options.baseUrl).pathname.replace(/\/$/, '') };
}

/** A faulty file leaves the old policy in force and says so once. */
function applyChange(
  loaded: LoadedPolicy,
  path: string,
  server: PortalServer | undefined,
  log: Log,
): void {
  if (loaded.kind === 'faults') {
    const faults = formatFaults(path, loaded.faults);
    log.warn(`policy has faults, the old one stays in force\n${faults}`);
    return;
  }
  try {
    server?.setPolicy(loaded.policy);
    log.info('policy is in force', { policy: path });
  } catch (cause) {
    log.error('policy could not be applied', { cause });
  }
}
