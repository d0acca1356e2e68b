// Adding, replacing and removing candidates (connectivity 5.7; 11.1 to 11.5, 14.7, 14.11).

import { describe, expect, it } from 'vitest';
import { CLIENT_CREDENTIALS, GATEWAY_CREDENTIALS } from '../../../test/support/ice-world.ts';
import { ep } from '../../../test/support/virtual-network.ts';
import { SILENT_LOG } from '../../base/log.ts';
import { instant } from '../../base/time.ts';
import { createSeededCrypto } from '../../io/crypto/seeded-crypto.ts';
import { IceAgent } from './agent.ts';
import { formatCandidate, type IceCandidate, parseCandidate } from './candidate.ts';
import type { LocalCandidateInfo } from './local-candidates.ts';
import { MAX_LOCAL_CANDIDATES } from './local-candidates.ts';
import { MAX_REMOTE_CANDIDATES } from './remote-candidates.ts';
import { CLIENT_TIMING } from './timing.ts';

const NOW = instant(0);

function createAgent(allowLoopback = false): IceAgent {
  return new IceAgent(
    {
      role: 'controlling',
      localCredentials: CLIENT_CREDENTIALS,
      remoteCredentials: GATEWAY_CREDENTIALS,
      timing: CLIENT_TIMING,
      allowLoopback,
    },
    { crypto: createSeededCrypto(1), log: SILENT_LOG },
    NOW,
  );
}

const host = (text: string): LocalCandidateInfo => ({
  kind: 'host',
  address: ep(text),
  base: ep(text),
});
const srflx = (address: string, base: string): LocalCandidateInfo => ({
  kind: 'srflx',
  address: ep(address),
  base: ep(base),
});
const relayed = (text: string, viaFamily?: 4 | 6): LocalCandidateInfo => ({
  kind: 'relayed',
  address: ep(text),
  base: ep(text),
  ...(viaFamily ? { viaFamily } : {}),
});

function remote(text: string): IceCandidate {
  const parsed = parseCandidate(`candidate:f 1 udp ${text}`);
  if (!parsed) throw new Error(text);
  return parsed;
}

const preference = (candidate: IceCandidate | undefined): number =>
  Math.floor(((candidate?.priority ?? 0) % 2 ** 24) / 256);
const paths = (agent: IceAgent): string[] =>
  agent.snapshot().pairs.map((pair) => `${pair.local}>${pair.remote}`);

describe('local candidates', () => {
  it('get local preferences two apart, IPv6 and IPv4 interleaved', () => {
    const agent = createAgent();
    const added = ['10.0.0.1:1', '[fd00::1]:1', '[fd00::2]:1', '10.0.0.2:1'].map((text) =>
      agent.addLocalCandidate(host(text), NOW),
    );
    expect(added.map(preference)).toEqual([65534, 65535, 65533, 65532]);
  });

  it('are signalled with their agent priority and our ufrag', () => {
    const agent = createAgent();
    const relay = agent.addLocalCandidate(relayed('203.0.113.9:50100', 4), NOW);
    expect(relay && formatCandidate(relay)).toMatch(
      /^candidate:fffe3f02[0-9a-f]{8} 1 udp 37748479 203\.0\.113\.9 50100 typ relay raddr 0\.0\.0\.0 rport 0 ufrag cluf$/,
    );
  });

  it('are worse when relayed over the other family', () => {
    const agent = createAgent();
    const cross = agent.addLocalCandidate(relayed('203.0.113.9:1', 6), NOW);
    expect(cross?.priority).toBe(37492479);
  });

  it('are known when added again', () => {
    const agent = createAgent();
    expect(agent.addLocalCandidate(host('10.0.0.1:1'), NOW)).toBeDefined();
    expect(agent.addLocalCandidate(host('10.0.0.1:1'), NOW)).toBeUndefined();
    expect(agent.addLocalCandidate(srflx('10.0.0.1:1', '10.0.0.1:1'), NOW)).toBeUndefined();
    expect(agent.localCandidates()).toHaveLength(1);
  });

  it('replace one of lower priority with the same address and base', () => {
    const agent = createAgent();
    agent.addRemoteCandidate(remote('7 192.0.2.1 9 typ host'), NOW);
    agent.addLocalCandidate(srflx('10.0.0.1:1', '10.0.0.1:1'), NOW);
    expect(agent.addLocalCandidate(host('10.0.0.1:1'), NOW)?.kind).toBe('host');
    expect(agent.localCandidates().map(({ kind }) => kind)).toEqual(['host']);
    expect(agent.snapshot().pairs.map(({ localKind }) => localKind)).toEqual(['host']);
  });

  it('are removed under the right kind only, and once', () => {
    const agent = createAgent();
    agent.addLocalCandidate(host('10.0.0.1:1'), NOW);
    expect(agent.removeLocalCandidate(srflx('10.0.0.1:1', '10.0.0.1:1'), NOW)).toBeUndefined();
    expect(agent.removeLocalCandidate(host('10.0.0.1:1'), NOW)).toBeDefined();
    expect(agent.removeLocalCandidate(host('10.0.0.1:1'), NOW)).toBeUndefined();
    expect(agent.localCandidates()).toEqual([]);
  });

  it('are new again after they were removed, and are paired again', () => {
    const agent = createAgent();
    agent.addRemoteCandidate(remote('7 192.0.2.1 9 typ host'), NOW);
    const first = agent.addLocalCandidate(relayed('203.0.113.9:1'), NOW);
    agent.removeLocalCandidate(relayed('203.0.113.9:1'), NOW);
    expect(paths(agent)).toEqual([]);
    expect(agent.addLocalCandidate(relayed('203.0.113.9:1'), NOW)).toEqual(first);
    expect(paths(agent)).toEqual(['203.0.113.9:1>192.0.2.1:9']);
  });

  it('stay limited however many relays come and go', () => {
    const agent = createAgent();
    for (let port = 1; port <= 500; port++) {
      expect(agent.addLocalCandidate(relayed(`203.0.113.9:${port}`), NOW)).toBeDefined();
      if (port > 1) agent.removeLocalCandidate(relayed(`203.0.113.9:${port - 1}`), NOW);
    }
    expect(agent.localCandidates()).toHaveLength(1);
    for (let port = 501; port <= 700; port++) {
      agent.addLocalCandidate(relayed(`203.0.113.9:${port}`), NOW);
    }
    expect(agent.localCandidates()).toHaveLength(MAX_LOCAL_CANDIDATES);
  });
});

describe('remote candidates', () => {
  it('are refused for another component, another ufrag or an address that cannot be', () => {
    const agent = createAgent();
    const refusals = [
      '7 192.0.2.1 9 typ host ufrag evil',
      '7 127.0.0.1 9 typ host',
      '7 0.0.0.0 9 typ host',
      '7 ff02::1 9 typ host',
      '7 192.0.2.1 0 typ host',
    ].map((text) => agent.addRemoteCandidate(remote(text), NOW));
    expect(refusals).toEqual(['ufrag', 'loopback', 'unspecified', 'multicast', 'port-zero']);
    const rtcp = { ...remote('7 192.0.2.1 9 typ host'), component: 2 };
    expect(agent.addRemoteCandidate(rtcp, NOW)).toBe('component');
    expect(agent.remoteCandidates()).toEqual([]);
  });

  it('may be on loopback where that is configured', () => {
    const agent = createAgent(true);
    expect(agent.addRemoteCandidate(remote('7 127.0.0.1 9 typ host'), NOW)).toBe('added');
  });

  it('are known when signalled again', () => {
    const agent = createAgent();
    agent.addLocalCandidate(host('10.0.0.1:1'), NOW);
    expect(agent.addRemoteCandidate(remote('7 192.0.2.1 9 typ host ufrag gwuf'), NOW)).toBe(
      'added',
    );
    expect(agent.addRemoteCandidate(remote('8 192.0.2.1 9 typ host'), NOW)).toBe('known');
    expect(agent.remoteCandidates()).toHaveLength(1);
  });

  it('are limited', () => {
    const agent = createAgent();
    agent.addLocalCandidate(host('10.0.0.1:1'), NOW);
    for (let port = 1; port <= MAX_REMOTE_CANDIDATES; port++) {
      expect(agent.addRemoteCandidate(remote(`7 192.0.2.1 ${port} typ host`), NOW)).toBe('added');
    }
    expect(agent.addRemoteCandidate(remote('7 192.0.2.2 9 typ host'), NOW)).toBe('full');
    agent.removeRemoteCandidate(remote('7 192.0.2.1 3 typ host'), NOW);
    expect(agent.addRemoteCandidate(remote('7 192.0.2.2 9 typ host'), NOW)).toBe('added');
  });

  it('whose pairs have all died make room for others', () => {
    const agent = createAgent();
    for (let port = 1; port <= MAX_REMOTE_CANDIDATES; port++) {
      agent.addRemoteCandidate(remote(`7 192.0.2.1 ${port} typ host`), NOW);
    }
    const late = remote('7 192.0.2.2 9 typ host');
    expect(agent.addRemoteCandidate(late, NOW)).toBe('full'); // never tried yet
    agent.addLocalCandidate(host('10.0.0.1:1'), NOW);
    for (let time = 0; time < 20_000; time += 50) agent.handleTimeout(instant(time));
    expect(agent.snapshot().pairs).toHaveLength(0);
    expect(agent.addRemoteCandidate(late, instant(20_000))).toBe('added');
    expect(agent.remoteCandidates()).toHaveLength(MAX_REMOTE_CANDIDATES);
  });

  it('are removed by kind and address, whatever priority and ufrag the removal says', () => {
    const agent = createAgent();
    agent.addLocalCandidate(host('10.0.0.1:1'), NOW);
    agent.addRemoteCandidate(remote('37748479 203.0.113.9 50100 typ relay ufrag gwuf'), NOW);
    const removal = remote('50331391 203.0.113.9 50100 typ relay raddr 0.0.0.0 rport 0');
    expect(agent.removeRemoteCandidate({ ...removal, kind: 'srflx' }, NOW)).toBe(false);
    expect(agent.removeRemoteCandidate(removal, NOW)).toBe(true);
    expect(agent.removeRemoteCandidate(removal, NOW)).toBe(false);
    expect(paths(agent)).toEqual([]);
  });

  it('can be removed without touching our own of the same address', () => {
    const agent = createAgent();
    agent.addLocalCandidate(host('192.168.1.5:52625'), NOW);
    expect(agent.removeRemoteCandidate(remote('7 192.168.1.5 52625 typ host'), NOW)).toBe(false);
    agent.addRemoteCandidate(remote('7 192.168.1.5 52625 typ host'), NOW);
    expect(agent.removeRemoteCandidate(remote('7 192.168.1.5 52625 typ host'), NOW)).toBe(true);
    expect(agent.localCandidates()).toHaveLength(1);
  });

  it('that are signalled again after removal are paired again', () => {
    const agent = createAgent();
    agent.addLocalCandidate(host('10.0.0.1:1'), NOW);
    const candidate = remote('7 192.0.2.1 9 typ host');
    agent.addRemoteCandidate(candidate, NOW);
    agent.removeRemoteCandidate(candidate, NOW);
    expect(agent.addRemoteCandidate(candidate, NOW)).toBe('added');
    expect(paths(agent)).toEqual(['10.0.0.1:1>192.0.2.1:9']);
  });

  it('leave their path to a twin of another kind', () => {
    const agent = createAgent();
    agent.addLocalCandidate(host('10.0.0.1:1'), NOW);
    agent.addRemoteCandidate(remote('9 192.0.2.1 9 typ host'), NOW);
    agent.addRemoteCandidate(remote('7 192.0.2.1 9 typ srflx'), NOW);
    expect(agent.snapshot().pairs.map(({ remoteKind }) => remoteKind)).toEqual(['host']);
    agent.removeRemoteCandidate(remote('9 192.0.2.1 9 typ host'), NOW);
    expect(agent.snapshot().pairs.map(({ remoteKind }) => remoteKind)).toEqual(['srflx']);
  });
});

describe('pairs', () => {
  it('join candidates of one family only, best first', () => {
    const agent = createAgent();
    for (const text of ['10.0.0.1:1', '[fd00::1]:1']) agent.addLocalCandidate(host(text), NOW);
    agent.addLocalCandidate(relayed('203.0.113.9:1', 4), NOW);
    agent.addRemoteCandidate(remote('2130706175 192.0.2.1 9 typ host'), NOW);
    agent.addRemoteCandidate(remote('2130706431 2001:db8::1 9 typ host'), NOW);
    expect(paths(agent)).toEqual([
      '[fd00::1]:1>[2001:db8::1]:9',
      '10.0.0.1:1>192.0.2.1:9',
      '203.0.113.9:1>192.0.2.1:9',
    ]);
  });

  it('join IPv6 link-local addresses only among themselves (RFC 8445 §6.1.2.2)', () => {
    const agent = createAgent();
    agent.addLocalCandidate(host('[2001:db8::1]:52625'), NOW);
    agent.addRemoteCandidate(remote('2130706431 fe80::7 52625 typ host'), NOW);
    expect(paths(agent)).toEqual([]);
    agent.addLocalCandidate(host('[fe80::1]:52625'), NOW);
    agent.addRemoteCandidate(remote('2130706175 2001:db8::7 52625 typ host'), NOW);
    expect(paths(agent)).toEqual([
      '[2001:db8::1]:52625>[2001:db8::7]:52625',
      '[fe80::1]:52625>[fe80::7]:52625',
    ]);
  });

  it('are one where a server-reflexive candidate shares its base with a host candidate', () => {
    for (const order of [0, 1]) {
      const agent = createAgent();
      const infos = [host('10.0.0.1:1'), srflx('198.51.100.7:4', '10.0.0.1:1')];
      for (const info of order === 0 ? infos : infos.toReversed()) {
        agent.addLocalCandidate(info, NOW);
      }
      agent.addRemoteCandidate(remote('7 192.0.2.1 9 typ host'), NOW);
      expect(paths(agent)).toEqual(['10.0.0.1:1>192.0.2.1:9']);
      expect(agent.snapshot().pairs[0]?.localKind).toBe('host');
    }
  });

  it('are at most a hundred, the best ones', () => {
    const agent = createAgent();
    for (let n = 1; n <= 5; n++) agent.addLocalCandidate(host(`10.0.0.${n}:1`), NOW);
    for (let port = 1; port <= 30; port++) {
      agent.addRemoteCandidate(remote(`${1000 + port} 192.0.2.1 ${port} typ host`), NOW);
    }
    const { pairs } = agent.snapshot();
    expect(pairs).toHaveLength(100);
    expect(Math.min(...pairs.map((pair) => ep(pair.remote).port))).toBe(11);
  });
});
