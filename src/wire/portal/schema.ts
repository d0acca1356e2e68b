// How portal messages are described: `zod` codecs between the JSON of the wire (snake_case, texts) and the types behind the
// border (camelCase, brands of `base`). One description serves both directions, `parse` and `write`, and the documentation
// (docs/wire/portal.md). Unknown members are tolerated and dropped (portal-protocol 7.16); nothing here knows a message.

import { z } from 'zod';

export type Schema<T> = z.ZodType<T>;

/** A message of one audience and direction, as its event and its payload. */
export interface Message {
  readonly event: string;
  readonly payload: unknown;
}

export type ParsedMessage<M extends Message> =
  | { readonly kind: 'message'; readonly message: M }
  /** `path` as in `$.interface.ipv4`. */
  | { readonly kind: 'malformed'; readonly path: string; readonly problem: string }
  | { readonly kind: 'unknown-event' };

type PayloadSchemas<M extends Message> = {
  readonly [E in M['event']]: Schema<Extract<M, { readonly event: E }>['payload']>;
};

/** All messages of one audience and direction. */
export class MessageSet<M extends Message> {
  readonly #schemas: ReadonlyMap<string, Schema<unknown>>;
  readonly #aliases: ReadonlyMap<string, string>;

  /** `aliases`: further names of events, accepted and never written. */
  constructor(schemas: PayloadSchemas<M>, aliases: Readonly<Record<string, M['event']>> = {}) {
    this.#schemas = new Map<string, Schema<unknown>>(Object.entries(schemas));
    this.#aliases = new Map(Object.entries(aliases));
  }

  parse(event: string, payload: unknown): ParsedMessage<M> {
    const name = this.#aliases.get(event) ?? event;
    const schema = this.#schemas.get(name);
    if (schema === undefined) return { kind: 'unknown-event' };
    const parsed = schema.safeParse(payload);
    if (parsed.success) {
      return { kind: 'message', message: { event: name, payload: parsed.data } as unknown as M };
    }
    return { kind: 'malformed', ...firstProblem(parsed.error) };
  }

  /** The JSON form of a message. */
  write(message: M): Message {
    const schema = this.#schemas.get(message.event);
    const payload = schema === undefined ? message.payload : z.encode(schema, message.payload);
    return { event: message.event, payload };
  }

  /** For the documentation. */
  entries(): ReadonlyMap<string, Schema<unknown>> {
    return this.#schemas;
  }

  aliases(): ReadonlyMap<string, string> {
    return this.#aliases;
  }
}

/** `preSharedKey` to `pre_shared_key`. */
type Snake<S extends string, Out extends string = ''> = S extends `${infer Head}${infer Tail}`
  ? Head extends Lowercase<Head>
    ? Snake<Tail, `${Out}${Head}`>
    : Snake<Tail, `${Out}_${Lowercase<Head>}`>
  : Out;

type Shape<T> = { readonly [K in keyof T & string as Snake<K>]: Schema<T[K]> };

/**
 * An object whose members have camelCase names behind the border. `aliases` maps a second wire name to the one it stands
 * for: exactly one of the two must be there, and the first is never written.
 */
export function object<T extends object>(
  shape: Shape<T>,
  aliases: Readonly<Record<string, keyof Shape<T> & string>> = {},
): Schema<T> {
  const members: Record<string, Schema<unknown>> = { ...shape };
  for (const [alias, name] of Object.entries(aliases)) {
    const schema = members[name] ?? z.unknown();
    members[name] = schema.optional();
    members[alias] = schema.optional();
  }
  // `meta` is for the documentation alone.
  return z.codec(z.object(members).meta({ aliases }), z.custom<T>(), {
    decode(wire, context): T {
      const out: Record<string, unknown> = { ...wire };
      for (const [alias, name] of Object.entries(aliases)) {
        const both = out[alias] !== undefined && out[name] !== undefined;
        if (both || (out[alias] === undefined && out[name] === undefined)) {
          const message = both ? `both ${name} and ${alias}` : `neither ${name} nor ${alias}`;
          context.issues.push({ code: 'custom', message, input: wire, path: [name] });
        }
        out[name] ??= out[alias];
        delete out[alias];
      }
      return renameKeys(out, camelCase) as T;
    },
    encode: (value) => renameKeys(value, snakeCase),
  });
}

/** One of several objects, told apart by the member `key`. */
export function tagged<T extends object>(key: string, options: readonly Schema<T>[]): Schema<T> {
  const union = z.discriminatedUnion(
    key,
    options as unknown as [z.core.$ZodTypeDiscriminable, ...z.core.$ZodTypeDiscriminable[]],
  );
  return union as unknown as Schema<T>;
}

/** A text with a parsed form. `write` makes the text again. */
export function text<T>(
  description: string,
  parse: (text: string) => T | undefined,
  write: (value: T) => string,
): Schema<T> {
  return z.codec(z.string().meta({ description }), z.custom<T>(), {
    decode(input, context): T {
      const value = parse(input);
      if (value !== undefined) return value;
      context.issues.push({ code: 'custom', message: `not ${description}`, input });
      return z.NEVER;
    },
    encode: write,
  });
}

/** An array of which malformed elements are left out instead of making the message malformed. Absent: empty. */
export function lenientArray<T>(element: Schema<T>): Schema<readonly T[]> {
  const elements = z
    .array(element.optional().catch(undefined))
    .meta({ isLenient: true })
    .default([]);
  return z.codec(elements, z.custom<readonly T[]>(), {
    decode: (values) =>
      values.filter(
        (value): value is Exclude<typeof value, undefined> => value !== undefined,
      ) as readonly T[],
    encode: (values) => [...values],
  });
}

/** An array that must be there and whose every element must be right. */
export function strictArray<T>(element: Schema<T>): Schema<readonly T[]> {
  return z.array(element);
}

/** Absent and `null` are both `null` behind the border; `null` is written. */
export function nullable<T>(schema: Schema<T>): Schema<T | null> {
  return z.codec(schema.nullish(), z.custom<T | null>(), {
    decode: (value): T | null => value ?? null,
    encode: (value) => value,
  });
}

/** Like `nullable`, but the member is left out when it is `null`. */
export function optional<T>(schema: Schema<T>): Schema<T | null> {
  return z.codec(schema.nullish(), z.custom<T | null>(), {
    decode: (value): T | null => value ?? null,
    encode: (value) => value ?? undefined,
  });
}

/** A member that we only pass on: whatever is not as expected is `null` and never makes the message malformed. */
export function informative<T>(schema: Schema<T>): Schema<T | null> {
  return nullable(schema).catch(null);
}

function firstProblem(error: z.ZodError): { path: string; problem: string } {
  const issue = error.issues[0];
  let path = '$';
  for (const step of issue?.path ?? []) {
    path += typeof step === 'number' ? `[${step}]` : `.${String(step)}`;
  }
  return { path, problem: issue?.message ?? 'malformed' };
}

function renameKeys(value: object, rename: (key: string) => string): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [key, member] of Object.entries(value)) {
    if (member !== undefined) out[rename(key)] = member;
  }
  return out;
}

function camelCase(key: string): string {
  return key.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function snakeCase(key: string): string {
  return key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
