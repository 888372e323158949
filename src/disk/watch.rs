//! Hears of changes in a volume: one inotify watch for each directory.
//!
//! A watch is placed by the [scan](super::Scan), on each directory it enters and before it lists it: whatever happens
//! there later is heard, and whatever happened before is listed. So a walk and its watches leave no gap, and a new
//! directory is watched when the pass that its creation caused walks it.
//!
//! What is heard are hints. Lost ones (a queue that overflowed, a directory that could not be watched) are said, and the
//! answer to them is a walk. Opening and reading is not listened to: our own walks would fill the queue.

use super::database::companion_of;
use super::error::DiskError;
use super::scan::is_temporary;
use super::volume::Volume;
use crate::runtime::limits;
use crate::tree::{Dirty, Filter, RelPath};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::mem::MaybeUninit;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What one read of the queue takes.
const READ_BYTES: usize = 64 << 10;

/// Listens to a volume. Cheap to clone; clones share the watches.
#[derive(Debug, Clone)]
pub struct Watch {
    queue: Arc<OwnedFd>,
    /// Readable once nobody wants to hear any more.
    hush: Arc<OwnedFd>,
    reserved: Arc<[RelPath]>,
    filter: Filter,
    table: Arc<Mutex<Table>>,
}

/// How well a volume is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// Each directory that was entered is watched.
    Whole,
    /// The kernel's limit of watches (`fs.inotify.max_user_watches`) or its memory did not suffice.
    Exhausted,
    /// A directory could not be watched for another reason.
    Refused,
}

#[derive(Debug, Default)]
struct Table {
    /// The directory of each watch, `None` for the root, and the walk that entered it last.
    directories: HashMap<i32, (Option<RelPath>, u32)>,
    watches: BTreeMap<RelPath, i32>,
    walk: u32,
    trouble: Option<Errno>,
}

impl Watch {
    /// Nothing is watched yet: the next walk of the volume does that. What `filter` leaves out and `reserved` is not told.
    pub fn new(volume: &Volume, filter: Filter, reserved: Vec<RelPath>) -> Result<Watch, DiskError> {
        let failed = |errno| volume.fault("beginning to watch", None, errno);
        let queue = Arc::new(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(failed)?);
        let hush = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).map_err(failed)?);
        Ok(Watch { queue, hush, reserved: reserved.into(), filter, table: Arc::default() })
    }

    /// Why changes of this volume are not heard, if its file system does not tell them: other machines change it too, or
    /// a layer in between keeps them to itself.
    pub fn unheard(volume: &Volume) -> Option<&'static str> {
        const SILENT: &[(i64, &str)] = &[
            (0x6969, "NFS"),
            (0x6573_5546, "FUSE"),
            (0xff53_4d42, "SMB"),
            (0xfe53_4d42, "SMB"),
            (0x517b, "SMB"),
            (0x0102_1997, "9p"),
            (0x00c3_6400, "Ceph"),
            (0x7375_7245, "Coda"),
            (0x5346_414f, "AFS"),
            (0x0bd0_0bd0, "Lustre"),
            (0x4750_4653, "GPFS"),
            (0x794c_7630, "overlayfs"),
        ];
        let kind = rustix::fs::fstatfs(volume.root()).ok()?.f_type;
        SILENT.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name)
    }

    /// A whole walk begins.
    pub(super) fn begin_walk(&self) {
        let mut table = self.table();
        table.walk = table.walk.wrapping_add(1);
        table.trouble = None;
    }

    /// A whole walk saw everything: directories that it did not enter are no longer part of the volume.
    pub(super) fn end_walk(&self) {
        let mut table = self.table();
        let walk = table.walk;
        let stale: Vec<i32> = table.directories.iter().filter(|(_, (_, seen))| *seen != walk).map(|(watch, _)| *watch).collect();
        stale.into_iter().for_each(|watch| self.drop_watch(&mut table, watch));
    }

    /// A walk has opened a directory and is about to list it.
    pub(super) fn enter(&self, path: Option<&RelPath>, directory: BorrowedFd<'_>) {
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ONLYDIR
            | WatchFlags::EXCL_UNLINK;
        // The handle names the very directory that was opened, however long its path is and whatever lies there now.
        let place = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let mut table = self.table();
        match inotify::add_watch(&*self.queue, place, flags) {
            Ok(watch) => self.note(&mut table, watch, path),
            Err(errno) => table.trouble = Some(errno),
        }
    }

    fn note(&self, table: &mut Table, watch: i32, path: Option<&RelPath>) {
        let walk = table.walk;
        if let Some((Some(before), _)) = table.directories.insert(watch, (path.cloned(), walk))
            && Some(&before) != path
            && table.watches.get(&before) == Some(&watch)
        {
            table.watches.remove(&before);
        }
        if let Some(path) = path
            && let Some(other) = table.watches.insert(path.clone(), watch)
            && other != watch
        {
            // Another directory had this name.
            self.drop_watch(table, other);
        }
    }

    fn drop_watch(&self, table: &mut Table, watch: i32) {
        if let Some((path, _)) = table.directories.remove(&watch) {
            // It fails for a directory that is gone, whose watch the kernel has removed.
            let _ = inotify::remove_watch(&*self.queue, watch);
            if let Some(path) = path.filter(|path| table.watches.get(path) == Some(&watch)) {
                table.watches.remove(&path);
            }
        }
    }

    /// How well the volume is watched since the last whole walk.
    pub fn coverage(&self) -> Coverage {
        match self.table().trouble {
            None => Coverage::Whole,
            Some(Errno::NOSPC | Errno::NOMEM) => Coverage::Exhausted,
            Some(_) => Coverage::Refused,
        }
    }

    /// Takes what has been heard so far; never waits.
    pub fn take(&self, dirty: &mut Dirty) {
        let mut buffer = vec![MaybeUninit::uninit(); READ_BYTES];
        let mut reader = inotify::Reader::new(&*self.queue, &mut buffer);
        let mut table = self.table();
        // Bounded, so that a storm of changes cannot keep a pass from beginning.
        for _ in 0..limits::WATCH_EVENTS {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(std::ffi::CStr::to_bytes);
                    self.hear(&mut table, event.wd(), event.events(), name, dirty);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => return dirty.mark_everything(),
            }
        }
    }

    fn hear(&self, table: &mut Table, watch: i32, what: ReadFlags, name: Option<&[u8]>, dirty: &mut Dirty) {
        if what.intersects(ReadFlags::QUEUE_OVERFLOW) {
            dirty.overflows += 1;
            return dirty.mark_everything();
        }
        if what.intersects(ReadFlags::IGNORED) {
            return self.drop_watch(table, watch);
        }
        let Some((directory, _)) = table.directories.get(&watch) else { return };
        let directory = directory.clone();
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            // About the directory itself: its mode, or that it is no more, which its parent tells better.
            return directory.into_iter().for_each(|path| dirty.mark(path, false));
        };
        let path = match &directory {
            None => RelPath::new(name),
            Some(above) => above.join(name),
        };
        let Ok(path) = path else { return };
        if is_temporary(path.name()) || self.reserved.contains(&path) {
            return;
        }
        let is_directory = what.intersects(ReadFlags::ISDIR);
        // A commit may write to a database's log alone.
        if let Some(database) = companion_of(&path).filter(|database| self.filter.admits(database)) {
            dirty.mark(database, false);
        }
        let (left, came) = (ReadFlags::DELETE | ReadFlags::MOVED_FROM, ReadFlags::CREATE | ReadFlags::MOVED_TO);
        if what.intersects(ReadFlags::MOVED_FROM) && is_directory {
            self.forget_below(table, &path);
        }
        if !(self.filter.admits(&path) || is_directory && self.filter.may_admit_below(&path)) {
            return;
        }
        if what.intersects(left | came) {
            directory.into_iter().for_each(|above| dirty.mark(above, false));
            dirty.mark(path, is_directory);
        } else {
            // A directory that could not be entered may be open now.
            let is_unwatched = is_directory && !table.watches.contains_key(&path);
            dirty.mark(path, is_unwatched);
        }
    }

    /// A directory has left its place: what is below it is watched again where it comes to lie, if that is in the volume.
    fn forget_below(&self, table: &mut Table, path: &RelPath) {
        let below = table.watches.range((Bound::Included(path), Bound::Unbounded));
        let gone: Vec<i32> = below.take_while(|(other, _)| other.is_within(path)).map(|(_, watch)| *watch).collect();
        gone.into_iter().for_each(|watch| self.drop_watch(table, watch));
    }

    /// Calls whenever there is something to [`take`](Watch::take); blocks until [`hush`](Watch::hush).
    pub fn listen(&self, call: impl Fn()) {
        let hush = || PollFd::new(&self.hush, PollFlags::IN);
        let pause = Timespec { tv_sec: 0, tv_nsec: limits::WATCH_PAUSE.subsec_nanos().into() };
        loop {
            let mut either = [hush(), PollFd::new(&self.queue, PollFlags::IN)];
            let polled = poll(&mut either, None);
            let [hushed, heard] = either.map(|fd| !fd.revents().is_empty());
            if hushed {
                return;
            }
            // Where waiting fails, looking again and again still hears.
            if heard || polled.is_err() {
                call();
            }
            // In a storm, many changes are taken at once.
            let _ = poll(&mut [hush()], Some(&pause));
        }
    }

    /// Ends [`listen`](Watch::listen).
    pub fn hush(&self) {
        // It only fails when it was called 2^64 times.
        let _ = rustix::io::write(&*self.hush, &1u64.to_ne_bytes());
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Volume, Watch};
    use crate::tree::{Dirty, Filter, RelPath};
    use rustix::fd::AsFd;
    use rustix::fs::{Mode, OFlags, chmod, open};

    #[test]
    fn a_directory_that_was_not_entered_is_looked_into_when_its_mode_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, path) = (folder.path().join("inner"), RelPath::new("inner").unwrap());
        let volume = Volume::open(folder.path()).unwrap();
        let watch = Watch::new(&volume, Filter::default(), Vec::new()).unwrap();
        rustix::fs::mkdir(&inner, Mode::RWXU).unwrap();
        watch.enter(None, volume.root());
        let heard = |mode: Mode| {
            let mut dirty = Dirty::default();
            chmod(&inner, mode).unwrap();
            watch.take(&mut dirty);
            dirty.paths().unwrap().clone().into_iter().collect::<Vec<_>>()
        };
        assert_eq!(heard(Mode::RUSR), [(path.clone(), true)], "it may be open now");
        let entered = open(&inner, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        watch.enter(Some(&path), entered.as_fd());
        assert_eq!(heard(Mode::RWXU), [(path, false)]);
    }
}
