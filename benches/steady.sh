#!/usr/bin/env bash
# Measures the release binary at rest: calls to CloudStack and processor time over some minutes, with
# 1,000 volumes as declared. Needs curl and qemu-storage-daemon; touches only a temporary directory.
#
#   cargo build --release && benches/steady.sh [MINUTES]
#
# The bars are 0.1 calls a second and 0.5 % of a core.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-10}
volumes=${VOLUMES:-1000}
program=$(realpath "${CARGO_TARGET_DIR:-target}")/release/volume-daemon
dir=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT

field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$2"; }
until_it() { for _ in $(seq 6000); do "$@" >/dev/null 2>&1 && return; read -rt 0.1 <> <(:) || true; done; echo "gave up: $*" >&2; exit 1; }
in_sync() { read -rt 2 <> <(:) || true; "$program" plan --config "$dir/config.toml" --online; }

"$program" sim --host-dir "$dir/host" --latency-ms 5 >"$dir/sim.json" 2>"$dir/sim.log" & pids+=($!)
until_it grep -q endpoint "$dir/sim.json"
"$program" record --upstream "$(field endpoint "$dir/sim.json")" --out "$dir/calls" >"$dir/record.json" 2>"$dir/record.log" & pids+=($!)
qemu-storage-daemon \
    --chardev "socket,id=q0,path=$dir/qmp.sock,server=on,wait=off" --monitor chardev=q0,mode=control \
    --nbd-server "addr.type=unix,addr.path=$dir/nbd.sock,max-connections=0" & pids+=($!)
until_it grep -q endpoint "$dir/record.json"
until_it test -S "$dir/nbd.sock"

mkdir "$dir/specs"
for n in $(seq "$volumes"); do
    printf 'apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: { name: disk-%s }\nspec: { size: 1GiB, zone: zone-1, diskOffering: Custom OSSEA }\n' "$n"
    printf -- '---\n'
done >"$dir/fleet.yaml"
mv "$dir/fleet.yaml" "$dir/specs/"
cat >"$dir/config.toml" <<CONFIG
cloudstack = { url = "$(field endpoint "$dir/record.json")", api_key = "$(field apiKey "$dir/sim.json")", secret_key = "$(field secretKey "$dir/sim.json")" }
host = { root = "$dir/host" }
nbd = { qmp = "$dir/qmp.sock", listen = "unix:$dir/nbd.sock" }
store = { url = "sqlite://$dir/store.db" }
specs = { dir = "$dir/specs" }
api = { listen = "unix:$dir/api.sock" }
log = { filter = "warn" }
CONFIG

# Made in a hurry, then watched with the settings that everybody has.
"$program" run --config "$dir/config.toml" --set cloudstack.rate=2000 --set pace.parallel=64 --set pace.jobs=50ms 2>"$dir/made.log" & daemon=$!
pids+=("$daemon")
until_it in_sync
kill "$daemon"; wait "$daemon" || true
"$program" run --config "$dir/config.toml" 2>"$dir/run.log" & daemon=$!
pids+=("$daemon")
until_it in_sync
ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$daemon/stat"; }
calls() { find "$dir/calls" -type f | wc -l; }
echo "$volumes volumes are in sync; watching for $minutes minutes"
read -rt 5 <> <(:) || true
ticks_before=$(ticks) calls_before=$(calls)
read -rt $((minutes * 60)) <> <(:) || true
awk -v ticks=$(($(ticks) - ticks_before)) -v calls=$(($(calls) - calls_before)) -v seconds=$((minutes * 60)) -v hz="$(getconf CLK_TCK)" 'BEGIN {
    printf "calls              %.3f /s   (bar 0.1)\n", calls / seconds
    printf "processor          %.2f %%     (bar 0.5)\n", 100 * ticks / hz / seconds
}'
awk '/^Private_(Clean|Dirty)/ { kb += $2 } END { print "private memory     " kb " kB" }' "/proc/$daemon/smaps_rollup"
