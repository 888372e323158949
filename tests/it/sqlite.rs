//! Databases of SQLite in the volume: every restore point holds what was committed, whatever a writer does meanwhile.

use crate::machine::{Machine, paths};
use rusqlite::Connection;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// What a writer does between two transactions.
#[derive(Clone, Copy)]
struct Writing {
    journal: &'static str,
    settings: &'static str,
}

const WAL: Writing = Writing { journal: "WAL", settings: "PRAGMA wal_autocheckpoint = 40" };
const ROLLBACK: Writing = Writing { journal: "DELETE", settings: "PRAGMA cache_size = 20" };

fn open(path: &Path, writing: Writing) -> Connection {
    let database = Connection::open(path).expect("a database");
    database.busy_timeout(Duration::from_secs(20)).expect("a setting");
    let mode: String =
        database.query_row(&format!("PRAGMA journal_mode = {}", writing.journal), [], |row| row.get(0)).expect("a mode");
    assert!(mode.eq_ignore_ascii_case(writing.journal));
    database.execute_batch(&format!("{}; PRAGMA synchronous = NORMAL", writing.settings)).expect("settings");
    database
}

fn fill(path: &Path, writing: Writing) -> Connection {
    let database = open(path, writing);
    let tables = "CREATE TABLE entry (number INTEGER PRIMARY KEY, noise BLOB); CREATE TABLE sum (total INTEGER);
                  CREATE INDEX by_noise ON entry (noise); INSERT INTO sum VALUES (0);";
    database.execute_batch(tables).expect("tables");
    database
}

/// One transaction that touches pages all over the file.
fn commit(database: &Connection, number: i64) {
    let transaction = database.unchecked_transaction().expect("a transaction");
    let insert = "INSERT INTO entry VALUES (?1, randomblob(300 + ?1 * 97 % 3000))";
    transaction.execute(insert, [number]).expect("a row");
    transaction.execute("UPDATE sum SET total = total + ?1", [number]).expect("a sum");
    transaction.execute("UPDATE entry SET noise = randomblob(900) WHERE number = ?1 * 31 % ?1", [number]).expect("an update");
    transaction.commit().expect("committed");
}

/// The last transaction that a database holds; it must be whole, and so must the database.
fn last(path: &Path) -> i64 {
    let beside = |ending: &str| path.with_file_name(format!("{}{ending}", path.file_name().unwrap().to_string_lossy())).exists();
    assert!(!["-wal", "-shm", "-journal"].into_iter().any(beside), "something lies beside {}", path.display());
    let database = Connection::open(path).expect("a database");
    let check: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
    assert_eq!(check, "ok", "{}", path.display());
    let facts = "SELECT max(number), count(*), (SELECT total FROM sum), sum(number) FROM entry";
    let number = |row: &rusqlite::Row<'_>, at| row.get::<_, Option<i64>>(at).map(Option::unwrap_or_default);
    let row = |row: &rusqlite::Row<'_>| Ok((number(row, 0)?, number(row, 1)?, number(row, 2)?, number(row, 3)?));
    let (last, rows, total, sum) = database.query_row(facts, [], row).expect("a row");
    assert_eq!((rows, total), (last, sum), "{}: half a transaction", path.display());
    last
}

/// The number of the commit that a push made.
fn number(text: &str) -> u64 {
    let digits = text.rsplit("commit=").next().expect("a commit").chars().take_while(char::is_ascii_digit);
    digits.collect::<String>().parse().expect("a number")
}

/// Ends a writer, also when the test fails.
struct Writer<'a>(&'a AtomicBool);

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Works while a writer commits as fast as it can; the work is told how to ask for the last committed transaction.
fn beside_a_writer(path: &Path, writing: Writing, work: impl FnOnce(&dyn Fn() -> i64)) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    let database = fill(path, writing);
    let (committed, done) = (AtomicI64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (committed, done) = (&committed, &done);
        let writer = Writer(done);
        scope.spawn(move || {
            let mut next = 1;
            while !done.load(Ordering::SeqCst) {
                commit(&database, next);
                committed.store(next, Ordering::SeqCst);
                next += 1;
            }
        });
        work(&|| committed.load(Ordering::SeqCst));
        drop(writer);
    });
}

/// Pushes in the middle of a storm of writes: each commit with the last transaction that came before it.
fn push_in_a_storm(machine: &Machine, writing: Writing) -> Vec<(u64, i64)> {
    let seconds = std::env::var("IT_SQLITE_STORM_SECONDS").map_or(5, |text| text.parse().expect("a number of seconds"));
    let pace = if seconds > 20 { Duration::from_secs(1) } else { Duration::from_millis(400) };
    let mut points = Vec::new();
    beside_a_writer(&machine.at("volume/data/app.db"), writing, |committed| {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(seconds) {
            let (tick, before) = (Instant::now(), committed());
            let (code, text) = machine.push(&[]);
            assert_eq!(code, 0, "{text}");
            points.push((number(&text), before));
            std::thread::sleep(pace.saturating_sub(tick.elapsed()));
        }
        eprintln!("{}: {} pushes beside {} transactions", writing.journal, points.len(), committed());
    });
    points
}

fn check_points(writing: Writing) {
    let machine = Machine::local();
    let points = push_in_a_storm(&machine, writing);
    assert!(points.len() >= 8, "{} pushes are too few to show anything", points.len());
    for (commit, before) in points {
        let (code, text) = machine.restore("point", &["--at", &commit.to_string()]);
        assert_eq!(code, 0, "{text}");
        let held = last(&machine.at("point/data/app.db"));
        assert!(held >= before, "{}: point {commit} holds {held}, but {before} was committed", writing.journal);
        std::fs::remove_dir_all(machine.at("point")).expect("removed");
    }
}

#[test]
fn every_point_beside_a_writer_of_a_write_ahead_log_holds_what_was_committed() {
    check_points(WAL);
}

#[test]
fn every_point_beside_a_writer_of_a_rollback_journal_holds_what_was_committed() {
    check_points(ROLLBACK);
}

#[test]
fn the_plain_layout_holds_what_was_committed_too() {
    for writing in [WAL, ROLLBACK] {
        let machine = Machine::local().without_key();
        beside_a_writer(&machine.at("volume/app"), writing, |committed| {
            for _ in 0..4 {
                let before = committed();
                let (code, text) = machine.push(&[]);
                assert_eq!(code, 0, "{text}");
                let (code, text) = machine.restore("restored", &[]);
                assert_eq!(code, 0, "{text}");
                let held = last(&machine.at("restored/app"));
                assert!(held >= before, "{}: {held} of {before}", writing.journal);
                std::fs::remove_dir_all(machine.at("restored")).expect("removed");
            }
        });
    }
}

fn layouts() -> [Machine; 2] {
    [Machine::local(), Machine::local().without_key()]
}

/// Changes of the last moments are looked at once more.
fn settle() {
    std::thread::sleep(Duration::from_millis(120));
}

#[test]
fn a_commit_that_only_the_log_shows_is_pushed_and_an_unchanged_database_is_not_read() {
    for machine in layouts() {
        let volume = machine.at("volume");
        std::fs::create_dir_all(&volume).expect("a folder");
        let path = volume.join("app.sqlite");
        let database = fill(&path, WAL);
        database.execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA wal_checkpoint(TRUNCATE)").expect("settings");
        machine.write("notes", "a file");
        machine.write("notes-journal", "a file, and no part of the one beside it");
        machine.write("data.db-wal", "alone");
        settle();
        assert_eq!(machine.push(&[]).0, 0);
        let file = std::fs::metadata(&path).expect("metadata");
        commit(&database, 1);
        let same = std::fs::metadata(&path).expect("metadata");
        assert_eq!((file.ctime_nsec(), file.size()), (same.ctime_nsec(), same.size()), "the file itself was not touched");
        settle();
        let before = volume_as_it_is(&volume);
        let (code, text) = machine.push(&[]);
        assert!(code == 0 && text.contains("changed=1"), "{text}");
        assert_eq!(volume_as_it_is(&volume), before, "nothing was written to the volume");
        let (code, text) = machine.push(&[]);
        assert!(code == 0 && text.contains("nothing changed") && !text.contains("read="), "{text}");
        assert_eq!(machine.restore("restored", &[]).0, 0);
        assert_eq!(last(&machine.at("restored/app.sqlite")), 1);
        let names: Vec<String> = paths(&machine.at("restored")).iter().map(|path| path.display().to_string()).collect();
        assert_eq!(names, ["app.sqlite", "data.db-wal", "notes", "notes-journal"]);
        drop(database);
    }
}

/// Everything below a folder, with content and change time; shared memory as it is.
fn volume_as_it_is(root: &Path) -> Vec<(std::path::PathBuf, i64, i64, Vec<u8>)> {
    let whole = paths(root).into_iter().map(|path| (root.join(&path), path)).filter(|(whole, _)| whole.is_file());
    whole
        .map(|(whole, path)| {
            let meta = std::fs::metadata(&whole).expect("metadata");
            (path, meta.ctime(), meta.ctime_nsec(), std::fs::read(&whole).expect("content"))
        })
        .collect()
}

/// What a crash leaves of a database: its files as they are at this moment.
fn crashed(from: &Path, to: &Path) {
    for ending in ["", "-wal", "-journal"] {
        let name = |path: &Path| std::path::PathBuf::from(format!("{}{ending}", path.display()));
        if name(from).exists() {
            std::fs::copy(name(from), name(to)).expect("copied");
        }
    }
}

#[test]
fn what_a_crash_left_is_undone_or_completed_in_the_copy_alone() {
    for machine in layouts() {
        let volume = machine.at("volume");
        std::fs::create_dir_all(&volume).expect("a folder");
        // A log that was never moved into the database.
        let logged = fill(&machine.at("logged"), WAL);
        (1..=5).for_each(|number| commit(&logged, number));
        crashed(&machine.at("logged"), &volume.join("logged"));
        // Half a transaction: the cache is small, so that its pages are in the database already.
        let torn = fill(&machine.at("torn"), ROLLBACK);
        (1..=50).for_each(|number| commit(&torn, number));
        torn.execute_batch("PRAGMA cache_size = 2; PRAGMA cache_spill = 2; BEGIN; UPDATE entry SET noise = randomblob(2000)")
            .expect("half");
        crashed(&machine.at("torn"), &volume.join("torn"));
        torn.execute_batch("ROLLBACK").expect("undone");
        assert_ne!(std::fs::read(volume.join("torn")).expect("bytes"), std::fs::read(machine.at("torn")).expect("bytes"));
        let before = volume_as_it_is(&volume);
        let (code, text) = machine.push(&[]);
        assert_eq!(code, 0, "{text}");
        assert_eq!(volume_as_it_is(&volume), before, "nothing was written to the volume");
        assert_eq!(machine.restore("restored", &[]).0, 0);
        assert_eq!(last(&machine.at("restored/logged")), 5);
        assert_eq!(last(&machine.at("restored/torn")), 50);
        assert!(!volume.join(".vsc/databases").exists(), "copies are removed");
    }
}

#[test]
fn a_database_that_stays_locked_keeps_its_version_and_the_pass_is_partial() {
    // Each waits ten seconds.
    std::thread::scope(|scope| {
        for machine in layouts() {
            scope.spawn(move || push_locked(&machine));
        }
    });
}

fn push_locked(machine: &Machine) {
    std::fs::create_dir_all(machine.at("volume")).expect("a folder");
    let database = fill(&machine.at("volume/app.db"), ROLLBACK);
    commit(&database, 1);
    assert_eq!(machine.push(&[]).0, 0);
    commit(&database, 2);
    database.execute_batch("BEGIN EXCLUSIVE").expect("locked");
    machine.write("other", "a file");
    let (code, text) = machine.push(&[]);
    assert!(code == 9 && text.contains("locked for 10 seconds") && text.contains("pushed in part"), "{code} {text}");
    assert_eq!(machine.restore("restored", &[]).0, 0);
    assert_eq!(last(&machine.at("restored/app.db")), 1);
    assert!(machine.at("restored/other").exists());
    database.execute_batch("COMMIT").expect("unlocked");
    assert_eq!(machine.push(&[]).0, 0);
    assert_eq!(machine.restore("later", &[]).0, 0);
    assert_eq!(last(&machine.at("later/app.db")), 2);
}

#[test]
fn a_restored_database_never_meets_the_log_of_another() {
    for machine in layouts() {
        std::fs::create_dir_all(machine.at("volume")).expect("a folder");
        let database = fill(&machine.at("volume/app.db"), WAL);
        (1..=9).for_each(|number| commit(&database, number));
        assert_eq!(machine.push(&[]).0, 0);
        for (has_database, more) in [(true, vec!["-n"]), (true, vec!["-n", "--no-delete"]), (false, vec!["-n", "--no-delete"])] {
            let target = machine.at("target");
            assert_eq!(machine.restore("target", &[]).0, 0);
            let used = open(&target.join("app.db"), Writing { settings: "PRAGMA wal_autocheckpoint = 0", ..WAL });
            commit(&used, 10);
            let aside = machine.at("aside");
            crashed(&target.join("app.db"), &aside);
            drop(used);
            crashed(&aside, &target.join("app.db"));
            std::fs::write(target.join("mine"), "stays where nothing is removed").expect("a file");
            assert!(target.join("app.db-wal").exists());
            if !has_database {
                std::fs::remove_file(target.join("app.db")).expect("removed");
            }
            let (code, text) = machine.restore("target", &more);
            assert_eq!(code, 0, "{text}");
            assert_eq!(last(&target.join("app.db")), 9, "{more:?}");
            assert_eq!(target.join("mine").exists(), more.len() == 2, "{more:?}");
            std::fs::remove_dir_all(&target).expect("removed");
        }
        drop(database);
    }
}

#[test]
fn a_database_that_is_no_longer_wanted_goes_with_its_log() {
    for machine in layouts() {
        machine.write("keep", "a file");
        assert_eq!(machine.push(&[]).0, 0);
        assert_eq!(machine.restore("target", &[]).0, 0);
        std::fs::create_dir(machine.at("target/folder")).expect("a folder");
        let database = fill(&machine.at("target/folder/app.db"), WAL);
        commit(&database, 1);
        let (code, text) = machine.restore("target", &["-n"]);
        assert_eq!(code, 0, "{text}");
        assert_eq!(paths(&machine.at("target")).len(), 1);
    }
}
