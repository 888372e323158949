"""How much memory the sidecar takes in its Pod."""
import node
from kube import SIDECAR, expect, status_of, until

IDLE_MIB = 16
BUSY_MIB = 64


def small(stage):
    """The sidecar's resident memory, idle beside 10 000 files and busy with 512 MiB"""
    stage.apply(stage.example("deployment.yaml", **{"--fsnotify=10s": "--fsnotify=1s"}))
    pod = stage.ready()
    remote = f"backups/{stage.name}/app"
    stage.sh(pod, "mkdir /data/many; cd /data/many; i=0; while [ $i -lt 10000 ]; do echo $i >$i; i=$((i + 1)); done; echo end >/data/filled")
    until("the files at the remote", 60, lambda: "filled" in stage.program(pod, "ls", "-s", remote)[1])
    pid = node.main_process(status_of(stage.pod(pod), SIDECAR)["containerID"])
    until("rest", 30, lambda: stage.program(pod, "health")[0] == 0)
    idle, filling = node.memory_kib(pid)
    stage.sh(pod, "dd if=/dev/urandom of=/data/large bs=1M count=512 2>/dev/null; echo end >/data/done", seconds=90)
    until("the large file at the remote", 90, lambda: "done" in stage.program(pod, "ls", "-s", remote)[1])
    _, busy = node.memory_kib(pid)
    seen = f"idle {idle / 1024:.1f} MiB, at most {filling / 1024:.1f} MiB with 10 000 new files and {busy / 1024:.1f} MiB with 512 MiB"
    expect(idle <= IDLE_MIB * 1024 and busy <= BUSY_MIB * 1024, seen)
    return seen


PROOFS = [(small, 180)]
