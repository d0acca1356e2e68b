// The edges that probes report to (see `instrument.mjs`): seen or not, and which were new since somebody asked.

const EDGE_LIMIT = 0x1_0000;

/** 1 where an edge was seen. Its short name keeps bundles readable. */
export const E: Uint8Array = new Uint8Array(EDGE_LIMIT);
const fresh: number[] = [];

export function H(edge: number): boolean {
  E[edge] = 1;
  fresh.push(edge);
  return true;
}

export function hasFreshEdges(): boolean {
  return fresh.length > 0;
}

/** Edges seen for the first time since the last call. */
export function takeFreshEdges(): number[] {
  return fresh.splice(0);
}

/** Makes edges seen, or unseen, so that a shorter input can prove that it reaches them, too. */
export function markEdges(edges: readonly number[], seen: 0 | 1): void {
  for (const edge of edges) {
    if (edge < EDGE_LIMIT) E[edge] = seen;
    else states[edge - EDGE_LIMIT] = seen;
  }
}

export function seenEdgeCount(): number {
  let count = 0;
  for (const seen of E) count += seen;
  return count;
}

const STATE_LIMIT = 0x1_0000;
const states = new Uint8Array(STATE_LIMIT);

/**
 * For machines, whose branches are soon all seen: a number that says in which state a list of operations left them. An input that leads to
 * a state not seen before is as interesting as one that takes a new branch. States get edge numbers past all edges.
 */
export function observe(state: number): void {
  const mixed = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) >>> 8) & (STATE_LIMIT - 1);
  if (states[mixed] !== 0) return;
  states[mixed] = 1;
  fresh.push(EDGE_LIMIT + mixed);
}

/** A number for `observe` from what describes a state. */
export function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash;
}
