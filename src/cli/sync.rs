//! `sync-to-remote` and `remote-to-local-sync`

use super::Verdict;
use super::args::{RemoteToLocalSync, SyncToRemote};
use super::frame::Frame;
use crate::fault::{Kind, Report};

/// Pushes once.
pub async fn sync_to_remote(_args: &SyncToRemote, _frame: &Frame) -> Verdict {
    Err(Report::new(Kind::Bug, "pushing is not there yet"))
}

/// Restores once.
pub async fn remote_to_local_sync(_args: &RemoteToLocalSync, _frame: &Frame) -> Verdict {
    Err(Report::new(Kind::Bug, "restoring is not there yet"))
}
