//! A restore that was cut off: the next one does what was begun, and until then nothing is pushed.

use crate::machine::{Machine, assert_same, noise};
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// A machine whose folder `target` has an older state than the vault.
fn behind() -> Machine {
    overtaken(Machine::local())
}

/// Pushes a state that the folder `target` gets, and another one.
fn overtaken(machine: Machine) -> Machine {
    (0..60).for_each(|i| machine.write(&format!("d{}/f{i}", i % 5), noise(i, 3000)));
    machine.write("changing", noise(90, 300_000));
    machine.write("gone/deep/er", "goes away");
    assert_eq!(machine.push(&[]).0, 0);
    assert_eq!(machine.restore("target", &[]).0, 0);
    machine.write("changing", noise(91, 300_000));
    (0..30).for_each(|i| machine.write(&format!("new/{i}"), noise(100 + i, 3000)));
    fs::remove_dir_all(machine.at("volume/gone")).expect("removed");
    (0..20).for_each(|i| fs::remove_file(machine.at(&format!("volume/d{}/f{i}", i % 5))).expect("removed"));
    assert_eq!(machine.push(&[]).0, 0);
    machine
}

fn restored(machine: &Machine, how: &[&str]) -> String {
    let (code, text) = machine.restore("target", how);
    assert_eq!(code, 0, "{text}");
    assert!(!machine.marker().exists(), "{text}");
    text
}

#[test]
fn an_update_that_was_cut_off_is_finished_with_its_deletes() {
    for how in [&[][..], &["--adopt"], &["--force-delete-local-dir"]] {
        let machine = behind();
        fs::write(machine.marker(), "update").expect("a marker");
        restored(&machine, how);
        assert_same(&machine, "target");
    }
}

#[test]
fn an_update_from_a_plain_remote_that_was_cut_off_is_finished_with_its_deletes() {
    let machine = overtaken(Machine::local().without_key());
    fs::write(machine.marker(), "update").expect("a marker");
    fs::write(machine.at("target/mine"), "made since").expect("a file");
    restored(&machine, &["--adopt"]);
    assert!(!machine.at("target/gone").exists() && !machine.at("target/d0/f0").exists());
    assert_eq!(fs::read_to_string(machine.at("target/mine")).expect("a file"), "made since");
    fs::remove_file(machine.at("target/mine")).expect("removed");
    for name in ["changing", "new/7", "d4/f59"] {
        let read = |root: &str| fs::read(machine.at(root).join(name)).expect("a file");
        assert!(read("target") == read("volume"), "{name}");
    }
}

#[test]
fn what_was_made_since_an_update_was_cut_off_stays() {
    let machine = behind();
    fs::write(machine.marker(), "update").expect("a marker");
    fs::write(machine.at("target/mine"), "made since").expect("a file");
    fs::write(machine.at("target/gone/deep/er"), "changed since").expect("a file");
    restored(&machine, &[]);
    for (name, content) in [("mine", "made since"), ("gone/deep/er", "changed since")] {
        assert_eq!(fs::read_to_string(machine.at("target").join(name)).expect("a file"), content);
    }
    assert!(!machine.at("target/d0/f0").exists(), "what is as it was recorded goes");
}

#[test]
fn an_update_killed_at_any_moment_is_finished() {
    let machine = behind();
    let mut cut_off = 0;
    let began = Instant::now();
    assert_eq!(machine.restore("measured", &[]).0, 0);
    let usual = began.elapsed();
    for round in 0..14u32 {
        let _ = fs::remove_dir_all(machine.at("target"));
        assert_eq!(machine.restore("target", &["--at", "2"]).0, 0);
        let args = ["remote-to-local-sync", "-s", machine.path, "-d", "target"];
        let mut child = machine.command(&args).stderr(Stdio::null()).spawn().expect("the program starts");
        std::thread::sleep(usual.max(Duration::from_millis(14)) * round / 12);
        let _ = child.kill();
        child.wait().expect("it ended");
        cut_off += usize::from(machine.marker().exists());
        restored(&machine, &[]);
        assert_same(&machine, "target");
    }
    assert!(cut_off > 0, "no kill came in time");
}

#[test]
fn a_merge_that_was_cut_off_goes_on_as_a_merge() {
    let machine = behind();
    fs::write(machine.at("target/changing"), "a local change").expect("a file");
    fs::write(machine.marker(), "merge").expect("a marker");
    let text = restored(&machine, &[]);
    assert!(text.contains("merged; local entries stayed"), "{text}");
    assert_eq!(fs::read_to_string(machine.at("target/changing")).expect("a file"), "a local change");
    assert!(machine.at("target/new/7").exists() && machine.at("target/gone/deep/er").exists());
}

#[test]
fn half_a_file_of_a_first_restore_is_never_taken_for_a_local_one() {
    let machine = behind();
    fs::write(machine.marker(), "fresh").expect("a marker");
    fs::write(machine.at("target/changing"), &noise(91, 300_000)[..100_000]).expect("a file");
    fs::write(machine.at("target/mine"), "made since").expect("a file");
    restored(&machine, &["--adopt"]);
    assert!(fs::read(machine.at("target/changing")).expect("a file") == noise(91, 300_000));
    assert!(machine.at("target/mine").exists(), "--adopt deletes nothing");
}

#[test]
fn nothing_is_pushed_from_a_mixture_of_two_states() {
    let machine = behind();
    restored(&machine, &[]);
    fs::write(machine.marker(), "update").expect("a marker");
    fs::remove_file(machine.at("target/new/7")).expect("removed");
    let push = ["sync-to-remote", "-s", "target", "-d", machine.path, "--takeover=force"];
    let (code, text) = crate::machine::told(&machine.run(&push));
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("not finished") && text.contains("remote-to-local-sync"), "{text}");
    let (code, text) = crate::machine::told(&machine.run(&[&push[..], &["-f"]].concat()));
    assert!(code == 0 && text.contains("deleted=1"), "{text}");
    assert!(!machine.marker().exists(), "it is a state of its own now");
    let text = restored(&machine, &[]);
    assert!(text.contains("already"), "{text}");
}
