// Changes of the portal's policy file, as an operator makes them: rules, resources, their sites, addresses and filters, lifetimes, tokens.

import type {
  PolicyFile,
  ResourceEntry,
  RuleEntry,
} from '../../../src/roles/portal/policy-schema.ts';
import { rule, WEB_SITE } from '../draw-plan.ts';
import type { World } from '../world.ts';
import type { PolicyChange } from './step.ts';

export function changePolicy(world: World, change: PolicyChange): void {
  const { policy } = world.portal;
  const changed = changedPolicy(world, policy, change);
  if (changed) world.portal.setPolicy(changed);
}

function changedPolicy(
  world: World,
  policy: PolicyFile,
  change: PolicyChange,
): PolicyFile | undefined {
  const { resources, policies, groups } = policy;
  switch (change.what) {
    case 'add-rule':
    case 'remove-rule': {
      const group = pick(groups, change.group);
      const resource = pick(world.plan.resources, change.resource)?.name;
      if (group === undefined || resource === undefined) return undefined;
      const others = policies.filter((it) => it.group !== group || it.resource !== resource);
      if (change.what === 'remove-rule') return { ...policy, policies: others };
      return { ...policy, policies: [...others, rule(group, resource)] };
    }
    case 'expire-rule': {
      const expiring = pick(policies, change.rule);
      if (!expiring) return undefined;
      const expires = new Date(world.wallNow + change.seconds * 1_000).toISOString();
      const replace = (it: RuleEntry): RuleEntry => (it === expiring ? { ...it, expires } : it);
      return { ...policy, policies: policies.map(replace) };
    }
    case 'add-resource': {
      const added = pick(world.plan.resources, change.resource);
      if (!added || resources.some(({ name }) => name === added.name)) return undefined;
      return { ...policy, resources: [...resources, added] };
    }
    case 'remove-resource': {
      const removed = pick(resources, change.resource);
      return removed && { ...policy, resources: resources.filter((it) => it !== removed) };
    }
    case 'edit-token':
      return undefined;
    case 'edit-lifetime': {
      const { seconds } = change;
      const settings = seconds === undefined ? {} : { authorization_lifetime: `${seconds}s` };
      return { ...policy, settings };
    }
    default:
      return withResource(policy, change.resource, (it) => editedResource(world, it, change));
  }
}

type Edit = Extract<PolicyChange, { what: 'edit-address' | 'edit-filters' | 'edit-site' }>;

function editedResource(world: World, resource: ResourceEntry, change: Edit): ResourceEntry {
  switch (change.what) {
    case 'edit-address': {
      if (resource.type !== 'cidr') return resource;
      return { ...resource, address: pick(addressesNear(resource.address), change.address) ?? '' };
    }
    case 'edit-filters':
      return resource.type === 'internet' ? resource : { ...resource, filters: change.filters };
    case 'edit-site': {
      const sites = world.portal.policy.sites.filter(({ name }) => name !== WEB_SITE);
      const site = pick(sites, change.site)?.name;
      if (resource.type === 'internet' || site === undefined) return resource;
      return { ...resource, site };
    }
  }
}

function withResource(
  policy: PolicyFile,
  index: number,
  edit: (resource: ResourceEntry) => ResourceEntry,
): PolicyFile | undefined {
  const edited = pick(policy.resources, index);
  if (!edited) return undefined;
  const resources = policy.resources.map((it) => (it === edited ? edit(it) : it));
  return { ...policy, resources };
}

function pick<T>(list: readonly T[], index: number): T | undefined {
  return list[index % list.length];
}

/** Wider and narrower networks around the first machine of the site. */
function addressesNear(address: string): string[] {
  const network = address.replace(/[0-9]*\/\d+$/, '');
  return network.includes(':')
    ? [`${network}/64`, `${network}/120`, `${network}1/128`]
    : [`${network}0/24`, `${network}0/28`, `${network}1/32`];
}
