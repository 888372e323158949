"""Where the restore must not let the application start."""
import json

from kube import INIT, expect, kubectl, status_of, until
from scene import workload


def refused(stage):
    """A wrong key, a missing bucket and a forbidden prefix keep the application waiting, and say what to do"""
    stage.apply(stage.example("deployment.yaml"))
    stage.sh(stage.ready(), "echo precious >/data/note")
    kubectl("-n", stage.space, "delete", "deployment", "app", "--cascade=foreground", "--timeout=50s")
    mine = f"backups/{stage.name}"
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::backups/elsewhere/*"]}]}
    narrow = stage.store.narrow_keys(json.dumps(policy))
    remote = {"REMOTE_TYPE": "s3", "REMOTE_PROVIDER": "Minio", "REMOTE_ENDPOINT": stage.store.endpoint}
    stage.set_secret("narrow", {**remote, **narrow})
    stage.set_secret("other-key", {"ENCRYPTED_PASSWORD": "a passphrase that opens nothing"})
    cases = {
        "wrong-key": ({}, {"volume-key": "other-key"}, ["opens none of the slots"]),
        "missing-bucket": ({f"{mine}/app": "no-such-bucket/app"}, {}, ["no-such-bucket", "the bucket does not exist"]),
        "forbidden": ({}, {"volume-remote": "narrow"}, ["AccessDenied"]),
    }
    before = stage.store.listing(f"{stage.name}/")
    for name, (words, secrets, _) in cases.items():
        objects = stage.example("deployment.yaml")
        workload(objects)["metadata"]["name"] = name
        workload(objects)["spec"]["selector"]["matchLabels"]["app"] = name
        workload(objects)["spec"]["template"]["metadata"]["labels"]["app"] = name
        text = json.dumps(objects)
        for old, new in {**words, **{f'"name": "{old}"': f'"name": "{new}"' for old, new in secrets.items()}}.items():
            text = text.replace(old, new)
        stage.apply(json.loads(text))
    said = []
    for name, (_, _, expected) in cases.items():
        pod, state = until(f"the restore of {name} to be tried twice", 60, lambda name=name: tried_twice(stage, name))
        message = state["message"]
        expect(all(word in message for word in expected), f"{name}: the message is {message}")
        expect("hint: " in message, f"{name}: the message does not say what to do: {message}")
        started = status_of(pod, "app").get("state", {})
        expect("waiting" in started and not status_of(pod, "app").get("lastState"), f"{name}: the application: {started}")
        said.append(f"{name}: exit {state['exitCode']}, {message.splitlines()[0][-160:]}")
    expect(stage.store.listing(f"{stage.name}/") == before, "something in the bucket has changed")
    return f"{before[0]} objects untouched; " + "; ".join(said)


def tried_twice(stage, name):
    """The Pod and how its restore ended, once that was tried again."""
    for pod in stage.pods(f"app={name}"):
        init = status_of(pod, INIT)
        ended = init.get("lastState", {}).get("terminated")
        if init.get("restartCount", 0) >= 1 and ended:
            return pod, ended
    return None


PROOFS = [(refused, 150)]
