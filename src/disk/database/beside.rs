//! The files that SQLite keeps beside a database.

use super::super::Volume;
use super::super::error::gone;
use super::super::stat::{device, file_type, stat_name, timestamp};
use super::MAGIC;
use crate::tree::{DatabaseLog, FileType, RelPath};
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags, Statx, openat};
use rustix::io::{Errno, pread};
use std::hash::{DefaultHasher, Hasher};

/// What their names end with: write-ahead log, its shared memory, rollback journal.
pub(super) const WAL: &[u8] = b"-wal";
pub(super) const SHM: &[u8] = b"-shm";
pub(super) const JOURNAL: &[u8] = b"-journal";
pub(in super::super) const ENDINGS: [&[u8]; 3] = [WAL, SHM, JOURNAL];

/// How the content of a rollback journal begins and of a write-ahead log (in either byte order), and of the shared memory
/// beside one (in this machine's order).
pub(super) const JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
const WAL_MAGICS: [[u8; 4]; 2] = [[0x37, 0x7f, 0x06, 0x82], [0x37, 0x7f, 0x06, 0x83]];
const SHM_VERSION: u32 = 3_007_000;

/// The names that belong to a database of this name.
pub fn companions(path: &RelPath) -> impl Iterator<Item = RelPath> {
    ENDINGS.into_iter().filter_map(|ending| RelPath::new([path.as_bytes(), ending].concat()).ok())
}

/// The database that a path belongs to, if there is one of that name.
pub(in super::super) fn companion_of(path: &RelPath) -> Option<RelPath> {
    base(path.as_bytes()).and_then(|base| RelPath::new(base).ok())
}

fn base(name: &[u8]) -> Option<&[u8]> {
    ENDINGS.into_iter().find_map(|ending| name.strip_suffix(ending)).filter(|base| !base.is_empty())
}

/// Whether a file with such a name holds what SQLite would write under it: beside another database it would destroy that.
pub fn is_log(volume: &Volume, path: &RelPath) -> bool {
    let mut start = [0; JOURNAL_MAGIC.len()];
    // What cannot be read cannot be read by an application either, or is none of ours to judge.
    let read = volume.open_file(path).and_then(|file| file.read_at(&mut start, 0));
    let name = path.name();
    read.is_ok()
        && if name.ends_with(WAL) {
            WAL_MAGICS.iter().any(|magic| start.starts_with(magic))
        } else if name.ends_with(SHM) {
            start.starts_with(&SHM_VERSION.to_ne_bytes())
        } else {
            name.ends_with(JOURNAL) && start == JOURNAL_MAGIC
        }
}

/// Whether a name in a directory belongs to a database beside it.
pub(in super::super) fn is_companion(dir: impl AsFd, name: &[u8]) -> bool {
    base(name).is_some_and(|base| begins_as_database(dir, base))
}

/// Whether the regular file of this name is a database. What cannot be read is none: reading it will say why.
pub(in super::super) fn begins_as_database(dir: impl AsFd, name: &[u8]) -> bool {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut start = [0; MAGIC.len()];
    let read = openat(dir, name, flags, Mode::empty()).and_then(|file| pread(&file, &mut start, 0));
    read == Ok(MAGIC.len()) && start == MAGIC
}

/// What lies beside a database.
#[derive(Debug, Default)]
pub(in super::super) struct Beside {
    files: [Option<Statx>; 3],
}

impl Beside {
    /// Looks.
    pub(in super::super) fn look(dir: impl AsFd, name: &[u8]) -> Result<Beside, Errno> {
        let mut beside = Beside::default();
        for (file, ending) in beside.files.iter_mut().zip(ENDINGS) {
            *file = match stat_name(&dir, &[name, ending].concat()) {
                Ok(stat) => Some(stat).filter(|stat| file_type(stat) == FileType::File),
                Err(Errno::NAMETOOLONG) => None,
                Err(errno) if gone(errno) => None,
                Err(errno) => return Err(errno),
            };
        }
        Ok(beside)
    }

    /// What it means for the content. Of the shared memory only that it is there: readers write to it too.
    pub(in super::super) fn log(&self) -> Option<DatabaseLog> {
        let mut changed = None;
        // Another release of the standard library may hash otherwise: that costs one look at each database.
        let mut state = DefaultHasher::new();
        for (file, ending) in self.files.iter().zip(ENDINGS) {
            let Some(stat) = file else { continue };
            state.write(ending);
            let mut ctime = timestamp(&stat.stx_ctime);
            if ending == SHM {
                ctime = Default::default();
            } else {
                state.write_u64(device(stat));
                state.write_u64(stat.stx_ino);
                state.write_u64(stat.stx_size);
                state.write_i64(ctime.seconds);
                state.write_u32(ctime.nanos);
            }
            changed = changed.max(Some(ctime));
        }
        changed.map(|changed| DatabaseLog { state: state.finish(), changed })
    }
}
