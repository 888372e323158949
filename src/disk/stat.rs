//! What the kernel says about an entry, in our words.

use crate::tree::{Attributes, FileType, Found, Identity, RelPath, Timestamp};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, FileType as RawType, Statx, StatxFlags, StatxTimestamp, makedev, statx};
use rustix::io::Errno;

/// What tells whether a file changed while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Length in bytes.
    pub size: u64,
    /// Modification time.
    pub mtime: Timestamp,
    /// Change time.
    pub ctime: Timestamp,
    /// Inode number.
    pub inode: u64,
    /// Device number of the file system.
    pub device: u64,
}

/// The stamp of an entry as a scan saw it.
pub fn stamp_of(found: &Found) -> Stamp {
    Stamp {
        size: found.size,
        mtime: found.attributes.mtime,
        ctime: found.identity.ctime,
        inode: found.identity.inode,
        device: found.identity.device,
    }
}

/// Which mount an entry lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mount {
    /// The kernel's mount id: tells bind mounts of one file system apart.
    Id(u64),
    /// Kernels before 5.8 only tell the device.
    Device(u64),
}

/// Looks at `name` in `dir` without following anything.
pub(super) fn stat_name(dir: impl AsFd, name: &[u8]) -> Result<Statx, Errno> {
    statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)
}

/// Looks at an open file.
pub(super) fn stat_fd(fd: BorrowedFd<'_>) -> Result<Statx, Errno> {
    statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)
}

pub(super) fn file_type(stat: &Statx) -> FileType {
    match RawType::from_raw_mode(u32::from(stat.stx_mode)) {
        RawType::RegularFile => FileType::File,
        RawType::Directory => FileType::Directory,
        RawType::Symlink => FileType::Symlink,
        RawType::Fifo => FileType::Fifo,
        RawType::Socket => FileType::Socket,
        _ => FileType::Device,
    }
}

pub(super) fn device(stat: &Statx) -> u64 {
    makedev(stat.stx_dev_major, stat.stx_dev_minor)
}

pub(super) fn mount(stat: &Statx) -> Mount {
    if StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::MNT_ID) {
        Mount::Id(stat.stx_mnt_id)
    } else {
        Mount::Device(device(stat))
    }
}

pub(super) fn attributes(stat: &Statx) -> Attributes {
    Attributes {
        mode: u32::from(stat.stx_mode) & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        mtime: timestamp(&stat.stx_mtime),
    }
}

pub(super) fn found(path: RelPath, stat: &Statx) -> Found {
    let file_type = file_type(stat);
    let is_file = file_type == FileType::File;
    Found {
        path,
        file_type,
        attributes: attributes(stat),
        size: if is_file { stat.stx_size } else { 0 },
        // The kernel counts in units of 512 bytes, whatever the file system's block size is.
        allocated: if is_file { stat.stx_blocks.saturating_mul(512) } else { 0 },
        identity: Identity {
            device: device(stat),
            inode: stat.stx_ino,
            ctime: timestamp(&stat.stx_ctime),
            links: u64::from(stat.stx_nlink),
            log: None,
        },
    }
}

pub(super) fn stamp(stat: &Statx) -> Stamp {
    Stamp {
        size: stat.stx_size,
        mtime: timestamp(&stat.stx_mtime),
        ctime: timestamp(&stat.stx_ctime),
        inode: stat.stx_ino,
        device: device(stat),
    }
}

pub(super) fn timestamp(time: &StatxTimestamp) -> Timestamp {
    Timestamp { seconds: time.tv_sec, nanos: time.tv_nsec }
}
