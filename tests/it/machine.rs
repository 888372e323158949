//! A machine to test on: a home, a key, a remote, and the built binary run there.

mod running;

pub use running::{Running, until};

use crate::s3::S3;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use volume_syncing_controller::disk::Volume;
use volume_syncing_controller::push::{CaptureOptions, PlainOptions, Push};
use volume_syncing_controller::remote::session::Local;
use volume_syncing_controller::seal::{RawKey, Unlocker};
use volume_syncing_controller::secret::Secret;
use volume_syncing_controller::store::{Bucket, RemoteConfig, S3Config};
use volume_syncing_controller::telemetry::Progress;
use volume_syncing_controller::tree::Filter;
use volume_syncing_controller::vault::container::Compression;
use volume_syncing_controller::vault::writer::Takeover;

/// A machine with one remote.
pub struct Machine {
    home: tempfile::TempDir,
    memory: Option<tempfile::TempDir>,
    key: String,
    pub remote: Vec<(String, String)>,
    pub path: &'static str,
}

impl Machine {
    /// Its remote is what these variables say.
    pub fn new(remote: Vec<(String, String)>, path: &'static str) -> Machine {
        let home = tempfile::tempdir().expect("a folder");
        let mut machine = Machine { home, memory: None, key: String::new(), remote, path };
        machine.key = String::from_utf8(machine.run(&["key", "generate"]).stdout).expect("text").trim().to_string();
        machine
    }

    /// Its remote is a folder.
    pub fn local() -> Machine {
        Machine::new(Vec::new(), "demo")
    }

    /// Its remote is a folder, and its key is this one.
    pub fn with_key(key: &str) -> Machine {
        Machine { home: tempfile::tempdir().expect("a folder"), key: key.into(), remote: Vec::new(), path: "demo", memory: None }
    }

    /// Like [`Machine::local`], volume and remote in memory where the system has a folder for that: thousands of pushes
    /// would else wait for the disk many thousand times.
    pub fn local_in_memory() -> Machine {
        Machine::local().in_memory()
    }

    /// The same machine with volume and remote in memory.
    pub fn in_memory(self) -> Machine {
        let mut machine = self;
        let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
        for name in ["volume", "remote"] {
            std::fs::create_dir(memory.path().join(name)).expect("a folder");
            std::os::unix::fs::symlink(memory.path().join(name), machine.at(name)).expect("a link");
        }
        machine.memory = Some(memory);
        machine
    }

    /// Its remote is an in-process store.
    pub fn s3(s3: &S3) -> Machine {
        let pairs = [
            ("REMOTE_TYPE", "s3"),
            ("REMOTE_ENDPOINT", &s3.endpoint()),
            ("REMOTE_ACCESS_KEY_ID", crate::s3::ACCESS_KEY),
            ("REMOTE_SECRET_ACCESS_KEY", crate::s3::SECRET_KEY),
        ];
        let remote = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Machine::new(remote, "bucket/some/path")
    }

    /// Sets a variable of its environment.
    pub fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.remote.push((name.into(), value.into()));
    }

    /// Takes a variable away.
    pub fn unset(&mut self, name: &str) {
        self.remote.retain(|(known, _)| known != name);
    }

    /// A new home with the same key, at an in-process store.
    pub fn beside(&self, s3: &S3) -> Machine {
        Machine { key: self.key.clone(), ..Machine::s3(s3) }
    }

    /// Its remote is a path of its own in the real store that `IT_S3_ENDPOINT` names; `None` when none is named.
    pub fn real() -> Option<Machine> {
        let endpoint = std::env::var("IT_S3_ENDPOINT").ok()?;
        let given = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} goes with IT_S3_ENDPOINT"));
        let mut random = [0u8; 8];
        getrandom::fill(&mut random).expect("random numbers");
        let path = format!("{}/it-{}", given("IT_S3_BUCKET"), data_encoding::HEXLOWER.encode(&random));
        let pairs = [
            ("REMOTE_TYPE", "s3".to_string()),
            ("REMOTE_ENDPOINT", endpoint),
            ("REMOTE_ACCESS_KEY_ID", given("IT_S3_ACCESS_KEY")),
            ("REMOTE_SECRET_ACCESS_KEY", given("IT_S3_SECRET_KEY")),
        ];
        let remote = pairs.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
        Some(Machine::new(remote, path.leak()))
    }

    /// A new home with the same key, at the same remote.
    pub fn twin(&self) -> Machine {
        let home = tempfile::tempdir().expect("a folder");
        Machine { home, key: self.key.clone(), remote: self.remote.clone(), path: self.path, memory: None }
    }

    /// Goes to the remote by another address.
    pub fn reach_at(&mut self, endpoint: &str) {
        let mut pairs = self.remote.iter_mut();
        pairs.find(|(name, _)| name == "REMOTE_ENDPOINT").expect("a store").1 = endpoint.into();
    }

    /// The same remote for a test that uses the rooms themselves.
    pub fn bucket(&self) -> Bucket {
        let given = |name: &str| self.remote.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let config = match (given("REMOTE_ENDPOINT"), self.path.split_once('/')) {
            (Some(endpoint), Some((bucket, prefix))) => RemoteConfig::S3(Box::new(S3Config {
                endpoint: Some(endpoint),
                bucket: bucket.into(),
                prefix: prefix.into(),
                access_key_id: given("REMOTE_ACCESS_KEY_ID").map(Secret::new),
                secret_access_key: given("REMOTE_SECRET_ACCESS_KEY").map(Secret::new),
                ..S3Config::default()
            })),
            _ => RemoteConfig::Local { folder: self.at("remote"), path: self.path.into() },
        };
        Bucket::connect(&config).expect("a bucket")
    }

    /// The volume, locked by this process, for a test that uses the rooms themselves.
    pub fn locked_volume(&self) -> Local {
        Local::open(Volume::open(&self.at("volume")).expect("a volume"), None).expect("a state directory")
    }

    /// A push of a locked volume to the same remote.
    pub fn push_request<'a>(&self, local: &'a Local) -> Push<'a> {
        Push {
            bucket: self.bucket(),
            unlocker: (!self.key.is_empty()).then(|| self.unlocker()),
            plain: PlainOptions::default(),
            local,
            capture: CaptureOptions { filter: Filter::default(), reread: false, compression: Compression::Zstd },
            force: false,
            delete: true,
            allow_deletes: None,
            dry_run: false,
            accept_rollback: false,
            takeover: Takeover::Force,
            pod: "test-host".into(),
            hooks: Default::default(),
            watch: None,
            single_key: true,
            progress: Progress::quiet(),
        }
    }

    /// The machine's key.
    pub fn unlocker(&self) -> Unlocker {
        Unlocker::Raw(RawKey::parse(&self.key).expect("a key"))
    }

    /// The same machine without a key: its remote is plain.
    pub fn without_key(mut self) -> Machine {
        self.key.clear();
        self
    }

    /// The key that opens its vault.
    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The program in the machine's home, with the machine's environment and no other.
    pub fn command(&self, args: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_volume-syncing-controller")), args)
    }

    /// The same with another copy of the program.
    pub fn command_of(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.home.path()).env_clear().stdin(Stdio::null());
        command.env("HOME", self.home.path()).env("REMOTE_ROOT", self.at("remote")).env("HOSTNAME", "test-host");
        if !self.key.is_empty() {
            command.env("ENCRYPTED_PASSWORD", &self.key);
        }
        command.envs(self.remote.iter().cloned());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the program runs")
    }

    /// Pushes the folder `volume`: exit code and what was said.
    pub fn push(&self, more: &[&str]) -> (i32, String) {
        told(&self.run(&[&["sync-to-remote", "-s", "volume", "-d", self.path, "--takeover=force"], more].concat()))
    }

    /// Restores into a folder: exit code and what was said.
    pub fn restore(&self, target: &str, more: &[&str]) -> (i32, String) {
        told(&self.run(&[&["remote-to-local-sync", "-s", self.path, "-d", target], more].concat()))
    }

    /// Adds to the folder `volume` what names, types and modes can be: a second name of the file `linked`, and an odd mode
    /// of the file `marked` among them.
    pub fn write_odd_entries(&self, linked: &str, marked: &str) {
        let volume = self.at("volume");
        let odd = std::ffi::OsStr::from_bytes(b"odd\xff\n name");
        std::fs::write(volume.join(odd), b"bytes").expect("a byte name");
        std::fs::create_dir_all(volume.join("empty/inner")).expect("empty folders");
        std::os::unix::fs::symlink("../nowhere", volume.join("dangling")).expect("a link");
        std::fs::hard_link(volume.join(linked), volume.join("second name")).expect("a hard link");
        let sparse = std::fs::File::create(volume.join("sparse")).expect("a file");
        sparse.write_all_at(b"island", 5_000_000).expect("written");
        sparse.set_len(8 << 20).expect("a length");
        std::fs::set_permissions(volume.join(marked), PermissionsExt::from_mode(0o4711)).expect("a mode");
    }

    /// The marker of a restore into the folder `target` that was not finished.
    pub fn marker(&self) -> PathBuf {
        let state = self.at("target/.vsc");
        let folder = paths(&state).into_iter().find(|path| state.join(path).is_dir()).expect("a remote's folder");
        state.join(folder).join("restoring")
    }

    /// Writes a file of the folder `volume`.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.at("volume").join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(path, bytes).expect("a file");
    }
}

/// Exit code and what was said.
pub fn told(output: &Output) -> (i32, String) {
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Everything a restore must bring back, by path: type, mode, owner, size, time, extended attributes, content, and
/// which names are one file.
pub fn picture(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut firsts: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    for path in paths(root) {
        let whole = root.join(&path);
        let meta = std::fs::symlink_metadata(&whole).expect("metadata");
        let content = if meta.is_file() {
            let first = firsts.entry((meta.dev(), meta.ino())).or_insert_with(|| path.clone());
            format!("{} links, first {first:?}, hash of {:?}", meta.nlink(), content_mark(&whole))
        } else if meta.is_symlink() {
            format!("{:?}", std::fs::read_link(&whole).expect("a target"))
        } else {
            String::new()
        };
        let size = if meta.is_dir() { 0 } else { meta.size() };
        let times = (meta.mtime(), meta.mtime_nsec());
        let (mode, owner) = (meta.mode(), (meta.uid(), meta.gid()));
        let said = format!("{mode:o} {}:{} {size} {times:?} {:?} {content}", owner.0, owner.1, xattrs(&whole));
        all.insert(path, said);
    }
    all
}

/// All paths below a folder, sorted, without what the program keeps for itself.
pub fn paths(root: &Path) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let path = entry.path().strip_prefix(root).expect("below").to_path_buf();
            if path == Path::new(".vsc") {
                continue;
            }
            if entry.file_type().expect("a type").is_dir() {
                folders.push(entry.path());
            }
            all.insert(path);
        }
    }
    all
}

fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut list = vec![0u8; 4096];
    let length = rustix::fs::llistxattr(path, &mut list[..]).expect("the attributes' names");
    let mut all: Vec<_> = list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| name.starts_with(b"user."))
        .map(|name| {
            let mut value = vec![0u8; 4096];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("an attribute");
            (String::from_utf8_lossy(name).into_owned(), value[..length].to_vec())
        })
        .collect();
    all.sort();
    all
}

fn content_mark(path: &Path) -> (usize, u64) {
    let bytes = std::fs::read(path).expect("a file");
    (bytes.len(), bytes.iter().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte))))
}

/// Bytes that do not compress, the same for a seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        })
        .collect()
}

/// The folder `volume` and a restored one are the same, field by field.
pub fn assert_same(machine: &Machine, target: &str) {
    let (ours, theirs) = (picture(&machine.at("volume")), picture(&machine.at(target)));
    for (path, before) in &ours {
        assert_eq!(Some(before), theirs.get(path), "{}", path.display());
    }
    assert_eq!(ours.len(), theirs.len());
}
