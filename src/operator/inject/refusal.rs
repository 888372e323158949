//! Why a Pod gets no containers, in the words that whoever makes the Pod is shown.

use crate::contract::kubernetes::{HOST_PATH_ANNOTATION, SYNC_ANNOTATION};
use crate::operator::template::TemplateError;

/// Why a Pod gets no containers, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Several resources choose the Pod.
    #[error("the PodFilesystemSyncs {} all choose this Pod: narrow their podSelectors, or name one in the Pod's annotation {SYNC_ANNOTATION}", .0.join(", "))]
    Ambiguous(Vec<String>),
    /// The Pod names a resource that is not there.
    #[error("the annotation {SYNC_ANNOTATION} names the PodFilesystemSync '{name}', which is not in namespace {namespace}; there {}", there(.known))]
    Unknown {
        /// The name.
        name: String,
        /// Where it was looked for.
        namespace: String,
        /// Those that are there.
        known: Vec<String>,
    },
    /// An annotation cannot be used.
    #[error("the annotation {0} is '{1}', and should be {2}")]
    Annotation(&'static str, String, &'static str),
    /// A field of the resource cannot be used.
    #[error("spec.{0} of the PodFilesystemSync is '{1}', and should be {2}")]
    Field(&'static str, String, &'static str),
    /// The schedule cannot be used.
    #[error("spec.syncOptions.schedule of the PodFilesystemSync: {0}")]
    Schedule(String),
    /// A directory that is no volume.
    #[error("spec.localPath of the PodFilesystemSync is '{0}': {1}. Name the directory in which the volume is mounted")]
    LocalPath(String, String),
    /// A template came to nothing.
    #[error("spec.{field} of the PodFilesystemSync is a template that comes to nothing for this Pod: {error}")]
    Template {
        /// Where it stands.
        field: String,
        /// Why.
        error: TemplateError,
    },
    /// The remote path cannot be used.
    #[error("spec.remotePath of the PodFilesystemSync comes to '{0}' for this Pod: {1}")]
    RemotePath(String, &'static str),
    /// No volume lies there.
    #[error(
        "no container of the Pod mounts a volume at or above '{0}' (spec.localPath of the PodFilesystemSync); mounted are {1}. What is written outside of a volume is gone with the container"
    )]
    NoVolume(String, String),
    /// Two volumes lie there.
    #[error(
        "containers of the Pod mount different volumes at '{0}': {1}. Mount one of them elsewhere, or name a directory below it in spec.localPath"
    )]
    TwoVolumes(String, String),
    /// The volume cannot be kept.
    #[error("the volume '{0}' at spec.localPath of the PodFilesystemSync is {1}")]
    Volume(String, &'static str),
    /// A directory of the node.
    #[error(
        "the volume '{0}' at spec.localPath of the PodFilesystemSync is a directory of the node (hostPath), which a restore changes for all that use it: if that is meant, set the Pod's annotation {HOST_PATH_ANNOTATION}: allow"
    )]
    HostPath(String),
    /// The Pod has a volume of our name.
    #[error("the Pod has a volume named '{0}' of its own: rename it, the controller adds one of that name")]
    VolumeName(String),
    /// A subPathExpr that cannot be taken over.
    #[error(
        "the mount of volume '{volume}' has subPathExpr '{expression}', which needs the variable {name}: {problem}. Write the path in subPath, or the variable as a plain value or a field of the Pod"
    )]
    SubPath {
        /// The volume.
        volume: String,
        /// The expression.
        expression: String,
        /// The variable.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A container that is not there.
    #[error(
        "spec.initContainerPlacement.containerReference of the PodFilesystemSync is '{0}'; the Pod's init containers are {1}"
    )]
    Placement(String, String),
    /// A Secret of another namespace.
    #[error(
        "spec.envFromSecrets of the PodFilesystemSync names the Secret '{name}' of namespace '{theirs}': a Pod gets Secrets of its own namespace, {ours}, and of no other"
    )]
    Secret {
        /// The Secret.
        name: String,
        /// The namespace that was written.
        theirs: String,
        /// The Pod's.
        ours: String,
    },
    /// A Pod that would never end.
    #[error(
        "the Pod ends by itself (restartPolicy), and a sidecar on this cluster, which has no native sidecars, would keep it from ending: use Kubernetes 1.29 or later, or only restore (spec.syncOptions.allowedDirections.toRemote: false)"
    )]
    NeverEnds,
    /// Containers of an earlier injection that do not belong there any more.
    #[error(
        "the Pod has {0} of an earlier injection, which the PodFilesystemSync no longer asks for: remove the containers from the manifest, and its annotation riotkit.org/volume-sync-status"
    )]
    Stale(String),
}

fn there(known: &[String]) -> String {
    if known.is_empty() { "is none".into() } else { format!("are {}", known.join(", ")) }
}
