// The ICMP header in the other family (data-plane 13.3, 13.4; RFC 7915 §4.2, 5.2): type, code and the word behind them, in place. What is quoted
// behind it stays as it is. The checksum is the caller's.

import { ICMP } from '../../wire/ip/icmp.ts';

// Specification (data-plane 13.3; RFC 1191 §7)
const PLATEAUS = [65_535, 32_000, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296, 68] as const;
/** An IPv6 header is longer by this. */
const HEADER_DIFFERENCE = 20;

const V4 = { echoReply: 0, unreachable: 3, echoRequest: 8, timeExceeded: 11 } as const;
const V6 = {
  unreachable: 1,
  packetTooBig: 2,
  timeExceeded: 3,
  parameterProblem: 4,
  echoRequest: 128,
  echoReply: 129,
} as const;
const UNREACHABLE_V4 = { protocol: 2, port: 3, fragmentationNeeded: 4 } as const;
const NO_ROUTE_V4: readonly number[] = [0, 1, 5, 6, 7, 8, 11, 12];
const PROHIBITED_V4: readonly number[] = [9, 10, 13, 15];
/** Offset of "next header" in an IPv6 header, which is what a parameter problem points at. */
const NEXT_HEADER_POINTER = 6;

interface Header {
  readonly type: number;
  readonly code: number;
  /** `undefined`: it stays. */
  readonly rest?: number;
}

/** False: there is no such message, the packet is dropped. `packetLength`: of the whole IPv4 packet. */
export function icmpToIpv6(view: DataView, packetLength: number): boolean {
  const type = view.getUint8(ICMP.type);
  const code = view.getUint8(ICMP.code);
  return write(view, headerV6(type, code, view.getUint32(ICMP.rest) & 0xffff, packetLength));
}

export function icmpToIpv4(view: DataView): boolean {
  const type = view.getUint8(ICMP.type);
  return write(view, headerV4(type, view.getUint8(ICMP.code), view.getUint32(ICMP.rest)));
}

function headerV6(
  type: number,
  code: number,
  mtu: number,
  packetLength: number,
): Header | undefined {
  switch (type) {
    case V4.echoRequest:
      return { type: V6.echoRequest, code };
    case V4.echoReply:
      return { type: V6.echoReply, code };
    case V4.timeExceeded:
      return { type: V6.timeExceeded, code };
    case V4.unreachable:
      return unreachableV6(code, mtu, packetLength);
    default:
      return undefined;
  }
}

function unreachableV6(code: number, mtu: number, packetLength: number): Header | undefined {
  if (NO_ROUTE_V4.includes(code)) return { type: V6.unreachable, code: 0 };
  if (PROHIBITED_V4.includes(code)) return { type: V6.unreachable, code: 1 };
  switch (code) {
    case UNREACHABLE_V4.protocol:
      return { type: V6.parameterProblem, code: 1, rest: NEXT_HEADER_POINTER };
    case UNREACHABLE_V4.port:
      return { type: V6.unreachable, code: 4 };
    case UNREACHABLE_V4.fragmentationNeeded: {
      const plateau = PLATEAUS.find((value) => value < packetLength) ?? PLATEAUS.at(-1) ?? 0;
      return {
        type: V6.packetTooBig,
        code: 0,
        rest: mtu === 0 ? plateau : mtu + HEADER_DIFFERENCE,
      };
    }
    default:
      return undefined;
  }
}

function headerV4(type: number, code: number, rest: number): Header | undefined {
  switch (type) {
    case V6.echoRequest:
      return { type: V4.echoRequest, code };
    case V6.echoReply:
      return { type: V4.echoReply, code };
    case V6.timeExceeded:
      return { type: V4.timeExceeded, code };
    case V6.packetTooBig: {
      const mtu = Math.min(0xffff, Math.max(0, rest - HEADER_DIFFERENCE));
      return { type: V4.unreachable, code: UNREACHABLE_V4.fragmentationNeeded, rest: mtu };
    }
    case V6.unreachable:
      return unreachableV4(code);
    case V6.parameterProblem:
      return code === 1
        ? { type: V4.unreachable, code: UNREACHABLE_V4.protocol, rest: 0 }
        : undefined;
    default:
      return undefined;
  }
}

function unreachableV4(code: number): Header | undefined {
  switch (code) {
    case 0:
    case 2:
    case 3:
      return { type: V4.unreachable, code: 1 };
    case 1:
      return { type: V4.unreachable, code: 10 };
    case 4:
      return { type: V4.unreachable, code: UNREACHABLE_V4.port };
    default:
      return undefined;
  }
}

function write(view: DataView, header: Header | undefined): boolean {
  if (!header) return false;
  view.setUint8(ICMP.type, header.type);
  view.setUint8(ICMP.code, header.code);
  if (header.rest !== undefined) view.setUint32(ICMP.rest, header.rest);
  return true;
}
