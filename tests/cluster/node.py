"""What only the node knows, looked at from a Pod that sees the node's processes, and volumes made by hand there."""
import json

from kube import RUN, apply, expect, get, is_ready, kubectl, namespace, until

SPACE = f"{RUN}-node"
PLACE = "/var/tmp"
FOLDER = f"{PLACE}/{RUN}"


def prepare():
    """Starts the Pod. All proofs use one node: their volumes lie there."""
    namespace(SPACE, "privileged")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "node"},
        "spec": {
            "hostPID": True,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [{
                "name": "node",
                "image": "busybox:1.37",
                "command": ["/bin/sleep", "2147483647"],
                "securityContext": {"privileged": True},
                "volumeMounts": [{"name": "place", "mountPath": PLACE}],
            }],
            "volumes": [{"name": "place", "hostPath": {"path": PLACE, "type": "DirectoryOrCreate"}}],
        },
    }
    apply(SPACE, [pod])
    until("the Pod that looks at the node", 60, lambda: is_ready(get(SPACE, "pod", "node")))


def on_node(script, seconds=60):
    return kubectl("-n", SPACE, "exec", "node", "--", "/bin/sh", "-c", script, seconds=seconds)


def processes(container_id):
    """The node's process ids of a container, lowest first."""
    key = container_id.rsplit("/", 1)[-1]
    out = on_node(f"grep -l {key} /proc/[0-9]*/cgroup 2>/dev/null | cut -d/ -f3 | sort -n")
    return [int(line) for line in out.split()]


def main_process(container_id):
    found = processes(container_id)
    expect(found, f"the node shows no process of {container_id}")
    return found[0]


def memory_mib(pid):
    """A process's resident memory in MiB: now, what of it is its own and no page of the program's file, and the most so far."""
    text = on_node(f"cat /proc/{pid}/status")
    fields = {line.split(":")[0]: line.split() for line in text.splitlines()}
    return [int(fields[name][1]) / 1024 for name in ("VmRSS", "RssAnon", "VmHWM")]


def volume(name, claim_space, claim_name):
    """A volume on the node, bound to a claim: the cluster need not provide any by itself."""
    on_node(f"mkdir -p {FOLDER}/{name} && chmod 0777 {FOLDER}/{name}")
    host = get(SPACE, "pod", "node")["spec"]["nodeName"]
    labels = json.loads(kubectl("get", "node", host, "-o", "json"))["metadata"]["labels"]
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [labels["kubernetes.io/hostname"]]}
    apply("default", [{
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": {"volume-syncing-controller-tests": RUN}},
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "claimRef": {"namespace": claim_space, "name": claim_name},
            "hostPath": {"path": f"{FOLDER}/{name}"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }])


def claim(name, bound):
    """A claim that names its volume: one that is made while its volume is new may wait long for the controller to look again."""
    asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"storageClassName": "", "volumeName": bound, **asked},
    }


def clear():
    """Removes what was made here."""
    on_node(f"rm -rf {FOLDER}")
    kubectl("delete", "pv", "-l", f"volume-syncing-controller-tests={RUN}", "--wait=false")
    kubectl("delete", "namespace", SPACE, "--wait=false")
