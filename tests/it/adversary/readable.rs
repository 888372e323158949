//! Somebody who may read all that is stored learns no name and no content.

use crate::machine::{Machine, noise, paths};
use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

const WINDOW: usize = 16;

/// All windows of what is stored, names of objects included.
fn stored(machine: &Machine) -> HashSet<[u8; WINDOW]> {
    let root = machine.at("remote");
    let mut windows = HashSet::new();
    let mut note = |bytes: &[u8]| {
        windows.extend(bytes.windows(WINDOW).map(|window| -> [u8; WINDOW] { window.try_into().expect("a window") }))
    };
    for path in paths(&root) {
        note(path.as_os_str().as_bytes());
        if root.join(&path).is_file() {
            note(&std::fs::read(root.join(&path)).expect("a file"));
        }
    }
    windows
}

fn xattr(machine: &Machine, path: &str, name: &str, value: &str) {
    let path = machine.at("volume").join(path);
    rustix::fs::lsetxattr(path, name, value.as_bytes(), rustix::fs::XattrFlags::empty()).expect("an attribute");
}

/// Fills the volume; gives each text that nobody else may read.
fn secrets(machine: &Machine) -> Vec<Vec<u8>> {
    let mut secrets: Vec<Vec<u8>> = Vec::new();
    let mut secret = |bytes: &[u8]| {
        assert!(bytes.len() >= WINDOW);
        secrets.push(bytes.to_vec());
    };
    let contents = [
        ("a telling name of a literal", b"a sentence nobody else should read".to_vec()),
        ("a telling name of a small file", b"a longer sentence that compresses well. ".repeat(60)),
        ("a telling name of repeated text", b"many times the same sentence, in blocks. ".repeat(8_000)),
        ("a telling name of small noise", noise(1, 90_000)),
        ("a telling folder name/a telling name of noise", noise(2, 300_000)),
        ("a telling folder name/a telling name of large noise", noise(3, 1_300_000)),
    ];
    for (name, content) in &contents {
        machine.write(name, content);
        name.split('/').for_each(|name| secret(name.as_bytes()));
        secret(content);
    }
    let volume = machine.at("volume");
    symlink("where the telling link leads to", volume.join("a telling name of a link")).expect("a link");
    secret(b"where the telling link leads to");
    secret(b"a telling name of a link");
    let pipe = volume.join("a telling name of a pipe");
    rustix::fs::mknodat(rustix::fs::CWD, pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).expect("a pipe");
    secret(b"a telling name of a pipe");
    std::fs::create_dir(volume.join("a telling name of an empty folder")).expect("a folder");
    secret(b"a telling name of an empty folder");
    std::fs::hard_link(volume.join(contents[3].0), volume.join("a telling second name")).expect("a hard link");
    secret(b"a telling second name");
    for path in [contents[0].0, contents[5].0, "a telling folder name"] {
        xattr(machine, path, "user.a telling attribute name", "a telling attribute value");
    }
    secret(b"user.a telling attribute name");
    secret(b"a telling attribute value");
    secret(machine.at("volume").as_os_str().as_bytes());
    secrets
}

#[test]
fn no_stored_object_shows_a_name_or_any_sixteen_bytes_of_content() {
    for compression in ["none", "zstd"] {
        let mut machine = Machine::local();
        machine.remote.push(("HOSTNAME".into(), "a-telling-name-of-a-host".into()));
        let secrets = secrets(&machine);
        assert_eq!(machine.push(&["--compression", compression]).0, 0);
        // Changes go into patches and small commits.
        machine.write("a telling folder name/a telling name of large noise", [noise(3, 1_200_000), noise(4, 100_000)].concat());
        machine.write("a telling name of a literal", "another sentence nobody else should read");
        std::fs::remove_file(machine.at("volume/a telling name of a pipe")).expect("removed");
        assert_eq!(machine.push(&["--compression", compression]).0, 0);
        let more =
            [noise(4, 100_000), b"another sentence nobody else should read".to_vec(), b"a-telling-name-of-a-host".to_vec()];
        let stored = stored(&machine);
        assert!(stored.len() > 1_700_000, "the noise is there, in {} windows", stored.len());
        for secret in secrets.iter().chain(&more) {
            let shown = secret.windows(WINDOW).find(|window| stored.contains(*window));
            assert_eq!(shown.map(String::from_utf8_lossy), None, "{compression}: {}", String::from_utf8_lossy(&secret[..WINDOW]));
        }
        assert_eq!(machine.restore("restored", &[]).0, 0, "all of it is there");
        crate::machine::assert_same(&machine, "restored");
    }
}
