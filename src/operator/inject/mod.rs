//! What is added to a Pod so that its volume is kept: an init container that restores, a sidecar that pushes, and what the two need.
//!
//! Pure: a Pod and a PodFilesystemSync in, a patch out. The Pod is JSON from end to end, so that fields unknown here survive; the
//! patch consists of `add` alone and touches the two containers, their volumes and annotations, the grace period where it is
//! raised, and the Secrets that pull the image. Applied twice, the second patch is empty: what is there already is recognized by the
//! status annotation, compared, and only mended. What another mutator added to our containers stays.

mod containers;
mod identity;
mod patch;
mod refusal;
mod resources;
mod select;
mod volumes;

pub use patch::Add;
pub use refusal::Refusal;
pub use select::{Choice, names, select};

use self::containers::Frame;
use self::patch::Wanted;
use crate::contract::env::POD_NAME;
use crate::contract::kubernetes::{
    MIRROR_ANNOTATION, NATIVE_ANNOTATION, RESTORE_CONTAINER, RUN_VOLUME, SIDECAR_CONTAINER, STATUS_ANNOTATION, TOKEN_VOLUME,
};
use crate::cycle::Schedule;
use crate::operator::crd::{Method, Native, PodFilesystemSync};
use crate::operator::expansion::{has_pod_name, in_pod, variables};
use crate::operator::template::Templates;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the status annotation.
const STATUS_VERSION: u64 = 1;
/// What a Pod gets that names no grace period (Kubernetes).
const USUAL_GRACE_SECONDS: i64 = 30;
/// The containers are told of no longer one: they reckon with moments that exist.
const MOST_GRACE_SECONDS: i64 = u32::MAX as i64;

/// What the controller knows and the Pod does not say.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The namespace of the request.
    pub namespace: String,
    /// The image of the two containers.
    pub image: String,
    /// When it is pulled; empty: as Kubernetes does by itself.
    pub pull_policy: String,
    /// Secrets of the Pod's namespace with which it is pulled.
    pub pull_secrets: Vec<String>,
    /// Whether the cluster has native sidecars, or is said to.
    pub native: bool,
    /// Where sidecars report; none: they do not.
    pub progress_url: Option<String>,
    /// Whose word is taken for who listens there: certificates in PEM, in base64; none: those that the image trusts.
    pub progress_ca: Option<String>,
    /// The user and group where nothing else says one.
    pub default_user: u32,
    /// Whether the cluster itself gives each namespace its users, as OpenShift does.
    pub openshift: bool,
    /// Requests and limits of the two containers; an empty object: those of this program.
    pub resources: Value,
    /// Added to their security context.
    pub security_context: Value,
    /// The port of the metrics; none: there are none.
    pub metrics_port: Option<u16>,
}

/// Which kind of sidecar a Pod gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SidecarKind {
    /// An init container that keeps running: it ends after the application.
    Native,
    /// One of the Pod's containers: it ends beside the application.
    Legacy,
}

/// What is to be done with a Pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    /// What is added; nothing where all is there.
    pub patch: Vec<Add>,
    /// What whoever made the Pod should know.
    pub warnings: Vec<String>,
    /// Which kind of sidecar it gets.
    pub kind: SidecarKind,
    /// Why nothing is added, where there is nothing to be done.
    pub skipped: Option<&'static str>,
}

/// What an earlier injection wrote down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Status {
    v: u64,
    sync: String,
    #[serde(default)]
    generation: i64,
    kind: SidecarKind,
    #[serde(default)]
    init: Vec<String>,
    #[serde(default)]
    sidecar: Vec<String>,
    #[serde(default)]
    volumes: Vec<String>,
    /// The path at the remote as the arguments have it, where nothing but the Pod's name is missing from it: no other is this
    /// Pod's to report about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remote: Option<String>,
    /// The Secret with the key that was made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Containers of our names that the Pod's author wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    manual: Vec<String>,
}

/// What is added to a Pod.
pub fn inject(pod: &Value, sync: &PodFilesystemSync, surroundings: &Surroundings) -> Result<Injection, Refusal> {
    let mut injection = Injection { patch: Vec::new(), warnings: Vec::new(), kind: SidecarKind::Native, skipped: None };
    if let Some(reason) = skipped(pod, sync) {
        injection.skipped = Some(reason);
        return Ok(injection);
    }
    let before = earlier(pod);
    let bare = without_ours(pod, before.as_ref());
    let (wanted, warnings) = want(&bare, sync, surroundings, before.as_ref())?;
    injection.kind = wanted.status.kind;
    injection.warnings = warnings;
    injection.patch = patch::patch(pod, &wanted, before.as_ref())?;
    Ok(injection)
}

/// Why a Pod is left as it is.
fn skipped(pod: &Value, sync: &PodFilesystemSync) -> Option<&'static str> {
    if annotation(pod, MIRROR_ANNOTATION).is_some() {
        return Some("it is the image of a static Pod");
    }
    if pod.pointer("/spec/os/name") == Some(&"windows".into())
        || pod.pointer("/spec/nodeSelector/kubernetes.io~1os") == Some(&"windows".into())
    {
        return Some("it is a Pod for Windows");
    }
    sync.spec.asks_for_nothing().then_some("no direction is allowed")
}

/// What an earlier injection wrote on the Pod, if that can be read.
fn earlier(pod: &Value) -> Option<Status> {
    let status: Status = serde_json::from_str(annotation(pod, STATUS_ANNOTATION)?).ok()?;
    (status.v == STATUS_VERSION).then_some(status)
}

/// The Pod as it was without us, as far as it can be told: everything is decided on it, so that it is decided alike again.
fn without_ours(pod: &Value, before: Option<&Status>) -> Value {
    let mut bare = pod.clone();
    if let Some(before) = before {
        for (list, names) in
            [("initContainers", &before.init), ("initContainers", &before.sidecar), ("containers", &before.sidecar)]
        {
            if let Some(containers) = bare.pointer_mut("/spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut)
            {
                containers
                    .retain(|container| !(is_ours(name_of(container)) && names.iter().any(|name| name == name_of(container))));
            }
        }
        if let Some(volumes) = bare.pointer_mut("/spec/volumes").and_then(Value::as_array_mut) {
            let ours = |name: &str| (name == RUN_VOLUME || name == TOKEN_VOLUME) && before.volumes.iter().any(|one| one == name);
            volumes.retain(|volume| !ours(name_of(volume)));
        }
    }
    if let Some(annotations) = bare.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(STATUS_ANNOTATION);
    }
    bare
}

/// Everything that the Pod is to have in the end.
fn want(
    pod: &Value,
    sync: &PodFilesystemSync,
    surroundings: &Surroundings,
    before: Option<&Status>,
) -> Result<(Wanted, Vec<String>), Refusal> {
    let mut warnings = Vec::new();
    let options = &sync.spec.sync_options;
    if options.method == Method::Scheduler {
        options.schedule.parse::<Schedule>().map_err(|error| Refusal::Schedule(error.to_string()))?;
    }
    let local = volumes::local_path(&sync.spec.local_path)?;
    let templates = Templates::new(pod, &surroundings.namespace);
    let remote = containers::remote_path(&sync.spec.remote_path, &templates)?;
    let kind = kind(pod, sync, surroundings, before)?;
    let manual: Vec<String> = containers(pod).map(name_of).filter(|name| is_ours(name)).map(String::from).collect();
    let is_manual = |name: &str| manual.iter().any(|one| one == name);
    let pushes = options.directions().to_remote && !sync.spec.suspend;
    if pushes && kind == SidecarKind::Legacy && !keeps_running(pod) {
        return Err(Refusal::NeverEnds);
    }
    let restores = options.directions().from_remote && (options.restore_remote_on_first_run || is_known(pod, sync, &remote));
    let volume = volumes::find(pod, &local, restores)?;
    let least = options.termination_grace_period_seconds.unwrap_or_default().min(MOST_GRACE_SECONDS);
    let grace = grace_seconds(pod).max(least);
    let frame =
        Frame { pod, sync, surroundings, templates: &templates, local: &local, remote: &remote, volume: &volume, grace, kind };
    let parts = containers::parts(&frame, restores && !is_manual(RESTORE_CONTAINER), pushes && !is_manual(SIDECAR_CONTAINER))?;
    warnings.extend(parts.warnings);
    warnings.extend(volume.warnings.iter().cloned());
    warnings.extend(
        manual
            .iter()
            .map(|name| format!("container {name} is the Pod's own and stays as it is: remove it to get the controller's")),
    );
    warnings.extend(warnings_of(pod, sync, surroundings, kind, pushes && !has_pod_name(&remote), restores));

    let volumes = match parts.restore.is_some() || parts.sidecar.is_some() {
        true => volumes::ours(pod, &volume, surroundings)?,
        false => Vec::new(),
    };
    // A container that the Pod's author wrote may report whatever it was told to.
    let reporting = parts.sidecar.as_ref().or(parts.restore.as_ref()).filter(|_| manual.is_empty());
    let named = |container: &Option<Value>| container.iter().map(|container| name_of(container).to_string()).collect();
    let status = Status {
        v: STATUS_VERSION,
        sync: sync.metadata.name.clone().unwrap_or_default(),
        generation: sync.metadata.generation.unwrap_or_default(),
        kind,
        init: named(&parts.restore),
        sidecar: named(&parts.sidecar),
        volumes: volumes.iter().map(|volume| name_of(volume).to_string()).collect(),
        remote: reporting.and_then(|container| path_to_report(&remote, container)),
        key: reporting.and(sync.spec.key_secret()).map(String::from),
        manual,
    };
    let wanted = Wanted {
        restore: parts.restore,
        sidecar: parts.sidecar,
        volumes,
        status,
        placement: sync.spec.init_container_placement.clone().unwrap_or_default(),
        grace: (grace > grace_seconds(pod)).then_some(grace),
        pull_secrets: surroundings.pull_secrets.clone(),
    };
    Ok((wanted, warnings))
}

/// The Pod's own word, then the resource's, then what the cluster can. A Pod that has its sidecar already keeps the kind.
fn kind(
    pod: &Value,
    sync: &PodFilesystemSync,
    surroundings: &Surroundings,
    before: Option<&Status>,
) -> Result<SidecarKind, Refusal> {
    let said = match annotation(pod, NATIVE_ANNOTATION) {
        Some("always" | "true") => Native::Always,
        Some("never" | "false") => Native::Never,
        Some("auto" | "") => Native::Auto,
        Some(other) => return Err(Refusal::Annotation(NATIVE_ANNOTATION, other.into(), "always, never or auto")),
        None => sync.spec.sidecar.as_ref().map_or(Native::Auto, |sidecar| sidecar.native),
    };
    let is_native = match (said, before.filter(|before| !before.sidecar.is_empty())) {
        (Native::Always, _) => true,
        (Native::Never, _) => false,
        (Native::Auto, Some(before)) if before.kind == SidecarKind::Legacy => false,
        (Native::Auto, _) => surroundings.native,
    };
    Ok(if is_native { SidecarKind::Native } else { SidecarKind::Legacy })
}

/// Whether this remote path ever held all of a directory. That of a Pod that has no name yet, and is named by it, is a new one.
fn is_known(pod: &Value, sync: &PodFilesystemSync, remote: &str) -> bool {
    let name = pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    if name.is_empty() && has_pod_name(remote) {
        return false;
    }
    let path = in_pod(remote, name);
    let locations = sync.status.iter().flat_map(|status| &status.locations);
    locations
        .filter(|location| location.synchronized_to_remote)
        .any(|location| location.directory.trim_matches('/') == path.trim_matches('/'))
}

/// The path at the remote, where nothing but the Pod's name is missing from it in one of our containers.
fn path_to_report(remote: &str, container: &Value) -> Option<String> {
    let has_own_name = container.pointer("/env/0/valueFrom").is_some_and(Value::is_object);
    variables(remote).iter().all(|name| *name == POD_NAME && has_own_name).then(|| remote.to_string())
}

fn warnings_of(
    pod: &Value,
    sync: &PodFilesystemSync,
    surroundings: &Surroundings,
    kind: SidecarKind,
    shares_path: bool,
    restores: bool,
) -> Vec<String> {
    let options = &sync.spec.sync_options;
    let name = surroundings.image.rsplit('/').next().unwrap_or_default();
    let is_floating = !surroundings.image.contains('@') && (!name.contains(':') || name.ends_with(":latest"));
    let is_replica = owner_kind(pod) == Some("ReplicaSet");
    [
        (sync.spec.suspend, "the PodFilesystemSync is suspended: the volume is restored, and nothing is pushed"),
        (is_replica && shares_path, "one Pod at a time may push: give the Deployment one replica and the strategy Recreate"),
        (
            kind == SidecarKind::Legacy && shares_path,
            "this sidecar ends beside the application, not after it: what is written last may be missing",
        ),
        (is_floating, "the containers' image has no fixed version: let the controller's installation name one"),
        (options.allowed_directories.is_some(), "allowedDirectories is an older spelling: write allowedDirections"),
        (
            !restores && options.directions().from_remote,
            "nothing is restored: this remote path holds nothing of this PodFilesystemSync yet",
        ),
    ]
    .into_iter()
    .filter(|(applies, _)| *applies)
    .map(|(_, warning)| warning.to_string())
    .collect()
}

fn is_ours(name: &str) -> bool {
    name == RESTORE_CONTAINER || name == SIDECAR_CONTAINER
}

fn name_of(thing: &Value) -> &str {
    thing.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn annotation<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    pod.pointer("/metadata/annotations")?.get(name)?.as_str().map(str::trim)
}

/// The Pod's containers, those that start first first.
fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    list(pod, "initContainers").chain(list(pod, "containers"))
}

fn list<'a>(pod: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    pod.get("spec").and_then(|spec| spec.get(name)).and_then(Value::as_array).into_iter().flatten()
}

fn owner_kind(pod: &Value) -> Option<&str> {
    let owners = pod.pointer("/metadata/ownerReferences")?.as_array()?;
    owners.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?.get("kind")?.as_str()
}

/// Whether the Pod is meant to run on and on, so that a container that never ends is no harm.
fn keeps_running(pod: &Value) -> bool {
    pod.pointer("/spec/restartPolicy").is_none_or(|policy| policy.is_null() || policy == "Always")
}

fn grace_seconds(pod: &Value) -> i64 {
    let written = pod.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
    written.unwrap_or(USUAL_GRACE_SECONDS).clamp(0, MOST_GRACE_SECONDS)
}
