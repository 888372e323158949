//! The end: the last pass, its deadline, and what is left for the next process.

use crate::machine::{assert_same, noise, picture, told, until};
use crate::s3::{Fault, S3, Verb};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Packs come late, everything else at once.
fn slow_packs(s3: &S3, time: Duration) {
    s3.faults(move |seen| if seen.verb == Verb::Put && seen.key.contains("/obj/") { Fault::Stall(time) } else { Fault::None });
}

#[test]
fn the_last_word_of_the_application_arrives_and_the_next_writer_waits_for_nothing() {
    let s3 = S3::start();
    let machine = super::machine(&s3);
    for (round, more) in [&["--fsnotify", "--debounce=10s"][..], &["--schedule", "@every 1h"]].into_iter().enumerate() {
        let mut running = machine.sidecar(more);
        until("a pass has finished", || machine.health("ready").0);
        machine.write("last", format!("words of {round}"));
        let (code, said) = running.terminate();
        assert_eq!(code, 0, "{said}");
        let words = machine.last_words();
        assert_eq!((words["result"].as_str(), words["exitCode"].as_u64()), (Some("complete"), Some(0)), "{words}");
        assert_eq!((words["unsyncedFiles"].as_u64(), words["unsyncedBytes"].as_u64()), (Some(0), Some(0)), "{words}");
        assert_eq!(machine.restore("seen", &[]).0, 0);
        assert_same(&machine, "seen");
    }
    let next = machine.twin();
    let began = Instant::now();
    let (code, said) = told(&next.run(&["remote-to-local-sync", "-s", next.path, "-d", "volume", "--claim"]));
    assert!(code == 0 && began.elapsed() < Duration::from_secs(10), "{:?}: {said}", began.elapsed());
    assert!(!said.contains("waiting for its silence"), "{said}");
}

#[test]
fn an_idle_sidecar_ends_at_once_and_so_does_one_in_its_first_pass() {
    let (_s3, _machine, mut running) = super::begun(&["--fsnotify"]);
    let began = Instant::now();
    assert_eq!(running.terminate().0, 0);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());

    let fresh = S3::start();
    let other = super::machine(&fresh);
    fresh.faults(|_| Fault::Stall(Duration::from_millis(150)));
    let mut running = other.sidecar(&["--fsnotify"]);
    until("the first pass has begun", || !fresh.requests().is_empty());
    let (code, said) = running.terminate();
    assert_eq!(code, 0, "{said}");
    fresh.heal();
    assert_eq!(other.restore("seen", &[]).0, 0);
    assert_same(&other, "seen");
}

#[test]
fn what_does_not_fit_into_the_grace_leaves_the_state_before_and_is_counted() {
    let (s3, machine, mut running) = super::begun(&["--fsnotify", "--grace=4s"]);
    let before = picture(&machine.at("volume"));
    slow_packs(&s3, Duration::from_secs(60));
    machine.write("large", noise(1, 20 << 20));
    let began = Instant::now();
    let (code, said) = running.terminate();
    assert_eq!(code, 9, "{said}");
    assert!(began.elapsed() < Duration::from_secs(4), "the kubelet kills after that: {:?}", began.elapsed());
    let words = machine.last_words();
    assert_eq!((words["result"].as_str(), words["exitCode"].as_u64()), (Some("deadline"), Some(9)), "{words}");
    assert_eq!((words["unsyncedFiles"].as_u64(), words["unsyncedBytes"].as_u64()), (Some(1), Some(20 << 20)), "{words}");
    assert!(words["message"].as_str().expect("a text").contains("terminationGracePeriodSeconds"), "{words}");
    assert_eq!(words["commit"], 2, "the state before");
    let elapsed = words["elapsedMs"].as_u64().expect("a number");
    assert!((1800..4000).contains(&elapsed), "{words}");
    s3.heal();
    assert_eq!(machine.restore("seen", &[]).0, 0);
    assert_eq!(picture(&machine.at("seen")), before);
    let mut running = machine.sidecar(&["--fsnotify"]);
    running.has_pushed(1);
    assert_eq!(running.terminate().0, 0);
    assert_eq!(machine.restore("after", &[]).0, 0);
    assert_same(&machine, "after");
}

#[test]
fn a_second_signal_hastens() {
    let (s3, machine, mut running) = super::begun(&["--fsnotify", "--grace=60s"]);
    slow_packs(&s3, Duration::from_secs(60));
    machine.write("large", noise(1, 20 << 20));
    running.signal(Signal::TERM);
    running.says("ending: pushing for the last time", 1);
    let began = Instant::now();
    let (code, said) = running.terminate();
    assert!(code == 9 && began.elapsed() < Duration::from_secs(4), "{:?}: {said}", began.elapsed());
}

#[test]
fn the_grace_counts_from_the_announcement() {
    let (s3, machine, mut running) = super::begun(&["--fsnotify", "--grace=8s"]);
    slow_packs(&s3, Duration::from_secs(60));
    machine.write("large", noise(1, 20 << 20));
    let announced = Instant::now();
    let output = machine.run(&["interrupt", "-s", "volume"]);
    assert!(output.status.success(), "{:?}", told(&output));
    until("the application takes its time", || announced.elapsed() > Duration::from_secs(3));
    let (code, said) = running.terminate();
    let took = announced.elapsed();
    assert!(code == 9 && took > Duration::from_millis(5800) && took < Duration::from_secs(8), "{took:?}: {said}");
}

#[test]
fn a_hook_that_waits_returns_when_it_is_quiet_or_the_time_is_over() {
    let s3 = S3::start();
    let machine = super::machine(&s3);
    let mut running = machine.sidecar(&["--fsnotify", "--grace=6s"]);
    running.listens();
    machine.write("late", "heard before or after the hook");
    let output = machine.run(&["interrupt", "-s", "volume", "--wait"]);
    assert!(output.status.success(), "{:?}", told(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("quiet: all that was there is at the remote"), "{output:?}");
    assert_eq!(machine.restore("seen", &[]).0, 0);
    assert_same(&machine, "seen");
    running.kill();

    // A pass that hangs keeps the hook no longer than the grace period.
    let mut running = machine.sidecar(&["--fsnotify", "--grace=5s"]);
    until("it is ready", || machine.health("ready").0);
    s3.faults(|_| Fault::Stall(Duration::from_secs(60)));
    machine.write("stuck", "never arrives");
    let began = Instant::now();
    let output = machine.run(&["interrupt", "-s", "volume", "--wait"]);
    let took = began.elapsed();
    assert!(output.status.code() == Some(9) && took < Duration::from_secs(5), "{took:?}: {output:?}");
    let (code, said) = running.terminate();
    assert!(code == 9 && began.elapsed() < Duration::from_secs(7), "two seconds are always left: {said}");
}

#[test]
fn the_last_pass_tries_again_until_its_deadline() {
    let (s3, machine, mut running) = super::begun(&["--fsnotify", "--grace=20s"]);
    let began = Instant::now();
    s3.faults(move |_| if began.elapsed() < Duration::from_secs(2) { Fault::Status(403, "AccessDenied") } else { Fault::None });
    machine.write("last", "words");
    let (code, said) = running.terminate();
    assert!(code == 0 && said.contains("a pass failed"), "{said}");
    assert_eq!(machine.restore("seen", &[]).0, 0);
    assert_same(&machine, "seen");

    let mut running = machine.sidecar(&["--fsnotify", "--grace=4s"]);
    until("it is ready", || machine.health("ready").0);
    s3.faults(|_| Fault::Status(403, "AccessDenied"));
    machine.write("last", "words that do not arrive");
    let began = Instant::now();
    let (code, said) = running.terminate();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}: {said}", began.elapsed());
    let words = machine.last_words();
    assert!([4, 9].contains(&code) && words["unsyncedFiles"] == 1, "{code} {words}: {said}");
}

#[test]
fn a_killed_sidecar_starts_again_without_a_claim_and_sends_nothing_twice() {
    let s3 = S3::start();
    let machine = super::machine(&s3);
    machine.write("large", noise(1, 9 << 20));
    let mut running = machine.sidecar(&["--fsnotify"]);
    running.has_pushed(1);
    machine.write("small", "another commit");
    running.has_pushed(2);
    running.kill();
    let before = super::commits(&s3);
    s3.forget_requests();
    let mut running = machine.sidecar(&["--fsnotify"]);
    until("it is ready", || machine.health("ready").0);
    let puts = s3.requests().iter().filter(|seen| seen.verb == Verb::Put).count();
    assert_eq!((super::commits(&s3), puts), (before, 0), "{}", running.said());
    machine.write("small", "goes on");
    running.has_pushed(1);
    assert!(!running.said().contains("claimed"), "{}", running.said());
    assert_eq!(running.terminate().0, 0);
}
