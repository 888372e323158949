//! How much of a listing is known. Deletes need a whole one.

use super::RelPath;

/// Why an entry or a subtree is not in a listing, or not in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SkipReason {
    /// It could not be read (permission, I/O error): the listing is Partial.
    Unreadable,
    /// A socket or device: cannot be stored.
    Special,
    /// Another file system is mounted there.
    OtherMount,
    /// It kept changing while it was read: its previous version stays.
    Unstable,
    /// Its name or path is longer than the format stores.
    TooLong,
}

/// One thing that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// Where; `None` is the volume's root.
    pub path: Option<RelPath>,
    /// Why.
    pub reason: SkipReason,
    /// What the kernel said, if it said anything.
    pub detail: Option<String>,
}

/// Whether a finished listing saw everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// Every directory was read to its end: what is not listed is not there.
    Whole,
    /// Something could not be read: what is not listed may still be there, so nothing may be deleted for its absence.
    Partial,
}
