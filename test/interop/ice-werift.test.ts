// Our ICE agent against werift's, a foreign implementation, over UDP sockets on loopback, in both roles: candidates are
// exchanged as strings, both settle on the pair, and data flows both ways over it.
//
//   IceAgent -- dgram 127.0.0.1 <== checks, then data ==> dgram 127.0.0.1 -- werift Connection

import { afterEach, describe, expect, it } from 'vitest';
import { Candidate, Connection } from 'werift-ice';
import { formatCandidate, parseCandidate } from '../../src/proto/ice/candidate.ts';
import type { IceRole } from '../../src/proto/ice/candidate-pair.ts';
import { IceDriver, now, OWN } from './support/ice-driver.ts';

const opened: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0)) await close();
});

async function settle(role: IceRole): Promise<{ driver: IceDriver; foreign: Connection }> {
  const foreign = new Connection(role === 'controlled', {
    useIpv4: false,
    useIpv6: false,
    additionalHostAddresses: ['127.0.0.1'],
    interfaceAddresses: { udp4: '127.0.0.1' },
  });
  opened.push(() => foreign.close());
  const driver = await IceDriver.create(role, {
    ufrag: foreign.localUsername,
    password: foreign.localPassword,
  });
  opened.push(() => driver.close());
  foreign.setRemoteParams({ iceLite: false, usernameFragment: OWN.ufrag, password: OWN.password });
  await foreign.gatherCandidates();

  const ours = driver.agent.addLocalCandidate(
    { kind: 'host', address: driver.local, base: driver.local },
    now(),
  );
  if (!ours) throw new Error('no candidate');
  // RFC 8839 §5.1 puts `candidate:` in front; werift's reader wants what follows.
  const text = formatCandidate(ours).replace(/^candidate:/, '');
  await foreign.addRemoteCandidate(Candidate.fromSdp(text));
  await foreign.addRemoteCandidate(undefined);
  for (const theirs of foreign.localCandidates) {
    const parsed = parseCandidate(`candidate:${theirs.toSdp()}`);
    if (!parsed) throw new Error(`cannot parse ${theirs.toSdp()}`);
    expect(driver.agent.addRemoteCandidate(parsed, now())).toBe('added');
  }
  driver.drain();
  await foreign.connect();
  await driver.until(() => driver.nominated);
  return { driver, foreign };
}

describe.each<IceRole>(['controlling', 'controlled'])('our agent, %s', (role) => {
  it('settles with a foreign agent, and data flows both ways over the pair', async () => {
    const { driver, foreign } = await settle(role);
    expect(['connected', 'completed']).toContain(foreign.state);
    expect(driver.nominated).toMatchObject({ localKind: 'host', local: driver.local });
    expect(foreign.nominated?.remoteAddr[1]).toBe(driver.local.port);

    const received = new Promise<string>((resolve) =>
      foreign.onData.subscribe((data) => resolve(data.toString())),
    );
    driver.sendData('from us');
    expect(await received).toBe('from us');
    await foreign.send(Buffer.from('from them'));
    expect(await driver.receive()).toBe('from them');
  });

  it('answers the checks that keep the foreign consent alive', async () => {
    const { driver, foreign } = await settle(role);
    const answered = (): number => foreign.nominated?.responsesReceived ?? 0;
    const before = answered();
    await driver.until(() => (answered() > before ? true : undefined));
    expect(foreign.state).not.toBe('disconnected');
    expect(driver.agent.snapshot().drops).toEqual({});
  });
});
