"""A MinIO of the examples, and what its bucket holds, seen from outside."""
import contextlib
import hashlib
import pathlib
import re
import secrets
import subprocess
import sys
import urllib.parse
import urllib.request

import kube
from kube import expect, get, is_ready, kubectl, until

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
from assume_role import assume_role  # noqa: E402
from make_bucket import signed  # noqa: E402


class Store:
    """One MinIO in a namespace of its own."""

    def __init__(self, space, objects):
        self.space = space
        self.keys = {"REMOTE_ACCESS_KEY_ID": "made-up-access-key", "REMOTE_SECRET_ACCESS_KEY": secrets.token_urlsafe(24)}
        self.endpoint = f"http://minio.{space}:9000"
        kube.namespace(space, "restricted")
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "volume-remote"}, "stringData": self.keys}
        kube.apply(space, [secret, *objects])
        self.wait()

    def wait(self):
        until("MinIO", 90, lambda: any(is_ready(pod) for pod in get(self.space, "pods", "-l", "app=minio")["items"]))

    def scale(self, replicas):
        """Goes away with 0, and comes back with 1."""
        kubectl("-n", self.space, "scale", "deployment/minio", f"--replicas={replicas}")
        if replicas:
            self.wait()
        else:
            until("the end of MinIO", 60, lambda: not get(self.space, "pods", "-l", "app=minio")["items"])

    @contextlib.contextmanager
    def door(self):
        """Its address on this machine, for a while."""
        command = ["kubectl", "-n", self.space, "port-forward", "service/minio", ":9000"]
        forward = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            line = forward.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            expect(found, f"kubectl port-forward said: {line}")
            yield f"http://127.0.0.1:{found.group(1)}"
        finally:
            forward.terminate()
            forward.wait()

    def listing(self, prefix):
        """How many objects there are below a prefix, and a digest of their names, contents and times."""
        with self.door() as address:
            url = f"{address}/backups?list-type=2&prefix={urllib.parse.quote(prefix, safe='')}"
            request = signed("GET", url, *self.keys.values())
            with urllib.request.urlopen(request, timeout=20) as answer:
                text = answer.read().decode()
        expect("<IsTruncated>false<" in text, "more objects than one listing shows")
        objects = re.findall(r"<Contents>.*?</Contents>", text, re.S)
        return len(objects), hashlib.sha256("".join(sorted(objects)).encode()).hexdigest()

    def narrow_keys(self, policy):
        """Keys with no more rights than a policy gives."""
        with self.door() as address:
            names = ("REMOTE_ACCESS_KEY_ID", "REMOTE_SECRET_ACCESS_KEY", "REMOTE_SESSION_TOKEN")
            return dict(zip(names, assume_role(address, policy, *self.keys.values())))

    def close(self):
        kube.run("delete", "namespace", self.space, "--wait=false")
