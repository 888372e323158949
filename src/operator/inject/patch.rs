//! From what a Pod is to have to what must be added to it.

use super::{Refusal, SidecarKind, Status, annotation, is_ours, list, name_of};
use crate::contract::kubernetes::{EVICTION_ANNOTATION, RESTORE_CONTAINER, RUN_VOLUME, STATUS_ANNOTATION};
use crate::operator::crd::{InitContainerPlacement, Placement};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

/// Fields of our containers that are there only sometimes: one that is no longer wanted is emptied.
const SOMETIMES: [&str; 4] = ["envFrom", "ports", "readinessProbe", "livenessProbe"];

/// One step of a patch (RFC 6902): something is added, or a field of ours gets another value.
#[derive(Debug, Clone, PartialEq)]
pub struct Add {
    /// Where, as a JSON pointer.
    pub path: String,
    /// What.
    pub value: Value,
}

impl Serialize for Add {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut step = serializer.serialize_struct("Add", 3)?;
        step.serialize_field("op", "add")?;
        step.serialize_field("path", &self.path)?;
        step.serialize_field("value", &self.value)?;
        step.end()
    }
}

/// What a Pod is to have in the end.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The init container.
    pub restore: Option<Value>,
    /// The sidecar.
    pub sidecar: Option<Value>,
    /// The volumes.
    pub volumes: Vec<Value>,
    /// What is written down.
    pub status: Status,
    /// Where the init container stands.
    pub placement: InitContainerPlacement,
    /// The grace period, if it is to be raised.
    pub grace: Option<i64>,
    /// With which the image is pulled.
    pub pull_secrets: Vec<String>,
}

/// What must be added.
pub(super) fn patch(pod: &Value, wanted: &Wanted, before: Option<&Status>) -> Result<Vec<Add>, Refusal> {
    refuse_stale(pod, wanted, before)?;
    // Within one admission, or for a resource that has not changed since, others may have added to our containers.
    let is_same = before.is_some_and(|before| before.sync == wanted.status.sync && before.generation == wanted.status.generation);
    let mut steps = Steps { adds: Vec::new(), keeps_more: is_same };
    steps.annotations(pod, wanted);
    let is_native = wanted.status.kind == SidecarKind::Native;
    let mut init: Vec<&str> = list(pod, "initContainers").map(name_of).collect();
    if let Some(restore) = &wanted.restore {
        let at = slot(pod, &init, &wanted.placement)?;
        steps.container(pod, "initContainers", &mut init, at, restore);
    }
    if let Some(sidecar) = &wanted.sidecar {
        if is_native {
            // Directly after the restore: whatever starts later ends earlier, so that the last push sees its last bytes.
            let after = init.iter().position(|name| *name == RESTORE_CONTAINER).map(|at| at + 1);
            let at = after.map_or_else(|| slot(pod, &init, &wanted.placement), Ok)?;
            steps.container(pod, "initContainers", &mut init, at, sidecar);
        } else {
            let mut running: Vec<&str> = list(pod, "containers").map(name_of).collect();
            let end = running.len();
            steps.container(pod, "containers", &mut running, end, sidecar);
        }
    }
    let mut volumes: Vec<&str> = list(pod, "volumes").map(name_of).collect();
    for volume in &wanted.volumes {
        let end = volumes.len();
        steps.container(pod, "volumes", &mut volumes, end, volume);
    }
    if let Some(grace) = wanted.grace {
        steps.add("/spec/terminationGracePeriodSeconds", grace.into());
    }
    steps.pull_secrets(pod, &wanted.pull_secrets);
    Ok(steps.adds)
}

/// What an earlier injection added and this one would not cannot be taken away by adding.
fn refuse_stale(pod: &Value, wanted: &Wanted, before: Option<&Status>) -> Result<(), Refusal> {
    let Some(before) = before else { return Ok(()) };
    let is_wanted = |list: &str, name: &str| {
        let sidecar_list = if wanted.status.kind == SidecarKind::Native { "initContainers" } else { "containers" };
        (list == "initContainers" && wanted.status.init.iter().any(|one| one == name))
            || (list == sidecar_list && wanted.status.sidecar.iter().any(|one| one == name))
            || wanted.status.manual.iter().any(|one| one == name)
    };
    let recorded = |name: &str| before.init.iter().chain(&before.sidecar).any(|one| one == name);
    for place in ["initContainers", "containers"] {
        let mut names = list(pod, place).map(name_of);
        if let Some(name) = names.find(|name| is_ours(name) && recorded(name) && !is_wanted(place, name)) {
            return Err(Refusal::Stale(format!("the container {name} in {place}")));
        }
    }
    Ok(())
}

/// Where among the init containers the restore stands.
fn slot(pod: &Value, init: &[&str], placement: &InitContainerPlacement) -> Result<usize, Refusal> {
    let reference = placement.container_reference.as_deref().unwrap_or_default();
    let found = init.iter().position(|name| *name == reference && !is_ours(name));
    let missing = || {
        let names: Vec<&str> = list(pod, "initContainers").map(name_of).collect();
        let names = if names.is_empty() { "none".to_string() } else { names.join(", ") };
        Refusal::Placement(reference.into(), names)
    };
    match placement.placement {
        Placement::First => Ok(0),
        Placement::Last => Ok(init.len()),
        Placement::Before => found.ok_or_else(missing),
        Placement::After => found.map(|at| at + 1).ok_or_else(missing),
    }
}

struct Steps {
    adds: Vec<Add>,
    /// What others added to ours stays.
    keeps_more: bool,
}

impl Steps {
    fn add(&mut self, path: impl Into<String>, value: Value) {
        self.adds.push(Add { path: path.into(), value });
    }

    /// Makes an object or a list where there is none.
    fn parent(&mut self, pod: &Value, path: &str, empty: Value) {
        let is_there = pod.pointer(path).is_some_and(|value| !value.is_null());
        if !is_there && !self.adds.iter().any(|add| add.path == path) {
            self.add(path, empty);
        }
    }

    fn annotations(&mut self, pod: &Value, wanted: &Wanted) {
        let status = serde_json::to_string(&wanted.status).expect("plain fields become JSON");
        self.annotation(pod, STATUS_ANNOTATION, status);
        if wanted.volumes.iter().any(|volume| name_of(volume) == RUN_VOLUME) {
            let known = annotation(pod, EVICTION_ANNOTATION).unwrap_or_default();
            let names: Vec<&str> = known.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
            if !names.contains(&RUN_VOLUME) {
                self.annotation(pod, EVICTION_ANNOTATION, [&names[..], &[RUN_VOLUME]].concat().join(","));
            }
        }
    }

    fn annotation(&mut self, pod: &Value, name: &str, value: String) {
        if annotation(pod, name) != Some(&value) {
            self.parent(pod, "/metadata", json!({}));
            self.parent(pod, "/metadata/annotations", json!({}));
            self.add(format!("/metadata/annotations/{}", escape(name)), value.into());
        }
    }

    /// A container or volume: put into the list, or mended field by field where it is there.
    fn container<'a>(&mut self, pod: &Value, place: &str, names: &mut Vec<&'a str>, at: usize, wanted: &'a Value) {
        let name = name_of(wanted);
        let path = format!("/spec/{place}");
        let Some(index) = names.iter().position(|other| *other == name) else {
            self.parent(pod, &path, json!([]));
            self.add(format!("{path}/{at}"), wanted.clone());
            names.insert(at, name);
            return;
        };
        let Some(there) = list(pod, place).find(|thing| name_of(thing) == name) else { return };
        for (field, value) in wanted.as_object().into_iter().flatten() {
            let had = there.get(field).unwrap_or(&Value::Null);
            let value = if self.keeps_more { merge(had, value) } else { value.clone() };
            if value != *had {
                self.add(format!("{path}/{index}/{field}"), value);
            }
        }
        for field in SOMETIMES {
            if wanted.get(field).is_none() && there.get(field).is_some_and(|value| !value.is_null()) {
                self.add(format!("{path}/{index}/{field}"), Value::Null);
            }
        }
    }

    fn pull_secrets(&mut self, pod: &Value, secrets: &[String]) {
        for secret in secrets {
            if !list(pod, "imagePullSecrets").any(|known| name_of(known) == secret) {
                self.parent(pod, "/spec/imagePullSecrets", json!([]));
                self.add("/spec/imagePullSecrets/-", json!({"name": secret}));
            }
        }
    }
}

/// What is there and what is wanted, in one: objects field by field, lists of named things by their names; of all else, what is
/// wanted. Where all that is wanted is there, this is what is there. A mount is taken whole: a field that is left, such as the
/// subPath of before, would make it a mount of something else.
pub(super) fn merge(there: &Value, wanted: &Value) -> Value {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            let mut merged: Map<String, Value> = there.clone();
            for (field, value) in wanted {
                let had = there.get(field).unwrap_or(&Value::Null);
                merged.insert(field.clone(), merge(had, value));
            }
            Value::Object(merged)
        }
        (Value::Array(there), Value::Array(wanted)) if wanted.iter().all(|thing| key(thing).is_some()) && !wanted.is_empty() => {
            let named = |of: &Value| wanted.iter().find(|thing| key(thing) == key(of));
            let missing = wanted.iter().filter(|thing| !there.iter().any(|had| key(had) == key(thing)));
            let kept = there.iter().map(|had| match named(had) {
                None => had.clone(),
                Some(mount) if mount.get("mountPath").is_some() => mount.clone(),
                Some(thing) => merge(had, thing),
            });
            // Ours first: what others added may refer to it, never the other way round.
            Value::Array(missing.cloned().chain(kept).collect())
        }
        _ => wanted.clone(),
    }
}

/// What names a thing in a list: a mount its path, a reference to a Secret itself, anything else its name.
fn key(thing: &Value) -> Option<&Value> {
    thing.get("mountPath").or_else(|| thing.get("secretRef")).or_else(|| thing.get("name"))
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
