//! A listing that fails at one of its pages: nothing is deleted, and nothing passes for empty.

use crate::machine::{Machine, noise, picture, told};
use crate::s3::{Fault, S3, Verb};

/// The ways in which a page fails for good, and the exit code that says so.
const FAILURES: [(Fault, i32); 6] = [
    (Fault::Status(400, "ExpiredToken"), 4),
    (Fault::Status(403, "AccessDenied"), 4),
    (Fault::TruncateBody(150), 5),
    (Fault::WrongLength(150), 5),
    (Fault::Page(200, "<html>please log in</html>"), 5),
    (Fault::Page(200, "<ListBucketResult><IsTruncated>false</IsTruncated><Contents>"), 5),
];

/// A store and a machine of its own for each failure, so that all may wait at once.
struct Stage {
    s3: S3,
    machine: Machine,
}

/// The program's run without a fault ends with this code and asks for at least so many pages; with a page that fails
/// in any way, and all after it, it ends with that failure's code, and `after` finds nothing done.
fn at_each_page(set: impl Fn() -> Stage + Sync, args: &[&str], (code, least): (i32, usize), after: impl Fn(&Stage, &str) + Sync) {
    let run = |stage: &Stage| {
        let args = args.iter().map(|arg| if *arg == "PATH" { stage.machine.path } else { arg });
        told(&stage.machine.run(&args.collect::<Vec<_>>()))
    };
    let stage = set();
    let (ended, text) = run(&stage);
    assert_eq!(ended, code, "{args:?}: {text}");
    let pages = stage.s3.requests().iter().filter(|seen| seen.verb == Verb::List).count();
    assert!(pages >= least, "{args:?}: {pages} pages");
    let (set, run, after) = (&set, &run, &after);
    std::thread::scope(|scope| {
        for (fault, code) in FAILURES {
            for page in 1..=pages {
                scope.spawn(move || {
                    let stage = set();
                    let mut listed = 0;
                    stage.s3.faults(move |seen| {
                        listed += usize::from(seen.verb == Verb::List);
                        if seen.verb == Verb::List && listed >= page { fault } else { Fault::None }
                    });
                    let (ended, text) = run(&stage);
                    let what = format!("{args:?}, {fault:?} from page {page} on");
                    assert_eq!(ended, code, "{what}: {text}");
                    let written = stage.s3.requests().iter().any(|seen| matches!(seen.verb, Verb::Put | Verb::Delete));
                    assert!(!written, "{what}: something was changed at the remote");
                    after(&stage, &what);
                });
            }
        }
    });
}

fn no_target(stage: &Stage, what: &str) {
    assert!(!stage.machine.at("target").exists(), "{what}: an unknown remote touches nothing");
}

/// What an interrupted creation leaves: it counts as empty, and that takes a page for each name.
fn left_behind() -> Stage {
    let s3 = S3::start();
    s3.page_size(1);
    let machine = Machine::s3(&s3);
    for name in ["keys/rffffffffffffffff.json", "probe/1", "probe/2"] {
        s3.replace(&format!("some/path/{name}"), "{}");
    }
    machine.write("file", "content");
    s3.forget_requests();
    Stage { s3, machine }
}

/// The same, and on the last page somebody else's object.
fn foreign() -> Stage {
    let stage = left_behind();
    stage.s3.replace("some/path/zebra.jpg", "a picture");
    stage
}

/// A vault of several commits, and a volume that has its state.
fn pushed() -> Stage {
    let s3 = S3::start();
    let machine = Machine::s3(&s3);
    for round in 0..3 {
        machine.write(&format!("file{round}"), noise(round, 3000));
        assert_eq!(machine.push(&[]).0, 0);
    }
    s3.page_size(2);
    assert_eq!(machine.restore("target", &[]).0, 0);
    machine.write("file1", "newer");
    assert_eq!(machine.push(&[]).0, 0);
    s3.forget_requests();
    Stage { s3, machine }
}

fn target_as_it_was(stage: &Stage, what: &str) {
    let target = picture(&stage.machine.at("target"));
    assert_eq!(target.len(), 3, "{what}");
    assert_eq!(std::fs::read(stage.machine.at("target/file1")).expect("a file"), noise(1, 3000), "{what}");
    stage.s3.heal();
    assert_eq!(stage.machine.restore("target", &[]).0, 0, "{what}");
    assert_eq!(picture(&stage.machine.at("target")), picture(&stage.machine.at("volume")), "{what}");
}

/// The same vault elsewhere, for those who only read it.
fn copied(from: &Stage) -> Stage {
    let s3 = from.s3.copy();
    s3.page_size(2);
    Stage { machine: from.machine.beside(&s3), s3 }
}

#[test]
fn a_listing_that_fails_at_any_page_deletes_nothing_and_makes_nothing_empty() {
    const RESTORE: &[&str] = &["remote-to-local-sync", "-s", "PATH", "-d", "target"];
    const PUSH: &[&str] = &["sync-to-remote", "-s", "volume", "-d", "PATH"];
    let nothing = |_: &Stage, _: &str| {};
    let vault = pushed();
    std::thread::scope(|scope| {
        scope.spawn(|| at_each_page(left_behind, RESTORE, (0, 3), no_target));
        scope.spawn(|| at_each_page(foreign, RESTORE, (3, 4), no_target));
        scope.spawn(|| at_each_page(foreign, PUSH, (3, 4), nothing));
        scope.spawn(|| at_each_page(pushed, RESTORE, (0, 1), target_as_it_was));
        scope.spawn(|| at_each_page(|| copied(&vault), &["snapshots", "-s", "PATH"], (0, 3), nothing));
        scope.spawn(|| at_each_page(|| copied(&vault), &["check", "-s", "PATH"], (0, 3), nothing));
    });
}
