// The relay's numbers in Prometheus' exposition format (text, version 0.0.4). Names are ours, except the three that the official relay
// exports (relay 5.6). Nobody is named: labels are reasons, methods and codes, whose sets are closed.

import type { RelaySnapshot } from '../roles/relay/relay.ts';

interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

interface Metric {
  readonly name: string;
  readonly kind: 'counter' | 'gauge';
  readonly help: string;
  readonly samples: readonly Sample[];
}

export function relayMetrics(
  relay: RelaySnapshot,
  streams: Readonly<Record<string, number>>,
): string {
  const { open = 0, ...streamCounts } = streams;
  const { toPeerPackets, toPeerBytes, toClientPackets, toClientBytes } = relay.totals;
  const directions = (toPeer: number, toClient: number): readonly Sample[] => [
    { labels: { direction: 'to_peer' }, value: toPeer },
    { labels: { direction: 'to_client' }, value: toClient },
  ];
  const metrics: readonly Metric[] = [
    gauge('relay_active_allocations', 'Allocations at the moment.', relay.allocationCount),
    gauge('relay_bound_channels', 'Channels that carry data.', relay.boundChannelCount),
    gauge('relay_permissions', 'Permissions of standard clients.', relay.permissionCount),
    gauge('relay_open_streams', 'TCP and TLS connections of clients.', open),
    gauge('relay_registered', 'Whether the portal lists the relay.', relay.isRegistered ? 1 : 0),
    gauge('relay_draining', 'Whether it makes no allocation any more.', relay.isDraining ? 1 : 0),
    {
      name: 'relay_packets_total',
      kind: 'counter',
      help: 'Datagrams forwarded.',
      samples: directions(toPeerPackets, toClientPackets),
    },
    {
      name: 'data_relayed_bytes',
      kind: 'counter',
      help: 'Payload forwarded.',
      samples: directions(toPeerBytes, toClientBytes),
    },
    counter('relay_drops_total', 'Datagrams dropped, by reason.', 'reason', relay.drops),
    counter('relay_streams_total', 'What became of connections.', 'event', streamCounts),
    responses(relay.responses),
  ];
  return metrics.map(format).join('');
}

function gauge(name: string, help: string, value: number): Metric {
  return { name, kind: 'gauge', help, samples: [{ labels: {}, value }] };
}

function counter(
  name: string,
  help: string,
  label: string,
  values: Readonly<Record<string, number>>,
): Metric {
  const samples = Object.entries(values).map(([key, value]) => ({
    labels: { [label]: key },
    value,
  }));
  return { name, kind: 'counter', help, samples };
}

/** From `allocate error 401`. */
function responses(counts: Readonly<Record<string, number>>): Metric {
  const samples = Object.entries(counts).map(([key, value]) => {
    const [method = '', responseClass = '', code] = key.split(' ');
    const labels = { message_type: method, response_class: responseClass };
    return { labels: code === undefined ? labels : { ...labels, error_code: code }, value };
  });
  return { name: 'responses_total', kind: 'counter', help: 'Answers sent.', samples };
}

function format({ name, kind, help, samples }: Metric): string {
  if (samples.length === 0) return '';
  const lines = samples.map(({ labels, value }) => `${name}${formatLabels(labels)} ${value}\n`);
  return `# HELP ${name} ${help}\n# TYPE ${name} ${kind}\n${lines.join('')}`;
}

function formatLabels(labels: Readonly<Record<string, string>>): string {
  const parts = Object.entries(labels).map(([key, value]) => `${key}="${value}"`);
  return parts.length === 0 ? '' : `{${parts.join(',')}}`;
}
