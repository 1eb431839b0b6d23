#!/usr/bin/env bash
# Measures the release binary: its size, how long it takes to answer after a start, and its private
# memory with 16 served volumes. Needs curl and qemu-storage-daemon; touches only a temporary directory.
#
#   cargo build --release && benches/figures.sh
# shellcheck source=benches/site.sh
. "$(dirname "$0")/site.sh"

now_ms() { echo $(($(date +%s%N) / 1000000)); }
api() { curl -sf --unix-socket "$dir/api.sock" "http://localhost$1"; }

begin --latency-ms 20
for n in $(seq 16); do
    cat >"$dir/specs/disk-$n.yaml" <<SPEC
apiVersion: volume-daemon.io/v1alpha1
kind: Volume
metadata: { name: disk-$n }
spec: { size: 1GiB, zone: zone-1, diskOffering: Custom OSSEA, attachTo: { vm: self }, export: {} }
SPEC
done
configure "$(field endpoint sim.json)"

start() {
    local begun
    begun=$(now_ms)
    "$program" run --config "$dir/config.toml" 2>"$dir/run.log" & daemon=$!
    until_it api /livez
    echo "start to /livez    $(($(now_ms) - begun)) ms"
}
echo "release binary     $(stat -c %s "$program") bytes"
start
pids+=("$daemon")
begun=$(now_ms)
for n in $(seq 16); do "$program" wait "volume/disk-$n" --for=Ready --config "$dir/config.toml" --timeout 60s >/dev/null 2>&1; done
echo "16 volumes Ready   $(($(now_ms) - begun)) ms"
for _ in 1 2 3 4 5; do
    kill "$daemon"; wait "$daemon" || true
    start
    pids+=("$daemon")
done
for n in $(seq 16); do "$program" wait "volume/disk-$n" --for=Ready --config "$dir/config.toml" --timeout 60s >/dev/null 2>&1; done
private_memory "$daemon"
