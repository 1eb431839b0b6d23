#!/usr/bin/env bash
# Measures the release binary at rest: calls to CloudStack and processor time over some minutes, with
# 1,000 volumes as declared. Needs curl and qemu-storage-daemon; touches only a temporary directory.
#
#   cargo build --release && benches/steady.sh [MINUTES]
#
# The bars are 0.1 calls a second and 0.5 % of a core.
# shellcheck source=benches/site.sh
. "$(dirname "$0")/site.sh"
minutes=${1:-10}
volumes=${VOLUMES:-1000}
in_sync() { read -rt 2 <> <(:) || true; "$program" plan --config "$dir/config.toml" --online; }

begin --latency-ms 5
"$program" record --upstream "$(field endpoint sim.json)" --out "$dir/calls" >"$dir/record.json" 2>"$dir/record.log" & pids+=($!)
until_it grep -q endpoint "$dir/record.json"
for n in $(seq "$volumes"); do
    printf 'apiVersion: volume-daemon.io/v1alpha1\nkind: Volume\nmetadata: { name: disk-%s }\nspec: { size: 1GiB, zone: zone-1, diskOffering: Custom OSSEA }\n' "$n"
    printf -- '---\n'
done >"$dir/fleet.yaml"
mv "$dir/fleet.yaml" "$dir/specs/"
configure "$(field endpoint record.json)"

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
private_memory "$daemon"
