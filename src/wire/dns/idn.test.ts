// Punycode against what Node has, and the samples of RFC 3492 §7.1.

import { domainToASCII, domainToUnicode } from 'node:url';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { asciiLabel, unicodeLabel } from './idn.ts';

test.each([
  ['ليهمابتكلموشعربي؟', 'xn--egbpdaj6bu4bxfgehfvwxn'],
  ['他们为什么不说中文', 'xn--ihqwcrb4cv8a8dqg056pqjye'],
  ['pročprostěnemluvíčesky', 'xn--proprostnemluvesky-uyb24dma41a'],
  ['почемужеонинеговорятпорусски', 'xn--b1abfaaepdrnnbgefbadotcwatmq2g4l'],
  ['3年b組金八先生', 'xn--3b-ww4c5e180e575a65lsy2b'],
  ['🦊', 'xn--9s9h'],
])('%s is %s', (text, ascii) => {
  expect(asciiLabel(text)).toBe(ascii);
  expect(unicodeLabel(ascii.toUpperCase())).toBe(text);
});

test('letters of Europe and Asia are written as Node writes them', () => {
  const letter = fc.constantFrom(
    ...'abz0-äößéøčłşαωдяشعなカ漢字한글'.normalize('NFC').replace('ß', ''),
  );
  const label = fc
    .array(letter, { minLength: 1, maxLength: 12 })
    .map((letters) => `a${letters.join('')}z`)
    // Without rules for right-to-left text and hyphens, which Node applies and we do not need.
    .filter((text) => domainToASCII(text) !== '' && !text.includes('--'));
  fc.assert(
    fc.property(label, (text) => {
      const ascii = domainToASCII(text);
      expect(asciiLabel(text)).toBe(ascii);
      expect(unicodeLabel(ascii)).toBe(domainToUnicode(ascii));
    }),
  );
});

test('no label makes it throw; what is no Punycode stays as it is', () => {
  for (const label of ['xn--', 'xn---', 'xn--999999999999', 'xn--\u{fc}', 'xn--zz--zz'])
    expect(unicodeLabel(label)).toBe(label);
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      asciiLabel(text);
      unicodeLabel(`xn--${text}`);
    }),
  );
});
