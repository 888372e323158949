//! Databases of SQLite in a volume: told by their first bytes, and read as what was committed, never as what lies there.
//!
//! A database is one with the files beside it (`-wal`, `-shm`, `-journal`): a scan lists it as one entry, and a copy of it
//! holds what all of them say. The copy is made under the locks by which SQLite's processes keep out of each other's way:
//! those of a reader, and the one that keeps a checkpoint from running. They stop a writer of a rollback journal while the
//! bytes are copied, and a writer of a write-ahead log not at all. What is copied is then recovered by SQLite itself, in
//! the copy: nothing is ever written to the volume, no file is made in it, and no statement of the database is run.

mod beside;
mod copy;
mod locks;
#[cfg(test)]
mod tests;

pub(super) use beside::{Beside, ENDINGS, begins_as_database, companion_of, is_companion};
pub use beside::{companions, is_log};
pub use copy::{Copied, DatabaseCopies};

use super::read::SourceFile;
use super::{DiskError, Volume};
use crate::tree::RelPath;

/// The first bytes of a database, unless it is encrypted or empty: then it is a file like any other.
const MAGIC: &[u8] = b"SQLite format 3\0";

impl SourceFile {
    /// Whether this is a database of SQLite.
    pub fn is_database(&self) -> Result<bool, DiskError> {
        let mut start = [0; MAGIC.len()];
        Ok(self.read_at(&mut start, 0)? == start.len() && start == MAGIC)
    }
}

impl Volume {
    /// What of a database lies beside it, now.
    pub fn database_log(&self, path: &RelPath) -> Result<Option<crate::tree::DatabaseLog>, DiskError> {
        let (dir, name) = self.parent(path).map_err(|e| self.fault("opening the directory of", Some(path), e))?;
        let beside = Beside::look(&dir, name).map_err(|e| self.fault("looking beside", Some(path), e))?;
        Ok(beside.log())
    }
}
