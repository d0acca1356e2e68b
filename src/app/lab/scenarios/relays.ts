// Scenarios about relays: networks that block UDP, and a relay that dies in the middle of a download.

import { eventually, expect } from '../expectations.ts';
import { downloadDigest, fetchOk } from '../http.ts';
import type { Lab } from '../lab.ts';
import { patternDigest } from '../resource-server.ts';
import { RELAYED, type RouterRules } from '../router-rules.ts';
import type { Scenario } from '../scenario.ts';
import type { Flow } from '../watch-flow.ts';

const MEGABYTE = 1_000_000;
const BULK_BYTES = 20 * MEGABYTE;
/** Slow enough to be under way when something happens. */
const STEADY_RATE = 4_000_000;
/** UDP has to be found silent first, and a connection may have begun without relay. */
const CONNECTED_WITHIN_MS = 20_000;
/** A relay that died silently is noticed within ten seconds; a TCP connection tries again soon after. */
const SILENCE_LIMIT_SECONDS = 15;
/** The flow has ten lines a second. */
const NOTICEABLE_MS = 700;
const LINES_OF_A_STEADY_FLOW = 60;

/** How the client and the gateway reach their relays. */
async function transports(lab: Lab): Promise<string[]> {
  const [client, gateway] = await Promise.all([lab.state('client'), lab.state('gateway')]);
  const node = (client?.['client'] as { node?: NodeState } | undefined)?.node;
  const relays = [node, gateway?.['link'] as NodeState | undefined].map(
    (side) => side?.relays ?? [],
  );
  return relays.flatMap((side) =>
    side.map((relay) => (relay.hasAllocation ? relay.transport : 'none')),
  );
}

interface NodeState {
  readonly relays?: readonly { readonly transport: string; readonly hasAllocation: boolean }[];
}

async function blockUdp(lab: Lab, blocks: RouterRules['blocks']): Promise<void> {
  for (const router of ['client-router', 'gateway-router'] as const) {
    await lab.network.setRules(router, { blocks: blocks ?? 'nothing' });
  }
}

/** Both ends start in a network that lets no UDP out. */
async function startWithoutUdp(lab: Lab, blocks: RouterRules['blocks']): Promise<string> {
  await blockUdp(lab, blocks);
  try {
    await Promise.all([lab.restart('gateway'), lab.restart('client')]);
    await lab.waitUntilReady();
    const startedAt = performance.now();
    await eventually('both ends reach the relay by TCP', CONNECTED_WITHIN_MS, async () => {
      const found = await transports(lab);
      return found.length === 2 && found.every((kind) => kind === 'stream') ? true : undefined;
    });
    const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
    await fetchOk(lab, lab.urls.httpIpv4, { timeoutMs: CONNECTED_WITHIN_MS });
    const { digest, seconds: took } = await downloadDigest(lab, lab.urls.bytes(BULK_BYTES), 60_000);
    expect(digest === patternDigest(BULK_BYTES), 'the download has the wrong checksum');
    const rate = ((BULK_BYTES * 8) / took / 1e6).toFixed(0);
    return `by TCP after ${seconds} s, ${rate} Mbit/s`;
  } finally {
    await blockUdp(lab, 'nothing');
    await Promise.all([lab.restart('gateway'), lab.restart('client')]);
    await lab.waitUntilReady();
  }
}

/** UDP is blocked in the middle of a download, which goes on. */
async function loseUdp(lab: Lab): Promise<string> {
  await fetchOk(lab, lab.urls.httpIpv4);
  // The download's own pace catches up after a pause: only a trickle shows how long there was silence.
  const flow = lab.watchFlow(lab.urls.slowHttp);
  try {
    const download = downloadDigest(
      lab,
      `${lab.urls.bytes(BULK_BYTES)}&rate=${STEADY_RATE}`,
      60_000,
    );
    await eventually('the flow runs', 5_000, async () => (flow.lines() > 5 ? true : undefined));
    await blockUdp(lab, 'udp');
    const { digest } = await download;
    expect(digest === patternDigest(BULK_BYTES), 'the download has the wrong checksum');
    const silence = flow.longestGapMs() / 1_000;
    expect(silence < 20, `the flow stood still for ${silence.toFixed(1)} s`);
    return `the flow stood still for ${silence.toFixed(1)} s`;
  } finally {
    flow.stop();
    await blockUdp(lab, 'nothing');
    await Promise.all([lab.restart('gateway'), lab.restart('client')]);
    await lab.waitUntilReady();
  }
}

/** Of two relays the one that carries a flow goes: `SIGKILL`, and the portal tells of it; `SIGSTOP`, and nobody does. */
async function loseRelay(lab: Lab, signal: 'SIGKILL' | 'SIGSTOP'): Promise<string> {
  await fetchOk(lab, lab.urls.httpIpv4);
  const flow = lab.watchFlow(lab.urls.slowHttp);
  const second = lab.createSecondRelay();
  second.start();
  try {
    await eventually('both ends have two relays', CONNECTED_WITHIN_MS, async () => {
      const found = await transports(lab);
      return found.length === 4 && !found.includes('none') ? true : undefined;
    });
    await eventually('the flow runs', 5_000, async () => (flow.lines() > 5 ? true : undefined));
    lab.relay.signal(signal);
    const silence = await longestSilence(flow);
    expect(flow.isRunning(), 'the flow ended');
    expect(silence < SILENCE_LIMIT_SECONDS, `the flow stood still for ${silence.toFixed(1)} s`);
    return `the flow stood still for ${silence.toFixed(1)} s`;
  } finally {
    flow.stop();
    lab.relay.signal('SIGCONT');
    await lab.restart('relay');
    await second.stop();
    await lab.waitUntilReady();
  }
}

/** In seconds: once the flow has run on for a while after it stood still, or when twice the limit is over. */
async function longestSilence(flow: Flow): Promise<number> {
  const endsAt = Date.now() + SILENCE_LIMIT_SECONDS * 2_000;
  const isSteadyAgain = (linesThen: number): boolean =>
    flow.longestGapMs() > NOTICEABLE_MS && flow.lines() - linesThen > LINES_OF_A_STEADY_FLOW;
  let [longest, linesThen] = [0, flow.lines()];
  while (Date.now() < endsAt && flow.isRunning() && !isSteadyAgain(linesThen)) {
    if (flow.longestGapMs() > longest) [longest, linesThen] = [flow.longestGapMs(), flow.lines()];
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return flow.longestGapMs() / 1_000;
}

export const RELAYS: readonly Scenario[] = [
  { name: 'udp-blocked', network: RELAYED, run: (lab) => startWithoutUdp(lab, 'udp') },
  {
    name: 'udp-blocked-443',
    network: RELAYED,
    run: (lab) => startWithoutUdp(lab, 'udp-and-relay-port'),
  },
  { name: 'udp-lost', network: RELAYED, run: loseUdp },
  { name: 'relay-killed', network: RELAYED, run: (lab) => loseRelay(lab, 'SIGKILL') },
  { name: 'relay-silent', network: RELAYED, run: (lab) => loseRelay(lab, 'SIGSTOP') },
];
