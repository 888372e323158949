//! Giving an open file or directory its recorded metadata. What may not be applied is counted, never silently lost.

use super::volume::us;
use super::xattr::{Xattr, is_kept, names};
use crate::tree::{Attributes, FileType, Timestamp};
use rustix::fd::BorrowedFd;
use rustix::fs::{
    Gid, Mode, Statx, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, fchmod, fchown, fremovexattr, fsetxattr, futimens,
};
use rustix::io::Errno;
use std::sync::atomic::{AtomicU64, Ordering};

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const OWNER_WRITES: u32 = 0o200;

/// Entries whose recorded metadata could not be applied in full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlaceSkips {
    /// Owner or group is another one.
    pub owners: u64,
    /// Extended attributes are missing.
    pub xattrs: u64,
    /// Permission bits were left out (set-uid or set-gid without the owner they were meant for).
    pub modes: u64,
}

#[derive(Debug, Default)]
pub(super) struct SkipCounts {
    owners: AtomicU64,
    xattrs: AtomicU64,
    modes: AtomicU64,
}

impl SkipCounts {
    pub(super) fn now(&self) -> PlaceSkips {
        PlaceSkips {
            owners: self.owners.load(Ordering::Relaxed),
            xattrs: self.xattrs.load(Ordering::Relaxed),
            modes: self.modes.load(Ordering::Relaxed),
        }
    }

    pub(super) fn owner_refused(&self) {
        self.owners.fetch_add(1, Ordering::Relaxed);
    }
}

/// How metadata is applied.
#[derive(Debug)]
pub(super) struct Applier {
    /// Whether owners are to be changed at all.
    pub(super) owners: bool,
    pub(super) counts: SkipCounts,
}

/// A step that failed: what it was, and what the kernel said.
pub(super) type Failed = (&'static str, Errno);

impl Applier {
    /// Extended attributes, owner, mode, and the modification time last: it says that the rest is done.
    pub(super) fn apply(
        &self,
        fd: BorrowedFd<'_>,
        now: &Statx,
        attributes: &Attributes,
        xattrs: Option<&[Xattr]>,
    ) -> Result<(), Failed> {
        if let Some(xattrs) = xattrs {
            self.xattrs(fd, now, xattrs).map_err(|e| ("setting the extended attributes of", e))?;
        }
        let change = |uid, gid| fchown(fd, uid, gid);
        let owner = self.owner((now.stx_uid, now.stx_gid), attributes, change).map_err(|e| ("setting the owner of", e))?;
        let is_directory = super::stat::file_type(now) == FileType::Directory;
        let mode = self.mode(attributes, owner, is_directory);
        fchmod(fd, Mode::from_raw_mode(mode)).map_err(|e| ("setting the mode of", e))?;
        futimens(fd, &times(attributes.mtime)).map_err(|e| ("setting the times of", e))
    }

    /// Tries for the recorded owner, then for its group alone (a file's owner may choose among the groups it is in).
    /// Answers who owns the file now.
    pub(super) fn owner(
        &self,
        now: (u32, u32),
        attributes: &Attributes,
        mut change: impl FnMut(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
    ) -> Result<(u32, u32), Errno> {
        let wanted = (attributes.uid, attributes.gid);
        // u32::MAX is the kernel's word for "leave as it is", so nobody can have it.
        if !self.owners || now == wanted || wanted.0 == u32::MAX || wanted.1 == u32::MAX {
            return Ok(now);
        }
        let uid = (now.0 != wanted.0).then(|| Uid::from_raw(wanted.0));
        let gid = (now.1 != wanted.1).then(|| Gid::from_raw(wanted.1));
        match change(uid, gid) {
            Ok(()) => return Ok(wanted),
            Err(errno) if !may_not(errno) => return Err(errno),
            Err(_) => self.counts.owner_refused(),
        }
        match (uid, gid) {
            (Some(_), Some(gid)) => match change(None, Some(gid)) {
                Ok(()) => Ok((now.0, wanted.1)),
                Err(errno) if may_not(errno) => Ok(now),
                Err(errno) => Err(errno),
            },
            _ => Ok(now),
        }
    }

    /// Set-uid and set-gid lend the owner's rights: they are never given with an owner they were not meant for. On a
    /// directory set-gid lends nothing (it only says which group new entries get), so it stays.
    fn mode(&self, attributes: &Attributes, owner: (u32, u32), is_directory: bool) -> u32 {
        let mut mode = attributes.mode & 0o7777;
        if owner.0 != attributes.uid && !is_directory {
            mode &= !SET_UID;
        }
        if owner.1 != attributes.gid && !is_directory {
            mode &= !SET_GID;
        }
        if mode != attributes.mode & 0o7777 {
            self.counts.modes.fetch_add(1, Ordering::Relaxed);
        }
        mode
    }

    /// Makes the kept attributes exactly these: what a directory's default ACL gave a new file goes away.
    fn xattrs(&self, fd: BorrowedFd<'_>, now: &Statx, wanted: &[Xattr]) -> Result<(), Errno> {
        let present = names(fd)?;
        if present.is_empty() && wanted.is_empty() {
            return Ok(());
        }
        let bits = u32::from(now.stx_mode) & 0o7777;
        if now.stx_uid == us().0 && bits & OWNER_WRITES == 0 {
            // Attributes are written with the right to write the file; the recorded mode is set after them.
            fchmod(fd, Mode::from_raw_mode(bits | OWNER_WRITES))?;
        }
        let mut refused = false;
        for name in present {
            if !wanted.iter().any(|(kept, _)| *kept == name) {
                refused |= tolerate(fremovexattr(fd, name.as_slice()))?;
            }
        }
        for (name, value) in wanted {
            refused |= !is_kept(name) || tolerate(fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()))?;
        }
        if refused {
            self.counts.xattrs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The modification time alone; the access time stays.
pub(super) fn times(mtime: Timestamp) -> Timestamps {
    // Some numbers above a second are commands to the kernel (now, omit): they never reach it from a record.
    let nanos = mtime.nanos.min(999_999_999);
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: nanos.into() },
    }
}

/// EINVAL: the id has no meaning in this user namespace.
fn may_not(errno: Errno) -> bool {
    matches!(errno, Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::NOTSUP | Errno::NOSYS)
}

/// True when the file system or our rights do not allow the attribute; data errors stay errors.
fn tolerate(answer: Result<(), Errno>) -> Result<bool, Errno> {
    match answer {
        Ok(()) | Err(Errno::NODATA) => Ok(false),
        // NOSPC and 2BIG: most file systems have one block for attributes, and a full disk shows with the data.
        Err(Errno::TOOBIG | Errno::NOSPC | Errno::RANGE) => Ok(true),
        Err(errno) if may_not(errno) => Ok(true),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::{Applier, SkipCounts};
    use crate::tree::Attributes;
    use rustix::io::Errno;

    #[test]
    fn set_uid_is_not_given_to_another_owner() {
        let applier = Applier { owners: true, counts: SkipCounts::default() };
        let wanted = Attributes { mode: 0o6755, uid: 0, gid: 50, ..Attributes::default() };
        let mut tried = Vec::new();
        let owner = applier.owner((1000, 1000), &wanted, |uid, gid| {
            tried.push((uid.map(|u| u.as_raw()), gid.map(|g| g.as_raw())));
            if uid.is_some() { Err(Errno::PERM) } else { Ok(()) }
        });
        assert_eq!(owner, Ok((1000, 50)));
        assert_eq!(tried, [(Some(0), Some(50)), (None, Some(50))]);
        assert_eq!(applier.mode(&wanted, (1000, 50), false), 0o2755);
        assert_eq!((applier.counts.now().owners, applier.counts.now().modes), (1, 1));
    }
}
