//! Disks that are full: the numbers are told, nothing half is taken for whole, and with more room it goes on.

use crate::machine::{Machine, assert_same, noise, picture, told};
use crate::s3::{Fault, S3};
use crate::tools::not_tested;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

/// A small file system in memory; it goes away when this is dropped.
struct Small {
    path: PathBuf,
}

impl Small {
    /// Mounts one. Where that is not allowed, says so.
    fn mount(path: &Path, options: &str) -> Option<Small> {
        std::fs::create_dir_all(path).expect("a folder");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path).output();
        match mounted {
            Ok(output) if output.status.success() => return Some(Small { path: path.to_path_buf() }),
            Ok(output) => complain(&String::from_utf8_lossy(&output.stderr)),
            Err(error) => complain(&error.to_string()),
        }
        None
    }

    fn grow(&self, options: &str) {
        let remounted = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.path).status();
        assert!(remounted.expect("mount runs").success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

fn complain(why: &str) {
    not_tested("what happens on a full disk, which needs the right to mount a tmpfs", why);
}

/// The code for the local volume, and these words.
fn assert_told((code, text): (i32, String), words: &[&str]) {
    assert_eq!(code, 8, "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "{word}: {text}"));
}

/// A machine with a vault, and one with a plain remote.
fn layouts() -> [Machine; 2] {
    [Machine::local(), Machine::local().without_key()]
}

/// There is room, and nothing is missing.
fn restored(machine: &Machine, target: &str) {
    let (code, text) = machine.restore(target, &[]);
    assert_eq!(code, 0, "{text}");
    assert_same(machine, target);
}

fn not_pushed(machine: &Machine, source: &str) {
    let (code, text) = told(&machine.run(&["sync-to-remote", "-s", source, "-d", machine.path]));
    assert_eq!(code, 3, "{text}");
}

#[test]
fn a_restore_that_does_not_fit_is_refused_with_both_numbers() {
    for machine in layouts() {
        let Some(small) = Small::mount(&machine.at("target"), "size=2m") else { return };
        machine.write("large", noise(1, 5_000_000));
        assert_eq!(machine.push(&[]).0, 0);
        assert_told(machine.restore("target", &[]), &["needs 5000000 bytes", "available", "nothing was written"]);
        assert!(picture(&machine.at("target")).is_empty());
        small.grow("size=16m");
        restored(&machine, "target");
    }
}

#[test]
fn a_disk_that_fills_during_a_restore_is_told_and_the_restore_is_continued() {
    let machine = Machine::local();
    // Each file takes a page and an inode, which no sum of lengths tells.
    (0..1000).for_each(|i| machine.write(&format!("d{}/f{i}", i % 10), noise(i, 300)));
    assert_eq!(machine.push(&[]).0, 0);
    let cases =
        [("size=2m", "size=16m", "the volume is full: 0 bytes"), ("nr_inodes=500,size=16m", "nr_inodes=5000", "0 inodes")];
    for (index, (less, more, told)) in cases.into_iter().enumerate() {
        let target = format!("target-{index}");
        let Some(small) = Small::mount(&machine.at(&target), less) else { return };
        assert_told(machine.restore(&target, &[]), &["No space left on device", told, "make it larger or free some space"]);
        not_pushed(&machine, &target);
        small.grow(more);
        restored(&machine, &target);
    }
}

#[test]
fn a_full_disk_under_the_index_is_told_and_both_directions_go_on_with_more_room() {
    let machine = Machine::local();
    (0..4000).for_each(|i| machine.write(&format!("d{}/a-name-of-some-length-{i}", i % 10), b"x"));
    let Some(small) = Small::mount(&machine.at("state"), "size=128k") else { return };
    let words = ["writing local files in", "No space left on device", "bytes and", "are available to us"];
    assert_told(machine.push(&["--state-dir", "state"]), &words);
    let (code, text) = told(&machine.run(&["snapshots", "-s", machine.path]));
    assert!(code == 0 && !text.contains("4000"), "nothing was published: {text}");
    small.grow("size=16m");
    let (code, text) = machine.push(&["--state-dir", "state"]);
    assert_eq!(code, 0, "{text}");
    let Some(small) = Small::mount(&machine.at("other"), "size=128k") else { return };
    assert_told(machine.restore("target", &["--state-dir", "other"]), &words);
    not_pushed(&machine, "target");
    small.grow("size=16m");
    let (code, text) = machine.restore("target", &["--state-dir", "other"]);
    assert_eq!(code, 0, "{text}");
    assert_same(&machine, "target");
}

#[test]
fn a_full_volume_is_told_and_pushed_when_there_is_room_again() {
    let machine = Machine::local();
    let Some(_small) = Small::mount(&machine.at("volume"), "size=2m") else { return };
    (0..300).for_each(|i| machine.write(&format!("f{i}"), noise(i, 500)));
    assert_eq!(machine.push(&[]).0, 0);
    machine.write("changed", "after the first push");
    let mut ballast = std::fs::File::create(machine.at("volume/ballast")).expect("a file");
    while ballast.write_all(&[7; 4096]).is_ok() {}
    assert_told(machine.push(&[]), &["No space left on device", "the volume is full: 0 bytes", "free some space"]);
    assert_eq!(machine.restore("before", &[]).0, 0);
    assert!(!machine.at("before/changed").exists());
    ballast.set_len(100_000).expect("shorter");
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 0, "{text}");
    restored(&machine, "after");
}

#[test]
fn holes_and_second_names_need_no_room() {
    for machine in layouts() {
        let Some(_small) = Small::mount(&machine.at("target"), "size=3m") else { return };
        machine.write("one", noise(3, 1_000_000));
        (0..5)
            .for_each(|i| std::fs::hard_link(machine.at("volume/one"), machine.at(&format!("volume/name{i}"))).expect("a link"));
        let sparse = std::fs::File::create(machine.at("volume/sparse")).expect("a file");
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", 9_000_000).expect("written");
        sparse.set_len(64 << 20).expect("a length");
        drop(sparse);
        assert_eq!(machine.push(&[]).0, 0);
        restored(&machine, "target");
    }
}

#[test]
fn what_a_restore_takes_away_makes_room_for_what_it_brings() {
    for machine in layouts() {
        let Some(_small) = Small::mount(&machine.at("target"), "size=5m") else { return };
        machine.write("before", noise(4, 3_000_000));
        assert_eq!(machine.push(&[]).0, 0);
        assert_eq!(machine.restore("target", &[]).0, 0);
        std::fs::remove_file(machine.at("volume/before")).expect("removed");
        machine.write("after", noise(6, 3_000_000));
        assert_eq!(machine.push(&[]).0, 0);
        restored(&machine, "target");
    }
}

#[test]
fn what_a_first_restore_left_half_done_is_replaced_where_it_lies() {
    for machine in layouts() {
        let Some(_small) = Small::mount(&machine.at("target"), "size=5m") else { return };
        machine.write("whole", "it stays");
        machine.write("half", noise(8, 3_000_000));
        assert_eq!(machine.push(&[]).0, 0);
        assert_eq!(machine.restore("target", &[]).0, 0);
        std::fs::write(machine.marker(), "fresh").expect("a marker");
        std::fs::write(machine.at("target/half"), noise(10, 3_000_000)).expect("a file");
        restored(&machine, "target");
    }
}

#[test]
fn what_a_killed_restore_left_makes_room_for_its_continuation() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3);
    let Some(_small) = Small::mount(&machine.at("target"), "size=8m") else { return };
    machine.write("a-small-file", noise(6, 3000));
    machine.write("large", noise(7, 6_000_000));
    assert_eq!(machine.push(&[]).0, 0);
    let (sender, requests) = channel();
    let mut parts = 0;
    s3.faults(move |seen| {
        parts += u32::from(seen.key.contains("/obj/"));
        let _ = sender.send(parts);
        if parts > 1 { Fault::Stall(Duration::from_secs(60)) } else { Fault::None }
    });
    let args = ["remote-to-local-sync", "-s", machine.path, "-d", "target"];
    let mut child = machine.command(&args).stderr(Stdio::null()).spawn().expect("the program starts");
    // The second part is asked for when the first is written.
    while requests.recv_timeout(Duration::from_secs(20)).expect("a second part") < 2 {}
    child.kill().expect("killed");
    child.wait().expect("it ended");
    s3.heal();
    let half = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(machine.at("target/large")).expect("a part")) * 512;
    assert!(half > 3_000_000 && half < 6_000_000, "{half} bytes were written");
    restored(&machine, "target");
}
