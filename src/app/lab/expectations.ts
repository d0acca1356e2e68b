// What scenarios and the lab say about the world: something must be so, or become so in time. The error's message says what was wrong.

export class ScenarioFailure extends Error {}

export function expect(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new ScenarioFailure(otherwise);
}

/** Repeats `attempt` until it gives a value; throws with the last complaint when time is up. */
export async function eventually<T>(
  what: string,
  timeoutMs: number,
  attempt: () => Promise<T | undefined>,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const value = await attempt();
    if (value !== undefined) return value;
    if (Date.now() > deadline) throw new ScenarioFailure(`${what}: not within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
