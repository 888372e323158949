//! Where a socket lies: an open directory and a name in it. Through the open directory its path may be of any length,
//! while the kernel takes an address of 108 bytes, and nobody can exchange the directory between two steps.

use super::error::AdminError;
use crate::contract::control::STATE_NAME;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, chmodat, open, renameat, statat, unlinkat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

/// The place of a socket. One that was published is removed when dropped.
#[derive(Debug)]
pub(super) struct Place {
    dir: OwnedFd,
    name: OsString,
    path: PathBuf,
    /// Device and inode of the socket that was published.
    own: Option<(u64, u64)>,
}

impl Place {
    /// Opens the directory of a path.
    pub fn open(path: &Path) -> Result<Place, AdminError> {
        let fault = |errno: Errno| kernel("opening the directory of the socket", path, errno.into());
        let name = path.file_name().ok_or_else(|| fault(Errno::INVAL))?.to_os_string();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if folder.file_name() == Some(OsStr::new(STATE_NAME)) {
            // The application owns the volume: a symbolic link under this name would lead where it likes.
            flags |= OFlags::NOFOLLOW;
        }
        let dir = open(folder, flags, Mode::empty()).map_err(fault)?;
        Ok(Place { dir, name, path: path.to_path_buf(), own: None })
    }

    /// The path as it was named.
    pub fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// An address for the kernel, valid while this place is open.
    pub fn address(&self) -> PathBuf {
        self.address_of(&self.name)
    }

    /// The address of the name under which a socket is made, before it gets its own.
    pub fn new_address(&self) -> PathBuf {
        self.address_of(&self.new_name())
    }

    fn address_of(&self, name: &OsStr) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.dir.as_raw_fd())).join(name)
    }

    fn new_name(&self) -> OsString {
        let mut name = self.name.clone();
        name.push(".new");
        name
    }

    /// What lies there; `None` when nothing does.
    pub fn look(&self) -> Result<Option<Stat>, AdminError> {
        match statat(&self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.fault("looking at", errno.into())),
        }
    }

    /// Gives the socket made at [`Place::new_address`] to its owner alone, and then its name, in place of a dead one. A
    /// crash before leaves a name that the next start takes over.
    pub fn publish(&mut self) -> Result<(), AdminError> {
        let new = self.new_name();
        let published = chmodat(&self.dir, &new, Mode::RUSR | Mode::WUSR, AtFlags::empty())
            .and_then(|()| statat(&self.dir, &new, AtFlags::SYMLINK_NOFOLLOW))
            .and_then(|stat| renameat(&self.dir, &new, &self.dir, &self.name).map(|()| stat));
        let stat = published.map_err(|errno| self.fault("publishing the control socket", errno.into()))?;
        self.own = Some((stat.st_dev, stat.st_ino));
        Ok(())
    }

    /// Removes what a start that did not end left under the name for making.
    pub fn clear_new(&self) -> Result<(), AdminError> {
        match unlinkat(&self.dir, self.new_name(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.fault("clearing the way for", errno.into())),
        }
    }

    /// An error about the socket.
    pub fn fault(&self, action: &'static str, cause: io::Error) -> AdminError {
        kernel(action, &self.path, cause)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(own) = self.own else { return };
        if matches!(self.look(), Ok(Some(found)) if (found.st_dev, found.st_ino) == own) {
            // What stays is a dead socket, which the next start replaces.
            let _ = unlinkat(&self.dir, &self.name, AtFlags::empty());
        }
    }
}

/// Whether it is a socket.
pub(super) fn is_socket(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Socket
}

fn kernel(action: &'static str, path: &Path, cause: io::Error) -> AdminError {
    AdminError::Kernel { action, path: path.display().to_string(), cause }
}
