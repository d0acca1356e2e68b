import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { recordedFrames } from '../../../test/support/portal-recordings.ts';
import { parseControl, replyFrame } from './control.ts';
import { type Frame, parseFrame, writeFrame } from './frame.ts';

const frames: fc.Arbitrary<Frame> = fc.record({
  topic: fc.string(),
  event: fc.string(),
  payload: fc.jsonValue(),
  ref: fc.oneof(fc.nat(), fc.string(), fc.constant(null)),
});

describe('a frame', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(frames, (frame) => {
        const parsed = parseFrame(writeFrame(frame));
        expect(JSON.stringify(parsed)).toBe(JSON.stringify({ kind: 'frame', frame }));
      }),
    );
  });

  it('always has all four keys when written, in order', () => {
    const frame = { topic: 't', event: 'e', payload: undefined, ref: null };
    expect(writeFrame(frame)).toBe('{"topic":"t","event":"e","payload":null,"ref":null}');
  });

  it('may lack payload and ref and have more keys when read', () => {
    expect(parseFrame('{"event":"e","topic":"t","join_ref":"1"}')).toEqual({
      kind: 'frame',
      frame: { topic: 't', event: 'e', payload: null, ref: null },
    });
  });

  it.each(['[]', '1', 'null', '"x"', 'x', '{"topic":"t"}', '{"topic":"t","event":1}', '}{'])(
    'is malformed: %s',
    (text) => expect(parseFrame(text).kind).toBe('malformed'),
  );

  it.each([-1, 1.5, true, {}, []])('is malformed with ref %j', (ref) =>
    expect(parseFrame(JSON.stringify({ topic: 't', event: 'e', ref })).kind).toBe('malformed'),
  );

  it('that is cut off anywhere is truncated', () => {
    const text = '{"topic":"gate\\"way","event":"init","payload":{"a":[1,"}"]},"ref":null}';
    for (let end = 0; end < text.length; end++) {
      expect(parseFrame(text.slice(0, end)).kind, text.slice(0, end)).toBe('truncated');
    }
    expect(parseFrame(text).kind).toBe('frame');
  });

  it('never throws', () => {
    fc.assert(fc.property(fc.string(), (text) => void parseFrame(text)));
  });
});

describe('control frames', () => {
  const frame = (event: string, payload: unknown, ref: Frame['ref'] = 1): Frame => ({
    topic: 'gateway',
    event,
    payload,
    ref,
  });

  it.each(['unmatched topic', 'invalid_version', 'disabled', 'anything'])(
    'an error reply says why: %s',
    (reason) => {
      const written = replyFrame('gateway', 1, { kind: 'error', reason });
      expect(parseControl(written)).toEqual({
        kind: 'reply',
        topic: 'gateway',
        ref: 1,
        outcome: { kind: 'error', reason },
      });
    },
  );

  it('only an empty object confirms', () => {
    const outcome = (response: unknown): unknown =>
      parseControl(frame('phx_reply', { status: 'ok', response }));
    expect(outcome({})).toMatchObject({ outcome: { kind: 'ok' } });
    expect(outcome(null)).toMatchObject({ outcome: { kind: 'response' } });
    expect(outcome({ x: 1 })).toMatchObject({ outcome: { kind: 'response' } });
    expect(outcome([])).toMatchObject({ outcome: { kind: 'response' } });
  });

  it('replies need a number to belong to something', () => {
    const payload = { status: 'ok', response: {} };
    expect(parseControl(frame('phx_reply', payload, '1'))).toBe('malformed');
    expect(parseControl(frame('phx_reply', payload, null))).toBe('malformed');
    expect(parseControl(frame('phx_reply', { status: 'maybe' }))).toBe('malformed');
  });

  it('other events are none of the channel', () => {
    expect(parseControl(frame('init', {}))).toBeUndefined();
  });
});

describe('recorded frames', () => {
  it.each(['1.3', '1.5', '1.6'] as const)('of generation %s are read', (generation) => {
    for (const { frame } of recordedFrames(generation)) {
      expect(parseFrame(JSON.stringify(frame))).toEqual({ kind: 'frame', frame });
      expect(parseControl(frame)).not.toBe('malformed');
    }
  });
});
