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
/// The init container that restores.
pub const RESTORE_CONTAINER: &str = "init-volume-restore";
/// The volume that the two containers share: the control socket, and what lives as long as an emptyDir.
pub const RUN_VOLUME: &str = "vsc-run";
/// The volume with the token for the controller.
pub const TOKEN_VOLUME: &str = "vsc-token";
/// The port at which a sidecar's metrics are.
pub const METRICS_PORT_NAME: &str = "vsc-metrics";
/// As whom the two containers run, by the Pod's own word.
pub const USER_ANNOTATION: &str = "riotkit.org/volume-user-id";
/// Their group.
pub const GROUP_ANNOTATION: &str = "riotkit.org/volume-group-id";
/// Which kind of sidecar a Pod wants: `always` a native one, or `never`.
pub const NATIVE_ANNOTATION: &str = "riotkit.org/volume-native-sidecar";
/// A Pod's word, `allow`, that a directory of its node may be restored into and synced.
pub const HOST_PATH_ANNOTATION: &str = "riotkit.org/volume-host-path";
/// Volumes whose content does not keep the cluster autoscaler from moving a Pod.
pub const EVICTION_ANNOTATION: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";
/// The kubelet's mark on its image of a static Pod, which nothing can change.
pub const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
