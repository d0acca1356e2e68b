// nftables rules of the lab's routers (after operations 15.1). One table, replaced in one transaction.
//
// `port-keeping` is what Linux does: the source port stays while it is free, so one socket looks the same to everybody, and only
// who was sent to may answer. `symmetric` gives each destination a random port of its own. `none` routes both ways.

/** How a router treats what passes it. */
export type RouterKind = 'port-keeping' | 'symmetric' | 'none';

/** Which routers stand in front of the client and the gateway. */
export interface ScenarioNetwork {
  readonly clientNat: RouterKind;
  readonly gatewayNat: RouterKind;
  readonly ipv6: boolean;
  /** The account does without ICE; no if absent (iceless 2). */
  readonly iceless?: boolean;
}

export const DIRECT: ScenarioNetwork = {
  clientNat: 'port-keeping',
  gatewayNat: 'port-keeping',
  ipv6: true,
};
/** Neither side can be reached from outside, and there is no IPv6 around the NAT: everything goes through the relay. */
export const RELAYED: ScenarioNetwork = {
  clientNat: 'symmetric',
  gatewayNat: 'symmetric',
  ipv6: false,
};

export interface RouterRules {
  readonly kind: RouterKind;
  /** Percentage of packets from inside to outside that are lost. */
  readonly lossPercent?: number;
  /** No UDP but to port 3478: what remains are relays. */
  readonly relaysOnly?: boolean;
  /** `udp`: no UDP at all. `udp-and-relay-port`: nor the TCP port of the relays. */
  readonly blocks?: 'nothing' | 'udp' | 'udp-and-relay-port';
}

// Implementation
const TABLE = 'inet lab';
/** By number: a bare Debian has no `/etc/protocols`, and nft knows no names without it. */
const UDP = 17;
const ICMP = 1;
const ICMPV6 = 58;

export function routerRuleset(rules: RouterRules): string {
  const isOpen = rules.kind === 'none';
  return `table ${TABLE}
delete table ${TABLE}
table ${TABLE} {
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname { "lo", "lan" } accept
    meta l4proto { ${ICMP}, ${ICMPV6} } accept
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
${forwardRules(rules)
  .map((rule) => `    ${rule}`)
  .join('\n')}
    ct state established,related accept
    iifname "lan" oifname "wan" accept
    ${isOpen ? 'meta nfproto ipv4 accept' : '# IPv6 is as closed as translated IPv4'}
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    ${natRule(rules.kind)}
  }
}`;
}

function forwardRules(router: RouterRules): readonly string[] {
  const { lossPercent = 0, relaysOnly = false, blocks = 'nothing' } = router;
  const rules: string[] = [];
  if (blocks !== 'nothing') rules.push(`meta l4proto ${UDP} counter drop`);
  if (blocks === 'udp-and-relay-port') rules.push('iifname "lan" tcp dport 3478 counter drop');
  // nftables compares with 0 to 99 only.
  const chance = lossPercent < 100 ? `numgen random mod 100 < ${Math.round(lossPercent)} ` : '';
  if (lossPercent > 0) rules.push(`iifname "lan" ${chance}counter drop`);
  if (relaysOnly) {
    rules.push('iifname "lan" udp dport != 3478 counter drop');
    rules.push('iifname "wan" udp sport != 3478 counter drop');
  }
  return rules;
}

function natRule(kind: RouterKind): string {
  if (kind === 'none') return '# nothing is translated';
  const flags = kind === 'symmetric' ? ' fully-random' : '';
  return `meta nfproto ipv4 oifname "wan" masquerade${flags}`;
}
