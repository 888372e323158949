"""A proof's stage: a namespace that enforces `restricted`, a key of its own, and the examples put on."""
import base64
import json
import os
import pathlib
import subprocess

import kube
from kube import INIT, PROGRAM, SIDECAR, expect, get, is_ready, kubectl, status_of, until

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples" / "k8s"
IMAGE = os.environ.get("IMAGE", "volume-syncing-controller:dev")
BINARY = os.environ["VSC_BINARY"]
HOLD = "riotkit.org/tests-hold"

# What an application does that does nothing, and ends at once.
IDLE = "trap exit TERM; sleep infinity & wait"

# A bit of everything that a volume of an unprivileged user can hold.
FILL = r"""
set -e
cd /data
mkdir -p tree/deep/er 'with a space' empty
i=0; while [ $i -lt 500 ]; do echo "file $i" >tree/$i; i=$((i + 1)); done
dd if=/dev/urandom of=tree/deep/big bs=1M count=16 2>/dev/null
dd if=/dev/urandom of='with a space/odd' bs=777 count=1 2>/dev/null
ln -s ../tree/deep/big empty/link; mv empty/link tree/link
ln tree/deep/big tree/deep/er/same
chmod 600 tree/1; chmod 750 tree/deep; touch -d '2001-02-03 04:05:06' tree/2
"""
# Everything of it in lines: kind, mode, size, time and links of each entry, targets, contents.
DESCRIBE = r"""
cd /data
find . -mindepth 1 -path ./.vsc -prune -o ! -type d -exec stat -c '%n|%F|%a|%s|%Y|%h' {} + | sort
find . -mindepth 1 -path ./.vsc -prune -o -type d -exec stat -c '%n|%F|%a|%Y' {} + | grep -v '^./.vsc|' | sort
find . -path ./.vsc -prune -o -type l -exec readlink {} + | sort
find . -path ./.vsc -prune -o -type f -exec sha256sum {} + | sort
"""


def example(name, **words):
    """The objects of an example, with other words in their places."""
    text = (EXAMPLES / name).read_text()
    for old, new in {"volume-syncing-controller:dev": IMAGE, **words}.items():
        text = text.replace(old, new)
    # Only the name of a Job is made by the cluster, and only `create` allows that.
    out = kubectl("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-", stdin=text)
    objects, decoder = [], json.JSONDecoder()
    while out.strip():
        one, end = decoder.raw_decode(out.strip())
        out = out.strip()[end:]
        objects += one.get("items", [one])
    for one in objects:
        one["metadata"].pop("namespace", None)
    return objects


def workload(objects):
    return next(one for one in objects if "template" in one.get("spec", {}))


def pod_spec(objects):
    return workload(objects)["spec"]["template"]["spec"]


def container(objects, name):
    spec = pod_spec(objects)
    return next(one for one in spec["initContainers"] + spec["containers"] if one["name"] == name)


def set_grace(objects, seconds):
    """The grace period, where it stands and where it is repeated; restores wait for longer than that."""
    spec = pod_spec(objects)
    spec["terminationGracePeriodSeconds"] = seconds
    for one in spec["initContainers"] + spec["containers"]:
        for variable in one.get("env", []):
            if variable["name"] == "VSC_TERMINATION_GRACE_SECONDS":
                variable["value"] = str(seconds)
        one["args"] = [
            f"--takeover-silence={seconds + 5}s" if arg.startswith("--takeover-silence") else arg for arg in one.get("args", [])
        ]


def set_app(objects, script):
    """What the application does."""
    app = pod_spec(objects)["containers"][0]
    app["command"] = ["/bin/sh", "-c", script]


class Scene:
    """One namespace."""

    def __init__(self, name, store):
        self.name = name
        self.space = f"{kube.RUN}-{name}"
        self.store = store
        self.remote = f"backups/{name}/app"
        kube.namespace(self.space, "restricted")
        self.set_remote()
        self.set_key()

    def set_remote(self, **other):
        values = {"REMOTE_TYPE": "s3", "REMOTE_PROVIDER": "Minio", "REMOTE_ENDPOINT": self.store.endpoint, **self.store.keys, **other}
        self.set_secret("volume-remote", values)

    def set_key(self):
        made = subprocess.run([BINARY, "key", "generate"], capture_output=True, text=True, check=True, timeout=10)
        self.set_secret("volume-key", {"ENCRYPTED_PASSWORD": made.stdout.strip()})

    def set_secret(self, name, values):
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        kube.apply(self.space, [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}])

    def example(self, name, **words):
        """An example whose remote path is this scene's own."""
        return example(name, **{"backups/": f"backups/{self.name}/", **words})

    def apply(self, objects):
        kube.apply(self.space, objects)

    def pods(self, selector="app=app"):
        """Pods that are not about to end, newest last."""
        found = get(self.space, "pods", "-l", selector)["items"]
        alive = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return sorted(alive, key=lambda pod: pod["metadata"]["creationTimestamp"])

    def pod(self, name):
        return get(self.space, "pod", name)

    def ready(self, selector="app=app", seconds=60, but=None):
        """The name of a Pod that is ready, other than the one named."""

        def look():
            ready = [pod["metadata"]["name"] for pod in self.pods(selector) if is_ready(pod)]
            return next((name for name in ready if name != but), None)

        return until(f"a ready Pod of {selector}", seconds, look)

    def sh(self, pod, script, seconds=60):
        """Runs a script in the application's container, which is the first."""
        app = self.pod(pod)["spec"]["containers"][0]["name"]
        return kubectl("-n", self.space, "exec", pod, "-c", app, "--", "/bin/sh", "-c", script, seconds=seconds)

    def program(self, pod, *args, seconds=60):
        """Runs the program in the sidecar's container; its exit code and both its streams."""
        return kube.run("-n", self.space, "exec", pod, "-c", SIDECAR, "--", PROGRAM, *args, seconds=seconds)

    def push(self, pod):
        """Asks the running sidecar for a push, which must succeed; what was said of it."""
        code, out, err = self.program(pod, "sync-to-remote", "-s", "/data")
        expect(code == 0, f"the push failed with {code}: {out}{err}")
        return err

    def listing(self, pod):
        """The words of the newest restore point's paths."""
        return self.program(pod, "ls", "-s", self.remote)[1].split()

    def arrives(self, pod, name, seconds=60):
        """Waits until the remote holds a path."""
        until(f"{name} at the remote", seconds, lambda: name in self.listing(pod))

    def fill(self, pod):
        self.sh(pod, FILL)
        return self.describe(pod)

    def describe(self, pod):
        return self.sh(pod, DESCRIBE).splitlines()

    def delete(self, pod, seconds=60):
        """Deletes a Pod and waits until it has ended."""
        kubectl("-n", self.space, "delete", "pod", pod, f"--timeout={seconds}s", seconds=seconds + 5)

    def last_words(self, pod, seconds=60):
        """Deletes a Pod, and keeps it from vanishing until its sidecar's last words are read."""
        self.hold(pod, [HOLD])
        kubectl("-n", self.space, "delete", "pod", pod, "--wait=false")
        ended = until(f"the end of {pod}", seconds, lambda: status_of(self.pod(pod), SIDECAR).get("state", {}).get("terminated"))
        self.hold(pod, None)
        expect(ended.get("message"), f"no termination message: {ended}")
        return json.loads(ended["message"].splitlines()[-1])

    def hold(self, pod, finalizers):
        kubectl("-n", self.space, "patch", "pod", pod, "-p", json.dumps({"metadata": {"finalizers": finalizers}}))

    def restarts(self, pod, name):
        return status_of(self.pod(pod), name).get("restartCount", 0)

    def show(self):
        """What a person would look at after a failure."""

        def seen(*args):
            _, out, err = kube.run("-n", self.space, *args)
            return out or err

        parts = [seen("get", "pods", "-o", "wide"), seen("get", "events", "--sort-by=.lastTimestamp")[-3000:]]
        for pod in get(self.space, "pods")["items"]:
            name = pod["metadata"]["name"]
            for one in (INIT, SIDECAR):
                parts += [f"--- {name} {one}", seen("logs", name, "-c", one, "--tail=40")]
        return "\n".join(parts)

    def close(self):
        kube.run("delete", "namespace", self.space, "--wait=false")
