//! What a restore came to.

use crate::disk::PlaceSkips;
use crate::plan::RestoreAction;
use crate::store::Requests;
use std::time::Duration;

/// A finished restore.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// What was done; `None` when the remote is proven empty.
    pub action: Option<RestoreAction>,
    /// The commit whose state was wanted.
    pub commit: u64,
    /// The rescue that was wanted, which follows that commit.
    pub rescue: Option<String>,
    /// Entries made.
    pub placed: u64,
    /// Entries that were there.
    pub kept: u64,
    /// Local entries removed.
    pub removed: u64,
    /// Local changes that are not pushed yet.
    pub local_changes: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Metadata that could not be applied.
    pub skipped: PlaceSkips,
    /// Requests made.
    pub requests: Requests,
    /// How long it took.
    pub elapsed: Duration,
    /// Whether nothing was to be written.
    pub dry_run: bool,
    /// Whether a receipt was left, so that this volume may be pushed.
    pub receipt: bool,
}
