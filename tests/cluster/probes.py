"""What probes and people ask of a running sidecar."""

import node
from kube import SIDECAR, expect, status_of, until
from scene import container


def stalled(stage):
    """The liveness probe restarts a loop that has stopped, and the application runs on"""
    objects = stage.example("deployment.yaml", **{"--fsnotify=10s": "--fsnotify=1s"})
    container(objects, SIDECAR)["livenessProbe"] |= {
        "initialDelaySeconds": 1, "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 2, "terminationGracePeriodSeconds": 3,
    }
    stage.apply(objects)
    pod = stage.ready()
    app = status_of(stage.pod(pod), "app")["containerID"]
    sidecar = status_of(stage.pod(pod), SIDECAR)["containerID"]
    node.on_node(f"kill -STOP {node.main_process(sidecar)}")
    until("the restart of the sidecar", 60, lambda: stage.restarts(pod, SIDECAR) == 1 and "running" in status_of(stage.pod(pod), SIDECAR)["state"])
    stage.sh(pod, "echo later >/data/later")
    stage.arrives(pod, "later")
    now = status_of(stage.pod(pod), "app")
    expect(now["containerID"] == app and now["restartCount"] == 0, f"the application was restarted: {now}")
    return "one restart of the sidecar, which pushes again; the application's container is the same"


def asked(stage):
    """kubectl exec asks the running sidecar for a push and is told what came of it"""
    stage.apply(stage.example("deployment.yaml", **{"--fsnotify=10s": "--schedule=@every 1h"}))
    pod = stage.ready()
    stage.sh(pod, "echo now >/data/now")
    expect("now" not in stage.listing(pod), "it was pushed before anybody asked")
    said = stage.push(pod)
    expect("the sidecar of this directory made the push" in said, said)
    expect("now" in stage.listing(pod), "the file is not at the remote")
    stage.sh(pod, "rm /data/*")
    code, out, err = stage.program(pod, "sync-to-remote", "-s", "/data")
    expect(code == 3 and "--force" in err, f"emptying the volume: exit {code}: {out}{err}")
    for check in ("sync", "stall", "ready", "live"):
        code, out, _ = stage.program(pod, "health", f"--check={check}")
        expect(code == 0, f"health --check={check}: {out}")
    address = stage.pod(pod)["status"]["podIP"]
    metrics = stage.sh(pod, f"wget -qO- http://{address}:9327/metrics")
    for name in ("vsc_last_complete_sync_timestamp_seconds", "vsc_syncs_total", "vsc_build_info"):
        expect(name in metrics, f"{name} is not among the metrics")
    refusal = next(line for line in err.splitlines() if "made the push" in line)
    return f"done, and for an emptied volume: {refusal[-160:]}; {metrics.count('# TYPE')} metrics"


PROOFS = [(stalled, 120), (asked, 90)]
