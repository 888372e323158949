//! Lines of `docs/migrating.md` that no other test holds.

use super::{everywhere, fails, goes, read};
use crate::machine::Machine;

#[test]
fn what_was_deleted_at_the_remote_goes_from_a_restored_directory_and_local_changes_stay() {
    everywhere(|machine| {
        for name in ["kept", "gone"] {
            machine.write(name, name);
        }
        assert_eq!(machine.push(&[]).0, 0);
        for target in ["one", "two", "changed"] {
            assert_eq!(machine.restore(target, &[]).0, 0);
        }
        std::fs::write(machine.at("changed/new"), "never pushed").expect("a file");
        let (code, text) = machine.restore("changed", &[]);
        assert!(code == 0 && text.contains("the volume is ahead: its changes stay"), "{text}");
        std::fs::remove_file(machine.at("volume/gone")).expect("removed");
        assert_eq!(machine.push(&[]).0, 0);
        assert_eq!(machine.restore("one", &[]).0, 0);
        assert_eq!(machine.restore("two", &["-x"]).0, 0);
        assert!(!machine.at("one/gone").exists() && machine.at("two/gone").exists());
        let (code, text) = machine.restore("changed", &[]);
        assert!(code == 3 && text.contains("both sides have moved"), "{text}");
        assert_eq!(read(&machine.at("changed/new")), "never pushed");
    });
}

#[test]
fn objects_of_others_are_not_buried_under_a_vault() {
    let machine = Machine::local();
    machine.write("file", "content");
    std::fs::create_dir_all(machine.at("remote/demo")).expect("a folder");
    std::fs::write(machine.at("remote/demo/4pt2gtjdp1pr9qj4v0v8n5l1k0"), "as rclone crypt names things").expect("a file");
    let text = fails(&machine, &["sync-to-remote", "-s", "volume", "-d", "demo", "-f"], 3);
    assert!(text.contains("holds no vault, but it is not empty"), "{text}");
}

#[test]
fn what_lies_beside_the_data_can_be_elsewhere() {
    let machine = Machine::local().without_key();
    machine.write("file", "content");
    goes(&machine, &["sync-to-remote", "-s", "volume", "-d", "one"]);
    assert!(machine.at("volume/.vsc").is_dir() && machine.at("remote/one/.svault-plain").is_dir());
    std::fs::remove_dir_all(machine.at("volume/.vsc")).expect("removed");
    let mut machine = machine;
    machine.set("STATE_DIR", machine.at("memory").to_str().expect("text").to_string().as_str());
    goes(&machine, &["sync-to-remote", "-s", "volume", "-d", "two"]);
    assert!(machine.at("memory").is_dir() && !machine.at("volume/.vsc").exists());
}

#[test]
fn the_images_say_whom_the_program_runs_as_and_where_it_stores() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["Dockerfile", "Dockerfile.host"] {
        let text = read(&root.join(name));
        for line in ["USER 65532:65532", "ENV REMOTE_TYPE=s3", "ENTRYPOINT [\"/usr/bin/volume-syncing-controller\"]"] {
            assert!(text.lines().any(|found| found == line), "{name} has no line {line}");
        }
    }
}
