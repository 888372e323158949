//! A volume: one directory, and every way into it.

use super::error::{DiskError, Facts, gone};
use super::read::SourceFile;
use super::stat::{attributes, file_type, found, stat_fd, stat_name};
use super::xattr::{Xattr, read_xattrs};
use crate::tree::{FileType, Found, RelPath};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, RawDir, ResolveFlags, StatVfs, StatxAttributes, fstatvfs, openat, openat2, readlinkat, syncfs};
use rustix::io::Errno;
use std::fs::DirBuilder;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The bytes of a path that one system call takes, its NUL included.
const KERNEL_PATH_BYTES: usize = 4096;
/// How often a path is resolved again when a rename elsewhere in the tree disturbed it.
const RESOLVE_TRIES: u32 = 16;
/// What `readdir` is given to fill with each call.
pub(super) const READDIR_BYTES: usize = 64 << 10;
/// The directory that fsck keeps at the root of ext file systems.
pub(super) const LOST_AND_FOUND: &[u8] = b"lost+found";

/// An open volume. Cheap to clone; usable from several threads.
#[derive(Debug, Clone)]
pub struct Volume {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: OwnedFd,
    path: PathBuf,
    /// Set when the kernel (before 5.6) or a seccomp filter has no `openat2`.
    step_by_step: AtomicBool,
}

/// What a file system has left for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that we may still write.
    pub available_bytes: u64,
    /// Entries that we may still create; `None` where the file system has no such limit.
    pub available_inodes: Option<u64>,
}

impl Space {
    pub(super) fn of(stat: &StatVfs) -> Space {
        Space {
            available_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            available_inodes: (stat.f_files > 0).then_some(stat.f_favail),
        }
    }
}

/// A directory that names are looked up in.
#[derive(Debug)]
pub(super) enum Dir {
    Root(Volume),
    Below(OwnedFd),
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Dir::Root(volume) => volume.root(),
            Dir::Below(fd) => fd.as_fd(),
        }
    }
}

impl Volume {
    /// Opens an existing directory.
    pub fn open(path: &Path) -> Result<Volume, DiskError> {
        let as_given = || path.display().to_string();
        let failed = |errno| match errno {
            Errno::NOENT => DiskError::NoDirectory { path: as_given() },
            Errno::NOTDIR => DiskError::NotDirectory { path: as_given() },
            errno => DiskError::Kernel { action: "opening the directory", path: as_given(), errno, facts: Some(nobody()) },
        };
        let path = path.canonicalize().map_err(|error| failed(errno_of(&error)))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(&path, flags, Mode::empty()).map_err(failed)?;
        Ok(Volume { inner: Arc::new(Inner { root, path, step_by_step: AtomicBool::new(false) }) })
    }

    /// Creates the directory and those above it where they are missing, and opens it.
    pub fn create(path: &Path) -> Result<Volume, DiskError> {
        let made = DirBuilder::new().recursive(true).create(path);
        made.map_err(|error| match errno_of(&error) {
            Errno::EXIST | Errno::NOTDIR => DiskError::NotDirectory { path: path.display().to_string() },
            errno => DiskError::Kernel {
                action: "creating the directory",
                path: path.display().to_string(),
                errno,
                facts: Some(nobody()),
            },
        })?;
        Volume::open(path)
    }

    /// The root's absolute path with every symbolic link resolved.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Uid and gid of the root directory.
    pub fn owner(&self) -> Result<(u32, u32), DiskError> {
        let stat = stat_fd(self.root()).map_err(|e| self.fault("looking at", None, e))?;
        let attributes = attributes(&stat);
        Ok((attributes.uid, attributes.gid))
    }

    /// Whether something is mounted exactly here, as a volume in a container is. `None`: the kernel does not tell.
    pub fn is_mount_point(&self) -> Result<Option<bool>, DiskError> {
        let stat = stat_fd(self.root()).map_err(|e| self.fault("looking at", None, e))?;
        let known = stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
        Ok(known.then(|| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)))
    }

    /// Whether the root holds nothing but `reserved` names and `lost+found`.
    pub fn is_empty(&self, reserved: &[RelPath]) -> Result<bool, DiskError> {
        let failed = |e| self.fault("listing", None, e);
        let root = self.reopen_root().map_err(failed)?;
        let mut buffer = Vec::with_capacity(READDIR_BYTES);
        let mut entries = RawDir::new(root, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            let ours = matches!(name, b"." | b"..") || name == LOST_AND_FOUND;
            if !ours && !reserved.iter().any(|path| path.as_bytes() == name) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What is left for the user we run as.
    pub fn space(&self) -> Result<Space, DiskError> {
        // The facts of an error ask for the space, so this one is made without them.
        self.free().map_err(|errno| DiskError::Kernel {
            action: "asking for the free space of",
            path: self.text(None),
            errno,
            facts: None,
        })
    }

    /// What is at `path`; `None` when nothing is.
    pub fn look(&self, path: &RelPath) -> Result<Option<Found>, DiskError> {
        let stat = self.parent(path).and_then(|(dir, name)| stat_name(&dir, name));
        match stat {
            Ok(stat) => Ok(Some(found(path.clone(), &stat))),
            Err(errno) if gone(errno) => Ok(None),
            Err(errno) => Err(self.fault("looking at", Some(path), errno)),
        }
    }

    /// Opens a regular file for reading.
    pub fn open_file(&self, path: &RelPath) -> Result<SourceFile, DiskError> {
        // NONBLOCK: a named pipe that took the file's place must not hold us until someone writes to it.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let fd = self.open_beneath(path.as_bytes(), flags).map_err(|e| self.fault("opening", Some(path), e))?;
        let stat = stat_fd(fd.as_fd()).map_err(|e| self.fault("looking at", Some(path), e))?;
        self.expect_type("opening", path, FileType::File, file_type(&stat))?;
        Ok(SourceFile::new(self.clone(), path.clone(), fd))
    }

    /// Where a symbolic link points, as bytes.
    pub fn read_link(&self, path: &RelPath) -> Result<Vec<u8>, DiskError> {
        let target = self.parent(path).and_then(|(dir, name)| readlinkat(&dir, name, Vec::new()));
        Ok(target.map_err(|e| self.fault("reading the symbolic link", Some(path), e))?.into_bytes())
    }

    /// The kept extended attributes of a directory, sorted by name.
    pub fn xattrs(&self, path: &RelPath) -> Result<Vec<Xattr>, DiskError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let dir = self.open_beneath(path.as_bytes(), flags).map_err(|e| self.fault("opening", Some(path), e))?;
        read_xattrs(self, path, dir.as_fd())
    }

    /// Waits until everything written to the volume's file system is on its disk.
    pub fn sync(&self) -> Result<(), DiskError> {
        syncfs(&self.inner.root).map_err(|e| self.fault("writing to disk", None, e))
    }

    /// The root directory's handle. Never used to list it: the position is shared by all clones.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.inner.root.as_fd()
    }

    /// A handle of the root directory with a position of its own.
    pub(super) fn reopen_root(&self) -> Result<OwnedFd, Errno> {
        openat(self.root(), c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    }

    /// The directory that `path` lies in, and its last name.
    pub(super) fn parent<'a>(&self, path: &'a RelPath) -> Result<(Dir, &'a [u8]), Errno> {
        let bytes = path.as_bytes();
        match bytes.iter().rposition(|b| *b == b'/') {
            None => Ok((Dir::Root(self.clone()), bytes)),
            Some(cut) => {
                let (above, name) = (&bytes[..cut], &bytes[cut + 1..]);
                Ok((Dir::Below(self.open_beneath(above, OFlags::PATH | OFlags::DIRECTORY)?), name))
            }
        }
    }

    /// Opens an existing entry below the root without following any symbolic link.
    pub(super) fn open_beneath(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if path.len() >= KERNEL_PATH_BYTES || self.inner.step_by_step.load(Ordering::Relaxed) {
            return self.open_steps(path, flags);
        }
        match self.open_at_once(path, flags) {
            Err(Errno::AGAIN) => self.open_steps(path, flags),
            Err(Errno::NOSYS | Errno::PERM) => {
                // A seccomp filter that does not know the call answers EPERM, but so does a file that may not be
                // opened this way. Only what works step by step is blamed on the filter.
                let opened = self.open_steps(path, flags)?;
                self.inner.step_by_step.store(true, Ordering::Relaxed);
                Ok(opened)
            }
            answer => answer,
        }
    }

    fn open_at_once(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 1;
        loop {
            match openat2(self.root(), path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) if tries < RESOLVE_TRIES => tries += 1,
                answer => return answer,
            }
        }
    }

    /// The same, name by name: for kernels without `openat2` and for paths too long for one call.
    fn open_steps(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let through = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut dir: Option<OwnedFd> = None;
        let mut names = path.split(|b| *b == b'/').peekable();
        while let Some(name) = names.next() {
            // Checked here again, for this is what keeps the walk inside the volume.
            if matches!(name, b"" | b"." | b"..") {
                return Err(Errno::INVAL);
            }
            let flags = if names.peek().is_some() { through } else { flags };
            let at = dir.as_ref().map_or(self.root(), |fd| fd.as_fd());
            dir = Some(openat(at, name, flags, Mode::empty())?);
        }
        dir.ok_or(Errno::INVAL)
    }

    #[cfg(test)]
    pub(super) fn resolve_step_by_step(&self, step_by_step: bool) {
        self.inner.step_by_step.store(step_by_step, Ordering::Relaxed);
    }

    /// An error about `path` (or the root), with what a hint needs.
    pub(super) fn fault(&self, action: &'static str, path: Option<&RelPath>, errno: Errno) -> DiskError {
        let owner = stat_fd(self.root()).ok().map(|stat| (stat.stx_uid, stat.stx_gid));
        let facts = Facts { us: us(), owner, space: self.free().ok() };
        DiskError::Kernel { action, path: self.text(path), errno, facts: Some(Box::new(facts)) }
    }

    pub(super) fn expect_type(
        &self,
        action: &'static str,
        path: &RelPath,
        expected: FileType,
        found: FileType,
    ) -> Result<(), DiskError> {
        if expected == found {
            return Ok(());
        }
        Err(DiskError::WrongType { action, path: self.text(Some(path)), expected, found })
    }

    /// A path as a person reads it.
    pub(super) fn text(&self, path: Option<&RelPath>) -> String {
        let root = self.inner.path.display();
        path.map_or_else(|| root.to_string(), |path| format!("{root}/{path}"))
    }

    fn free(&self) -> Result<Space, Errno> {
        Ok(Space::of(&fstatvfs(&self.inner.root)?))
    }
}

/// What the standard library wraps; an error that did not come from the kernel counts as I/O.
pub(super) fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Effective uid and gid.
pub(super) fn us() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// The facts when there is no volume to ask yet.
pub(super) fn nobody() -> Box<Facts> {
    Box::new(Facts { us: us(), owner: None, space: None })
}
