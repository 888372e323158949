//! What is known of the Pods that asked for syncing: their metadata, and nothing of what runs in them.

use crate::contract::kubernetes::{OPT_IN_LABEL, OPTED_IN, STATUS_ANNOTATION, SYNC_ANNOTATION};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Client};
use serde_json::Value;
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
pub struct Seen(Arc<PodMeta>);

impl Seen {
    #[cfg(test)]
    pub(super) fn of(pod: Arc<PodMeta>) -> Seen {
        Seen(pod)
    }

    /// The Pod of that name.
    pub fn find(pods: &Store<PodMeta>, namespace: &str, name: &str) -> Option<Seen> {
        pods.get(&ObjectRef::new(name).within(namespace)).map(Seen)
    }

    /// All Pods.
    pub fn all(pods: &Store<PodMeta>) -> Vec<Seen> {
        pods.state().into_iter().map(Seen).collect()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.0.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// What no other Pod ever has.
    pub fn uid(&self) -> &str {
        self.0.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Its labels.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        const NONE: &BTreeMap<String, String> = &BTreeMap::new();
        self.0.metadata.labels.as_ref().unwrap_or(NONE)
    }

    /// The PodFilesystemSync by which it was injected.
    pub fn injected_by(&self) -> Option<String> {
        let status: Value = serde_json::from_str(self.annotation(STATUS_ANNOTATION)?).ok()?;
        status.get("sync")?.as_str().map(str::to_owned)
    }

    /// Whether it bears the mark of an injection.
    pub fn is_injected(&self) -> bool {
        self.annotation(STATUS_ANNOTATION).is_some()
    }

    /// The PodFilesystemSync that it chose itself.
    pub fn chosen(&self) -> Option<&str> {
        self.annotation(SYNC_ANNOTATION)
    }

    /// Whether it is being deleted.
    pub fn is_ending(&self) -> bool {
        self.0.metadata.deletion_timestamp.is_some()
    }

    /// When it was made, in milliseconds since 1970.
    pub fn made_ms(&self) -> i64 {
        self.0.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_millisecond())
    }

    /// For Events.
    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: self.0.metadata.name.clone(),
            namespace: self.0.metadata.namespace.clone(),
            uid: self.0.metadata.uid.clone(),
            ..ObjectReference::default()
        }
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        let value = self.0.metadata.annotations.as_ref()?.get(name)?;
        Some(value.trim()).filter(|value| !value.is_empty())
    }
}
