//! A log of many pushes: merged into a base, read back by this program and by the second reader.

use crate::machine::{Machine, assert_same, noise, picture};
use crate::s3::{Fault, S3, Verb};
use crate::tools::tool;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use volume_syncing_controller::push::{Push, push};
use volume_syncing_controller::remote::session::Local;
use volume_syncing_controller::runtime::Stop;
use volume_syncing_controller::store::{Bucket, RemoteConfig};

/// Pushes a machine's volume to its folder from within this process, so that thousands take seconds.
struct Pushes<'a> {
    machine: &'a Machine,
    local: Local,
    bucket: Bucket,
    runtime: tokio::runtime::Runtime,
}

impl Pushes<'_> {
    fn of(machine: &Machine) -> Pushes<'_> {
        let config = RemoteConfig::Local { folder: machine.at("remote"), path: machine.path.into() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Pushes {
            machine,
            local: machine.locked_volume(),
            bucket: Bucket::connect(&config).expect("a folder"),
            runtime: runtime.expect("a runtime"),
        }
    }

    /// Pushes once; returns the commit.
    fn push(&self) -> u64 {
        let request = Push { bucket: self.bucket.clone(), ..self.machine.push_request(&self.local) };
        self.runtime.block_on(push(&request, &Stop::new())).expect("a push").commit
    }
}

/// Lengths of the stored objects of a kind, by name: `p` packs, `r` run parts.
fn stored(machine: &Machine, kind: &str) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for folder in std::fs::read_dir(machine.at("remote").join(machine.path).join("obj")).into_iter().flatten() {
        for file in std::fs::read_dir(folder.expect("an entry").path()).expect("a folder").map(|file| file.expect("an entry")) {
            if file.file_name().to_string_lossy().starts_with(kind) {
                found.insert(file.path(), file.metadata().expect("metadata").len());
            }
        }
    }
    found
}

/// Requests that the program says it made.
fn requests(told: &str) -> u64 {
    let number = told.split("requests=").last().and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no number of requests: {told}"))
}

/// Moves the stored objects of a machine from its folder into a bucket, which becomes its remote.
fn move_to(s3: &S3, machine: &mut Machine) {
    let root = machine.at("remote").join(machine.path);
    let there = Machine::s3(s3);
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let key = path.strip_prefix(&root).expect("below").to_str().expect("text");
            let prefix = there.path.strip_prefix("bucket/").expect("a prefix");
            s3.replace(&format!("{prefix}/{key}"), std::fs::read(&path).expect("a file"));
        }
    }
    (machine.remote, machine.path) = (there.remote, there.path);
}

/// Pushes with a process that is killed at the request of this number, counted from its first write on, before it is
/// carried out or after. Returns the killed request's verb, or nothing when the push was over before.
fn push_killed_at(s3: &S3, machine: &Machine, request: usize, after: bool) -> Option<Verb> {
    let child: Arc<Mutex<Option<Pid>>> = Arc::default();
    let killed: Arc<Mutex<Option<Verb>>> = Arc::default();
    let (victim, done) = (Arc::clone(&child), Arc::clone(&killed));
    let mut number = None;
    s3.faults(move |seen| {
        // What the last push left is not cleaned up, so that each push makes the same requests.
        if seen.verb == Verb::List && seen.key.ends_with("/obj/") {
            return Fault::Status(403, "AccessDenied");
        }
        number = number.map(|number| number + 1).or((seen.verb == Verb::Put).then_some(0));
        if number != Some(request) {
            return Fault::None;
        }
        kill_process(victim.lock().expect("a lock").expect("it was started"), Signal::KILL).expect("killed");
        *done.lock().expect("a lock") = Some(seen.verb);
        if after { Fault::ApplyThenDrop } else { Fault::DropBefore }
    });
    let mut starting = child.lock().expect("a lock");
    let args = ["sync-to-remote", "-s", "volume", "-d", machine.path, "--takeover=force"];
    let process = machine.command(&args).stderr(Stdio::piped()).spawn().expect("the program starts");
    *starting = Some(Pid::from_child(&process));
    drop(starting);
    let output = process.wait_with_output().expect("it ended");
    let status = output.status;
    s3.heal();
    let killed = *killed.lock().expect("a lock");
    assert_eq!(
        status.code(),
        if killed.is_some() { None } else { Some(0) },
        "{request} {after} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    killed
}

fn assert_sound(machine: &Machine) {
    let check = machine.run(&["check", "-s", machine.path, "--level", "data"]);
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stdout));
}

fn assert_the_second_reader_agrees(machine: &Machine) {
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format/read_vault.py");
    let mut command = Command::new(tool("IT_PYTHON"));
    command.arg(reader).args([machine.at("remote").join(machine.path), machine.at("by-python")]);
    let read = command.env("ENCRYPTED_PASSWORD", machine.key()).output().expect("python starts");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    assert_same(machine, "by-python");
}

#[test]
fn many_pushes_are_merged_and_what_died_is_not_copied() {
    let machine = Machine::local();
    (0..300).for_each(|i| machine.write(&format!("dir/{i:03}"), format!("content {i}").repeat(50)));
    let mut merged = false;
    for round in 0..262 {
        machine.write("changing", noise(round, 3000));
        std::fs::remove_file(machine.at(&format!("volume/dir/{round:03}"))).expect("removed");
        let (code, text) = machine.push(&["--single-key"]);
        assert_eq!(code, 0, "{text}");
        merged |= text.contains("merged the log into a base");
    }
    assert!(merged, "256 commits make a base due");
    let copied: u64 = stored(&machine, "p").values().sum();
    assert!((3000..12_000).contains(&copied), "{copied} bytes were copied, and hardly more than 3000 were alive");
    let (code, text) = machine.restore("restored", &[]);
    assert_eq!(code, 0, "{text}");
    assert_same(&machine, "restored");
    let (code, text) = machine.restore("old", &["--at", "100"]);
    assert_eq!(code, 0, "{text}");
    assert!(!machine.at("old/dir/050").exists() && machine.at("old/dir/299").exists(), "an old point is still there");
    assert_sound(&machine);
    assert_the_second_reader_agrees(&machine);
}

#[test]
fn thousands_of_small_pushes_restore_with_few_requests() {
    const BASES: usize = 8;
    let machine = Machine::local_in_memory();
    machine.write("large", noise(1, 300_000));
    let pushes = Pushes::of(&machine);
    let mut points = BTreeMap::new();
    let mut rounds = 0u64;
    while stored(&machine, "r").len() < BASES {
        assert!(rounds < 300 * BASES as u64, "each 256 commits make a base");
        machine.write(&format!("turn/{}", rounds % 97), noise(rounds, 200 + rounds as usize % 1500));
        match rounds % 10 {
            0 => machine.write(&format!("for-ever/{rounds}"), noise(rounds + 5000, 700)),
            1 => {
                std::fs::copy(machine.at(&format!("volume/for-ever/{}", rounds - 1)), machine.at("volume/copy")).expect("a copy");
            }
            2 => {
                let large = std::fs::File::options().write(true).open(machine.at("volume/large")).expect("a file");
                large.write_all_at(&noise(rounds, 500), rounds % 290_000).expect("written");
            }
            3 => std::fs::remove_file(machine.at(&format!("volume/turn/{}", (rounds - 1) % 97))).expect("removed"),
            _ => {}
        }
        let commit = pushes.push();
        if rounds.is_multiple_of(613) {
            points.insert(commit, picture(&machine.at("volume")));
        }
        rounds += 1;
    }
    assert!(rounds > 2000, "{rounds}");
    let (code, text) = machine.restore("restored", &[]);
    assert_eq!(code, 0, "{text}");
    assert_same(&machine, "restored");
    assert!(requests(&text) <= 20, "{text}");
    for (commit, before) in points {
        let target = format!("at-{commit}");
        let (code, text) = machine.restore(&target, &["--at", &commit.to_string()]);
        assert_eq!(code, 0, "{text}");
        assert!(picture(&machine.at(&target)) == before, "commit {commit}");
    }
    assert_sound(&machine);
    assert_the_second_reader_agrees(&machine);
}

#[test]
fn a_merge_killed_at_any_request_leaves_a_restorable_vault() {
    let mut machine = Machine::local_in_memory();
    (0..12).for_each(|i| machine.write(&format!("many/{i}"), noise(i, 900)));
    machine.write("large", noise(1, 300_000));
    let pushes = Pushes::of(&machine);
    let mut round = 0;
    // The first commit claims the vault; the push after the 255th makes a base due.
    while pushes.push() < 255 {
        machine.write(&format!("many/{}", round % 12), noise(round + 99, 900));
        round += 1;
    }
    drop(pushes);
    let s3 = S3::start();
    move_to(&s3, &mut machine);
    let mut states = vec![picture(&machine.at("volume"))];
    let (mut request, mut after, mut tried) = (0, false, 0);
    loop {
        machine.write("many/3", noise(1000 + tried, 900));
        states.push(picture(&machine.at("volume")));
        let Some(verb) = push_killed_at(&s3, &machine, request, after) else { break };
        tried += 1;
        if verb == Verb::Put || tried % 8 == 0 {
            let target = format!("after-{tried}");
            let (code, text) = machine.restore(&target, &[]);
            assert_eq!(code, 0, "killed at request {request}: {text}");
            assert!(states.contains(&picture(&machine.at(&target))), "killed at request {request}");
        }
        // Whether a write was carried out makes a difference.
        after = verb == Verb::Put && !after;
        request += usize::from(!after);
    }
    assert!(tried > 20, "{tried}");
    let bases = s3.objects().iter().filter(|key| key.contains("/r0")).count();
    assert!(bases >= 3, "killed before, at and after the part: {bases} parts");
    let (code, text) = machine.restore("final", &[]);
    assert_eq!(code, 0, "{text}");
    assert_same(&machine, "final");
    assert!(requests(&text) <= 12, "{text}");
    assert_sound(&machine);
}

#[test]
fn a_damaged_commit_keeps_no_base_from_being_made_and_is_still_named() {
    let machine = Machine::local_in_memory();
    machine.write("first", noise(1, 5000));
    let pushes = Pushes::of(&machine);
    assert_eq!(pushes.push(), 2, "the first commit claims the vault");
    for round in 0..253 {
        machine.write(if round % 2 == 0 { "even" } else { "odd" }, noise(round + 2, 900));
        pushes.push();
    }
    drop(pushes);
    let name = format!("{:016x}", !2u64);
    let path = machine.at("remote").join(machine.path).join("log").join(&name);
    let mut bytes = std::fs::read(&path).expect("a commit");
    let head = u32::from_le_bytes(bytes[60..64].try_into().expect("4 bytes")) as usize;
    bytes[head + 100] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    machine.write("even", noise(999, 900));
    let (code, text) = machine.push(&[]);
    assert!(code == 0 && text.contains("merged the log into a base"), "{text}");
    assert!(text.contains("goes on referring to a damaged object") && text.contains(&name), "{text}");
    let (code, text) = machine.restore("restored", &[]);
    assert!(code == 7 && text.contains(&name), "{text}");
    let (code, text) = machine.restore("others", &["--exclude", "first"]);
    assert!(code == 0 && requests(&text) <= 10, "{text}");
    for name in ["even", "odd"] {
        let read = |folder: &str| std::fs::read(machine.at(folder).join(name)).expect("a file");
        assert_eq!(read("others"), read("volume"), "{name}");
    }
}

#[test]
fn a_base_is_made_when_the_commits_after_the_last_one_have_much_metadata() {
    let machine = Machine::local_in_memory();
    let pushes = Pushes::of(&machine);
    let mut bases = Vec::new();
    for round in 0..8u64 {
        for link in 0..700 {
            let mut target = noise((round * 1000 + link) * 2, 4000);
            target.iter_mut().for_each(|byte| *byte |= 1);
            let path = machine.at(&format!("volume/{link}"));
            let _ = std::fs::remove_file(&path);
            std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(&target), path).expect("a link");
        }
        let commit = pushes.push();
        // A push's own records lie in a part of their own, a base's in one more.
        bases.push((commit, stored(&machine, "r").len()));
    }
    let expected = [(2, 1), (3, 2), (4, 3), (5, 5), (7, 6), (8, 7), (9, 8), (10, 10)];
    assert_eq!(bases, expected, "every fourth push reaches the bound");
    drop(pushes);
    assert_eq!(machine.restore("restored", &[]).0, 0);
    assert_same(&machine, "restored");
}

#[test]
fn a_volume_whose_processes_are_all_killed_after_their_claim_stays_the_heads() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3);
    machine.write("file", noise(1, 900));
    assert_eq!(machine.push(&[]).0, 0);
    machine.write("file", noise(2, 900));
    // The first is killed at its commit, so that the next one claims; each of the others when its claim is stored.
    assert_eq!(push_killed_at(&s3, &machine, 0, false), Some(Verb::Put));
    for _ in 0..70 {
        assert_eq!(push_killed_at(&s3, &machine, 0, true), Some(Verb::Put));
    }
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(machine.restore("restored", &[]).0, 0);
    assert_same(&machine, "restored");
}
