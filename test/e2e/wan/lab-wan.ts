// The lab with the WAN as the access line of the client or the gateway, in place of the wire between it and its router. Client and gateway have half of
// the way each, so that everybody else (portal, relay) is as far from either as half of what they are from each other, as on a real internet.

import { LAB_ADDRESSES, LAB_ROUTERS } from '../../../src/app/lab/addresses.ts';
import type { Lab } from '../../../src/app/lab/lab.ts';
import type { LabHost } from '../../../src/app/lab/topology.ts';
import { Wan, type WanFlags } from './wan.ts';

const ROOT: string = new URL('../../..', import.meta.url).pathname;

/** The programs on the host are stopped meanwhile and started again. */
export async function putWanBefore(
  lab: Lab,
  host: 'client' | 'gateway',
  flags: WanFlags = {},
): Promise<Wan> {
  const router: LabHost = `${host}-router`;
  const { inside } = LAB_ROUTERS[`${host}-router`];
  const own = LAB_ADDRESSES[host];
  await lab[host].stop();
  const configure = async (where: LabHost, lines: readonly string[]): Promise<void> => {
    const { code, stderr } = await lab.exec(where, ['sh', '-ec', lines.join('\n')]);
    if (code !== 0) throw new Error(`${where}: ${stderr}`);
  };
  const { hasIpv6 } = lab.network;
  const addresses = (device: string, { ipv4, ipv6 }: typeof own): string[] => [
    `ip link set ${device} up`,
    `ip addr replace ${ipv4}/24 dev ${device}`,
    ...(hasIpv6 ? [`ip addr replace ${ipv6}/64 dev ${device} nodad`] : []),
  ];
  await configure(host, ['ip link del eth0']);
  const wan = await Wan.start(
    ROOT,
    `${lab.network.namespaceOf(host)}:eth0`,
    `${lab.network.namespaceOf(router)}:lan`,
    flags,
  );
  await configure(router, addresses('lan', inside));
  await configure(host, [
    ...addresses('eth0', own),
    `ip route replace default via ${inside.ipv4}`,
    ...(hasIpv6 ? [`ip -6 route replace default via ${inside.ipv6}`] : []),
  ]);
  lab[host].start();
  await lab.waitUntilReady();
  return wan;
}
