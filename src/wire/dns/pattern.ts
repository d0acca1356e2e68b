// Domain patterns of DNS resources (data-plane 8): which names a pattern covers, and which of several patterns is the more specific.
//
//   ?     one character of a label            *    any run of characters of a label, also none
//   **    as a whole label: any number of labels (at the end of a pattern: at least one)
//   [ab] [a-c] [!x]   one character of a class
//   *.x   covers x itself, too
//
// Patterns may be written with letters of any script: a label without wildcards stands for its form in the DNS (`xn--…`), one with
// wildcards is compared with the label as people write it. A name with a dot or a byte beyond ASCII inside a label, which only the
// escapes of RFC 1035 §5.1 can say, is covered by no pattern, so that `a\.b.corp.test` does not pass for a name below `b.corp.test`.
//
// Deviates from data-plane 8 rule 1 in one point: `*.corp.test` covers `CORP.test` as it covers `corp.test`, because names of the DNS have
// no case (RFC 4343 §3).

import { at } from '../../base/bytes.ts';
import { asciiLabel, isAscii, unicodeLabel } from './idn.ts';
import { dnsKey } from './name.ts';

type Token =
  | { readonly kind: 'run' }
  | { readonly kind: 'one' }
  | { readonly kind: 'character'; readonly character: string }
  | { readonly kind: 'class'; readonly isNegated: boolean; readonly ranges: readonly Range[] };
type Range = readonly [from: string, to: string];
type Label =
  | 'labels'
  /** `isUnicode`: to be compared with the label as people write it. */
  | { readonly tokens: readonly Token[]; readonly isUnicode: boolean };

// Implementation
/** A name has at most 127 labels (RFC 1035 §3.1); a longer pattern covers nothing. */
const MAX_LABELS = 128;
const WILDCARDS = /[*?[]/;
/** RFC 3490 §3.1: to be taken for dots. */
const OTHER_DOTS = /[\u3002\uff0e\uff61]/g;

export class DomainPattern {
  readonly text: string;
  readonly #labels: readonly Label[];
  readonly #parent: string | undefined;

  private constructor(text: string, labels: readonly Label[]) {
    this.text = text;
    this.#labels = labels;
    this.#parent = text.startsWith('*.') ? text.slice(2) : undefined;
  }

  /** `undefined` if the pattern is invalid: `***`, `a**`, an unclosed class, an empty label. */
  static parse(text: string): DomainPattern | undefined {
    const key = splitLabels(dnsKey(text.replaceAll(OTHER_DOTS, '.')))
      .map((part) => (WILDCARDS.test(part) ? part : asciiLabel(part)))
      .join('.');
    const labels: Label[] = [];
    for (const part of splitLabels(key)) {
      const label = parseLabel(part);
      if (label === undefined) return undefined;
      if (label !== 'labels' || labels.at(-1) !== 'labels') labels.push(label);
    }
    return labels.length > MAX_LABELS ? undefined : new DomainPattern(key, labels);
  }

  /** Whether `name` (with or without final dot, in any case) is covered. */
  matches(name: string): boolean {
    const key = dnsKey(name);
    if (key.includes('\\') || !isAscii(key)) return false;
    const labels = key.split('.');
    // RFC 1035 §3.1: only the root's label is empty, and it has no name of its own here.
    if (labels.includes('')) return false;
    return key === this.#parent || matchLabels(this.#labels, labels);
  }
}

/** Order for sorting: the more specific pattern first. Decided by the texts, from the right (data-plane 8). */
export function compareSpecificity(a: DomainPattern, b: DomainPattern): number {
  const [left, right] = [[...a.text].reverse(), [...b.text].reverse()];
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const [x, y] = [left[i], right[i]];
    if (x === y) continue;
    const [wildX, wildY] = [wildness(x), wildness(y)];
    if (wildX !== wildY) return wildX - wildY;
    if (x === undefined) return -1;
    if (y === undefined) return 1;
    return x > y ? -1 : 1;
  }
  return 0;
}

function wildness(character: string | undefined): number {
  return character === '*' ? 2 : character === '?' ? 1 : 0;
}

/** Dots inside a class do not end a label. */
function splitLabels(text: string): string[] {
  const labels = [''];
  let isInClass = false;
  for (const character of text) {
    if (character === '[') isInClass = true;
    else if (character === ']') isInClass = false;
    if (character === '.' && !isInClass) labels.push('');
    else labels[labels.length - 1] += character;
  }
  return labels;
}

function parseLabel(text: string): Label | undefined {
  if (text === '**') return 'labels';
  if (text === '' || text.includes('**')) return undefined;
  const isUnicode = !isAscii(text);
  const tokens: Token[] = [];
  const characters = [...(isUnicode ? text.normalize('NFC').toLowerCase() : text)];
  for (let i = 0; i < characters.length; i++) {
    const character = at(characters, i);
    if (character === '*') tokens.push({ kind: 'run' });
    else if (character === '?') tokens.push({ kind: 'one' });
    else if (character === '[') {
      const end = characters.indexOf(']', characters[i + 1] === '!' ? i + 3 : i + 2);
      if (end < 0) return undefined;
      tokens.push(parseClass(characters.slice(i + 1, end)));
      i = end;
    } else tokens.push({ kind: 'character', character });
  }
  return { tokens, isUnicode };
}

function parseClass(characters: readonly string[]): Token {
  const isNegated = characters[0] === '!';
  const members = isNegated ? characters.slice(1) : characters;
  const ranges: Range[] = [];
  for (let i = 0; i < members.length; i++) {
    const from = at(members, i);
    if (members[i + 1] === '-' && i + 2 < members.length) {
      ranges.push([from, at(members, i + 2)]);
      i += 2;
    } else ranges.push([from, from]);
  }
  return { kind: 'class', isNegated, ranges };
}

/** Both lists from the end to the start: `reachable[k]` says whether the pattern's rest matches the name's rest from label k on. */
function matchLabels(pattern: readonly Label[], name: readonly string[]): boolean {
  const count = name.length;
  let reachable = Array.from({ length: count + 1 }, (_, k) => k === count);
  for (let p = pattern.length - 1; p >= 0; p--) {
    const label = at(pattern, p);
    const next = Array.from({ length: count + 1 }, () => false);
    const needsOne = p === pattern.length - 1 && p > 0;
    for (let k = count; k >= 0; k--) {
      if (label === 'labels') {
        next[k] = k < count && (at(next, k + 1) || at(reachable, k + 1));
        if (!needsOne) next[k] ||= at(reachable, k);
      } else next[k] = k < count && at(reachable, k + 1) && matchLabel(label, at(name, k));
    }
    reachable = next;
  }
  return at(reachable, 0);
}

/** One label against its tokens; on a mismatch the last run takes one character more. */
function matchLabel({ tokens, isUnicode }: Exclude<Label, 'labels'>, text: string): boolean {
  const label = isUnicode ? [...unicodeLabel(text)] : text;
  let [t, c, runToken, runCharacter] = [0, 0, -1, 0];
  while (c < label.length) {
    const token = tokens[t];
    if (token?.kind === 'run') {
      runToken = t++;
      runCharacter = c;
    } else if (token && matchCharacter(token, at(label, c) as string)) {
      t++;
      c++;
    } else if (runToken >= 0) {
      t = runToken + 1;
      c = ++runCharacter;
    } else return false;
  }
  while (tokens[t]?.kind === 'run') t++;
  return t === tokens.length;
}

function matchCharacter(token: Exclude<Token, { kind: 'run' }>, character: string): boolean {
  switch (token.kind) {
    case 'one':
      return true;
    case 'character':
      return token.character === character;
    case 'class':
      return (
        token.ranges.some(([from, to]) => from <= character && character <= to) !== token.isNegated
      );
  }
}
