//! What stands beside the Pods of a cluster: decides which containers a Pod gets, answers the API server, and keeps the status
//! of each PodFilesystemSync. The door to Kubernetes.
//!
//! A Pod is judged and changed as JSON, and only ever added to. Keys are created and never read. Nothing here touches a volume
//! or a remote, and no answer about a Pod waits for a write.

pub mod crd;
