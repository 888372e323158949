//! A damaged vault through the built binary: a restore brings the newest state or fails and names the object; no file
//! that looks finished is wrong.

use super::shelf::{KEY, Shelf};
use crate::machine::{Machine, picture};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A machine whose remote is a copy of the frozen vault.
fn machine(shelf: &Shelf) -> Machine {
    let machine = Machine::with_key(KEY);
    shelf.files.iter().for_each(|(key, bytes)| put(&machine, key, bytes));
    machine
}

fn put(machine: &Machine, key: &str, bytes: &[u8]) {
    let path = machine.at("remote/demo").join(key);
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
    std::fs::write(path, bytes).expect("a file");
}

/// What is done to the vault: bytes under a name.
struct Damage {
    what: String,
    key: String,
    bytes: Vec<u8>,
}

fn damages(shelf: &Shelf) -> Vec<Damage> {
    let mut all = Vec::new();
    for (key, bytes) in &shelf.files {
        for (from, other) in shelf.files.iter().filter(|(from, _)| *from != key) {
            all.push(Damage { what: format!("{from} as {key}"), key: key.clone(), bytes: other.to_vec() });
        }
        for at in [0, 20, 60, 130, bytes.len() / 2, bytes.len() - 20].into_iter().filter(|at| *at < bytes.len()) {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0x01;
            all.push(Damage { what: format!("{key} changed at {at}"), key: key.clone(), bytes: damaged });
        }
        for end in [0, bytes.len() / 3, bytes.len() - 1] {
            all.push(Damage { what: format!("{key} cut at {end}"), key: key.clone(), bytes: bytes[..end].to_vec() });
        }
    }
    all
}

#[test]
fn a_damaged_vault_restores_the_newest_state_or_names_the_object() {
    let shelf = Shelf::new();
    let whole = machine(&shelf);
    let (code, text) = whole.restore("whole", &[]);
    assert_eq!(code, 0, "{text}");
    let wanted = picture(&whole.at("whole"));
    let (damages, refused) = (damages(&shelf), AtomicUsize::new(0));
    super::each(&damages, |shelf, damage| {
        let machine = machine(shelf);
        put(&machine, &damage.key, &damage.bytes);
        let (code, text) = machine.restore("target", &[]);
        if code == 0 {
            assert_eq!(picture(&machine.at("target")), wanted, "{}", damage.what);
            return;
        }
        refused.fetch_add(1, Ordering::Relaxed);
        // What says that it belongs to another vault, or to a newer program, is believed.
        let named = text.contains(&damage.key) || (damage.key == "vault.json" && [2, 4].contains(&code));
        assert!(named && [2, 4, 7].contains(&code), "{}: {code} {text}", damage.what);
        no_finished_file_is_wrong(&machine.at("target"), &whole.at("whole"), &wanted, &damage.what);
    });
    assert!(refused.into_inner() > 100, "most of the damage concerns the newest state");
}

/// The modification time, set last, says that a file is complete.
fn no_finished_file_is_wrong(target: &Path, whole: &Path, wanted: &BTreeMap<PathBuf, String>, what: &str) {
    for path in wanted.keys().filter(|path| target.join(path).is_file() && !target.join(path).is_symlink()) {
        let modified = |root: &Path| std::fs::metadata(root.join(path)).expect("metadata").modified().expect("a time");
        if modified(target) == modified(whole) {
            let read = |root: &Path| std::fs::read(root.join(path)).expect("a file");
            assert!(read(target) == read(whole), "{what}: {} passed as restored", path.display());
        }
    }
}
