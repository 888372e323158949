//! What is known of the Pods that asked for syncing: their metadata, and nothing of what runs in them.

use super::crd::PodFilesystemSync;
use super::expansion::in_pod;
use crate::contract::kubernetes::{
    MIRROR_ANNOTATION, OPT_IN_LABEL, OPTED_IN, SIDECAR_CONTAINER, STATUS_ANNOTATION, SYNC_ANNOTATION, TOKEN_VOLUME,
};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::core::{PartialObjectMeta, Selector, SelectorExt};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Client};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The metadata of a Pod.
pub type PodMeta = PartialObjectMeta<Pod>;

/// The Pods' metadata, to be watched with [`wanted`].
pub fn api(client: Client) -> Api<PodMeta> {
    Api::all(client)
}

/// Pods that asked for syncing and have not ended.
pub fn wanted() -> watcher::Config {
    watcher::Config::default()
        .labels(&format!("{OPT_IN_LABEL}={OPTED_IN}"))
        .fields("status.phase!=Succeeded,status.phase!=Failed")
}

/// One Pod, as far as it matters here.
#[derive(Debug, Clone)]
pub struct Seen {
    metadata: Arc<PodMeta>,
    injected: Injected,
}

/// What an injection wrote down, as far as it matters here; an earlier version wrote less.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Injected {
    sync: Option<String>,
    remote: Option<String>,
    key: Option<String>,
    sidecar: Vec<String>,
    volumes: Vec<String>,
}

impl Seen {
    /// What a Pod's metadata tell.
    pub(super) fn of(metadata: Arc<PodMeta>) -> Seen {
        let mut seen = Seen { metadata, injected: Injected::default() };
        let injected = seen.annotation(STATUS_ANNOTATION).and_then(|text| serde_json::from_str(text).ok());
        seen.injected = injected.unwrap_or_default();
        seen
    }

    /// The Pod of that name.
    pub fn find(pods: &Store<PodMeta>, namespace: &str, name: &str) -> Option<Seen> {
        pods.get(&ObjectRef::new(name).within(namespace)).map(Seen::of)
    }

    /// All Pods.
    pub fn all(pods: &Store<PodMeta>) -> Vec<Seen> {
        pods.state().into_iter().map(Seen::of).collect()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.metadata.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// What no other Pod ever has.
    pub fn uid(&self) -> &str {
        self.metadata.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Its labels.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        const NONE: &BTreeMap<String, String> = &BTreeMap::new();
        self.metadata.metadata.labels.as_ref().unwrap_or(NONE)
    }

    /// The PodFilesystemSync by which it was injected.
    pub fn injected_by(&self) -> Option<&str> {
        self.injected.sync.as_deref()
    }

    /// Its path at the remote, where that was written down.
    pub fn directory(&self) -> Option<String> {
        self.injected.remote.as_deref().map(|remote| in_pod(remote, self.name()))
    }

    /// The Secret with its key, where one was made for it.
    pub fn key(&self) -> Option<&str> {
        self.injected.key.as_deref()
    }

    /// Whether a sidecar of ours pushes its volume and can say so.
    pub fn reports_pushes(&self) -> bool {
        let has = |names: &[String], name: &str| names.iter().any(|one| one == name);
        has(&self.injected.sidecar, SIDECAR_CONTAINER) && has(&self.injected.volumes, TOKEN_VOLUME)
    }

    /// Whether it bears the mark of an injection.
    pub fn is_injected(&self) -> bool {
        self.annotation(STATUS_ANNOTATION).is_some()
    }

    /// The PodFilesystemSync that it chose itself.
    pub fn chosen(&self) -> Option<&str> {
        self.annotation(SYNC_ANNOTATION)
    }

    /// Whether it is the kubelet's image of a static Pod, which nothing can change.
    pub fn is_image(&self) -> bool {
        self.annotation(MIRROR_ANNOTATION).is_some()
    }

    /// Whether it is being deleted.
    pub fn is_ending(&self) -> bool {
        self.metadata.metadata.deletion_timestamp.is_some()
    }

    /// When it was made, in milliseconds since 1970.
    pub fn made_ms(&self) -> i64 {
        self.metadata.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_millisecond())
    }

    /// For Events.
    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: self.metadata.metadata.name.clone(),
            namespace: self.metadata.metadata.namespace.clone(),
            uid: self.metadata.metadata.uid.clone(),
            ..ObjectReference::default()
        }
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        let value = self.metadata.metadata.annotations.as_ref()?.get(name)?;
        Some(value.trim()).filter(|value| !value.is_empty())
    }
}

/// A PodFilesystemSync, and which Pods are its own.
pub struct Chooser<'a> {
    /// The PodFilesystemSync.
    pub sync: &'a PodFilesystemSync,
    selector: Option<Selector>,
}

impl<'a> Chooser<'a> {
    /// Of a PodFilesystemSync.
    pub fn new(sync: &'a PodFilesystemSync) -> Chooser<'a> {
        Chooser { sync, selector: sync.spec.selector() }
    }

    /// The one by which a Pod was injected, or that it names, or that chooses it.
    pub fn chooses(&self, pod: &Seen) -> bool {
        match pod.injected_by().or(pod.chosen()) {
            Some(meant) => self.sync.metadata.name.as_deref() == Some(meant),
            None => self.selector.as_ref().is_some_and(|selector| selector.matches(pod.labels())),
        }
    }
}
