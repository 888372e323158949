//! The frozen vault in memory, where anybody may change what is stored.

use crate::golden::sample::entry;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use volume_syncing_controller::runtime::Stop;
use volume_syncing_controller::seal::Unlocker;
use volume_syncing_controller::secret::Secret;
use volume_syncing_controller::store::{Bucket, RemoteConfig};
use volume_syncing_controller::telemetry::Progress;
use volume_syncing_controller::vault::container::{HEADER_BYTES, Opened, Parts};
use volume_syncing_controller::vault::directory::Directory;
use volume_syncing_controller::vault::entry::{Content, Node, Record};
use volume_syncing_controller::vault::meta::{Head, MetaWriter};
use volume_syncing_controller::vault::object::{ObjectId, ObjectKind, claim_of_folder, log_seq};
use volume_syncing_controller::vault::open::{Presence, Vault, create, open};
use volume_syncing_controller::vault::tree::Tally;
use volume_syncing_controller::vault::verify::{Level, verify};

/// The raw key and the passphrase that open the frozen vault.
pub const KEY: &str = "vsckey1_QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl91jkqO";
pub const PASSPHRASE: &str = "made up words";
/// What a fenced writer left; the frozen vault has none, so one is made that follows its newest commit.
pub const FORK: &str = "fork/00000001-deadbeef/00000000";

pub struct Shelf {
    pub bucket: Bucket,
    pub files: BTreeMap<String, Bytes>,
    runtime: tokio::runtime::Runtime,
}

impl Shelf {
    pub fn new() -> Shelf {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("shelf-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let bucket = Bucket::connect(&RemoteConfig::Memory { name }).expect("a bucket");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut shelf = Shelf { bucket, files: BTreeMap::new(), runtime };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/vault");
        shelf.fill(&root, &root);
        shelf.files.iter().for_each(|(key, bytes)| shelf.put(key, bytes.clone()));
        let fork = shelf.fork();
        shelf.put(FORK, fork.clone());
        shelf.files.insert(FORK.into(), fork);
        shelf
    }

    fn fill(&mut self, root: &Path, folder: &Path) {
        for path in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                self.fill(root, &path);
                continue;
            }
            let key = path.strip_prefix(root).expect("below").to_str().expect("text").to_string();
            self.files.insert(key, Bytes::from(std::fs::read(&path).expect("a file")));
        }
    }

    /// One small file more than the newest commit has.
    fn fork(&self) -> Bytes {
        let vault = self.open(KEY).expect("the vault");
        let head = self.runtime.block_on(vault.head(None, &Stop::new())).expect("the log").expect("a commit");
        let (size, hash) = (3, vault.keys().content_id(b"abc").short());
        let entry = entry(b"rescued", Node::File { size, hash, content: Content::Literal(b"abc".to_vec()) });
        let mut tally = Tally::from(head.directory().state);
        tally.add(vault.keys(), &entry);
        let mut meta = MetaWriter::new(object(FORK));
        meta.push(&Record::Upsert(entry)).expect("a record");
        let meta = meta.finish();
        let directory = Directory {
            epoch: head.directory().epoch,
            nonce: head.directory().nonce,
            labels: head.directory().labels.clone(),
            previous: head.hash,
            fork_of: head.seq,
            state: tally.state,
            meta: meta.listed,
            ..Directory::default()
        };
        let parts = Parts { directory: directory.encode(), meta: meta.frames, ..Parts::default() };
        parts.seal(vault.identity(), object(FORK)).expect("a fork").bytes
    }

    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        self.runtime.block_on(self.bucket.put(&Stop::new(), key, bytes.into())).expect("stored");
    }

    pub fn remove(&self, key: &str) {
        self.runtime.block_on(self.bucket.delete(&Stop::new(), key)).expect("deleted");
    }

    /// As it was frozen.
    pub fn heal(&self, key: &str) {
        match self.files.get(key) {
            Some(bytes) => self.put(key, bytes.clone()),
            None => self.remove(key),
        }
    }

    pub fn open(&self, secret: &str) -> Result<Vault, String> {
        let unlocker = Unlocker::parse(&Secret::new(secret.to_string())).expect("a secret");
        match self.runtime.block_on(open(&self.bucket, &unlocker, &Stop::new())) {
            Ok(Presence::Vault(vault, _)) => Ok(*vault),
            Ok(Presence::ProvenEmpty) => Err("it is taken to be empty".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A `vault.json` that is sound, and of a vault with the same key.
    pub fn another_vaults_parameters(&self) -> Bytes {
        let other = Bucket::connect(&RemoteConfig::Memory { name: "another vault".into() }).expect("a bucket");
        let unlocker = Unlocker::parse(&Secret::new(KEY.to_string())).expect("a secret");
        self.runtime.block_on(create(&other, &unlocker, &Stop::new())).expect("made");
        self.runtime.block_on(other.get(&Stop::new(), "vault.json", None)).expect("stored")
    }

    /// All damage that is found, one line each; nothing when all is sound.
    pub fn damage(&self, secret: &str) -> String {
        let vault = match self.open(secret) {
            Ok(vault) => vault,
            Err(error) => return error,
        };
        let (progress, stop) = (Progress::quiet(), Stop::new());
        match self.runtime.block_on(verify(&vault, Level::Data, &progress, &stop)) {
            Ok(found) => found.damage.iter().map(|damage| format!("{}: {}\n", damage.object, damage.what)).collect(),
            Err(error) => error.to_string(),
        }
    }

    /// Where the frames of a sealed object begin and end, as far as its directory tells.
    pub fn edges(&self, key: &str) -> Vec<usize> {
        let vault = self.open(KEY).expect("the vault");
        let bytes = self.files[key].clone();
        let opened = Opened::parse(vault.identity(), object(key), &bytes).expect("a header");
        let (directory_end, head_len) = (HEADER_BYTES + opened.dir_len as usize, opened.head_len as usize);
        let head = Head::read(opened, bytes.clone()).expect("a head");
        let frames = head.directory.meta.iter().map(|frame| frame.length).chain(head.directory.toc.iter().copied());
        let mut edges = vec![0, HEADER_BYTES, directory_end, head_len, bytes.len()];
        let mut at = directory_end;
        edges.extend(frames.map(|length| {
            at += length as usize;
            at
        }));
        edges
    }
}

/// Which object a key names.
pub fn object(key: &str) -> ObjectId {
    match key.split('/').collect::<Vec<_>>()[..] {
        ["log", name] => ObjectId::commit(log_seq(name).expect("a number")),
        ["obj", folder, name] => {
            let kind = if name.starts_with('p') { ObjectKind::Pack } else { ObjectKind::Run };
            let counter = u32::from_str_radix(&name[1..], 16).expect("a counter");
            ObjectId::of_claim(kind, claim_of_folder(folder).expect("a claim"), counter)
        }
        ["fork", folder, name] => {
            let counter = u32::from_str_radix(name, 16).expect("a counter");
            ObjectId::of_claim(ObjectKind::Fork, claim_of_folder(folder).expect("a claim"), counter)
        }
        _ => panic!("{key} is no sealed object"),
    }
}
