//! A remote that is away, closed or wrong, and one that somebody else has taken over.

use super::stores;
use crate::machine::{Running, assert_same, noise, told, until};
use crate::s3::{Fault, S3, Verb};
use std::time::{Duration, Instant};

#[test]
fn a_remote_that_was_away_is_caught_up_with_unattended() {
    let (s3, machine, mut running) = super::begun(&["--fsnotify"]);
    let began = Instant::now();
    s3.faults(move |seen| match (began.elapsed() < Duration::from_secs(3), seen.ordinal % 2) {
        (true, 0) => Fault::Status(503, "SlowDown"),
        (true, _) => Fault::DropBefore,
        (false, _) => Fault::None,
    });
    for i in 0..20 {
        machine.write(&format!("meanwhile/{i}"), noise(i, 3000));
    }
    running.has_pushed(2);
    assert!(machine.health("sync").0, "nothing failed for good");
    machine.converges();
    assert_eq!(running.terminate().0, 0);
}

#[test]
fn failed_passes_in_a_row_are_unwell_until_one_is_complete() {
    let (s3, machine, running) = super::begun(&["--fsnotify", "--health-failures=2"]);
    s3.faults(|_| Fault::Status(403, "AccessDenied"));
    machine.write("file", "not let in");
    running.says("a pass failed", 1);
    assert!(machine.health("sync").0, "one is none");
    running.says("a pass failed", 2);
    until("health is told", || !machine.health("sync").0);
    assert_eq!(machine.health("sync").1, "sync: failed passes in a row: 2, the newest one: denied\n");
    assert_eq!(running.page("/healthz").0, 503);
    assert_eq!(running.page("/readyz").0, 200, "what was restored stays usable");
    assert_eq!((running.metric("vsc_pending_files"), running.metric("vsc_pending_bytes")), (1.0, 10.0));
    s3.heal();
    running.has_pushed(2);
    until("health is told", || machine.health("sync").0);
    assert_eq!(running.page("/healthz").0, 200);
    assert_eq!(running.metric("vsc_pending_files"), 0.0);
}

#[test]
fn a_remote_that_is_away_for_long_counts_unless_that_shall_be_ignored() {
    let (s3, other) = (S3::start(), S3::start());
    let (strict, mild) = (super::machine(&s3), super::machine(&other));
    let counts = strict.sidecar(&["--fsnotify", "--health-failures=1"]);
    let ignores = mild.sidecar(&["--fsnotify", "--health-failures=1", "--health-ignore=unavailable"]);
    for running in [&counts, &ignores] {
        running.has_pushed(1);
    }
    for (s3, machine) in [(&s3, &strict), (&other, &mild)] {
        s3.faults(|_| Fault::DropBefore);
        machine.write("file", "waits");
    }
    for running in [&counts, &ignores] {
        running.says("a pass failed", 1);
    }
    until("health is told", || !strict.health("sync").0);
    assert!(strict.health("sync").1.contains("unavailable"), "{:?}", strict.health("sync"));
    assert!(mild.health("sync").0);
    s3.heal();
    counts.has_pushed(2);
    until("health is told", || strict.health("sync").0);
}

#[test]
fn a_sidecar_that_can_never_work_says_why_and_is_unwell() {
    let s3 = S3::start();
    let machine = super::machine(&s3);
    assert_eq!(machine.push(&[]).0, 0);
    let wrong_key = super::machine(&s3);
    let mut no_bucket = super::machine(&s3);
    no_bucket.path = "no-such-bucket/path";
    let mut no_right = super::machine(&s3);
    no_right.set("REMOTE_SECRET_ACCESS_KEY", "made-up-and-wrong");
    for (machine, text) in
        [(&wrong_key, "expected one of the slots"), (&no_bucket, "no-such-bucket"), (&no_right, "SignatureDoesNotMatch")]
    {
        let mut running = machine.sidecar(&["--fsnotify", "--health-failures=2", "--grace=2s"]);
        running.says("a pass failed", 2);
        assert!(running.said().contains(text), "{}", running.said());
        until("health is told", || !machine.health("sync").0);
        assert!(!machine.health("ready").0);
        let (code, said) = running.terminate();
        assert!([2, 4, 9].contains(&code), "{code}: {said}");
        assert_eq!(machine.last_words()["unsyncedFiles"], 1);
    }
    for (args, code) in
        [(&["--schedule", "now and then"][..], 2), (&["--fsnotify", "--dry-run"], 2), (&["--fsnotify", "--grace=soon"], 2)]
    {
        let mut running = Running::start(machine.command(&[&machine.sidecar_args()[..], args].concat()));
        assert_eq!(running.ends().0, code, "{args:?}: {}", running.said());
    }
}

#[test]
fn a_sidecar_whose_vault_was_taken_over_stops_for_good() {
    let s3 = S3::start();
    let machine = super::machine(&s3);
    let mut other = machine.twin();
    other.set("HOSTNAME", "the-new-pod");
    // It would take the vault back after the shortest silence.
    let start = || machine.sidecar(&["--fsnotify", "--takeover-silence=100ms", "--health-failures=2", "--grace=3s"]);
    let by_force = ["--fsnotify", "--takeover=force", "--health-failures=2", "--grace=3s"];
    let mut running = machine.sidecar(&by_force);
    running.has_pushed(1);
    let claim = ["remote-to-local-sync", "-s", machine.path, "-d", "volume", "--claim", "--takeover=force"];
    let (code, said) = told(&other.run(&claim));
    assert_eq!(code, 0, "{said}");
    machine.write("file", "of the old one");
    running.says("a pass failed", 2);
    assert!(running.said().contains("the-new-pod took over"), "{}", running.said());
    until("health is told", || !machine.health("sync").0);
    assert!(machine.health("sync").1.contains("fenced"), "{:?}", machine.health("sync"));
    assert_eq!(running.terminate().0, 6);

    // Its container is started again, while the new one has nothing to write.
    let mut running = start();
    running.says("a pass failed", 2);
    let seen = s3.requests().len();
    assert!(s3.requests()[seen - 1..].iter().all(|seen| seen.verb != Verb::Put));
    assert_eq!(running.terminate().0, 6);
    other.write("file", "of the new one");
    assert_eq!(other.push(&["--takeover=wait"]).0, 0, "the claim still holds");
    assert_eq!(machine.restore("seen", &[]).0, 0);
    assert_eq!(std::fs::read_to_string(machine.at("seen/file")).expect("a file"), "of the new one");
}

#[test]
fn a_sidecar_that_was_overtaken_overwrites_nothing_of_the_winner() {
    let s3 = S3::start();
    let machine = super::machine(&s3);
    let mut winner = machine.twin();
    winner.set("HOSTNAME", "the-winner");
    let mut running = machine.sidecar(&["--fsnotify", "--health-failures=2", "--grace=3s"]);
    running.has_pushed(1);
    let (code, said) = winner.restore("volume", &[]);
    assert_eq!(code, 0, "{said}");
    winner.write("file", "of the winner");
    assert_eq!(winner.push(&[]).0, 0);
    let before = s3.objects();
    machine.write("file", "of the loser");
    running.says("a pass failed", 3);
    assert!(running.said().contains("the-winner"), "{}", running.said());
    until("health is told", || !machine.health("sync").0);
    assert!([3, 6].contains(&running.terminate().0), "{}", running.said());
    let added: Vec<String> = s3.objects().into_iter().filter(|key| !before.contains(key)).collect();
    assert!(added.iter().all(|key| key.contains("/fork/")), "only what it had is kept aside: {added:?}");
    assert!(s3.requests().iter().filter(|seen| stores(seen)).count() > 0);
    assert_eq!(winner.restore("seen", &[]).0, 0);
    assert_same(&winner, "seen");
}

#[test]
fn that_only_one_key_opens_a_new_vault_is_said_also_when_the_first_pass_fails() {
    let s3 = S3::start();
    let machine = super::machine(&s3);
    let mut refused = false;
    s3.faults(move |seen| {
        let refuse = !refused && seen.verb == Verb::Put && seen.key.contains("/log/");
        refused |= refuse;
        if refuse { Fault::Status(403, "AccessDenied") } else { Fault::None }
    });
    let mut running = machine.sidecar(&["--fsnotify"]);
    running.says("a pass failed", 1);
    running.has_pushed(1);
    let (code, text) = running.terminate();
    assert!(code == 0 && text.matches("only one key opens this vault").count() == 1, "{text}");
}
