//! Walks a volume and tells every entry in the order of [`RelPath`].
//!
//! One directory's names are read at once and sorted, then looked at one by one; below a directory the walk goes on
//! before its next sibling. That is the order of paths, so nothing is sorted twice and nothing is kept.

use super::database::{Beside, ENDINGS, begins_as_database, is_companion};
use super::error::{DiskError, gone};
use super::names::{NameSorter, SortedNames};
use super::skips::Skips;
use super::stat::{Mount, device, file_type, found, mount, stat_fd, stat_name};
use super::volume::{LOST_AND_FOUND, READDIR_BYTES, Volume, errno_of};
use super::watch::Watch;
use crate::runtime::limits::SORT_BYTES;
use crate::tree::{Completeness, FileType, Filter, Found, Region, Regions, RelPath, Skip, SkipReason};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, RawDir, Statx, openat};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::path::PathBuf;

/// Directories kept open at once; those further up are opened again when the walk comes back to them.
const OPEN_DIRS: usize = 64;
/// Unfinished files of a killed restore that are remembered; the next restore finds the rest.
const LEFTOVERS: usize = 4096;
/// What a file is called while it is being placed: this and 16 hex digits.
pub(super) const TEMPORARY: &[u8] = b".vsc-tmp-";

/// What a scan leaves out, and where it may spill.
#[derive(Debug, Clone)]
pub struct ScanOptions {
    /// Which paths take part.
    pub filter: Filter,
    /// Paths that are ours (the state directory): neither listed nor entered.
    pub reserved: Vec<RelPath>,
    /// A directory for the names of a directory too large for memory.
    pub spill: PathBuf,
    /// Listens from now on to each directory that the walk enters.
    pub watch: Option<Watch>,
}

/// A walk under way: an iterator of entries in [`RelPath`] order. An error ends it, and means that nothing can be
/// concluded from what came before.
pub struct Scan {
    volume: Volume,
    options: ScanOptions,
    sort_bytes: usize,
    mount: Mount,
    levels: Vec<Level>,
    descend: Option<Found>,
    buffer: Vec<u8>,
    skips: Skips,
    leftovers: Vec<RelPath>,
    partial: bool,
    finished: bool,
    root_device: u64,
    /// What is still to be walked of parts of the volume; `None` when all of it is.
    parts: Option<VecDeque<Region>>,
    /// Only the entry itself is looked at, not what is below it.
    alone: bool,
}

/// A directory that the walk is in.
struct Level {
    path: Option<RelPath>,
    /// Closed while more than [`OPEN_DIRS`] levels are below.
    fd: Option<OwnedFd>,
    inode: (u64, u64),
    names: SortedNames,
    /// Whether `names` are all that the directory holds.
    is_whole: bool,
    /// The name looked at last.
    name: Vec<u8>,
}

impl Scan {
    /// Begins a walk at the volume's root.
    pub fn start(volume: &Volume, options: ScanOptions) -> Result<Scan, DiskError> {
        Scan::start_within(volume, options, SORT_BYTES)
    }

    pub(super) fn start_within(volume: &Volume, options: ScanOptions, sort_bytes: usize) -> Result<Scan, DiskError> {
        let failed = |errno| volume.fault("listing", None, errno);
        let (mut scan, root, stat) = Scan::new(volume, options, sort_bytes)?;
        if let Some(watch) = &scan.options.watch {
            watch.begin_walk();
            watch.enter(None, root.as_fd());
        }
        // A root that cannot be listed is never an empty one.
        let (names, refused) = scan.list(&root)?;
        if let Some(errno) = refused {
            return Err(failed(errno));
        }
        scan.push_level(Level {
            path: None,
            fd: Some(root),
            inode: (device(&stat), stat.stx_ino),
            names,
            is_whole: true,
            name: Vec::new(),
        });
        Ok(scan)
    }

    /// Begins a walk of parts of the volume, in their order.
    pub fn start_parts(volume: &Volume, options: ScanOptions, regions: &Regions) -> Result<Scan, DiskError> {
        let (mut scan, ..) = Scan::new(volume, options, SORT_BYTES)?;
        scan.parts = Some(regions.iter().cloned().collect());
        Ok(scan)
    }

    fn new(volume: &Volume, options: ScanOptions, sort_bytes: usize) -> Result<(Scan, OwnedFd, Statx), DiskError> {
        let failed = |errno| volume.fault("listing", None, errno);
        let root = volume.reopen_root().map_err(failed)?;
        let stat = stat_fd(root.as_fd()).map_err(failed)?;
        let scan = Scan {
            volume: volume.clone(),
            options,
            sort_bytes,
            mount: mount(&stat),
            levels: Vec::new(),
            descend: None,
            buffer: Vec::with_capacity(READDIR_BYTES),
            skips: Skips::default(),
            leftovers: Vec::new(),
            partial: false,
            finished: false,
            root_device: device(&stat),
            parts: None,
            alone: false,
        };
        Ok((scan, root, stat))
    }

    /// The device of the volume's root.
    pub fn root_device(&self) -> u64 {
        self.root_device
    }

    /// Whole only after the last entry, and only when every directory could be read to its end.
    pub fn completeness(&self) -> Completeness {
        if self.finished && !self.partial { Completeness::Whole } else { Completeness::Partial }
    }

    /// What was left out so far.
    pub fn skips(&self) -> &Skips {
        &self.skips
    }

    /// Unfinished files of a killed restore, met so far. They are not listed.
    pub fn leftovers(&self) -> &[RelPath] {
        &self.leftovers
    }

    fn advance(&mut self) -> Result<Option<Found>, DiskError> {
        loop {
            if let Some(directory) = self.descend.take() {
                self.enter(directory)?;
            }
            let Some(level) = self.levels.last_mut() else {
                if let Some(region) = self.parts.as_mut().and_then(VecDeque::pop_front) {
                    self.enter_part(region)?;
                    continue;
                }
                self.finish();
                return Ok(None);
            };
            let more = level.names.next(&mut level.name);
            if !more.map_err(|error| self.spill_fault(&error))? {
                self.levels.pop();
                continue;
            }
            if let Some(found) = self.visit() {
                return Ok(Some(found));
            }
        }
    }

    fn finish(&mut self) {
        self.finished = true;
        if let Some(watch) = self.options.watch.as_ref().filter(|_| self.parts.is_none() && !self.partial) {
            watch.end_walk();
        }
    }

    /// Begins with one name of the directory that a part lies in. Where that directory is gone, so is the part.
    fn enter_part(&mut self, region: Region) -> Result<(), DiskError> {
        let above = region.path.parent();
        let fd = match &above {
            None => self.volume.reopen_root(),
            Some(above) => self.volume.open_beneath(above.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY),
        };
        let opened = fd.and_then(|fd| stat_fd(fd.as_fd()).map(|stat| (fd, stat)));
        let (fd, stat) = match opened {
            Ok(opened) => opened,
            Err(errno) if gone(errno) => return Ok(()),
            Err(errno) => {
                self.incomplete(Some(region.path), SkipReason::Unreadable, said(errno));
                return Ok(());
            }
        };
        if mount(&stat) != self.mount {
            self.incomplete(Some(region.path), SkipReason::OtherMount, "a file system is mounted above it".to_string());
            return Ok(());
        }
        let mut sorter = NameSorter::new(self.sort_bytes, &self.options.spill);
        let names = sorter.add(region.path.name()).and_then(|()| sorter.finish());
        let names = names.map_err(|error| self.spill_fault(&error))?;
        self.alone = !region.below;
        self.push_level(Level {
            path: above,
            fd: Some(fd),
            inode: (device(&stat), stat.stx_ino),
            names,
            is_whole: false,
            name: Vec::new(),
        });
        Ok(())
    }

    /// Looks at the current name; tells the entry if it is listed, and notes a directory to descend into.
    fn visit(&mut self) -> Option<Found> {
        let level = self.levels.last()?;
        let path = match &level.path {
            None => RelPath::new(level.name.as_slice()),
            Some(above) => above.join(&level.name),
        };
        let path = match path {
            Ok(path) => path,
            Err(error) => {
                let above = level.path.clone();
                self.incomplete(above, SkipReason::TooLong, error.to_string());
                return None;
            }
        };
        if self.is_ours(&path) {
            return None;
        }
        let stat = {
            let fd = self.current_dir()?;
            stat_name(fd, path.name())
        };
        let stat = match stat {
            Ok(stat) => stat,
            // Removed since the directory was read: as if it had never been there.
            Err(errno) if gone(errno) => return None,
            Err(errno) => {
                self.incomplete(Some(path), SkipReason::Unreadable, said(errno));
                return None;
            }
        };
        let admitted = self.options.filter.admits(&path);
        match file_type(&stat) {
            // It is part of the database beside it.
            FileType::File if is_companion(self.current_dir()?, path.name()) => None,
            FileType::File => admitted.then(|| self.file(path, &stat)).flatten(),
            FileType::Socket | FileType::Device if admitted => {
                self.skips.add(Skip { path: Some(path), reason: SkipReason::Special, detail: None });
                None
            }
            FileType::Socket | FileType::Device => None,
            FileType::Directory if mount(&stat) != self.mount => {
                if admitted {
                    self.skips.add(Skip { path: Some(path.clone()), reason: SkipReason::OtherMount, detail: None });
                }
                admitted.then(|| found(path, &stat))
            }
            FileType::Directory => {
                let directory = found(path, &stat);
                if !self.alone && self.options.filter.may_admit_below(&directory.path) {
                    self.descend = Some(directory.clone());
                }
                admitted.then_some(directory)
            }
            _ => admitted.then(|| found(path, &stat)),
        }
    }

    /// A regular file; of a database, with what lies beside it.
    fn file(&mut self, path: RelPath, stat: &Statx) -> Option<Found> {
        let mut file = found(path, stat);
        let level = self.levels.last()?;
        if level.is_whole && !level.names.may_hold(file.path.name(), &ENDINGS) {
            return Some(file);
        }
        let dir = self.current_dir()?;
        match Beside::look(dir, file.path.name()) {
            Ok(beside) => file.identity.log = beside.log().filter(|_| begins_as_database(dir, file.path.name())),
            Err(errno) => {
                self.incomplete(Some(file.path), SkipReason::Unreadable, said(errno));
                return None;
            }
        }
        Some(file)
    }

    /// Whether a path is no part of the data: the state directory, `lost+found`, an unfinished file.
    fn is_ours(&mut self, path: &RelPath) -> bool {
        if is_temporary(path.name()) {
            if self.leftovers.len() < LEFTOVERS {
                self.leftovers.push(path.clone());
            }
            return true;
        }
        path.as_bytes() == LOST_AND_FOUND || self.options.reserved.contains(path)
    }

    /// Opens a directory and reads its names. What cannot be read is skipped; only a failing sort is an error.
    fn enter(&mut self, directory: Found) -> Result<(), DiskError> {
        let Some(above) = self.current_dir() else { return Ok(()) };
        let fd = match open_dir(above, directory.path.name()) {
            Ok(fd) => fd,
            Err(errno) if gone(errno) => return Ok(()),
            Err(errno) => {
                self.incomplete(Some(directory.path), SkipReason::Unreadable, said(errno));
                return Ok(());
            }
        };
        if let Some(watch) = &self.options.watch {
            watch.enter(Some(&directory.path), fd.as_fd());
        }
        let (names, refused) = self.list(&fd)?;
        match refused {
            Some(errno) if !gone(errno) => {
                self.incomplete(Some(directory.path.clone()), SkipReason::Unreadable, said(errno));
            }
            _ => {}
        }
        let inode = match stat_fd(fd.as_fd()) {
            Ok(stat) => (device(&stat), stat.stx_ino),
            Err(_) => (directory.identity.device, directory.identity.inode),
        };
        self.push_level(Level { path: Some(directory.path), fd: Some(fd), inode, names, is_whole: true, name: Vec::new() });
        Ok(())
    }

    fn push_level(&mut self, level: Level) {
        self.levels.push(level);
        if let Some(far) = self.levels.len().checked_sub(OPEN_DIRS + 1) {
            self.levels[far].fd = None;
        }
    }

    /// All names of an open directory, sorted, and why they are not all if they are not.
    fn list(&mut self, fd: &OwnedFd) -> Result<(SortedNames, Option<Errno>), DiskError> {
        // The directories above hold their names too: together they stay near the bound.
        let held: usize = self.levels.iter().map(|level| level.names.held()).sum();
        let limit = self.sort_bytes.saturating_sub(held).max(self.sort_bytes / 8);
        let mut sorter = NameSorter::new(limit, &self.options.spill);
        let mut entries = RawDir::new(fd, self.buffer.spare_capacity_mut());
        let mut refused = None;
        let mut kept = Ok(());
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) => {
                    let name = entry.file_name().to_bytes();
                    if !matches!(name, b"." | b"..") {
                        kept = sorter.add(name);
                    }
                }
                Err(Errno::INTR) => {}
                Err(errno) => {
                    refused = Some(errno);
                    break;
                }
            }
            if kept.is_err() {
                break;
            }
        }
        let names = kept.and_then(|()| sorter.finish()).map_err(|error| self.spill_fault(&error))?;
        Ok((names, refused))
    }

    /// The handle of the directory the walk is in, opened again if it was closed. `None`: its remaining names are lost.
    fn current_dir(&mut self) -> Option<&OwnedFd> {
        let level = self.levels.last()?;
        if level.fd.is_none() {
            match self.reopen(level) {
                Ok(fd) => self.levels.last_mut()?.fd = Some(fd),
                Err(errno) => {
                    let lost = self.levels.pop()?;
                    if !gone(errno) {
                        self.incomplete(lost.path, SkipReason::Unreadable, said(errno));
                    }
                    return None;
                }
            }
        }
        self.levels.last()?.fd.as_ref()
    }

    /// Another directory in the place of the one that was listed is an answer that cannot be trusted.
    fn reopen(&self, level: &Level) -> Result<OwnedFd, Errno> {
        let fd = match &level.path {
            None => self.volume.reopen_root()?,
            Some(path) => self.volume.open_beneath(path.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)?,
        };
        let stat = stat_fd(fd.as_fd())?;
        if (device(&stat), stat.stx_ino) == level.inode { Ok(fd) } else { Err(Errno::AGAIN) }
    }

    fn incomplete(&mut self, path: Option<RelPath>, reason: SkipReason, detail: String) {
        self.partial = true;
        self.skips.add(Skip { path, reason, detail: Some(detail) });
    }

    fn spill_fault(&self, error: &std::io::Error) -> DiskError {
        DiskError::Kernel {
            action: "sorting names with a temporary file in",
            path: self.options.spill.display().to_string(),
            errno: errno_of(error),
            facts: None,
        }
    }
}

impl Iterator for Scan {
    type Item = Result<Found, DiskError>;

    fn next(&mut self) -> Option<Self::Item> {
        let answer = self.advance().transpose()?;
        if answer.is_err() {
            self.levels.clear();
            self.descend = None;
            self.partial = true;
        }
        Some(answer)
    }
}

pub(super) fn is_temporary(name: &[u8]) -> bool {
    name.strip_prefix(TEMPORARY).is_some_and(|rest| rest.len() == 16 && rest.iter().all(u8::is_ascii_hexdigit))
}

fn open_dir(above: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Without noting the access, where we may ask for that (it is the owner's right): a backup should leave no trace.
    match openat(above, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(above, name, flags, Mode::empty()),
        answer => answer,
    }
}

fn said(errno: Errno) -> String {
    match errno {
        Errno::AGAIN => "another directory took its place during the scan".to_string(),
        other => std::io::Error::from_raw_os_error(other.raw_os_error()).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Completeness, FileType, Filter, Found, RelPath, Scan, ScanOptions, SkipReason, Volume};
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn options(include: &[&str], exclude: &[&str]) -> ScanOptions {
        let own = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        ScanOptions {
            filter: Filter::new(&own(include), &own(exclude)).unwrap(),
            reserved: vec![RelPath::new(".vsc").unwrap()],
            spill: std::env::temp_dir(),
            watch: None,
        }
    }

    fn walk(root: &Path, options: ScanOptions, sort_bytes: usize) -> (Vec<Found>, Scan) {
        let volume = Volume::open(root).unwrap();
        let mut scan = Scan::start_within(&volume, options, sort_bytes).unwrap();
        assert_eq!(scan.completeness(), Completeness::Partial, "nothing is known before the end");
        let all = scan.by_ref().map(Result::unwrap).collect();
        (all, scan)
    }

    fn names(found: &[Found]) -> Vec<String> {
        found.iter().map(|f| f.path.to_string()).collect()
    }

    #[test]
    fn entries_come_in_the_order_of_paths_whatever_fits_in_memory() {
        let root = tempfile::tempdir().unwrap();
        for name in [&b"a"[..], b"a/b", b"a/b/c", b"a/b-", b"a!", b"a\xff", b"a b", b"z"] {
            fs::create_dir(root.path().join(std::ffi::OsStr::from_bytes(name))).unwrap();
        }
        for n in 0..500 {
            fs::write(root.path().join(format!("a/{}", n * 7 % 500)), "x").unwrap();
            fs::write(root.path().join(format!("a.{}", n)), "").unwrap();
        }
        let (all, scan) = walk(root.path(), options(&[], &[]), 1 << 20);
        let mut sorted = all.clone();
        sorted.sort_by(|a, b| a.path.cmp(&b.path));
        assert!(all == sorted);
        assert_eq!(all.len(), 1008);
        assert_eq!(scan.completeness(), Completeness::Whole);
        assert!(walk(root.path(), options(&[], &[]), 200).0 == all);
    }

    #[test]
    fn a_tree_deeper_than_the_open_directories_is_walked_to_its_end() {
        let root = tempfile::tempdir().unwrap();
        let mut path = root.path().to_path_buf();
        for _ in 0..200 {
            path.push("d");
            fs::create_dir(&path).unwrap();
            fs::write(path.join("e"), "x").unwrap();
        }
        let (all, scan) = walk(root.path(), options(&[], &[]), 1 << 20);
        assert_eq!(all.len(), 400);
        assert!(all.is_sorted_by(|a, b| a.path < b.path));
        assert_eq!(scan.completeness(), Completeness::Whole);
    }

    #[test]
    fn what_is_ours_is_not_listed_and_leftovers_are_told() {
        let root = tempfile::tempdir().unwrap();
        for dir in [".vsc", "lost+found", "sub", "sub/lost+found", "sub/.vsc"] {
            fs::create_dir(root.path().join(dir)).unwrap();
        }
        fs::write(root.path().join(".vsc/lock"), "").unwrap();
        fs::write(root.path().join("sub/.vsc-tmp-0123456789abcdef"), "").unwrap();
        fs::write(root.path().join("sub/.vsc-tmp-notes"), "").unwrap();
        let (all, scan) = walk(root.path(), options(&[], &[]), 1 << 20);
        assert_eq!(names(&all), ["sub", "sub/.vsc", "sub/.vsc-tmp-notes", "sub/lost+found"]);
        assert_eq!(scan.leftovers(), [RelPath::new("sub/.vsc-tmp-0123456789abcdef").unwrap()]);
    }

    #[test]
    fn include_patterns_are_searched_for_below_directories_that_are_not_listed() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::create_dir_all(root.path().join("cache")).unwrap();
        for file in ["a/b/x.png", "a/b/x.txt", "cache/y.png", "top.png"] {
            fs::write(root.path().join(file), "").unwrap();
        }
        let (all, _) = walk(root.path(), options(&["*.png"], &["cache"]), 1 << 20);
        assert_eq!(names(&all), ["a/b/x.png", "top.png"]);
    }

    #[test]
    fn sockets_are_counted_and_the_listing_stays_whole() {
        let root = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.path().join("s")).unwrap();
        let (all, scan) = walk(root.path(), options(&[], &[]), 1 << 20);
        assert!(all.is_empty());
        assert_eq!(scan.skips().total(SkipReason::Special), 1);
        assert_eq!(scan.completeness(), Completeness::Whole);
    }

    #[test]
    fn an_unreadable_directory_makes_the_listing_partial() {
        let root = tempfile::tempdir().unwrap();
        let closed = root.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::write(closed.join("secret"), "").unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
        let (all, scan) = walk(root.path(), options(&[], &[]), 1 << 20);
        // Root may read everything: then the same directory is simply listed.
        let denied = fs::read_dir(&closed).is_err();
        assert_eq!(names(&all), if denied { vec!["closed"] } else { vec!["closed", "closed/secret"] });
        assert_eq!(scan.completeness(), if denied { Completeness::Partial } else { Completeness::Whole });
        assert_eq!(scan.skips().total(SkipReason::Unreadable), u64::from(denied));
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn what_vanishes_during_the_walk_is_left_out_silently() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/deep")).unwrap();
        fs::write(root.path().join("b"), "").unwrap();
        fs::write(root.path().join("c"), "").unwrap();
        let volume = Volume::open(root.path()).unwrap();
        let mut scan = Scan::start(&volume, options(&[], &[])).unwrap();
        let first = scan.next().unwrap().unwrap();
        assert_eq!((first.path.to_string().as_str(), first.file_type), ("a", FileType::Directory));
        fs::remove_dir_all(root.path().join("a")).unwrap();
        fs::remove_file(root.path().join("b")).unwrap();
        let rest: Vec<Found> = scan.by_ref().map(Result::unwrap).collect();
        assert_eq!(names(&rest), ["c"]);
        assert_eq!((scan.completeness(), scan.skips().all()), (Completeness::Whole, 0));
    }

    #[test]
    fn a_spill_that_fails_ends_the_scan_with_an_error() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a"), "").unwrap();
        let volume = Volume::open(root.path()).unwrap();
        let nowhere = ScanOptions { spill: root.path().join("nowhere"), ..options(&[], &[]) };
        let error = Scan::start_within(&volume, nowhere, 1).err().unwrap();
        assert!(error.to_string().contains("nowhere"), "{error}");
    }
}
