//! Something else takes a directory's place, or a directory the place of something else: what a restore brings is
//! always a tree, and never less than what was pushed.

use crate::machine::{Machine, assert_same, picture};
use std::fs;
use std::os::unix::fs::symlink;

/// A machine that has pushed a directory `d` with so many files, and two files beside it.
fn pushed(files: usize) -> Machine {
    let machine = Machine::local();
    (0..files).for_each(|i| machine.write(&format!("d/{i}.log"), format!("content {i}")));
    machine.write("d/deep/er", "deeper");
    machine.write("d.after", "what sorts behind the directory");
    machine.write("keep", "keep");
    assert_eq!(machine.push(&[]).0, 0);
    machine
}

fn replace_by_file(machine: &Machine) {
    fs::remove_dir_all(machine.at("volume/d")).expect("removed");
    machine.write("d", "a file now");
}

fn restored(machine: &Machine) {
    let (code, text) = machine.restore("restored", &[]);
    assert_eq!(code, 0, "{text}");
    assert_same(machine, "restored");
    let check = machine.run(&["check", "-s", machine.path, "--level", "data"]);
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stdout));
}

#[test]
fn what_took_a_directorys_place_is_stored_although_nothing_shall_be_deleted() {
    let machine = pushed(3);
    replace_by_file(&machine);
    let (code, text) = machine.push(&["--no-delete"]);
    assert!(code == 0 && text.contains("changed=1 deleted=5") && !text.contains("held back"), "{text}");
    restored(&machine);
    // What is only gone is kept.
    fs::remove_file(machine.at("volume/keep")).expect("removed");
    let (code, text) = machine.push(&["--no-delete"]);
    assert!(code == 0 && text.contains("1 delete held back: --no-delete"), "{text}");
    assert_eq!(machine.restore("kept", &[]).0, 0);
    assert!(machine.at("kept/keep").exists());
}

#[test]
fn what_took_a_full_directorys_place_waits_until_the_deletes_are_approved() {
    let machine = pushed(80);
    let before = picture(&machine.at("volume"));
    fs::remove_dir_all(machine.at("volume/d")).expect("removed");
    symlink("keep", machine.at("volume/d")).expect("a link");
    machine.write("other", "goes on");
    let (code, text) = machine.push(&[]);
    assert!(code == 3 && text.contains("82 deletes held back") && text.contains("entries_held=1"), "{text}");
    let (code, said) = machine.restore("held", &[]);
    assert_eq!(code, 0, "{said}");
    let mut held = picture(&machine.at("held"));
    assert!(held.remove(std::path::Path::new("other")).is_some(), "everything else goes on");
    assert_eq!(held, before, "the directory stays with all that was in it");

    let hash = text.split("--allow-deletes ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a hash");
    let (code, text) = machine.push(&["--allow-deletes", hash]);
    assert_eq!(code, 0, "{text}");
    restored(&machine);
}

#[test]
fn excluded_entries_do_not_stay_below_a_file() {
    let machine = pushed(3);
    replace_by_file(&machine);
    let (code, text) = machine.push(&["--exclude", "d/**"]);
    assert_eq!(code, 0, "{text}");
    restored(&machine);
}

#[test]
fn a_file_that_takes_no_part_gives_way_to_a_directory() {
    let machine = Machine::local();
    machine.write("d", "a file");
    machine.write("keep", "keep");
    assert_eq!(machine.push(&[]).0, 0);
    fs::remove_file(machine.at("volume/d")).expect("removed");
    machine.write("d/deep/file", "below a directory now");
    let (code, text) = machine.push(&["--include", "d/deep/file"]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = machine.restore("restored", &[]);
    assert_eq!(code, 0, "{text}");
    let file = fs::read_to_string(machine.at("restored/d/deep/file")).expect("a file");
    assert_eq!(file, "below a directory now");
    let listed = machine.run(&["ls", "-s", machine.path]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let names: Vec<&str> = listed.lines().collect();
    assert_eq!(names, ["d/deep/file", "keep"], "{listed}");
}
