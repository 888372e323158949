//! The custom resource `PodFilesystemSync`, as the predecessor had it and with what came since. Its schema, as the API server
//! gets it, is made from these types; doc comments become the descriptions that `kubectl explain` shows.
//!
//! The types take whatever the API server may have stored under an earlier schema: what is wrong with a value is said where the
//! value is used, about that one resource, and never keeps the others from being read.

mod options;
mod schema;
mod status;

pub use options::{AllowedDirections, CleanUp, Method, Permissions, SyncOptions};
pub use schema::crd_yaml;
pub use status::{Encryption, LastResult, Location, PodFilesystemSyncStatus, Pods};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use kube::core::Selector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Keeps a directory of the chosen Pods in an object store: restored before they start, pushed while they run.
#[derive(CustomResource, JsonSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(group = "riotkit.org", version = "v1alpha1", kind = "PodFilesystemSync", plural = "podfilesystemsyncs")]
#[kube(namespaced, shortname = "pfss", category = "riotkit", status = "PodFilesystemSyncStatus", derive = "PartialEq")]
#[kube(doc = "Keeps a directory of the chosen Pods in an object store: restored before they start, pushed while they run")]
#[kube(printcolumn = r#"{"name": "Remote", "type": "string", "jsonPath": ".spec.remotePath"}"#)]
#[kube(printcolumn = r#"{"name": "Pods", "type": "integer", "jsonPath": ".status.pods.injected"}"#)]
#[kube(printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#)]
#[kube(printcolumn = r#"{"name": "Reason", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].reason"}"#)]
#[kube(printcolumn = r#"{"name": "Last Sync", "type": "date", "jsonPath": ".status.lastSyncTime"}"#)]
#[kube(printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#)]
#[kube(printcolumn = r#"{"name": "Local", "type": "string", "jsonPath": ".spec.localPath", "priority": 1}"#)]
#[kube(printcolumn = r#"{"name": "Pending", "type": "integer", "jsonPath": ".status.pendingBytes", "priority": 1}"#)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    schema::rule(schema::RULE_SELECTOR, "podSelector needs at least one label or expression: it says which Pods are meant"),
    schema::rule(schema::RULE_ENCRYPTION, "automaticEncryption.secretName is missing: the Secret that holds the key, or will"),
]))]
pub struct PodFilesystemSyncSpec {
    /// Which Pods of this namespace are meant. They also carry the label riotkit.org/volume-syncing-controller: "true".
    #[schemars(schema_with = "schema::selector")]
    pub pod_selector: LabelSelector,
    /// The directory inside the Pods, on one of their volumes.
    #[schemars(extend("x-kubernetes-validations" = [
        schema::rule(schema::RULE_ABSOLUTE, "localPath is an absolute path without '..'"),
        schema::rule(schema::RULE_SYSTEM, "localPath is a directory of the system: name the directory in which the volume is mounted"),
    ]))]
    #[schemars(length(max = 4096))]
    pub local_path: String,
    /// The path at the remote, BUCKET/PATH. A template: {{ pod.metadata.namespace }}, {{ pod.metadata.annotations["subdir"] }}.
    #[schemars(length(min = 1, max = 4096))]
    pub remote_path: String,
    /// Where in the order of the Pod's init containers the volume is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_container_placement: Option<InitContainerPlacement>,
    /// When and how the directory is synced.
    #[serde(default)]
    #[schemars(transform = schema::without_default)]
    pub sync_options: SyncOptions,
    /// Variables of the two containers; the values are templates. REMOTE_* say how the remote is reached.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = schema::without_default)]
    pub env: BTreeMap<String, String>,
    /// Secrets of this namespace whose entries become variables of the two containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = schema::without_default)]
    pub env_from_secrets: Vec<SecretName>,
    /// Another spelling of envFromSecrets, with ref for name. Both count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(transform = schema::without_default)]
    pub env_from_secret: Vec<SecretReference>,
    /// Encryption with a key that is made for this resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automatic_encryption: Option<AutomaticEncryption>,
    /// The two containers log more.
    #[serde(default)]
    pub debug: bool,
    /// Pods that start from now on are restored, and not pushed.
    #[serde(default)]
    pub suspend: bool,
    /// How the two containers run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<Sidecar>,
    /// Whether Kubernetes hears of syncs that fail again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}

impl PodFilesystemSyncSpec {
    /// The Secrets under both spellings, in their order: name, and the namespace if one was written.
    pub fn secrets(&self) -> impl Iterator<Item = (Option<&str>, Option<&str>)> {
        let usual = self.env_from_secrets.iter().map(|secret| (secret.name.as_deref(), secret.namespace.as_deref()));
        let other = self.env_from_secret.iter().map(|secret| {
            let name = secret.reference.as_deref().or(secret.name.as_deref());
            (name, secret.namespace.as_deref())
        });
        usual.chain(other)
    }

    /// Which Pods are chosen by their labels; none where that cannot be read, or is empty.
    pub fn selector(&self) -> Option<Selector> {
        Selector::try_from(self.pod_selector.clone()).ok().filter(|selector| !selector.selects_all())
    }

    /// Whether Pods get nothing by it: no direction is allowed.
    pub fn asks_for_nothing(&self) -> bool {
        let directions = self.sync_options.directions();
        !directions.from_remote && (!directions.to_remote || self.suspend)
    }

    /// The Secret with the key, if one is to be made.
    pub fn key_secret(&self) -> Option<&str> {
        let encryption = self.automatic_encryption.as_ref().filter(|encryption| encryption.enabled)?;
        encryption.secret_name.as_deref().filter(|name| !name.is_empty())
    }
}

/// Where in the order of the Pod's init containers the volume is restored.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [schema::rule(schema::RULE_PLACEMENT, "containerReference belongs to the placements before and after, and to no other")]))]
pub struct InitContainerPlacement {
    /// The init container that is meant by before and after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_reference: Option<String>,
    /// Before or after that container, or first or last of all.
    #[serde(default)]
    pub placement: Placement,
}

/// Before or after a container, or first or last of all.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    #[allow(missing_docs, reason = "a doc comment would turn the schema's list of words into alternatives")]
    Before,
    #[allow(missing_docs, reason = "as above")]
    After,
    #[allow(missing_docs, reason = "as above")]
    First,
    #[allow(missing_docs, reason = "as above")]
    #[default]
    Last,
}

/// A Secret by its name.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretName {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The namespace of this resource, or nothing: a Pod gets no Secret of another namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// A Secret by its name, in another spelling.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Its name.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Its name, where ref is not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The namespace of this resource, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Encryption with a key that is made for this resource.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AutomaticEncryption {
    /// A key is made where the Secret does not exist, and used.
    #[serde(default)]
    pub enabled: bool,
    /// The Secret that holds the key under ENCRYPTED_PASSWORD. It is never changed or deleted: keep a copy of it outside of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
}

/// How the two containers run. Their image is chosen by whoever installed the controller.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sidecar {
    /// Whether the sidecar is a native one (an init container that keeps running) or one of the Pod's containers.
    #[serde(default)]
    pub native: Native,
    /// Their requests and limits, in place of the controller's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::open_object")]
    pub resources: Option<Value>,
    /// Added to their security context; what is written here wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::open_object")]
    pub security_context: Option<Value>,
}

/// Which kind of sidecar a Pod gets.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Native {
    #[allow(missing_docs, reason = "a doc comment would turn the schema's list of words into alternatives")]
    #[default]
    Auto,
    #[allow(missing_docs, reason = "as above")]
    Always,
    #[allow(missing_docs, reason = "as above")]
    Never,
}

/// Whether Kubernetes hears of syncs that fail again and again.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthCheck {
    /// So many failed syncs in a row make the sidecar unwell.
    #[schemars(range(min = 1))]
    pub failure_threshold: u32,
    /// What an unwell sidecar means: nothing, a Pod that is not ready, or a sidecar that is started again.
    pub effect: Effect,
}

impl Default for HealthCheck {
    fn default() -> HealthCheck {
        HealthCheck { failure_threshold: 5, effect: Effect::Liveness }
    }
}

/// What an unwell sidecar means.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    #[allow(missing_docs, reason = "a doc comment would turn the schema's list of words into alternatives")]
    None,
    #[allow(missing_docs, reason = "as above")]
    Readiness,
    #[allow(missing_docs, reason = "as above")]
    #[default]
    Liveness,
}
