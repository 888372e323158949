//! What the predecessor did wrong in the two commands that move data.

use super::{everywhere, fails, given, goes, read};
use crate::machine::{Machine, paths};
use std::os::unix::fs::{MetadataExt, chown, symlink};

fn plain() -> Machine {
    Machine::local().without_key()
}

/// Its valves stood behind a flag whose default switched them off.
#[test]
fn an_empty_source_clears_no_remote_without_a_flag() {
    everywhere(|machine| {
        machine.write("file", "content");
        assert_eq!(machine.push(&[]).0, 0);
        std::fs::remove_file(machine.at("volume/file")).expect("removed");
        let (code, text) = machine.push(&[]);
        assert_eq!(code, 3, "{text}");
        assert!(text.contains("is empty") && text.contains("--force-even-if-remote-would-be-cleared"), "{text}");
        goes(&machine, &["remote-to-local-sync", "-s", machine.path, "-d", "restored"]);
        assert_eq!(read(&machine.at("restored/file")), "content");
    });
}

#[test]
fn a_source_that_is_missing_or_a_file_is_an_error_and_leaves_the_remote_alone() {
    let machine = plain();
    machine.write("file", "content");
    assert_eq!(machine.push(&[]).0, 0);
    for (source, problem) in [("nowhere", "does not exist"), ("volume/file", "is not a directory")] {
        let text = fails(&machine, &["sync-to-remote", "-s", source, "-d", "demo", "-f"], 2);
        assert!(text.contains(source) && text.contains(problem), "{text}");
        assert_eq!(read(&machine.at("remote/demo/file")), "content");
    }
    assert!(!machine.at("nowhere").exists());
}

/// Its remote path did not count as soon as anything was encrypted.
#[test]
fn each_remote_path_holds_its_own_encrypted_state() {
    let machine = Machine::local();
    for name in ["one", "two"] {
        std::fs::create_dir(machine.at(name)).expect("a folder");
        std::fs::write(machine.at(name).join("file"), name).expect("a file");
        goes(&machine, &["sync-to-remote", "-s", name, "-d", &format!("bucket/{name}")]);
    }
    for name in ["one", "two"] {
        let target = format!("restored-{name}");
        goes(&machine, &["remote-to-local-sync", "-s", &format!("bucket/{name}"), "-d", &target]);
        assert_eq!(read(&machine.at(&target).join("file")), name);
    }
    let mut machine = machine;
    machine.set("ENCRYPTED_REMOTE", "remote:bucket/two");
    let text = goes(&machine, &["remote-to-local-sync", "-s", "bucket/one", "-d", "again"]);
    assert!(text.contains("where the command line says; ENCRYPTED_REMOTE names another path"), "{text}");
    assert_eq!(read(&machine.at("again/file")), "one");
}

/// Its check of an empty remote looked at a local directory with the remote's name.
#[test]
fn an_empty_remote_takes_nothing_from_the_local_directory() {
    everywhere(|machine| {
        std::fs::create_dir(machine.at("data")).expect("a folder");
        std::fs::write(machine.at("data/file"), "content").expect("a file");
        for flags in [&[][..], &["--no-delete=false", "--force-delete-local-dir=false"], &["--no-delete=false", "-n"]] {
            let text = goes(&machine, &[&["remote-to-local-sync", "-s", machine.path, "-d", "data"], flags].concat());
            assert!(text.contains("the remote is empty: nothing to restore"), "{text}");
            assert_eq!(read(&machine.at("data/file")), "content", "{flags:?}");
        }
    });
}

/// It compared texts: only the shortest spelling of six directories was refused.
#[test]
fn directories_of_the_system_are_refused_however_they_are_written() {
    let machine = plain();
    machine.write("file", "content");
    assert_eq!(machine.push(&[]).0, 0);
    symlink("/etc", machine.at("link")).expect("a link");
    for target in ["/", "//", "/usr", "/usr/bin/", "/usr/bin/../lib", "/etc/../bin", "/etc", "/etc/not/there", "link"] {
        // --adopt passes the other valves; should this one be open, the dry run changes nothing.
        let text = fails(&machine, &["remote-to-local-sync", "--adopt", "--dry-run", "-s", "demo", "-d", target], 3);
        assert!(text.contains("refusing to restore into"), "{target}: {text}");
    }
}

/// It fell over when it asked whom a directory belongs to that was not there yet.
#[test]
fn a_target_that_is_missing_is_made() {
    let machine = plain();
    machine.write("file", "content");
    assert_eq!(machine.push(&[]).0, 0);
    goes(&machine, &["remote-to-local-sync", "-s", "demo", "-d", "not/there/yet", "--no-delete=false"]);
    assert_eq!(read(&machine.at("not/there/yet/file")), "content");
}

#[test]
fn a_directory_with_somebody_elses_files_is_refused() {
    let machine = plain();
    machine.write("file", "content");
    assert_eq!(machine.push(&[]).0, 0);
    std::fs::create_dir(machine.at("theirs")).expect("a folder");
    std::fs::write(machine.at("theirs/file"), "theirs").expect("a file");
    let ours = std::fs::metadata(machine.at("theirs")).expect("metadata").uid();
    // Only root can give a directory away.
    if ours == 0 {
        chown(machine.at("theirs"), Some(12_345), None).expect("an owner");
        let text = fails(&machine, &["remote-to-local-sync", "-s", "demo", "-d", "theirs"], 3);
        assert!(text.contains("belongs to uid 12345, this process runs as uid 0"), "{text}");
    } else {
        fails(&machine, &["remote-to-local-sync", "-s", "demo", "-d", "theirs"], 3);
    }
    assert_eq!(read(&machine.at("theirs/file")), "theirs");
}

/// It wrote the store's keys to a file that everybody could read.
#[test]
fn no_configuration_file_is_ever_written() {
    everywhere(|machine| {
        machine.write("file", "content");
        std::fs::create_dir(machine.at("etc")).expect("a folder");
        for file in [&[][..], &["-c", "etc/rclone.conf"]] {
            goes(&machine, &[&["sync-to-remote", "-s", "volume", "-d", machine.path], file].concat());
            goes(&machine, &[&["remote-to-local-sync", "-s", machine.path, "-d", "restored"], file].concat());
        }
        let secret = given(&machine, "REMOTE_SECRET_ACCESS_KEY");
        for path in paths(&machine.at("")).into_iter().map(|path| machine.at("").join(path)).filter(|path| path.is_file()) {
            let text = String::from_utf8_lossy(&std::fs::read(&path).expect("a file")).into_owned();
            assert!(!text.contains(&secret) && !path.ends_with("rclone.conf"), "{}", path.display());
        }
    });
}

/// It ended with 1 whatever had happened.
#[test]
fn the_exit_code_tells_what_happened() {
    everywhere(|mut machine| {
        machine.write("file", "content");
        assert_eq!(machine.push(&[]).0, 0);
        let restore = ["remote-to-local-sync", "-s", machine.path, "-d", "restored"];
        let key = given(&machine, "REMOTE_SECRET_ACCESS_KEY");
        machine.set("REMOTE_SECRET_ACCESS_KEY", "another-made-up-key");
        fails(&machine, &restore, 4);
        machine.set("REMOTE_SECRET_ACCESS_KEY", &key);
        let text = fails(&machine, &["remote-to-local-sync", "-s", "/", "-d", "restored"], 2);
        assert!(text.contains("must name the bucket"), "{text}");
        fails(&machine, &["remote-to-local-sync", "-s", machine.path], 2);
        assert!(!machine.at("restored").exists());
    });
}
