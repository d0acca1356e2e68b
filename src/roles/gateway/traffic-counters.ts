// Hot path. What passed between one client and its resources. Sums in a typed array never change their representation as they grow.

const FIELD = {
  bytesToResource: 0,
  packetsToResource: 1,
  bytesToClient: 2,
  packetsToClient: 3,
} as const;

export interface TrafficSnapshot {
  readonly bytesToResource: number;
  readonly packetsToResource: number;
  readonly bytesToClient: number;
  readonly packetsToClient: number;
}

export class TrafficCounters {
  readonly #sums = new Float64Array(4);

  noteToResource(bytes: number, packets: number): void {
    const sums = this.#sums;
    sums[FIELD.bytesToResource] = (sums[FIELD.bytesToResource] ?? 0) + bytes;
    sums[FIELD.packetsToResource] = (sums[FIELD.packetsToResource] ?? 0) + packets;
  }

  noteToClient(bytes: number, packets: number): void {
    const sums = this.#sums;
    sums[FIELD.bytesToClient] = (sums[FIELD.bytesToClient] ?? 0) + bytes;
    sums[FIELD.packetsToClient] = (sums[FIELD.packetsToClient] ?? 0) + packets;
  }

  snapshot(): TrafficSnapshot {
    const [bytesToResource = 0, packetsToResource = 0, bytesToClient = 0, packetsToClient = 0] =
      this.#sums;
    return { bytesToResource, packetsToResource, bytesToClient, packetsToClient };
  }
}
