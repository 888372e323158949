//! The other programs, at the remote of a machine.

use crate::machine::Machine;
use crate::tools::tool;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Rclone,
    Mc,
    Aws,
}

impl Program {
    /// Whether files keep their times in what it puts.
    pub fn keeps_times(self) -> bool {
        self != Program::Aws
    }

    /// Whether it gives files the times that were pushed.
    pub fn reads_times(self) -> bool {
        self == Program::Rclone
    }
}

/// A program beside a machine without a key.
pub struct Peer {
    pub machine: Machine,
    program: Program,
}

impl Peer {
    /// At a path of its own in the real store; `None` when none is named.
    pub fn at(program: Program) -> Option<Peer> {
        Some(Peer { machine: Machine::real()?.without_key(), program })
    }

    /// Its name for what lies under a key.
    pub fn place(&self, key: &str) -> String {
        let path = format!("{}/{key}", self.machine.path);
        let path = path.trim_end_matches('/');
        match self.program {
            Program::Rclone => format!("store:{path}"),
            Program::Mc => format!("store/{path}"),
            Program::Aws => format!("s3://{path}"),
        }
    }

    /// Puts a folder of the machine to the remote.
    pub fn upload(&self, folder: &str) {
        let (folder, place) = (self.local(folder), self.place(""));
        match self.program {
            Program::Rclone => self.run(&["copy", &folder, &place]),
            Program::Mc => self.run(&["mirror", "-a", "--overwrite", &folder, &place]),
            Program::Aws => self.run(&["s3", "cp", "--recursive", &folder, &place]),
        };
    }

    /// Fetches all but the manifest into a folder of the machine.
    pub fn download(&self, folder: &str) {
        let (folder, place) = (self.local(folder), self.place(""));
        match self.program {
            Program::Rclone => self.run(&["copy", &place, &folder, "--exclude", ".svault-plain/**"]),
            Program::Mc => self.run(&["mirror", "--exclude", ".svault-plain/*", &place, &folder]),
            Program::Aws => self.run(&["s3", "cp", "--recursive", "--exclude", ".svault-plain/*", &place, &folder]),
        };
    }

    /// Puts a file of the machine under a key.
    pub fn put(&self, file: &str, key: &str) {
        let (file, place) = (self.local(file), self.place(key));
        match self.program {
            Program::Rclone => self.run(&["copyto", &file, &place]),
            Program::Mc => self.run(&["cp", &file, &place]),
            Program::Aws => self.run(&["s3", "cp", &file, &place]),
        };
    }

    /// Removes the object under a key.
    pub fn remove(&self, key: &str) {
        let place = self.place(key);
        match self.program {
            Program::Rclone => self.run(&["deletefile", &place]),
            Program::Mc => self.run(&["rm", &place]),
            Program::Aws => self.run(&["s3", "rm", &place]),
        };
    }

    /// Runs it: what it said. It must end well.
    pub fn run(&self, args: &[&str]) -> String {
        let mut command = self.command();
        let output = command.args(args).output().expect("the program starts");
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success(), "{:?} {args:?}: {said}", self.program);
        said
    }

    fn local(&self, name: &str) -> String {
        self.machine.at(name).display().to_string()
    }

    fn given(&self, name: &str) -> &str {
        let found = self.machine.remote.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).expect("the machine has a store")
    }

    fn command(&self) -> Command {
        let variable = match self.program {
            Program::Rclone => "IT_RCLONE",
            Program::Mc => "IT_MC",
            Program::Aws => "IT_AWS",
        };
        let program = tool(variable);
        let (endpoint, key) = (self.given("REMOTE_ENDPOINT"), self.given("REMOTE_ACCESS_KEY_ID"));
        let secret = self.given("REMOTE_SECRET_ACCESS_KEY");
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.machine.at(""));
        match self.program {
            Program::Rclone => {
                command.env("RCLONE_CONFIG", self.machine.at("no-configuration"));
                command.env("RCLONE_CONFIG_STORE_TYPE", "s3").env("RCLONE_CONFIG_STORE_PROVIDER", "Minio");
                command.env("RCLONE_CONFIG_STORE_ENDPOINT", endpoint).env("RCLONE_S3_NO_CHECK_BUCKET", "true");
                command.env("RCLONE_CONFIG_STORE_ACCESS_KEY_ID", key).env("RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY", secret);
            }
            Program::Mc => {
                let host = endpoint.strip_prefix("http://").expect("the store of the tests has no TLS");
                command.env("MC_HOST_store", format!("http://{key}:{secret}@{host}"));
                command.env("MC_CONFIG_DIR", self.machine.at("mc")).arg("--quiet");
            }
            Program::Aws => {
                command.env("AWS_ACCESS_KEY_ID", key).env("AWS_SECRET_ACCESS_KEY", secret).env("AWS_REGION", "us-east-1");
                command.env("AWS_DEFAULT_REGION", "us-east-1").env("LC_ALL", "C.UTF-8");
                command.env("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required");
                command.args(["--endpoint-url", endpoint]);
            }
        }
        command
    }
}

/// Contents and times of regular files, by path.
pub fn files(root: &Path) -> BTreeMap<String, (Vec<u8>, i64, i64)> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let (path, meta) = (entry.path(), entry.metadata().expect("metadata"));
            let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
            if name.starts_with(".vsc") {
                continue;
            }
            if meta.is_dir() {
                folders.push(path);
            } else if meta.is_file() {
                all.insert(name, (std::fs::read(&path).expect("a file"), meta.mtime(), meta.mtime_nsec()));
            }
        }
    }
    all
}
