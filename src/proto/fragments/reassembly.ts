// Puts fragments together (RFC 791 §3.2, RFC 8200 §4.5) under a strict budget of bytes, packets and time, for each *owner* and in all, so
// that one owner cannot use up what others need (RFC 8900 §3.2, 3.7). Fragments that overlap end their packet, and what still comes of it
// (RFC 5722 §4); an exact copy is ignored. Cold.

import { type Instant, later } from '../../base/time.ts';
import { type Fragment, joinFragments, parseFragment } from '../../wire/ip/fragment.ts';

// Specification
/** RFC 791 §3.2 suggests 15 s. */
const LIFETIME_MS = 15_000;
const MAX_PACKET = 65_535;

// Implementation
/** 64 KiB in fragments of 1,280 bytes are 53. */
const MAX_FRAGMENTS = 128;
export const MAX_PACKETS_OF_OWNER = 64;
/** Eight of the largest packets. */
export const MAX_BYTES_OF_OWNER: number = 512 * 1024;
export const MAX_BYTES: number = 8 * 1024 * 1024;

export type FragmentDrop = 'fragment' | 'fragment-overlap' | 'fragment-budget' | 'fragment-timeout';

export interface WholePacket {
  readonly bytes: Uint8Array;
  readonly identification: number;
  /** Length of the longest fragment. */
  readonly largest: number;
}

export type FragmentOutcome =
  | { readonly kind: 'whole'; readonly packet: WholePacket }
  | { readonly kind: 'held' }
  | { readonly kind: 'dropped'; readonly reason: FragmentDrop };

interface Assembly {
  readonly key: string;
  readonly owner: string;
  readonly expiresAt: Instant;
  /** Ascending, without overlaps. */
  parts: Fragment[];
  bytes: number;
  largest: number;
  /** Length of the payload, once the last fragment was there. */
  end: number | undefined;
  /** Overlap or contradiction: nothing of it is wanted any more. */
  isRefused: boolean;
}

const HELD = { kind: 'held' } as const;
const dropped = (reason: FragmentDrop): FragmentOutcome => ({ kind: 'dropped', reason });

export class Reassembly {
  /** The oldest first. */
  readonly #assemblies = new Map<string, Assembly>();
  readonly #bytesOf = new Map<string, number>();
  #bytes = 0;

  /** `bytes` are copied. */
  add(owner: string, bytes: Uint8Array, now: Instant): FragmentOutcome {
    this.handleTimeout(now);
    const fragment = parseFragment(bytes.slice());
    if (!fragment) return dropped('fragment');
    const assembly = this.#assemblyOf(owner, fragment, now);
    if (!assembly) return dropped('fragment-budget');
    if (assembly.isRefused) return dropped('fragment-overlap');
    const place = assembly.parts.findIndex(({ start }) => start >= fragment.start);
    if (isCopy(assembly.parts[place], fragment)) return HELD;
    if (!fits(assembly, place, fragment)) {
      this.#refuse(assembly);
      return dropped('fragment-overlap');
    }
    if (assembly.parts.length === MAX_FRAGMENTS || !this.#hasRoom(assembly, fragment)) {
      this.#remove(assembly);
      return dropped('fragment-budget');
    }
    assembly.parts.splice(place < 0 ? assembly.parts.length : place, 0, fragment);
    assembly.largest = Math.max(assembly.largest, bytes.length);
    if (fragment.isLast) assembly.end = fragment.start + fragment.data.length;
    this.#count(assembly, fragment.data.length);
    return this.#finish(assembly);
  }

  /** Forgets what did not become whole in time; how many packets. */
  handleTimeout(now: Instant): number {
    let count = 0;
    for (const assembly of this.#assemblies.values()) {
      if (now < assembly.expiresAt) break;
      this.#remove(assembly);
      count++;
    }
    return count;
  }

  get count(): number {
    return this.#assemblies.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  #assemblyOf(owner: string, { identity }: Fragment, now: Instant): Assembly | undefined {
    const key = `${owner} ${identity}`;
    const known = this.#assemblies.get(key);
    if (known) return known;
    let count = 0;
    for (const other of this.#assemblies.values()) if (other.owner === owner) count++;
    if (count >= MAX_PACKETS_OF_OWNER) return undefined;
    const expiresAt = later(now, LIFETIME_MS);
    const fresh = { key, owner, expiresAt, parts: [], bytes: 0, largest: 0, isRefused: false };
    const assembly: Assembly = { ...fresh, end: undefined };
    this.#assemblies.set(key, assembly);
    return assembly;
  }

  #hasRoom({ owner }: Assembly, { data }: Fragment): boolean {
    const ofOwner = this.#bytesOf.get(owner) ?? 0;
    return ofOwner + data.length <= MAX_BYTES_OF_OWNER && this.#bytes + data.length <= MAX_BYTES;
  }

  #finish(assembly: Assembly): FragmentOutcome {
    const { parts, end, bytes, largest } = assembly;
    const [first] = parts;
    // Parts do not overlap and none is behind the end, so enough bytes are all bytes.
    if (!first || end !== bytes) return HELD;
    const ecn = ecnOf(parts);
    this.#remove(assembly);
    if (ecn === undefined) return dropped('fragment');
    const payload = new Uint8Array(bytes);
    for (const { start, data } of parts) payload.set(data, start);
    const carrier = parts.find((part) => part.ecn === ecn) ?? first;
    const packet = joinFragments({ ...first, header: withEcn(first, carrier) }, payload);
    return {
      kind: 'whole',
      packet: { bytes: packet, identification: first.identification, largest },
    };
  }

  #count(assembly: Assembly, bytes: number): void {
    const ofOwner = (this.#bytesOf.get(assembly.owner) ?? 0) + bytes;
    if (ofOwner > 0) this.#bytesOf.set(assembly.owner, ofOwner);
    else this.#bytesOf.delete(assembly.owner);
    assembly.bytes += bytes;
    this.#bytes += bytes;
  }

  #refuse(assembly: Assembly): void {
    this.#count(assembly, -assembly.bytes);
    assembly.parts = [];
    assembly.isRefused = true;
  }

  #remove(assembly: Assembly): void {
    this.#count(assembly, -assembly.bytes);
    this.#assemblies.delete(assembly.key);
  }
}

function isCopy(known: Fragment | undefined, { start, isLast, data }: Fragment): boolean {
  return (
    known?.start === start &&
    known.isLast === isLast &&
    known.data.length === data.length &&
    known.data.every((byte, i) => byte === data[i])
  );
}

/** Whether a fragment overlaps nothing and contradicts nothing. `place`: of the first part behind it, -1: none. */
function fits({ parts, end }: Assembly, place: number, fragment: Fragment): boolean {
  const after = fragment.start + fragment.data.length;
  if (after + fragment.header.length > MAX_PACKET) return false;
  const before = parts.at(place < 0 ? -1 : place - 1);
  const isBehind = place === 0 || !before || before.start + before.data.length <= fragment.start;
  const next = place < 0 ? undefined : parts[place];
  const isInFront = next === undefined || after <= next.start;
  const isWithin = fragment.isLast
    ? end === undefined && next === undefined
    : end === undefined || after <= end;
  return isBehind && isInFront && isWithin;
}

/** RFC 3168 §5.3: congestion of one is congestion of all; `undefined` if the sender cannot have meant the mixture. */
function ecnOf(parts: readonly Fragment[]): number | undefined {
  const seen = new Set(parts.map(({ ecn }) => ecn));
  if (!seen.has(3)) return parts[0]?.ecn;
  return seen.has(0) ? undefined : 3;
}

/** The first header, with the ECN of another fragment. Only the two bits differ. */
function withEcn(first: Fragment, carrier: Fragment): Uint8Array {
  const header = first.header.slice();
  const mask = first.version === 4 ? 0x03 : 0x30;
  header[1] = ((header[1] ?? 0) & ~mask) | ((carrier.header[1] ?? 0) & mask);
  return header;
}
