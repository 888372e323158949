//! What passes make of the local index: when it is written anew, and when changes lie beside it.

use super::{Bench, filled};
use crate::machine::{Machine, assert_same, noise};
use crate::s3::{Fault, S3, Verb};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use volume_syncing_controller::push::{Last, Outcome, Pass, Pusher};
use volume_syncing_controller::runtime::Stop;
use volume_syncing_controller::tree::{Dirty, RelPath};

impl Bench {
    /// Makes a folder of links outside of the volume and moves it in.
    fn move_in(&self, name: &str, links: usize, target_len: usize) {
        let away = self.local.volume.path().with_file_name("away");
        fs::create_dir(&away).expect("a folder");
        for link in 0..links {
            let target = format!("{link:05}{}", "x".repeat(target_len - 5));
            symlink(target, away.join(format!("{link:05}"))).expect("a link");
        }
        fs::rename(away, self.at(name)).expect("a rename");
    }

    /// Where changes lie that are beside the index.
    fn overlay(&self) -> PathBuf {
        let mut below = fs::read_dir(self.at(".vsc")).expect("a state directory").map(|entry| entry.expect("an entry").path());
        below.find(|path| path.is_dir()).expect("a vault's folder").join("overlay")
    }

    fn has_overlay(&self) -> bool {
        self.overlay().exists()
    }
}

#[test]
fn a_folder_of_any_size_may_be_moved_in() {
    let bench = Bench::new(filled(100));
    let request = bench.request();
    let mut pusher = bench.begin(&request);
    // Too many entries, too long ones, and more of these than a state file may hold.
    for (name, links, target_len, beside) in
        [("few", 100, 4000, true), ("many", 4100, 10, false), ("long", 1200, 4000, false), ("all", 4090, 4095, false)]
    {
        bench.move_in(name, links, target_len);
        assert_eq!(bench.heard(&mut pusher).added, links as u64 + 1, "{name}");
        assert_eq!(bench.has_overlay(), beside, "{name}");
        fs::write(bench.at("after"), name).expect("a file");
        let next = bench.heard(&mut pusher);
        assert_eq!((next.added + next.changed, bench.has_overlay()), (1, true), "{name}");
    }
    drop(pusher);
    let mut pusher = Pusher::new(&request);
    bench.assert_nothing_missed(&mut pusher, "a new start");
    bench.end(pusher);
}

#[test]
fn what_lies_beside_the_index_in_small_steps_is_written_into_it_before_it_is_large() {
    let bench = Bench::new(filled(100));
    let request = bench.request();
    let mut pusher = bench.begin(&request);
    for step in 0..4 {
        bench.move_in(&format!("step{step}"), 800, 4000);
        bench.heard(&mut pusher);
        assert_eq!(bench.has_overlay(), step % 3 != 2, "step {step}");
    }
    bench.assert_nothing_missed(&mut pusher, "the last step");
}

#[test]
fn what_is_too_large_to_be_read_beside_the_index_is_made_again() {
    let bench = Bench::new(filled(100));
    let request = bench.request();
    let mut pusher = bench.begin(&request);
    fs::write(bench.at("new"), "content").expect("a file");
    bench.heard(&mut pusher);
    drop(pusher);
    fs::File::options().write(true).open(bench.overlay()).expect("an overlay").set_len(17 << 20).expect("made longer");
    let mut pusher = Pusher::new(&request);
    bench.assert_nothing_missed(&mut pusher, "what lay beside the index was lost");
    assert!(!bench.has_overlay());
}

/// Requests of a pass.
fn all(outcome: &Outcome) -> u64 {
    outcome.requests.get + outcome.requests.put + outcome.requests.list + outcome.requests.delete
}

/// Run parts that are stored: one of each push that changes all links, and one more of a base.
fn parts(s3: &S3) -> usize {
    s3.objects().iter().filter(|key| key.contains("/r0")).count()
}

/// A volume with small contents, and pushes with so much metadata that the fourth of them makes a base due.
fn much_metadata(s3: &S3) -> Bench {
    let machine = Machine::s3(s3);
    (0..20).for_each(|i| machine.write(&format!("small/{i}"), noise(i, 900)));
    Bench::new(machine)
}

impl Bench {
    fn change_metadata(&self, round: u64) {
        for link in 0..700 {
            let mut target = noise((round * 1000 + link) * 2, 4000);
            target.iter_mut().for_each(|byte| *byte |= 1);
            let _ = fs::remove_file(self.at(&link.to_string()));
            symlink(OsStr::from_bytes(&target), self.at(&link.to_string())).expect("a link");
        }
    }
}

#[test]
fn after_a_merge_the_index_is_not_made_again_from_the_remote() {
    let s3 = S3::start();
    let bench = much_metadata(&s3);
    let request = bench.request();
    let mut pusher = bench.begin(&request);
    for round in 0..4 {
        assert_eq!((parts(&s3), bench.has_overlay()), (round as usize, round > 0), "round {round}");
        bench.change_metadata(round);
        bench.heard(&mut pusher);
    }
    assert_eq!((parts(&s3), bench.has_overlay()), (5, false), "the log was merged into a base, and the index written");
    fs::write(bench.at("small/7"), noise(100, 900)).expect("a file");
    let outcome = bench.heard(&mut pusher);
    assert_eq!((all(&outcome), outcome.requests.put), (1, 1));
    bench.assert_nothing_missed(&mut pusher, "a merge");
    bench.end(pusher);
}

#[test]
fn a_merge_that_was_not_published_leaves_the_index_as_it_was() {
    let s3 = S3::start();
    let bench = much_metadata(&s3);
    let request = bench.request();
    let mut pusher = bench.begin(&request);
    for round in 0..3 {
        bench.change_metadata(round);
        bench.heard(&mut pusher);
    }
    bench.change_metadata(3);
    let mut commits = 0;
    s3.faults(move |seen| {
        commits += usize::from(seen.verb == Verb::Put && seen.key.contains("/log/"));
        if commits == 2 { Fault::Status(403, "AccessDenied") } else { Fault::None }
    });
    let everything = Pass { dirty: Dirty::everything(), last: Last::No, allow_deletes: None };
    let failed = bench.runtime.block_on(pusher.pass(&everything, &Stop::new()));
    assert!(failed.is_err());
    assert_eq!(parts(&s3), 5, "the base's part is stored, its commit is not");
    s3.heal();
    let copied: Vec<String> = s3.objects().into_iter().filter(|key| key.contains("/p0")).collect();
    assert_eq!(copied.len(), 1, "{copied:?}");
    // No commit refers to it: whoever claims the vault may clean it up.
    s3.remove(&copied[0]);
    bench.pass(&mut pusher, Dirty::default(), false);
    fs::rename(bench.at("small"), bench.at("moved")).expect("a rename");
    bench.heard(&mut pusher);
    bench.end(pusher);
}

#[test]
fn what_a_dry_run_found_is_not_taken_for_what_a_lost_commit_had() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3);
    machine.write("file", noise(1, 900));
    assert_eq!(machine.push(&[]).0, 0);
    machine.write("file", noise(2, 900));
    let mut stored = false;
    s3.faults(move |seen| match (stored, seen.verb == Verb::Put && seen.key.contains("/log/")) {
        (true, _) => Fault::Status(403, "AccessDenied"),
        (false, true) => {
            stored = true;
            Fault::ApplyThenDrop
        }
        (false, false) => Fault::None,
    });
    assert_ne!(machine.push(&[]).0, 0, "the answer was lost");
    s3.heal();
    // It lands only after a dry run has looked at a volume that has changed again.
    let commit = s3.objects().into_iter().filter(|key| key.contains("/log/")).min().expect("a commit");
    let bytes = s3.object(&commit).expect("stored");
    s3.remove(&commit);
    machine.write("file", noise(3, 900));
    let (code, text) = machine.push(&["--dry-run"]);
    assert_eq!(code, 0, "{text}");
    s3.replace(&commit, bytes);
    let (code, text) = machine.push(&[]);
    assert!(code == 0 && text.contains("was stored although its answer was lost"), "{text}");
    assert_eq!(machine.restore("restored", &[]).0, 0);
    assert_same(&machine, "restored");
}

#[test]
fn heard_paths_with_too_many_directories_above_them_are_a_pass_over_everything() {
    let bench = Bench::new(filled(10));
    let request = bench.request();
    let mut pusher = bench.begin(&request);
    for (paths, is_whole) in [(2, false), (100, true)] {
        fs::write(bench.at("unheard"), format!("{paths}")).expect("a file");
        let mut dirty = Dirty::default();
        for number in 0..paths {
            dirty.mark(RelPath::new(format!("{number}{}", "/d".repeat(1000))).expect("a path"), false);
        }
        let outcome = bench.pass(&mut pusher, dirty, false);
        assert_eq!(outcome.published, is_whole, "{paths} paths");
    }
}
