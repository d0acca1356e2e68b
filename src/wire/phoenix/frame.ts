// Phoenix channel frames, serializer version 1.0.0: one JSON object per text frame with topic, event, payload and ref
// (portal-protocol 3.1). Tolerant towards what is received: unknown keys are ignored, a missing payload or ref is `null`.
// It does not know any event; `control.ts` knows those of the channel itself, `wire/portal` those of Firezone.

/** The tag that a reply repeats. Components send numbers (and accept nothing else); Phoenix's own client sends strings. */
export type FrameRef = number | string | null;

export interface Frame {
  readonly topic: string;
  readonly event: string;
  /** JSON, not looked at. */
  readonly payload: unknown;
  readonly ref: FrameRef;
}

export type ParsedFrame =
  | { readonly kind: 'frame'; readonly frame: Frame }
  /** The text ends inside the JSON: whatever follows cannot be trusted either. */
  | { readonly kind: 'truncated' }
  | { readonly kind: 'malformed'; readonly problem: string };

export function parseFrame(text: string): ParsedFrame {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return isCutOff(text) ? { kind: 'truncated' } : malformed('not JSON');
  }
  if (!isRecord(json)) return malformed('not a JSON object');
  const { topic, event, payload = null, ref = null } = json;
  if (typeof topic !== 'string') return malformed('topic is not a string');
  if (typeof event !== 'string') return malformed('event is not a string');
  if (ref !== null && typeof ref !== 'string' && !isUnsigned(ref)) {
    return malformed('ref is neither an unsigned integer, a string nor null');
  }
  return { kind: 'frame', frame: { topic, event, payload, ref } };
}

/** All four keys are always written: Phoenix's serializer needs each (portal-protocol 3.1). */
export function writeFrame(frame: Frame): string {
  const { topic, event, payload = null, ref } = frame;
  return JSON.stringify({ topic, event, payload, ref });
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isUnsigned(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0;
}

function malformed(problem: string): ParsedFrame {
  return { kind: 'malformed', problem };
}

/** Whether a text that is not JSON ends inside a string, an array or an object. */
function isCutOff(text: string): boolean {
  let depth = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (inString) {
      if (character === '\\') i++;
      else if (character === '"') inString = false;
    } else if (character === '"') inString = true;
    else if (character === '{' || character === '[') depth++;
    else if (character === '}' || character === ']') depth--;
  }
  return inString || depth > 0 || text.trim() === '';
}
