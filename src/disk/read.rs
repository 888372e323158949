//! Reading one file.

use super::error::DiskError;
use super::stat::{Stamp, stamp, stat_fd};
use super::volume::{Volume, errno_of};
use super::xattr::{Xattr, read_xattrs};
use crate::tree::RelPath;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Advice, SeekFrom, fadvise, seek};
use rustix::io::{Errno, pread};
use std::num::NonZeroU64;
use std::ops::Range;

/// Data ranges that are told apart in one file; a file with more holes has its later ones read as zeros.
const DATA_RANGES: usize = 64 << 10;

/// A regular file opened for reading.
#[derive(Debug)]
pub struct SourceFile {
    volume: Volume,
    path: RelPath,
    fd: OwnedFd,
}

impl AsFd for SourceFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl SourceFile {
    pub(super) fn new(volume: Volume, path: RelPath, fd: OwnedFd) -> SourceFile {
        SourceFile { volume, path, fd }
    }

    /// What the file is now: equal before and after reading means that it was not written meanwhile.
    pub fn stamp(&self) -> Result<Stamp, DiskError> {
        stat_fd(self.fd.as_fd()).map(|stat| stamp(&stat)).map_err(|e| self.fault("looking at", e))
    }

    /// Fills `buf` from `offset`; short only where the file ends.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match pread(&self.fd, rest, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.fault("reading", errno)),
            }
        }
        Ok(filled)
    }

    /// Which parts of the first `size` bytes hold data; the rest are holes. One whole range where the file system
    /// does not tell.
    pub fn data_ranges(&self, size: u64) -> Result<Vec<Range<u64>>, DiskError> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let mut at = 0;
        while at < size {
            let start = match seek(&self.fd, SeekFrom::Data(at)) {
                Ok(start) if start < size => start,
                // ENXIO: only a hole follows.
                Ok(_) | Err(Errno::NXIO) => break,
                Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => return Ok(std::iter::once(0..size).collect()),
                Err(errno) => return Err(self.fault("looking for holes in", errno)),
            };
            let end = match seek(&self.fd, SeekFrom::Hole(start)) {
                // A file cut short between the two calls ends the search: its stamp tells the reader.
                Err(Errno::NXIO) => break,
                answer => answer.map_err(|e| self.fault("looking for holes in", e))?.clamp(start, size),
            };
            if end == start {
                break;
            }
            let full = ranges.len() == DATA_RANGES;
            match ranges.last_mut().filter(|_| full) {
                Some(last) => last.end = end,
                None => ranges.push(start..end),
            }
            at = end;
        }
        Ok(ranges)
    }

    /// The kept extended attributes, sorted by name.
    pub fn xattrs(&self) -> Result<Vec<Xattr>, DiskError> {
        read_xattrs(&self.volume, &self.path, self.fd.as_fd())
    }

    /// Tells the kernel to read ahead.
    pub fn advise_sequential(&self) {
        // Advice only: a file system that ignores it costs nothing.
        let _ = fadvise(&self.fd, 0, None, Advice::Sequential);
    }

    /// Gives back the page cache of what has been read, so that a push does not push the application out of it.
    pub fn drop_cache(&self, range: Range<u64>) {
        if let Some(length) = NonZeroU64::new(range.end.saturating_sub(range.start)) {
            let _ = fadvise(&self.fd, range.start, Some(length), Advice::DontNeed);
        }
    }

    /// A handle of the same open file.
    pub(super) fn to_file(&self) -> Result<std::fs::File, DiskError> {
        self.fd.try_clone().map(std::fs::File::from).map_err(|error| self.fault("opening", errno_of(&error)))
    }

    fn fault(&self, action: &'static str, errno: Errno) -> DiskError {
        self.volume.fault(action, Some(&self.path), errno)
    }
}
