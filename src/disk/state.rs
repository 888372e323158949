//! The state directory: what this program knows about its volume between two runs. Every file in it is replaced by
//! one rename, so that a crash leaves the old content or the new one.

use super::error::{DiskError, Facts};
use super::volume::{Space, errno_of, nobody};
use crate::runtime::limits::STATE_FILE_BYTES;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, fchmod, flock, fstat, fsync, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";

/// An open state directory.
#[derive(Debug)]
pub struct StateDir {
    dir: OwnedFd,
    path: PathBuf,
}

/// A file of the state directory.
pub type StateFile = std::fs::File;

/// The right to work on a volume; given up when dropped, and by the kernel when the process dies.
#[derive(Debug)]
pub struct StateLock {
    _file: OwnedFd,
}

impl StateDir {
    /// Opens the directory; creates it, for its owner only, when it is missing.
    pub fn open(path: &Path) -> Result<StateDir, DiskError> {
        let fault = |action, errno| fault(action, path, errno);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| fault("creating the state directory", errno_of(&error)))?;
        // The application owns the volume: a symbolic link under this name would let it choose where we write.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| fault("opening the state directory", e))?;
        let stat = fstat(&dir).map_err(|e| fault("looking at the state directory", e))?;
        // A volume with an fsGroup gives its group access at every mount; the owner takes that back here.
        if stat.st_mode & 0o077 != 0 && stat.st_uid == rustix::process::geteuid().as_raw() {
            fchmod(&dir, Mode::RWXU).map_err(|e| fault("closing the state directory to others", e))?;
        }
        Ok(StateDir { dir, path: path.to_path_buf() })
    }

    /// Takes the lock, or says that another process has it. Never waits.
    pub fn lock(&self) -> Result<StateLock, DiskError> {
        let file = self.open_at(LOCK, OFlags::RDWR | OFlags::CREATE).map_err(|e| self.fault("opening", LOCK, e))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(StateLock { _file: file }),
            Err(Errno::AGAIN) => Err(DiskError::Busy { path: self.path.join(LOCK).display().to_string() }),
            Err(errno) => Err(self.fault("locking", LOCK, errno)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file's content; `None` when it does not exist.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        let Some(file) = self.open_file(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = file.take(STATE_FILE_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.fault("reading", name, errno_of(&error)))?;
        self.check_length(name, &bytes)?;
        Ok(Some(bytes))
    }

    /// Replaces a file's content; what could not be read again is refused. A crash before the rename leaves the old one,
    /// after it the new one.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.check_length(name, bytes)?;
        let temporary = format!("{name}.new");
        let mut file = self.create_file(&temporary)?;
        file.write_all(bytes).map_err(|error| self.fault("writing", &temporary, errno_of(&error)))?;
        self.publish_file(&file, &temporary, name)
    }

    /// Creates a file, or empties the one there is, for reading and writing.
    pub fn create_file(&self, name: &str) -> Result<File, DiskError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
        self.open_at(name, flags).map(File::from).map_err(|e| self.fault("creating", name, e))
    }

    /// Opens a file for reading; `None` when it does not exist.
    pub fn open_file(&self, name: &str) -> Result<Option<File>, DiskError> {
        match self.open_at(name, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.fault("opening", name, errno)),
        }
    }

    /// Gives a finished file its name: its content is on disk before, the name after this returns.
    pub fn publish(&self, temporary: &str, name: &str) -> Result<(), DiskError> {
        let file = self.open_at(temporary, OFlags::RDONLY).map_err(|e| self.fault("opening", temporary, e))?;
        self.publish_file(&File::from(file), temporary, name)
    }

    /// Removes a file; false when there is none.
    pub fn remove(&self, name: &str) -> Result<bool, DiskError> {
        let answer = checked(name).and_then(|name| unlinkat(&self.dir, name, AtFlags::empty()));
        match answer {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.fault("removing", name, errno)),
        }
    }

    /// What a failed write of a file here means when there is no room left; `None` when it failed otherwise.
    pub fn full(&self, error: &std::io::Error) -> Option<DiskError> {
        let fault = fault("writing local files in", &self.path, errno_of(error));
        fault.is_full().then_some(fault)
    }

    fn publish_file(&self, file: &File, temporary: &str, name: &str) -> Result<(), DiskError> {
        fsync(file).map_err(|e| self.fault("writing to disk", temporary, e))?;
        let renamed = checked(name).and_then(|name| renameat(&self.dir, temporary, &self.dir, name));
        renamed.map_err(|e| self.fault("publishing", name, e))?;
        fsync(&self.dir).map_err(|e| self.fault("writing to disk", name, e))
    }

    fn open_at(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        openat(&self.dir, checked(name)?, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
    }

    fn check_length(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        if bytes.len() as u64 <= STATE_FILE_BYTES {
            return Ok(());
        }
        Err(DiskError::StateTooLarge { path: self.path.join(name).display().to_string(), limit: STATE_FILE_BYTES })
    }

    fn fault(&self, action: &'static str, name: &str, errno: Errno) -> DiskError {
        fault(action, &self.path.join(name), errno)
    }
}

/// One name, nothing that leads elsewhere.
fn checked(name: &str) -> Result<&str, Errno> {
    if name.is_empty() || name == "." || name == ".." || name.contains('/') { Err(Errno::INVAL) } else { Ok(name) }
}

fn fault(action: &'static str, path: &Path, errno: Errno) -> DiskError {
    // Where the path itself is not there yet, what is above it tells what is free.
    let space = path.ancestors().find_map(|path| rustix::fs::statvfs(path).ok()).map(|stat| Space::of(&stat));
    DiskError::Kernel { action, path: path.display().to_string(), errno, facts: Some(Box::new(Facts { space, ..*nobody() })) }
}

#[cfg(test)]
mod tests {
    use super::{DiskError, STATE_FILE_BYTES, StateDir};
    use crate::fault::{Fault, Kind};
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_second_holder_of_the_lock_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let (first, second) =
            (StateDir::open(&root.path().join(".vsc")).unwrap(), StateDir::open(&root.path().join(".vsc")).unwrap());
        let held = first.lock().unwrap();
        let error = second.lock().unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.to_string().starts_with("another process works on this volume"), "{error}");
        assert!(error.hint().is_some());
        drop(held);
        second.lock().unwrap();
    }

    #[test]
    fn files_are_replaced_read_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::open(&root.path().join("deep/.vsc")).unwrap();
        assert_eq!(std::fs::metadata(state.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(state.read("receipt").unwrap(), None);
        state.write("receipt", b"one").unwrap();
        state.write("receipt", b"two").unwrap();
        assert_eq!(state.read("receipt").unwrap().unwrap(), b"two");
        state.create_file("index.new").unwrap().write_all(b"three").unwrap();
        state.publish("index.new", "index").unwrap();
        assert_eq!(state.read("index").unwrap().unwrap(), b"three");
        assert!(state.remove("index").unwrap());
        assert!(!state.remove("index").unwrap());
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::open(root.path()).unwrap();
        let most = vec![7; STATE_FILE_BYTES as usize];
        state.write("file", &most).unwrap();
        assert!(state.read("file").unwrap().unwrap() == most);
        let error = state.write("file", &[most.as_slice(), b"x"].concat()).unwrap_err();
        assert!(matches!(error, DiskError::StateTooLarge { .. }), "{error}");
        assert!(state.read("file").unwrap().unwrap() == most, "what was there stays");
    }

    #[test]
    fn nothing_outside_is_reached() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("outside"), "x").unwrap();
        let state = StateDir::open(&root.path().join(".vsc")).unwrap();
        symlink("../outside", root.path().join(".vsc/link")).unwrap();
        for name in ["../outside", "link", "..", ""] {
            assert!(state.read(name).is_err(), "{name}");
            assert!(state.create_file(name).is_err(), "{name}");
        }
        symlink(".vsc", root.path().join("other")).unwrap();
        assert!(StateDir::open(&root.path().join("other")).is_err());
    }
}
