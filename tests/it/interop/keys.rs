//! Keys that are awkward as paths, and paths that are awkward as keys.

use super::peer::{Peer, Program, files};
use super::{contents, pushed, restored};
use crate::machine::{Machine, assert_same, told};
use crate::s3::S3;
use std::collections::{BTreeMap, BTreeSet};

const PREFIX: &str = "some/path/";

/// Names that lie at the remote as they are.
const AS_THEY_ARE: [&str; 12] = [
    "100%25 +1",
    "a+b&c=d?e#f;g:h@i,j$k",
    "quote'\"`",
    "back\\slash",
    "*?[x]{y}~^|<>",
    "NFC é",
    "NFD e\u{301}",
    "日本語/😀",
    "inner  space/.hidden/..dots..",
    "ends with a dot.",
    "a.b",
    "a/b",
];

#[test]
fn names_that_are_awkward_in_addresses_come_back_and_other_programs_read_them() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3).without_key();
    for name in AS_THEY_ARE {
        machine.write(name, name);
    }
    pushed(&machine, "volume", &[]);
    for name in AS_THEY_ARE {
        assert!(s3.object(&format!("{PREFIX}{name}")).is_some_and(|body| body == name.as_bytes()), "{name}");
    }
    restored(&machine, "restored");
    assert_same(&machine, "restored");
    for program in [Program::Rclone, Program::Mc, Program::Aws] {
        let Some(peer) = Peer::at(program) else { return };
        for name in AS_THEY_ARE {
            peer.machine.write(name, name);
        }
        pushed(&peer.machine, "volume", &[]);
        peer.download("copied");
        assert_eq!(contents(&peer.machine, "copied"), contents(&peer.machine, "volume"), "{program:?}");
    }
}

#[test]
fn awkward_names_that_other_programs_put_come_back() {
    for program in [Program::Rclone, Program::Mc, Program::Aws] {
        let Some(peer) = Peer::at(program) else { return };
        let machine = &peer.machine;
        for name in AS_THEY_ARE {
            machine.write(name, name);
        }
        std::fs::rename(machine.at("volume"), machine.at("theirs")).expect("moved");
        peer.upload("theirs");
        restored(machine, "restored");
        assert_eq!(contents(machine, "restored"), contents(machine, "theirs"), "{program:?}");
    }
}

/// A store takes 1024 bytes for a key. What is longer lies apart under another name.
#[test]
fn the_longest_key_is_used_and_what_is_longer_lies_apart() {
    let s3 = S3::start();
    for machine in [Machine::s3(&s3).without_key()].into_iter().chain(Machine::real().map(Machine::without_key)) {
        let (_, prefix) = machine.path.split_once('/').expect("a bucket and a path");
        let path = |length: usize| {
            let mut path = "d".repeat(200) + "/";
            while path.len() + 201 < length {
                path += &("e".repeat(200) + "/");
            }
            path.clone() + &"f".repeat(length - path.len())
        };
        let longest = 1024 - prefix.len() - 1;
        for length in [longest - 1, longest, longest + 1, 2000] {
            machine.write(&path(length), length.to_string());
        }
        pushed(&machine, "volume", &[]);
        restored(&machine, "restored");
        assert_same(&machine, "restored");
        if machine.path.starts_with("bucket/") {
            let keys: BTreeSet<usize> = s3.objects().iter().map(String::len).filter(|length| *length > 500).collect();
            assert_eq!(keys, [1023, 1024].into());
            assert_eq!(s3.objects().iter().filter(|key| key.contains("/.svault-plain/raw/")).count(), 2);
        }
    }
}

/// What no file can be called is left where it is and told; everything else is restored.
#[test]
fn keys_that_no_file_can_have_are_left_alone_by_every_pass() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3).without_key();
    let odd = ["double//slash", "/begins", "a/./b", "a/../b", "../up", "..", "nul\u{1}control"];
    for key in odd {
        s3.replace(&format!("{PREFIX}{key}"), "odd");
    }
    s3.replace(&format!("{PREFIX}fine"), "fine");
    let text = restored(&machine, "volume");
    let left_out = text.lines().find(|line| line.contains("left out: no file can have such a name")).expect("it is told");
    assert!(left_out.contains("objects=6") || left_out.contains("objects=7"), "{text}");
    assert!(!machine.at("up").exists() && !machine.at("b").exists());
    machine.write("fine", "changed");
    let text = pushed(&machine, "volume", &["--delete-foreign"]);
    assert!(text.contains("left alone: no file can have such a name"), "{text}");
    for key in odd {
        assert!(s3.object(&format!("{PREFIX}{key}")).is_some(), "{key}");
    }
}

/// A program on the way may take spaces off the ends of a key: such keys are told and left where they are, and a file with
/// such a name lies apart.
#[test]
fn keys_with_outer_spaces_are_told_and_files_with_them_come_back() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3).without_key();
    for key in [" before", "after ", "in / side"] {
        s3.replace(&format!("{PREFIX}{key}"), key);
    }
    let text = restored(&machine, "volume");
    assert!(text.contains("its outer white space would get lost on the way objects=2"), "{text}");
    assert_eq!(names(&machine, "volume"), ["in / side"]);
    machine.write(" ours ", "ours");
    let text = pushed(&machine, "volume", &["--delete-foreign"]);
    assert!(text.contains("left alone: no file can have such a name"), "{text}");
    restored(&machine, "restored");
    assert_same(&machine, "restored");
    assert!(s3.object(&format!("{PREFIX} before")).is_some() && s3.object(&format!("{PREFIX}after ")).is_some());
}

fn names(machine: &Machine, folder: &str) -> Vec<String> {
    files(&machine.at(folder)).into_keys().collect()
}

/// Consoles and other programs make objects that end with a slash for folders, also for the remote's own.
#[test]
fn markers_of_folders_are_folders_and_the_remotes_own_is_nothing() {
    let s3 = S3::start();
    let mut machines = vec![Machine::s3(&s3).without_key()];
    for key in ["", "empty/", "full/", "deep/er/"] {
        s3.replace(&format!("{PREFIX}{key}"), "");
    }
    s3.replace(&format!("{PREFIX}full/file"), "content");
    if let Some(peer) = Peer::at(Program::Aws) {
        let (bucket, prefix) = peer.machine.path.split_once('/').expect("a bucket and a path");
        for key in ["", "empty/", "full/", "deep/er/"] {
            peer.run(&["s3api", "put-object", "--bucket", bucket, "--key", &format!("{prefix}/{key}")]);
        }
        std::fs::write(peer.machine.at("content"), "content").expect("a file");
        peer.put("content", "full/file");
        machines.push(peer.machine);
    }
    for machine in machines {
        let text = restored(&machine, "volume");
        assert!(!text.contains("left out"), "{text}");
        assert_eq!(contents(&machine, "volume"), BTreeMap::from([("full/file".to_string(), b"content".to_vec())]));
        assert!(machine.at("volume/empty").is_dir() && machine.at("volume/deep/er").is_dir());
        let text = pushed(&machine, "volume", &[]);
        assert!(text.contains("new=0 B") && !text.contains("left alone:"), "{text}");
        // What is gone here takes its marker along, or the folder would come back.
        std::fs::remove_dir(machine.at("volume/empty")).expect("removed");
        pushed(&machine, "volume", &[]);
        restored(&machine, "again");
        assert!(!machine.at("again/empty").exists(), "a folder that was removed stays removed");
        assert!(machine.at("again/deep/er").is_dir());
    }
}

/// A store can hold an object where it also holds a folder; a file system cannot.
#[test]
fn an_object_with_the_name_of_a_folder_gives_way_and_stays_at_the_remote() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3).without_key();
    for key in ["both", "both/below", "next"] {
        s3.replace(&format!("{PREFIX}{key}"), key);
    }
    let (code, text) = machine.restore("volume", &[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(names(&machine, "volume"), ["both/below", "next"], "{text}");
    let output = machine.run(&["sync-to-remote", "-s", "volume", "-d", machine.path]);
    let (code, text) = told(&output);
    assert_eq!(code, 0, "{text}");
    assert!(s3.object(&format!("{PREFIX}both")).is_some_and(|body| body == "both"));
}
