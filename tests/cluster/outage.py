"""The store goes away, and comes back."""
import os
import time

import node
from kube import SIDECAR, expect, status_of, until
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
    store = Store(space, [node.claim("minio", space), *objects])
    try:
        stage.store = store
        stage.set_remote()
        stage.apply(stage.example("deployment.yaml"))
        pod = stage.ready()
        app = status_of(stage.pod(pod), "app")["containerID"]
        stage.arrives(pod, "started")
        store.scale(0)
        began = time.monotonic()
        writes = 0
        while time.monotonic() - began < SECONDS_AWAY:
            writes += 1
            stage.sh(pod, f"echo {writes} >/data/written-{writes}")
            time.sleep(2)
        store.scale(1)
        back = time.monotonic()
        stage.arrives(pod, f"written-{writes}", seconds=90)
        took = time.monotonic() - back
        code, out, _ = until("health", 30, lambda: (lambda seen: seen if seen[0] == 0 else None)(stage.program(pod, "health")))
        found = status_of(stage.pod(pod), "app")
        expect(found["containerID"] == app and found["restartCount"] == 0, f"the application was restarted: {found}")
        restarts = stage.restarts(pod, SIDECAR)
        return f"away {SECONDS_AWAY} s, {writes} files written meanwhile, at the remote {took:.1f} s after its return; the application ran on, sidecar restarts: {restarts}"
    finally:
        store.close()


PROOFS = [(away, 210 + SECONDS_AWAY)]
