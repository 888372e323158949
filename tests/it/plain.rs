//! The layout without encryption: what is kept, what other programs do beside it, and what goes wrong.

use crate::machine::{Machine, assert_same, noise, picture, told};
use crate::s3::{Fault, S3, Verb};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

const PREFIX: &str = "some/path/";

fn plain(s3: &S3) -> Machine {
    Machine::s3(s3).without_key()
}

fn pushed(machine: &Machine, more: &[&str]) -> String {
    let (code, text) = machine.push(more);
    assert_eq!(code, 0, "{text}");
    text
}

fn restored(machine: &Machine, target: &str, more: &[&str]) -> String {
    let (code, text) = machine.restore(target, more);
    assert_eq!(code, 0, "{text}");
    text
}

fn objects(s3: &S3) -> Vec<String> {
    let names = s3.objects().into_iter().filter_map(|key| key.strip_prefix(PREFIX).map(str::to_owned));
    names.filter(|key| !key.starts_with(".svault-plain/")).collect()
}

fn golden_tree(machine: &Machine) {
    for size in [0, 1, 4096, 131_073] {
        machine.write(&format!("sizes/{size}"), noise(size as u64, size));
    }
    machine.write("long", noise(3, 20_000_000));
    machine.write("a.b", b"between");
    machine.write("a/b", b"below");
    machine.write(" outer space ", b"kept apart");
    machine.write_odd_entries("sizes/4096", "a.b");
}

#[test]
fn a_plain_tree_comes_back_field_by_field_from_a_folder_and_from_s3() {
    let s3 = S3::start();
    for machine in [Machine::local().without_key(), plain(&s3)] {
        golden_tree(&machine);
        pushed(&machine, &[]);
        restored(&machine, "restored", &[]);
        assert_same(&machine, "restored");
        let holes = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(machine.at("restored/sparse")).expect("metadata"));
        assert!(holes * 512 < 1 << 20, "holes stay holes");
        assert!(restored(&machine, "restored", &[]).contains("already"));
        let said = pushed(&machine, &[]);
        assert!(said.contains("nothing changed"), "{said}");
    }
    assert_eq!(s3.open_uploads(), 0);
    let shown = objects(&s3);
    for name in ["a/b", "a.b", "long", "sizes/0", "second name", "sparse"] {
        assert!(shown.iter().any(|key| key == name), "{name} is not among {shown:?}");
    }
    assert!(s3.object(&format!("{PREFIX}a/b")).is_some_and(|body| body == "below"));
}

#[test]
fn a_plain_folder_is_read_as_it_is() {
    let machine = Machine::local().without_key();
    machine.write("dir/file", b"content");
    pushed(&machine, &[]);
    let remote = machine.at("remote/demo/dir/file");
    assert_eq!(std::fs::read(&remote).expect("the file"), b"content");
    let time = |path: &Path| std::fs::metadata(path).expect("metadata").modified().expect("a time");
    assert_eq!(time(&remote), time(&machine.at("volume/dir/file")), "the file's time is kept");
}

#[test]
fn a_remote_without_a_manifest_is_restored_again_and_again() {
    let machine = Machine::local().without_key();
    let remote = machine.at("remote/demo");
    std::fs::create_dir_all(remote.join("dir")).expect("a folder");
    for (round, claim) in ["--dry-run=false", "--claim", "--claim"].into_iter().enumerate() {
        std::fs::write(remote.join("dir/file"), format!("round {round}")).expect("another program's file");
        let said = restored(&machine, "restored", &[claim]);
        assert!(!said.contains("is empty"), "{said}");
        let file = std::fs::read_to_string(machine.at("restored/dir/file")).expect("the file");
        assert_eq!(file, format!("round {round}"), "{said}");
    }
}

#[test]
fn the_time_of_a_file_lies_beside_its_object_as_rclone_writes_it() {
    let s3 = S3::start();
    let machine = plain(&s3);
    machine.write("short", b"x");
    machine.write("long", noise(1, 20_000_000));
    for name in ["short", "long"] {
        let file = std::fs::File::options().write(true).open(machine.at("volume").join(name)).expect("a file");
        file.set_modified(std::time::UNIX_EPOCH + Duration::new(1_760_000_000, 123_456_789)).expect("a time");
    }
    pushed(&machine, &[]);
    for name in ["short", "long"] {
        let mtime = s3.metadata(&format!("{PREFIX}{name}"), "mtime");
        assert_eq!(mtime.as_deref(), Some("1760000000.123456789"), "{name}");
    }
}

#[test]
fn what_did_not_change_costs_few_requests_and_one_change_two_writes() {
    let s3 = S3::start();
    let machine = plain(&s3);
    (0..200).for_each(|i| machine.write(&format!("d{}/f{i}", i % 7), noise(i, 100)));
    pushed(&machine, &[]);
    s3.forget_requests();
    pushed(&machine, &[]);
    let seen = s3.requests();
    assert!(seen.len() <= 5 && seen.iter().all(|seen| seen.verb != Verb::Put), "{seen:?}");
    machine.write("d1/f1", b"changed");
    s3.forget_requests();
    pushed(&machine, &[]);
    let puts = s3.requests().iter().filter(|seen| seen.verb == Verb::Put).count();
    assert_eq!(puts, 2, "the object and the entry");
    s3.forget_requests();
    pushed(&machine, &["--trust-manifest"]);
    assert!(s3.requests().len() <= 4, "{:?}", s3.requests());
}

#[test]
fn objects_of_other_programs_come_back_as_plain_files_and_are_never_deleted() {
    let s3 = S3::start();
    let machine = plain(&s3);
    for (key, body) in [("theirs/one", "1"), ("theirs/deep/two", "22"), ("top", "333"), ("folder/", "")] {
        s3.replace(&format!("{PREFIX}{key}"), body);
    }
    s3.set_metadata(&format!("{PREFIX}top"), "mtime", "1700000000.5");
    s3.set_metadata(&format!("{PREFIX}theirs/one"), "mc-attrs", "gid:0/mode:33256/mtime:1600000000#7/uid:0");
    std::fs::create_dir_all(machine.at("volume")).expect("a folder");
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 3, "a volume that never was this remote does not replace it: {text}");
    restored(&machine, "volume", &[]);
    let read = |name: &str| std::fs::read(machine.at("volume").join(name)).expect("a file");
    assert_eq!((read("theirs/one"), read("theirs/deep/two"), read("top")), (b"1".into(), b"22".into(), b"333".into()));
    assert!(machine.at("volume/folder").is_dir());
    let meta = std::fs::metadata(machine.at("volume/theirs/one")).expect("metadata");
    assert_eq!(std::os::unix::fs::MetadataExt::mtime(&meta), 1_600_000_000);
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&meta) & 0o7777, 0o750);
    let meta = std::fs::metadata(machine.at("volume/top")).expect("metadata");
    assert_eq!(std::os::unix::fs::MetadataExt::mtime_nsec(&meta), 500_000_000);
    let before = objects(&s3);
    s3.forget_requests();
    let said = pushed(&machine, &[]);
    assert_eq!(objects(&s3), before, "{said}");
    assert_eq!(s3.requests().iter().filter(|seen| seen.verb == Verb::Put).count(), 2, "the claim and the entry");
    // What appears later belongs to nobody here.
    s3.replace(&format!("{PREFIX}later"), "x");
    let said = pushed(&machine, &[]);
    assert!(said.contains("of other programs"), "{said}");
    assert!(objects(&s3).contains(&"later".to_string()));
    let said = pushed(&machine, &["--delete-foreign"]);
    assert!(said.contains("deleted"), "{said}");
    assert!(!objects(&s3).contains(&"later".to_string()));
    assert!(objects(&s3).contains(&"top".to_string()));
}

#[test]
fn what_other_programs_edit_and_delete_is_noticed() {
    let s3 = S3::start();
    let machine = plain(&s3);
    for name in ["edited", "deleted", "both", "calm"] {
        machine.write(name, name);
    }
    pushed(&machine, &[]);
    s3.replace(&format!("{PREFIX}edited"), "by them");
    s3.remove(&format!("{PREFIX}deleted"));
    // The local files stayed as they were: their edit is kept, and what they deleted comes back.
    let said = pushed(&machine, &[]);
    assert!(said.contains("changed at the remote by another program"), "{said}");
    assert!(s3.object(&format!("{PREFIX}edited")).is_some_and(|body| body == "by them"));
    assert!(s3.object(&format!("{PREFIX}deleted")).is_some_and(|body| body == "deleted"));
    // Both sides changed: neither is replaced without a word.
    s3.replace(&format!("{PREFIX}both"), "theirs");
    machine.write("both", "ours, longer");
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 3, "{text}");
    assert!(s3.object(&format!("{PREFIX}both")).is_some_and(|body| body == "theirs"));
    assert_eq!(std::fs::read(machine.at("volume/both")).expect("a file"), b"ours, longer");
    pushed(&machine, &["-f"]);
    assert!(s3.object(&format!("{PREFIX}both")).is_some_and(|body| body == "ours, longer"));
    // A restore takes the edit over, and leaves out what was deleted.
    s3.replace(&format!("{PREFIX}edited"), "by them again");
    s3.remove(&format!("{PREFIX}calm"));
    let said = restored(&machine, "elsewhere", &[]);
    assert!(said.contains("taken as they are") && said.contains("left out"), "{said}");
    assert_eq!(std::fs::read(machine.at("elsewhere/edited")).expect("a file"), b"by them again");
    assert!(!machine.at("elsewhere/calm").exists());
    let said = restored(&machine, "volume", &[]);
    assert_eq!(std::fs::read(machine.at("volume/edited")).expect("a file"), b"by them again", "{said}");
    let said = pushed(&machine, &[]);
    let again = pushed(&machine, &[]);
    assert!(again.contains("nothing changed") && !again.contains("another program"), "{said}{again}");
}

#[test]
fn more_objects_than_one_request_takes_are_all_deleted() {
    let machine = Machine::local_in_memory().without_key();
    machine.write("stays", "x");
    (0..2001).for_each(|i| machine.write(&format!("d/{i}"), "x"));
    pushed(&machine, &[]);
    std::fs::remove_dir_all(machine.at("volume/d")).expect("removed");
    let said = pushed(&machine, &["-f"]);
    assert!(said.contains("deleted=2002"), "with their folder: {said}");
    assert!(machine.at("remote/demo/stays").exists() && !machine.at("remote/demo/d").exists());
}

#[test]
fn deletes_are_carried_over_and_nothing_deleted_comes_back() {
    let s3 = S3::start();
    let machine = plain(&s3);
    (0..10).for_each(|i| machine.write(&format!("f{i}"), noise(i, 100)));
    pushed(&machine, &[]);
    std::fs::remove_file(machine.at("volume/f1")).expect("removed");
    // A store that denies deletes: the manifest alone says that the file is gone.
    s3.faults(|seen| if seen.verb == Verb::Delete { Fault::Status(403, "AccessDenied") } else { Fault::None });
    let said = pushed(&machine, &[]);
    assert!(said.contains("deleted=1") && said.contains("no longer wanted stay"), "{said}");
    s3.heal();
    assert!(objects(&s3).contains(&"f1".to_string()));
    restored(&machine, "one", &[]);
    assert_same(&machine, "one");
    // The next pass that may sweeps it.
    pushed(&machine, &[]);
    assert!(!objects(&s3).contains(&"f1".to_string()));
    pushed(&machine, &[]);
    let said = pushed(&machine, &[]);
    assert!(said.contains("nothing changed"), "{said}");
    // With --no-delete nothing is carried over.
    std::fs::remove_file(machine.at("volume/f2")).expect("removed");
    pushed(&machine, &["-x"]);
    assert!(objects(&s3).contains(&"f2".to_string()));
    pushed(&machine, &[]);
    assert!(!objects(&s3).contains(&"f2".to_string()));
    restored(&machine, "two", &[]);
    assert_same(&machine, "two");
}

#[test]
fn a_mass_deletion_is_held_until_it_is_approved() {
    let s3 = S3::start();
    let machine = plain(&s3);
    (0..80).for_each(|i| machine.write(&format!("f{i}"), b"x"));
    machine.write("stays", b"x");
    pushed(&machine, &[]);
    (0..80).for_each(|i| std::fs::remove_file(machine.at(&format!("volume/f{i}"))).expect("removed"));
    machine.write("new", b"n");
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 3, "{text}");
    assert_eq!(objects(&s3).len(), 82, "the new file went up, nothing was deleted");
    let hash = text.split("--allow-deletes ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a hash");
    pushed(&machine, &["--allow-deletes", hash]);
    assert_eq!(objects(&s3), ["new", "stays"]);
    std::fs::remove_file(machine.at("volume/new")).expect("removed");
    std::fs::remove_file(machine.at("volume/stays")).expect("removed");
    assert_eq!(machine.push(&[]).0, 3, "an empty source");
    assert_eq!(objects(&s3).len(), 2);
}

#[test]
fn files_and_directories_change_places() {
    let s3 = S3::start();
    for machine in [Machine::local().without_key(), plain(&s3)] {
        machine.write("file-to-dir", b"1");
        machine.write("dir-to-file/below", b"2");
        machine.write("dir-to-file/deep/below", b"3");
        pushed(&machine, &[]);
        let volume = machine.at("volume");
        std::fs::remove_file(volume.join("file-to-dir")).expect("removed");
        machine.write("file-to-dir/now", b"4");
        std::fs::remove_dir_all(volume.join("dir-to-file")).expect("removed");
        machine.write("dir-to-file", b"5");
        pushed(&machine, &[]);
        restored(&machine, "restored", &[]);
        assert_same(&machine, "restored");
    }
}

#[test]
fn a_remote_of_the_other_kind_is_refused_by_name() {
    let s3 = S3::start();
    let sealed = Machine::s3(&s3);
    sealed.write("secret", b"s");
    assert_eq!(sealed.push(&[]).0, 0);
    let before = s3.objects();
    let open = plain(&s3);
    open.write("file", b"x");
    for (code, text) in [open.push(&[]), open.push(&["-f"]), open.restore("target", &[])] {
        assert_eq!(code, 3, "{text}");
        assert!(text.contains("encrypted vault") && text.contains("ENCRYPTED_PASSWORD"), "{text}");
    }
    assert_eq!(s3.objects(), before);
    let s3 = S3::start();
    let open = plain(&s3);
    open.write("file", b"x");
    pushed(&open, &[]);
    let sealed = Machine::s3(&s3);
    sealed.write("secret", b"s");
    for (code, text) in [sealed.push(&[]), sealed.push(&["-f"]), sealed.restore("target", &[])] {
        assert_eq!(code, 3, "{text}");
        assert!(text.contains("plain"), "{text}");
    }
}

#[test]
fn a_push_killed_at_any_moment_goes_on_without_a_manual_step() {
    let s3 = S3::start();
    let machine = plain(&s3);
    for round in 0..25u64 {
        for i in 0..40 {
            machine.write(&format!("d{}/f{i}", i % 3), noise(round * 100 + i, 2000));
        }
        machine.write("long", noise(round, 9_000_000));
        if round % 3 == 1 {
            std::fs::remove_file(machine.at("volume/d1/f1")).expect("removed");
        }
        let args = ["sync-to-remote", "-s", "volume", "-d", machine.path];
        let mut child = machine.command(&args).stderr(Stdio::null()).spawn().expect("the program starts");
        std::thread::sleep(Duration::from_millis(round * 7 % 170));
        let _ = child.kill();
        child.wait().expect("it ended");
        if round % 5 == 4 {
            pushed(&machine, &[]);
            let target = format!("round-{round}");
            restored(&machine, &target, &[]);
            assert_same(&machine, &target);
        }
    }
}

#[test]
fn after_a_broken_off_push_only_its_own_work_is_replaced() {
    let s3 = S3::start();
    let machine = plain(&s3);
    machine.write("ours", "1");
    machine.write("theirs", "1");
    pushed(&machine, &[]);
    // Files as young as a tick of the clock are looked at once more.
    std::thread::sleep(Duration::from_millis(80));
    pushed(&machine, &[]);
    machine.write("ours", "second");
    // The object is written, and the entry never is.
    s3.faults(|seen| {
        if seen.key.contains("/meta/") && seen.verb == Verb::Put { Fault::Status(403, "AccessDenied") } else { Fault::None }
    });
    assert_eq!(machine.push(&[]).0, 4);
    s3.heal();
    assert!(s3.object(&format!("{PREFIX}ours")).is_some_and(|body| body == "second"));
    s3.replace(&format!("{PREFIX}theirs"), "by another program");
    machine.write("ours", "third");
    machine.write("theirs", "local");
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 3, "{text}");
    assert!(s3.object(&format!("{PREFIX}ours")).is_some_and(|body| body == "third"));
    assert!(s3.object(&format!("{PREFIX}theirs")).is_some_and(|body| body == "by another program"));
}

#[test]
fn a_restore_killed_at_any_moment_is_continued_from_a_plain_remote() {
    let s3 = S3::start();
    let machine = plain(&s3);
    (0..150).for_each(|i| machine.write(&format!("d{}/f{i}", i % 7), noise(i, 2000)));
    machine.write("long", noise(1, 20_000_000));
    pushed(&machine, &[]);
    for kill in 0..10u64 {
        let target = format!("target-{kill}");
        let args = ["remote-to-local-sync", "-s", machine.path, "-d", &target];
        let mut child = machine.command(&args).stderr(Stdio::null()).spawn().expect("the program starts");
        std::thread::sleep(Duration::from_millis(kill * 17));
        let _ = child.kill();
        child.wait().expect("it ended");
        restored(&machine, &target, &[]);
        assert_same(&machine, &target);
    }
}

#[test]
fn of_two_plain_writers_the_older_is_fenced() {
    let s3 = S3::start();
    let machine = plain(&s3);
    machine.write("file", b"1");
    pushed(&machine, &[]);
    restored(&machine, "second", &["--claim"]);
    machine.write("file", b"2");
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 6, "{text}");
    let args = ["sync-to-remote", "-s", "second", "-d", machine.path];
    std::fs::write(machine.at("second/file"), b"3").expect("written");
    let (code, text) = told(&machine.run(&args));
    assert_eq!(code, 0, "{text}");
    assert!(s3.object(&format!("{PREFIX}file")).is_some_and(|body| body == "3"));
}

#[test]
fn a_plain_writer_that_is_taken_over_during_its_push_does_not_publish() {
    let s3 = S3::start();
    let machine = plain(&s3);
    machine.write("file", "1");
    pushed(&machine, &[]);
    machine.write("file", "late");
    let (began, begun) = std::sync::mpsc::channel();
    s3.faults(move |seen| {
        if seen.verb != Verb::Put || !seen.key.ends_with("/file") {
            return Fault::None;
        }
        began.send(()).expect("somebody waits for it");
        Fault::Stall(Duration::from_secs(2))
    });
    let args = ["sync-to-remote", "-s", "volume", "-d", machine.path];
    let mut child = machine.command(&args).stderr(Stdio::null()).spawn().expect("the program starts");
    begun.recv_timeout(Duration::from_secs(20)).expect("it sends the file");
    restored(&machine, "second", &["--claim"]);
    assert_eq!(child.wait().expect("it ends").code(), Some(6));
    s3.heal();
    assert_eq!(std::fs::read(machine.at("second/file")).expect("the file"), b"1");
    std::fs::write(machine.at("second/file"), "of the second").expect("written");
    let (code, text) = told(&machine.run(&["sync-to-remote", "-s", "second", "-d", machine.path]));
    assert_ne!(code, 6, "the newest claim is its own: {text}");
}

#[test]
fn two_machines_take_turns_without_a_claim() {
    let machine = Machine::local().without_key();
    machine.write("file", "1");
    let push = |volume| told(&machine.run(&["sync-to-remote", "-s", volume, "-d", machine.path]));
    assert_eq!(push("volume").0, 0);
    for round in 0..3 {
        for volume in ["other", "volume"] {
            restored(&machine, volume, &[]);
            std::fs::write(machine.at(volume).join("file"), format!("{round} {volume}")).expect("written");
            let (code, text) = push(volume);
            assert_eq!(code, 0, "{round} {volume}: {text}");
        }
    }
}

#[test]
fn nobody_waits_for_its_own_claim_after_a_push_that_failed() {
    let s3 = S3::start();
    let machine = plain(&s3);
    machine.write("file", "1");
    s3.faults(|seen| {
        if seen.key.contains("/meta/") && seen.verb == Verb::Put { Fault::Status(403, "AccessDenied") } else { Fault::None }
    });
    let push = || told(&machine.run(&["sync-to-remote", "-s", "volume", "-d", machine.path]));
    assert_eq!(push().0, 4);
    s3.heal();
    let begin = Instant::now();
    let (code, text) = push();
    assert!(code == 0 && !text.contains("waiting for its silence"), "{text}");
    assert!(begin.elapsed() < Duration::from_secs(10), "{text}");
    let claims = s3.objects().into_iter().filter(|key| key.contains("/claim/")).count();
    assert_eq!(claims, 1, "{text}");
}

#[test]
fn the_manifest_stays_short_after_many_pushes() {
    let s3 = S3::start();
    let machine = plain(&s3);
    (0..20).for_each(|i| machine.write(&format!("f{i}"), noise(i, 100)));
    for round in 0..150u64 {
        machine.write(&format!("f{}", round % 20), noise(round + 1000, 120));
        pushed(&machine, &["--trust-manifest"]);
    }
    let entries = s3.objects().iter().filter(|key| key.contains("/meta/")).count();
    assert!(entries < 140, "{entries} entries of the manifest are left");
    restored(&machine, "restored", &[]);
    assert_same(&machine, "restored");
    s3.forget_requests();
    restored(&machine, "again", &["--trust-manifest"]);
    let overhead = s3.requests().iter().filter(|seen| seen.key.contains(".svault-plain")).count();
    assert!(overhead < 75, "{overhead} requests for the manifest");
}

#[test]
fn a_listing_that_fails_deletes_nothing_and_restores_nothing() {
    let s3 = S3::start();
    let machine = plain(&s3);
    (0..30).for_each(|i| machine.write(&format!("f{i:02}"), noise(i, 100)));
    pushed(&machine, &[]);
    s3.page_size(7);
    for failing in 0..6usize {
        let mut pages = 0;
        s3.faults(move |seen| {
            let page = seen.verb == Verb::List && !seen.key.contains(".svault-plain");
            pages += usize::from(page);
            if page && pages > failing { Fault::Status(403, "AccessDenied") } else { Fault::None }
        });
        let target = format!("target-{failing}");
        let (pushed, _) = machine.push(&[]);
        let (restored, _) = machine.restore(&target, &[]);
        if failing < 5 {
            assert_eq!((pushed, restored), (4, 4), "page {failing}");
            let left =
                std::fs::read_dir(machine.at(&target)).map_or(0, |all| all.flatten().filter(|e| e.file_name() != ".vsc").count());
            assert_eq!(left, 0, "page {failing}: nothing is placed");
        }
        assert_eq!(objects(&s3).len(), 30);
    }
}

#[test]
fn a_file_that_changes_while_it_is_sent_keeps_its_previous_object() {
    let s3 = S3::start();
    let machine = plain(&s3);
    machine.write("busy", noise(1, 20_000_000));
    pushed(&machine, &[]);
    let before = s3.object(&format!("{PREFIX}busy"));
    machine.write("busy", noise(2, 20_000_000));
    let path = machine.at("volume/busy");
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ended = std::sync::Arc::clone(&done);
    let writer = std::thread::spawn(move || {
        let file = std::fs::File::options().write(true).open(path).expect("a file");
        let mut round = 0u64;
        while !ended.load(std::sync::atomic::Ordering::SeqCst) {
            round += 1;
            std::os::unix::fs::FileExt::write_all_at(&file, &round.to_le_bytes(), 19_000_000).expect("written");
        }
    });
    let (code, text) = machine.push(&[]);
    done.store(true, std::sync::atomic::Ordering::SeqCst);
    writer.join().expect("no panic");
    assert_eq!(code, 9, "{text}");
    assert!(text.contains("kept changing"), "{text}");
    assert_eq!(s3.object(&format!("{PREFIX}busy")), before);
    assert_eq!(s3.open_uploads(), 0, "the parts were given up");
    pushed(&machine, &[]);
    restored(&machine, "restored", &[]);
    assert_eq!(picture(&machine.at("restored")), picture(&machine.at("volume")));
}

#[test]
fn a_plain_remote_is_listed_checked_and_described() {
    let s3 = S3::start();
    let machine = plain(&s3);
    machine.write("dir/file", b"content");
    machine.write("gone", b"g");
    std::os::unix::fs::symlink("file", machine.at("volume/dir/link")).expect("a link");
    pushed(&machine, &[]);
    s3.replace(&format!("{PREFIX}theirs"), "x");
    let said = |args: &[&str]| {
        let output = machine.run(args);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &told(&output).1)
    };
    let (code, text) = said(&["ls", "-s", machine.path]);
    assert_eq!(
        (code, text.lines().filter(|line| !line.contains("WARN")).collect::<Vec<_>>()),
        (Some(0), vec!["dir", "dir/file", "dir/link", "gone", "theirs"])
    );
    let (code, text) = said(&["ls", "-l", "-s", machine.path, "dir"]);
    assert!(code == Some(0) && text.contains("link -> file") && !text.contains("gone"), "{text}");
    let (code, text) = said(&["snapshots", "-s", machine.path]);
    assert!(code == Some(0) && text.contains("newest state only"), "{text}");
    let (code, text) = said(&["check", "-s", machine.path, "--level", "data"]);
    assert!(code == Some(0) && text.contains("3 files, 8 B read") && text.contains("1 object of other programs"), "{text}");
    let (code, text) = said(&["doctor", "-d", machine.path, "-s", "volume"]);
    assert!(code == Some(0) && text.contains("without encryption; entry 1"), "{text}");
    s3.remove(&format!("{PREFIX}gone"));
    let (code, text) = said(&["check", "-s", machine.path]);
    assert!(code == Some(7) && text.contains("1 object in the manifest without an object"), "{text}");
    let (code, text) = machine.restore("target", &["--at", "1"]);
    assert!(code == 3 && text.contains("no restore points"), "{text}");
}

#[test]
fn a_bandwidth_limit_holds_in_each_direction() {
    let s3 = S3::start();
    let machine = plain(&s3);
    machine.write("noise", noise(1, 3 << 20));
    let began = std::time::Instant::now();
    pushed(&machine, &["--bwlimit", "2M:off"]);
    assert!(began.elapsed() >= Duration::from_millis(1400), "sent in {:?}", began.elapsed());
    let began = std::time::Instant::now();
    restored(&machine, "restored", &["--bwlimit", "off:2M"]);
    assert!(began.elapsed() >= Duration::from_millis(1400), "received in {:?}", began.elapsed());
    let (code, text) = machine.push(&["--bwlimit", "fast"]);
    assert!(code == 2 && text.contains("timetable"), "{text}");
}
