// The policy file as it is written: shapes only, one zod schema, strict everywhere. A fault names its path, what is wrong and
// what is allowed; `io/portal/policy-file.ts` turns the path into a line. Meaning (references, ranges, ids) is in `policy.ts`.

import { z } from 'zod';
import { parseTimestamp } from './wall-time.ts';

export interface PolicyFile {
  readonly account: string;
  readonly sites: readonly SiteEntry[];
  readonly relays: readonly RelayEntry[];
  readonly groups: readonly string[];
  readonly actors: readonly ActorEntry[];
  readonly resources: readonly ResourceEntry[];
  readonly policies: readonly RuleEntry[];
  readonly dns: DnsEntry;
  readonly settings: SettingsEntry;
}

export interface LocationEntry {
  readonly latitude: number;
  readonly longitude: number;
}

export type TokenEntry =
  | string
  | {
      readonly token?: string | undefined;
      readonly hash?: string | undefined;
      readonly name?: string | undefined;
      readonly expires?: string | undefined;
    };

export interface SiteEntry {
  readonly name: string;
  readonly id?: string | undefined;
  readonly location?: LocationEntry | undefined;
  readonly gateway_tokens: readonly TokenEntry[];
}

export interface RelayEntry {
  readonly name: string;
  readonly location?: LocationEntry | undefined;
  readonly tokens: readonly TokenEntry[];
}

export interface ActorEntry {
  readonly name: string;
  readonly id?: string | undefined;
  readonly email?: string | undefined;
  readonly groups: readonly string[];
  readonly location?: LocationEntry | undefined;
  readonly tokens: readonly TokenEntry[];
}

export type FilterEntry =
  | string
  | { readonly protocol: 'tcp' | 'udp'; readonly ports: readonly (number | string)[] }
  | { readonly protocol: 'icmp' };

export type IpStack = 'dual' | 'ipv4_only' | 'ipv6_only';

interface ResourceCommon {
  readonly id?: string | undefined;
  readonly name: string;
  readonly site: string;
  readonly description?: string | undefined;
}

export type ResourceEntry =
  | (ResourceCommon & {
      readonly type: 'cidr';
      readonly address: string;
      readonly filters: readonly FilterEntry[];
    })
  | (ResourceCommon & {
      readonly type: 'dns';
      readonly address: string;
      readonly ip_stack?: IpStack | undefined;
      readonly filters: readonly FilterEntry[];
    })
  | (ResourceCommon & { readonly type: 'internet' });

export interface RuleEntry {
  readonly group: string;
  readonly resource: string;
  readonly enabled: boolean;
  readonly expires?: string | undefined;
  /** All that are given must hold (portal 10.7.4); further kinds have their place here. */
  readonly conditions: {
    readonly remote_ip?: readonly string[] | undefined;
    readonly remote_ip_not?: readonly string[] | undefined;
  };
}

export interface DnsEntry {
  readonly upstream: readonly string[];
  readonly doh: readonly string[];
  readonly search_domain?: string | undefined;
}

export interface SettingsEntry {
  /** How long a client without an expiring token may use one authorization; absent: until it is revoked. */
  readonly authorization_lifetime?: string | undefined;
  /** Whether clients and gateways that both can do without ICE do (iceless 2). */
  readonly iceless?: boolean | undefined;
}

/** Strict, and a key that is not known is answered with those that are. */
function section<Shape extends z.ZodRawShape>(shape: Shape): z.ZodObject<Shape, z.core.$strict> {
  const allowed = Object.keys(shape).join(', ');
  return z.strictObject(shape, {
    error: (issue) => {
      if (issue.code === 'unrecognized_keys') {
        return `unknown key; allowed: ${allowed}`;
      }
      if (issue.code === 'invalid_type') return `expected a section with the keys ${allowed}`;
      return undefined;
    },
  });
}

const name = z
  .string()
  .min(1, 'a name must not be empty')
  .max(255, 'a name has at most 255 characters');
const id = z.guid('expected a UUID, for example 7e57c0de-1111-4222-8333-444455556666');
const timestamp = z
  .string()
  .refine(
    (text) => parseTimestamp(text) !== undefined,
    'expected a time with its zone, for example 2027-01-31T18:00:00Z, or a date',
  );
const hash = z
  .string()
  .regex(/^sha256:[0-9a-f]{64}$/, 'expected "sha256:" and 64 lower-case hex digits');
const secret = z
  .string()
  .regex(/^\S{8,512}$/, 'a token has 8 to 512 characters and no white space');

const token = z.union(
  [
    secret,
    section({
      token: secret.optional(),
      hash: hash.optional(),
      name: name.optional(),
      expires: timestamp.optional(),
    }).refine(
      (entry) => (entry.token === undefined) !== (entry.hash === undefined),
      'exactly one of "token" and "hash" is needed',
    ),
  ],
  {
    error:
      'expected a token (8 to 512 characters without white space), "sha256:" and 64 hex digits, or a section with the keys token or hash, name, expires',
  },
);
const tokens = z.array(token).default([]);

const location = section({
  latitude: z.number().min(-90).max(90),
  longitude: z.number().min(-180).max(180),
});

const site = section({
  name,
  id: id.optional(),
  location: location.optional(),
  gateway_tokens: tokens,
});
const relay = section({ name, location: location.optional(), tokens });
const actor = section({
  name,
  id: id.optional(),
  email: z.string().max(255).optional(),
  groups: z.array(name).default([]),
  location: location.optional(),
  tokens,
});

const filter = z.union(
  [
    z.string(),
    section({ protocol: z.literal('icmp') }),
    section({
      protocol: z.enum(['tcp', 'udp']),
      ports: z.array(z.union([z.number(), z.string()])).default([]),
    }),
  ],
  {
    error:
      'expected "icmp", "tcp", "udp 53", "tcp 8000-8001", or a section with the keys protocol (tcp, udp, icmp) and ports',
  },
);
const filters = z.array(filter).default([]);

const common = { id: id.optional(), name, site: name, description: z.string().max(255).optional() };
const address = z.string().min(1, 'an address must not be empty').max(255);
const resource = z.discriminatedUnion(
  'type',
  [
    section({ ...common, type: z.literal('cidr'), address, filters }),
    section({
      ...common,
      type: z.literal('dns'),
      address,
      filters,
      ip_stack: z.enum(['dual', 'ipv4_only', 'ipv6_only']).optional(),
    }),
    section({ ...common, type: z.literal('internet') }),
  ],
  { error: 'a resource needs a type; allowed: cidr, dns, internet' },
);

const rule = section({
  group: name,
  resource: name,
  enabled: z.boolean().default(true),
  expires: timestamp.optional(),
  conditions: section({
    remote_ip: z.array(z.string()).min(1).optional(),
    remote_ip_not: z.array(z.string()).min(1).optional(),
  }).default({}),
});

const dns = section({
  upstream: z.array(z.string()).default([]),
  doh: z.array(z.string().regex(/^https:\/\/\S+$/, 'expected an https:// URL')).default([]),
  search_domain: z.string().max(253).optional(),
});

const settings = section({
  authorization_lifetime: z
    .string()
    .regex(/^[1-9][0-9]{0,6}[smhd]$/, 'expected a duration such as 90s, 15m, 8h or 30d')
    .optional(),
  iceless: z.boolean().optional(),
});

export const policyFileSchema: z.ZodType<PolicyFile> = section({
  account: z
    .string()
    .regex(/^[a-z0-9_]{1,100}$/, 'an account has 1 to 100 characters of a-z, 0-9 and _')
    .default('default'),
  sites: z.array(site).default([]),
  relays: z.array(relay).default([]),
  groups: z.array(name).default([]),
  actors: z.array(actor).default([]),
  resources: z.array(resource).default([]),
  policies: z.array(rule).default([]),
  dns: dns.default({ upstream: [], doh: [] }),
  settings: settings.default({}),
});
