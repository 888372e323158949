#!/usr/bin/env bash
# Prints the path of a tool that the tests need, and gets it first when it is missing:
#   tests/tools.sh minio     $MINIO, or on PATH, or built with Go, or taken out of a container image
#   tests/tools.sh rclone    $RCLONE, or on PATH, or built with Go
#   tests/tools.sh fake-gcs  $FAKE_GCS, or on PATH, or built with Go: a store that speaks as Google's does
#   tests/tools.sh azurite   $AZURITE, or on PATH, or from npm: a store that speaks as Azure's does
#   tests/tools.sh python    a Python that has what tests/format and tests/servers.py need
#   tests/tools.sh sshd      $SSHD, or where systems keep it: the server of OpenSSH
#   tests/tools.sh toxiproxy the same as minio for toxiproxy: $TOXIPROXY, PATH, Go or a container image
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

fake_gcs() {
    if [ -n "${FAKE_GCS:-}" ]; then
        [ -x "$FAKE_GCS" ] || fail "FAKE_GCS=$FAKE_GCS is not an executable file"
        echo "$FAKE_GCS"
        return
    fi
    if type -P fake-gcs-server; then return; fi
    if [ ! -x "$cache/fake-gcs-server" ]; then
        command -v go >/dev/null || fail "fake-gcs-server is needed: put it on PATH, set FAKE_GCS=/path/to/it, or install Go so that it can be built"
        mkdir -p "$cache"
        say "building fake-gcs-server with Go into $cache (once, a minute)"
        GOBIN=$cache go install github.com/fsouza/fake-gcs-server@latest >&2
    fi
    echo "$cache/fake-gcs-server"
}

azurite() {
    if [ -n "${AZURITE:-}" ]; then
        [ -x "$AZURITE" ] || fail "AZURITE=$AZURITE is not an executable file"
        echo "$AZURITE"
        return
    fi
    if type -P azurite-blob; then return; fi
    local program=$cache/azurite/node_modules/.bin/azurite-blob
    if [ ! -x "$program" ]; then
        command -v npm >/dev/null || fail "azurite is needed: put azurite-blob on PATH, set AZURITE=/path/to/it, or install npm so that it can be fetched"
        mkdir -p "$cache/azurite"
        say "fetching Azurite from npm into $cache (once)"
        npm install --silent --no-fund --no-audit --prefix "$cache/azurite" azurite >&2
    fi
    echo "$program"
}

python() {
    local venv=$cache/python
    if ! "$venv/bin/python" -c 'import argon2, blake3, cheroot, cryptography, OpenSSL, pyftpdlib, wsgidav, zstandard' 2>/dev/null; then
        command -v python3 >/dev/null || fail "python3 is needed"
        say "making a Python environment in $venv (once)"
        rm -rf "$venv"
        mkdir -p "$cache"
        python3 -m venv "$venv" >&2 || fail "python3 cannot make an environment: install python3-venv"
        "$venv/bin/python" -m pip install --quiet argon2-cffi blake3 cheroot cryptography pyftpdlib pyopenssl wsgidav zstandard >&2 ||
            fail "pip could not install argon2-cffi, blake3, cheroot, cryptography, pyftpdlib, pyopenssl, wsgidav and zstandard"
    fi
    echo "$venv/bin/python"
}

sshd() {
    local program
    for program in "${SSHD:-}" "$(type -P sshd || true)" /usr/sbin/sshd /usr/local/sbin/sshd /sbin/sshd; do
        [ -n "$program" ] && [ -x "$program" ] || continue
        for tool in ssh-keygen ssh-agent ssh-add; do
            type -P "$tool" >/dev/null || fail "$tool is needed beside sshd: install openssh-client"
        done
        # Started by root, it wants this folder, which systems make when they start.
        if [ "$(id -u)" -eq 0 ]; then mkdir -p /run/sshd; fi
        echo "$program"
        return
    done
    fail "sshd is needed: install openssh-server, or set SSHD=/path/to/sshd"
}

toxiproxy() {
    if [ -n "${TOXIPROXY:-}" ]; then
        [ -x "$TOXIPROXY" ] || fail "TOXIPROXY=$TOXIPROXY is not an executable file"
        echo "$TOXIPROXY"
        return
    fi
    if type -P toxiproxy-server; then return; fi
    if [ ! -x "$cache/toxiproxy-server" ]; then
        mkdir -p "$cache"
        if command -v go >/dev/null; then
            say "building toxiproxy with Go into $cache (once)"
            # Go calls it server; only a whole build gets the name it is looked for under.
            mkdir -p "$cache/toxiproxy.part"
            GOBIN=$cache/toxiproxy.part go install github.com/Shopify/toxiproxy/v2/cmd/server@latest >&2
            mv "$cache/toxiproxy.part/server" "$cache/toxiproxy-server"
            rmdir "$cache/toxiproxy.part"
        elif engine=$(command -v docker || command -v podman); then
            say "taking toxiproxy out of its container image into $cache (once)"
            local container
            container=$("$engine" create ghcr.io/shopify/toxiproxy:latest) || fail "$engine cannot provide the image ghcr.io/shopify/toxiproxy:latest"
            "$engine" cp "$container:/toxiproxy" "$cache/toxiproxy-server.part" >&2
            "$engine" rm "$container" >/dev/null
            chmod +x "$cache/toxiproxy-server.part"
            mv "$cache/toxiproxy-server.part" "$cache/toxiproxy-server"
        else
            fail "toxiproxy is needed: put toxiproxy-server on PATH, set TOXIPROXY=/path/to/it, or install Go or a container engine so that it can be fetched"
        fi
    fi
    "$cache/toxiproxy-server" -version >/dev/null || fail "$cache/toxiproxy-server does not run: remove it and try again"
    echo "$cache/toxiproxy-server"
}

case "${1:-}" in
    minio) minio ;;
    rclone) rclone ;;
    fake-gcs) fake_gcs ;;
    azurite) azurite ;;
    python) python ;;
    sshd) sshd ;;
    toxiproxy) toxiproxy ;;
    *) fail "usage: tests/tools.sh minio|rclone|fake-gcs|azurite|python|sshd|toxiproxy" ;;
esac
