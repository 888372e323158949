//! Passes that look only at what may have changed: whatever happened, the vault ends with the volume's state.

mod index;

use crate::machine::{Machine, assert_same, noise};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use volume_syncing_controller::disk::{Coverage, Watch};
use volume_syncing_controller::push::{Ending, Last, Outcome, Pass, Push, Pusher};
use volume_syncing_controller::remote::session::Local;
use volume_syncing_controller::runtime::Stop;
use volume_syncing_controller::tree::{Dirty, Filter};

/// A change to a volume, and what it is called.
type Change<'a> = (&'static str, Box<dyn Fn() + 'a>);

struct Bench {
    machine: Machine,
    local: Local,
    watch: Watch,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new(machine: Machine) -> Bench {
        let local = machine.locked_volume();
        let watch = Watch::new(&local.volume, Filter::default(), local.reserved.clone()).expect("a watch");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Bench { machine, local, watch, runtime: runtime.expect("a runtime") }
    }

    fn request(&self) -> Push<'_> {
        Push { watch: Some(self.watch.clone()), ..self.machine.push_request(&self.local) }
    }

    fn pass(&self, pusher: &mut Pusher<'_>, dirty: Dirty, last: bool) -> Outcome {
        let pass = Pass { dirty, last: if last { Last::Yes } else { Last::No }, allow_deletes: None };
        let outcome = self.runtime.block_on(pusher.pass(&pass, &Stop::new())).expect("a pass");
        assert_eq!(outcome.ending(), Ending::Complete);
        outcome
    }

    /// The first pass, over everything.
    fn begin<'a>(&self, request: &'a Push<'a>) -> Pusher<'a> {
        let mut pusher = Pusher::new(request);
        self.pass(&mut pusher, Dirty::everything(), false);
        pusher
    }

    /// The last pass, after which a restore brings what the volume holds.
    fn end(&self, mut pusher: Pusher<'_>) {
        self.pass(&mut pusher, Dirty::default(), true);
        self.restored_is_the_same();
    }

    /// A pass over what was heard since the last one.
    fn heard(&self, pusher: &mut Pusher<'_>) -> Outcome {
        let mut dirty = Dirty::default();
        self.watch.take(&mut dirty);
        self.pass(pusher, dirty, false)
    }

    /// A pass over everything finds nothing that the passes before it missed.
    fn assert_nothing_missed(&self, pusher: &mut Pusher<'_>, after: &str) {
        let whole = self.pass(pusher, Dirty::everything(), false);
        assert_eq!((whole.added, whole.changed, whole.deleted, whole.published), (0, 0, 0, false), "after {after}");
    }

    fn at(&self, name: &str) -> PathBuf {
        self.machine.at("volume").join(name)
    }

    fn restored_is_the_same(&self) {
        let (code, said) = self.machine.restore("restored", &[]);
        assert_eq!(code, 0, "{said}");
        assert_same(&self.machine, "restored");
    }
}

fn filled(files: usize) -> Machine {
    let machine = Machine::local_in_memory();
    for i in 0..files {
        machine.write(&format!("d{:02}/f{i:05}", i % 40), format!("content {i}"));
    }
    machine
}

#[test]
fn each_kind_of_change_is_heard_and_pushed() {
    let bench = Bench::new(filled(200));
    let request = bench.request();
    let mut pusher = bench.begin(&request);
    let write = |name: &str, bytes: &[u8]| {
        fs::create_dir_all(bench.at(name).parent().expect("a parent")).expect("folders");
        fs::write(bench.at(name), bytes).expect("a file");
    };
    let rename = |from: &str, to: &str| fs::rename(bench.at(from), bench.at(to)).expect("a rename");
    let changes: Vec<Change<'_>> = vec![
        ("a new file", Box::new(|| write("new", b"1"))),
        ("a changed file", Box::new(|| write("d00/f00000", b"changed"))),
        ("a large file", Box::new(|| write("large", &noise(5, 3 << 20)))),
        (
            "a file replaced by rename",
            Box::new(|| {
                write("d01/.tmp", b"whole");
                rename("d01/.tmp", "d01/f00001")
            }),
        ),
        ("a removed file", Box::new(|| fs::remove_file(bench.at("d02/f00002")).expect("removed"))),
        (
            "folders made and filled at once",
            Box::new(|| {
                write("a/b/c/d", b"deep");
                write("a/b/e", b"flat")
            }),
        ),
        ("a file in a new folder", Box::new(|| write("a/b/c/later", b"later"))),
        ("a renamed folder", Box::new(|| rename("a/b", "moved"))),
        ("a file in a renamed folder", Box::new(|| write("moved/c/after", b"after"))),
        ("a removed folder", Box::new(|| fs::remove_dir_all(bench.at("d03")).expect("removed"))),
        ("a folder made again", Box::new(|| write("d03/again", b"again"))),
        (
            "a file where a folder was",
            Box::new(|| {
                fs::remove_dir_all(bench.at("d04")).expect("removed");
                write("d04", b"file")
            }),
        ),
        (
            "a folder where a file was",
            Box::new(|| {
                fs::remove_file(bench.at("d04")).expect("removed");
                write("d04/x/y", b"deep")
            }),
        ),
        (
            "a link where a folder was",
            Box::new(|| {
                fs::remove_dir_all(bench.at("d05")).expect("removed");
                std::os::unix::fs::symlink("../outside", bench.at("d05")).expect("a link");
            }),
        ),
        ("a mode", Box::new(|| fs::set_permissions(bench.at("d06/f00006"), fs::Permissions::from_mode(0o600)).expect("a mode"))),
        (
            "a folder's mode",
            Box::new(|| fs::set_permissions(bench.at("d06"), fs::Permissions::from_mode(0o711)).expect("a mode")),
        ),
        ("a second name", Box::new(|| fs::hard_link(bench.at("d07/f00007"), bench.at("second")).expect("a name"))),
        ("content by one of two names", Box::new(|| write("second", b"of both"))),
        ("one of two names removed", Box::new(|| fs::remove_file(bench.at("second")).expect("removed"))),
        (
            "a folder exchanged for another",
            Box::new(|| {
                rename("d08", "d08-old");
                rename("d09", "d08");
                rename("d08-old", "d09")
            }),
        ),
        (
            "a folder moved into a removed one's place",
            Box::new(|| {
                fs::remove_dir_all(bench.at("d10")).expect("removed");
                rename("d11", "d10")
            }),
        ),
        (
            "a folder moved out and back",
            Box::new(|| {
                let away = bench.local.volume.path().with_file_name("away");
                fs::rename(bench.at("d12"), &away).expect("a rename");
                fs::write(away.join("outside"), b"written outside").expect("a file");
                fs::rename(&away, bench.at("d12")).expect("a rename");
            }),
        ),
        ("a file in a folder that was away", Box::new(|| write("d12/inside", b"again"))),
    ];
    for (name, change) in changes {
        change();
        let outcome = bench.heard(&mut pusher);
        assert!(outcome.published, "{name} is pushed");
        assert_eq!(bench.watch.coverage(), Coverage::Whole);
        bench.assert_nothing_missed(&mut pusher, name);
    }
    bench.end(pusher);
}

/// Applies a random change below `root`.
pub fn disturb(root: &Path, random: &mut impl FnMut(u64) -> u64) {
    let names = ["a", "b", "c", "d"];
    let mut path = root.to_path_buf();
    for _ in 0..=random(3) {
        path.push(names[random(4) as usize]);
    }
    let other = root.join(names[random(4) as usize]).join(names[random(4) as usize]);
    match random(8) {
        0 => drop(fs::remove_dir_all(&path)),
        1 => drop(fs::remove_file(&path)),
        2 => drop(fs::create_dir_all(&path)),
        3 => drop(fs::rename(&path, &other)),
        4 => drop(std::os::unix::fs::symlink("elsewhere", &path)),
        5 => drop(fs::hard_link(&path, &other)),
        _ => drop(fs::write(&path, noise(random(1 << 30), random(400) as usize))),
    }
}

#[test]
fn random_changes_are_all_pushed_with_the_index_written_rarely() {
    let bench = Bench::new(filled(3000));
    let request = bench.request();
    let mut pusher = bench.begin(&request);
    let mut state = 4711u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for round in 0..60 {
        for _ in 0..=random(12) {
            disturb(&bench.at(""), &mut random);
        }
        bench.heard(&mut pusher);
        if round % 20 == 19 {
            bench.assert_nothing_missed(&mut pusher, &format!("round {round}"));
        }
    }
    drop(pusher);
    // The next process finds index and overlay as they were left.
    let mut pusher = Pusher::new(&request);
    bench.assert_nothing_missed(&mut pusher, "a new start");
    bench.end(pusher);
}

#[test]
fn a_pass_without_changes_asks_nothing_of_the_remote_and_one_change_is_one_write() {
    let s3 = crate::s3::S3::start();
    let machine = Machine::s3(&s3);
    machine.write("dir/file", b"1");
    let bench = Bench::new(machine);
    let request = bench.request();
    let mut pusher = bench.begin(&request);
    let all = |outcome: &Outcome| outcome.requests.get + outcome.requests.put + outcome.requests.list + outcome.requests.delete;
    assert_eq!(all(&bench.heard(&mut pusher)), 0);
    assert_eq!(all(&bench.pass(&mut pusher, Dirty::everything(), false)), 0);
    fs::write(bench.at("dir/file"), b"22").expect("a file");
    let outcome = bench.heard(&mut pusher);
    assert_eq!((all(&outcome), outcome.requests.put), (1, 1));
    let last = bench.pass(&mut pusher, Dirty::default(), true);
    assert_eq!((all(&last), last.requests.put), (1, 1), "the release");
    assert_eq!(all(&bench.pass(&mut pusher, Dirty::default(), true)), 0, "released once");
}
