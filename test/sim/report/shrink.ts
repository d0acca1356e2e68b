// Delta debugging (Zeller and Hildebrandt, 2002) over a list of steps: the shortest list found that still fails. Steps are data that stay good when others
// are cut away, so every sub-list is a world of its own.

/** `fails` is asked about sub-lists in their order, at most `budget` times. The result fails, if `steps` did. */
export function shrink<Step>(
  steps: readonly Step[],
  fails: (candidate: readonly Step[]) => boolean,
  budget: number,
): readonly Step[] {
  let current = steps;
  let left = budget;
  for (let size = Math.ceil(current.length / 2); size >= 1; ) {
    const shorter = findShorter(current, size, (candidate) => left-- > 0 && fails(candidate));
    if (left <= 0) return shorter ?? current;
    if (shorter) current = shorter;
    else if (size === 1) break;
    else size = Math.ceil(size / 2);
    size = Math.min(size, Math.max(1, current.length));
  }
  return current;
}

/** `current` without one stretch of `size` steps; the last ones first, because they matter least. */
function findShorter<Step>(
  current: readonly Step[],
  size: number,
  fails: (candidate: readonly Step[]) => boolean,
): readonly Step[] | undefined {
  for (let end = current.length; end > 0; end -= size) {
    const start = Math.max(0, end - size);
    const candidate = [...current.slice(0, start), ...current.slice(end)];
    if (fails(candidate)) return candidate;
  }
  return undefined;
}
