// Scenarios about reaching resources: directly, through the relay, by name, and only as the filters allow.

import { eventually, expect } from '../expectations.ts';
import { curl, fetchOk } from '../http.ts';
import type { Lab } from '../lab.ts';
import { DIRECT, RELAYED } from '../router-rules.ts';
import type { Scenario } from '../scenario.ts';

/** The kind of the client's path to the gateway, once it is `kind`. */
export async function expectPath(lab: Lab, kind: 'direct' | 'relayed'): Promise<string> {
  return eventually(`the connection is ${kind}`, 5_000, async () => {
    const paths = await lab.paths();
    return paths.length > 0 && paths.every((path) => path === kind) ? kind : undefined;
  });
}

async function resolve(lab: Lab, name: string, type = 'A'): Promise<string[]> {
  const { stdout } = await lab.exec('client', ['dig', '+short', '+time=2', '+tries=2', type, name]);
  return stdout.split('\n').filter((line) => line !== '');
}

const isProxy = (text: string): boolean => /^100\.(9[6-9]|1[01]\d|12[0-7])\./.test(text);

async function dns(lab: Lab): Promise<string> {
  const addresses = await resolve(lab, 'web.lab.test');
  expect(addresses.length === 4 && addresses.every(isProxy), `answers: ${addresses.join(' ')}`);
  const page = await fetchOk(lab, 'http://web.lab.test/');
  const overTcp = await lab.exec('client', ['dig', '+tcp', '+short', 'web.lab.test']);
  expect(overTcp.stdout.includes(addresses[0] ?? '-'), 'the stub resolver answers over TCP, too');
  const text = await lab.exec('client', ['dig', '+time=2', '+tries=2', 'TXT', 'web.lab.test']);
  expect(text.stdout.includes('status: NOERROR'), 'TXT is answered from the site');
  return `${addresses[0]} in ${page.milliseconds} ms`;
}

async function dnsWildcard(lab: Lab): Promise<string> {
  await fetchOk(lab, 'http://one.team.lab.test/');
  await fetchOk(lab, 'http://a.b.deep.lab.test/');
  const outside = await resolve(lab, 'a.b.team.lab.test');
  expect(!outside.some(isProxy), '*.team.lab.test does not cover a.b.team.lab.test');
  return '*. and **. patterns';
}

/** Two names of one server have addresses, NAT entries and fates of their own. */
async function dnsTwoNames(lab: Lab): Promise<string> {
  const [first, second] = [
    await resolve(lab, 'web.lab.test'),
    await resolve(lab, 'alias.lab.test'),
  ];
  expect(!first.some((address) => second.includes(address)), 'the two names share no address');
  const pages = await Promise.all(
    ['web', 'alias', 'web', 'alias'].map((name) => fetchOk(lab, `http://${name}.lab.test/`)),
  );
  const hosts = pages.map(({ body }) => /You reached (\S+)/.exec(body)?.[1]);
  expect(hosts.join() === 'web.lab.test,alias.lab.test,web.lab.test,alias.lab.test', hosts.join());
  return `${first[0]} and ${second[0]}`;
}

async function internet(lab: Lab): Promise<string> {
  const { internetUrl, reservedUrl } = lab.urls;
  lab.policy.grant('Internet');
  try {
    // Before the grant has arrived, the page is reached past the tunnel, from the client's own router.
    const from = await eventually('the web is reached through the gateway', 8_000, async () => {
      const { body } = await curl(lab, internetUrl, { timeoutMs: 2_000 });
      const address = /came from (\S+?)\.?$/m.exec(body)?.[1];
      return address === lab.gatewayPublicIpv4 ? address : undefined;
    });
    const reserved = await curl(lab, reservedUrl, { timeoutMs: 3_000 });
    expect(reserved.exitCode !== 0, 'a reserved range must not be reached');
    expect(reserved.milliseconds < 2_500, `refused at once, not after ${reserved.milliseconds} ms`);
    return `as ${from}; reserved ranges refused in ${reserved.milliseconds} ms`;
  } finally {
    lab.policy.revoke('Internet');
    await lab.settlePolicy();
  }
}

async function filter(lab: Lab): Promise<string> {
  const host = lab.addresses.filteredIpv4;
  await fetchOk(lab, `http://${host}/`);
  await fetchOk(lab, `http://${host}:8001/`);
  const refused = await curl(lab, `http://${host}:8002/`, { timeoutMs: 3_000 });
  expect(refused.exitCode === 7, `port 8002: curl said ${refused.exitCode} instead of refused`);
  expect(refused.milliseconds < 1_000, `refused at once, not after ${refused.milliseconds} ms`);
  const ping = await lab.exec('client', ['ping', '-c', '1', '-W', '2', host]);
  expect(ping.code === 0, 'ICMP is allowed');
  lab.policy.edit((policy) => {
    policy.resources = policy.resources.map((resource) =>
      resource.name === 'Filtered host' ? { ...resource, filters: ['tcp 80'] } : resource,
    );
  });
  try {
    await eventually('ICMP is refused after the edit', 5_000, async () => {
      const again = await lab.exec('client', ['ping', '-c', '1', '-W', '1', host]);
      return again.code === 0 ? undefined : true;
    });
  } finally {
    lab.policy.restore();
    await lab.settlePolicy();
  }
  return `a refused port answers in ${refused.milliseconds} ms`;
}

export const REACH: readonly Scenario[] = [
  {
    name: 'cidr-direct',
    network: DIRECT,
    run: async (lab) => {
      const page = await fetchOk(lab, lab.urls.httpIpv4);
      return `${await expectPath(lab, 'direct')}, first page in ${page.milliseconds} ms`;
    },
  },
  {
    name: 'cidr-direct-v6',
    network: DIRECT,
    run: async (lab) => {
      const page = await fetchOk(lab, lab.urls.httpIpv6);
      return `${await expectPath(lab, 'direct')}, page in ${page.milliseconds} ms`;
    },
  },
  {
    name: 'cidr-relayed',
    network: RELAYED,
    run: async (lab) => {
      const page = await fetchOk(lab, lab.urls.httpIpv4);
      return `${await expectPath(lab, 'relayed')}, first page in ${page.milliseconds} ms`;
    },
  },
  { name: 'dns', network: DIRECT, run: dns },
  { name: 'dns-wildcard', network: DIRECT, run: dnsWildcard },
  { name: 'dns-two-names', network: DIRECT, run: dnsTwoNames },
  { name: 'internet', network: DIRECT, run: internet },
  { name: 'filter', network: DIRECT, run: filter },
];
