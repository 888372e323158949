//! What a push came to.

use crate::disk::Skips;
use crate::fault::Kind;
use crate::plan::HoldReason;
use crate::store::Requests;
use std::time::Duration;

/// Deletes that were not carried over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// How many.
    pub count: u64,
    /// Entries that wait with them: each is in the place of a directory.
    pub replacing: u64,
    /// Why.
    pub reason: HoldReason,
    /// Approves exactly these.
    pub hash: [u8; 8],
}

/// A finished push.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The commit that holds the pushed state; 0 when a dry run made none.
    pub commit: u64,
    /// Whether a commit was made by this push.
    pub published: bool,
    /// Entries that are new at the remote.
    pub added: u64,
    /// Entries whose content or metadata changed.
    pub changed: u64,
    /// Entries deleted at the remote.
    pub deleted: u64,
    /// Entries that were as before.
    pub unchanged: u64,
    /// Live entries after the push, directories included.
    pub entries: u64,
    /// Bytes of all live files.
    pub bytes_total: u64,
    /// Bytes read from changed files.
    pub bytes_read: u64,
    /// Bytes of new content, before compression.
    pub bytes_new: u64,
    /// What was left out.
    pub skips: Skips,
    /// Deletes that wait.
    pub held: Option<Held>,
    /// Plain layout: objects that other programs changed while the local file stayed; both are kept.
    pub edited: u64,
    /// Plain layout: objects that belong to nobody here.
    pub foreign: u64,
    /// Plain layout: local files that were not stored, because another program's object has their name.
    pub conflicts: u64,
    /// Why what is called after a push failed.
    pub after_push: Option<String>,
    /// Requests made.
    pub requests: Requests,
    /// How long it took.
    pub elapsed: Duration,
    /// Whether nothing was to be written.
    pub dry_run: bool,
}

/// Complete, or in part: the same in exit code, log and metric. Failed is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The remote holds exactly the volume's state.
    Complete,
    /// Something was left out or held back.
    Partial(Kind),
}

impl Outcome {
    /// How it ended.
    pub fn ending(&self) -> Ending {
        use crate::tree::SkipReason;
        let left_out =
            [SkipReason::Unreadable, SkipReason::Unstable, SkipReason::TooLong].iter().map(|r| self.skips.total(*r)).sum::<u64>();
        match self.held {
            Some(Held { reason: HoldReason::Fuse, .. }) => Ending::Partial(Kind::Refused),
            Some(Held { reason: HoldReason::PartialListing, .. }) => Ending::Partial(Kind::Unfinished),
            _ if self.conflicts > 0 => Ending::Partial(Kind::Refused),
            _ if left_out > 0 || self.after_push.is_some() => Ending::Partial(Kind::Unfinished),
            _ => Ending::Complete,
        }
    }
}
