//! SQLite's locks, as its processes hold them on each other's files. Ours belong to the open file and not to the process,
//! so that closing another handle of the same file does not give them up.

use crate::runtime::{Stop, clock, limits, wait_blocking};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::fd::AsFd;
use std::ops::Range;
use std::time::Instant;

/// Held by who waits to write the database: nobody begins to read meanwhile.
const PENDING: Range<i64> = 0x4000_0000..0x4000_0001;
/// Held by who has begun to write, and has not written to the database itself yet.
const RESERVED: Range<i64> = 0x4000_0001..0x4000_0002;
/// Shared by readers; who writes to the database holds it alone.
const SHARED: Range<i64> = 0x4000_0002..0x4000_0200;
/// In the shared memory of a write-ahead log: held alone by who moves the log's content into the database.
const CHECKPOINT: Range<i64> = 121..122;
/// The last of the readers' places there: while one is taken, nobody begins the log anew.
const READER: Range<i64> = 127..128;

/// Why a lock was not had.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoLock {
    /// Others held it all the time that may be waited.
    Busy,
    /// Asked to stop.
    Stopped,
    /// This file system does not lock.
    Unsupported(Errno),
}

/// How long locks are waited for.
pub(super) struct Patience<'a> {
    stop: &'a Stop,
    until: Instant,
}

impl Patience<'_> {
    pub(super) fn new(stop: &Stop) -> Patience<'_> {
        Patience { stop, until: clock::now() + limits::DATABASE_LOCK_WAIT }
    }

    /// Becomes a reader of a database: nobody writes to the file itself, but the one that holds [`checkpoint`]'s lock.
    pub(super) fn read(&self, file: impl AsFd) -> Result<(), NoLock> {
        self.wait(|| {
            // In SQLite's order: a writer that waits is let through first.
            if !share(&file, PENDING)? {
                return Ok(false);
            }
            let shared = share(&file, SHARED);
            release(&file, PENDING)?;
            shared
        })
    }

    /// Keeps the write-ahead log as it is but for what is added to its end, and the database as it is. Only this one
    /// reader's place is taken, for the others must stay free for readers.
    pub(super) fn checkpoint(&self, memory: impl AsFd) -> Result<(), NoLock> {
        self.wait(|| share(&memory, CHECKPOINT))?;
        self.wait(|| share(&memory, READER))
    }

    fn wait(&self, mut lock: impl FnMut() -> Result<bool, Errno>) -> Result<(), NoLock> {
        while !lock().map_err(NoLock::Unsupported)? {
            if clock::now() >= self.until {
                return Err(NoLock::Busy);
            }
            wait_blocking(self.stop.or(clock::sleep(limits::DATABASE_LOCK_POLL))).map_err(|_| NoLock::Stopped)?;
        }
        Ok(())
    }
}

/// Whether somebody has begun to write.
pub(super) fn is_reserved(file: impl AsFd) -> Result<bool, NoLock> {
    let mut lock = flock(libc::F_RDLCK, RESERVED);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock)).map_err(NoLock::Unsupported)?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// Takes a lock shared with others. `false` when somebody has it alone.
fn share(file: impl AsFd, bytes: Range<i64>) -> Result<bool, Errno> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&flock(libc::F_RDLCK, bytes))) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES | Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn release(file: impl AsFd, bytes: Range<i64>) -> Result<(), Errno> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&flock(libc::F_UNLCK, bytes))).map(drop)
}

fn flock(kind: i32, bytes: Range<i64>) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: bytes.start,
        l_len: bytes.end - bytes.start,
        l_pid: 0,
    }
}
