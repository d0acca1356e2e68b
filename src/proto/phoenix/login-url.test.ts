import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { recordedUpgrades } from '../../../test/support/portal-recordings.ts';
import { type IpAddress, parseIp } from '../../base/address.ts';
import { fromBase64 } from '../../base/bytes.ts';
import { createNodeCrypto } from '../../io/crypto/node-crypto.ts';
import {
  clientLoginUrl,
  type DialTarget,
  externalId,
  gatewayLoginUrl,
  parseBaseUrl,
  relayLoginUrl,
} from './login-url.ts';

const crypto = createNodeCrypto();
/** Bytes 20..3f (portal-protocol 15). */
const publicKey = Uint8Array.from({ length: 32 }, (_, i) => 0x20 + i);

function gateway(apiUrl: string, name = 'gw', firezoneId = 'id'): DialTarget | string {
  const result = gatewayLoginUrl({ apiUrl, firezoneId, name }, crypto);
  return result.kind === 'invalid' ? result.problem : result.url.complete({ publicKey });
}

describe('the URL of a gateway', () => {
  it('is the one of the example conversation (portal-protocol 11.1, vectors T1 and T2)', () => {
    const id = '5b0c6e0e-7c55-4a52-9d2b-0f2f6e1c0a11';
    expect(gateway('wss://portal.lab.example', 'lab-gw-1', id)).toEqual({
      isSecure: true,
      host: 'portal.lab.example',
      port: 443,
      path:
        '/gateway/v2/websocket' +
        '?external_id=64f2fa04b400c36619aa382865364e1c263208d576eabf5d8ca69494270ffe32' +
        '&name=lab-gw-1&public_key=ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8%3D',
      hostHeader: 'portal.lab.example',
    });
  });

  it.each([
    ['wss://h/api/', '/api/gateway/v2/websocket'],
    ['wss://h/api', '/api/gateway/v2/websocket'],
    ['wss://h/a//b', '/a//b/gateway/v2/websocket'],
    ['https://h/?token=x#f', '/gateway/v2/websocket'],
  ])('keeps the path of %s and clears its query', (apiUrl, path) => {
    expect(gateway(apiUrl)).toMatchObject({
      path: expect.stringMatching(new RegExp(`^${path}\\?external_id=id&name=gw&public_key=`)),
    });
  });

  it.each([
    ['ws://h', false, 'h', 443],
    ['ws://h:80', false, 'h', 80],
    ['http://H.Example:8081/', false, 'h.example', 8081],
    ['wss://h:443', true, 'h', 443],
    ['https://[2001:DB8::1]:8443', true, '2001:db8::1', 8443],
    ['wss://192.0.2.1', true, '192.0.2.1', 443],
    ['wss://user:pass@h', true, 'h', 443],
  ])('%s: secure %s, host %s, port %i', (apiUrl, isSecure, host, port) => {
    const hostHeader = host.includes(':') ? `[${host}]` : host;
    expect(gateway(apiUrl)).toMatchObject({ isSecure, host, port, hostHeader });
  });

  it.each(['ftp://h', 'h', 'wss://', 'wss://h:0', 'wss://h:65536', 'wss://[1.2.3.4]', 'wss://a b'])(
    'refuses %s',
    (apiUrl) => expect(gateway(apiUrl)).toBeTypeOf('string'),
  );

  it('encodes parameters as forms do, like the URL standard', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (name) => {
        const target = gateway('wss://h', name);
        if (typeof target === 'string') throw new Error(target);
        const expected = new URLSearchParams({
          external_id: 'id',
          name,
          public_key: 'ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=',
        });
        expect(target.path).toBe(`/gateway/v2/websocket?${expected}`);
      }),
    );
  });

  it('never throws on any text', () => {
    fc.assert(fc.property(fc.webUrl(), (url) => void parseBaseUrl(url)));
    fc.assert(fc.property(fc.string(), (url) => void parseBaseUrl(url)));
  });
});

describe('the URLs of clients and relays', () => {
  it('carry the device attributes of a client', () => {
    const result = clientLoginUrl(
      { apiUrl: 'wss://h', firezoneId: 'id', name: 'lab client', deviceUuid: 'u' },
      crypto,
    );
    if (result.kind === 'invalid') throw new Error(result.problem);
    expect(result.url.complete({ publicKey }).path).toMatch(
      /^\/client\/v2\/websocket\?external_id=id&name=lab\+client&device_uuid=u&public_key=/,
    );
  });

  it('are unversioned for relays, without key', () => {
    const result = relayLoginUrl({
      apiUrl: 'wss://h',
      name: 'relay-1',
      ipv4: '10.9.0.12' as IpAddress,
      ipv6: 'fd09::12' as IpAddress,
      port: 3478,
    });
    if (result.kind === 'invalid') throw new Error(result.problem);
    expect(result.url.complete({}).path).toBe(
      '/relay/websocket?name=relay-1&ipv4=10.9.0.12&ipv6=fd09%3A%3A12&port=3478',
    );
  });
});

describe('recorded upgrade requests', () => {
  const upgrade = (path: string): { url: string; query: URLSearchParams } => {
    const url = recordedUpgrades().find((recorded) => recorded.url.startsWith(path))?.url ?? '';
    return { url, query: new URLSearchParams(url.slice(path.length)) };
  };
  const text = (query: URLSearchParams, name: string): string => query.get(name) ?? '';

  it.each([
    ['/gateway/v2/websocket', gatewayLoginUrl],
    ['/client/v2/websocket', clientLoginUrl],
  ])('to %s are what we send', (path, make) => {
    const { url, query } = upgrade(path);
    const login = {
      apiUrl: 'ws://10.9.0.2:8081',
      firezoneId: text(query, 'external_id'),
      name: text(query, 'name'),
    };
    const result = make(login, crypto);
    if (result.kind === 'invalid') throw new Error(result.problem);
    const key = fromBase64(text(query, 'public_key')) ?? new Uint8Array();
    expect(result.url.complete({ publicKey: key }).path).toBe(url);
  });

  it('of relays are what we send', () => {
    const { url, query } = upgrade('/relay/websocket');
    const address = (name: string): IpAddress => parseIp(text(query, name)) as IpAddress;
    const result = relayLoginUrl({
      apiUrl: 'ws://h',
      name: text(query, 'name'),
      ipv4: address('ipv4'),
      ipv6: address('ipv6'),
      port: 3478,
    });
    if (result.kind === 'invalid') throw new Error(result.problem);
    expect(result.url.complete({}).path).toBe(url);
  });
});

describe('the external id', () => {
  const uuid = '5b0c6e0e-7c55-4a52-9d2b-0f2f6e1c0a11';
  it.each([uuid, uuid.toUpperCase(), uuid.replaceAll('-', ''), `urn:uuid:${uuid}`, `{${uuid}}`])(
    'hashes %s as it is written',
    (id) => expect(externalId(id, crypto)).toMatch(/^[0-9a-f]{64}$/),
  );
  it.each([
    // operations 17.1 and client 20
    [
      '9f0e4d5c-1b2a-4c3d-8e4f-5a6b7c8d9e0f',
      'c316ec7a3c6edb721a1e64bc17494cc05d2056982ee7686d58c7890174c5bfa2',
    ],
    [
      '9b6f0d3e-5c2a-4b77-8d1e-2f3a4b5c6d7e',
      'c905eb6c636c3d34539dc6c1ca3ad9956a083776b6eb7a57d5f1449162409072',
    ],
    ['lab-client-1', 'lab-client-1'],
  ])('of %s is %s', (id, expected) => expect(externalId(id, crypto)).toBe(expected));
  it.each(['', 'lab-gateway', `${uuid}0`, `{${uuid}`, 'f'.repeat(64), `{urn:uuid:${uuid}`])(
    'leaves %j as it is',
    (id) => expect(externalId(id, crypto)).toBe(id),
  );
});
