"""The store goes away, and comes back."""
import os
import time

import node
from kube import expect, status_of, until
from scene import example, pod_spec
from store import Store

SECONDS_AWAY = int(os.environ.get("OUTAGE_SECONDS", "40"))


def away(stage):
    """Without its store the application goes on, and what it wrote is pushed unattended afterwards"""
    space = f"{stage.space}-store"
    objects = example("minio.yaml")
    # This one's data must outlive its Pod.
    volumes = pod_spec(objects)["volumes"]
    volumes[0] = {"name": "data", "persistentVolumeClaim": {"claimName": "minio"}}
    node.volume(space, space, "minio")
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "minio"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": space, "resources": {"requests": {"storage": "1Gi"}}},
    }
    store = Store(space, [claim, *objects])
    try:
        stage.store = store
        stage.set_remote()
        stage.apply(stage.example("deployment.yaml"))
        pod = stage.ready()
        app = status_of(stage.pod(pod), "app")["containerID"]
        remote = f"backups/{stage.name}/app"
        until("a first state at the remote", 30, lambda: "started" in stage.program(pod, "ls", "-s", remote)[1])
        store.scale(0)
        began = time.monotonic()
        writes = 0
        while time.monotonic() - began < SECONDS_AWAY:
            writes += 1
            stage.sh(pod, f"echo {writes} >/data/written-{writes}")
            time.sleep(2)
        store.scale(1)
        back = time.monotonic()
        until("the last file at the remote", 90, lambda: f"written-{writes}" in stage.program(pod, "ls", "-s", remote)[1])
        took = time.monotonic() - back
        code, out, _ = until("health", 30, lambda: (lambda seen: seen if seen[0] == 0 else None)(stage.program(pod, "health")))
        found = status_of(stage.pod(pod), "app")
        expect(found["containerID"] == app and found["restartCount"] == 0, f"the application was restarted: {found}")
        restarts = stage.restarts(pod, "volume-syncing-sidecar")
        return f"away {SECONDS_AWAY} s, {writes} files written meanwhile, at the remote {took:.1f} s after its return; the application ran on, sidecar restarts: {restarts}"
    finally:
        store.close()


PROOFS = [(away, 210 + SECONDS_AWAY)]
