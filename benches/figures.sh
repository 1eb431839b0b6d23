#!/usr/bin/env bash
# Measures the release binary: its size, how long it takes to answer after a start, and its private
# memory with 16 served volumes. Needs curl and qemu-storage-daemon; touches only a temporary directory.
#
#   cargo build --release && benches/figures.sh
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(realpath "${CARGO_TARGET_DIR:-target}")/release/volume-daemon
dir=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT

field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$dir/sim.json"; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }
until_it() { for _ in $(seq 3000); do "$@" >/dev/null 2>&1 && return; read -rt 0.01 <> <(:) || true; done; echo "gave up: $*" >&2; exit 1; }
api() { curl -sf --unix-socket "$dir/api.sock" "http://localhost$1"; }

"$program" sim --host-dir "$dir/host" --latency-ms 20 >"$dir/sim.json" 2>"$dir/sim.log" & pids+=($!)
qemu-storage-daemon \
    --chardev "socket,id=q0,path=$dir/qmp.sock,server=on,wait=off" --monitor chardev=q0,mode=control \
    --nbd-server "addr.type=unix,addr.path=$dir/nbd.sock,max-connections=0" & pids+=($!)
until_it grep -q endpoint "$dir/sim.json"
until_it test -S "$dir/nbd.sock"

mkdir "$dir/specs"
for n in $(seq 16); do
    cat >"$dir/specs/disk-$n.yaml" <<SPEC
apiVersion: volume-daemon.io/v1alpha1
kind: Volume
metadata: { name: disk-$n }
spec: { size: 1GiB, zone: zone-1, diskOffering: Custom OSSEA, attachTo: { vm: self }, export: {} }
SPEC
done
cat >"$dir/config.toml" <<CONFIG
cloudstack = { url = "$(field endpoint)", api_key = "$(field apiKey)", secret_key = "$(field secretKey)" }
host = { root = "$dir/host" }
nbd = { qmp = "$dir/qmp.sock", listen = "unix:$dir/nbd.sock" }
store = { url = "sqlite://$dir/store.db" }
specs = { dir = "$dir/specs" }
api = { listen = "unix:$dir/api.sock" }
log = { filter = "warn" }
CONFIG

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
awk '/^Private_(Clean|Dirty)/ { kb += $2 } /^Rss/ { rss = $2 } END { print "private memory     " kb " kB (resident " rss " kB)" }' "/proc/$daemon/smaps_rollup"
