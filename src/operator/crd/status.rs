//! What the controller tells of a PodFilesystemSync.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the controller tells of a PodFilesystemSync.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodFilesystemSyncStatus {
    /// The generation of the resource that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready sums up; Accepted: the resource can be used; EncryptionKeyReady: its key is there; Synced: its Pods are synced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[schemars(transform = super::schema::without_default)]
    pub conditions: Vec<Condition>,
    /// The chosen Pods, counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<Pods>,
    /// When the remote last held all of the directory, for the writer that is furthest behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,
    /// Bytes that wait to be pushed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_bytes: Option<i64>,
    /// The key that is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Each path at the remote.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["directory"]))]
    #[schemars(transform = super::schema::without_default)]
    pub locations: Vec<Location>,
}

/// The chosen Pods, counted.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pods {
    /// Pods that the resource chooses.
    pub matched: i64,
    /// Those that have the containers.
    pub injected: i64,
    /// Those whose syncs fail.
    pub failing: i64,
}

/// The key that is in use.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Encryption {
    /// The Secret that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// Tells keys apart and opens nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<String>,
}

/// One path at the remote.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Location {
    /// The path at the remote, as the template came out.
    pub directory: String,
    /// Whether it ever held all of a directory.
    pub synchronized_to_remote: bool,
    /// The Pod that wrote last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Its identity.
    #[serde(default, rename = "podUID", skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// The newest commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// When it last held all of the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,
    /// What the last sync came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_result: Option<LastResult>,
    /// The epoch of the writer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_epoch: Option<i64>,
    /// Bytes that wait to be pushed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_bytes: Option<i64>,
    /// What kind of trouble there is, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What went wrong, if something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a sync came to.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LastResult {
    #[allow(missing_docs, reason = "a doc comment would turn the schema's list of words into alternatives")]
    Complete,
    #[allow(missing_docs, reason = "as above")]
    Partial,
    #[allow(missing_docs, reason = "as above")]
    Failed,
}
