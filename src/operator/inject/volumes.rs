//! The volume that is kept, and the volumes that the containers bring.

use super::{Refusal, Surroundings, annotation, containers, list, name_of};
use crate::contract::control::RUN_DIR;
use crate::contract::kubernetes::{HOST_PATH_ANNOTATION, RUN_VOLUME, TOKEN_VOLUME};
use crate::contract::progress::{AUDIENCE, TOKEN_FILE};
use crate::disk::forbidden_root;
use crate::operator::expansion::{expand, variables};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// Volumes that nothing can be written to, by the name of their source.
const UNWRITABLE: [&str; 6] = ["configMap", "secret", "projected", "downwardAPI", "image", "gitRepo"];
/// How long a token for the controller is valid; the kubelet replaces it in time.
const TOKEN_SECONDS: u64 = 3600;

/// The volume that is kept.
#[derive(Debug)]
pub(super) struct DataVolume<'a> {
    /// Where it is mounted, for writing.
    pub mount: Value,
    /// Variables that the mount's subPathExpr needs.
    pub env: Vec<Value>,
    /// The container that mounts it.
    pub container: &'a Value,
    /// What is remembered of it lies in the run volume, not on itself: it lives no longer than that, or cannot be written to. The
    /// sidecar mounts it for reading.
    pub remembered_beside: bool,
    /// It lies in memory, and is gone when the node starts again; so must be what is remembered of it.
    pub is_in_memory: bool,
    /// What whoever made the Pod should know.
    pub warnings: Vec<String>,
}

/// One mount of one container.
struct Mount<'a> {
    container: &'a Value,
    mount: &'a Value,
    path: &'a Path,
}

impl Mount<'_> {
    /// The volume and the directory on it, for comparing: variables that a subPathExpr names may differ between containers.
    fn place(&self) -> String {
        let written = |name: &str| text(self.mount, name).filter(|part| !part.is_empty());
        let expression = || written("subPathExpr").map(|expression| expand(expression, |name| self.meaning(name)));
        let part = written("subPath").map(String::from).or_else(expression).unwrap_or_default();
        format!("{}/{part}", name_of(self.mount)).trim_end_matches('/').to_string()
    }

    fn meaning(&self, name: &str) -> Option<String> {
        let entry = variable(self.container, name)?;
        Some(text(entry, "value").map_or_else(|| format!("$({name}: {})", entry["valueFrom"]), String::from))
    }
}

/// The directory as it is written, with what means nothing taken out; one that cannot be a volume is refused.
pub(super) fn local_path(written: &str) -> Result<String, Refusal> {
    let path: PathBuf = Path::new(written).components().filter(|part| *part != Component::CurDir).collect();
    let wrong = |why: &str| Refusal::LocalPath(written.into(), why.into());
    if let Some(why) = forbidden_root(&path) {
        return Err(wrong(why));
    }
    if own_places().iter().any(|own| own.starts_with(&path) || path.starts_with(own)) {
        return Err(wrong("the controller mounts something of its own there"));
    }
    if written.chars().any(char::is_control) {
        return Err(wrong("it has a control character"));
    }
    Ok(path.to_string_lossy().into_owned())
}

fn own_places() -> [PathBuf; 2] {
    [PathBuf::from(RUN_DIR), token_folder()]
}

/// Where the token lies: where the application's would be, so that Kubernetes does not put that one there.
fn token_folder() -> PathBuf {
    Path::new(TOKEN_FILE).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The volume at a directory: the one that is mounted closest above it, by components of the path.
pub(super) fn find<'a>(pod: &'a Value, local: &str, restores: bool) -> Result<DataVolume<'a>, Refusal> {
    let local = Path::new(local);
    for device in containers(pod).flat_map(|container| entries(container, "volumeDevices")) {
        if text(device, "devicePath").is_some_and(|path| local.starts_with(path)) {
            return Err(Refusal::Volume(name_of(device).into(), "a block device: only a directory can be kept"));
        }
    }
    let chosen = closest(pod, local)?;
    let name = name_of(chosen.mount);
    if own_places().iter().any(|own| own.starts_with(chosen.path)) {
        return Err(Refusal::Volume(
            name.into(),
            "mounted above directories that every container needs: mount it at the directory itself",
        ));
    }
    let (remembered_beside, is_in_memory) = nature(pod, name, restores)?;
    let mut mount = json!({"name": name, "mountPath": text(chosen.mount, "mountPath")});
    for field in ["subPath", "subPathExpr"] {
        if let Some(value) = text(chosen.mount, field).filter(|value| !value.is_empty()) {
            mount[field] = value.into();
        }
    }
    let below: BTreeSet<&str> = containers(pod)
        .flat_map(|container| entries(container, "volumeMounts"))
        .filter_map(|mount| text(mount, "mountPath"))
        .filter(|path| Path::new(path) != local && Path::new(path).starts_with(local))
        .collect();
    let warnings = below.iter().map(|path| format!("the volume at {path} is another one, and is not kept")).collect();
    let env = expression_env(chosen.container, chosen.mount)?;
    Ok(DataVolume { mount, env, container: chosen.container, remembered_beside, is_in_memory, warnings })
}

fn closest<'a>(pod: &'a Value, local: &Path) -> Result<Mount<'a>, Refusal> {
    // Those that run beside the sidecar come first: they write, and an init container may prepare something else there.
    let all = list(pod, "containers").chain(list(pod, "initContainers"));
    let mut mounts: Vec<Mount<'a>> = all
        .flat_map(|container| entries(container, "volumeMounts").map(move |mount| (container, mount)))
        .filter_map(|(container, mount)| Some(Mount { container, mount, path: Path::new(text(mount, "mountPath")?) }))
        .filter(|mount| local.starts_with(mount.path))
        .collect();
    let running: BTreeSet<&str> = list(pod, "containers").map(name_of).collect();
    if mounts.iter().any(|mount| running.contains(name_of(mount.container))) {
        mounts.retain(|mount| running.contains(name_of(mount.container)));
    }
    let Some(depth) = mounts.iter().map(|mount| mount.path.components().count()).max() else {
        let paths: BTreeSet<&str> = containers(pod)
            .flat_map(|container| entries(container, "volumeMounts"))
            .filter_map(|mount| text(mount, "mountPath"))
            .collect();
        let paths = if paths.is_empty() { "none".to_string() } else { paths.into_iter().collect::<Vec<_>>().join(", ") };
        return Err(Refusal::NoVolume(local.display().to_string(), paths));
    };
    mounts.retain(|mount| mount.path.components().count() == depth);
    let places: BTreeSet<String> = mounts.iter().map(Mount::place).collect();
    if places.len() > 1 {
        let path = mounts[0].path.display().to_string();
        return Err(Refusal::TwoVolumes(path, places.into_iter().collect::<Vec<_>>().join(" and ")));
    }
    let writes = mounts.iter().position(|mount| mount.mount.get("readOnly") != Some(&Value::Bool(true)));
    Ok(mounts.swap_remove(writes.unwrap_or_default()))
}

/// Whether what is remembered of the volume lies beside it, and whether it lies in memory.
fn nature(pod: &Value, name: &str, restores: bool) -> Result<(bool, bool), Refusal> {
    let source = list(pod, "volumes").find(|volume| name_of(volume) == name).and_then(Value::as_object);
    let source = source.into_iter().flatten().find(|(kind, value)| *kind != "name" && !value.is_null());
    let Some((kind, source)) = source else { return Ok((false, false)) };
    if UNWRITABLE.contains(&kind.as_str()) {
        return Err(Refusal::Volume(name.into(), "of a kind that nothing can be written to"));
    }
    if kind == "hostPath" && annotation(pod, HOST_PATH_ANNOTATION) != Some("allow") {
        return Err(Refusal::HostPath(name.into()));
    }
    let is_read_only = source.get("readOnly") == Some(&Value::Bool(true));
    if is_read_only && restores {
        let why = "read-only by its source, so that nothing can be restored into it: only push it \
                   (spec.syncOptions.allowedDirections.fromRemote: false), or make it writable";
        return Err(Refusal::Volume(name.into(), why));
    }
    let is_in_memory = kind == "emptyDir" && text(source, "medium") == Some("Memory");
    Ok((kind == "emptyDir" || is_read_only, is_in_memory))
}

/// The variables that a mount's subPathExpr names, from the container that mounts it.
fn expression_env(container: &Value, mount: &Value) -> Result<Vec<Value>, Refusal> {
    let expression = text(mount, "subPathExpr").unwrap_or_default();
    let mut needed = Vec::new();
    for name in variables(expression) {
        let entry = variable(container, name);
        let is_plain = |entry: &Value| text(entry, "value").is_some_and(|value| !value.contains("$("));
        let is_field = |entry: &Value| entry.pointer("/valueFrom/fieldRef").is_some_and(Value::is_object);
        let problem = match entry {
            None => "the container that mounts it does not set it by itself",
            Some(entry) if is_plain(entry) || is_field(entry) => {
                needed.push(entry.clone());
                continue;
            }
            Some(_) => "it comes from elsewhere",
        };
        let (volume, expression) = (name_of(mount).to_string(), expression.to_string());
        return Err(Refusal::SubPath { volume, expression, name: name.into(), problem });
    }
    Ok(needed)
}

/// The volumes that the two containers bring, as far as the Pod has not got them.
pub(super) fn ours(pod: &Value, volume: &DataVolume<'_>, surroundings: &Surroundings) -> Result<Vec<Value>, Refusal> {
    let there = |name: &str| list(pod, "volumes").find(|volume| name_of(volume) == name);
    let mut ours = Vec::new();
    match there(RUN_VOLUME) {
        None => {
            // Without a limit: exceeding one is an eviction.
            let source = if volume.is_in_memory { json!({"medium": "Memory"}) } else { json!({}) };
            ours.push(json!({"name": RUN_VOLUME, "emptyDir": source}));
        }
        Some(theirs) if theirs.get("emptyDir").is_some_and(Value::is_object) => {}
        Some(_) => return Err(Refusal::VolumeName(RUN_VOLUME.into())),
    }
    if surroundings.progress_url.is_some() {
        if there(TOKEN_VOLUME).is_some() {
            return Err(Refusal::VolumeName(TOKEN_VOLUME.into()));
        }
        let path = Path::new(TOKEN_FILE).file_name().unwrap_or_default().to_string_lossy();
        let token = json!({"audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": path});
        ours.push(json!({"name": TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}}));
    }
    Ok(ours)
}

/// How the two containers mount all of it; the sidecar only reads what it need not write.
pub(super) fn mounts(volume: &DataVolume<'_>, surroundings: &Surroundings, reads_only: bool) -> Vec<Value> {
    let mut data = volume.mount.clone();
    if reads_only && volume.remembered_beside {
        data["readOnly"] = true.into();
    }
    // Whatever lies there keeps Kubernetes from mounting the application's token for its API.
    let token = match surroundings.progress_url {
        Some(_) => json!({"name": TOKEN_VOLUME, "mountPath": token_folder(), "readOnly": true}),
        None => json!({"name": RUN_VOLUME, "mountPath": token_folder(), "subPath": "none", "readOnly": true}),
    };
    vec![data, json!({"name": RUN_VOLUME, "mountPath": RUN_DIR}), token]
}

/// A variable of a container: of several of one name the kubelet takes the last.
fn variable<'a>(container: &'a Value, name: &str) -> Option<&'a Value> {
    entries(container, "env").filter(|entry| name_of(entry) == name).last()
}

fn entries<'a>(thing: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    thing.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(thing: &'a Value, name: &str) -> Option<&'a str> {
    thing.get(name).and_then(Value::as_str)
}
