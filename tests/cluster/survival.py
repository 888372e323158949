"""What is written in a Pod is there in the next one."""
import json

import node
from kube import INIT, SIDECAR, expect, run, status_of, until
from scene import IDLE, pod_spec, set_app, workload


def same(before, after, words):
    lost, new = sorted(set(before) - set(after)), sorted(set(after) - set(before))
    expect(not lost and not new, f"{words}: missing {lost[:5]}, added {new[:5]}")


def survives(stage, example, change=lambda objects: None):
    """Fills the volume, deletes the Pod at once, and compares."""
    objects = stage.example(example)
    change(objects)
    # The examples' application notes its own starts and ends, which is a difference.
    set_app(objects, IDLE)
    stage.apply(objects)
    first = stage.ready()
    before = stage.fill(first)
    stage.delete(first)
    second = stage.ready(but=first)
    same(before, stage.describe(second), "the next Pod's volume differs")
    return first, second, len(before)


def native(stage):
    """An emptyDir outlives its Pod with the native sidecar"""
    _, _, lines = survives(stage, "deployment.yaml")
    return f"{lines} lines of description are the same in the next Pod"


def legacy(stage):
    """An emptyDir outlives its Pod with the sidecar among the containers"""
    _, _, lines = survives(stage, "legacy-deployment.yaml")
    return f"{lines} lines of description are the same in the next Pod"


def anybody(stage):
    """A user id that nobody has, in a namespace that refuses what is not restricted"""
    bad = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bad"}, "spec": {"containers": [{"name": "bad", "image": "busybox:1.37"}]}}
    code, _, err = run("-n", stage.space, "create", "-f", "-", stdin=json.dumps(bad))
    expect(code != 0 and "violates PodSecurity" in err, f"the namespace does not enforce anything: {err}")

    def change(objects):
        context = pod_spec(objects)["securityContext"]
        context["runAsUser"] = context["runAsGroup"] = 1234567890
        del context["fsGroup"]

    _, second, lines = survives(stage, "deployment.yaml", change)
    code, out, _ = stage.program(second, "health", "--check=ready")
    expect(code == 0, f"health: {out}")
    user = stage.sh(second, "id -u").strip()
    expect(user == "1234567890", f"it ran as {user}")
    return f"user {user}: {lines} lines are the same in the next Pod; a Pod that is not restricted is refused"


def ordinals(stage):
    """Each Pod of a StatefulSet keeps its own volume, and gets it back when the volume is lost"""
    names = ["db-0", "db-1"]

    def volumes(round_):
        for name in names:
            volume = f"{stage.space}-{name}-{round_}"
            node.volume(volume, stage.space, f"data-{name}")
            stage.apply([node.claim(f"data-{name}", volume)])

    objects = stage.example("statefulset.yaml")
    workload(objects)["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"] = ""
    set_app(objects, IDLE)
    volumes(1)
    stage.apply(objects)
    for name in names:
        until(f"{name} to be ready", 60, lambda name=name: stage.ready(selector=f"statefulset.kubernetes.io/pod-name={name}"))
        stage.sh(name, f"echo this is {name} >/data/name")
    before = {name: stage.fill(name) for name in names}

    # A Pod goes, its volume stays.
    uid = stage.pod("db-0")["metadata"]["uid"]
    stage.sh("db-0", "echo late >/data/late")
    before["db-0"] = stage.describe("db-0")
    stage.delete("db-0")
    until("the new db-0", 60, lambda: next((p for p in stage.pods("app=db") if p["metadata"]["uid"] != uid and p["metadata"]["name"] == "db-0"), None))
    stage.ready(selector="statefulset.kubernetes.io/pod-name=db-0")
    same(before["db-0"], stage.describe("db-0"), "the volume that stayed differs")

    # Pods and volumes go.
    for what in ("statefulset/db", "pvc/data-db-0", "pvc/data-db-1"):
        expect(run("-n", stage.space, "delete", what, "--cascade=foreground", "--timeout=50s")[0] == 0, f"{what} was not deleted")
    volumes(2)
    stage.apply(objects)
    for name in names:
        stage.ready(selector=f"statefulset.kubernetes.io/pod-name={name}")
        same(before[name], stage.describe(name), f"{name} differs on a new volume")
    return f"2 Pods, {sum(map(len, before.values()))} lines: the same on the volume that stayed, and on new ones"


def init_again(stage):
    """A sandbox that dies runs the restore again on a volume that is ahead, and the next Pod has what was ahead"""
    objects = stage.example("deployment.yaml", **{"--fsnotify=10s": "--schedule=@every 1h"})
    stage.apply(objects)
    pod = stage.ready()
    stage.sh(pod, "echo before >/data/note")
    stage.push(pod)
    stage.sh(pod, "echo after >/data/note")
    status = stage.pod(pod)
    known = {status_of(status, name).get("containerID", "?").rsplit("/", 1)[-1] for name in (INIT, SIDECAR, "app")}
    uid = status["metadata"]["uid"]
    # The sandbox's own process: of this Pod and of no container that the status knows.
    no_known = "".join(f" | grep -v {one}" for one in known)
    pid = node.on_node(f"grep -H {uid} /proc/[0-9]*/cgroup | grep -v 'pod{uid}$'{no_known} | cut -d/ -f3 | sort -nu").split()
    expect(pid, "no process of the sandbox was found")
    node.on_node(f"kill -9 {pid[0]}")
    until("the restore to run again", 60, lambda: status_of(stage.pod(pod), INIT).get("containerID", "").rsplit("/", 1)[-1] not in known | {""})
    until("the Pod to be ready again", 60, lambda: stage.ready() == pod)
    note = stage.sh(pod, "cat /data/note").strip()
    expect(note == "after", f"the volume has '{note}'")
    stage.delete(pod)
    note = stage.sh(stage.ready(but=pod), "cat /data/note").strip()
    expect(note == "after", f"the next Pod has '{note}'")
    return "the note that had not been pushed is there after the restore, and in the next Pod"


PROOFS = [(native, 90), (legacy, 100), (anybody, 90), (ordinals, 180), (init_again, 180)]
