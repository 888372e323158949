//! The verbs that look at pushed data, and what they say when it is damaged.

use super::{Machine, Ran};
use std::fs;
use std::path::{Path, PathBuf};

/// A machine, a vault with two pushes of one volume, and the key.
struct Pushed {
    machine: Machine,
    volume: PathBuf,
    key: String,
}

impl Pushed {
    fn new() -> Pushed {
        let machine = Machine::new();
        let volume = machine.home.path().join("volume");
        fs::create_dir_all(volume.join("etc/empty")).expect("a directory");
        fs::write(volume.join("etc/motd"), "hello\n").expect("a file");
        fs::write(volume.join("notes\n\x1b[31m.txt"), "y".repeat(5000)).expect("a file");
        fs::write(volume.join("large.bin"), random(6 << 20)).expect("a file");
        std::os::unix::fs::symlink("../etc/motd", volume.join("link")).expect("a link");
        let key = machine.run("key generate", &[]).out.trim().to_string();
        let pushed = Pushed { machine, volume, key };
        pushed.push();
        fs::write(pushed.volume.join("etc/motd"), "hello again\n").expect("a file");
        fs::remove_file(pushed.volume.join("link")).expect("a link");
        pushed.push();
        pushed
    }

    fn push(&self) {
        let line = format!("sync-to-remote -s {} -d v --single-key", self.volume.display());
        self.machine.ok(&line, &self.key);
    }

    fn run(&self, line: &str) -> Ran {
        self.machine.run(line, &[("ENCRYPTED_PASSWORD", &self.key)])
    }

    fn ok(&self, line: &str) -> String {
        self.machine.ok(line, &self.key)
    }

    fn points(&self) -> Vec<serde_json::Value> {
        let listed: serde_json::Value = serde_json::from_str(&self.ok("snapshots -s v --json")).expect("JSON");
        listed.as_array().expect("an array").clone()
    }

    fn vault(&self) -> PathBuf {
        self.machine.remote().join("v")
    }

    /// All sealed objects below the vault.
    fn objects(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for top in ["log", "obj", "fork"] {
            collect(&self.vault().join(top), &mut files);
        }
        files.sort();
        files
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("a readable folder").path()) {
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).expect("random numbers");
    bytes
}

/// The object's key, as messages name it.
fn key_of(path: &Path) -> String {
    let parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let top = parts.iter().rposition(|part| part == "log" || part == "obj").expect("an object");
    parts[top..].join("/")
}

#[test]
fn every_push_is_a_restore_point_and_nothing_else_is() {
    let pushed = Pushed::new();
    pushed.push();
    let points = pushed.points();
    assert_eq!(points.len(), 2, "{points:?}");
    let field = |index: usize, name: &str| points[index][name].clone();
    assert_eq!((field(0, "files"), field(1, "files")), (3.into(), 4.into()));
    assert_eq!((field(0, "dirs"), field(0, "epoch")), (2.into(), 1.into()));
    let ids: Vec<u64> = points.iter().map(|point| point["id"].as_str().expect("text").parse().expect("a number")).collect();
    assert!(ids[0] > ids[1], "newest first: {ids:?}");
    let text = pushed.ok("snapshots -s v");
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.lines().nth(1).expect("a line").starts_with(&ids[0].to_string()), "{text}");
    let all = pushed.ok("snapshots -s v --all");
    assert!(all.lines().count() > 3 && all.contains("claim"), "{all}");
}

#[test]
fn entries_are_listed_so_that_no_name_can_steer_a_terminal() {
    let pushed = Pushed::new();
    assert_eq!(pushed.ok("ls -s v"), "etc\netc/empty\netc/motd\nlarge.bin\nnotes\\n\\u{1b}[31m.txt\n");
    assert_eq!(pushed.ok("ls -s v etc/"), "etc\netc/empty\netc/motd\n");
    let first = pushed.points()[1]["id"].as_str().expect("text").to_string();
    let long = pushed.ok(&format!("ls -s v --at {first} -l link"));
    assert!(long.starts_with('l') && long.ends_with(" link -> ../etc/motd\n"), "{long}");
    let json = pushed.ok("ls -s v --json");
    let lines: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((lines.len(), &lines[4]["path"]), (5, &"notes\n\x1b[31m.txt".into()));
    assert_eq!((&lines[2]["type"], &lines[2]["size"]), (&"file".into(), &12.into()));
    pushed.run("ls -s v etc/nothing").failed(2, &["holds no 'etc/nothing'"]);
    pushed.run("ls -s v --at 9999").failed(2, &["there is no restore point 9999", "the oldest is 1 (", "the newest "]);
    pushed.run("ls -s v --at 2001-01-01").failed(2, &["at or before 2001-01-01T00:00:00Z", "the oldest is 1 ("]);
}

#[test]
fn a_sound_vault_is_sound_on_every_level() {
    let pushed = Pushed::new();
    for level in ["quick", "meta", "data"] {
        let out = pushed.ok(&format!("check -s v --level {level}"));
        assert!(out.contains("sound; checked") && !out.contains("harm"), "{level}: {out}");
    }
    let machine = Machine::new();
    let key = machine.vault("empty");
    assert!(machine.ok("check -s empty --level data", &key).contains("0 commits and 0 objects in all"));
}

#[test]
fn the_vault_of_the_first_release_is_sound() {
    let machine = Machine::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let vectors: serde_json::Value =
        serde_json::from_slice(&fs::read(golden.join("vectors.json")).expect("a file")).expect("JSON");
    let mut files = Vec::new();
    collect(&golden.join("vault"), &mut files);
    for file in files {
        let copy = machine.remote().join("v").join(file.strip_prefix(golden.join("vault")).expect("below it"));
        fs::create_dir_all(copy.parent().expect("a folder")).expect("made");
        fs::copy(&file, &copy).expect("copied");
    }
    let out = machine.ok("check -s v --level data", vectors["raw key"].as_str().expect("text"));
    assert!(out.contains("sound; checked") && out.contains("newest: commit 5, 10 files"), "{out}");
}

#[test]
fn a_flipped_bit_anywhere_is_found_and_named() {
    let pushed = Pushed::new();
    let objects = pushed.objects();
    assert!(objects.iter().any(|path| key_of(path).contains("/p")), "the large file lies in a pack");
    for path in objects {
        let sound = fs::read(&path).expect("an object");
        // In the header, in the head, in the middle and at the very end, which may be padding.
        for at in [40, 130, sound.len() / 2, sound.len() - 1] {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).expect("written");
            let ran = pushed.run("check -s v --level data");
            ran.failed(7, &["is damaged"]);
            assert!(ran.out.contains(&format!("DAMAGED {}", key_of(&path))), "{at} of {}: {}", key_of(&path), ran.out);
        }
        fs::write(&path, &sound).expect("written");
    }
    pushed.ok("check -s v --level data");
}

#[test]
fn what_is_missing_or_cut_short_is_found_on_the_first_level() {
    let pushed = Pushed::new();
    for path in pushed.objects() {
        let (sound, key) = (fs::read(&path).expect("an object"), key_of(&path));
        fs::remove_file(&path).expect("removed");
        // Without its newest commit a vault looks like an older one: only whoever has seen it knows.
        let newest = Some(&path) == pushed.objects().iter().chain([&path]).filter(|p| key_of(p).starts_with("log/")).min();
        if !newest {
            let ran = pushed.run("check -s v --level meta");
            ran.failed(7, &["is damaged"]);
            assert!(ran.out.contains(&format!("DAMAGED {key}")), "{key}: {}", ran.out);
        }
        if key.contains("/p") {
            pushed.run("check -s v --level quick").failed(7, &["is damaged"]);
            let lost = pushed.run("check -s v --level meta").out;
            assert!(lost.contains("LOST large.bin") && !lost.contains("LOST etc/motd"), "{lost}");
        }
        fs::write(&path, &sound[..sound.len() / 2]).expect("written");
        let ran = pushed.run("check -s v --level meta");
        ran.failed(7, &["is damaged"]);
        assert!(ran.out.contains(&format!("DAMAGED {key}")), "{key}: {}", ran.out);
        fs::write(&path, &sound).expect("written");
    }
}

#[test]
fn a_commit_swapped_for_another_is_found() {
    let pushed = Pushed::new();
    let log: Vec<PathBuf> = pushed.objects().into_iter().filter(|path| key_of(path).starts_with("log/")).collect();
    fs::copy(&log[1], &log[0]).expect("copied");
    pushed.run("check -s v").failed(7, &["is damaged"]);
    assert!(pushed.run("check -s v").out.contains("names another object"), "its header tells");
}

#[test]
fn one_damaged_commit_does_not_hide_the_other_restore_points() {
    let pushed = Pushed::new();
    let points = pushed.points();
    let seq: u64 = points[1]["id"].as_str().expect("text").parse().expect("a number");
    let path = pushed.vault().join(format!("log/{:016x}", !seq));
    fs::write(&path, b"not a commit").expect("written");
    let ran = pushed.run("snapshots -s v --json");
    ran.failed(7, &["1 object of the vault", "could not be read", "check --level data"]);
    assert!(ran.out.contains(&format!("\"id\":{}", points[0]["id"])), "{}", ran.out);
}

#[test]
fn a_recovery_kit_restores_the_data() {
    let pushed = Pushed::new();
    let kit = pushed.ok("key export-kit -d v");
    let exports: Vec<(&str, &str)> = kit.lines().filter_map(|line| line.strip_prefix("  export ")?.split_once('=')).collect();
    let target = pushed.machine.home.path().join("restored");
    let line = format!("remote-to-local-sync -s v -d {}", target.display());
    let ran = Ran::of(Machine::new().command(&line, &exports).output().expect("the program runs"));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(fs::read(target.join("large.bin")).expect("a file"), fs::read(pushed.volume.join("large.bin")).expect("a file"));
}
