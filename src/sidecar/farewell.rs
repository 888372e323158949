//! The last words of a sidecar: one line of JSON in the container's termination message.

use crate::disk::write_message;
use crate::push::Pending;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// How the sidecar ended.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Farewell {
    /// `complete`, `partial`, `deadline` or `failed`.
    pub result: &'static str,
    /// The exit code.
    pub exit_code: u8,
    /// The newest commit of this process; 0 for none, and without encryption.
    pub commit: u64,
    /// Files that may not be at the remote; none when it is not known how many.
    pub unsynced_files: Option<u64>,
    /// Their bytes, at most.
    pub unsynced_bytes: Option<u64>,
    /// How long the end took.
    pub elapsed_ms: u64,
    /// What went wrong, and what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Farewell {
    /// Says what is not at the remote.
    pub fn with_pending(self, pending: Option<Pending>) -> Farewell {
        Farewell {
            unsynced_files: pending.map(|pending| pending.files),
            unsynced_bytes: pending.map(|pending| pending.bytes),
            ..self
        }
    }

    /// Writes it where the kubelet reads it. A file that is not there is not made: outside of Kubernetes nobody reads it.
    pub fn write(&self, path: &Path) {
        // The kubelet keeps 4096 bytes.
        const TEXT_BYTES: usize = 2048;
        let mut cut = self.clone();
        if let Some(message) = &mut cut.message
            && message.len() > TEXT_BYTES
        {
            let end = (0..=TEXT_BYTES).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(end);
        }
        let line = serde_json::to_string(&cut).expect("plain fields become JSON");
        if let Err(error) = write_message(path, line.as_bytes()) {
            tracing::warn!("the termination message was not written: {error}");
        }
    }
}

/// Where the kubelet reads it unless the Pod says otherwise.
pub fn usual_place() -> PathBuf {
    PathBuf::from("/dev/termination-log")
}
