//! Whether a local entry is still what the vault has.

use crate::tree::{Attributes, FileType, Found, RelPath, Timestamp};
use std::cmp::Ordering;

/// What is known of an entry from the last pass.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Its type.
    pub file_type: FileType,
    /// Its kept metadata.
    pub attributes: &'a Attributes,
    /// Its length.
    pub size: u64,
    /// [`Identity::stamp`](crate::tree::Identity::stamp) of the local file whose content was recorded; `None` when no
    /// local file was compared yet.
    pub stamp: Option<(Timestamp, u64)>,
}

/// What to do with an entry that both sides have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it is the same.
    Unchanged,
    /// Read it: only its content can tell.
    Look,
}

/// Compares size, mtime, ctime, inode, mode and owner. The change time cannot be set back by a program, so an edit that
/// keeps length and mtime is noticed. A database with a log has another length than what is recorded of both together.
pub fn judge(found: &Found, known: &Known<'_>) -> Verdict {
    let same = found.file_type == known.file_type
        && found.attributes == *known.attributes
        && (found.size == known.size || found.identity.log.is_some())
        && known.stamp == Some(found.identity.stamp());
    if same { Verdict::Unchanged } else { Verdict::Look }
}

/// Which of two sorted streams comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The path is only on the left.
    Left,
    /// The path is on both.
    Both,
    /// The path is only on the right.
    Right,
}

/// One step of a merge of two sorted streams; `None` when both are at their end.
pub fn side(left: Option<&RelPath>, right: Option<&RelPath>) -> Option<Side> {
    match (left, right) {
        (None, None) => None,
        (Some(_), None) => Some(Side::Left),
        (None, Some(_)) => Some(Side::Right),
        (Some(left), Some(right)) => Some(match left.cmp(right) {
            Ordering::Less => Side::Left,
            Ordering::Equal => Side::Both,
            Ordering::Greater => Side::Right,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Known, Verdict, judge};
    use crate::tree::{Attributes, DatabaseLog, FileType, Found, Identity, RelPath, Timestamp};

    fn found() -> Found {
        Found {
            path: RelPath::new("a").unwrap(),
            file_type: FileType::File,
            attributes: Attributes { mode: 0o644, uid: 1, gid: 1, mtime: Timestamp { seconds: 5, nanos: 0 } },
            size: 10,
            allocated: 4096,
            identity: Identity { device: 1, inode: 2, ctime: Timestamp { seconds: 6, nanos: 0 }, links: 1, log: None },
        }
    }

    #[test]
    fn an_edit_that_keeps_size_and_mtime_is_noticed() {
        let before = found();
        let stamp = Some((before.identity.ctime, before.identity.inode));
        let known = Known { file_type: FileType::File, attributes: &before.attributes, size: 10, stamp };
        assert_eq!(judge(&found(), &known), Verdict::Unchanged);
        let mut edited = found();
        edited.identity.ctime.nanos = 1;
        assert_eq!(judge(&edited, &known), Verdict::Look);
        let mut replaced = found();
        replaced.identity.inode = 3;
        assert_eq!(judge(&replaced, &known), Verdict::Look);
        assert_eq!(judge(&found(), &Known { stamp: None, ..known }), Verdict::Look);
    }

    #[test]
    fn a_commit_that_only_its_log_shows_is_noticed() {
        let log = |state| Some(DatabaseLog { state, changed: Timestamp { seconds: 7, nanos: 0 } });
        let mut before = found();
        before.identity.log = log(1);
        let attributes = before.attributes;
        // What is stored is longer than the file: the log's content is in it.
        let known = Known { file_type: FileType::File, attributes: &attributes, size: 30, stamp: Some(before.identity.stamp()) };
        assert_eq!(judge(&before, &known), Verdict::Unchanged);
        for other in [log(2), None] {
            let mut after = before.clone();
            after.identity.log = other;
            assert_eq!(judge(&after, &known), Verdict::Look);
        }
    }
}
