// Control packets inside the tunnel (data-plane 9.1): IPv6 with next header 255 between the unspecified addresses. They set
// up the NAT of DNS resources and say goodbye; they never leave the tunnel.
//
//    0 IPv6 header (40) | 40 event type | 41 seven zero bytes | 48 JSON
//
// Beyond the reference, whose programs ignore unknown events: probes of the path's MTU, and their answers. A probe is as long as what it asks for.
//
//   48 token (4) | probe: zero bytes; answer: length of the probe (2)

import { type IpAddress, parseIp } from '../../base/address.ts';
import { at, utf8Decode, utf8Encode, viewOf } from '../../base/bytes.ts';
import { IPV6 } from '../ip/ipv6.ts';
import { IP_PROTOCOL } from '../ip/protocol.ts';
import { writeIpPacket } from '../ip/write-packet.ts';

// Specification (data-plane 9.1).
const EVENT = { assignedIps: 0, domainStatus: 1, goodbye: 2 } as const;
/** Ours. */
const PROBE_EVENT = { probe: 200, answer: 201 } as const;
const TOKEN_LENGTH = 4;
const ANSWER_LENGTH = 6;
const EVENT_HEADER_LENGTH = 8;

/** Client to gateway: these proxy addresses stand for that domain. */
export interface AssignedIps {
  readonly kind: 'assigned-ips';
  readonly resource: string;
  /** Without trailing dot. */
  readonly domain: string;
  readonly proxyIps: readonly IpAddress[];
}

/** Gateway to client: whether the domain can be used now. */
export interface DomainStatus {
  readonly kind: 'domain-status';
  readonly resource: string;
  readonly domain: string;
  readonly status: 'active' | 'inactive';
}

/** Both ways: the sender forgets the connection now. */
export interface Goodbye {
  readonly kind: 'goodbye';
}

/** Both ways: whether a packet of `size` bytes arrives, the one that asks; or that it did. */
export interface MtuProbe {
  readonly kind: 'mtu-probe' | 'mtu-probe-answer';
  readonly token: number;
  readonly size: number;
}

export type ControlEvent = AssignedIps | DomainStatus | Goodbye | MtuProbe;

/** Hot: whether the packet of `length` bytes at `offset` is a control packet. */
export function isControlPacket(view: DataView, offset: number, length: number): boolean {
  if (length < IPV6.headerLength + EVENT_HEADER_LENGTH) return false;
  if (view.getUint8(offset + IPV6.nextHeader) !== IP_PROTOCOL.control) return false;
  if (view.getUint8(offset) >> 4 !== 6) return false;
  for (let i = 0; i < 8; i++) {
    if (view.getInt32(offset + IPV6.source + i * 4) !== 0) return false;
  }
  return true;
}

/** The event of a packet for which `isControlPacket` holds; `undefined` for unknown types and unreadable JSON. */
export function parseControlPacket(packet: Uint8Array): ControlEvent | undefined {
  const payload = packet.subarray(IPV6.headerLength + EVENT_HEADER_LENGTH);
  switch (at(packet, IPV6.headerLength)) {
    case EVENT.assignedIps:
      return parseAssignedIps(payload);
    case EVENT.domainStatus:
      return parseDomainStatus(payload);
    case EVENT.goodbye:
      return { kind: 'goodbye' };
    case PROBE_EVENT.probe:
    case PROBE_EVENT.answer:
      return parseProbe(packet, payload);
    default:
      return undefined;
  }
}

export function writeControlPacket(event: ControlEvent): Uint8Array {
  switch (event.kind) {
    case 'assigned-ips': {
      const { resource, domain, proxyIps } = event;
      return write(EVENT.assignedIps, JSON.stringify({ resource, domain, proxy_ips: proxyIps }));
    }
    case 'domain-status': {
      const { resource, domain } = event;
      const status = event.status === 'active' ? 'Active' : 'Inactive';
      return write(EVENT.domainStatus, JSON.stringify({ resource, domain, status }));
    }
    case 'goodbye':
      return write(EVENT.goodbye, '');
    case 'mtu-probe':
    case 'mtu-probe-answer':
      return writeProbe(event);
  }
}

function write(type: number, json: string): Uint8Array {
  return writeEvent(type, utf8Encode(json));
}

function writeProbe({ kind, token, size }: MtuProbe): Uint8Array {
  const isProbe = kind === 'mtu-probe';
  const length = isProbe ? size - IPV6.headerLength - EVENT_HEADER_LENGTH : ANSWER_LENGTH;
  const body = new Uint8Array(length);
  const view = viewOf(body);
  view.setUint32(0, token);
  if (!isProbe) view.setUint16(TOKEN_LENGTH, size);
  return writeEvent(isProbe ? PROBE_EVENT.probe : PROBE_EVENT.answer, body);
}

function parseProbe(packet: Uint8Array, body: Uint8Array): MtuProbe | undefined {
  const isProbe = at(packet, IPV6.headerLength) === PROBE_EVENT.probe;
  if (body.length < (isProbe ? TOKEN_LENGTH : ANSWER_LENGTH)) return undefined;
  const view = viewOf(body);
  return {
    kind: isProbe ? 'mtu-probe' : 'mtu-probe-answer',
    token: view.getUint32(0),
    size: isProbe ? packet.length : view.getUint16(TOKEN_LENGTH),
  };
}

function writeEvent(type: number, body: Uint8Array): Uint8Array {
  const payload = new Uint8Array(EVENT_HEADER_LENGTH + body.length);
  payload[0] = type;
  payload.set(body, EVENT_HEADER_LENGTH);
  return writeIpPacket({
    source: UNSPECIFIED,
    destination: UNSPECIFIED,
    hopLimit: 0,
    protocol: IP_PROTOCOL.control,
    payload,
  });
}

const UNSPECIFIED = '::' as IpAddress;

function parseAssignedIps(payload: Uint8Array): AssignedIps | undefined {
  const fields = parseObject(payload);
  const { resource, domain, proxy_ips: texts } = fields ?? {};
  if (typeof resource !== 'string' || typeof domain !== 'string') return undefined;
  if (!Array.isArray(texts)) return undefined;
  const proxyIps: IpAddress[] = [];
  for (const text of texts) {
    const address = typeof text === 'string' ? parseIp(text) : undefined;
    if (address === undefined) return undefined;
    proxyIps.push(address);
  }
  return { kind: 'assigned-ips', resource, domain, proxyIps };
}

function parseDomainStatus(payload: Uint8Array): DomainStatus | undefined {
  const { resource, domain, status } = parseObject(payload) ?? {};
  if (typeof resource !== 'string' || typeof domain !== 'string') return undefined;
  if (typeof status !== 'string') return undefined;
  return {
    kind: 'domain-status',
    resource,
    domain,
    status: status === 'Active' ? 'active' : 'inactive',
  };
}

/** Loosely typed on purpose: each field is checked where it is used. */
interface ControlFields {
  readonly resource?: unknown;
  readonly domain?: unknown;
  readonly proxy_ips?: unknown;
  readonly status?: unknown;
}

function parseObject(payload: Uint8Array): ControlFields | undefined {
  const text = utf8Decode(payload);
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch (error) {
    // The only thrower of remote input; a packet is at most 1280 bytes, and bulk traffic never comes here.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
