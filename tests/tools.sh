#!/usr/bin/env bash
# Prints the path of a tool that the tests need, and gets it first when it is missing:
#   tests/tools.sh minio     $MINIO, or on PATH, or built with Go, or taken out of a container image
#   tests/tools.sh rclone    $RCLONE, or on PATH, or built with Go
#   tests/tools.sh python    a Python that has what tests/format needs
# What is fetched is kept outside the checkout and used again.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/volume-syncing-controller/tools

say() { printf 'tools: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

minio() {
    if [ -n "${MINIO:-}" ]; then
        [ -x "$MINIO" ] || fail "MINIO=$MINIO is not an executable file"
        echo "$MINIO"
        return
    fi
    # type -P, because command -v would find this function.
    if type -P minio; then return; fi
    if [ ! -x "$cache/minio" ]; then
        mkdir -p "$cache"
        if command -v go >/dev/null; then
            say "building MinIO with Go into $cache (once, several minutes)"
            GOBIN=$cache go install github.com/minio/minio@latest >&2
        elif engine=$(command -v docker || command -v podman); then
            say "taking MinIO out of its container image into $cache (once)"
            local container
            container=$("$engine" create minio/minio:latest) || fail "$engine cannot provide the image minio/minio:latest"
            "$engine" cp "$container:/usr/bin/minio" "$cache/minio.part" >&2
            "$engine" rm "$container" >/dev/null
            chmod +x "$cache/minio.part"
            mv "$cache/minio.part" "$cache/minio"
        else
            fail "MinIO is needed: put it on PATH, set MINIO=/path/to/minio, or install Go or a container engine so that it can be fetched"
        fi
    fi
    "$cache/minio" --version >/dev/null || fail "$cache/minio does not run: remove it and try again"
    echo "$cache/minio"
}

rclone() {
    if [ -n "${RCLONE:-}" ]; then
        [ -x "$RCLONE" ] || fail "RCLONE=$RCLONE is not an executable file"
        echo "$RCLONE"
        return
    fi
    if type -P rclone; then return; fi
    if [ ! -x "$cache/rclone" ]; then
        command -v go >/dev/null || fail "rclone is needed: put it on PATH, set RCLONE=/path/to/rclone, or install Go so that it can be built"
        mkdir -p "$cache"
        say "building rclone with Go into $cache (once, several minutes)"
        GOBIN=$cache go install github.com/rclone/rclone@latest >&2
    fi
    "$cache/rclone" version >/dev/null || fail "$cache/rclone does not run: remove it and try again"
    echo "$cache/rclone"
}

python() {
    local venv=$cache/python
    if ! "$venv/bin/python" -c 'import argon2, blake3, cryptography, zstandard' 2>/dev/null; then
        command -v python3 >/dev/null || fail "python3 is needed"
        say "making a Python environment in $venv (once)"
        rm -rf "$venv"
        mkdir -p "$cache"
        python3 -m venv "$venv" >&2 || fail "python3 cannot make an environment: install python3-venv"
        "$venv/bin/python" -m pip install --quiet argon2-cffi blake3 cryptography zstandard >&2 ||
            fail "pip could not install argon2-cffi, blake3, cryptography and zstandard"
    fi
    echo "$venv/bin/python"
}

case "${1:-}" in
    minio) minio ;;
    rclone) rclone ;;
    python) python ;;
    *) fail "usage: tests/tools.sh minio|rclone|python" ;;
esac
