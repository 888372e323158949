#!/usr/bin/env bash
# Prints the path of a tool that the tests need, and gets it first when it is missing:
#   tests/tools.sh minio     $MINIO, or on PATH, or built with Go, or taken out of a container image
#   tests/tools.sh rclone    $RCLONE, or on PATH, or built with Go
#   tests/tools.sh mc        $MC, or MinIO's client on PATH, or built with Go
#   tests/tools.sh fake-gcs  $FAKE_GCS, or on PATH, or built with Go: a store that speaks as Google's does
#   tests/tools.sh azurite   $AZURITE, or on PATH, or from npm: a store that speaks as Azure's does
#   tests/tools.sh python    a Python that has what tests/format and tests/servers.py need
#   tests/tools.sh aws       the AWS CLI of that Python
#   tests/tools.sh sshd      $SSHD, or where systems keep it: the server of OpenSSH
#   tests/tools.sh toxiproxy the same as minio for toxiproxy: $TOXIPROXY, PATH, Go or a container image
#   tests/tools.sh helm      $HELM, or built with Go in the version that is pinned here; likewise
#   tests/tools.sh helm-unittest ($HELM_UNITTEST) and helm-docs ($HELM_DOCS)
#   tests/tools.sh promtool  $PROMTOOL, or on PATH, or out of Debian's package of Prometheus: it cannot be built from its module alone
#   tests/tools.sh chart-python a Python with Kubernetes' schemas and a reader of PromQL, for tests/chart
#   tests/tools.sh chart-crds a folder with the CRDs of the Prometheus operator and cert-manager, out of their Go modules
# What is fetched is kept outside the checkout and used again.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/volume-syncing-controller/tools

say() { printf 'tools: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# given VARIABLE PROGRAM: the path that the variable has, or that of the program on PATH; fails when there is neither.
given() {
    local path=${!1:-}
    if [ -z "$path" ]; then
        # type -P, because command -v would find a function of this file.
        type -P "$2"
        return
    fi
    [ -x "$path" ] || fail "$1=$path is not an executable file"
    echo "$path"
}

# built VARIABLE PROGRAM ARGUMENT PACKAGE [IMAGE PATH]: what is given; else the program built from its Go package, or, without
# Go, taken out of a container image. With ARGUMENT it shows that it runs.
built() {
    local variable=$1 program=$2 runs=$3 package=$4 image=${5:-} path=${6:-} engine container
    if given "$variable" "$program"; then return; fi
    if [ ! -x "$cache/$program" ]; then
        # The program gets its name when it is whole; Go may call it otherwise.
        local part=$cache/$program.part
        rm -rf "$part"
        mkdir -p "$part"
        if command -v go >/dev/null; then
            say "building $program with Go into $cache (once, up to several minutes)"
            GOBIN=$part go install "$package@latest" >&2
        elif [ -n "$image" ] && engine=$(command -v docker || command -v podman); then
            say "taking $program out of its container image into $cache (once)"
            container=$("$engine" create "$image") || fail "$engine cannot provide the image $image"
            "$engine" cp "$container:$path" "$part/$program" >&2
            "$engine" rm "$container" >/dev/null
            chmod +x "$part/$program"
        else
            fail "$program is needed: put it on PATH, set $variable=/path/to/it, or install Go${image:+ or a container engine} so that it can be fetched"
        fi
        mv "$part"/* "$cache/$program"
        rmdir "$part"
    fi
    "$cache/$program" "$runs" &>/dev/null || fail "$cache/$program does not run: remove it and try again"
    echo "$cache/$program"
}

# pinned VARIABLE MODULE VERSION PACKAGE [REPLACE]: what the variable names, else the program built from that version of its module. What
# a chart's test says about a chart depends on the version, so that PATH is not looked at.
pinned() {
    local variable=$1 module=$2 version=$3 package=$4 replace=${5:-} program path
    program=${package##*/}
    if [ -n "${!variable:-}" ]; then
        given "$variable" "$program"
        return
    fi
    path=$cache/$program-$version
    if [ ! -x "$path" ]; then
        command -v go >/dev/null || fail "$program is needed: set $variable=/path/to/it, or install Go so that it can be built"
        local part=$path.part
        rm -rf "$part"
        mkdir -p "$part"
        say "building $program $version with Go into $cache (once, up to several minutes)"
        # A module of our own, because `go install` refuses those that replace one of theirs.
        printf 'module tool\n\ngo 1.26\n\nrequire %s %s\n%s\n' "$module" "$version" "${replace:+replace $replace}" >"$part/go.mod"
        (cd "$part" && GOFLAGS=-mod=mod go build -trimpath -o program "$module/$package") >&2
        mv "$part/program" "$path"
        rm -rf "$part"
    fi
    echo "$path"
}

# environment FOLDER MODULES PACKAGE…: a Python that can import the modules, with the packages installed where it cannot yet.
environment() {
    local venv=$cache/$1 modules=$2
    shift 2
    if ! "$venv/bin/python" -c "import $modules" 2>/dev/null; then
        command -v python3 >/dev/null || fail "python3 is needed"
        say "making a Python environment in $venv (once)"
        rm -rf "$venv"
        mkdir -p "$cache"
        python3 -m venv "$venv" >&2 || fail "python3 cannot make an environment: install python3-venv"
        "$venv/bin/python" -m pip install --quiet "$@" >&2 || fail "pip could not install $*"
    fi
    echo "$venv/bin/python"
}

chart_python() {
    # Whose versions these are, the folder says: another pin is another folder.
    local validate=1.37.0 promql=0.12.0
    environment "chart-python-$validate-$promql" 'kubernetes_validate, promql_parser' "kubernetes-validate==$validate" "promql-parser==$promql"
}

chart_crds() {
    local prometheus=v0.85.0 cert_manager=v1.21.2 folder
    folder=$cache/chart-crds-$prometheus-$cert_manager
    if [ ! -d "$folder" ]; then
        command -v go >/dev/null || fail "the CRDs of other operators are needed: install Go, with which they are fetched"
        say "fetching the CRDs of the Prometheus operator and cert-manager into $folder (once)"
        rm -rf "$folder.part"
        mkdir -p "$folder.part"
        cp "$(module_folder github.com/prometheus-operator/prometheus-operator "$prometheus")"/example/prometheus-operator-crd/*_{podmonitors,servicemonitors,prometheusrules}.yaml \
            "$(module_folder github.com/cert-manager/cert-manager "$cert_manager")"/deploy/crds/cert-manager.io_{certificates,issuers}.yaml "$folder.part"
        mv "$folder.part" "$folder"
    fi
    echo "$folder"
}

promtool() {
    local program=$cache/promtool part=$cache/promtool.part
    if given PROMTOOL promtool; then return; fi
    if [ ! -x "$program" ]; then
        command -v apt-get >/dev/null || fail "promtool is needed: put it on PATH, or set PROMTOOL=/path/to/it"
        say "taking promtool out of Debian's package into $cache (once)"
        rm -rf "$part"
        mkdir -p "$part"
        # Into a folder, and not installed: the package would start a server. A fresh machine has no lists of packages.
        (cd "$part" && { apt-get download prometheus || { apt-get update && apt-get download prometheus; }; } && dpkg -x prometheus_*.deb .) >&2
        mv "$part/usr/bin/promtool" "$program"
        rm -rf "$part"
    fi
    echo "$program"
}

module_folder() {
    (cd / && go mod download -json "$1@$2") | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'
}

mc() {
    # Midnight Commander has the same name, so that some systems call MinIO's client mcli.
    local found
    if [ -z "${MC:-}" ] && found=$(type -P mc) && "$found" --version 2>/dev/null | grep -q MinIO; then
        echo "$found"
    else
        built MC mcli --version github.com/minio/mc
    fi
}

azurite() {
    if given AZURITE azurite-blob; then return; fi
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
    environment python 'argon2, awscli, blake3, cheroot, cryptography, OpenSSL, pyftpdlib, wsgidav, zstandard' \
        argon2-cffi awscli blake3 cheroot cryptography pyftpdlib pyopenssl wsgidav zstandard
}

aws() {
    local python
    python=$(python)
    echo "${python%/*}/aws"
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

case "${1:-}" in
    minio) built MINIO minio --version github.com/minio/minio minio/minio:latest /usr/bin/minio ;;
    rclone) built RCLONE rclone version github.com/rclone/rclone ;;
    fake-gcs) built FAKE_GCS fake-gcs-server -h github.com/fsouza/fake-gcs-server ;;
    toxiproxy) built TOXIPROXY toxiproxy-server -version github.com/Shopify/toxiproxy/v2/cmd/server ghcr.io/shopify/toxiproxy:latest /toxiproxy ;;
    mc) mc ;;
    azurite) azurite ;;
    python) python ;;
    aws) aws ;;
    sshd) sshd ;;
    helm) pinned HELM helm.sh/helm/v3 v3.22.0 cmd/helm ;;
    helm-docs) pinned HELM_DOCS github.com/norwoodj/helm-docs v1.14.2 cmd/helm-docs ;;
    helm-unittest)
        pinned HELM_UNITTEST github.com/helm-unittest/helm-unittest v1.1.2 cmd/helm-unittest \
            'github.com/vmware-labs/yaml-jsonpath v0.3.2 => github.com/helm-unittest/yaml-jsonpath v0.4.0'
        ;;
    chart-python) chart_python ;;
    promtool) promtool ;;
    chart-crds) chart_crds ;;
    *) fail "usage: tests/tools.sh minio|rclone|mc|fake-gcs|azurite|python|aws|sshd|toxiproxy|helm|helm-docs|helm-unittest|promtool|chart-python|chart-crds" ;;
esac
