// Where a component dials and what it says about itself in the URL (portal-protocol 2.1, 2.2). A `LoginUrl` is a prototype:
// all but the parameters that belong to one connection. Gateways and clients complete it with their public key, relays with
// nothing; the type parameter keeps the two apart at compile time. It does not resolve names and knows no token.

import { familyOf, type IpAddress, parseIp } from '../../base/address.ts';
import { at, toBase64, toHex, utf8Encode } from '../../base/bytes.ts';
import type { CryptoProvider } from '../../base/crypto.ts';

// Specification
/** Where the URL names no port, also for `ws` (portal-protocol 2.1 rule 4, operations 3.4). */
const DEFAULT_PORT = 443;
/** API path version of gateways and clients (portal-protocol 2.1 rule 2). */
const API_VERSION = 'v2';

export type Audience = 'gateway' | 'client' | 'relay';

/** Parameters of gateways and clients: the key lives as long as the process or, on a client, until it roams. */
export interface PublicKeyParams {
  readonly publicKey: Uint8Array;
}

/** Parameters of relays: none. */
export type NoParams = Readonly<Record<string, never>>;

/** What is dialled. */
export interface DialTarget {
  readonly isSecure: boolean;
  /** A name or an address; IPv6 without brackets (Deviates from portal-protocol 2.4, where those do not work: 16.7). */
  readonly host: string;
  readonly port: number;
  /** Path and query. */
  readonly path: string;
  /** `Host` header: without port, IPv6 in brackets (portal-protocol 2.3). */
  readonly hostHeader: string;
}

export type LoginUrlResult<Params> =
  | { readonly kind: 'url'; readonly url: LoginUrl<Params> }
  | { readonly kind: 'invalid'; readonly problem: string };

type Parameter = readonly [name: string, value: string];

export class LoginUrl<Params> {
  readonly audience: Audience;
  readonly #base: BaseUrl;
  readonly #prototype: readonly Parameter[];
  readonly #complete: (params: Params) => readonly Parameter[];

  constructor(
    audience: Audience,
    base: BaseUrl,
    prototype: readonly Parameter[],
    complete: (params: Params) => readonly Parameter[],
  ) {
    this.audience = audience;
    this.#base = base;
    this.#prototype = prototype;
    this.#complete = complete;
  }

  get host(): string {
    return this.#base.host;
  }

  complete(params: Params): DialTarget {
    const { isSecure, host, port, segments } = this.#base;
    const version = this.audience === 'relay' ? [] : [API_VERSION];
    const path = [...segments, this.audience, ...version, 'websocket'];
    const query = [...this.#prototype, ...this.#complete(params)].map(
      ([name, value]) => `${formEncode(name)}=${formEncode(value)}`,
    );
    const isIpv6 = host.includes(':');
    return {
      isSecure,
      host,
      port,
      path: `/${path.join('/')}?${query.join('&')}`,
      hostHeader: isIpv6 ? `[${host}]` : host,
    };
  }
}

export interface GatewayLogin {
  readonly apiUrl: string;
  readonly firezoneId: string;
  readonly name: string;
}

export function gatewayLoginUrl(
  login: GatewayLogin,
  crypto: CryptoProvider,
): LoginUrlResult<PublicKeyParams> {
  const parameters: Parameter[] = [
    ['external_id', externalId(login.firezoneId, crypto)],
    ['name', login.name],
  ];
  return build('gateway', login.apiUrl, parameters, publicKeyParameter);
}

export interface ClientLogin extends GatewayLogin {
  readonly deviceSerial?: string;
  readonly deviceUuid?: string;
  readonly identifierForVendor?: string;
  readonly firebaseInstallationId?: string;
}

export function clientLoginUrl(
  login: ClientLogin,
  crypto: CryptoProvider,
): LoginUrlResult<PublicKeyParams> {
  const parameters = present([
    ['external_id', externalId(login.firezoneId, crypto)],
    ['name', login.name],
    ['device_serial', login.deviceSerial],
    ['device_uuid', login.deviceUuid],
    ['identifier_for_vendor', login.identifierForVendor],
    ['firebase_installation_id', login.firebaseInstallationId],
  ]);
  return build('client', login.apiUrl, parameters, publicKeyParameter);
}

export interface RelayLogin {
  readonly apiUrl: string;
  readonly name?: string;
  readonly ipv4?: IpAddress;
  readonly ipv6?: IpAddress;
  readonly port: number;
}

export function relayLoginUrl(login: RelayLogin): LoginUrlResult<NoParams> {
  const parameters = present([
    ['name', login.name],
    ['ipv4', login.ipv4],
    ['ipv6', login.ipv6],
    ['port', String(login.port)],
  ]);
  return build<NoParams>('relay', login.apiUrl, parameters, () => []);
}

/** Hashed if it is a UUID in any textual form, verbatim otherwise (portal-protocol 2.2 rule 3). */
export function externalId(firezoneId: string, crypto: CryptoProvider): string {
  const uuid =
    /^(?:urn:uuid:)?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$|^[0-9a-f]{32}$/i;
  const braced = /^\{(.*)\}$/.exec(firezoneId)?.[1];
  const isUuid = uuid.test(firezoneId) || (braced?.includes('-') === true && uuid.test(braced));
  return isUuid ? toHex(crypto.sha256(utf8Encode(firezoneId))) : firezoneId;
}

export interface BaseUrl {
  readonly isSecure: boolean;
  readonly host: string;
  readonly port: number;
  readonly segments: readonly string[];
}

/** Scheme, host, port and path segments of `FIREZONE_API_URL`; query, fragment and user are dropped. */
export function parseBaseUrl(text: string): BaseUrl | string {
  const match =
    /^([a-z][a-z0-9+.-]*):\/\/(?:[^@/?#]*@)?(\[[^\]]*\]|[^:/?#[\]]+)(?::([0-9]{1,5}))?(\/[^?#]*)?(?:[?#].*)?$/i.exec(
      text,
    );
  if (match === null) return 'not a URL';
  const scheme = at(match, 1).toLowerCase();
  if (!['http', 'https', 'ws', 'wss'].includes(scheme)) return `unsupported scheme ${scheme}`;
  const host = parseHost(at(match, 2));
  if (host === undefined) return 'the host is neither a name nor an address';
  const port = match[3] === undefined ? DEFAULT_PORT : Number(match[3]);
  if (port === 0 || port > 65535) return 'the port is out of range';
  const segments = (match[4] ?? '').split('/').slice(1);
  if (segments.at(-1) === '') segments.pop();
  if (segments.some((segment) => !/^[\x21-\x7e]*$/.test(segment))) return 'the path is not ASCII';
  return { isSecure: scheme === 'https' || scheme === 'wss', host, port, segments };
}

function parseHost(text: string): string | undefined {
  if (text.startsWith('[')) {
    const address = parseIp(text.slice(1, -1));
    return address !== undefined && familyOf(address) === 6 ? address : undefined;
  }
  return /^[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_.])?$/i.test(text) ? text.toLowerCase() : undefined;
}

function build<Params>(
  audience: Audience,
  apiUrl: string,
  parameters: readonly Parameter[],
  complete: (params: Params) => readonly Parameter[],
): LoginUrlResult<Params> {
  const base = parseBaseUrl(apiUrl);
  if (typeof base === 'string') return { kind: 'invalid', problem: base };
  return { kind: 'url', url: new LoginUrl(audience, base, parameters, complete) };
}

function publicKeyParameter(params: PublicKeyParams): readonly Parameter[] {
  return [['public_key', toBase64(params.publicKey)]];
}

function present(
  parameters: readonly (readonly [name: string, value: string | undefined])[],
): readonly Parameter[] {
  return parameters.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
}

/** application/x-www-form-urlencoded (URL standard §5.2). */
function formEncode(text: string): string {
  let out = '';
  for (const byte of utf8Encode(text)) {
    const character = String.fromCharCode(byte);
    if (/[A-Za-z0-9*\-._]/.test(character)) out += character;
    else if (character === ' ') out += '+';
    else out += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return out;
}
