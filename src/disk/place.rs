//! Creates what a restore brings. A name shows its old content or its new one, never a part; in a volume that was
//! empty a file is written under its own name, and its modification time, set last, says that it is complete.

use super::error::DiskError;
use super::metadata::{Applier, Failed, PlaceSkips, SkipCounts, times};
use super::placed::{PlacedFile, Target};
use super::scan::TEMPORARY;
use super::stat::{file_type, found, stat_fd, stat_name};
use super::volume::{Dir, Volume, us};
use super::xattr::Xattr;
use crate::tree::{Attributes, FileType, Found, RelPath};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{
    AtFlags, Mode, OFlags, chmodat, chownat, fchmod, linkat, mkdirat, mkfifoat, openat, renameat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often a name that someone else keeps taking is tried.
const NAME_TRIES: u32 = 8;

/// How entries are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceOptions {
    /// The volume was empty: files are written in place.
    pub fresh: bool,
    /// Recorded owners are applied where we may.
    pub owners: bool,
}

/// Places entries in a volume. Cheap to clone; usable from several threads.
#[derive(Debug, Clone)]
pub struct Placer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    volume: Volume,
    fresh: bool,
    applier: Applier,
    /// The number of the next temporary name: begins anywhere, so that two processes do not meet.
    temporary: AtomicU64,
}

impl Placer {
    /// A placer for `volume`.
    pub fn new(volume: &Volume, options: PlaceOptions) -> Result<Placer, DiskError> {
        let start = getrandom::u64().map_err(|_| volume.fault("choosing names for", None, Errno::IO))?;
        let applier = Applier { owners: options.owners, counts: SkipCounts::default() };
        let inner = Inner { volume: volume.clone(), fresh: options.fresh, applier, temporary: AtomicU64::new(start) };
        Ok(Placer { inner: Arc::new(inner) })
    }

    /// Makes sure that a directory is there that we can write to, with those above it. What is no directory is removed
    /// first: the record says that one belongs there.
    pub fn directory(&self, path: &RelPath) -> Result<(), DiskError> {
        let (dir, name) = self.parent(path)?;
        let made = retrying(|| match mkdirat(&dir, name, Mode::RWXU) {
            Err(Errno::EXIST) => {
                let stat = stat_name(&dir, name)?;
                if file_type(&stat) == FileType::Directory {
                    let own = stat.stx_uid == us().0;
                    return if own && stat.stx_mode & 0o700 != 0o700 { open_up(&dir, name) } else { Ok(()) };
                }
                unlinkat(&dir, name, AtFlags::empty())?;
                Err(Errno::EXIST)
            }
            answer => answer,
        });
        made.map_err(|e| self.fault("creating the directory", path, e))
    }

    /// Begins a file of `size` bytes. Until it is finished, its old content stays under its name (unless the volume was
    /// fresh).
    pub fn file(&self, path: &RelPath, size: u64) -> Result<PlacedFile, DiskError> {
        let (dir, name) = self.parent(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = |dir: &Dir, name: &[u8]| openat(dir, name, flags, Mode::RUSR | Mode::WUSR);
        let opened = if self.inner.fresh {
            retrying(|| match create(&dir, name) {
                Err(Errno::EXIST) => clear(&dir, name).and(Err(Errno::EXIST)),
                answer => answer,
            })
            .map(|fd| (fd, None))
        } else {
            self.temporary(|temporary| create(&dir, temporary)).map(|(fd, temporary)| (fd, Some(temporary)))
        };
        let (fd, temporary) = opened.map_err(|e| self.fault("creating", path, e))?;
        let target = Target { dir, fd, path: path.clone(), temporary, size };
        PlacedFile::begin(self.clone(), target)
    }

    /// Places a symbolic link.
    pub fn symlink(&self, path: &RelPath, target: &[u8], attributes: &Attributes) -> Result<Found, DiskError> {
        self.put(path, "creating the symbolic link", |dir, name| {
            symlinkat(target, dir, name)?;
            self.apply_to_link(dir, name, attributes)
        })
    }

    /// Gives the file at `first` a second name. Its change time moves, for all its names.
    pub fn hard_link(&self, path: &RelPath, first: &RelPath) -> Result<Found, DiskError> {
        let volume = &self.inner.volume;
        let (from, from_name) = volume.parent(first).map_err(|e| self.fault("opening the directory of", first, e))?;
        self.put(path, "creating the hard link", |dir, name| linkat(&from, from_name, dir, name, AtFlags::empty()))
    }

    /// Places a named pipe.
    pub fn fifo(&self, path: &RelPath, attributes: &Attributes) -> Result<Found, DiskError> {
        self.put(path, "creating the named pipe", |dir, name| {
            mkfifoat(dir, name, Mode::RUSR | Mode::WUSR)?;
            // Opening the reading end without waiting always succeeds, and nobody else knows this pipe yet.
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = openat(dir, name, flags, Mode::empty())?;
            let stat = stat_fd(fd.as_fd())?;
            self.inner.applier.apply(fd.as_fd(), &stat, attributes, None).map_err(|(_, errno)| errno)
        })
    }

    /// Gives a directory its metadata, after all that belongs into it is placed.
    pub fn finish_directory(&self, path: &RelPath, attributes: &Attributes, xattrs: &[Xattr]) -> Result<Found, DiskError> {
        self.set_attributes(path, FileType::Directory, attributes, Some(xattrs))
    }

    /// Changes the metadata of an entry whose content is right. Extended attributes stay when `xattrs` is `None`.
    pub fn set_attributes(
        &self,
        path: &RelPath,
        file_type: FileType,
        attributes: &Attributes,
        xattrs: Option<&[Xattr]>,
    ) -> Result<Found, DiskError> {
        let volume = &self.inner.volume;
        let (dir, name) = volume.parent(path).map_err(|e| self.fault("opening the directory of", path, e))?;
        let stat = stat_name(&dir, name).map_err(|e| self.fault("looking at", path, e))?;
        volume.expect_type("setting the attributes of", path, file_type, super::stat::file_type(&stat))?;
        match file_type {
            FileType::Symlink => {
                let applied = self.apply_to_link(&dir, name, attributes);
                applied.map_err(|e| self.fault("setting the attributes of", path, e))?;
                let stat = stat_name(&dir, name).map_err(|e| self.fault("looking at", path, e))?;
                Ok(found(path.clone(), &stat))
            }
            // A pipe in use must not be opened (a waiting writer would wake up): a new one has no content to lose.
            FileType::Fifo => self.fifo(path, attributes),
            _ => {
                let fd = open_own(&dir, name, file_type).map_err(|e| self.fault("opening", path, e))?;
                self.apply(&fd, path, attributes, xattrs)?;
                self.look(&fd, path)
            }
        }
    }

    /// What could not be applied so far.
    pub fn skipped(&self) -> PlaceSkips {
        self.inner.applier.counts.now()
    }

    pub(super) fn apply(
        &self,
        fd: &OwnedFd,
        path: &RelPath,
        attributes: &Attributes,
        xattrs: Option<&[Xattr]>,
    ) -> Result<(), DiskError> {
        let stat = stat_fd(fd.as_fd()).map_err(|e| self.fault("looking at", path, e))?;
        let applied = self.inner.applier.apply(fd.as_fd(), &stat, attributes, xattrs);
        applied.map_err(|(action, errno): Failed| self.fault(action, path, errno))
    }

    pub(super) fn look(&self, fd: &OwnedFd, path: &RelPath) -> Result<Found, DiskError> {
        let stat = stat_fd(fd.as_fd()).map_err(|e| self.fault("looking at", path, e))?;
        Ok(found(path.clone(), &stat))
    }

    pub(super) fn fault(&self, action: &'static str, path: &RelPath, errno: Errno) -> DiskError {
        self.inner.volume.fault(action, Some(path), errno)
    }

    /// The directory `path` belongs into; missing ones are made. A symbolic link on the way is refused, not replaced:
    /// only an entry that the plan names is taken away.
    fn parent<'a>(&self, path: &'a RelPath) -> Result<(Dir, &'a [u8]), DiskError> {
        let volume = &self.inner.volume;
        let opened = match (volume.parent(path), path.parent()) {
            (Err(Errno::NOENT), Some(above)) => {
                self.directory(&above)?;
                volume.parent(path)
            }
            (answer, _) => answer,
        };
        opened.map_err(|e| self.fault("opening the directory of", path, e))
    }

    /// Creates an entry that appears at once: under a temporary name, then renamed over what is there.
    fn put(
        &self,
        path: &RelPath,
        action: &'static str,
        mut create: impl FnMut(&Dir, &[u8]) -> Result<(), Errno>,
    ) -> Result<Found, DiskError> {
        let (dir, name) = self.parent(path)?;
        let take_away = |temporary: &[u8]| {
            let _ = unlinkat(&dir, temporary, AtFlags::empty());
        };
        let made = self.temporary(|temporary| {
            // Taken: it is someone else's. Anything else may have come after it was created.
            create(&dir, temporary).inspect_err(|errno| {
                if *errno != Errno::EXIST {
                    take_away(temporary)
                }
            })
        });
        let placed = made.and_then(|((), temporary)| {
            let moved = move_over(&dir, &temporary, name);
            // Two names of one file are left alone by a rename; and what could not be moved must not stay.
            take_away(&temporary);
            moved?;
            stat_name(&dir, name)
        });
        let stat = placed.map_err(|e| self.fault(action, path, e))?;
        Ok(found(path.clone(), &stat))
    }

    /// Creates something under a temporary name that nobody has.
    fn temporary<T>(&self, mut create: impl FnMut(&[u8]) -> Result<T, Errno>) -> Result<(T, Vec<u8>), Errno> {
        retrying(|| {
            let number = self.inner.temporary.fetch_add(1, Ordering::Relaxed);
            let name = [TEMPORARY, format!("{number:016x}").as_bytes()].concat();
            Ok((create(&name)?, name))
        })
    }

    fn apply_to_link(&self, dir: &Dir, name: &[u8], attributes: &Attributes) -> Result<(), Errno> {
        let stat = stat_name(dir, name)?;
        let change = |uid, gid| chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
        self.inner.applier.owner((stat.stx_uid, stat.stx_gid), attributes, change)?;
        utimensat(dir, name, &times(attributes.mtime), AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// Renames over whatever is at `name`; a directory there goes away if it is empty.
pub(super) fn move_over(dir: &Dir, temporary: &[u8], name: &[u8]) -> Result<(), Errno> {
    retrying(|| match renameat(dir, temporary, dir, name) {
        Err(Errno::ISDIR) => clear(dir, name).and(Err(Errno::EXIST)),
        answer => answer,
    })
}

/// Removes what is at `name`, unless it is a directory with something in it.
fn clear(dir: &Dir, name: &[u8]) -> Result<(), Errno> {
    let answer = match unlinkat(dir, name, AtFlags::empty()) {
        // Some file systems answer PERM for a directory.
        Err(Errno::ISDIR | Errno::PERM) => unlinkat(dir, name, AtFlags::REMOVEDIR),
        answer => answer,
    };
    match answer {
        // A directory with something in it: this ends the tries.
        Err(Errno::EXIST) => Err(Errno::NOTEMPTY),
        Err(Errno::NOENT) => Ok(()),
        answer => answer,
    }
}

/// Tries again while the name is taken.
fn retrying<T>(mut attempt: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 1..NAME_TRIES {
        match attempt() {
            Err(Errno::EXIST | Errno::INTR) => {}
            answer => return answer,
        }
    }
    attempt()
}

/// Opens a file or directory to change its metadata; one of ours that forbids even its owner to read is opened up first.
fn open_own(dir: &Dir, name: &[u8], file_type: FileType) -> Result<OwnedFd, Errno> {
    let mut flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if file_type == FileType::Directory {
        flags |= OFlags::DIRECTORY;
    }
    match openat(dir, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            open_up(dir, name)?;
            openat(dir, name, flags, Mode::empty())
        }
        answer => answer,
    }
}

/// Gives the owner all rights to an entry that is no symbolic link.
fn open_up(dir: &Dir, name: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => fchmod(&fd, Mode::RWXU),
        Err(Errno::ACCESS) => {
            // Changing a mode needs a handle or a name, a handle needs the right to read, and a name may be replaced by
            // a symbolic link meanwhile. A handle without rights, named through /proc, is the same entry for certain.
            let handle = openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            if file_type(&stat_fd(handle.as_fd())?) == FileType::Symlink {
                return Err(Errno::LOOP);
            }
            let named = format!("/proc/self/fd/{}", handle.as_raw_fd());
            chmodat(rustix::fs::CWD, named, Mode::RWXU, AtFlags::empty())
        }
        Err(errno) => Err(errno),
    }
}
