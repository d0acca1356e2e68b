import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  componentName,
  firezoneId,
  GATEWAY_IDENTITY,
  IdentityError,
  type IdentitySource,
  parseOsRelease,
  userAgent,
} from './identity.ts';
import { clientToken, gatewayToken, TokenError } from './token.ts';

let folder: string;
let source: IdentitySource;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'identity-'));
  source = {
    ...GATEWAY_IDENTITY,
    file: join(folder, 'lib/firezone/gateway_id'),
    machineIdFile: join(folder, 'machine-id'),
  };
});

afterEach(() => rmSync(folder, { recursive: true }));

describe('the identity', () => {
  it('is the configured one, untouched', () => {
    expect(firezoneId('lab gateway', source)).toBe('lab gateway');
    expect(existsSync(source.file)).toBe(false);
  });

  it('comes from the machine id, and is not stored then (vector of operations 17.1)', () => {
    writeFileSync(source.machineIdFile, '0123456789abcdef0123456789abcdef\n');
    expect(firezoneId('', source)).toBe(
      'eeefe5d1cb3807dfc3ae24794878ec3147027390d839d1d718d8e42bcfde3336',
    );
    expect(existsSync(source.file)).toBe(false);
  });

  it('is made and stored where there is no machine id, and stays', () => {
    const id = firezoneId(undefined, source);
    expect(id).toMatch(/^[0-9a-f]{64}$/);
    expect(readFileSync(source.file, 'utf8')).toBe(`{"id":"${id}"}`);
    expect(statSync(source.file).mode & 0o777).toBe(0o640);
    expect(statSync(join(folder, 'lib/firezone')).mode & 0o777).toBe(0o770);
    expect(readdirSync(join(folder, 'lib/firezone'))).toEqual(['gateway_id']);
    writeFileSync(source.machineIdFile, 'later');
    expect(firezoneId(undefined, source)).toBe(id);
  });

  it('of an older release, plain text, stays', () => {
    firezoneId(undefined, source);
    writeFileSync(source.file, '9f0e4d5c-1b2a-4c3d-8e4f-5a6b7c8d9e0f\n');
    expect(firezoneId(undefined, source)).toBe('9f0e4d5c-1b2a-4c3d-8e4f-5a6b7c8d9e0f');
  });

  it('is not made over a file that makes no sense', () => {
    firezoneId(undefined, source);
    writeFileSync(source.file, '{"id":');
    expect(() => firezoneId(undefined, source)).toThrow(IdentityError);
    expect(readFileSync(source.file, 'utf8')).toBe('{"id":');
  });

  it('cannot be stored where a file stands in the way', () => {
    writeFileSync(join(folder, 'lib'), '');
    expect(() => firezoneId(undefined, source)).toThrow(/set FIREZONE_ID/);
  });
});

describe('name and User-Agent', () => {
  it('have something to say on every host', () => {
    expect(componentName('gw')).toBe('gw');
    expect(componentName('')).not.toBe('');
    expect(userAgent('gateway', '1.6.0')).toMatch(/^[^/]+\/[^/]+ gateway\/1\.6\.0 \(.+; .+\)$/);
  });

  it('os-release is read with and without quotes', () => {
    const fields = parseOsRelease(
      '# no\nID=debian\nVERSION_ID="12"\nX=\'a b\'\nEMPTY=\nbroken "x"\n',
    );
    expect([...fields]).toEqual([
      ['ID', 'debian'],
      ['VERSION_ID', '12'],
      ['X', 'a b'],
      ['EMPTY', ''],
    ]);
  });
});

describe("a gateway's token", () => {
  it('is the configured one, even if empty', () => {
    expect(gatewayToken('.token', {})).toBe('.token');
    expect(gatewayToken('', { CREDENTIALS_DIRECTORY: folder })).toBe('');
  });

  it('is in the file that is named, or in the credential', () => {
    const file = join(folder, 'FIREZONE_TOKEN');
    writeFileSync(file, ' .token\n');
    expect(gatewayToken(file, {})).toBe('.token');
    expect(gatewayToken(undefined, { CREDENTIALS_DIRECTORY: folder })).toBe('.token');
  });

  it('is missed with a name for what to do', () => {
    expect(() => gatewayToken(undefined, {})).toThrow(TokenError);
    expect(() => gatewayToken(undefined, { CREDENTIALS_DIRECTORY: folder })).toThrow(TokenError);
  });
});

describe("a client's token", () => {
  it('is the configured one', () => expect(clientToken('t', '/nowhere')).toBe('t'));

  it('is missed when there is no file', () => {
    expect(() => clientToken(undefined, join(folder, 'none'))).toThrow(/no token/);
  });

  it.runIf(process.getuid?.() === 0)('is read from a file that only root can read', () => {
    const file = join(folder, 'token');
    writeFileSync(file, 'secret\n', { mode: 0o600 });
    expect(clientToken(undefined, file)).toBe('secret');
    chmodSync(file, 0o640);
    expect(() => clientToken(undefined, file)).toThrow(/must belong to root:root/);
  });
});
