//! A file being placed.

use super::error::DiskError;
use super::place::{Placer, move_over};
use super::volume::Dir;
use super::xattr::Xattr;
use crate::tree::{Attributes, Found, RelPath};
use rustix::fd::OwnedFd;
use rustix::fs::{Advice, AtFlags, fadvise, fstat, ftruncate, unlinkat};
use rustix::io::{Errno, pwrite};
use std::num::NonZeroU64;

/// Files up to this size get their length by being written.
const SET_LENGTH_ABOVE_BYTES: u64 = 1 << 20;

/// A file under way. Dropped unfinished, it takes itself away.
#[derive(Debug)]
pub struct PlacedFile {
    placer: Placer,
    target: Target,
    finished: bool,
}

/// Where a file is being written, and where it goes.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) dir: Dir,
    pub(super) fd: OwnedFd,
    pub(super) path: RelPath,
    /// `None`: it is written under its own name.
    pub(super) temporary: Option<Vec<u8>>,
    pub(super) size: u64,
}

impl PlacedFile {
    pub(super) fn begin(placer: Placer, target: Target) -> Result<PlacedFile, DiskError> {
        let file = PlacedFile { placer, target, finished: false };
        if file.target.size > SET_LENGTH_ABOVE_BYTES {
            file.set_length()?;
        }
        Ok(file)
    }

    /// Writes all of `bytes` at `offset`. What is never written is a hole.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), DiskError> {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match pwrite(&self.target.fd, rest, offset.saturating_add(done as u64)) {
                Ok(0) => return Err(self.fault("writing", Errno::IO)),
                Ok(written) => done += written,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.fault("writing", errno)),
            }
        }
        Ok(())
    }

    /// Lets the system begin to write a range to disk, so that there is less to wait for when the volume is made durable. A
    /// hint: Linux takes the advice that clean pages are not needed for a reason to clean the dirty ones, and keeps these.
    pub fn begin_writing_to_disk(&self, offset: u64, length: u64) {
        let _ = fadvise(&self.target.fd, offset, NonZeroU64::new(length), Advice::DontNeed);
    }

    /// Gives the file its length, its metadata and its name; answers what it is now. A crash before the last step
    /// leaves a file that is not taken for complete.
    pub fn finish(mut self, attributes: &Attributes, xattrs: &[Xattr]) -> Result<Found, DiskError> {
        let Target { dir, fd, path, temporary, size } = &self.target;
        let stat = fstat(fd).map_err(|e| self.fault("looking at", e))?;
        if u64::try_from(stat.st_size) != Ok(*size) {
            self.set_length()?;
        }
        self.placer.apply(fd, path, attributes, Some(xattrs))?;
        if let Some(temporary) = temporary {
            move_over(dir, temporary, path.name()).map_err(|e| self.fault("replacing", e))?;
        }
        // After the rename, for that moves the change time.
        let found = self.placer.look(fd, path);
        self.finished = true;
        found
    }

    fn set_length(&self) -> Result<(), DiskError> {
        ftruncate(&self.target.fd, self.target.size).map_err(|e| self.fault("setting the length of", e))
    }

    fn fault(&self, action: &'static str, errno: Errno) -> DiskError {
        self.placer.fault(action, &self.target.path, errno)
    }
}

impl Drop for PlacedFile {
    fn drop(&mut self) {
        if !self.finished {
            let name = self.target.temporary.as_deref().unwrap_or(self.target.path.name());
            // Nobody is left to tell; a scan finds what stays.
            let _ = unlinkat(&self.target.dir, name, AtFlags::empty());
        }
    }
}
