// The policy file on disk: YAML with anchors and comments, read as a whole, checked, and read again when it changes. A fault
// names file, line and column, what is wrong and what is allowed. Editors replace files by renaming, so the folder is watched,
// not the file; a slow poll catches what watching misses (network file systems, container mounts).

import { type FSWatcher, readFileSync, statSync, watch } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { type Document, isMap, isNode, isPair, LineCounter, parseDocument } from 'yaml';
import { FzError } from '../../base/errors.ts';
import type { Policy } from '../../roles/portal/policy.ts';
import { type CompileDeps, compilePolicy, type Path } from '../../roles/portal/policy-compile.ts';

// Implementation

/** Editors write in several steps; the last one counts. */
const SETTLE_MS = 100;
const POLL_MS = 1000;
/** A policy of ten thousand resources is about 2 MB. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;
const MAX_ALIASES = 1000;
/** Faults printed at once; the rest is counted. */
const MAX_FAULTS = 20;

export interface FileFault {
  readonly line: number;
  readonly column: number;
  readonly problem: string;
}

export type LoadedPolicy =
  | { readonly kind: 'policy'; readonly policy: Policy; readonly text: string }
  | { readonly kind: 'faults'; readonly faults: readonly FileFault[]; readonly text: string };

/** The policy file cannot be read, or has faults; the message has one line for each. */
export class PolicyFileError extends FzError {
  readonly code = 'FZ_ERR_POLICY_FILE';
}

/** Parses and checks a policy's text. */
export function loadPolicyText(text: string, deps: CompileDeps): LoadedPolicy {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    logLevel: 'silent',
  });
  // A warning (an unknown tag, for example) is a value that does not mean what it says.
  const problems = [...document.errors, ...document.warnings];
  if (problems.length > 0) {
    const faults = problems.map((error) => {
      const { line, col } = lines.linePos(error.pos[0]);
      return { line, column: col, problem: error.message };
    });
    return { kind: 'faults', faults, text };
  }
  const data = dataOf(document);
  if (data.kind === 'too-many-aliases')
    return { kind: 'faults', faults: [{ line: 1, column: 1, problem: data.problem }], text };
  const compiled = compilePolicy(data.value, deps);
  if (compiled.kind === 'policy') return { ...compiled, text };
  const faults = compiled.faults.map(({ path, problem }) => {
    return { ...positionOf(document, lines, path), problem: withPath(path, problem) };
  });
  faults.sort((a, b) => a.line - b.line || a.column - b.column);
  return { kind: 'faults', faults, text };
}

/** `policy.yaml:12:5: resources[1].site: unknown site "hme"; allowed: home`, one line for each fault. */
export function formatFaults(file: string, faults: readonly FileFault[]): string {
  const shown = faults.slice(0, MAX_FAULTS);
  const lines = shown.map(({ line, column, problem }) => `${file}:${line}:${column}: ${problem}`);
  if (faults.length > shown.length) lines.push(`${file}: and ${faults.length - shown.length} more`);
  return lines.join('\n');
}

export class PolicyFile {
  readonly #path: string;
  readonly #deps: CompileDeps;
  readonly #onChange: (loaded: LoadedPolicy) => void;
  readonly #onUnreadable: (cause: unknown) => void;
  #text: string | undefined;
  #stamp = '';
  #watcher: FSWatcher | undefined;
  #poll: NodeJS.Timeout | undefined;
  #settle: NodeJS.Timeout | undefined;

  constructor(
    path: string,
    deps: CompileDeps,
    onChange: (loaded: LoadedPolicy) => void,
    onUnreadable: (cause: unknown) => void,
  ) {
    this.#path = resolve(path);
    this.#deps = deps;
    this.#onChange = onChange;
    this.#onUnreadable = onUnreadable;
  }

  /** Throws `PolicyFileError` if the file cannot be read. */
  load(): LoadedPolicy {
    this.#stamp = this.#readStamp();
    this.#text = readText(this.#path);
    return loadPolicyText(this.#text, this.#deps);
  }

  /** Calls `onChange` for each new text from now on, good or faulty. */
  watch(): void {
    const name = basename(this.#path);
    try {
      this.#watcher = watch(dirname(this.#path), (_, changed) => {
        if (changed === null || changed === name) this.#armSettle();
      });
      this.#watcher.on('error', () => this.#watcher?.close());
    } catch {
      // The poll does the work alone.
    }
    this.#poll = setInterval(() => {
      if (this.#readStamp() !== this.#stamp) this.#armSettle();
    }, POLL_MS);
    this.#poll.unref();
  }

  /** Looks now, as after a change. */
  reload(): void {
    this.#armSettle();
  }

  close(): void {
    this.#watcher?.close();
    clearInterval(this.#poll);
    clearTimeout(this.#settle);
  }

  #armSettle(): void {
    clearTimeout(this.#settle);
    this.#settle = setTimeout(() => this.#reload(), SETTLE_MS);
  }

  #reload(): void {
    this.#stamp = this.#readStamp();
    let text: string;
    try {
      text = readText(this.#path);
    } catch (cause) {
      if (this.#text !== undefined) this.#onUnreadable(cause);
      this.#text = undefined;
      return;
    }
    if (text === this.#text) return;
    this.#text = text;
    this.#onChange(loadPolicyText(text, this.#deps));
  }

  /** Changes whenever the file is written or replaced. */
  #readStamp(): string {
    const stat = statSync(this.#path, { throwIfNoEntry: false });
    return stat ? `${stat.ino} ${stat.mtimeMs} ${stat.size}` : 'missing';
  }
}

function readText(path: string): string {
  try {
    const { size } = statSync(path);
    if (size > MAX_FILE_BYTES) throw new PolicyFileError(`${path} is larger than 16 MiB`);
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if (cause instanceof PolicyFileError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new PolicyFileError(`cannot read the policy file ${path}: ${reason}`, { cause });
  }
}

type Data =
  | { readonly kind: 'data'; readonly value: unknown }
  | { readonly kind: 'too-many-aliases'; readonly problem: string };

/** Aliases of aliases can stand for more than memory holds; `yaml` counts them. */
function dataOf(document: Document): Data {
  try {
    return { kind: 'data', value: document.toJS({ maxAliasCount: MAX_ALIASES }) };
  } catch (error) {
    if (!(error instanceof ReferenceError)) throw error;
    return { kind: 'too-many-aliases', problem: error.message };
  }
}

/** Where the value at `path` stands, or the innermost that is there. An unknown key is shown at the key. */
function positionOf(
  document: Document,
  lines: LineCounter,
  path: Path,
): { readonly line: number; readonly column: number } {
  for (let length = path.length; length >= 0; length--) {
    const part = path.slice(0, length);
    const offset = keyOffset(document, part) ?? valueOffset(document, part);
    if (offset === undefined) continue;
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  }
  return { line: 1, column: 1 };
}

function valueOffset(document: Document, path: Path): number | undefined {
  const node = path.length === 0 ? document.contents : document.getIn(path, true);
  return isNode(node) ? node.range?.[0] : undefined;
}

/** The offset of a key whose value is a section or a list: its line is what an operator looks for. */
function keyOffset(document: Document, path: Path): number | undefined {
  const key = path.at(-1);
  const parentPath = path.slice(0, -1);
  const parent = parentPath.length === 0 ? document.contents : document.getIn(parentPath, true);
  if (typeof key !== 'string' || !isMap(parent)) return undefined;
  const pair = parent.items.find((it) => isPair(it) && isNode(it.key) && String(it.key) === key);
  return isNode(pair?.key) ? pair.key.range?.[0] : undefined;
}

function withPath(path: Path, problem: string): string {
  let text = '';
  for (const step of path) text += typeof step === 'number' ? `[${step}]` : `.${step}`;
  return text === '' ? problem : `${text.slice(1)}: ${problem}`;
}
