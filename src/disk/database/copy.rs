//! A copy of a database, as it was at one moment.

use super::super::error::gone;
use super::super::stat::{Stamp, stamp, stamp_of, stat_fd};
use super::super::volume::{Space, errno_of};
use super::super::{DiskError, SourceFile, Volume};
use super::MAGIC;
use super::beside::{JOURNAL, JOURNAL_MAGIC, SHM, WAL};
use super::locks::{NoLock, Patience, is_reserved};
use crate::runtime::{Stop, limits};
use crate::tree::{FileType, RelPath};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fd::AsFd;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What of a write-ahead log's beginning tells it from the log that is begun after it.
const WAL_HEADER: usize = 32;
/// Where a database's header says how it is written; with this number, by a write-ahead log.
const WRITE_VERSION: usize = 18;
const WAL_VERSION: u8 = 2;
/// What may lie beside a copy until it is recovered.
const LOGS: [&str; 2] = ["db-wal", "db-journal"];
/// Bytes copied before a stop is noticed.
const PORTION: u64 = 64 << 20;

/// What copying a database came to.
#[derive(Debug)]
pub enum Copied {
    /// All that was committed when it was made; it has no name any more.
    Whole(SourceFile),
    /// None could be made that is certain to be whole.
    Unstable(String),
}

/// Where copies are made. What a killed process left there goes before the first of them.
#[derive(Debug)]
pub struct DatabaseCopies {
    dir: PathBuf,
    /// The number of the next copy; `None` until the directory is made.
    next: Mutex<Option<u64>>,
}

/// Why an attempt failed.
enum Failed {
    /// Try again: something else came between.
    Changed,
    /// It cannot be copied now.
    Unstable(String),
    Disk(DiskError),
}

impl From<DiskError> for Failed {
    fn from(error: DiskError) -> Failed {
        Failed::Disk(error)
    }
}

impl From<NoLock> for Failed {
    fn from(error: NoLock) -> Failed {
        Failed::Unstable(match error {
            NoLock::Busy => format!("the database was locked for {} seconds", limits::DATABASE_LOCK_WAIT.as_secs()),
            NoLock::Stopped => "stopped while the database was locked".into(),
            NoLock::Unsupported(errno) => format!("its file system has no locks for a database ({errno})"),
        })
    }
}

impl DatabaseCopies {
    /// Copies go below `spill`, which no other process uses.
    pub fn new(spill: &Path) -> DatabaseCopies {
        DatabaseCopies { dir: spill.join("databases"), next: Mutex::new(None) }
    }

    /// Copies a database. It is found gone like any file.
    pub fn copy(&self, volume: &Volume, path: &RelPath, stop: &Stop) -> Result<Copied, DiskError> {
        let place = match self.place() {
            Ok(place) => place,
            Err(error) => return Ok(Copied::Unstable(self.said(&error))),
        };
        let attempt = Attempt { volume, path, place: &place, patience: Patience::new(stop), stop };
        let mut copied = Copied::Unstable("it kept changing without SQLite's locks".into());
        for _ in 0..limits::UNSTABLE_READS {
            match attempt.run() {
                Ok(file) => copied = Copied::Whole(file),
                Err(Failed::Unstable(why)) => copied = Copied::Unstable(why),
                Err(Failed::Disk(error)) => {
                    remove(&place);
                    return Err(error);
                }
                Err(Failed::Changed) => continue,
            }
            break;
        }
        remove(&place);
        Ok(copied)
    }

    /// A new directory for one copy.
    fn place(&self) -> io::Result<PathBuf> {
        let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if next.is_none() {
            remove(&self.dir);
            DirBuilder::new().mode(0o700).create(&self.dir)?;
        }
        let number = next.unwrap_or(0);
        *next = Some(number + 1);
        let place = self.dir.join(number.to_string());
        std::fs::create_dir(&place)?;
        Ok(place)
    }

    fn said(&self, error: &io::Error) -> String {
        format!("no copy of the database could be made in {}: {error}", self.dir.display())
    }
}

impl Drop for DatabaseCopies {
    fn drop(&mut self) {
        if self.next.get_mut().is_ok_and(|next| next.is_some()) {
            remove(&self.dir);
        }
    }
}

/// What cannot be removed now is removed before the next copy, or in the way of it.
fn remove(dir: &Path) {
    let _ = std::fs::remove_dir_all(dir);
}

struct Attempt<'a> {
    volume: &'a Volume,
    path: &'a RelPath,
    place: &'a Path,
    patience: Patience<'a>,
    stop: &'a Stop,
}

impl Attempt<'_> {
    /// Copies under locks, which end with this call's handles, and recovers the copy after.
    fn run(&self) -> Result<SourceFile, Failed> {
        self.remove_logs()?;
        let has_log = self.copy_all()?;
        let copy = self.place.join("db");
        if has_log {
            recover(&copy).map_err(|why| Failed::Unstable(format!("SQLite could not recover a copy of it: {why}")))?;
        }
        let file = File::open(&copy).map_err(|error| self.unstable(&error))?;
        Ok(SourceFile::new(self.volume.clone(), self.path.clone(), file.into()))
    }

    /// The log that an attempt before this one copied would be taken for that of the database copied now.
    fn remove_logs(&self) -> Result<(), Failed> {
        for log in LOGS {
            match std::fs::remove_file(self.place.join(log)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.unstable(&error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether there is anything to recover.
    fn copy_all(&self) -> Result<bool, Failed> {
        let main = self.volume.open_file(self.path)?;
        self.patience.read(main.as_fd())?;
        let mut header = [0; 100];
        main.read_at(&mut header, 0)?;
        if !header.starts_with(MAGIC) {
            return Err(Failed::Changed);
        }
        let memory = self.open(SHM)?;
        let is_logged = header[WRITE_VERSION..WRITE_VERSION + 2].contains(&WAL_VERSION) || self.open(WAL)?.is_some();
        if is_logged && let Some(memory) = &memory {
            self.patience.checkpoint(memory)?;
        }
        let before = main.stamp()?;
        let wal = self.open(WAL)?;
        let journal = self.open(JOURNAL)?;
        if is_logged && wal.is_none() && self.has_other_names()? {
            let why = "it has several names: SQLite's log may lie beside another of them".to_string();
            return Err(Failed::Unstable(why));
        }
        self.check_room(before.size, [&wal, &journal])?;
        let has_journal = match journal {
            Some(journal) => self.copy_journal(&main, &journal)?,
            None => false,
        };
        self.copy_bytes(main.to_file()?, before.size, "db")?;
        let has_wal = match &wal {
            Some(wal) => self.copy_wal(wal)?,
            None => false,
        };
        self.check_undisturbed(&main, before)?;
        // Without shared memory there was no lock on the log: then nobody may have come, for who comes makes one, and
        // cannot take it away while the database is read.
        if is_logged && memory.is_none() && (self.open(SHM)?.is_some() || self.open(WAL)?.is_some() != wal.is_some()) {
            return Err(Failed::Changed);
        }
        Ok(has_journal || has_wal)
    }

    /// Programs that know nothing of SQLite's locks are noticed as with any file; and the files beside the name must be
    /// those of the file that was opened.
    fn check_undisturbed(&self, main: &SourceFile, before: Stamp) -> Result<(), Failed> {
        let same = main.stamp()? == before && self.volume.look(self.path)?.is_some_and(|found| stamp_of(&found) == before);
        if same { Ok(()) } else { Err(Failed::Changed) }
    }

    fn has_other_names(&self) -> Result<bool, Failed> {
        Ok(self.volume.look(self.path)?.is_some_and(|found| found.identity.links > 1))
    }

    /// Opens a file beside the database.
    fn open(&self, ending: &[u8]) -> Result<Option<File>, Failed> {
        let path = [self.path.as_bytes(), ending].concat();
        let refused = |errno| {
            let said = io::Error::from(errno);
            Failed::Unstable(format!("its {} file cannot be read: {said}", String::from_utf8_lossy(&ending[1..])))
        };
        let file = match self.volume.open_beneath(&path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => file,
            Err(Errno::LOOP) => return Err(refused(Errno::LOOP)),
            Err(Errno::NAMETOOLONG) => return Ok(None),
            Err(errno) if gone(errno) => return Ok(None),
            Err(errno) => return Err(refused(errno)),
        };
        let stat = stat_fd(file.as_fd()).map_err(refused)?;
        if super::super::stat::file_type(&stat) != FileType::File {
            return Err(refused(Errno::ISDIR));
        }
        Ok(Some(File::from(file)))
    }

    /// A copy with too little room would end in a full disk that the application needs too.
    fn check_room(&self, main: u64, logs: [&Option<File>; 2]) -> Result<(), Failed> {
        let mut needed = main;
        for log in logs.into_iter().flatten() {
            // A log's content may make the database longer by as much.
            needed += 2 * log.metadata().map_err(|error| self.unstable(&error))?.len();
        }
        let stat = rustix::fs::statvfs(self.place).map_err(|errno| self.unstable(&errno.into()))?;
        let available = Space::of(&stat).available_bytes;
        if needed <= available {
            return Ok(());
        }
        let place = self.place.parent().unwrap_or(self.place).display();
        let why = format!("a copy of the database needs {needed} bytes, but {place} has {available} available (--state-dir)");
        Err(Failed::Unstable(why))
    }

    /// Copies a rollback journal if it is what a crash left: then the database holds half a transaction.
    fn copy_journal(&self, main: &SourceFile, journal: &File) -> Result<bool, Failed> {
        let look = || stat_fd(journal.as_fd()).map(|stat| stamp(&stat)).map_err(|errno| self.unstable(&errno.into()));
        let before = look()?;
        let mut start = [0; JOURNAL_MAGIC.len()];
        let read = journal.read_at(&mut start, 0).map_err(|error| self.unstable(&error))?;
        if read < start.len() || start != JOURNAL_MAGIC || is_reserved(main.as_fd())? {
            return Ok(false);
        }
        self.copy_bytes(journal, before.size, "db-journal")?;
        if is_reserved(main.as_fd())? || look()? != before {
            // A writer that just began: it would have undone an earlier transaction first, so there was none.
            std::fs::remove_file(self.place.join("db-journal")).map_err(|error| self.unstable(&error))?;
            return Ok(false);
        }
        let mut end = [0; JOURNAL_MAGIC.len()];
        let at = before.size.saturating_sub(end.len() as u64);
        journal.read_exact_at(&mut end, at).map_err(|error| self.unstable(&error))?;
        if at > 0 && end == JOURNAL_MAGIC {
            // It names a file by its path at the application, which says whether the transaction was committed.
            let why = "a transaction over several databases was cut off; the application undoes it when it opens them";
            return Err(Failed::Unstable(why.into()));
        }
        Ok(true)
    }

    /// Copies a write-ahead log up to its end of now. What is added meanwhile does no harm: each of its pieces carries a
    /// sum over all before it, and only whole transactions count.
    fn copy_wal(&self, wal: &File) -> Result<bool, Failed> {
        let header = || {
            let mut header = [0; WAL_HEADER];
            wal.read_exact_at(&mut header, 0).map(|()| header)
        };
        let length = wal.metadata().map_err(|error| self.unstable(&error))?.len();
        let Ok(before) = header() else { return Ok(false) };
        self.copy_bytes(wal, length, "db-wal")?;
        // One that was emptied before we locked it may be begun anew under its old content: a mixture of both is neither.
        if header().ok() != Some(before) {
            return Err(Failed::Changed);
        }
        Ok(true)
    }

    fn copy_bytes(&self, from: impl std::borrow::Borrow<File>, length: u64, name: &str) -> Result<(), Failed> {
        let mut to = File::create(self.place.join(name)).map_err(|error| self.unstable(&error))?;
        let mut left = length;
        while left > 0 {
            self.stop.check().map_err(|_| NoLock::Stopped)?;
            let copied = io::copy(&mut from.borrow().take(left.min(PORTION)), &mut to).map_err(|error| self.unstable(&error))?;
            if copied == 0 {
                return Err(Failed::Changed);
            }
            left -= copied;
        }
        Ok(())
    }

    fn unstable(&self, error: &io::Error) -> Failed {
        let errno = errno_of(error);
        Failed::Unstable(format!("no copy of the database could be made in {}: {}", self.place.display(), io::Error::from(errno)))
    }
}

/// Lets SQLite undo or complete what the log beside a copy says. It is opened by nobody else, and none of its own
/// statements are run: not even its schema is read.
fn recover(copy: &Path) -> Result<(), String> {
    let said = |error: rusqlite::Error| error.to_string();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
    let connection = Connection::open_with_flags(copy, flags).map_err(said)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map_err(said)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).map_err(said)?;
    // The copy is thrown away after a crash; the log's index needs no file when nobody else can come.
    for setting in ["PRAGMA synchronous = OFF", "PRAGMA locking_mode = EXCLUSIVE"] {
        connection.execute_batch(setting).map_err(said)?;
    }
    connection.query_row("PRAGMA schema_version", [], |_| Ok(())).map_err(said)?;
    connection.close().map_err(|(_, error)| said(error))?;
    let mut logs = LOGS.iter().map(|name| copy.with_file_name(name));
    match logs.find(|log| std::fs::metadata(log).is_ok_and(|log| log.len() > 0)) {
        None => Ok(()),
        Some(left) => Err(format!("it left {}", left.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::{Attempt, Failed, JOURNAL_MAGIC, LOGS, Patience};
    use crate::disk::Volume;
    use crate::runtime::Stop;
    use crate::tree::RelPath;
    use rusqlite::Connection;

    #[test]
    fn the_log_of_an_attempt_that_failed_is_not_met_by_the_next() {
        let (root, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let writer = Connection::open(root.path().join("db")).unwrap();
        writer.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
        writer.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(100000))").unwrap();
        writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        writer.execute_batch("CREATE TABLE in_the_log (x)").unwrap();
        // It says that the database had one page.
        let numbers = [0u32, 0, 1, 512, 4096].map(u32::to_be_bytes).concat();
        let journal = [&JOURNAL_MAGIC[..], &numbers, &[0; 512 - 28]].concat();
        LOGS.iter().for_each(|log| std::fs::write(place.path().join(log), &journal).unwrap());
        let (volume, path, stop) = (Volume::open(root.path()).unwrap(), RelPath::new("db").unwrap(), Stop::new());
        let attempt = Attempt { volume: &volume, path: &path, place: place.path(), patience: Patience::new(&stop), stop: &stop };
        match attempt.run() {
            Ok(_) => {}
            Err(Failed::Unstable(why)) => panic!("{why}"),
            Err(_) => panic!("nothing came between"),
        }
        let copy = Connection::open(place.path().join("db")).unwrap();
        assert_eq!(copy.query_row("SELECT sum(length(hex(x))) FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 200_000);
    }
}
