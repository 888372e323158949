"""What is injected besides a Deployment's Pods, under limits and a quota, and what the API server itself refuses."""
import json

from kube import INIT, SIDECAR, Unproven, expect, get, is_ready, kubectl, run, until
from scene import EXAMPLES, IDLE, example

LABEL = "riotkit.org/volume-syncing-controller"
MANIFESTS = EXAMPLES.parents[1] / "tests" / "golden" / "inject" / "manifests"
# A StatefulSet's Pods keep their names, and each has a place of its own; other Pods go by what they are.
PLACE = '{{ pod.Labels["statefulset.kubernetes.io/pod-name"] | default(pod.Labels.kind) }}'
CONTEXT = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
ACCOUNT = {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"}}


def resource(name, remote, **more):
    """A PodFilesystemSync in the predecessor's words."""
    spec = {
        "podSelector": {"matchLabels": {"app": name}},
        "localPath": "/data",
        "remotePath": f"/{remote}",
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
    return {"apiVersion": "riotkit.org/v1alpha1", "kind": "PodFilesystemSync", "metadata": {"name": name}, "spec": spec}


def template(app, script=IDLE, **labels):
    """A Pod that knows nothing of volumes that are kept, but for the label."""
    mounts = [{"name": "data", "mountPath": "/data"}]
    container = {"name": "app", "image": "busybox:1.37", "command": ["/bin/sh", "-c", script], "securityContext": CONTEXT, "volumeMounts": mounts}
    spec = {"securityContext": ACCOUNT, "containers": [container], "volumes": [{"name": "data", "emptyDir": {}}]}
    return {"metadata": {"labels": {"app": app, LABEL: "true", **labels}}, "spec": spec}


def pod(name, app, **labels):
    made = template(app, **labels)
    made["metadata"]["name"] = name
    return {"apiVersion": "v1", "kind": "Pod", **made}


def deployment():
    spec = {"replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"app": "app"}}, "template": template("app")}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app"}, "spec": spec}


def stateful_set():
    selects = {"matchLabels": {"app": "kinds", "kind": "set"}}
    spec = {"replicas": 2, "podManagementPolicy": "Parallel", "serviceName": "db", "selector": selects, "template": template("kinds", kind="set")}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": spec}


def job(name):
    made = template("kinds", "cat /data/runs 2>/dev/null; echo a run >>/data/runs", kind="job")
    made["spec"]["restartPolicy"] = "Never"
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": made}}


def create(space, objects, *how):
    """Has the API server take objects, or say why not."""
    return run("-n", space, "create", *how, "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def every_kind(stage):
    """A StatefulSet, a bare Pod and a Job in a namespace with a LimitRange and a quota: the next Pod of each has what the last one left"""
    limited(stage)
    stage.apply([resource("kinds", f"{stage.remote}-kinds/{PLACE}"), stateful_set(), job("first")])
    create(stage.space, [pod("solo", "kinds", kind="pod")])
    names = ["db-0", "db-1", "solo"]
    first = {name: ready(stage, name) for name in names}
    for name in names:
        stage.sh(name, f"echo {name} was here >/data/note")
    done(stage, "first")
    kubectl("-n", stage.space, "delete", "pod", *names, "--timeout=60s", seconds=70)
    stage.apply([job("second")])
    create(stage.space, [pod("solo", "kinds", kind="pod")])
    for name in names:
        second = ready(stage, name)
        expect(second["metadata"]["uid"] != first[name]["metadata"]["uid"], f"{name} is still the same Pod")
        note = stage.sh(name, "cat /data/note")
        expect(note == f"{name} was here\n", f"the next {name} has: {note}")
    done(stage, "second")
    said = kubectl("-n", stage.space, "logs", "job/second", "-c", "app")
    expect(said == "a run\n", f"the second Job found: {said}")
    sidecar = next(one for one in first["db-0"]["spec"]["initContainers"] if one["name"] == SIDECAR)["resources"]
    expect(sidecar["limits"] == {"cpu": "200m", "memory": "256Mi"}, f"the sidecar's limits are {sidecar}")
    kubectl("-n", stage.space, "delete", "statefulset/db", "pod/solo", "--wait=false")
    kubectl("-n", stage.space, "delete", "limitrange/usual", "resourcequota/all")
    return "StatefulSet, bare Pod and Job have their data in the next Pod, with the LimitRange's processor time"


def limited(stage):
    """Puts a quota on, and then what lets containers without limits through it."""
    quota = {"hard": {"limits.cpu": "4", "limits.memory": "8Gi", "pods": "20"}}
    stage.apply([{"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "all"}, "spec": quota}])
    bare = pod("bare", "app")
    bare["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "50m"}, "limits": {"cpu": "100m", "memory": "64Mi"}}

    said = []

    def says_which():
        said.append(create(stage.space, [bare], "--dry-run=server"))
        return f"must specify limits.cpu for: {INIT}" in said[-1][2]

    try:
        until("the quota's word about our containers", 20, says_which)
    except Unproven as error:
        raise Unproven(f"{error}; it says {said[-1]}") from None
    limits = {"type": "Container", "default": {"cpu": "200m", "memory": "300Mi"}, "defaultRequest": {"cpu": "10m", "memory": "16Mi"}}
    stage.apply([{"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "usual"}, "spec": {"limits": [limits]}}])
    until("the LimitRange to be heard of", 20, lambda: create(stage.space, [bare], "--dry-run=server")[0] == 0)


def ready(stage, name, seconds=90):
    def look():
        code, out, _ = run("-n", stage.space, "get", "pod", name, "-o", "json")
        seen = json.loads(out) if code == 0 else {}
        return seen if is_ready(seen) and "deletionTimestamp" not in seen["metadata"] else None

    return until(f"the Pod {name}", seconds, look)


def done(stage, name):
    until(f"the end of the Job {name}", 90, lambda: get(stage.space, "job", name).get("status", {}).get("succeeded"))


def dry(stage):
    """A server-side dry run of a resource and of its Pod shows the containers, and leaves nothing behind"""
    selects = {"podSelector": {"matchLabels": {"app": "dry"}}}
    code, _, err = create(stage.space, [resource("ghost", "backups/ghost", automaticEncryption={"enabled": True, "secretName": "ghost-key"})], "--dry-run=server")
    expect(code == 0, f"the resource was refused: {err}")
    stage.apply([resource("dry", f"{stage.remote}-dry", **selects, suspend=True)])
    until("the resource to be judged", 30, lambda: get(stage.space, "podfilesystemsync", "dry").get("status", {}).get("conditions"))

    def seen():
        version = get(stage.space, "podfilesystemsync", "dry")["metadata"]["resourceVersion"]
        names = kubectl("-n", stage.space, "get", "podfilesystemsyncs,secrets,pods", "-o", "name")
        return version, sorted(name for name in names.splitlines() if "pod/" not in name or "dry" in name)

    before = seen()
    code, out, err = run("-n", stage.space, "create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(pod("dry", "dry")))
    expect(code == 0, f"the Pod was refused: {err}")
    names = [one["name"] for one in json.loads(out)["spec"].get("initContainers", [])]
    expect(names == [INIT], f"of a suspended resource, the dry run shows {names}")
    expect(seen() == before, f"before {before}, after {seen()}")
    expect(not any("ghost" in name for name in before[1]), f"the dry run left {before[1]}")
    return "a dry run left nothing"


# What is written into a good resource, and what the API server says of it.
WRONG = [
    ({"podSelector": {}}, "podSelector needs at least one label or expression"),
    ({"podSelector": {"matchLabels": {}, "matchExpressions": []}}, "podSelector needs at least one label or expression"),
    ({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}, "supported values"),
    ({"localPath": None}, "spec.localPath: Required value"),
    ({"localPath": "data"}, "localPath is an absolute path without '..'"),
    ({"localPath": "/data/../etc"}, "localPath is an absolute path without '..'"),
    ({"localPath": "/"}, "localPath is a directory of the system"),
    ({"localPath": "//etc//"}, "localPath is a directory of the system"),
    ({"localPath": "/usr/lib"}, "localPath is a directory of the system"),
    ({"remotePath": ""}, "spec.remotePath"),
    ({"initContainerPlacement": {"placement": "before"}}, "containerReference belongs to the placements before and after"),
    ({"initContainerPlacement": {"containerReference": "a"}}, "containerReference belongs to the placements before and after"),
    ({"initContainerPlacement": {"placement": "second"}}, "supported values"),
    ({"syncOptions": {"method": "cron"}}, "supported values"),
    ({"syncOptions": {"permissions": {"uid": "me"}}}, "should match '^[0-9]+$'"),
    ({"syncOptions": {"permissions": {"gid": -1}}}, "should be greater than or equal to 0"),
    ({"syncOptions": {"maxOneSyncPerMinutes": "soon"}}, "should match"),
    ({"syncOptions": {"allowedDirections": {}, "allowedDirectories": {}}}, "are two spellings of one thing"),
    ({"syncOptions": {"terminationGracePeriodSeconds": -1}}, "should be greater than or equal to 0"),
    ({"automaticEncryption": {"enabled": True}}, "automaticEncryption.secretName is missing"),
    ({"automaticEncryption": {"enabled": True, "secretName": ""}}, "automaticEncryption.secretName is missing"),
    ({"healthCheck": {"failureThreshold": 0}}, "should be greater than or equal to 1"),
]


def wrong(stage):
    """Resources that cannot work are refused by the API server in words that say why; the predecessor's are taken"""
    bad = [resource(f"wrong-{number}", "backups/x", **change) for number, (change, _) in enumerate(WRONG)]
    code, out, err = create(stage.space, bad, "--dry-run=server", "--validate=ignore")
    expect(code != 0 and not out.strip(), f"some were taken: {out}")
    for number, (change, words) in enumerate(WRONG):
        said = [part for part in err.split("Error from server") if f'"wrong-{number}" is invalid' in part]
        expect(len(said) == 1 and words in said[0], f"of {change} it says: {said or err[-600:]}")
    good = []
    for file in sorted(MANIFESTS.glob("*.yaml")):
        good += [one | {"metadata": {"name": file.stem}} for one in example(str(file))]
    code, out, err = create(stage.space, good, "--dry-run=server")
    expect(code == 0 and len(out.splitlines()) == len(good) == 3, f"of {len(good)} good ones: {out}{err}")
    return f"{len(WRONG)} wrong resources are refused, each with its reason"
