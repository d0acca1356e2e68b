// What the portal wants done, in order: pushes to sessions, and the end of sessions. Messages are written in the form of the
// wire here, so that everything behind is typed.

import { CLIENT_INBOUND, type ClientInbound } from '../../wire/portal/client-messages.ts';
import { GATEWAY_INBOUND, type GatewayInbound } from '../../wire/portal/gateway-messages.ts';
import { RELAY_INBOUND, type RelayInbound } from '../../wire/portal/relay-messages.ts';
import type {
  ClientSession,
  GatewaySession,
  RelaySession,
  Session,
  SessionId,
} from './sessions.ts';

export type PortalEvent =
  | {
      readonly kind: 'push';
      readonly session: SessionId;
      readonly event: string;
      /** JSON. */
      readonly payload: unknown;
    }
  /** Tell the component that its token is no longer good (portal 3.4), which ends it, and close the socket. */
  | { readonly kind: 'expire-session'; readonly session: SessionId }
  /** Close channel and socket; the component comes back. */
  | { readonly kind: 'close-session'; readonly session: SessionId };

export class Outbox {
  readonly #events: PortalEvent[] = [];

  toGateway(session: GatewaySession, message: GatewayInbound): void {
    this.#push(session, GATEWAY_INBOUND.write(message));
  }

  toClient(session: ClientSession, message: ClientInbound): void {
    this.#push(session, CLIENT_INBOUND.write(message));
  }

  toRelay(session: RelaySession, message: RelayInbound): void {
    this.#push(session, RELAY_INBOUND.write(message));
  }

  expire(session: Session): void {
    if (session.ended) return;
    session.ended = true;
    this.#events.push({ kind: 'expire-session', session: session.id });
  }

  close(session: Session): void {
    if (session.ended) return;
    session.ended = true;
    this.#events.push({ kind: 'close-session', session: session.id });
  }

  poll(): PortalEvent | undefined {
    return this.#events.shift();
  }

  #push(session: Session, message: { readonly event: string; readonly payload: unknown }): void {
    const { event, payload } = message;
    this.#events.push({ kind: 'push', session: session.id, event, payload });
  }
}
