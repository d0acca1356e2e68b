// Everything that official components and the portal said to each other in the recordings (test/vectors/SOURCES.md).

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type RecordedFrame, recordedFrames } from '../../../test/support/portal-recordings.ts';
import { CLIENT_INBOUND, CLIENT_OUTBOUND } from './client-messages.ts';
import { GATEWAY_INBOUND, GATEWAY_OUTBOUND } from './gateway-messages.ts';
import { parseRelayJoin, RELAY_INBOUND, writeRelayJoin } from './relay-messages.ts';
import type { MessageSet } from './schema.ts';

const CHANNEL_EVENTS = ['phx_join', 'phx_reply', 'heartbeat'];
/** Of generations that are not spoken here. */
const OLDER_EVENTS = [
  'prepare_connection',
  'request_connection',
  'reuse_connection',
  'allow_access',
  'connection_ready',
  'create_flow',
  'flow_created',
  'flow_creation_failed',
  'authorize_flow',
  'flow_authorized',
];

interface AnySet {
  parse(event: string, payload: unknown): ReturnType<MessageSet<never>['parse']>;
  write(message: { event: string; payload: unknown }): { event: string; payload: unknown };
}

function setOf({ component, direction }: RecordedFrame): AnySet {
  const toPortal = direction === 'to-portal';
  const sets = {
    gateway: toPortal ? GATEWAY_OUTBOUND : GATEWAY_INBOUND,
    client: toPortal ? CLIENT_OUTBOUND : CLIENT_INBOUND,
    relay: RELAY_INBOUND,
  };
  return sets[component] as unknown as AnySet;
}

describe.each(['1.3', '1.5', '1.6'] as const)(
  'recorded messages of generation %s',
  (generation) => {
    const messages = recordedFrames(generation).filter(
      ({ frame }) => !CHANNEL_EVENTS.includes(frame.event),
    );

    it('are known, or belong to an older generation', () => {
      for (const recorded of messages) {
        const { event, payload } = recorded.frame;
        const parsed = setOf(recorded).parse(event, payload);
        const expected = OLDER_EVENTS.includes(event) ? 'unknown-event' : 'message';
        expect(parsed.kind, JSON.stringify([recorded, parsed])).toBe(expected);
      }
    });

    it('are written as they were, sites under their newer name', () => {
      for (const recorded of messages) {
        const { event, payload } = recorded.frame;
        const parsed = setOf(recorded).parse(event, payload);
        if (parsed.kind !== 'message') continue;
        const written = setOf(recorded).write(parsed.message);
        const newer = JSON.stringify(payload).replaceAll('gateway_groups', 'sites');
        expect(JSON.parse(JSON.stringify(written.payload))).toMatchObject(
          JSON.parse(newer.replaceAll('gateway_group_id', 'site_id')) as object,
        );
        expect(setOf(recorded).parse(event, written.payload)).toEqual(parsed);
      }
    });
  },
);

it('the join of a recorded relay carries its stamp secret', () => {
  const join = recordedFrames('1.6').find(
    ({ component, frame }) => component === 'relay' && frame.event === 'phx_join',
  );
  const parsed = parseRelayJoin(join?.frame.payload);
  expect(parsed?.stampSecret).toMatch(/^[0-9a-f]{64}$/);
  expect(parsed && writeRelayJoin(parsed)).toEqual(join?.frame.payload);
  expect(parseRelayJoin(null)).toBeUndefined();
});

describe('a recorded message with anything in the place of one of its parts', () => {
  const messages = recordedFrames('1.6').filter(
    ({ frame }) => !CHANNEL_EVENTS.includes(frame.event),
  );

  it('is read or refused with a path, and means the same when written again', () => {
    const cases = fc.tuple(fc.constantFrom(...messages), fc.nat(), fc.jsonValue());
    fc.assert(
      fc.property(cases, ([recorded, position, replacement]) => {
        const { event, payload } = recorded.frame;
        const set = setOf(recorded);
        const parsed = set.parse(event, replacePart(payload, position, replacement));
        if (parsed.kind === 'malformed') {
          expect(parsed.path).toMatch(/^\$/);
          expect(parsed.problem).not.toBe('');
        } else if (parsed.kind === 'message') {
          const written = set.write(parsed.message);
          const again = set.parse(written.event, JSON.parse(JSON.stringify(written.payload)));
          expect(again).toEqual(parsed);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

/** Replaces the part at `position`, modulo the number of parts, in the order in which they are written. */
function replacePart(payload: unknown, position: number, replacement: unknown): unknown {
  let count = 0;
  JSON.stringify(payload, (_, value: unknown) => {
    count += 1;
    return value;
  });
  let index = position % count;
  const text = JSON.stringify(payload, (_, value: unknown) => {
    index -= 1;
    return index === -1 ? replacement : value;
  });
  return JSON.parse(text);
}
