//! The two containers, field by field.

use super::volumes::{self, DataVolume};
use super::{Refusal, SidecarKind, Surroundings, identity, list, owner_kind, resources};
use crate::contract::control::RUN_DIR;
use crate::contract::env;
use crate::contract::kubernetes::{KEY_ENTRY, METRICS_PORT_NAME, PROGRAM, RESTORE_CONTAINER, SIDECAR_CONTAINER};
use crate::cycle::Schedule;
use crate::operator::crd::{Effect, Method, PodFilesystemSync};
use crate::operator::expansion::{NAME_REFERENCE, has_pod_name};
use crate::operator::template::{Templates, is_template};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

/// A predecessor is taken to be gone when it was silent for this much longer than its grace period.
const SILENCE_MARGIN_SECONDS: i64 = 5;
/// How long a restore waits for a predecessor's silence by itself (the command line's defaults).
const USUAL_SILENCE_SECONDS: i64 = 20;
const USUAL_TIMEOUT_SECONDS: i64 = 120;
/// With fsnotify, the least time between two syncs where none is said.
const USUAL_INTERVAL: &str = "10s";

/// What the containers are made from.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    /// The Pod without us.
    pub pod: &'a Value,
    /// The resource.
    pub sync: &'a PodFilesystemSync,
    /// What the controller knows.
    pub surroundings: &'a Surroundings,
    /// The templates.
    pub templates: &'a Templates,
    /// The directory.
    pub local: &'a str,
    /// The path at the remote.
    pub remote: &'a str,
    /// The volume.
    pub volume: &'a DataVolume<'a>,
    /// The Pod's grace period in the end.
    pub grace: i64,
    /// Which kind of sidecar it gets.
    pub kind: SidecarKind,
}

/// What a Pod gets.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// The init container.
    pub restore: Option<Value>,
    /// The sidecar.
    pub sidecar: Option<Value>,
    /// What whoever made the Pod should know.
    pub warnings: Vec<String>,
}

/// The containers that are wanted.
pub(super) fn parts(frame: &Frame<'_>, restore: bool, sidecar: bool) -> Result<Parts, Refusal> {
    let mut parts = Parts::default();
    let (_, is_throttled) = resources::resources(frame);
    if is_throttled && sidecar {
        parts.warnings.push("the Pod is of the class Guaranteed, so the sidecar's processor time is limited: spec.sidecar.resources says how much it gets".into());
    }
    let has_port = metrics_port(frame);
    if sidecar && has_port.is_none() && frame.surroundings.metrics_port.is_some() {
        parts.warnings.push("the sidecar shows no metrics: the port is taken, or the Pod uses the node's network".into());
    }
    if restore {
        let mut container = container(frame, RESTORE_CONTAINER)?;
        container["args"] = restore_args(frame, sidecar).into();
        container["volumeMounts"] = volumes::mounts(frame.volume, frame.surroundings, false).into();
        parts.restore = Some(container);
    }
    if sidecar {
        parts.sidecar = Some(sidecar_container(frame, restore, has_port)?);
    }
    Ok(parts)
}

/// The path at the remote for one Pod.
pub(super) fn remote_path(source: &str, templates: &Templates) -> Result<String, Refusal> {
    let path = templates.strict(source).map_err(|error| Refusal::Template { field: "remotePath".into(), error })?;
    let wrong = |why: &'static str| Err(Refusal::RemotePath(path.escape_debug().to_string(), why));
    if path.chars().any(char::is_control) {
        return wrong("it has a line break or another control character");
    }
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    if parts.iter().any(|part| matches!(*part, "." | "..")) {
        return wrong("it leads elsewhere by '.' or '..'");
    }
    let ends_empty = path.ends_with('/') && !source.ends_with('/');
    let begins_empty = path.starts_with('/') && !source.starts_with('/');
    if parts.iter().any(|part| part.trim().is_empty()) || ends_empty || begins_empty || path.trim_start_matches('/').is_empty() {
        return wrong("a part of it is empty, so that it would be the place of others");
    }
    Ok(path)
}

fn container(frame: &Frame<'_>, name: &str) -> Result<Value, Refusal> {
    let mut container = json!({
        "name": name,
        "image": frame.surroundings.image,
        "command": [PROGRAM],
        "env": env(frame, name == SIDECAR_CONTAINER)?,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": identity::security_context(frame)?,
        "resources": resources::resources(frame).0,
    });
    if !frame.surroundings.pull_policy.is_empty() {
        container["imagePullPolicy"] = frame.surroundings.pull_policy.as_str().into();
    }
    let secrets = secrets(frame)?;
    if !secrets.is_empty() {
        container["envFrom"] = secrets.into();
    }
    Ok(container)
}

fn restore_args(frame: &Frame<'_>, is_writer: bool) -> Vec<String> {
    let spec = &frame.sync.spec;
    let mut args =
        vec!["remote-to-local-sync".to_string(), format!("--src={}", frame.remote), format!("--dst={}", literal(frame.local))];
    if is_writer {
        args.push("--claim".into());
        args.extend(takeover_args(frame));
    }
    flag(&mut args, !spec.sync_options.clean_up.local, "--no-delete");
    flag(&mut args, spec.sync_options.clean_up.force_local, "--force-delete-local-dir");
    flag(&mut args, spec.debug, "--verbose");
    args
}

fn sidecar_container(frame: &Frame<'_>, after_restore: bool, port: Option<u16>) -> Result<Value, Refusal> {
    let mut container = container(frame, SIDECAR_CONTAINER)?;
    let is_native = frame.kind == SidecarKind::Native;
    let mut args = sidecar_args(frame, port)?;
    if !after_restore {
        args.extend(takeover_args(frame));
    }
    container["args"] = args.into();
    container["volumeMounts"] = volumes::mounts(frame.volume, frame.surroundings, true).into();
    let mut hook = vec![PROGRAM, "interrupt"];
    if is_native {
        container["restartPolicy"] = "Always".into();
    } else {
        hook.push("--wait");
    }
    container["lifecycle"] = json!({"preStop": {"exec": {"command": hook}}});
    if let Some(port) = port {
        container["ports"] = json!([{"name": METRICS_PORT_NAME, "containerPort": port, "protocol": "TCP"}]);
    }
    // The sidecar itself counts the failures; where nothing is started again for it, one answer is enough.
    match frame.sync.spec.health_check.unwrap_or_default().effect {
        Effect::Readiness => container["readinessProbe"] = probe("--check=sync", 1),
        // A stall, too, is cured by a new start.
        Effect::Liveness => container["livenessProbe"] = probe("--check=live", 3),
        Effect::None => {}
    }
    Ok(container)
}

fn probe(check: &str, failures: u32) -> Value {
    json!({
        "exec": {"command": [PROGRAM, "health", check]},
        "initialDelaySeconds": 10,
        "periodSeconds": 30,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    })
}

fn sidecar_args(frame: &Frame<'_>, port: Option<u16>) -> Result<Vec<String>, Refusal> {
    let spec = &frame.sync.spec;
    let options = &spec.sync_options;
    let mut args =
        vec!["sync-to-remote".to_string(), format!("--src={}", literal(frame.local)), format!("--dst={}", frame.remote)];
    args.push(match options.method {
        Method::Scheduler => format!("--schedule={}", literal(options.schedule.trim())),
        Method::Fsnotify => format!("--fsnotify={}", interval(options.max_one_sync_per_minutes.as_ref())?),
    });
    if let Some(port) = port {
        args.push(format!("--health-addr=:{port}"));
    }
    flag(&mut args, !options.clean_up.remote, "--no-delete");
    flag(&mut args, options.clean_up.force_remote, "--force-even-if-remote-would-be-cleared");
    if let Some(check) = spec.health_check.filter(|check| check.effect != Effect::None) {
        args.push(format!("--health-failures={}", check.failure_threshold));
    }
    flag(&mut args, spec.debug, "--verbose");
    Ok(args)
}

/// Minutes, or a time with its unit.
fn interval(written: Option<&IntOrString>) -> Result<String, Refusal> {
    let text = match written {
        None => return Ok(USUAL_INTERVAL.into()),
        Some(IntOrString::Int(minutes)) => minutes.to_string(),
        Some(IntOrString::String(text)) => text.trim().to_string(),
    };
    let is_minutes = text.parse::<u32>().is_ok() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_time = text.ends_with(['s', 'm', 'h']) && format!("@every {text}").parse::<Schedule>().is_ok();
    let is_simple = text.bytes().all(|byte| byte.is_ascii_digit() || b"smh".contains(&byte));
    if is_minutes || (is_time && is_simple) {
        return Ok(text);
    }
    Err(Refusal::Field("syncOptions.maxOneSyncPerMinutes", text, "a number of minutes, or a time such as 30s or 5m"))
}

/// How long a new writer waits for one that may still live: longer than that one's grace period, since the Pods of all but a
/// StatefulSet are replaced while they end.
fn takeover_args(frame: &Frame<'_>) -> Vec<String> {
    let silence = frame.grace + SILENCE_MARGIN_SECONDS;
    if owner_kind(frame.pod) == Some("StatefulSet") || silence <= USUAL_SILENCE_SECONDS {
        return Vec::new();
    }
    let mut args = vec![format!("--takeover-silence={silence}s")];
    let timeout = silence.saturating_mul(2);
    if timeout > USUAL_TIMEOUT_SECONDS {
        args.push(format!("--takeover-timeout={timeout}s"));
    }
    args
}

/// The Pod's name, and the variables of the resource.
fn own_env(frame: &Frame<'_>) -> Result<Vec<Value>, Refusal> {
    let spec = &frame.sync.spec;
    let mut values = Vec::new();
    for (name, source) in &spec.env {
        let value = match is_template(source) {
            true => frame.templates.lenient(source).map_err(|error| Refusal::Template { field: format!("env.{name}"), error })?,
            false => source.clone(),
        };
        values.push((name.as_str(), source.as_str(), value));
    }
    let own = values.iter().position(|(name, ..)| *name == env::POD_NAME).map(|at| values.remove(at));
    let own = own.filter(|(_, _, value)| *value != NAME_REFERENCE);
    if let Some((_, _, value)) = &own {
        let remote = (spec.remote_path.as_str(), frame.remote);
        let mut texts = values.iter().map(|(_, source, value)| (*source, value.as_str())).chain([remote]);
        // A Pod that has no name yet would get this value where a template asks for the name.
        if has_pod_name(value) || texts.any(|(source, text)| has_pod_name(text) && !has_pod_name(source)) {
            return Err(Refusal::Field("env.POD_NAME", value.clone(), "left out: templates need it for the Pod's own name"));
        }
    }
    // First of all, since others may name it.
    let name = match own {
        Some((name, _, value)) => json!({"name": name, "value": value}),
        None => json!({"name": env::POD_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
    };
    let others = values.into_iter().map(|(name, _, value)| json!({"name": name, "value": value}));
    Ok([name].into_iter().chain(others).collect())
}

fn env(frame: &Frame<'_>, is_sidecar: bool) -> Result<Vec<Value>, Refusal> {
    let spec = &frame.sync.spec;
    let mut all = own_env(frame)?;
    let surroundings = frame.surroundings;
    let mut ours = vec![(env::VSC_SYNC, frame.sync.metadata.name.clone().unwrap_or_default())];
    if frame.volume.remembered_beside {
        ours.push((env::STATE_DIR, RUN_DIR.into()));
    }
    if let Some(url) = &surroundings.progress_url {
        ours.push((env::VSC_PROGRESS_URL, url.clone()));
        ours.extend(surroundings.progress_ca.clone().map(|authorities| (env::VSC_PROGRESS_CA, authorities)));
    }
    if is_sidecar {
        ours.push((env::VSC_TERMINATION_GRACE_SECONDS, frame.grace.to_string()));
    }
    ours.sort_unstable();
    let ours = ours.into_iter().map(|(name, value)| json!({"name": name, "value": value}));
    // Named by itself as well: a Secret that lacks it keeps the containers from starting, and nothing is pushed without encryption.
    let key = spec.key_secret().map(|secret| {
        let entry = json!({"name": secret, "key": KEY_ENTRY});
        json!({"name": KEY_ENTRY, "valueFrom": {"secretKeyRef": entry}})
    });
    for entry in ours.chain(key).chain(frame.volume.env.iter().cloned()) {
        match all.iter().find(|other| other["name"] == entry["name"]) {
            None => all.push(entry),
            // What the mount needs must mean the same here; of ours, the resource's own word wins.
            Some(other) if *other != entry && frame.volume.env.contains(&entry) => {
                return Err(Refusal::Field(
                    "env",
                    other["name"].as_str().unwrap_or_default().into(),
                    "another name: the volume's subPathExpr needs this one",
                ));
            }
            Some(_) => {}
        }
    }
    Ok(all)
}

/// The Secrets whose entries become variables, those of the resource first.
fn secrets(frame: &Frame<'_>) -> Result<Vec<Value>, Refusal> {
    let ours = frame.surroundings.namespace.as_str();
    let mut names: Vec<&str> = Vec::new();
    for (name, namespace) in frame.sync.spec.secrets() {
        let name = name.filter(|name| !name.is_empty());
        let name =
            name.ok_or_else(|| Refusal::Field("envFromSecrets", "an entry without name".into(), "the name of a Secret"))?;
        if let Some(theirs) = namespace.filter(|theirs| !theirs.is_empty() && *theirs != ours) {
            return Err(Refusal::Secret { name: name.into(), theirs: theirs.into(), ours: ours.into() });
        }
        names.push(name);
    }
    let encryption = frame.sync.spec.automatic_encryption.as_ref().is_some_and(|encryption| encryption.enabled);
    match frame.sync.spec.key_secret() {
        Some(key) if !names.contains(&key) => names.push(key),
        None if encryption => {
            return Err(Refusal::Field("automaticEncryption.secretName", String::new(), "the name of a Secret"));
        }
        _ => {}
    }
    Ok(names.into_iter().map(|name| json!({"secretRef": {"name": name}})).collect())
}

/// The port of the metrics, where it is free: the node's network has other users, and a port that is taken is somebody's.
fn metrics_port(frame: &Frame<'_>) -> Option<u16> {
    let port = frame.surroundings.metrics_port?;
    let shares_network = frame.pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true));
    let containers = list(frame.pod, "containers").chain(list(frame.pod, "initContainers"));
    let mut taken = containers.filter_map(|container| container.get("ports")?.as_array()).flatten();
    let is_taken = taken.any(|one| one["containerPort"] == json!(port) || one["name"] == METRICS_PORT_NAME);
    (!shares_network && !is_taken).then_some(port)
}

/// A text that the kubelet is to leave as it is.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

fn flag(args: &mut Vec<String>, is_set: bool, flag: &str) {
    if is_set {
        args.push(flag.into());
    }
}
