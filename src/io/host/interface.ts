// The network interface of the tunnel: addresses, MTU, routes, policy rules (operations 6.2, 6.3, 7.1), by netlink. Each call
// brings the kernel from what is there to what is wanted and leaves alone what already fits. The interface, its addresses and its
// routes vanish with the TUN descriptor; policy rules do not, `removeRules` takes them away.

import type { IpAddress, IpFamily, IpNetwork } from '../../base/address.ts';
import { familyOf, formatNetwork, ipBytes, ipFromBytes } from '../../base/address.ts';
import { at } from '../../base/bytes.ts';
import { FzError } from '../../base/errors.ts';
import {
  attribute,
  attributeText,
  attributeU32,
  fixedPart,
  NetlinkError,
  type NetlinkMessage,
  NLM,
  netlinkCall,
  RTM,
  readAttributes,
  readU32,
} from './netlink.ts';

// Specification

/** Inner MTU (operations 6.1). */
export const TUNNEL_MTU = 1280;
/** Routing table of the tunnel's networks, and the rule's priority (operations 7.1). */
export const TUNNEL_TABLE = 0x2021_fd00;
const RULE_PRIORITY = 100;
/** Sockets with this mark are not routed into the tunnel (operations 7.3). */
const SOCKET_MARK = 0xfd00_2021;
const TRANSMIT_QUEUE_LENGTH = 10_000;

const AF: Readonly<Record<IpFamily, number>> = { 4: 2, 6: 10 };
const IFLA = { name: 3, mtu: 4, txQueueLength: 13, afSpec: 26, inet6AddressGeneration: 8 } as const;
const IFF_UP = 1;
const ADDRESS_GENERATION_NONE = 1;
const IFA = { address: 1, local: 2 } as const;
const RTA = { destination: 1, outputInterface: 4, table: 15 } as const;
const RTPROT_STATIC = 4;
const RTN_UNICAST = 1;
const RT_TABLE_MAIN = 254;
const FRA = { priority: 6, mark: 10, table: 15, markMask: 16, protocol: 21 } as const;
const FIB_RULE_INVERT = 2;
const FR_ACT_TO_TABLE = 1;
const RTPROT_KERNEL = 2;
const LINK_LENGTH = 16;
const ADDRESS_LENGTH = 8;
const ROUTE_LENGTH = 12;
const RULE_LENGTH = 12;

export class InterfaceError extends FzError {
  readonly code = 'FZ_ERR_INTERFACE';
}

export interface InterfaceSetup {
  /** At most one of each family; set as /32 and /128. */
  readonly addresses: readonly IpAddress[];
  readonly mtu?: number;
}

export class TunnelInterface {
  readonly name: string;
  readonly #index: number;

  /** Throws `NetlinkError` if there is no interface of that name. */
  constructor(name: string) {
    this.name = name;
    this.#index = interfaceIndex(name);
  }

  /**
   * Addresses, MTU, up. Returns the families that now work (a host may lack one) and what went wrong with the other.
   * Throws `InterfaceError` if none does, `NetlinkError` if the interface cannot be set up at all.
   */
  configure(setup: InterfaceSetup): {
    readonly families: readonly IpFamily[];
    readonly problems: readonly NetlinkError[];
  } {
    this.#trySettings();
    const present = this.#addresses();
    for (const address of present) {
      if (!setup.addresses.includes(address)) this.#changeAddress(RTM.deleteAddress, 0, address);
    }
    this.#setLink(attributeU32(IFLA.mtu, setup.mtu ?? TUNNEL_MTU));
    const families: IpFamily[] = [];
    const problems: NetlinkError[] = [];
    for (const address of setup.addresses) {
      try {
        if (!present.includes(address)) {
          this.#changeAddress(RTM.newAddress, NLM.create | NLM.exclusive, address);
        }
        families.push(familyOf(address));
      } catch (error) {
        if (!(error instanceof NetlinkError)) throw error;
        problems.push(error);
      }
    }
    this.#up();
    if (families.length === 0) {
      throw new InterfaceError(
        `the interface ${this.name} takes no address: ${problems.map(({ message }) => message).join('; ')}`,
      );
    }
    return { families, problems };
  }

  /** Exactly these networks are routed into the interface. Returns what the kernel refused; each is a family it lacks, or worse. */
  setRoutes(
    networks: readonly IpNetwork[],
    table: number = RT_TABLE_MAIN,
  ): readonly NetlinkError[] {
    const wanted = new Map(networks.map((network) => [formatNetwork(network), network]));
    const problems: NetlinkError[] = [];
    for (const [text, network] of this.#routes(table)) {
      if (!wanted.delete(text)) {
        collect(problems, ['ENOENT', 'ESRCH'], () =>
          this.#changeRoute(RTM.deleteRoute, 0, network, table),
        );
      }
    }
    for (const network of wanted.values()) {
      collect(problems, ['EEXIST', 'EOPNOTSUPP'], () =>
        this.#changeRoute(RTM.newRoute, NLM.create | NLM.exclusive, network, table),
      );
    }
    return problems;
  }

  /** Nice to have (operations 6.1 step 7, 6.2 step 2): a longer queue, and no link-local address of the kernel's own. */
  #trySettings(): void {
    const inet6 = attribute(
      AF[6],
      attribute(IFLA.inet6AddressGeneration, Uint8Array.of(ADDRESS_GENERATION_NONE)),
    );
    for (const setting of [
      attribute(IFLA.afSpec, inet6),
      attributeU32(IFLA.txQueueLength, TRANSMIT_QUEUE_LENGTH),
    ]) {
      collect([], [], () => this.#setLink(setting));
    }
  }

  #setLink(setting: Uint8Array): void {
    const link = fixedPart(LINK_LENGTH, (set) => set.u32(4, this.#index));
    netlinkCall(`cannot set up ${this.name}`, RTM.newLink, 0, link, setting);
  }

  #up(): void {
    const link = fixedPart(LINK_LENGTH, (set) => {
      set.u32(4, this.#index);
      set.u32(8, IFF_UP);
      set.u32(12, IFF_UP);
    });
    netlinkCall(`cannot bring ${this.name} up`, RTM.newLink, 0, link);
  }

  #addresses(): readonly IpAddress[] {
    const messages = netlinkCall(
      'cannot list addresses',
      RTM.getAddress,
      NLM.dump,
      new Uint8Array(ADDRESS_LENGTH),
    );
    return messages.flatMap(({ type, body }) => {
      if (type !== RTM.newAddress || readU32(body, 4) !== this.#index) return [];
      const attributes = readAttributes(body, ADDRESS_LENGTH);
      const bytes = attributes.get(IFA.local) ?? attributes.get(IFA.address);
      return bytes === undefined ? [] : [ipFromBytes(bytes)];
    });
  }

  #changeAddress(type: number, flags: number, address: IpAddress): void {
    const bytes = ipBytes(address);
    const fixed = fixedPart(ADDRESS_LENGTH, (set) => {
      set.u8(0, AF[familyOf(address)]);
      set.u8(1, bytes.length * 8);
      set.u32(4, this.#index);
    });
    const what = `cannot change the address ${address} of ${this.name}`;
    netlinkCall(
      what,
      type,
      flags,
      fixed,
      attribute(IFA.local, bytes),
      attribute(IFA.address, bytes),
    );
  }

  /** Our own kind of routes (static, into this interface) in a table, by text. */
  #routes(table: number): ReadonlyMap<string, IpNetwork> {
    const found = new Map<string, IpNetwork>();
    const messages = netlinkCall(
      'cannot list routes',
      RTM.getRoute,
      NLM.dump,
      new Uint8Array(ROUTE_LENGTH),
    );
    for (const message of messages) {
      const network = this.#routeOf(message, table);
      if (network !== undefined) found.set(formatNetwork(network), network);
    }
    return found;
  }

  #routeOf({ type, body }: NetlinkMessage, table: number): IpNetwork | undefined {
    if (type !== RTM.newRoute || at(body, 5) !== RTPROT_STATIC) return undefined;
    const attributes = readAttributes(body, ROUTE_LENGTH);
    const output = attributes.get(RTA.outputInterface);
    const tableBytes = attributes.get(RTA.table);
    const actualTable = tableBytes === undefined ? at(body, 4) : readU32(tableBytes);
    if (output === undefined || readU32(output) !== this.#index || actualTable !== table) return;
    const length = at(body, 0) === AF[4] ? 4 : 16;
    const destination = attributes.get(RTA.destination) ?? new Uint8Array(length);
    return { address: ipFromBytes(destination), prefixLength: at(body, 1) };
  }

  #changeRoute(type: number, flags: number, network: IpNetwork, table: number): void {
    const fixed = fixedPart(ROUTE_LENGTH, (set) => {
      set.u8(0, AF[familyOf(network.address)]);
      set.u8(1, network.prefixLength);
      set.u8(5, RTPROT_STATIC);
      set.u8(7, RTN_UNICAST);
    });
    netlinkCall(
      `cannot change the route ${formatNetwork(network)} of ${this.name}`,
      type,
      flags,
      fixed,
      attribute(RTA.destination, ipBytes(network.address)),
      attributeU32(RTA.outputInterface, this.#index),
      attributeU32(RTA.table, table),
    );
  }
}

/** Everything that does not carry our mark looks into the tunnel's table first. Returns what the kernel refused. */
export function installRules(families: readonly IpFamily[]): readonly NetlinkError[] {
  const problems: NetlinkError[] = [];
  for (const family of families) {
    collect(problems, ['EEXIST'], () =>
      changeRule(RTM.newRule, NLM.create | NLM.exclusive, family),
    );
  }
  return problems;
}

export function removeRules(families: readonly IpFamily[]): void {
  for (const family of families) collect([], [], () => changeRule(RTM.deleteRule, 0, family));
}

function changeRule(type: number, flags: number, family: IpFamily): void {
  const fixed = fixedPart(RULE_LENGTH, (set) => {
    set.u8(0, AF[family]);
    set.u8(7, FR_ACT_TO_TABLE);
    set.u32(8, FIB_RULE_INVERT);
  });
  netlinkCall(
    `cannot change the routing rule for IPv${family}`,
    type,
    flags,
    fixed,
    attributeU32(FRA.priority, RULE_PRIORITY),
    attributeU32(FRA.table, TUNNEL_TABLE),
    attributeU32(FRA.mark, SOCKET_MARK),
    attributeU32(FRA.markMask, 0xffff_ffff),
    attribute(FRA.protocol, Uint8Array.of(RTPROT_KERNEL)),
  );
}

function interfaceIndex(name: string): number {
  const messages = netlinkCall(
    `there is no interface ${name}`,
    RTM.getLink,
    0,
    new Uint8Array(LINK_LENGTH),
    attributeText(IFLA.name, name),
  );
  const link = messages.find(({ type }) => type === RTM.newLink);
  if (link === undefined) throw new NetlinkError(`there is no interface ${name}`, 'ENODEV');
  return readU32(link.body, 4);
}

/** Runs `change`; an error of netlink is collected unless it is one of those to ignore. */
function collect(problems: NetlinkError[], ignored: readonly string[], change: () => void): void {
  try {
    change();
  } catch (error) {
    if (!(error instanceof NetlinkError)) throw error;
    if (!ignored.includes(error.errno)) problems.push(error);
  }
}
