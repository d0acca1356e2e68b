// What a policy file says about one actor, read by the plain words of the file and without the product.

import type { PolicyFile, ResourceEntry, RuleEntry } from '../../src/roles/portal/policy-schema.ts';

export function isRuleLive(
  policy: PolicyFile,
  { group, resource, enabled, expires }: RuleEntry,
  actor: string,
  wanted: string,
  unixNow: number,
): boolean {
  const groups = policy.actors.find(({ name }) => name === actor)?.groups ?? [];
  const isOver = expires !== undefined && Date.parse(expires) <= unixNow;
  return resource === wanted && enabled && !isOver && groups.includes(group);
}

/** Resources that a rule gives to the actor at that time. */
export function visibleResources(
  policy: PolicyFile,
  actor: string,
  unixNow: number,
): ResourceEntry[] {
  return policy.resources.filter(({ name }) =>
    policy.policies.some((rule) => isRuleLive(policy, rule, actor, name, unixNow)),
  );
}
