"""Each right of the chart's roles, taken from a controller that runs beside the cluster for as long as it takes to complain."""
import contextlib
import copy
import json
import os
import pathlib
import re
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from kinds import resource
from kube import RUN, apply, get, kubectl, run, until
from scene import BINARY

# Those without which something does not work from the start; of the others, some are needed only where two write at once.
RIGHTS = [
    ("podfilesystemsyncs", "list"),
    ("podfilesystemsyncs", "watch"),
    ("podfilesystemsyncs/status", "patch"),
    ("pods", "list"),
    ("pods", "watch"),
    ("events", "create"),
    ("nodes", "list"),
    ("tokenreviews", "create"),
    ("mutatingwebhookconfigurations", "list"),
    ("mutatingwebhookconfigurations", "patch"),
    ("secrets", "create"),
    ("secrets", "list"),
    ("secrets", "watch"),
    ("leases", "create"),
    ("leases", "get"),
    ("leases", "update"),
]


def roles(system):
    """The rules of the chart's two roles, for the whole cluster and for its namespace."""
    whole = json.loads(kubectl("get", "clusterrole", "volumes-sidecar-injector", "-o", "json"))["rules"]
    return whole, get(system, "role", "volumes-sidecar-injector")["rules"]


def without(rules, right, number):
    """Rules of which one right is taken away, about objects of a controller's own."""
    resource, verb = right
    names = {"volumes-sidecar-injector": f"right-{number}", "volumes-sidecar-injector-mutator": f"{RUN}-right-{number}"}
    rules = copy.deepcopy(rules)
    for rule in rules:
        if resource in rule["resources"]:
            rule["verbs"] = [one for one in rule["verbs"] if one != verb]
        if "resourceNames" in rule:
            rule["resourceNames"] = [names[name] for name in rule["resourceNames"]]
    return [rule for rule in rules if rule["verbs"]]


def identity(system, chart, right, number):
    """A controller's account, its rights but one, and a webhook configuration that asks nobody."""
    name, labels = f"right-{number}", {"volume-syncing-controller-tests": RUN}
    whole, own = (without(rules, right, number) for rules in chart)
    subjects = [{"kind": "ServiceAccount", "name": name, "namespace": system}]
    group = "rbac.authorization.k8s.io"
    webhook = {
        "name": "nobody.volume-syncing-controller.riotkit.org",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Ignore",
        "clientConfig": {"service": {"name": name, "namespace": system}},
    }
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": f"{RUN}-{name}", "labels": labels}, "rules": whole},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"{RUN}-{name}", "labels": labels},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": f"{RUN}-{name}"},
            "subjects": subjects,
        },
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": {"name": name}, "rules": own},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": subjects,
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": f"{RUN}-{name}", "labels": labels},
            "webhooks": [webhook],
        },
    ]


def named(stage, system, chart):
    """Each right that is taken away is named by the log"""
    # Of two that choose the same Pods there is something to tell.
    stage.apply([resource(name, "backups/twins", podSelector={"matchLabels": {"app": "twin"}}) for name in ("twin-a", "twin-b")])
    apply(system, [one for number, right in enumerate(RIGHTS) for one in identity(system, chart, right, number)])
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            logs = [begin(system, pathlib.Path(folder), stack, right, number) for number, right in enumerate(RIGHTS)]

            def silent():
                # Whoever writes the status has something to write.
                change = json.dumps({"spec": {"remotePath": f"/backups/twins-{time.monotonic_ns()}"}})
                kubectl("-n", stage.space, "patch", "podfilesystemsync", "twin-a", "--type=merge", "-p", change)
                said = [log.read_text() for log in logs]
                report(said[RIGHTS.index(("tokenreviews", "create"))])
                return [right for right, text in zip(RIGHTS, said) if 'cannot {1} resource "{0}"'.format(*right) not in text]

            seen = {}
            try:
                until("each right to be named", 60, lambda: not seen.update(silent=silent()) and not seen["silent"])
            except AssertionError as error:
                shown = [f"--- {right}\n{logs[RIGHTS.index(right)].read_text()[-1500:]}" for right in seen["silent"]]
                raise type(error)(f"{error}; not named: {seen['silent']}\n" + "\n".join(shown)) from None
    finally:
        run("delete", "clusterrole,clusterrolebinding,mutatingwebhookconfiguration", "-l", f"volume-syncing-controller-tests={RUN}", "--wait=false")
    return f"{len(RIGHTS)} rights are named by the log of whoever lacks them"


def begin(system, folder, stack, right, number):
    """Starts a controller that is this account; its log."""
    name = f"right-{number}"
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": kubectl("-n", system, "create", "token", name).strip()}}]
    (folder / name).write_text(json.dumps(config))
    command = [BINARY, "serve", "--tls-mode=self", f"--namespace={system}", "--image=registry/image:1", "--address=127.0.0.1:0"]
    command += [f"--service-name={name}", f"--tls-secret={name}", f"--lease={name}", f"--webhook-configuration={RUN}-{name}"]
    log = folder / f"{name}.log"
    environment = {"KUBECONFIG": str(folder / name), "POD_NAME": name, "PATH": os.environ["PATH"]}
    with log.open("w") as written:
        process = subprocess.Popen(command, env=environment, stdout=written, stderr=written)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return log


def report(said):
    """Reports to a controller with a token that it has to ask about."""
    found = re.search(r"webhook=(127\.0\.0\.1:\d+)", said)
    if found:
        request = urllib.request.Request(f"https://{found[1]}/progress", data=b"{}", headers={"Authorization": "Bearer made.up.token"})
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        with contextlib.suppress(OSError, urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=5, context=trusting).close()
