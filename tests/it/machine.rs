//! A machine to test on: a home, a key, a remote, and the built binary run there.

use crate::s3::S3;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A machine with one remote.
pub struct Machine {
    home: tempfile::TempDir,
    memory: Option<tempfile::TempDir>,
    key: String,
    pub remote: Vec<(String, String)>,
    pub path: &'static str,
}

impl Machine {
    fn new(remote: Vec<(String, String)>, path: &'static str) -> Machine {
        let home = tempfile::tempdir().expect("a folder");
        let mut machine = Machine { home, memory: None, key: String::new(), remote, path };
        machine.key = String::from_utf8(machine.run(&["key", "generate"]).stdout).expect("text").trim().to_string();
        machine
    }

    /// Its remote is a folder.
    pub fn local() -> Machine {
        Machine::new(Vec::new(), "demo")
    }

    /// Like [`Machine::local`], volume and remote in memory where the system has a folder for that: thousands of pushes
    /// would else wait for the disk many thousand times.
    pub fn local_in_memory() -> Machine {
        let mut machine = Machine::local();
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

    /// The key that opens its vault.
    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The program in the machine's home, with the machine's environment and no other.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_volume-syncing-controller"));
        command.args(args).current_dir(self.home.path()).env_clear().stdin(Stdio::null());
        command.env("HOME", self.home.path()).env("REMOTE_ROOT", self.at("remote")).env("HOSTNAME", "test-host");
        command.env("ENCRYPTED_PASSWORD", &self.key).envs(self.remote.iter().cloned());
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

/// Everything a restore must bring back, by path.
pub fn picture(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            let meta = std::fs::symlink_metadata(&entry).expect("metadata");
            let name = entry.strip_prefix(root).expect("below").to_path_buf();
            if name == Path::new(".vsc") {
                continue;
            }
            let content = if meta.is_file() {
                format!("{} links, hash of {:?}", meta.nlink(), content_mark(&entry))
            } else if meta.is_symlink() {
                format!("{:?}", std::fs::read_link(&entry).expect("a target"))
            } else {
                String::new()
            };
            let size = if meta.is_dir() { 0 } else { meta.size() };
            let times = (meta.mtime(), meta.mtime_nsec());
            all.insert(name, format!("{:o} {}:{} {size} {times:?} {content}", meta.mode(), meta.uid(), meta.gid()));
            if meta.is_dir() {
                folders.push(entry);
            }
        }
    }
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
