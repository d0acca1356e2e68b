// One client of many in a process: role, loop, UDP sockets and portal connection as the product has them; in place of a TUN device a stand-in, in which
// it pings a resource. It changes nothing on the host.

import { PortalLink } from '../../src/app/portal-link.ts';
import { endpoint, familyOf } from '../../src/base/address.ts';
import { createTunBatch, TUN_PACKET } from '../../src/base/batch.ts';
import { at } from '../../src/base/bytes.ts';
import { SILENT_LOG } from '../../src/base/log.ts';
import { createWallClock, monotonicNow, SystemRandom } from '../../src/io/clock.ts';
import { createNodeCrypto } from '../../src/io/crypto/node-crypto.ts';
import { localAddresses } from '../../src/io/host/local-network.ts';
import { Loop } from '../../src/io/loop.ts';
import { NativeAead } from '../../src/io/packets/aead.ts';
import { TunDevice } from '../../src/io/packets/tun.ts';
import { TunnelSockets } from '../../src/io/packets/udp.ts';
import { Node } from '../../src/link/node.ts';
import { clientLoginUrl } from '../../src/proto/phoenix/login-url.ts';
import { Client } from '../../src/roles/client/client.ts';
import {
  CLIENT_INBOUND,
  CLIENT_OUTBOUND,
  type ClientInbound,
  type ClientOutbound,
} from '../../src/wire/portal/client-messages.ts';
import { echoRequest, isEchoReply } from '../../test/interop/support/wireguard-end.ts';

const KEY_SLOTS = 8;
const PARTITION_BUDGET_MS = 60_000;
const BUFFER_LENGTH = 64 * 1024;
const NO_DEVICE = '-';
/** As applications do that get no answer. */
const PING_AGAIN_MS = 1_000;

const crypto = createNodeCrypto();
const random = new SystemRandom();
const wallClock = createWallClock();
/** One for all: what is read is looked at before anybody reads again. */
const echoes = createTunBatch(160 * 1024, 64);

export interface ClientPlan {
  readonly apiUrl: string;
  readonly token: string;
  readonly id: string;
  /** Whether it offers to do without ICE. */
  readonly iceless: boolean;
  /** IPv4 address of a resource that answers pings. */
  readonly resource: string;
}

export class GeneratedClient {
  readonly #plan: ClientPlan;
  readonly #client: Client;
  readonly #loop: Loop;
  readonly #sockets = TunnelSockets.open({
    port: 0,
    sendBuffer: BUFFER_LENGTH,
    receiveBuffer: BUFFER_LENGTH,
  });
  readonly #devices = TunDevice.pair({ tcp: false, udp: false });
  readonly #portal: PortalLink<ClientInbound, ClientOutbound>;
  readonly #usable: Promise<string>;
  #setUsable: (address: string) => void = () => {};
  #fail: (error: unknown) => void = () => {};
  #onReply: () => void = () => {};
  #path = '';

  constructor(plan: ClientPlan) {
    this.#plan = plan;
    this.#usable = new Promise((resolve, reject) => {
      this.#setUsable = resolve;
      this.#fail = reject;
    });
    this.#usable.catch(() => {});
    const aead = new NativeAead(KEY_SLOTS);
    const log = SILENT_LOG;
    const deps = { crypto, random, aead, wallClock, log };
    const link = new Node({ role: 'client', allowNoRelays: true }, deps, monotonicNow());
    const { iceless } = plan;
    this.#client = new Client({ link, log, activatesInternetResource: false, iceless });
    this.#loop = new Loop({
      role: this.#client,
      aead,
      log,
      onTurn: () => this.#drain(),
      onFatal: (error) => this.#fail(error),
    });
    this.#portal = this.#openPortal();
    this.#loop.useTun(this.#devices[0]);
    this.#loop.useSockets(this.#sockets);
    this.#devices[1].onReadable(() => this.#readReplies());
    this.#loop.run((now) => this.#client.setLocalAddresses(this.#localEndpoints(), now));
    this.#portal.connect(this.#client.publicKey);
  }

  /** Resolves when it has its addresses and may send. */
  async usable(): Promise<void> {
    await this.#usable;
  }

  /** Direct or relayed, of its connection; empty before there is one. */
  get path(): string {
    return this.#path;
  }

  /** Milliseconds from the first packet to the first answer; rejects when there is none in time. */
  async ping(patienceMs: number): Promise<number> {
    const source = await this.#usable;
    const startedAt = performance.now();
    let sequence = 0;
    const send = (): void => {
      this.#devices[1].writePacket(echoRequest(source, this.#plan.resource, sequence++));
    };
    const again = setInterval(send, PING_AGAIN_MS);
    let impatient: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        const late = (): void => reject(new Error(`${this.#plan.id}: no answer`));
        impatient = setTimeout(late, patienceMs);
        this.#onReply = resolve;
        send();
      });
      return performance.now() - startedAt;
    } finally {
      clearInterval(again);
      clearTimeout(impatient);
    }
  }

  /** Says goodbye and frees everything. */
  async close(): Promise<void> {
    this.#loop.run((now) => this.#client.shutdown(now));
    this.#loop.stop();
    await this.#portal.close();
    this.#sockets.close();
    for (const device of this.#devices) device.close();
  }

  #openPortal(): PortalLink<ClientInbound, ClientOutbound> {
    const { apiUrl, id, token } = this.#plan;
    return new PortalLink({
      login: clientLoginUrl({ apiUrl, firezoneId: id, name: id }, crypto),
      component: 'headless-client',
      token,
      partitionBudgetMs: PARTITION_BUDGET_MS,
      dial: {},
      inbound: CLIENT_INBOUND,
      outbound: CLIENT_OUTBOUND,
      random,
      wallClock,
      log: SILENT_LOG,
      onConnected: () => this.#loop.run((now) => this.#client.handlePortalConnected(now)),
      onDisconnected: () => this.#loop.run(() => this.#client.handlePortalDisconnected()),
      onMessage: (message) =>
        this.#loop.run((now) => this.#client.handlePortalMessage(message, now)),
      onFailed: (error) => this.#fail(error),
    });
  }

  #drain(): void {
    for (let event = this.#client.pollEvent(); event; event = this.#client.pollEvent()) {
      if (event.kind === 'send-to-portal') this.#portal.send(event.message);
      else if (event.kind === 'interface-changed') this.#setUsable(event.settings.ipv4);
      else if (event.kind === 'path-changed') this.#path = event.path.kind;
    }
  }

  #readReplies(): void {
    while (this.#devices[1].read(echoes) > 0) {
      for (let i = 0; i < echoes.packetCount; i++) {
        const offset = at(echoes.packets, i * TUN_PACKET.stride + TUN_PACKET.offset);
        const length = at(echoes.packets, i * TUN_PACKET.stride + TUN_PACKET.length);
        if (isEchoReply(echoes.slab.subarray(offset, offset + length))) this.#onReply();
      }
    }
  }

  #localEndpoints(): ReturnType<typeof endpoint>[] {
    return localAddresses(NO_DEVICE).flatMap((address) => {
      const socket = this.#sockets.sockets.find(({ family }) => family === familyOf(address));
      return socket ? [endpoint(address, socket.port)] : [];
    });
  }
}
