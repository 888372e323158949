//! Frozen bytes of the vault's format (tests/golden). Each vector is computed again from fixed inputs and compared, so
//! that no change of the code changes the format unseen. `GOLDEN_ADD=1` writes vectors that are missing and never one
//! that is there: a new format gets new vectors beside the old.

pub mod sample;
mod vectors;

use crate::tools::tool;
use sample::{Live, Sample};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use volume_syncing_controller::runtime::Stop;
use volume_syncing_controller::seal::{Keys, MasterKey, Unlocker};
use volume_syncing_controller::secret::Secret;
use volume_syncing_controller::store::{Bucket, RemoteConfig};
use volume_syncing_controller::vault::entry::{Entry, Node};
use volume_syncing_controller::vault::open::{self, Presence};
use volume_syncing_controller::vault::tree::{Tally, TreeReader};

const VAULT_ID: [u8; 16] = *b"made up vault id";
/// The text of the raw key 40 41 42 … 5f.
const KEY_TEXT: &str = "vsckey1_QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl91jkqO";
const PASSPHRASE: &str = "made up words";

/// 00 01 02 … 1f.
fn master() -> MasterKey {
    MasterKey::from_bytes(std::array::from_fn(|at| at as u8))
}

fn keys() -> Keys {
    Keys::derive(&master(), &VAULT_ID)
}

/// Bytes that do not compress: BLAKE3 of one byte, extended.
fn bytes_from(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn may_add() -> bool {
    std::env::var_os("GOLDEN_ADD").is_some_and(|value| value == "1")
}

#[test]
fn the_bytes_of_the_format_have_not_changed() {
    let file = golden().join("vectors.json");
    let text = fs::read(&file).unwrap_or_else(|_| b"{}".to_vec());
    let mut frozen: BTreeMap<String, String> = serde_json::from_slice(&text).unwrap();
    let computed = vectors::all();
    let changed: Vec<&String> = frozen.keys().filter(|name| computed.get(*name) != frozen.get(*name)).collect();
    assert!(changed.is_empty(), "these vectors are no longer what was frozen: {changed:?}");
    if may_add() && computed != frozen {
        frozen.extend(computed.clone());
        fs::write(&file, serde_json::to_vec_pretty(&frozen).unwrap()).unwrap();
    }
    let missing: Vec<&String> = computed.keys().filter(|name| !frozen.contains_key(*name)).collect();
    assert!(missing.is_empty(), "not frozen yet, GOLDEN_ADD=1 adds them: {missing:?}");
}

#[test]
fn a_second_implementation_computes_the_same_vectors() {
    let output = python("check_vectors.py", &[golden().join("vectors.json").as_os_str()], KEY_TEXT);
    assert!(output.status.success(), "{}", text(&output));
}

/// What was written by the first version is read by this one.
#[test]
fn the_frozen_vault_is_read() {
    let folder = golden().join("vault");
    let sample = sample::build();
    if !folder.exists() && may_add() {
        store(&sample, &folder);
    }
    assert_reads(&folder, &sample.live, KEY_TEXT);
    assert_reads(&folder, &sample.live, PASSPHRASE);
}

#[test]
fn a_vault_is_read_alike_by_both_readers() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("vault");
    let sample = sample::build();
    store(&sample, &folder);
    assert_reads(&folder, &sample.live, KEY_TEXT);
}

#[test]
fn the_second_reader_names_what_is_damaged() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("vault");
    store(&sample::build(), &folder);
    let output = python("check_damage.py", &[folder.as_os_str()], KEY_TEXT);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn the_second_reader_refuses_a_wrong_key_and_a_full_folder() {
    let vault = golden().join("vault");
    let full = tempfile::tempdir().unwrap();
    fs::write(full.path().join("mine"), "mine").unwrap();
    let other = "vsckey1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for (password, words) in [(KEY_TEXT, "is not empty"), ("other words", "opens none of"), (other, "mistyped")] {
        let output = python("read_vault.py", &[vault.as_os_str(), full.path().as_os_str()], password);
        assert!(!output.status.success() && text(&output).contains(words), "{}", text(&output));
    }
    assert_eq!(fs::read_dir(full.path()).unwrap().count(), 1);
}

fn store(sample: &Sample, folder: &Path) {
    for (key, bytes) in &sample.files {
        let path = folder.join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Runs a program of tests/format with the Python that has what it needs.
fn python(program: &str, arguments: &[&OsStr], password: &str) -> Output {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format").join(program);
    let mut command = Command::new(tool("IT_PYTHON"));
    command.arg("-B").arg(program).args(arguments).env("ENCRYPTED_PASSWORD", password);
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn assert_reads(folder: &Path, live: &[Live], password: &str) {
    let (entries, tally, head) = read_here(folder, password);
    assert_eq!(tally, head, "the totals are those of the head");
    let wanted: Vec<Entry> = live.iter().map(|live| live.entry.clone()).collect();
    assert_eq!(logical(&entries), logical(&wanted));
    let work = tempfile::tempdir().unwrap();
    let place = work.path().join("restored");
    let output = python("read_vault.py", &[folder.as_os_str(), place.as_os_str()], password);
    assert!(output.status.success(), "{}", text(&output));
    live.iter().for_each(|live| assert_restored(&place, live));
    let twin = |name: &str| fs::metadata(place.join(name)).unwrap().ino();
    assert_eq!(twin("d/twin"), twin("d/two"));
    assert_eq!(fs::read_dir(&place).unwrap().count(), live.iter().filter(|l| l.entry.path.parent().is_none()).count());
}

/// Where contents lie differs from one sealing to the next.
fn logical(entries: &[Entry]) -> Vec<Vec<u8>> {
    entries.iter().map(volume_syncing_controller::vault::record::logical_record).collect()
}

fn read_here(folder: &Path, password: &str) -> (Vec<Entry>, Tally, Tally) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stop = Stop::new();
    runtime.block_on(async {
        let bucket = Bucket::connect(&RemoteConfig::Local { folder: folder.into(), path: String::new() }).unwrap();
        let unlocker = Unlocker::parse(&Secret::new(password.to_string())).unwrap();
        let Presence::Vault(vault, newest) = open::open(&bucket, &unlocker, &stop).await.unwrap() else { panic!("no vault") };
        let head = vault.head(newest, &stop).await.unwrap().expect("a head");
        let wanted = Tally::from(head.directory().state);
        let view = vault.view(head, &stop).await.unwrap();
        let mut reader = TreeReader::new(&vault, view, None, &stop);
        let (mut entries, mut tally) = (Vec::new(), Tally::default());
        while let Some(entry) = reader.next().await.unwrap() {
            tally.add(vault.keys(), &entry);
            entries.push(entry);
        }
        (entries, tally, wanted)
    })
}

fn assert_restored(place: &Path, live: &Live) {
    let path = place.join(live.entry.path.as_path());
    let found = fs::symlink_metadata(&path).unwrap();
    let attributes = live.entry.attributes;
    match &live.entry.node {
        Node::File { .. } => assert!(fs::read(&path).unwrap() == live.content, "{path:?}"),
        Node::Directory => assert!(found.is_dir()),
        Node::Symlink { target } => assert_eq!(fs::read_link(&path).unwrap().as_os_str().as_encoded_bytes(), target),
        Node::Fifo => assert!(found.file_type().is_fifo()),
    }
    assert_eq!((found.mtime(), found.mtime_nsec() as u32), (attributes.mtime.seconds, attributes.mtime.nanos), "{path:?}");
    if !found.is_symlink() {
        assert_eq!(found.permissions().mode() & 0o7777, attributes.mode, "{path:?}");
    }
}
