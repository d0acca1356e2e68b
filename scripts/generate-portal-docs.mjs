// Writes docs/wire/portal.md from the message schemas in src/wire/portal:
//
//   node scripts/generate-portal-docs.mjs [--check]
//
// With --check nothing is written; the exit code says whether the page is current.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const PAGE = join(ROOT, 'docs/wire/portal.md');

const ENTRY = `
export { z } from 'zod';
export { GATEWAY_INBOUND, GATEWAY_OUTBOUND } from './src/wire/portal/gateway-messages.ts';
export { CLIENT_INBOUND, CLIENT_OUTBOUND } from './src/wire/portal/client-messages.ts';
export { RELAY_INBOUND, RELAY_JOIN } from './src/wire/portal/relay-messages.ts';
`;

const INTRODUCTION = `<!-- Written by scripts/generate-portal-docs.mjs from src/wire/portal. Change the schemas, then run it. -->

# Portal messages

What gateways, clients and relays say to the portal and what it says to them, API version 2. Every message is the payload of a
Phoenix frame (serializer 1.0.0), one JSON object per WebSocket text frame:

\`\`\`json
{"topic":"gateway","event":"no_relays","payload":{},"ref":7}
\`\`\`

\`topic\` is the kind of component, \`ref\` a number that a reply repeats, or \`null\` in what the portal sends of itself. A
component joins its topic first (\`phx_join\`, ref 0), sends nothing else before the reply \`{"status":"ok","response":{}}\`, and
sends \`heartbeat\` on topic \`phoenix\` every 10 seconds. Members that are not listed are ignored. A message with a member that is
missing or wrong is dropped as a whole, its path is logged, and the connection is kept; arrays marked *lenient* lose only the
elements that are wrong.
`;

const MEANINGS = {
  gateway: {
    init: 'After each join: the whole state. Access that `authorizations` does not list is revoked.',
    create_authorization:
      'Grants a client access to a resource; answered by `authorization_created` with the same `ref`.',
    reject_access: 'Revokes access to a resource at once.',
    access_authorization_expiry_updated: 'Of older portals; ignored.',
    resource_updated: 'New filters of a resource, for all clients that use it.',
    relays_presence:
      'Relays that went and relays to use; the first are removed before the second are added.',
    ice_candidates: "A client's new candidates.",
    invalidate_ice_candidates: "A client's candidates that no longer hold.",
    authorization_created: 'The gateway is ready for the client.',
    broadcast_ice_candidates: "The gateway's new candidates for some clients.",
    broadcast_invalidated_ice_candidates: "The gateway's candidates that no longer hold.",
    no_relays: 'The gateway has no usable relay; answered by `relays_presence`.',
    set_snownet_capabilities: 'What the component can do beyond ICE; sent after each join.',
  },
  client: {
    init: 'After each join: the whole state.',
    config_changed: 'New addresses or DNS servers.',
    resource_created_or_updated: 'A resource that the user may use, new or changed.',
    resource_deleted: 'The id of a resource that the user may no longer use, as a bare text.',
    resource_filters_updated: 'New filters of a resource.',
    relays_presence: 'Relays that went and relays to use.',
    ice_candidates: "A gateway's new candidates.",
    invalidate_ice_candidates: "A gateway's candidates that no longer hold.",
    authorization_created: 'A gateway waits for the client: how to reach it, and the keys.',
    authorization_creation_failed: 'Access was not granted, and why.',
    client_ice_candidates: "Another client's new candidates.",
    client_ice_candidate_error: 'Candidates could not be handed to another client.',
    client_device_access_authorized: 'A connection between two clients is granted.',
    client_device_access_denied: 'It is not, and why.',
    device_pool_domain_resolved: 'The device behind a name of a device pool.',
    device_pool_domain_resolution_failed: 'There is none.',
    reject_access: "Revokes another client's access to this one.",
    access_authorization_expiry_updated: 'Of older portals; ignored.',
    request_authorization:
      'Asks for access to a resource; answered by `authorization_created` or `authorization_creation_failed`.',
    broadcast_ice_candidates: "The client's new candidates for some gateways.",
    broadcast_invalidated_ice_candidates:
      "The client's candidates that no longer hold, for some gateways.",
    new_gateway_ice_candidates: "The client's new candidates for a gateway.",
    invalidate_gateway_ice_candidates: "The client's candidates that no longer hold.",
    new_client_ice_candidates: "The client's new candidates for another client.",
    invalidate_client_ice_candidates: 'Candidates between clients that no longer hold.',
    resolve_device_pool_domain: 'Asks which device a name of a device pool means.',
    no_relays: 'The client has no usable relay; answered by `relays_presence`.',
    set_snownet_capabilities: 'What the component can do beyond ICE; sent after each join.',
  },
  relay: {
    init: 'After each join; it says nothing.',
    phx_join: "The join's payload: the key of all TURN credentials, made at process start.",
  },
};

const page = await render();
const current = existsSync(PAGE) ? readFileSync(PAGE, 'utf8') : '';
if (process.argv.includes('--check')) {
  if (page !== current) {
    console.error('docs/wire/portal.md is not current: node scripts/generate-portal-docs.mjs');
    process.exitCode = 1;
  }
} else {
  mkdirSync(dirname(PAGE), { recursive: true });
  writeFileSync(PAGE, page);
}

async function render() {
  const schemas = await load();
  const { z, RELAY_JOIN } = schemas;
  const sections = [
    ['Portal to gateway', 'gateway', schemas.GATEWAY_INBOUND],
    ['Gateway to portal', 'gateway', schemas.GATEWAY_OUTBOUND],
    ['Portal to client', 'client', schemas.CLIENT_INBOUND],
    ['Client to portal', 'client', schemas.CLIENT_OUTBOUND],
    ['Portal to relay', 'relay', schemas.RELAY_INBOUND],
  ];
  const parts = [INTRODUCTION];
  for (const [title, audience, set] of sections) {
    parts.push(`\n## ${title}\n`);
    for (const [event, schema] of set.entries()) {
      parts.push(renderMessage(z, audience, event, schema, aliasesOf(set, event)));
    }
  }
  parts.push('\n## Relay to portal\n', renderMessage(z, 'relay', 'phx_join', RELAY_JOIN, []));
  return parts.join('');
}

/** The schemas are TypeScript: bundled to one file and imported. */
async function load() {
  const folder = mkdtempSync(join(tmpdir(), 'portal-docs-'));
  const outfile = join(folder, 'schemas.mjs');
  const stdin = { contents: ENTRY, resolveDir: ROOT, loader: 'ts' };
  try {
    await build({ stdin, outfile, bundle: true, platform: 'node', format: 'esm' });
    return await import(pathToFileURL(outfile).href);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function aliasesOf(set, event) {
  return [...set.aliases()].filter(([, name]) => name === event).map(([alias]) => alias);
}

function renderMessage(z, audience, event, schema, aliases) {
  const meaning = MEANINGS[audience][event];
  if (meaning === undefined) throw new Error(`${audience} ${event} has no sentence in MEANINGS`);
  const also = aliases.length === 0 ? '' : ` Also accepted as \`${aliases.join('`, `')}\`.`;
  const json = z.toJSONSchema(schema, { io: 'input', reused: 'inline' });
  const rows = [];
  collectRows(json, '', false, rows);
  return `\n### ${event}\n\n${meaning}${also}\n\n${table(rows)}`;
}

function table(rows) {
  if (rows.length === 0) return 'Payload: `{}`.\n';
  if (rows.length === 1 && rows[0].member === '') return `Payload: ${rows[0].type}.\n`;
  const lines = rows.map(({ member, type, absent }) => `| \`${member}\` | ${type} | ${absent} |\n`);
  return `| member | type | required |\n|---|---|---|\n${lines.join('')}`;
}

/** One row for each member, depth first; members of elements are `list[].member`. */
function collectRows(schema, path, mayBeAbsent, rows) {
  const { inner, isNullable } = unwrap(schema);
  const absent = absence(schema, mayBeAbsent, isNullable);
  const variants = inner.oneOf ?? inner.anyOf;
  if (variants !== undefined) {
    if (path !== '') rows.push({ member: path, type: 'object, one of', absent });
    for (const variant of variants) collectMembers(variant, path, rows, true);
  } else if (inner.type === 'array') {
    const type = inner.isLenient ? 'lenient array' : 'array';
    const { inner: element } = unwrap(inner.items);
    const isPlain = element.type !== 'object' && element.oneOf === undefined;
    const of = isPlain ? ` of ${typeName(element)}` : ' of object';
    rows.push({ member: path, type: type + of, absent });
    if (!isPlain)
      for (const one of element.oneOf ?? [element])
        collectMembers(one, `${path}[]`, rows, 'oneOf' in element);
  } else if (inner.type === 'object') {
    if (path !== '') rows.push({ member: path, type: 'object', absent });
    collectMembers(inner, path, rows);
  } else {
    rows.push({ member: path, type: typeName(inner), absent });
  }
}

function collectMembers(schema, path, rows, isVariant = false) {
  const { aliases = {}, required = [], properties = {} } = schema;
  const tag = Object.entries(properties).find(
    ([, { const: value, enum: values }]) => value ?? values,
  );
  const variant = tag === undefined || !isVariant ? '' : ` (${tag[0]} ${constants(tag[1])})`;
  for (const [name, member] of Object.entries(properties)) {
    if (name in aliases) continue;
    const other = Object.entries(aliases).find(([, of]) => of === name)?.[0];
    const label = path === '' ? name : `${path}.${name}`;
    const first = rows.length;
    collectRows(member, label, other === undefined && !required.includes(name), rows);
    const row = rows[first];
    if (other !== undefined) row.type += `; \`${other}\` in older portals`;
    if (member !== tag?.[1] && variant !== '') row.type += variant;
  }
}

function unwrap(schema) {
  const variants = schema.anyOf ?? [];
  const others = variants.filter(({ type }) => type !== 'null');
  const isNullable = others.length < variants.length;
  return isNullable && others.length === 1
    ? { inner: others[0], isNullable }
    : { inner: schema, isNullable: false };
}

function absence(schema, mayBeAbsent, isNullable) {
  if ('default' in schema && schema.default !== null)
    return `default \`${JSON.stringify(schema.default)}\``;
  return mayBeAbsent || isNullable ? 'no' : 'yes';
}

function typeName(schema) {
  if (schema.const !== undefined || schema.enum !== undefined) return constants(schema);
  if (schema.description !== undefined) return schema.description;
  if (Array.isArray(schema.type)) return schema.type.filter((type) => type !== 'null').join(' or ');
  if (schema.type === 'integer' && schema.minimum === 0) {
    return schema.maximum < Number.MAX_SAFE_INTEGER
      ? `integer 0 to ${schema.maximum}`
      : 'integer, not negative';
  }
  return schema.type ?? 'anything';
}

function constants({ const: value, enum: values = [value] }) {
  return values.map((text) => `\`${text}\``).join(', ');
}
