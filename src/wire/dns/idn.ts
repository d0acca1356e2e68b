// Internationalised labels (RFC 5890 §2.3.2): between the form that people write (`bücher`) and the form of the DNS (`xn--bcher-kva`), by
// Punycode (RFC 3492). Letters are folded and composed (NFC) before; the tables of UTS 46 beyond that are not applied, so a label
// that needs them simply does not match.

// Specification (RFC 3492 §5; RFC 5890 §2.3.2.1)
const BASE = 36;
const T_MIN = 1;
const T_MAX = 26;
const SKEW = 38;
const DAMP = 700;
const INITIAL_BIAS = 72;
const INITIAL_N = 0x80;
const MAX_CODE_POINT = 0x10ffff;
const ACE_PREFIX = 'xn--';

/** The label as it stands in the DNS. ASCII labels are what they are, in lower case. */
export function asciiLabel(label: string): string {
  const folded = label.normalize('NFC').toLowerCase().normalize('NFC');
  return isAscii(folded) ? folded : ACE_PREFIX + encode([...folded]);
}

/** The label as people write it; one that is no well-formed `xn--` label is what it is. */
export function unicodeLabel(label: string): string {
  const folded = label.toLowerCase();
  if (!folded.startsWith(ACE_PREFIX)) return folded;
  const decoded = decode(folded.slice(ACE_PREFIX.length));
  // Only the one right spelling, so that two names never look alike to a pattern.
  return decoded !== undefined && asciiLabel(decoded) === folded ? decoded : folded;
}

export function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false;
  return true;
}

/** RFC 3492 §6.3. */
function encode(characters: readonly string[]): string {
  const input = characters.map((character) => character.codePointAt(0) ?? 0);
  const basic = characters.filter(isAscii);
  let output = basic.join('') + (basic.length > 0 ? '-' : '');
  let [n, delta, bias, handled] = [INITIAL_N, 0, INITIAL_BIAS, basic.length];
  while (handled < input.length) {
    const next = Math.min(...input.filter((code) => code >= n));
    delta += (next - n) * (handled + 1);
    n = next;
    for (const code of input) {
      if (code < n) delta++;
      if (code !== n) continue;
      let q = delta;
      for (let k = BASE; ; k += BASE) {
        const t = threshold(k, bias);
        if (q < t) break;
        output += DIGITS.charAt(t + ((q - t) % (BASE - t)));
        q = Math.floor((q - t) / (BASE - t));
      }
      output += DIGITS.charAt(q);
      bias = adapt(delta, handled + 1, handled === basic.length);
      delta = 0;
      handled++;
    }
    delta++;
    n++;
  }
  return output;
}

/** RFC 3492 §6.2; `undefined` if it is no Punycode. */
function decode(text: string): string | undefined {
  if (!isAscii(text)) return undefined;
  const split = text.lastIndexOf('-');
  const output: number[] = [...text.slice(0, Math.max(0, split))].map((c) => c.charCodeAt(0));
  let [n, i, bias] = [INITIAL_N, 0, INITIAL_BIAS];
  for (let at = split + 1; at < text.length; ) {
    const before = i;
    for (let [k, weight] = [BASE, 1]; ; k += BASE) {
      const digit = digitOf(text.charCodeAt(at++));
      if (digit < 0) return undefined;
      i += digit * weight;
      const t = threshold(k, bias);
      if (digit < t) break;
      weight *= BASE - t;
    }
    const length = output.length + 1;
    bias = adapt(i - before, length, before === 0);
    n += Math.floor(i / length);
    i %= length;
    if (!(n <= MAX_CODE_POINT)) return undefined;
    output.splice(i++, 0, n);
  }
  return String.fromCodePoint(...output);
}

function threshold(k: number, bias: number): number {
  return Math.min(T_MAX, Math.max(T_MIN, k - bias));
}

/** RFC 3492 §6.1. */
function adapt(delta: number, points: number, isFirst: boolean): number {
  let left = Math.floor(delta / (isFirst ? DAMP : 2));
  left += Math.floor(left / points);
  let k = 0;
  for (; left > ((BASE - T_MIN) * T_MAX) / 2; k += BASE) left = Math.floor(left / (BASE - T_MIN));
  return k + Math.floor(((BASE - T_MIN + 1) * left) / (left + SKEW));
}

const DIGITS = 'abcdefghijklmnopqrstuvwxyz0123456789';

/** -1: none, also behind the end. */
function digitOf(code: number): number {
  return Number.isNaN(code) ? -1 : DIGITS.indexOf(String.fromCharCode(code).toLowerCase());
}
