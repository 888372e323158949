"""How much memory the sidecar takes in its Pod."""
import node
from kube import SIDECAR, expect, status_of, until

# Without the pages of the program's file, which the kernel takes back when it needs them, and has once for all Pods of a node.
IDLE_MIB = 16
BUSY_MIB = 64


def small(stage):
    """The sidecar's memory: idle beside 10 000 files, and busy with 512 MiB"""
    stage.apply(stage.example("deployment.yaml", **{"--fsnotify=10s": "--fsnotify=1s"}))
    pod = stage.ready()
    stage.sh(pod, "mkdir /data/many; cd /data/many; i=0; while [ $i -lt 10000 ]; do echo $i >$i; i=$((i + 1)); done; echo end >/data/filled")
    stage.arrives(pod, "filled")
    pid = node.main_process(status_of(stage.pod(pod), SIDECAR)["containerID"])
    until("rest", 30, lambda: stage.program(pod, "health")[0] == 0)
    idle, idle_own, filling = node.memory_mib(pid)
    stage.sh(pod, "dd if=/dev/urandom of=/data/large bs=1M count=512 2>/dev/null; echo end >/data/done", seconds=90)
    stage.arrives(pod, "done", seconds=90)
    after, after_own, busy = node.memory_mib(pid)
    busy_own = busy - (after - after_own)
    seen = (
        f"idle {idle_own:.1f} MiB and {idle - idle_own:.1f} of the program's file; with 10 000 new files at most {filling:.1f} together,"
        f" with 512 MiB {busy:.1f}, {busy_own:.1f} without the file; afterwards {after_own:.1f}"
    )
    expect(idle_own <= IDLE_MIB and busy_own <= BUSY_MIB, seen)
    return seen


PROOFS = [(small, 180)]
