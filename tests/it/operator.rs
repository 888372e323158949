//! The controller in a cluster: its resource, and what it makes of Pods.

mod caller;
mod certs;
mod cluster;
mod crd;
mod crowd;
mod inject;
mod lease;
mod progress;
mod reconcile;
mod serve;
mod template;
mod web;

use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where Pods lie that are injected, and what comes of them.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/inject")
}

/// What a file of YAML holds.
fn yaml(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
