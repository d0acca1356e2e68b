// The connect pipeline (portal 10.1, 10.2): path, token, rate limit, parameters, device, duplicates. It turns an HTTP upgrade
// into a session or a refusal; it does not know sockets.

import { familyOf, type IpAddress, parseIp } from '../../base/address.ts';
import { equalBytes, fromBase64 } from '../../base/bytes.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import { clientId, gatewayId } from '../../base/ids.ts';
import type { Instant, UnixMillis } from '../../base/time.ts';
import { allocateAddresses } from './addresses.ts';
import { base32, randomUuid } from './credentials.ts';
import type { Actor, Policy, Site, TokenGrant } from './policy.ts';
import { tokenHash } from './policy-compile.ts';
import {
  ALREADY_CONNECTED,
  INVALID_TOKEN,
  invalidParameters,
  LIMITS_EXCEEDED,
  MISSING_TOKEN,
  NOT_FOUND,
  OLD_GENERATION,
  OVERLOADED,
  RATE_LIMITED,
  type Refusal,
} from './problem.ts';
import { RateLimiter } from './rate-limit.ts';
import type { Session, SessionId, SessionTable } from './sessions.ts';
import type { Device, PortalStore } from './store.ts';
import { versionFromUserAgent } from './versions.ts';

// Specification

/** portal 10.1: longer texts are cut. */
const MAX_TEXT_LENGTH = 255;
/** portal 10.1: characters of a public key. */
const PUBLIC_KEY_TEXT_LENGTH = 44;
/** portal 9.1. */
const DEFAULT_RELAY_PORT = 3478;
const BEARER = 'Bearer ';

// Implementation

/** Each holds two sockets' worth of memory; beyond it something is wrong. */
const MAX_SESSIONS = 20_000;
/** A token that many use may not fill the disk with invented devices. */
const MAX_DEVICES_PER_SCOPE = 10_000;

/** What the HTTP upgrade says. */
export interface ConnectRequest {
  /** Without query, below the base URL's path. */
  readonly path: string;
  readonly query: ReadonlyMap<string, string>;
  /** Header `X-Authorization`. */
  readonly authorization: string | undefined;
  readonly userAgent: string;
  readonly remoteIp: IpAddress | undefined;
}

export type Admission = { readonly kind: 'admitted'; readonly session: Session } | Refusal;

export interface AdmissionDeps {
  readonly crypto: CryptoProvider;
  readonly store: PortalStore;
  readonly sessions: SessionTable;
}

const ROLE_OF_PATH: Readonly<Record<string, TokenGrant['kind']>> = {
  '/gateway/v2/websocket': 'gateway',
  '/client/v2/websocket': 'client',
  '/relay/websocket': 'relay',
};
const OLD_PATHS = ['/gateway/websocket', '/client/websocket'];

export function isSocketPath(path: string): boolean {
  return ROLE_OF_PATH[path] !== undefined || OLD_PATHS.includes(path);
}

export class Admissions {
  readonly #deps: AdmissionDeps;
  readonly #limiter: RateLimiter;
  #lastSession = 0;

  constructor(deps: AdmissionDeps, connectBurst: number) {
    this.#deps = deps;
    this.#limiter = new RateLimiter(connectBurst);
  }

  admit(request: ConnectRequest, policy: Policy, at: UnixMillis, now: Instant): Admission {
    if (OLD_PATHS.includes(request.path)) return OLD_GENERATION;
    const role = ROLE_OF_PATH[request.path];
    if (!role) return NOT_FOUND;
    const token = tokenOf(request);
    if (token === undefined) return MISSING_TOKEN;
    const hash = tokenHash(this.#deps.crypto, token);
    if (!this.#limiter.take(`${request.remoteIp ?? ''} ${hash.slice(0, 16)}`, now))
      return RATE_LIMITED;
    const grant = grantOf(hash, policy, this.#deps.store, at);
    if (grant?.kind !== role) return INVALID_TOKEN;
    if (this.#deps.sessions.size >= MAX_SESSIONS) return OVERLOADED;
    const common = this.#common(request, hash, grant);
    if (role === 'relay') return admitRelay(request, policy, grant, common);
    if (role === 'gateway') {
      const site = policy.sites.get(grant.owner);
      return site ? this.#admitGateway(request, site, common) : INVALID_TOKEN;
    }
    const actor = policy.actors.get(grant.owner);
    return actor ? this.#admitClient(request, actor, common) : INVALID_TOKEN;
  }

  #admitGateway(request: ConnectRequest, site: Site, common: SessionBase): Admission {
    const found = this.#device(request, 'gateway', site.id);
    if (found.kind === 'refused') return found;
    const { device, publicKey } = found;
    const id = gatewayId(device.id);
    // portal 10.9: the first wins. Its place is held from here on, so that no newcomer can race past this check. The same key
    // is the same process on a new path (its NAT mapping is gone, say), which upstream keeps out until the old socket idles.
    const current = this.#deps.sessions.gateway(id);
    if (current && !equalBytes(current.publicKey, publicKey)) return ALREADY_CONNECTED;
    const knownRelays = new Map();
    return admitted({
      ...common,
      role: 'gateway',
      device,
      publicKey,
      knownRelays,
      iceless: undefined,
      gatewayId: id,
      site,
    });
  }

  #admitClient(request: ConnectRequest, actor: Actor, common: SessionBase): Admission {
    const found = this.#device(request, 'client', actor.id);
    if (found.kind === 'refused') return found;
    return admitted({
      ...common,
      role: 'client',
      device: found.device,
      publicKey: found.publicKey,
      knownRelays: new Map(),
      iceless: undefined,
      clientId: clientId(found.device.id),
      actor,
      shown: new Map(),
      shownInterface: '',
      introduced: new Set(),
    });
  }

  /** The device that the request names, made if it is new (portal 10.2.1). */
  #device(request: ConnectRequest, role: Device['role'], scope: string): FoundDevice | Refusal {
    const publicKey = publicKeyOf(request.query.get('public_key'));
    if (typeof publicKey === 'string') return invalidParameters(publicKey);
    const externalId = request.query.get('external_id') ?? '';
    if (externalId === '') return invalidParameters("external_id can't be blank");
    if (externalId.length > MAX_TEXT_LENGTH)
      return invalidParameters(`external_id should be at most ${MAX_TEXT_LENGTH} character(s)`);
    const known = this.#deps.store.findDevice(role, scope, externalId);
    const device = known ?? this.#newDevice(role, scope, externalId, request.query.get('name'));
    return device ? { kind: 'found', device, publicKey } : LIMITS_EXCEEDED;
  }

  #common(request: ConnectRequest, hash: string, grant: TokenGrant): SessionBase {
    this.#lastSession += 1;
    return {
      id: this.#lastSession as SessionId,
      tokenHash: hash,
      tokenExpiresAt: grant.expiresAt,
      remoteIp: request.remoteIp,
      userAgent: request.userAgent.slice(0, MAX_TEXT_LENGTH),
      version: versionFromUserAgent(request.userAgent.slice(0, MAX_TEXT_LENGTH)),
      joined: false,
      ended: false,
      reportedMalformed: false,
    };
  }

  #newDevice(
    role: Device['role'],
    scope: string,
    externalId: string,
    name: string | undefined,
  ): Device | undefined {
    const { crypto, store } = this.#deps;
    if (store.countDevices(role, scope) >= MAX_DEVICES_PER_SCOPE) return undefined;
    const addresses = allocateAddresses(crypto, (address) => store.isAddressTaken(address));
    if (!addresses) return undefined;
    const device: Device = {
      id: randomUuid(crypto),
      role,
      scope,
      externalId,
      name: (name || base32(crypto.randomBytes(4)).slice(0, 5)).slice(0, MAX_TEXT_LENGTH),
      ...addresses,
      pskBase: crypto.randomBytes(32),
    };
    store.addDevice(device);
    return device;
  }
}

interface FoundDevice {
  readonly kind: 'found';
  readonly device: Device;
  readonly publicKey: Uint8Array;
}

type SessionBase = Pick<
  Session,
  | 'id'
  | 'tokenHash'
  | 'tokenExpiresAt'
  | 'remoteIp'
  | 'userAgent'
  | 'version'
  | 'joined'
  | 'ended'
  | 'reportedMalformed'
>;

const admitted = (session: Session): Admission => ({ kind: 'admitted', session });

/** Whom a token admits now; the policy file's tokens and those of the command line are equal (portal 10.3). */
export function grantOf(
  hash: string,
  policy: Policy,
  store: PortalStore,
  at: UnixMillis,
): TokenGrant | undefined {
  const grant = policy.tokens.get(hash) ?? store.tokenByHash(hash);
  if (!grant || (grant.expiresAt !== undefined && grant.expiresAt <= at)) return undefined;
  return grant;
}

/** portal 10.1 step 1: the header wins; without its exact prefix or with nothing behind it, the query counts. */
function tokenOf(request: ConnectRequest): string | undefined {
  const header = request.authorization ?? '';
  if (header.startsWith(BEARER) && header.length > BEARER.length)
    return header.slice(BEARER.length);
  return request.query.get('token') || undefined;
}

function publicKeyOf(text: string | undefined): Uint8Array | string {
  if (!text) return "public_key can't be blank";
  const bytes = text.length === PUBLIC_KEY_TEXT_LENGTH ? fromBase64(text) : undefined;
  return bytes?.length === 32 ? bytes : 'public_key is not 32 bytes of base64';
}

function admitRelay(
  request: ConnectRequest,
  policy: Policy,
  grant: TokenGrant,
  common: SessionBase,
): Admission {
  const ipv4 = addressParameter(request, 'ipv4', 4);
  const ipv6 = addressParameter(request, 'ipv6', 6);
  if (ipv4 === 'bad') return invalidParameters('ipv4 is not an IPv4 address');
  if (ipv6 === 'bad') return invalidParameters('ipv6 is not an IPv6 address');
  if (ipv4 === undefined && ipv6 === undefined)
    return invalidParameters("ipv4 can't be blank; ipv6 can't be blank");
  const portText = request.query.get('port') ?? String(DEFAULT_RELAY_PORT);
  const port = Number(portText);
  if (!/^\d{1,5}$/.test(portText) || port < 1 || port > 65_535)
    return invalidParameters('port is not a port');
  const location = policy.relays.get(grant.owner);
  return admitted({ ...common, role: 'relay', ipv4, ipv6, port, location, relayId: undefined });
}

function addressParameter(
  request: ConnectRequest,
  name: string,
  family: 4 | 6,
): IpAddress | undefined | 'bad' {
  const text = request.query.get(name);
  if (!text) return undefined;
  const address = parseIp(text);
  return address !== undefined && familyOf(address) === family ? address : 'bad';
}
