//! What can go wrong with the volume.

use super::volume::Space;
use crate::fault::{Fault, Kind};
use crate::tree::FileType;
use rustix::io::Errno;

/// An error of the local volume.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The kernel refused an operation.
    #[error("{action} '{path}': {}", says(*errno))]
    Kernel {
        /// What we were doing.
        action: &'static str,
        /// To what.
        path: String,
        /// What came back.
        errno: Errno,
        /// What a hint is made of, where the volume could still be asked.
        facts: Option<Box<Facts>>,
    },
    /// The directory to work on is not there.
    #[error("the directory '{path}' does not exist")]
    NoDirectory {
        /// The path as given.
        path: String,
    },
    /// The path to work on is something else than a directory.
    #[error("'{path}' is not a directory")]
    NotDirectory {
        /// The path as given.
        path: String,
    },
    /// An entry has become something else than was expected.
    #[error("{action} '{path}': it is {}, not {}", noun(*found), noun(*expected))]
    WrongType {
        /// What we were doing.
        action: &'static str,
        /// To what.
        path: String,
        /// What should be there.
        expected: FileType,
        /// What is there.
        found: FileType,
    },
    /// More extended attributes than are stored.
    #[error("the extended attributes of '{path}' are larger than {limit} bytes")]
    XattrsTooLarge {
        /// Whose.
        path: String,
        /// What would be accepted.
        limit: usize,
    },
    /// Another process holds the state directory.
    #[error("another process works on this volume (it holds the lock '{path}')")]
    Busy {
        /// The lock's path.
        path: String,
    },
    /// A file of the state directory is longer than any that this program writes.
    #[error("the state file '{path}' is larger than {limit} bytes")]
    StateTooLarge {
        /// The file's path.
        path: String,
        /// What would be accepted.
        limit: u64,
    },
}

/// What was known about the volume when an operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Who we are: effective uid and gid.
    pub us: (u32, u32),
    /// Owner of the volume's root: uid and gid.
    pub owner: Option<(u32, u32)>,
    /// What is free.
    pub space: Option<Space>,
}

impl DiskError {
    /// Whether the entry that was meant is no longer there (it vanished, or something else took its place).
    pub fn is_gone(&self) -> bool {
        match self {
            DiskError::Kernel { errno, .. } => gone(*errno),
            DiskError::NoDirectory { .. } | DiskError::WrongType { .. } => true,
            _ => false,
        }
    }

    /// Whether the file system or a quota is full.
    pub fn is_full(&self) -> bool {
        self.has(&[Errno::NOSPC, Errno::DQUOT])
    }

    /// Whether rights are missing.
    pub fn is_denied(&self) -> bool {
        self.has(&[Errno::ACCESS, Errno::PERM])
    }

    /// Whether the file system cannot do such a thing at all (a hard link on one that has none, for example).
    pub fn is_unsupported(&self) -> bool {
        self.has(&[Errno::NOTSUP, Errno::NOSYS, Errno::MLINK, Errno::XDEV])
    }

    fn has(&self, wanted: &[Errno]) -> bool {
        matches!(self, DiskError::Kernel { errno, .. } if wanted.contains(errno))
    }

    fn kernel_hint(errno: Errno, facts: Option<&Facts>) -> Option<String> {
        match errno {
            Errno::NOSPC | Errno::DQUOT => Some(full_hint(errno, facts)),
            Errno::ACCESS | Errno::PERM => Some(denied_hint(facts)),
            Errno::ROFS => Some("the volume is mounted read-only: remove readOnly from its volumeMount".to_string()),
            Errno::IO => Some("the disk or its network reported a failure: see the node's kernel log".to_string()),
            Errno::NOTEMPTY | Errno::EXIST => Some("a directory that is not empty is in the way: move it aside".to_string()),
            Errno::MFILE | Errno::NFILE => Some("too many open files: raise the limit (ulimit -n)".to_string()),
            _ => None,
        }
    }
}

impl Fault for DiskError {
    fn kind(&self) -> Kind {
        match self {
            DiskError::NoDirectory { .. } | DiskError::NotDirectory { .. } => Kind::Usage,
            DiskError::Busy { .. } => Kind::Refused,
            _ => Kind::Volume,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            DiskError::Kernel { errno, facts, .. } => DiskError::kernel_hint(*errno, facts.as_deref()),
            DiskError::NoDirectory { .. } => Some("check the path, and that the volume is mounted in this container".to_string()),
            DiskError::NotDirectory { .. } => Some("name the directory whose content is kept".to_string()),
            DiskError::Busy { .. } => Some("one process per volume: end the other one, or wait for it".to_string()),
            DiskError::XattrsTooLarge { .. } => Some("remove some of them with setfattr -x".to_string()),
            DiskError::StateTooLarge { .. } => Some("it was not written by this program: remove it".to_string()),
            DiskError::WrongType { .. } => None,
        }
    }
}

/// Whether `errno` means that nothing is at the path any more. A symbolic link in the middle counts: what lies behind
/// it is not part of the volume.
pub(super) fn gone(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::STALE | Errno::LOOP)
}

fn says(errno: Errno) -> String {
    match errno {
        Errno::LOOP => "a symbolic link is in the way, and none is followed".to_string(),
        other => std::io::Error::from_raw_os_error(other.raw_os_error()).to_string(),
    }
}

fn full_hint(errno: Errno, facts: Option<&Facts>) -> String {
    let what = if errno == Errno::DQUOT { "a quota is used up" } else { "the volume is full" };
    let Some(space) = facts.and_then(|facts| facts.space) else {
        return format!("{what}: make it larger or free some space");
    };
    let inodes = space.available_inodes.map(|n| format!(" and {n} inodes")).unwrap_or_default();
    format!("{what}: {} bytes{inodes} are available to us; make it larger or free some space", space.available_bytes)
}

fn denied_hint(facts: Option<&Facts>) -> String {
    let Some(facts) = facts else { return "run as the user that owns the files (securityContext.runAsUser)".to_string() };
    let (uid, gid) = facts.us;
    let owner = facts.owner.map(|(u, g)| format!("; the volume's root belongs to {u}:{g}")).unwrap_or_default();
    format!(
        "this process runs as {uid}:{gid}{owner}: set securityContext.runAsUser to the user that owns the files, \
         or fsGroup to a group that may read and write them"
    )
}

fn noun(file_type: FileType) -> &'static str {
    match file_type {
        FileType::File => "a regular file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::Device => "a device",
    }
}

#[cfg(test)]
mod tests {
    use super::{DiskError, Facts};
    use crate::disk::Space;
    use crate::fault::{Fault, Kind};
    use rustix::io::Errno;

    fn kernel(errno: Errno, space: Option<Space>) -> DiskError {
        let facts = Facts { us: (1000, 1000), owner: Some((33, 33)), space };
        DiskError::Kernel { action: "writing", path: "/v/a".to_string(), errno, facts: Some(Box::new(facts)) }
    }

    #[test]
    fn a_full_disk_is_told_with_numbers() {
        let error = kernel(Errno::NOSPC, Some(Space { available_bytes: 4096, available_inodes: Some(7) }));
        assert!(error.is_full());
        assert_eq!(error.kind(), Kind::Volume);
        assert!(error.to_string().starts_with("writing '/v/a': No space left on device"), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.contains("4096 bytes and 7 inodes"), "{hint}");
    }

    #[test]
    fn missing_rights_name_both_users() {
        let error = kernel(Errno::ACCESS, None);
        assert!(error.is_denied() && !error.is_gone());
        let hint = error.hint().unwrap();
        assert!(hint.contains("1000:1000") && hint.contains("33:33") && hint.contains("runAsUser"), "{hint}");
    }

    #[test]
    fn a_missing_source_is_a_mistake_of_the_caller() {
        let error = DiskError::NoDirectory { path: "/nowhere".to_string() };
        assert_eq!(error.kind(), Kind::Usage);
    }
}
