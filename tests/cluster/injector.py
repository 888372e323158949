"""The chart is installed, and a label is all that an application's Pod needs."""
import json
import pathlib
import subprocess
import threading

import kinds
import kube
import rights
from kinds import LABEL, create, pod, resource
from kube import INIT, SIDECAR, expect, get, kubectl, run, until
from scene import IMAGE
from survival import same

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "sidecar-injector"
DEFINITION = "customresourcedefinition/podfilesystemsyncs.riotkit.org"


def helm(*args, seconds=120):
    """Runs helm, which must succeed; what it printed."""
    tool = subprocess.run([ROOT / "tests" / "tools.sh", "helm"], capture_output=True, text=True, check=True, timeout=600).stdout.strip()
    done = subprocess.run([tool, *args], capture_output=True, text=True, timeout=seconds)
    expect(done.returncode == 0, f"helm {args[0]} ended with {done.returncode}: {done.stderr.strip()[-900:]}")
    return done.stdout


def release(verb, system, *more):
    """Installs or upgrades, and waits until it is there."""
    image, tag = IMAGE.rsplit(":", 1)
    settings = ",".join([f"image.repository={image}", f"image.tag={tag}", "podSecurityContext.runAsUser=65532", *more])
    helm(verb, "volumes", str(CHART), "--namespace", system, "--set", settings, "--wait", "--timeout", "90s")


def condition(stage, kind):
    conditions = get(stage.space, "podfilesystemsync", "app").get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {})


def labelled(stage):
    """A chart, a resource and a label: every kind of Pod has its data again, encrypted with a key that nobody had to make"""
    system = f"{stage.space}-system"
    kube.namespace(system, "restricted")
    try:
        release("install", system)
        seen = [keeps(stage, system), kinds.dry(stage), kinds.wrong(stage), kinds.every_kind(stage)]
        chart = rights.roles(system)
        seen += [stays(stage, system), rights.named(stage, system, chart), comes_again(stage, system)]
        return "; ".join(seen)
    finally:
        helm("uninstall", "volumes", "--namespace", system, "--ignore-not-found")
        run("delete", DEFINITION, "--wait=false")
        run("delete", "namespace", system, "--wait=false")


def keeps(stage, system):
    code, _, err = create(stage.space, [pod("early", "app")], "--dry-run=server")
    expect(code != 0 and "there is no PodFilesystemSync" in err, f"a Pod that no resource describes: {err}")
    stage.apply([resource("app", stage.remote), kinds.deployment()])
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

    # Without the injector, labelled Pods are refused; others are nobody's business, those of its own namespace least.
    kubectl("-n", system, "scale", "deployment", "--all", "--replicas=0")
    until("no injector", 60, lambda: not get(system, "pods")["items"])
    code, _, err = create(stage.space, [pod("late", "app")])
    expect(code != 0 and "inject.volume-syncing-controller.riotkit.org" in err, f"a labelled Pod without the injector: {err}")
    other = pod("other", "other")
    del other["metadata"]["labels"][LABEL]
    for space, free in [(stage.space, other), (system, pod("own", "app"))]:
        code, _, err = create(space, [free], "--dry-run=server")
        expect(code == 0, f"without the injector, {free['metadata']['name']} is refused: {err}")
    kubectl("-n", system, "scale", "deployment", "--all", "--replicas=2")
    kubectl("-n", system, "rollout", "status", "deployment", "--timeout=60s", seconds=70)
    message = condition(stage, "EncryptionKeyReady").get("message", "")
    return f"{len(before)} lines are the same in the next Pod; the key's condition says: {message[:90]}…"


def kept(stage):
    """What no upgrade and no uninstallation may touch."""
    things = [("podfilesystemsync", "app"), ("secret", "app-key"), ("pod", stage.ready())]
    return kubectl("get", DEFINITION, "-o", "name"), [get(stage.space, *thing)["metadata"]["uid"] for thing in things]


def authorities():
    found = json.loads(kubectl("get", "mutatingwebhookconfiguration", "volumes-sidecar-injector-mutator", "-o", "json"))
    return [one["clientConfig"].get("caBundle") for one in found["webhooks"]]


def stays(stage, system):
    before, trusted = kept(stage), authorities()
    refused, asked, upgraded = [], [], threading.Event()

    def ask():
        while not upgraded.is_set():
            code, _, err = create(stage.space, [pod("meanwhile", "app")], "--dry-run=server")
            asked.append(code)
            refused.extend([err] if code else [])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        release("upgrade", system, "log.level=debug")
    finally:
        upgraded.set()
        asking.join()
    expect(asked and not refused, f"during the upgrade {len(refused)} of {len(asked)} Pods were refused: {refused[:1]}")
    expect((kept(stage), authorities()) == (before, trusted), "the upgrade exchanged something")
    helm("uninstall", "volumes", "--namespace", system, "--wait", "--timeout", "60s")
    expect(kept(stage) == before, "the uninstallation took something")
    code, out, err = run("-n", stage.space, "create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(pod("free", "app")))
    expect(code == 0 and "initContainers" not in json.loads(out)["spec"], f"a labelled Pod after the uninstallation: {out[:300]}{err}")
    return f"{len(asked)} Pods were admitted during an upgrade; it and an uninstallation left resources, key and Pods alone"


def comes_again(stage, system):
    first = stage.ready()
    before = stage.describe(first)
    release("install", system)
    stage.delete(first)
    same(before, stage.describe(stage.ready(but=first)), "after another installation, the next Pod's volume differs")
    return "an installation over what was left goes on with it"


PROOFS = [(labelled, 320)]
