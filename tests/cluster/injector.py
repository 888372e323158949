"""The chart is installed, and a label is all that an application's Pod needs."""
import json
import pathlib
import subprocess

import kube
from kube import INIT, SIDECAR, expect, get, kubectl, run, until
from scene import IDLE, IMAGE, set_app
from survival import same

ROOT = pathlib.Path(__file__).resolve().parents[2]
LABEL = "riotkit.org/volume-syncing-controller"
CHART = ROOT / "charts" / "sidecar-injector"


def helm(*args, seconds=120):
    """Runs helm, which must succeed; what it printed."""
    tool = subprocess.run([ROOT / "tests" / "tools.sh", "helm"], capture_output=True, text=True, check=True, timeout=600).stdout.strip()
    done = subprocess.run([tool, *args], capture_output=True, text=True, timeout=seconds)
    expect(done.returncode == 0, f"helm {args[0]} ended with {done.returncode}: {done.stderr.strip()[-900:]}")
    return done.stdout


def resource(stage, **more):
    """A PodFilesystemSync in the predecessor's words."""
    spec = {
        "podSelector": {"matchLabels": {"app": "app"}},
        "localPath": "/data",
        "remotePath": f"/{stage.remote}",
        "syncOptions": {
            "method": "scheduler",
            "schedule": "@every 1m",
            "restoreRemoteOnFirstRun": True,
            "cleanUp": {"remote": True, "local": True},
            "allowedDirections": {"toRemote": True, "fromRemote": True},
        },
        "envFromSecrets": [{"name": "volume-remote"}],
        "automaticEncryption": {"enabled": True, "secretName": "app-key"},
        **more,
    }
    return {"apiVersion": "riotkit.org/v1alpha1", "kind": "PodFilesystemSync", "metadata": {"name": "app"}, "spec": spec}


def application():
    """A Deployment that knows nothing of volumes that are kept, but for the label."""
    locked = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    account = {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    app = {"name": "app", "image": "busybox:1.37", "securityContext": locked, "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    pod = {"securityContext": account, "containers": [app], "volumes": [{"name": "data", "emptyDir": {}}]}
    template = {"metadata": {"labels": {"app": "app", LABEL: "true"}}, "spec": pod}
    spec = {"replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"app": "app"}}, "template": template}
    objects = [{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app"}, "spec": spec}]
    set_app(objects, IDLE)
    return objects


def pod_named(name, labels):
    context = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "runAsUser": 10001, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}
    container = {"name": "app", "image": "busybox:1.37", "command": ["/bin/sleep", "1"], "securityContext": context}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": {"containers": [container]}})


def condition(stage, kind):
    conditions = get(stage.space, "podfilesystemsync", "app").get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {})


def labelled(stage):
    """A chart, a PodFilesystemSync and a label: an emptyDir outlives its Pod, encrypted with a key that nobody had to make"""
    system = f"{stage.space}-system"
    kube.namespace(system, "restricted")
    image, tag = IMAGE.rsplit(":", 1)
    settings = [f"image.repository={image}", f"image.tag={tag}", "podSecurityContext.runAsUser=65532", "crds.keep=false"]
    try:
        helm("install", "volumes", str(CHART), "--namespace", system, "--set", ",".join(settings), "--wait", "--timeout", "90s")
        return keeps(stage, system)
    finally:
        helm("uninstall", "volumes", "--namespace", system, "--ignore-not-found")
        run("delete", "namespace", system, "--wait=false")


def keeps(stage, system):
    code, _, err = run("-n", stage.space, "create", "--dry-run=server", "-f", "-", stdin=pod_named("early", {"app": "app", LABEL: "true"}))
    expect(code != 0 and "there is no PodFilesystemSync" in err, f"a Pod that no resource describes: {err}")
    stage.apply([resource(stage), *application()])
    first = stage.ready()
    names = [one["name"] for one in stage.pod(first)["spec"]["initContainers"]]
    expect(names == [INIT, SIDECAR], f"the init containers are {names}")
    before = stage.fill(first)
    stage.delete(first)
    second = stage.ready(but=first)
    same(before, stage.describe(second), "the next Pod's volume differs")
    stage.push(second)
    until("the resource says Ready", 60, lambda: condition(stage, "Ready").get("status") == "True")
    until("the time of a push in the status", 60, lambda: get(stage.space, "podfilesystemsync", "app")["status"].get("lastSyncTime"))
    key = get(stage.space, "secret", "app-key")
    expect(key.get("immutable") and not key["metadata"].get("ownerReferences"), "the key's Secret could be changed or collected")
    again = kubectl("-n", stage.space, "get", "pod", second, "-o", "json")
    kubectl("-n", stage.space, "apply", "--dry-run=server", "-f", "-", stdin=again)

    # Without the injector, labelled Pods are refused; others are nobody's business, the injector's own least.
    kubectl("-n", system, "scale", "deployment", "--all", "--replicas=0")
    until("no injector", 60, lambda: not get(system, "pods")["items"])
    code, _, err = run("-n", stage.space, "create", "-f", "-", stdin=pod_named("late", {"app": "app", LABEL: "true"}))
    expect(code != 0 and "inject.volume-syncing-controller.riotkit.org" in err, f"a labelled Pod without the injector: {err}")
    kubectl("-n", stage.space, "create", "-f", "-", stdin=pod_named("other", {"app": "other"}))
    kubectl("-n", system, "scale", "deployment", "--all", "--replicas=2")
    kubectl("-n", system, "rollout", "status", "deployment", "--timeout=60s", seconds=70)
    message = condition(stage, "EncryptionKeyReady").get("message", "")
    return f"{len(before)} lines are the same in the next Pod; the key's condition says: {message[:90]}…"


PROOFS = [(labelled, 200)]
