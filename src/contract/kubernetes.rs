//! Labels, annotations and names by which the cluster, the controller and the containers know each other.

/// The label by which a Pod asks for its volume to be synced, with the value [`OPTED_IN`].
pub const OPT_IN_LABEL: &str = "riotkit.org/volume-syncing-controller";
/// The value of [`OPT_IN_LABEL`].
pub const OPTED_IN: &str = "true";
/// What was injected, written on the Pod; JSON, whose field `sync` names the PodFilesystemSync.
pub const STATUS_ANNOTATION: &str = "riotkit.org/volume-sync-status";
/// The PodFilesystemSync that a Pod chooses where several match.
pub const SYNC_ANNOTATION: &str = "riotkit.org/pod-filesystem-sync";
/// The sidecar's container.
pub const SIDECAR_CONTAINER: &str = "volume-syncing-sidecar";
/// The program in the image.
pub const PROGRAM: &str = "/usr/bin/volume-syncing-controller";
/// The key of a Secret that holds what opens the vault; also the variable that it becomes.
pub const KEY_ENTRY: &str = "ENCRYPTED_PASSWORD";
/// Who the controller says it is: field manager, reporter of Events, `app.kubernetes.io/managed-by`.
pub const CONTROLLER: &str = "volume-syncing-controller";
