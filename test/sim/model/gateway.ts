// The gateway as the specifications describe it: portal-protocol 7, data-plane 3.3, 4.2, 7, 9, and what docs/wire/data-plane.md adds. It is told what the
// portal said, what clients sent and what names resolved to, and judges what the product made of each packet. It holds no queue, no timer, no cache.
// Where two answers are right it goes on from the one that was seen.

import { type Address, address, isMulticast, isTunnel, network } from './address.ts';
import { ClientOnGateway, say } from './client-on-gateway.ts';
import { isControl, readControl } from './control.ts';
import type { Resource } from './grants.ts';
import { read } from './packet.ts';
import { isFaithful, isSameError } from './rewrite.ts';
import { filterOfJson } from './rules.ts';

/** A message as it is on the wire. */
// biome-ignore lint/suspicious/noExplicitAny: JSON of the portal, whose shape its event says
export type Json = any;

/** What the product did with a packet of a client. */
export interface ToResource {
  /** What came out of the tunnel, if anything. */
  readonly forwarded: Uint8Array | undefined;
  /** What was sealed for this client meanwhile. */
  readonly answers: readonly Uint8Array[];
}

/** A packet that was sealed for a client. */
export interface Sealed {
  readonly client: string;
  readonly packet: Uint8Array;
}

export type Complaint = string | undefined;

export class GatewayModel {
  readonly #clients = new Map<string, ClientOnGateway>();
  readonly #pending = new Map<string, Json>();
  readonly #answers = new Map<string, { readonly at: number; readonly addresses: Address[] }>();
  /** Instant of a unix time, by the pair that was read at the start (data-plane 7.7). */
  readonly #instantOf: (unixMilliseconds: number) => number;
  #own: readonly Address[] = [];
  #relays: readonly Address[] = [];

  constructor(instantOf: (unixMilliseconds: number) => number) {
    this.#instantOf = instantOf;
  }

  get own(): readonly Address[] {
    return this.#own;
  }

  /** Of the last `init`. */
  get relays(): readonly Address[] {
    return this.#relays;
  }

  client(id: string): ClientOnGateway | undefined {
    return this.#clients.get(id);
  }

  get clients(): ReadonlyMap<string, ClientOnGateway> {
    return this.#clients;
  }

  /** portal-protocol 7: a message of the portal has been handled. */
  heard(event: string, payload: Json, now: number): void {
    this.sweep(now);
    switch (event) {
      case 'init':
        this.#own = [address(payload.interface.ipv4), address(payload.interface.ipv6)];
        this.#relays = payload.relays.map(({ addr }: Json) => address(hostOf(addr)));
        return this.#retain(payload.authorizations ?? [], now);
      case 'create_authorization':
        this.#pending.set(payload.ref, payload);
        return;
      case 'reject_access':
        return this.#revoke(payload.client_id, payload.resource_id, now);
      case 'access_authorization_expiry_updated': {
        const { client_id: client, resource_id: resource, expires_at: unix } = payload;
        this.#clients.get(client)?.grants.setExpiry(resource, this.#expiry(unix));
        return;
      }
      case 'resource_updated':
        for (const client of this.#clients.values()) client.grants.update(resourceOf(payload));
        return;
      default:
    }
  }

  /** A message to the portal was made: 7.5 is done when it is answered. */
  said(event: string, payload: Json): void {
    if (event !== 'authorization_created') return;
    const grant = this.#pending.get(payload.ref);
    this.#pending.delete(payload.ref);
    if (grant) this.#allow(grant);
  }

  resolved(domain: string, addresses: readonly string[], now: number): void {
    this.#answers.set(domain.toLowerCase(), { at: now, addresses: addresses.map(address) });
  }

  /** What a name was last found to be. */
  answer(
    domain: string,
  ): { readonly at: number; readonly addresses: readonly Address[] } | undefined {
    return this.#answers.get(domain.toLowerCase());
  }

  /** data-plane 3.3: a packet came out of this client's tunnel. */
  judgeToResource(id: string, bytes: Uint8Array, actual: ToResource, now: number): Complaint {
    this.sweep(now);
    const client = this.#clients.get(id);
    const reading = read(bytes);
    const isDropped = actual.forwarded === undefined && actual.answers.length === 0;
    if (isControl(bytes)) return this.#judgeControl(id, bytes, actual, now);
    if (reading.kind !== 'packet') {
      return isDropped ? undefined : `data-plane 12.1: a ${reading.kind} packet was not dropped`;
    }
    const { packet } = reading;
    if (isMulticast(packet.destination) || !client) {
      const why = client ? '3.3-2: multicast' : `3.3-3: ${id} has no authorization`;
      return isDropped ? undefined : `data-plane ${why}, but not dropped: ${say(packet)}`;
    }
    const complaint = client.judgeToResource(packet, actual, now);
    return complaint && `data-plane 3.3: ${id}: ${complaint}`;
  }

  /** data-plane 4.2: a packet came from the TUN device, and this was sealed because of it. */
  judgeToClient(
    bytes: Uint8Array,
    sealed: readonly Sealed[],
    isConnected: (client: string) => boolean,
    now: number,
  ): Complaint {
    this.sweep(now);
    const reading = read(bytes);
    if (reading.kind !== 'packet' || !isTunnel(reading.packet.destination)) {
      return sealed.length === 0 ? undefined : `data-plane 4.2-1: sent to ${sealed[0]?.client}`;
    }
    const { packet } = reading;
    const [id, client] = this.recipient(packet.destination) ?? [];
    const text = `data-plane 4.2: ${say(packet)}`;
    if (sealed.some((entry) => entry.client !== id)) {
      return `${text}: went to ${sealed[0]?.client}, whose it is not`;
    }
    if (!id || !client) return undefined;
    const { packets, isCertain } = client.toClient(packet, now);
    // Also of packets that are refused afterwards (data-plane 4.2: step 9 comes before step 13).
    client.noteAnswered(packet, sealed.length > 0, now);
    const [first, ...more] = sealed;
    if (more.length > 0) return `${text}: was sent ${sealed.length} times`;
    if (!first) {
      return isCertain && isConnected(id) ? `${text}: should have gone to ${id}` : undefined;
    }
    const isRight = packets.some((expected) =>
      packet.about
        ? isSameError(first.packet, expected)
        : isFaithful(first.packet, expected, packet),
    );
    if (isRight) return undefined;
    const seen = read(first.packet);
    const what = seen.kind === 'packet' ? say(seen.packet) : seen.kind;
    return `${text}: was sent to ${id} as ${what}, allowed: ${
      packets.length === 0
        ? 'nothing'
        : packets
            .map((p) => {
              const r = read(p);
              return r.kind === 'packet' ? say(r.packet) : r.kind;
            })
            .join(' or ')
    }`;
  }

  /** A control packet was sealed for a client. */
  judgeControlToClient(id: string, bytes: Uint8Array, now: number): Complaint {
    const control = readControl(bytes);
    if (control.kind === 'domain-status') {
      return this.#clients.get(id)?.judgeStatus(control.json, now);
    }
    if (control.kind !== 'goodbye') return `data-plane 9.1: a gateway never sends ${control.kind}`;
    return undefined;
  }

  #judgeControl(id: string, bytes: Uint8Array, actual: ToResource, now: number): Complaint {
    if (actual.forwarded) return `data-plane 3.3-4: a control packet of ${id} left the tunnel`;
    const control = readControl(bytes);
    if (control.kind === 'goodbye') this.#clients.delete(id);
    if (control.kind === 'assigned-ips') this.#clients.get(id)?.wishes(control.json, now);
    return undefined;
  }

  /** data-plane 2.3: who has nothing left goes. */
  sweep(now: number): void {
    for (const [id, client] of this.#clients) {
      client.grants.forgetExpired(now);
      if (client.grants.ids(now).length === 0) this.#clients.delete(id);
    }
  }

  /** data-plane 4.2 steps 3 and 4. */
  recipient(destination: Address): [string, ClientOnGateway] | undefined {
    for (const entry of this.#clients) if (entry[1].own.includes(destination)) return entry;
    return undefined;
  }

  #allow(payload: Json): void {
    const { client, resource, expires_at: unix } = payload;
    const own = [address(client.ipv4), address(client.ipv6)];
    let known = this.#clients.get(client.id);
    if (known?.own.join() !== own.join()) {
      known = new ClientOnGateway(own, this);
      this.#clients.set(client.id, known);
    }
    known.grants.allow(resourceOf(resource), this.#expiry(unix));
  }

  /** data-plane 7.6 at [HEAD]: the list is complete. */
  #retain(list: readonly Json[], now: number): void {
    for (const [id, { grants }] of this.#clients) {
      for (const resource of grants.ids(now)) {
        const entry = list.find((item) => item.client_id === id && item.resource_id === resource);
        if (entry) grants.setExpiry(resource, this.#expiry(entry.expires_at));
        else grants.revoke(resource);
      }
    }
  }

  #revoke(client: string, resource: string, now: number): void {
    this.#clients.get(client)?.grants.revoke(resource);
    this.sweep(now);
  }

  #expiry(unixSeconds: number | null | undefined): number {
    return unixSeconds == null ? Infinity : this.#instantOf(unixSeconds * 1_000);
  }
}

/** portal-protocol 5.2: `192.0.2.1:3478` or `[2001:db8::1]:3478`. */
function hostOf(endpoint: string): string {
  return endpoint.slice(0, endpoint.lastIndexOf(':')).replace(/[[\]]/g, '');
}

/** portal-protocol 5.3. */
export function resourceOf(json: Json): Resource {
  const { id, type } = json;
  if (type === 'internet') return { id, type };
  const filters = (json.filters ?? []).map(filterOfJson);
  if (type === 'cidr') return { id, type, address: network(json.address), filters };
  return { id, type: 'dns', pattern: json.address, filters };
}
