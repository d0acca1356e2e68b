// Addresses of the lab as URLs, for scenarios and for the screen.

import { LAB_ADDRESSES } from './addresses.ts';

export interface LabUrls {
  readonly httpIpv4: string;
  readonly httpIpv6: string;
  readonly httpFiltered: string;
  /** Responses that trickle. */
  readonly slowHttp: string;
  readonly slowFiltered: string;
  readonly bytes: (length: number) => string;
  readonly upload: string;
  /** A web server that is nobody's resource. */
  readonly internetUrl: string;
  /** In a range that the Internet resource refuses. */
  readonly reservedUrl: string;
  /** Where no portal listens. */
  readonly noPortal: string;
}

const [host] = LAB_ADDRESSES.resourceHosts;
const { filtered, internetWeb, portal } = LAB_ADDRESSES;

export const LAB_URLS: LabUrls = {
  httpIpv4: `http://${host.ipv4}/`,
  httpIpv6: `http://[${host.ipv6}]/`,
  httpFiltered: `http://${filtered.ipv4}/`,
  slowHttp: `http://${host.ipv4}/slow?seconds=600`,
  slowFiltered: `http://${filtered.ipv4}/slow?seconds=600`,
  bytes: (length) => `http://${host.ipv4}/bytes?num=${length}`,
  upload: `http://${host.ipv4}/upload`,
  internetUrl: `http://${internetWeb.ipv4}/`,
  reservedUrl: 'http://192.168.77.1/',
  noPortal: `ws://${portal.ipv4}:9`,
};
