// ICE as official peers speak it: messages and candidate strings of gateway 1.6.0 and headless client 1.5.11 (SOURCES.md).

import { fromHex } from '../../src/base/bytes.ts';

const hex = (text: string): Uint8Array => fromHex(text) ?? new Uint8Array();

export const recordedGateway = { ufrag: 'wuj4', password: 'crb5xxuitmxeht55s57hoa' } as const;
export const recordedClient = { ufrag: 'zwmo', password: 'zkxvp2ovquvefgxplzxeao' } as const;

/** 10.31.0.100:52625 to 10.9.0.101:52625. */
export const gatewayRequest: Uint8Array = hex(`
  000100442112a4426ce7934d60f542616a7d91ce 000600097a776d6f3a77756a34000000
  80290008ec9d5963d2c85a3f 002400046efffeff
  0008001483a64f144f75ce6d5524586b2fe5f2c3cd113de8 80280004181f50ef
`);
/** The client's answer, seen behind the gateway's NAT. */
export const clientAnswer: Uint8Array = hex(`
  0101002c2112a4426ce7934d60f542616a7d91ce 002000080001ec832b1ba424
  0008001401dc0ebfb646c83686780b464f78ab148dcc2b2a 8028000452163436
`);
/** [fd09::101]:52625 to [fd31::100]:52625. */
export const clientRequest: Uint8Array = hex(`
  000100442112a442884408e614c4e614e211bebc 0006000977756a343a7a776d6f000000
  802a00086ffad6a8ef83c3fb 002400046effffff
  000800147c7ef89d6e17b2590ee07c327d4c8385b1f58342 80280004a1249a12
`);
export const gatewayAnswer: Uint8Array = hex(`
  010100382112a442884408e614c4e614e211bebc 002000140002ec83dc1ba442884408e614c4e614e211bfbd
  0008001450890a6491295113154811e3d96c030d4d9807c1 80280004c0b1d2fc
`);
/** The same client nominates the pair with 10.9.0.101:52625. */
export const clientNomination: Uint8Array = hex(`
  000100482112a442c90c9352ed1efb4431bb33a2 0006000977756a343a7a776d6f000000
  802a00086ffad6a8ef83c3fb 002400046efffeff 00250000
  0008001444b90684c8f691a420f645f7813c0cdca6e08a9e 80280004e1775f52
`);

/** In the order in which they were signalled. The relay is reached over IPv6. */
export const gatewayCandidates: readonly string[] = [
  'candidate:ffffff7e5533704a5ffcb391 1 udp 2130706431 fd31::100 52625 typ host ufrag wuj4',
  'candidate:fffeff7ee3c92f2eaf7a4386 1 udp 2130706175 10.31.0.100 52625 typ host ufrag wuj4',
  'candidate:ffff7f64ac46eb8efb26c8cd 1 udp 1686110207 fd09::102 52625 typ srflx raddr :: rport 0 ufrag wuj4',
  'candidate:fffe7f643259ba68f66f460 1 udp 1686109951 10.9.0.102 52625 typ srflx raddr 0.0.0.0 rport 0 ufrag wuj4',
  'candidate:ffff3f02dae099943bdd386a 1 udp 37748735 fd09::11 49253 typ relay raddr :: rport 0 ufrag wuj4',
  'candidate:ff163c0257392d71509949c0 1 udp 37492479 10.9.0.11 49253 typ relay raddr 0.0.0.0 rport 0 ufrag wuj4',
];
