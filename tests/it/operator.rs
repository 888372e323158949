//! What stands beside the Pods of a cluster.

mod cluster;
mod lease;
