"""Validates renders of the chart: validate.py CHART CRDS SOURCES RENDER…, where a RENDER is a file VERSION/NAME.yaml.

Each object is held against the schema of its kind in that version of Kubernetes, or against the CustomResourceDefinition it is of;
fields that those do not have are errors. Pods must keep to the `restricted` Pod Security Standard. What the program must know,
variables and metrics, is looked up in its sources.
"""

import pathlib
import re
import sys

import jsonschema
import kubernetes_validate
import promql_parser
import yaml


class OnceLoader(yaml.SafeLoader):
    """Takes no key twice in one mapping."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def strict(schema):
    """The same schema, in which nothing but what it names is allowed."""
    if not isinstance(schema, dict):
        return schema
    made = {key: value for key, value in schema.items() if key not in ("properties", "items", "additionalProperties")}
    if "properties" in schema:
        made["properties"] = {name: strict(inner) for name, inner in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if key in schema:
            made[key] = strict(schema[key])
    return made


def kinds_of(files):
    """By group, version and kind: the strict schema of a CustomResourceDefinition."""
    kinds = {}
    for file in files:
        for crd in yaml.safe_load_all(file.read_text()):
            for version in crd["spec"]["versions"]:
                schema = strict(version["schema"]["openAPIV3Schema"])
                # Every object has these; a schema need not say what is in them.
                schema.setdefault("properties", {}).update(apiVersion={}, kind={}, metadata={})
                kinds[f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]] = schema
    # The VictoriaMetrics operator's module cannot be had where the others come from. Its scrapes of Pods have the Prometheus
    # operator's words for what is said here.
    kinds["operator.victoriametrics.com/v1beta1", "VMPodScrape"] = kinds["monitoring.coreos.com/v1", "PodMonitor"]
    return kinds


def pod_of(thing):
    if thing["kind"] == "Pod":
        return thing["spec"]
    return thing["spec"]["template"]["spec"] if thing["kind"] == "Deployment" else None


def unrestricted(pod):
    """What `restricted` does not let pass."""
    whole = pod.get("securityContext", {})
    # A network of the host is the one thing that an administrator may have to ask for.
    for name in ("hostPID", "hostIPC"):
        if pod.get(name):
            yield name
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for volume in pod.get("volumes", []):
        if not allowed & volume.keys():
            yield f"volume {volume['name']}"
    for container in pod["containers"] + pod.get("initContainers", []):
        own = container.get("securityContext", {})
        both = {**whole, **own}
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            yield "privileges"
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
            yield "capabilities"
        if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
            yield "root"
        if both.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield "seccomp"
        if not own.get("readOnlyRootFilesystem"):
            yield "a root filesystem that can be written to"


def queries_of(thing):
    if thing["kind"] == "PrometheusRule":
        for group in thing["spec"]["groups"]:
            for rule in group["rules"]:
                yield rule["expr"]
    if thing["kind"] == "ConfigMap" and thing["metadata"]["name"].endswith("-dashboard"):
        dashboard = yaml.safe_load(next(iter(thing["data"].values())))
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield target["expr"].replace("$__rate_interval", "5m")


class Program:
    """What the program's sources have."""

    def __init__(self, folder):
        text = "\n".join(file.read_text() for file in sorted(folder.rglob("*.rs")))
        self.words = set(re.findall(r'"([A-Za-z_][A-Za-z0-9_]*)"', text))

    def has_metric(self, name):
        # A counter, a histogram and an info get their endings when they are written out.
        return name in self.words or any(
            name.endswith(end) and name.removesuffix(end) in self.words for end in ("_total", "_bucket", "_sum", "_count", "_info")
        )


def faults_of(thing, version, kinds, program):
    key = thing["apiVersion"], thing["kind"]
    try:
        if key in kinds:
            # The definitions themselves are not looked at: their patterns are Go's, which Python does not all know.
            jsonschema.Draft7Validator(kinds[key]).validate(thing)
        else:
            kubernetes_validate.validate(thing, version, strict=True)
    except (kubernetes_validate.ValidationError, jsonschema.ValidationError) as error:
        path = ".".join(str(part) for part in getattr(error, "path", []))
        yield f"{path}: {getattr(error, 'message', error)}"
    except kubernetes_validate.SchemaNotFoundError:
        yield f"Kubernetes {version} has no such kind"
    pod = pod_of(thing)
    if pod:
        for what in unrestricted(pod):
            yield f"not restricted: {what}"
        for container in pod["containers"]:
            for variable in container.get("env", []):
                if container["name"] == "webhook-handler" and variable["name"] not in program.words | {"RUST_BACKTRACE"}:
                    yield f"no program reads the variable {variable['name']}"
    for query in queries_of(thing):
        try:
            promql_parser.parse(query)
        except ValueError as error:
            yield f"{query}: {error}"
        for name in re.findall(r"\bvsc_[a-z_]+", query):
            if not program.has_metric(name):
                yield f"there is no metric {name}"


def main():
    chart, crds, sources = map(pathlib.Path, sys.argv[1:4])
    kinds = kinds_of([*sorted(crds.glob("*.yaml")), *sorted((chart / "files").glob("*.riotkit.org.yaml"))])
    program, faults, objects = Program(sources), 0, 0
    for render in map(pathlib.Path, sys.argv[4:]):
        names = set()
        for thing in yaml.load_all(render.read_text(), OnceLoader):
            if thing is None:
                continue
            objects += 1
            name = thing["kind"], thing["metadata"].get("namespace"), thing["metadata"]["name"]
            wrong = list(faults_of(thing, render.parent.name, kinds, program))
            if name in names:
                wrong.append("there are two of them")
            names.add(name)
            for fault in wrong:
                print(f"{render.parent.name}, {render.stem}: {thing['kind']} {name[2]}: {fault}", file=sys.stderr)
                faults += 1
    print(f"{objects} objects in {len(sys.argv) - 4} renders, {faults} faults")
    sys.exit(faults > 0 or objects == 0)


main()
