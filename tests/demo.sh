#!/usr/bin/env bash
# What the program does, in one run on this machine and without any server: two encrypted pushes of a real directory
# to a local store, the list of restore points, and both points restored elsewhere and compared.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'chmod -R u+rwX "$work"; rm -rf "$work"' EXIT
say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

# The caller's own remote must not be touched by a demonstration.
for name in $(compgen -v REMOTE_) $(compgen -v ENCRYPTED_); do unset "$name"; done
export REMOTE_TYPE=local REMOTE_ROOT=$work/store

# Runs a command, shows it and the time it took.
timed() {
    local start=${EPOCHREALTIME/[.,]/}
    printf '$ %s\n' "${*/#$program/volume-syncing-controller}"
    "$@"
    printf '  took %d ms\n' $(( (${EPOCHREALTIME/[.,]/} - start) / 1000 ))
}

# Everything that must come back, one line a path. The volume's own directory keeps its attributes, and the state
# directory is the program's.
describe() {
    (cd "$1" && find . -mindepth 1 -path ./.vsc -prune -o \( -type d -printf '%P\t%y %m %U:%G %T@\n' \) \
        -o -printf '%P\t%y %m %U:%G %T@ %s links=%n %l\n' | LC_ALL=C sort)
}

# diff calls two fifos different; describe compares them.
compare() {
    diff -r --no-dereference --exclude=.vsc --exclude=pipe "$1" "$2" || fail "contents of $2 differ"
    diff <(describe "$1") <(describe "$2") | head -n 20 || fail "modes, owners, times or links of $2 differ"
    printf '  %s equals what was pushed: contents, modes, owners, times, links\n' "$(basename "$2")"
}

newest_point() {
    "$program" snapshots -s demo --json | grep -oE '"id": *"?[0-9]+' | grep -oE '[0-9]+$' | sort -n | tail -n 1
}

say "building"
cargo build --release --locked
program=${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/release/volume-syncing-controller
[ -x "$program" ] || fail "no binary at $program"

say "a directory with a bit of everything"
volume=$work/volume
mkdir -p "$volume/data/an empty directory"
cp -a src tests README.md "$volume/"
seq 200000 >"$volume/data/numbers.txt"
head -c 3000000 /dev/urandom >"$volume/data/random.bin"
truncate -s 64M "$volume/data/sparse.img"
printf 'in the middle' | dd of="$volume/data/sparse.img" bs=1 seek=33554432 conv=notrunc status=none
ln -s ../README.md "$volume/data/a symbolic link"
ln "$volume/data/numbers.txt" "$volume/data/the same numbers"
mkfifo "$volume/data/pipe"
chmod 640 "$volume/data/random.bin"
touch -d '2001-02-03 04:05:06.123456789 UTC' "$volume/data/numbers.txt"
printf '  %s files, %s\n' "$(find "$volume" -type f | wc -l)" "$(du -sh "$volume" | cut -f1)"

say "a key"
ENCRYPTED_PASSWORD=$("$program" key generate)
export ENCRYPTED_PASSWORD
printf '  %s… (it exists only in this run)\n' "${ENCRYPTED_PASSWORD:0:12}"

say "first push"
timed "$program" sync-to-remote -s "$volume" -d demo
first=$(newest_point)
cp -a "$volume" "$work/as-pushed-first"

say "one file changed, one added, one removed; second push"
echo 'changed' >>"$volume/README.md"
echo 'new' >"$volume/data/new.txt"
rm "$volume/tests/demo.sh"
timed "$program" sync-to-remote -s "$volume" -d demo
second=$(newest_point)
cp -a "$volume" "$work/as-pushed-second"

say "the restore points"
timed "$program" snapshots -s demo
[ -n "$first" ] && [ -n "$second" ] && [ "$first" -lt "$second" ] || fail "expected two restore points, got '$first' and '$second'"

say "both restored elsewhere"
for point in first second; do
    timed "$program" remote-to-local-sync -s demo -d "$work/restored-$point" --at "${!point}"
    compare "$work/as-pushed-$point" "$work/restored-$point"
done
printf '  sparse.img: %s apparent, %s allocated\n' "$(du -h --apparent-size "$work/restored-second/data/sparse.img" | cut -f1)" \
    "$(du -h "$work/restored-second/data/sparse.img" | cut -f1)"

say "what the store holds"
printf '  %s objects, %s\n' "$(find "$REMOTE_ROOT" -type f | wc -l)" "$(du -sh "$REMOTE_ROOT" | cut -f1)"
if grep -rqa 'symbolic link' "$REMOTE_ROOT"; then fail "a plaintext name was found in the store"; fi
printf '  no name of a file can be read there\n'

say "done: both restore points match"
