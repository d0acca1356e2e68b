// A NAT table as the data-plane page describes it (9.4), with a plain map and no regard for speed: the twin of `NatTable`.

export interface ModelSession {
  readonly inside: string;
  readonly insidePort: number;
  readonly outside: string;
  readonly outsidePort: number;
  readonly transport: number;
  readonly remotePort: number;
  toResourceAt: number;
  toClientAt: number | undefined;
  finToResource: boolean;
  finToClient: boolean;
  isReset: boolean;
}

/** TCP 1, UDP 2, echo 3. */
const LIFETIME_MS: Readonly<Record<number, number>> = { 1: 7_440_000, 2: 120_000, 3: 120_000 };
const EXPIRED_MEMORY_MS = 900_000;

export interface ModelPacket {
  readonly transport: number;
  readonly port: number;
  readonly remotePort: number;
  readonly address: string;
  readonly isFin: boolean;
  readonly isRst: boolean;
  readonly isSyn: boolean;
}

export class NatModel {
  sessions: ModelSession[] = [];
  readonly #expired = new Map<string, number>();

  toResource(packet: ModelPacket, real: string, now: number): ModelSession {
    this.#removeWhere((s) => now >= endOf(s), now);
    const known = this.sessions.find(
      (s) =>
        s.inside === packet.address &&
        s.insidePort === packet.port &&
        s.remotePort === packet.remotePort &&
        s.transport === packet.transport,
    );
    const hasEnded = known && (known.isReset || (known.finToClient && known.finToResource));
    if (known && hasEnded && packet.isSyn) this.#removeWhere((s) => s === known, now);
    else if (known) {
      known.toResourceAt = now;
      if (packet.isRst) known.isReset = true;
      else if (packet.isFin) known.finToResource = true;
      return known;
    }
    let outsidePort = packet.port;
    const isTaken = (): boolean =>
      this.sessions.some(
        (s) =>
          s.outside === real &&
          s.outsidePort === outsidePort &&
          s.remotePort === packet.remotePort &&
          s.transport === packet.transport,
      );
    while (isTaken()) outsidePort = outsidePort === 65_535 ? 1 : outsidePort + 1;
    const session: ModelSession = {
      inside: packet.address,
      insidePort: packet.port,
      outside: real,
      outsidePort,
      transport: packet.transport,
      remotePort: packet.remotePort,
      toResourceAt: now,
      toClientAt: undefined,
      finToResource: false,
      finToClient: false,
      isReset: false,
    };
    this.sessions.push(session);
    this.#expired.delete(outsideKey(session));
    return session;
  }

  /** `packet.address` is the source, `packet.port` the destination port. */
  toClient(packet: ModelPacket, now: number): ModelSession | 'expired' | 'unknown' {
    this.#removeWhere((s) => now >= endOf(s), now);
    const session = this.sessions.find(
      (s) =>
        s.outside === packet.address &&
        s.outsidePort === packet.port &&
        s.remotePort === packet.remotePort &&
        s.transport === packet.transport,
    );
    if (!session) {
      const key = `${packet.transport}/${packet.address}/${packet.port}/${packet.remotePort}`;
      return this.#expired.has(key) ? 'expired' : 'unknown';
    }
    session.toClientAt = now;
    if (packet.isRst) session.isReset = true;
    else if (packet.isFin) session.finToClient = true;
    return session;
  }

  sweep(now: number): void {
    for (const [key, at] of this.#expired) {
      if (now >= at + EXPIRED_MEMORY_MS) this.#expired.delete(key);
    }
    this.#removeWhere((s) => s.isReset || now >= endOf(s), now);
  }

  #removeWhere(isOver: (session: ModelSession) => boolean, now: number): void {
    this.sessions = this.sessions.filter((session) => {
      if (isOver(session)) this.#expired.set(outsideKey(session), now);
      return !isOver(session);
    });
  }
}

function endOf(session: ModelSession): number {
  if (session.toClientAt === undefined) return session.toResourceAt + 60_000;
  const last = Math.max(session.toResourceAt, session.toClientAt);
  if (session.finToClient && session.finToResource) return last + 5_000;
  return last + (LIFETIME_MS[session.transport] ?? 0);
}

function outsideKey(session: ModelSession): string {
  return `${session.transport}/${session.outside}/${session.outsidePort}/${session.remotePort}`;
}
