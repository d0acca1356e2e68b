// Small texts of portal and components: tokens, timestamps, durations, versions, patterns of names, networks, filters.

import { utf8Decode } from '../../../src/base/bytes.ts';
import { durationMs } from '../../../src/roles/portal/policy-compile.ts';
import { checkDnsPattern, checkNetwork } from '../../../src/roles/portal/resource-rules.ts';
import { operatingSystemOf, versionFromUserAgent } from '../../../src/roles/portal/versions.ts';
import { formatTimestamp, parseTimestamp } from '../../../src/roles/portal/wall-time.ts';
import { dnsLabels } from '../../../src/wire/dns/name.ts';
import { compareSpecificity, DomainPattern } from '../../../src/wire/dns/pattern.ts';
import { parseIngestToken } from '../../../src/wire/portal/ingest-token.ts';

export const name = 'texts';
export const kind = 'bytes';

const OTHER = DomainPattern.parse('*.a?[b-c].test');

export function run(bytes: Uint8Array): void {
  const text = utf8Decode(bytes);
  if (text === undefined) return;
  const [first = '', second = ''] = text.split('\n', 2);
  parseIngestToken(first);
  durationMs(first);
  versionFromUserAgent(first);
  operatingSystemOf(first);
  checkNetwork(first);
  checkDnsPattern(first);
  const stamp = parseTimestamp(first);
  if (stamp !== undefined && parseTimestamp(formatTimestamp(stamp)) !== stamp)
    throw new Error('a time that changes when it is written');
  const pattern = DomainPattern.parse(first);
  if (pattern) comparePatterns(pattern, second);
  const labels = dnsLabels(first);
  if (labels?.some((label) => label.length === 0 || label.length > 63))
    throw new Error('a label of no length');
}

function comparePatterns(pattern: DomainPattern, domain: string): void {
  const isCovered = pattern.matches(domain);
  if (isCovered !== pattern.matches(domain.replaceAll(/[a-z]/g, (letter) => letter.toUpperCase())))
    throw new Error('case matters');
  if (OTHER === undefined) throw new Error('no pattern');
  const order = Math.sign(compareSpecificity(pattern, OTHER));
  if (order !== -Math.sign(compareSpecificity(OTHER, pattern)) && order !== 0)
    throw new Error('no order');
}
