// What the portal's parts share: the tables, the policy in force and the ways out. One owner, `portal.ts`, makes it and
// decides who works on it.

import { Counters } from '../../base/counters.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import type { Log } from '../../base/log.ts';
import type { Random } from '../../base/random.ts';
import type { Instant, UnixMillis, WallClock } from '../../base/time.ts';
import type { ClientResource } from '../../wire/portal/resources.ts';
import { AuthorizationBook } from './authorizations.ts';
import { Outbox } from './outbox.ts';
import { EMPTY_POLICY, type Policy, type Resource, type Rule, type TokenGrant } from './policy.ts';
import { RelayPresence } from './presence.ts';
import { SessionTable } from './sessions.ts';
import type { PortalStore } from './store.ts';
import { clientResource, FAR_FUTURE, type ViewContext } from './views.ts';

/** Why something a peer sent had no effect. */
export type PortalDrop =
  | 'malformed'
  | 'unknown-message'
  | 'not-joined'
  | 'not-paired'
  | 'peer-offline'
  | 'invalid-ref'
  | 'late-acknowledgement'
  | 'too-many-requests'
  | 'too-many-candidates'
  | 'connect-refused';

export interface ClientView {
  readonly view: ClientResource;
  /** Equal for equal views. */
  readonly text: string;
}

export interface PortalConfig {
  /** As components reach the portal; for the flow-log settings. */
  readonly baseUrl: string;
  readonly connectBurst: number;
}

export interface PortalDeps {
  readonly crypto: CryptoProvider;
  readonly random: Random;
  readonly store: PortalStore;
  readonly wallClock: WallClock;
  readonly log: Log;
}

export class PortalState {
  readonly config: PortalConfig;
  readonly crypto: CryptoProvider;
  readonly random: Random;
  readonly store: PortalStore;
  readonly log: Log;
  readonly sessions: SessionTable = new SessionTable();
  readonly presence: RelayPresence;
  readonly book: AuthorizationBook;
  readonly outbox: Outbox = new Outbox();
  readonly counters: Counters<PortalDrop> = new Counters();
  #policy: Policy = EMPTY_POLICY;
  /** How clients see the resources of the policy: the same for all of them, so made once. */
  readonly #clientViews = new Map<Resource, ClientView>();
  readonly #wallClock: WallClock;
  readonly #ingestKey: Uint8Array;

  constructor(config: PortalConfig, deps: PortalDeps) {
    this.config = config;
    this.crypto = deps.crypto;
    this.random = deps.random;
    this.store = deps.store;
    this.log = deps.log;
    this.#wallClock = deps.wallClock;
    this.presence = new RelayPresence(deps.random);
    this.book = new AuthorizationBook(deps.crypto, deps.store);
    // Nobody takes these tokens back, so their key may end with the process.
    this.#ingestKey = deps.crypto.randomBytes(32);
  }

  get policy(): Policy {
    return this.#policy;
  }

  set policy(policy: Policy) {
    this.#policy = policy;
    this.#clientViews.clear();
  }

  clientView(resource: Resource): ClientView {
    let known = this.#clientViews.get(resource);
    if (!known) {
      const view = clientResource(resource);
      known = { view, text: JSON.stringify(view) };
      this.#clientViews.set(resource, known);
    }
    return known;
  }

  at(now: Instant): UnixMillis {
    return this.#wallClock.at(now);
  }

  instantOf(unix: UnixMillis): Instant {
    return this.#wallClock.instantOf(unix);
  }

  get views(): ViewContext {
    const { crypto, policy } = this;
    return { crypto, policy, ingestKey: this.#ingestKey, baseUrl: this.config.baseUrl };
  }

  /** portal 10.7.4: the earliest of the rule's, the token's and the lifetime's end; never none. */
  expiryOf(rule: Rule, token: TokenGrant, grantedAt: UnixMillis): UnixMillis {
    const lifetime = this.policy.authorizationLifetimeMs;
    const ends = [FAR_FUTURE, rule.expiresAt, token.expiresAt].filter((end) => end !== undefined);
    if (lifetime !== undefined) ends.push((grantedAt + lifetime) as UnixMillis);
    // Whole seconds are what the wire can say.
    return (Math.floor(Math.min(...ends) / 1000) * 1000) as UnixMillis;
  }
}
