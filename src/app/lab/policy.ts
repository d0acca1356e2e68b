// The policy of the lab: who may reach what behind the gateway. Written as the YAML file that the portal of the lab reads, so that editing it while
// the lab runs shows what an administrator's edit does.

import { renameSync, writeFileSync } from 'node:fs';
import { stringify } from 'yaml';

/** Tokens of the lab's roles; they are worth nothing outside of it. */
export const LAB_TOKENS = {
  gateway: 'lab-gateway-token',
  client: 'lab-client-token',
  relay: 'lab-relay-token',
} as const;

export interface LabPolicyResource {
  readonly type: 'cidr' | 'dns' | 'internet';
  readonly name: string;
  readonly site: string;
  readonly address?: string;
  readonly filters?: readonly string[];
}

export interface LabPolicyRule {
  readonly group: string;
  readonly resource: string;
  readonly expires?: string;
}

export interface LabPolicy {
  /** Of the one user there is; the portal admits only so many connections a second with each of them. */
  clientTokens: string[];
  resources: LabPolicyResource[];
  policies: LabPolicyRule[];
  settings: { iceless: boolean };
}

const SITE = 'Lab';
const GROUP = 'Everyone';

/** Networks of the resource side, as the policy names them. */
export interface LabResourceAddresses {
  readonly networkIpv4: string;
  readonly networkIpv6: string | undefined;
  /** A host that has no other resource but a filtered one. */
  readonly filteredIpv4: string;
}

export interface LabPolicyPlan extends LabResourceAddresses {
  readonly iceless: boolean;
}

export function defaultLabPolicy(plan: LabPolicyPlan): LabPolicy {
  const resources: LabPolicyResource[] = [
    { type: 'cidr', name: 'Lab network', site: SITE, address: plan.networkIpv4 },
    ...(plan.networkIpv6 === undefined
      ? []
      : [
          {
            type: 'cidr' as const,
            name: 'Lab network (IPv6)',
            site: SITE,
            address: plan.networkIpv6,
          },
        ]),
    { type: 'dns', name: 'Web', site: SITE, address: 'web.lab.test' },
    { type: 'dns', name: 'Alias', site: SITE, address: 'alias.lab.test' },
    { type: 'dns', name: 'Team', site: SITE, address: '*.team.lab.test' },
    { type: 'dns', name: 'Deep', site: SITE, address: '**.deep.lab.test' },
    {
      type: 'cidr',
      name: 'Filtered host',
      site: SITE,
      address: `${plan.filteredIpv4}/32`,
      filters: ['tcp 80', 'tcp 8000-8001', 'icmp'],
    },
    { type: 'internet', name: 'Internet', site: SITE },
  ];
  return {
    clientTokens: [LAB_TOKENS.client],
    resources,
    policies: resources
      .filter(({ type }) => type !== 'internet')
      .map(({ name }) => ({ group: GROUP, resource: name })),
    settings: { iceless: plan.iceless },
  };
}

export class LabPolicyFile {
  readonly path: string;
  readonly #initial: LabPolicy;
  #current: LabPolicy;

  constructor(path: string, initial: LabPolicy) {
    this.path = path;
    this.#initial = initial;
    this.#current = structuredClone(initial);
    this.#write();
  }

  get current(): LabPolicy {
    return this.#current;
  }

  /** Edits the policy as an editor does: a new file in place of the old one. */
  edit(change: (policy: LabPolicy) => void): void {
    change(this.#current);
    this.#write();
  }

  grant(resource: string, expires?: string): void {
    this.edit((policy) => {
      policy.policies = policy.policies.filter((rule) => rule.resource !== resource);
      policy.policies.push({ group: GROUP, resource, ...(expires ? { expires } : {}) });
    });
  }

  revoke(resource: string): void {
    this.edit((policy) => {
      policy.policies = policy.policies.filter((rule) => rule.resource !== resource);
    });
  }

  restore(): void {
    this.#current = structuredClone(this.#initial);
    this.#write();
  }

  #write(): void {
    const { clientTokens, ...rest } = this.#current;
    const file = {
      account: 'lab',
      sites: [{ name: SITE, gateway_tokens: [LAB_TOKENS.gateway] }],
      relays: [{ name: 'relay-1', tokens: [LAB_TOKENS.relay] }],
      groups: [GROUP],
      actors: [{ name: 'You', groups: [GROUP], tokens: clientTokens }],
      ...rest,
    };
    writeFileSync(`${this.path}.new`, stringify(file));
    renameSync(`${this.path}.new`, this.path);
  }
}
