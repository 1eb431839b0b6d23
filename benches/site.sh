# What the measurements of the release binary share: a temporary directory with a simulated CloudStack,
# a qemu-storage-daemon and a configuration. Sourced; ends what it started when the script ends.
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

# A member of a small JSON file.
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$dir/$2"; }
# Tries again every few milliseconds, for ten minutes at most.
until_it() { for _ in $(seq 60000); do "$@" >/dev/null 2>&1 && return; read -rt 0.01 <> <(:) || true; done; echo "gave up: $*" >&2; exit 1; }
private_memory() { awk '/^Private_(Clean|Dirty)/ { kb += $2 } END { print "private memory     " kb " kB" }' "/proc/$1/smaps_rollup"; }

# Starts CloudStack with these arguments, and the NBD server.
begin() {
    "$program" sim --host-dir "$dir/host" "$@" >"$dir/sim.json" 2>"$dir/sim.log" & pids+=($!)
    qemu-storage-daemon \
        --chardev "socket,id=q0,path=$dir/qmp.sock,server=on,wait=off" --monitor chardev=q0,mode=control \
        --nbd-server "addr.type=unix,addr.path=$dir/nbd.sock,max-connections=0" & pids+=($!)
    until_it grep -q endpoint "$dir/sim.json"
    until_it test -S "$dir/nbd.sock"
    mkdir "$dir/specs"
}

# Writes the configuration, for CloudStack at this endpoint.
configure() {
    cat >"$dir/config.toml" <<CONFIG
cloudstack = { url = "$1", api_key = "$(field apiKey sim.json)", secret_key = "$(field secretKey sim.json)" }
host = { root = "$dir/host" }
nbd = { qmp = "$dir/qmp.sock", listen = "unix:$dir/nbd.sock" }
store = { url = "sqlite://$dir/store.db" }
specs = { dir = "$dir/specs" }
api = { listen = "unix:$dir/api.sock" }
log = { filter = "warn" }
CONFIG
}
