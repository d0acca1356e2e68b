// Scenarios about access that ends while it is used: a running flow stops within two seconds, others go on, and it comes back when granted again.

import { eventually, expect } from '../expectations.ts';
import { isReachable } from '../http.ts';
import type { Lab } from '../lab.ts';
import { DIRECT } from '../router-rules.ts';
import type { Scenario } from '../scenario.ts';

// Specification of the lab
const MUST_STOP_WITHIN_MS = 2_000;
const COMES_BACK_WITHIN_MS = 8_000;

const ENDING = 'Filtered host';

/** Two flows run, ten lines a second each; what `end` does must stop the first and leave the second. */
async function endsWhileUsed(lab: Lab, end: () => Promise<number> | number): Promise<string> {
  const [ending, staying] = [
    lab.watchFlow(lab.urls.slowFiltered),
    lab.watchFlow(lab.urls.slowHttp),
  ];
  try {
    await eventually('both flows run', 8_000, async () =>
      ending.lines() > 0 && staying.lines() > 0 ? true : undefined,
    );
    const endedAt = await end();
    const stoppedAt = await eventually('the flow stops', MUST_STOP_WITHIN_MS + 3_000, async () =>
      Date.now() - ending.lastLineAt() > 1_500 || !ending.isRunning()
        ? ending.lastLineAt()
        : undefined,
    );
    const took = Math.max(0, stoppedAt - endedAt);
    expect(took <= MUST_STOP_WITHIN_MS, `the flow ran on for ${took} ms`);
    const linesBefore = staying.lines();
    await eventually('the other flow goes on', 3_000, async () =>
      staying.lines() > linesBefore ? true : undefined,
    );
    return `stopped after ${took} ms`;
  } finally {
    ending.stop();
    staying.stop();
  }
}

async function comesBack(lab: Lab): Promise<void> {
  lab.policy.restore();
  await eventually('access is back', COMES_BACK_WITHIN_MS, async () =>
    (await isReachable(lab, lab.urls.httpFiltered)) ? true : undefined,
  );
}

export const END_OF_ACCESS: readonly Scenario[] = [
  {
    name: 'revoke',
    network: DIRECT,
    run: async (lab) => {
      const phrase = await endsWhileUsed(lab, () => {
        lab.policy.revoke(ENDING);
        return Date.now();
      });
      expect(!(await isReachable(lab, lab.urls.httpFiltered)), 'a new flow is refused as well');
      await comesBack(lab);
      return `${phrase}, back when granted again`;
    },
  },
  {
    name: 'expire',
    network: DIRECT,
    run: async (lab) => {
      const expiresAt = Math.ceil((Date.now() + 5_000) / 1_000) * 1_000;
      lab.policy.grant(ENDING, new Date(expiresAt).toISOString().replace('.000', ''));
      await lab.settlePolicy();
      const phrase = await endsWhileUsed(lab, async () => {
        await new Promise((resolve) => setTimeout(resolve, Math.max(0, expiresAt - Date.now())));
        return expiresAt;
      });
      await comesBack(lab);
      return `${phrase}, back when granted again`;
    },
  },
  {
    name: 'policy-edit',
    network: DIRECT,
    run: async (lab) => {
      const phrase = await endsWhileUsed(lab, () => {
        lab.policy.edit((policy) => {
          policy.resources = policy.resources.map((resource) =>
            resource.name === ENDING ? { ...resource, filters: ['tcp 443'] } : resource,
          );
        });
        return Date.now();
      });
      await comesBack(lab);
      return `${phrase}, back after the next edit`;
    },
  },
];
