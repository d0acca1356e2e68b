#!/usr/bin/env bash
# The floor alone between three namespaces: iperf3 client and tunnel | tunnel and routing | iperf3 server. Prints Gbit/s and CPU
# seconds per GiB of the gateway side.   run.sh BINARY [SECONDS]
set -euo pipefail
binary=$(realpath "${1:?usage: run.sh BINARY [SECONDS]}")
seconds=${2:-8}
suffix=$$
client=floorc$suffix gateway=floorg$suffix server=floors$suffix
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for name in "$client" "$gateway" "$server"; do ip netns del "$name" 2>/dev/null || true; done
}
trap cleanup EXIT

for name in "$client" "$gateway" "$server"; do
  ip netns add "$name"
  ip -n "$name" link set lo up
done
ip link add outer netns "$client" type veth peer name outer netns "$gateway"
ip link add inner netns "$gateway" type veth peer name inner netns "$server"
ip -n "$client" addr add 10.99.1.1/24 dev outer
ip -n "$gateway" addr add 10.99.1.2/24 dev outer
ip -n "$gateway" addr add 10.99.2.1/24 dev inner
ip -n "$server" addr add 10.99.2.2/24 dev inner
ip -n "$client" link set outer up
ip -n "$gateway" link set outer up
ip -n "$gateway" link set inner up
ip -n "$server" link set inner up
ip netns exec "$gateway" sysctl -qw net.ipv4.ip_forward=1
ip -n "$server" route add 100.64.0.0/10 via 10.99.2.1

ip netns exec "$client" "$binary" tunc 5000 10.99.1.2 5000 &
pids+=($!)
ip netns exec "$gateway" "$binary" tung 5000 10.99.1.1 5000 &
gateway_pid=$!
pids+=("$gateway_pid")
sleep 0.5
ip -n "$client" link set tunc mtu 1280 up
ip -n "$client" addr add 100.64.0.2/32 dev tunc
ip -n "$client" route add 10.99.2.0/24 dev tunc
ip -n "$gateway" link set tung mtu 1280 up
ip -n "$gateway" addr add 100.64.0.1/32 dev tung
ip -n "$gateway" route add 100.64.0.2/32 dev tung
ip netns exec "$server" iperf3 -s >/dev/null &
pids+=($!)
sleep 0.5

nanoseconds() { cat /proc/"$gateway_pid"/task/*/schedstat | awk '{ sum += $1 } END { printf "%.0f", sum }'; }
for direction in up down; do
  before=$(nanoseconds)
  reverse=$([ "$direction" = down ] && echo -R || true)
  # shellcheck disable=SC2086
  result=$(ip netns exec "$client" iperf3 -c 10.99.2.2 -t "$seconds" -J $reverse)
  after=$(nanoseconds)
  node -e '
    const { bytes, bits_per_second } = JSON.parse(process.argv[1]).end.sum_received;
    const cpu = (process.argv[3] - process.argv[2]) / 1e9 / (bytes / 2 ** 30);
    console.log(process.argv[4].padEnd(5), (bits_per_second / 1e9).toFixed(2), "Gbit/s", cpu.toFixed(2), "CPU s/GiB");
  ' "$result" "$before" "$after" "$direction"
done
