"""The one door to the cluster: kubectl. Nothing waits without a bound."""
import json
import secrets
import subprocess
import time

# In every name, so that a run does not meet what one before it leaves behind.
RUN = f"vsc-tests-{secrets.token_hex(2)}"
SIDECAR = "volume-syncing-sidecar"
INIT = "init-volume-restore"
PROGRAM = "/usr/bin/volume-syncing-controller"


class Unproven(AssertionError):
    """What a proof says when the cluster shows something else."""


def expect(holds, words):
    if not holds:
        raise Unproven(words)


def run(*args, stdin=None, seconds=60):
    """Runs kubectl; its exit code and what it printed on both streams."""
    try:
        done = subprocess.run(["kubectl", *args], input=stdin, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Unproven(f"kubectl {' '.join(args[:6])} … took longer than {seconds} s") from None
    return done.returncode, done.stdout, done.stderr


def kubectl(*args, stdin=None, seconds=60):
    """Runs kubectl, which must succeed; what it printed."""
    code, out, err = run(*args, stdin=stdin, seconds=seconds)
    expect(code == 0, f"kubectl {' '.join(args[:6])} … ended with {code}: {(err or out).strip()[-600:]}")
    return out


def get(namespace, *args):
    """What kubectl get shows, as objects."""
    return json.loads(kubectl("-n", namespace, "get", *args, "-o", "json"))


def apply(namespace, objects):
    kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def until(what, seconds, look):
    """What `look` returns once that is true; it is asked again and again for so long."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        expect(time.monotonic() < deadline, f"not within {seconds} s: {what}")
        time.sleep(0.3)


def status_of(pod, container):
    """The status of one of a Pod's containers; empty before there is one."""
    status = pod.get("status", {})
    for one in status.get("initContainerStatuses", []) + status.get("containerStatuses", []):
        if one["name"] == container:
            return one
    return {}


def is_ready(pod):
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def namespace(name, level):
    """Makes a namespace that enforces a Pod Security Standard."""
    labels = {"pod-security.kubernetes.io/enforce": level, "volume-syncing-controller-tests": RUN}
    apply("default", [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}])
    # Pods are refused before the account that they run as is there.
    until(f"the service account of {name}", 30, lambda: run("-n", name, "get", "serviceaccount", "default")[0] == 0)
