#!/usr/bin/env bash
# All tests: units, the integration suite on the in-process store, and the same suite again on a real MinIO that is
# started here and ended here, with toxiproxy before it. A tier that cannot start fails the run; nothing is skipped quietly.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'tests: %s\n' "$*" >&2; exit 1; }

work=$(mktemp -d)
minio_pid=
finish() {
    if [ -n "$minio_pid" ]; then
        kill "$minio_pid" 2>/dev/null || true
        wait "$minio_pid" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

start_minio() {
    local port tries
    for tries in 1 2 3; do
        # The kernel names a free port; should somebody take it before MinIO does, the next try gets another.
        port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
        MINIO_ROOT_USER=$IT_S3_ACCESS_KEY MINIO_ROOT_PASSWORD=$IT_S3_SECRET_KEY MINIO_BROWSER=off MINIO_UPDATE=off \
            "$minio" server --quiet --address "127.0.0.1:$port" "$work/data" >"$work/minio.log" 2>&1 &
        minio_pid=$!
        if wait_for_minio "http://127.0.0.1:$port"; then
            export IT_S3_ENDPOINT=http://127.0.0.1:$port
            return
        fi
        kill "$minio_pid" 2>/dev/null || true
        wait "$minio_pid" 2>/dev/null || true
        minio_pid=
    done
    cat "$work/minio.log" >&2
    fail "MinIO did not start in $tries tries; its log is above"
}

wait_for_minio() {
    python3 - "$1" "$minio_pid" <<'PYTHON'
import os, sys, time, urllib.request
deadline = time.monotonic() + 30
while time.monotonic() < deadline:
    try:
        os.kill(int(sys.argv[2]), 0)
        urllib.request.urlopen(sys.argv[1] + "/minio/health/ready", timeout=2).close()
        sys.exit(0)
    except ProcessLookupError:
        break
    except OSError:
        time.sleep(0.1)
sys.exit(1)
PYTHON
}

command -v python3 >/dev/null || fail "python3 is needed: it creates MinIO's bucket and runs the second reader of the format"
minio=$(tests/tools.sh minio)
IT_PYTHON=$(tests/tools.sh python)
IT_AWS=$(tests/tools.sh aws)
IT_RCLONE=$(tests/tools.sh rclone)
IT_MC=$(tests/tools.sh mc)
IT_TOXIPROXY=$(tests/tools.sh toxiproxy)
IT_FAKE_GCS=$(tests/tools.sh fake-gcs)
IT_SSHD=$(tests/tools.sh sshd)
export IT_PYTHON IT_AWS IT_RCLONE IT_MC IT_TOXIPROXY IT_FAKE_GCS IT_SSHD
# Azurite comes with hundreds of npm packages: it takes part where it is there already.
if [ -n "${AZURITE:-}" ] || command -v azurite-blob >/dev/null; then
    IT_AZURITE=$(tests/tools.sh azurite)
    export IT_AZURITE
else
    export IT_AZURITE=none
    say "Azure Blob Storage is NOT tried: to try it, AZURITE=\$(tests/tools.sh azurite)"
fi

say "units"
cargo test --locked --lib --bins
say "integration, in-process store"
env -u IT_S3_ENDPOINT cargo test --locked --test it

export IT_S3_ACCESS_KEY=made-up-access-key IT_S3_SECRET_KEY=made-up-secret-key IT_S3_BUCKET=integration
start_minio
python3 tests/make_bucket.py "$IT_S3_ENDPOINT" "$IT_S3_BUCKET"
say "integration, MinIO at $IT_S3_ENDPOINT"
cargo test --locked --test it
