use super::beside::JOURNAL_MAGIC;
use super::locks::{Patience, is_reserved};
use super::{Copied, DatabaseCopies};
use crate::disk::{Scan, ScanOptions, Volume, Watch};
use crate::runtime::Stop;
use crate::tree::{Dirty, Filter, Regions, RelPath};
use rusqlite::{Connection, ErrorCode};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

fn database(root: &Path, mode: &str) -> Connection {
    let connection = Connection::open(root.join("db")).unwrap();
    connection.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |_| Ok(())).unwrap();
    connection.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
    connection
}

fn copy(root: &Path) -> Result<Vec<u8>, String> {
    let spill = tempfile::tempdir().unwrap();
    let copies = DatabaseCopies::new(spill.path());
    let copied = copies.copy(&Volume::open(root).unwrap(), &RelPath::new("db").unwrap(), &Stop::new()).unwrap();
    assert_eq!(fs::read_dir(spill.path().join("databases")).unwrap().count(), 0, "a copy has no name");
    match copied {
        Copied::Whole(file) => {
            let mut bytes = vec![0; file.stamp().unwrap().size as usize];
            file.read_at(&mut bytes, 0).unwrap();
            Ok(bytes)
        }
        Copied::Unstable(why) => Err(why),
    }
}

/// The rows of a copy.
fn rows(bytes: &[u8]) -> i64 {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("db"), bytes).unwrap();
    let copy = Connection::open(folder.path().join("db")).unwrap();
    copy.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

#[test]
fn our_locks_stop_a_checkpoint_and_a_rollback_journals_commit_and_nothing_else() {
    let stop = Stop::new();
    let patience = Patience::new(&stop);
    let root = tempfile::tempdir().unwrap();
    let writer = database(root.path(), "WAL");
    let (main, memory) = (File::open(root.path().join("db")).unwrap(), File::open(root.path().join("db-shm")).unwrap());
    patience.read(&main).unwrap();
    patience.checkpoint(&memory).unwrap();
    let checkpoint = |mode| writer.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, i64>(0)).unwrap();
    let length = || fs::metadata(root.path().join("db-wal")).unwrap().len();
    for mode in ["PASSIVE", "TRUNCATE"] {
        let before = length();
        writer.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        assert_eq!(checkpoint(mode), 1, "{mode} is told that somebody is in the way");
        assert!(length() > before, "the log only grows");
    }
    drop(memory);
    assert_eq!(checkpoint("TRUNCATE"), 0);

    let root = tempfile::tempdir().unwrap();
    let writer = database(root.path(), "DELETE");
    writer.busy_timeout(std::time::Duration::ZERO).unwrap();
    let main = File::open(root.path().join("db")).unwrap();
    patience.read(&main).unwrap();
    assert!(!is_reserved(&main).unwrap());
    writer.execute_batch("BEGIN; INSERT INTO t VALUES (2)").unwrap();
    assert!(is_reserved(&main).unwrap());
    assert_eq!(writer.execute_batch("COMMIT").unwrap_err().sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
    // Another handle of the same file does not take our lock with it when it is closed.
    drop(File::open(root.path().join("db")).unwrap());
    assert!(writer.execute_batch("COMMIT").is_err());
    drop(main);
    writer.execute_batch("COMMIT").unwrap();
}

#[test]
fn a_copy_holds_what_only_the_log_has() {
    let root = tempfile::tempdir().unwrap();
    let writer = database(root.path(), "WAL");
    let bytes = copy(root.path()).unwrap();
    assert_eq!(rows(&bytes), 1);
    assert_eq!(bytes[18..20], [2, 2], "it is still written by a log");
    writer.execute_batch("BEGIN; INSERT INTO t VALUES (2)").unwrap();
    assert_eq!(copy(root.path()).unwrap(), bytes, "what is not committed is not there");
    writer.execute_batch("COMMIT").unwrap();
    assert_eq!(rows(&copy(root.path()).unwrap()), 2);
}

#[test]
fn what_cannot_be_copied_for_certain_is_not_copied() {
    let root = tempfile::tempdir().unwrap();
    drop(database(root.path(), "WAL"));
    fs::hard_link(root.path().join("db"), root.path().join("other name")).unwrap();
    assert!(copy(root.path()).unwrap_err().contains("several names"));
    fs::remove_file(root.path().join("other name")).unwrap();
    assert_eq!(rows(&copy(root.path()).unwrap()), 1);

    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("log"), "of another").unwrap();
    symlink(outside.path().join("log"), root.path().join("db-wal")).unwrap();
    assert!(copy(root.path()).unwrap_err().starts_with("its wal file cannot be read"));
    fs::remove_file(root.path().join("db-wal")).unwrap();

    // A journal whose transaction another file decides about: the path in it means nothing here.
    let root = tempfile::tempdir().unwrap();
    drop(database(root.path(), "DELETE"));
    let journal = [&JOURNAL_MAGIC[..], &[0; 504], b"\0\0\0\x01/app/db-mj1234", &JOURNAL_MAGIC].concat();
    fs::write(root.path().join("db-journal"), journal).unwrap();
    assert!(copy(root.path()).unwrap_err().contains("several databases"));
    fs::write(root.path().join("db-journal"), [0; 512]).unwrap();
    assert_eq!(rows(&copy(root.path()).unwrap()), 1, "a finished journal that was kept says nothing");
}

#[test]
fn what_a_killed_process_left_is_removed_before_the_next_copy() {
    let (root, spill) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(database(root.path(), "DELETE"));
    fs::create_dir_all(spill.path().join("databases/0")).unwrap();
    fs::write(spill.path().join("databases/0/db-wal"), "half").unwrap();
    let copies = DatabaseCopies::new(spill.path());
    let copied = copies.copy(&Volume::open(root.path()).unwrap(), &RelPath::new("db").unwrap(), &Stop::new()).unwrap();
    assert!(matches!(copied, Copied::Whole(_)));
    drop(copies);
    assert!(!spill.path().join("databases").exists());
}

#[test]
fn a_scan_lists_a_database_once_and_other_files_as_they_are() {
    let root = tempfile::tempdir().unwrap();
    let writer = database(root.path(), "WAL");
    for name in ["db-backup", "notes", "notes-wal", "db-wal-journal", "lonely-journal", "-wal"] {
        fs::write(root.path().join(name), "text").unwrap();
    }
    // With little memory for names the directory is sorted on disk.
    for bytes in [1 << 20, 16] {
        let log = |name: &str| {
            let volume = Volume::open(root.path()).unwrap();
            let options =
                ScanOptions { filter: Filter::default(), reserved: Vec::new(), spill: std::env::temp_dir(), watch: None };
            let found: Vec<_> = Scan::start_within(&volume, options, bytes).unwrap().map(Result::unwrap).collect();
            let names: Vec<String> = found.iter().map(|found| found.path.to_string()).collect();
            assert_eq!(names, ["-wal", "db", "db-backup", "db-wal-journal", "lonely-journal", "notes", "notes-wal"]);
            found.into_iter().find(|found| found.path.as_bytes() == name.as_bytes()).unwrap().identity.log
        };
        assert_eq!(log("notes"), None);
        let before = log("db").unwrap();
        assert_eq!(log("db").unwrap(), before);
        writer.query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap();
        assert_eq!(log("db").unwrap(), before, "reading it is no change");
        writer.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        assert_ne!(log("db").unwrap().state, before.state);
    }
}

#[test]
fn a_commit_that_is_heard_of_leads_to_the_database() {
    let root = tempfile::tempdir().unwrap();
    let writer = database(root.path(), "WAL");
    fs::write(root.path().join("other"), "text").unwrap();
    let volume = Volume::open(root.path()).unwrap();
    let filter = Filter::new(&["db".to_string()], &[]).unwrap();
    let watch = Watch::new(&volume, filter.clone(), Vec::new()).unwrap();
    let options = |watch| ScanOptions { filter: filter.clone(), reserved: Vec::new(), spill: std::env::temp_dir(), watch };
    let before: Vec<_> = Scan::start(&volume, options(Some(watch.clone()))).unwrap().map(Result::unwrap).collect();
    writer.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    let mut dirty = Dirty::default();
    watch.take(&mut dirty);
    let parts = Regions::new(dirty.paths().unwrap().clone());
    let after: Vec<_> = Scan::start_parts(&volume, options(None), &parts).unwrap().map(Result::unwrap).collect();
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_eq!(before[0].identity.ctime, after[0].identity.ctime, "only its log was written");
    assert_ne!(before[0].identity.stamp(), after[0].identity.stamp());
}
