"""How a Pod ends: the last push."""
import datetime
import json
import re

from kube import SIDECAR, expect, get, kubectl, status_of, until
from scene import IDLE, container, set_app, set_grace


def last_file(stage):
    """A file that the application writes in its own SIGTERM handler, late, arrives"""
    objects = stage.example("deployment.yaml")
    set_grace(objects, 40)
    # Later than a predecessor's silence that a restore waits for unless it is told otherwise.
    set_app(objects, 'trap "sleep 22; echo goodbye >/data/last; exit" TERM; sleep infinity & wait')
    stage.apply(objects)
    first = stage.ready()
    stage.sh(first, "echo hello >/data/first")
    stage.delete(first, seconds=60)
    second = stage.ready(but=first)
    seen = stage.sh(second, "cat /data/first /data/last").split()
    expect(seen == ["hello", "goodbye"], f"the next Pod has {seen}")
    return "written 22 s after the deletion, in the next Pod although that one was started at once"


def too_much(stage):
    """1 GiB at the end of a grace period of 10 s leaves a whole state, and the last words give what is missing"""
    objects = stage.example("deployment.yaml", **{"--fsnotify=10s": "--schedule=@every 1h"})
    set_grace(objects, 10)
    set_app(objects, IDLE)
    container(objects, SIDECAR)["args"].append("--bwlimit=10M")
    stage.apply(objects)
    first = stage.ready()
    stage.sh(first, "echo one >/data/note")
    stage.push(first)
    stage.sh(first, "dd if=/dev/urandom of=/data/large bs=1M count=1024 2>/dev/null; echo two >/data/note")
    words = stage.last_words(first)
    expect(words["result"] == "deadline" and words["exitCode"] == 9, f"the last words are {words}")
    expect(words["unsyncedFiles"] == 2 and words["unsyncedBytes"] == (1 << 30) + 4, f"the last words are {words}")
    expect(4_000 <= words["elapsedMs"] < 10_000, f"the last words are {words}")
    second = stage.ready(but=first, seconds=90)
    seen = stage.sh(second, "cat /data/note; ls /data").split()
    expect(seen == ["one", "note"], f"the next Pod has {seen}")
    return f"{words['unsyncedFiles']} files, {words['unsyncedBytes']} bytes said to be missing after {words['elapsedMs']} ms; the state before is whole"


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def job(stage):
    """A Job's sidecar ends with its last push, the Job completes, and the next one continues"""
    objects = stage.example("job.yaml")
    app = container(objects, "work")
    app["command"][-1] += "; dd if=/dev/urandom of=/data/result bs=1M count=64 2>/dev/null; sync"
    said = []
    for _ in range(2):
        out = kubectl("-n", stage.space, "create", "-f", "-", "-o", "json", stdin=json.dumps(objects[0]))
        name = json.loads(out)["metadata"]["name"]
        done = until(f"{name} to complete", 60, lambda: get(stage.space, "job", name).get("status", {}).get("completionTime"))
        pod = get(stage.space, "pods", "-l", f"job-name={name}")["items"][0]
        worked = moment(status_of(pod, "work")["state"]["terminated"]["finishedAt"])
        words = json.loads(status_of(pod, SIDECAR)["state"]["terminated"]["message"].splitlines()[-1])
        expect(words["result"] == "complete", f"the last words are {words}")
        # Kubernetes itself takes some four seconds from the end of a native sidecar to the completion of its Job.
        ended = moment(status_of(pod, SIDECAR)["state"]["terminated"]["finishedAt"])
        extra = ended - worked - words["elapsedMs"] / 1000
        expect(extra <= 5, f"the sidecar ended {extra} s after its last push")
        said.append((ended - worked, moment(done) - worked, words["elapsedMs"]))
    runs = kubectl("-n", stage.space, "logs", f"job/{name}", "-c", "work")
    expect(re.findall(r"run \d", runs) == ["run 0", "run 1"], f"the second Job found {runs}")
    return "; ".join(f"sidecar {int(end)} s and Job {int(done)} s after the work, with a last push of {ms} ms" for end, done, ms in said)


PROOFS = [(last_file, 120), (too_much, 150), (job, 120)]
