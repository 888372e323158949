//! Other programs beside the plain layout on a real store: each reads what the other wrote, and what they change between
//! two passes is treated as `src/plain/FORMAT.md` says.

mod keys;
mod peer;

use crate::machine::{Machine, noise, told};
use peer::{Peer, Program, files};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, UNIX_EPOCH};

#[track_caller]
fn pushed(machine: &Machine, source: &str, more: &[&str]) -> String {
    let args = ["sync-to-remote", "-s", source, "-d", machine.path, "--takeover=force"];
    let (code, text) = told(&machine.run(&[&args, more].concat()));
    assert_eq!(code, 0, "{text}");
    text
}

#[track_caller]
fn restored(machine: &Machine, target: &str) -> String {
    let (code, text) = machine.restore(target, &[]);
    assert_eq!(code, 0, "{text}");
    text
}

/// Files below a folder of the machine, with times as odd as a file system keeps them.
fn tree(machine: &Machine, folder: &str) {
    for (at, (name, size)) in
        [("a/b", 10), ("a.b", 0), ("deep/er/file with space", 5000), ("ünï.txt", 100), ("100% +1&2=3", 9), ("long", 20_000_000)]
            .into_iter()
            .enumerate()
    {
        let path = machine.at(folder).join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(&path, noise(size as u64, size)).expect("a file");
        let file = std::fs::File::options().write(true).open(&path).expect("a file");
        file.set_modified(UNIX_EPOCH + Duration::new(1_700_000_000 + at as u64, 123_456_789)).expect("a time");
    }
}

fn contents(machine: &Machine, folder: &str) -> BTreeMap<String, Vec<u8>> {
    files(&machine.at(folder)).into_iter().map(|(name, (bytes, ..))| (name, bytes)).collect()
}

fn is_same(machine: &Machine, one: &str, other: &str, with_times: bool) -> bool {
    match with_times {
        true => files(&machine.at(one)) == files(&machine.at(other)),
        false => contents(machine, one) == contents(machine, other),
    }
}

/// What it put is restored, and what we put it fetches.
fn each_reads_the_other(program: Program) {
    let Some(peer) = Peer::at(program) else { return };
    let machine = &peer.machine;
    tree(machine, "theirs");
    if program == Program::Aws {
        // It asks MinIO for leave to send nothing, and now and then waits half a minute for the answer.
        std::fs::write(machine.at("theirs/a.b"), "not empty").expect("a file");
    }
    peer.upload("theirs");
    restored(machine, "restored");
    assert!(is_same(machine, "theirs", "restored", program.keeps_times()), "what {program:?} put is restored");
    // The next push from there sends none of it again.
    let text = pushed(machine, "restored", &[]);
    assert!(text.contains("new=0 B"), "{text}");
    assert!(is_same(machine, "theirs", "restored", program.keeps_times()), "the directory is left as it is");

    let Some(peer) = Peer::at(program) else { return };
    let machine = &peer.machine;
    tree(machine, "volume");
    pushed(machine, "volume", &[]);
    peer.download("copied");
    assert!(is_same(machine, "volume", "copied", program.reads_times()), "what was pushed is fetched by {program:?}");
}

/// Edits, deletions and additions between two passes.
fn what_it_changes_counts(program: Program) {
    let Some(peer) = Peer::at(program) else { return };
    let machine = &peer.machine;
    for name in ["edited", "deleted", "both", "calm"] {
        machine.write(name, name);
    }
    pushed(machine, "volume", &[]);
    std::fs::write(machine.at("by them"), "by them").expect("a file");
    for key in ["edited", "both", "added/by them"] {
        peer.put("by them", key);
    }
    peer.remove("deleted");
    // A restore elsewhere takes it as it is now.
    restored(machine, "elsewhere");
    let expected = [("added/by them", "by them"), ("both", "by them"), ("calm", "calm"), ("edited", "by them")];
    let expected: BTreeMap<String, Vec<u8>> = expected.map(|(name, text)| (name.into(), text.into())).into();
    assert_eq!(contents(machine, "elsewhere"), expected);
    // A push leaves their edit and their file, sends what they deleted, and replaces nothing that both changed.
    machine.write("both", "ours, longer");
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("changed at the remote by another program") && text.contains("of other programs"), "{text}");
    peer.download("seen");
    let mut expected = expected;
    expected.insert("deleted".into(), "deleted".into());
    assert_eq!(contents(machine, "seen"), expected, "{text}");
    assert_eq!(std::fs::read(machine.at("volume/edited")).expect("a file"), b"edited");
    pushed(machine, "volume", &["-f"]);
    peer.download("replaced");
    assert_eq!(contents(machine, "replaced")["both"], b"ours, longer");
    // What is gone here goes there, but for what was never here.
    std::fs::remove_file(machine.at("volume/calm")).expect("removed");
    pushed(machine, "volume", &[]);
    peer.download("after");
    let names: Vec<String> = contents(machine, "after").into_keys().collect();
    assert_eq!(names, ["added/by them", "both", "deleted", "edited"]);
}

#[test]
fn rclone_and_we_read_each_others_objects() {
    each_reads_the_other(Program::Rclone);
}

#[test]
fn mc_and_we_read_each_others_objects() {
    each_reads_the_other(Program::Mc);
}

#[test]
fn aws_and_we_read_each_others_objects() {
    each_reads_the_other(Program::Aws);
}

#[test]
fn what_rclone_changes_between_two_passes_counts() {
    what_it_changes_counts(Program::Rclone);
}

#[test]
fn what_mc_changes_between_two_passes_counts() {
    what_it_changes_counts(Program::Mc);
}

#[test]
fn what_aws_changes_between_two_passes_counts() {
    what_it_changes_counts(Program::Aws);
}

/// To rclone the two are in step: by its own comparison nothing is to be copied, and by reading both they are equal.
#[test]
fn rclone_finds_nothing_to_do_after_a_push_and_we_find_nothing_after_its_sync() {
    let Some(peer) = Peer::at(Program::Rclone) else { return };
    let machine = &peer.machine;
    tree(machine, "volume");
    pushed(machine, "volume", &[]);
    let (volume, remote) = (machine.at("volume").display().to_string(), peer.place(""));
    let ours = ["--exclude", ".vsc/**", "--exclude", ".svault-plain/**"];
    let said = peer.run(&[&["sync", "--dry-run", "-v", "--use-json-log", &volume, &remote], &ours[..]].concat());
    assert!(!said.contains("skipped"), "{said}");
    peer.run(&[&["check", "--download", &volume, &remote], &ours[..]].concat());
    let listed = peer.run(&["lsl", &remote, "--exclude", ".svault-plain/**"]);
    assert!(listed.contains(" 2023-11-14 22:13:20.123456789 a/b"), "{listed}");
    peer.download("copied");
    std::fs::write(machine.at("copied/added"), "by rclone").expect("written");
    std::fs::write(machine.at("copied/a/b"), "changed by rclone").expect("written");
    std::fs::remove_file(machine.at("copied/ünï.txt")).expect("removed");
    peer.run(&["sync", &machine.at("copied").display().to_string(), &remote, "--exclude", ".svault-plain/**"]);
    let text = restored(machine, "restored");
    assert!(is_same(machine, "restored", "copied", true), "contents or times differ: {text}");
    let text = pushed(machine, "restored", &[]);
    assert!(text.contains("new=0 B"), "{text}");
}

/// rclone can keep a link as a text; here that is a file like any other, and our links lie in the manifest.
#[test]
fn links_of_rclone_are_files_of_text_and_ours_are_no_objects() {
    let Some(peer) = Peer::at(Program::Rclone) else { return };
    let machine = &peer.machine;
    std::fs::create_dir(machine.at("theirs")).expect("a folder");
    std::fs::write(machine.at("theirs/file"), "content").expect("a file");
    symlink("file", machine.at("theirs/link")).expect("a link");
    peer.run(&["copy", "--links", &machine.at("theirs").display().to_string(), &peer.place("")]);
    restored(machine, "restored");
    assert_eq!(std::fs::read(machine.at("restored/link.rclonelink")).expect("a file"), b"file");
    assert!(!machine.at("restored/link").exists());
    symlink("file", machine.at("restored/ours")).expect("a link");
    pushed(machine, "restored", &[]);
    peer.download("copied");
    let names: Vec<String> = contents(machine, "copied").into_keys().collect();
    assert_eq!(names, ["file", "link.rclonelink"]);
    // rclone makes its link again out of what was left alone.
    let target = machine.at("linked").display().to_string();
    peer.run(&["copy", "--links", &peer.place(""), &target, "--exclude", ".svault-plain/**"]);
    assert_eq!(std::fs::read_link(machine.at("linked/link")).expect("a link").to_str(), Some("file"));
}

#[test]
fn modes_and_times_that_mc_keeps_are_restored() {
    let Some(peer) = Peer::at(Program::Mc) else { return };
    let machine = &peer.machine;
    tree(machine, "theirs");
    let mode = |octal| PermissionsExt::from_mode(octal);
    std::fs::set_permissions(machine.at("theirs/a/b"), mode(0o750)).expect("a mode");
    peer.upload("theirs");
    peer.put("theirs/a/b", "without attributes");
    restored(machine, "restored");
    let meta = |name: &str| std::fs::metadata(machine.at("restored").join(name)).expect("metadata");
    assert_eq!(meta("a/b").mode() & 0o7777, 0o750);
    assert_eq!((meta("a/b").mtime(), meta("a/b").mtime_nsec()), (1_700_000_000, 123_456_789));
    assert_eq!(meta("without attributes").mode() & 0o7777, 0o644);
    assert!(meta("without attributes").mtime() > 1_700_000_000, "the time at which it was put");
    // An edit by mc brings mc's time, and the mode that was recorded here stays.
    pushed(machine, "restored", &[]);
    std::fs::write(machine.at("theirs/a/b"), "edited").expect("a file");
    peer.upload("theirs");
    restored(machine, "again");
    let meta = std::fs::metadata(machine.at("again/a/b")).expect("metadata");
    let theirs = std::fs::metadata(machine.at("theirs/a/b")).expect("metadata");
    assert_eq!((meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec()), (0o750, theirs.mtime(), theirs.mtime_nsec()));
}
