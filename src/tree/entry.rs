//! What a volume holds at a path.

use super::RelPath;

/// The kind of a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A unix socket: recorded as skipped, never stored.
    Socket,
    /// A block or character device: recorded as skipped, never stored.
    Device,
}

/// A point in time, seconds since 1970 and nanoseconds (0..1_000_000_000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z; negative before.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

impl Timestamp {
    /// Milliseconds since 1970, as many as fit.
    pub fn millis(&self) -> i64 {
        self.seconds.saturating_mul(1000).saturating_add(i64::from(self.nanos / 1_000_000))
    }
}

/// What of an entry's metadata is kept and restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Permission bits including set-uid, set-gid and sticky (`mode & 0o7777`).
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Timestamp,
}

/// What tells two states of the same local file apart; has no meaning on another machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Identity {
    /// Device number of the file system.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Change time: moves with every write and every metadata change, and cannot be set back by a program.
    pub ctime: Timestamp,
    /// Number of hard links.
    pub links: u64,
    /// What lies beside a database of SQLite and belongs to it.
    pub log: Option<DatabaseLog>,
}

impl Identity {
    /// What is remembered of a file whose content is known. The second number is the inode's; of a database it moves with
    /// every change of its log too, for a commit may leave the file itself untouched.
    pub fn stamp(&self) -> (Timestamp, u64) {
        (self.ctime, self.inode ^ self.log.map_or(0, |log| log.state))
    }

    /// When the file, or the log that belongs to it, changed last.
    pub fn changed(&self) -> Timestamp {
        self.log.map_or(self.ctime, |log| log.changed.max(self.ctime))
    }
}

/// The files that SQLite keeps beside a database: they and the database are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseLog {
    /// A digest of what they are: another one means another content.
    pub state: u64,
    /// When one of them changed last.
    pub changed: Timestamp,
}

/// One entry as a scan saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub path: RelPath,
    /// What.
    pub file_type: FileType,
    /// Kept metadata.
    pub attributes: Attributes,
    /// Length in bytes; 0 for anything but a regular file.
    pub size: u64,
    /// Bytes allocated on disk (less than `size` in a sparse file).
    pub allocated: u64,
    /// Local identity.
    pub identity: Identity,
}
