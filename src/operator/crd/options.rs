//! When and how the directory is synced.

use super::schema;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When and how the directory is synced.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [schema::rule(schema::RULE_DIRECTIONS, "allowedDirections and allowedDirectories are two spellings of one thing: write one of them")]))]
pub struct SyncOptions {
    /// At set times (scheduler), or soon after something changed (fsnotify).
    pub method: Method,
    /// The times of the scheduler: "@every 5m", "*/5 * * * *", "0 30 * * * *" (seconds first), "@hourly".
    #[schemars(length(max = 256))]
    pub schedule: String,
    /// With fsnotify: no more than one sync in so many minutes, or in so much time: 30s, 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::span")]
    pub max_one_sync_per_minutes: Option<IntOrString>,
    /// As whom the two containers run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
    /// Restore into Pods whose remote path holds nothing of this resource yet.
    pub restore_remote_on_first_run: bool,
    /// What happens to files that the other side does not have.
    #[schemars(transform = schema::without_default)]
    pub clean_up: CleanUp,
    /// In which directions files may go. Absent: in both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_directions: Option<AllowedDirections>,
    /// An older spelling of allowedDirections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_directories: Option<AllowedDirections>,
    /// Pods get at least this much time to end: the application ends first, then the last push.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub termination_grace_period_seconds: Option<i64>,
}

impl Default for SyncOptions {
    fn default() -> SyncOptions {
        SyncOptions {
            method: Method::Scheduler,
            schedule: "@every 15m".to_string(),
            max_one_sync_per_minutes: None,
            permissions: None,
            restore_remote_on_first_run: true,
            clean_up: CleanUp::default(),
            allowed_directions: None,
            allowed_directories: None,
            termination_grace_period_seconds: None,
        }
    }
}

impl SyncOptions {
    /// In which directions files may go, under either spelling.
    pub fn directions(&self) -> AllowedDirections {
        self.allowed_directions.or(self.allowed_directories).unwrap_or_default()
    }
}

/// What begins a sync.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    #[allow(missing_docs, reason = "a doc comment would turn the schema's list of words into alternatives")]
    #[default]
    Scheduler,
    #[allow(missing_docs, reason = "as above")]
    Fsnotify,
}

/// As whom the two containers run; absent: as the container that mounts the volume.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Permissions {
    /// The user, as a number or in quotes. The Pod's annotation riotkit.org/volume-user-id wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::id")]
    pub uid: Option<IntOrString>,
    /// The group, as a number or in quotes. The Pod's annotation riotkit.org/volume-group-id wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::id")]
    pub gid: Option<IntOrString>,
}

/// What happens to files that the other side does not have.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CleanUp {
    /// A push deletes at the remote what was deleted in the directory.
    pub remote: bool,
    /// A restore deletes in the directory what was deleted at the remote.
    pub local: bool,
    /// A push goes on although the directory is empty and the remote is not.
    pub force_remote: bool,
    /// A restore goes on although local data would be lost.
    pub force_local: bool,
}

impl Default for CleanUp {
    fn default() -> CleanUp {
        CleanUp { remote: true, local: true, force_remote: false, force_local: false }
    }
}

/// In which directions files may go.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AllowedDirections {
    /// From the directory to the remote.
    pub to_remote: bool,
    /// From the remote to the directory.
    pub from_remote: bool,
}

impl Default for AllowedDirections {
    fn default() -> AllowedDirections {
        AllowedDirections { to_remote: true, from_remote: true }
    }
}
