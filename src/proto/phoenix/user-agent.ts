// The `User-Agent` of a component (portal-protocol 2.3): `Debian/12.0.0 gateway/1.6.0 (x86_64; 6.1.0-18-amd64)`. The portal
// takes the component's version from it and decides by it which protocol features to use.

export type Component = 'gateway' | 'headless-client' | 'relay';

export interface UserAgentFields {
  readonly osType: string;
  /** As the distribution writes it; semantic versions get three components. */
  readonly osVersion: string;
  readonly component: Component;
  readonly version: string;
  readonly arch?: string;
  readonly kernel?: string;
}

/** Without anything that is not printable ASCII: it would make an illegal header (portal-protocol 14.13). */
export function writeUserAgent(fields: UserAgentFields): string {
  const { osType, osVersion, component, version, arch, kernel } = fields;
  const details = [arch, kernel].filter((part) => part !== undefined && part !== '');
  const suffix = details.length === 0 ? '' : ` (${details.join('; ')})`;
  const text = `${osType}/${semanticVersion(osVersion)} ${component}/${version}${suffix}`;
  return text.replaceAll(/[^\x20-\x7e]/g, '');
}

/** `22.04` is `22.4.0`; anything that is not one to three numbers stays as it is. */
function semanticVersion(text: string): string {
  if (!/^\d+(\.\d+){0,2}$/.test(text)) return text;
  const numbers = text.split('.').map(Number);
  return [0, 1, 2].map((i) => numbers[i] ?? 0).join('.');
}
