// Versions of components: read from the User-Agent (portal 10.2.3), compared as numbers (portal 16.13), and matched between
// a client and a gateway (portal 10.7.5).

// Specification

/** portal 10.2.3. */
const COMPONENTS = [
  'relay',
  'connlib',
  'headless-client',
  'gui-client',
  'apple-client',
  'android-client',
  'gateway',
] as const;

export interface ComponentVersion {
  readonly component: (typeof COMPONENTS)[number];
  /** As it was written. */
  readonly text: string;
  /** Undefined if the text is not `major.minor.patch`. */
  readonly numbers: readonly [number, number, number] | undefined;
}

/** The first word of the form `<component>/<version>`; `undefined` if there is none. */
export function versionFromUserAgent(userAgent: string): ComponentVersion | undefined {
  for (const word of userAgent.split(' ')) {
    const slash = word.indexOf('/');
    const component = COMPONENTS.find((name) => name === word.slice(0, slash));
    if (slash > 0 && component) {
      const text = word.slice(slash + 1);
      return { component, text, numbers: parseVersion(text) };
    }
  }
  return undefined;
}

function parseVersion(text: string): readonly [number, number, number] | undefined {
  const match = /^(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?:[-+].*)?$/.exec(text);
  return match ? [Number(match[1]), Number(match[2]), Number(match[3])] : undefined;
}

export function compareVersions(
  a: readonly [number, number, number],
  b: readonly [number, number, number],
): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
}

/**
 * A client M.m works with gateways from M.(m-1).0 to below M.(m+2).0. Who does not say a version, or one before 1.0, is not
 * held to the window: upstream excludes such gateways, but they are not of its numbering.
 */
export function isCompatible(
  client: ComponentVersion | undefined,
  gateway: ComponentVersion | undefined,
): boolean {
  const wanted = client?.numbers;
  const offered = gateway?.numbers;
  if (!wanted || !offered || wanted[0] === 0 || offered[0] === 0) return true;
  return offered[0] === wanted[0] && offered[1] >= wanted[1] - 1 && offered[1] < wanted[1] + 2;
}

export interface OperatingSystem {
  readonly name: string | null;
  readonly version: string | null;
}

/** `Alpine Linux/3.19.0 gateway/1.6.0`: the name up to the first slash, the version up to the next space (portal 10.2.3). */
export function operatingSystemOf(userAgent: string): OperatingSystem {
  const match = /^([^/]+)\/(\S+) /.exec(userAgent);
  if (match) return { name: match[1] ?? null, version: match[2] ?? null };
  return { name: userAgent === '' ? null : userAgent, version: null };
}
