//! From one Pod to the next: the restore of an init container with `--claim`, beside a Pod that still ends.

use crate::machine::{Machine, noise, picture, told, until};
use crate::s3::{Fault, S3, Verb};
use rustix::process::Signal;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Restores as an init container does, with little patience.
fn start(machine: &Machine, target: &str) -> (i32, String) {
    machine.restore(target, &["--claim", "--takeover-timeout=1s"])
}

/// The last push of a Pod whose volume is this folder.
fn end(machine: &Machine, volume: &str) {
    let (code, text) = told(&machine.run(&["sync-to-remote", "-s", volume, "-d", machine.path]));
    assert_eq!(code, 0, "{text}");
}

fn stored(machine: &Machine) -> usize {
    machine.at("remote").read_dir().map_or(0, Iterator::count)
}

fn write(path: &Path) {
    std::fs::write(path, "a last word").expect("a file");
}

/// One for each layout.
fn both() -> [Machine; 2] {
    [Machine::local(), Machine::local().without_key()]
}

#[test]
fn a_pod_that_has_pushed_nothing_yet_is_waited_for() {
    both().iter().for_each(waited_for);
}

fn waited_for(machine: &Machine) {
    let (code, text) = start(machine, "first");
    assert!(code == 0 && text.contains("the remote is empty: nothing to restore"), "{text}");
    let (code, text) = start(machine, "second");
    assert!(code == 3 && text.contains("test-host"), "the first Pod is still there: {text}");
    assert!(!machine.at("second/note").exists(), "nothing is restored beside it");
    write(&machine.at("first/note"));
    end(machine, "first");
    let (code, text) = start(machine, "second");
    assert_eq!(code, 0, "{text}");
    assert_eq!(picture(&machine.at("second")), picture(&machine.at("first")));
}

#[test]
fn a_volume_that_holds_something_is_claimed_for_an_empty_remote_and_pushed() {
    both().iter().for_each(claimed_and_pushed);
}

fn claimed_and_pushed(machine: &Machine) {
    machine.write("note", "here before this program was");
    for round in ["first", "again"] {
        let (code, text) = start(machine, "volume");
        assert_eq!(code, 0, "{round}: {text}");
    }
    end(machine, "volume");
    assert_eq!(start(machine, "next").0, 0);
    assert_eq!(picture(&machine.at("next")), picture(&machine.at("volume")));
}

#[test]
fn what_a_remote_held_before_it_was_emptied_is_not_taken_for_what_it_holds() {
    both().iter().for_each(pushed_again);
}

fn pushed_again(machine: &Machine) {
    assert_eq!(start(machine, "volume").0, 0);
    machine.write("file", "content");
    machine.write_odd_entries("file", "file");
    end(machine, "volume");
    std::fs::remove_dir_all(machine.at("remote/demo")).expect("the remote is emptied");
    let (code, text) = start(machine, "volume");
    assert_eq!(code, 0, "{text}");
    end(machine, "volume");
    assert_eq!(start(machine, "next").0, 0);
    assert_eq!(picture(&machine.at("next")), picture(&machine.at("volume")));
}

#[test]
fn an_empty_remote_is_written_to_for_a_claim_and_for_nothing_else() {
    both().iter().for_each(written_to_for_a_claim);
}

fn written_to_for_a_claim(machine: &Machine) {
    let part = machine.restore("part", &["--claim", "--include=some/**"]);
    for (code, text) in [machine.restore("reader", &[]), machine.restore("dry", &["--claim", "--dry-run"]), part] {
        assert_eq!((code, stored(machine)), (0, 0), "{text}");
    }
    let (code, text) = machine.restore("strict", &["--claim", "--allow-empty=false"]);
    assert_eq!((code, stored(machine)), (3, 0), "{text}");
    assert_eq!(start(machine, "first").0, 0);
    assert!(stored(machine) > 0);
}

#[test]
fn a_sidecar_that_ends_hands_over_and_one_that_is_killed_is_waited_for() {
    for machine in both() {
        assert_eq!(start(&machine, "volume").0, 0);
        machine.write("note", "of the first");
        let mut running = machine.sidecar(&["--schedule=@every 1h"]);
        running.has_pushed(1);
        let (code, text) = start(&machine, "second");
        assert!(code == 3 && text.contains("test-host"), "the sidecar is still there: {text}");
        let (code, text) = running.terminate();
        assert_eq!(code, 0, "{text}");
        let begin = Instant::now();
        let (code, text) = start(&machine, "second");
        assert!(code == 0 && begin.elapsed() < Duration::from_secs(1), "it said that it ended: {text}");
        assert_eq!(picture(&machine.at("second")), picture(&machine.at("volume")));
        let (code, text) = start(&machine, "second");
        assert!(code == 0 && text.contains("already"), "its own claim is no other writer's: {text}");
        let (code, text) = start(&machine, "third");
        assert_eq!(code, 3, "the second one has neither pushed nor ended: {text}");
        let (code, text) = machine.restore("third", &["--claim", "--takeover-silence=1s", "--takeover-timeout=20s"]);
        assert!(code == 0 && text.contains("waiting for its silence"), "{text}");
        end(&machine, "third");
        assert_eq!(start(&machine, "fourth").0, 0, "also a push that changes nothing says that it ended");
    }
}

#[test]
fn who_still_writes_while_the_end_is_pushed_is_waited_for() {
    for has_key in [true, false] {
        let s3 = S3::start();
        let machine = Machine::s3(&s3);
        waited_for_in_the_end(if has_key { machine } else { machine.without_key() }, &s3);
    }
}

fn waited_for_in_the_end(machine: Machine, s3: &S3) {
    assert_eq!(start(&machine, "volume").0, 0);
    let mut running = machine.sidecar(&["--fsnotify", "--debounce=1h"]);
    until("a pass has finished", || machine.health("ready").0);
    let (began, begun) = std::sync::mpsc::channel();
    s3.faults(move |seen| {
        let holds_files = ["/obj/", "/first", "/last"].iter().any(|name| seen.key.contains(name));
        if seen.verb != Verb::Put || !holds_files {
            return Fault::None;
        }
        began.send(()).expect("somebody waits for it");
        Fault::Stall(Duration::from_secs(3))
    });
    machine.write("first", noise(1, 5 << 20));
    running.signal(Signal::TERM);
    let sends = |file| {
        let sent = begun.recv_timeout(Duration::from_secs(20));
        assert!(sent.is_ok(), "it does not send '{file}': {}", running.said());
    };
    sends("first");
    machine.write("last", noise(2, 5 << 20));
    sends("last");
    let (code, text) = start(&machine, "second");
    assert!(code == 3 && text.contains("test-host"), "its last word is on its way: {text}");
    let (code, text) = running.ends();
    assert_eq!(code, 0, "{text}");
    s3.heal();
    let (code, text) = start(&machine, "second");
    assert!(code == 0 && !text.contains("waiting for its silence"), "it said that it ended: {text}");
    assert_eq!(picture(&machine.at("second")), picture(&machine.at("volume")));
}

#[test]
fn the_last_words_count_the_time_since_the_signal_also_when_a_pass_was_under_way() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3);
    machine.write("large", noise(1, 24 << 20));
    let words = machine.at("last words");
    std::fs::write(&words, "").expect("a file");
    let log = format!("--termination-log={}", words.display());
    let more = ["--schedule=@every 1h", "--grace=4s", "--bwlimit=1M", "--pid-path=sidecar.pid", &log];
    let args = [&["sync-to-remote", "-s", "volume", "-d", machine.path], more.as_slice()].concat();
    let mut child = machine.command(&args).stderr(Stdio::null()).spawn().expect("the program starts");
    let begin = Instant::now();
    while !s3.requests().iter().any(|seen| seen.verb == Verb::Put && seen.key.contains("/obj/")) {
        assert!(begin.elapsed() < Duration::from_secs(20), "no pass has begun: {:?}", child.try_wait());
        std::thread::sleep(Duration::from_millis(10));
    }
    let signalled = Instant::now();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    let status = child.wait().expect("it ends");
    let took = signalled.elapsed();
    let text = std::fs::read_to_string(&words).expect("last words");
    let said: serde_json::Value = serde_json::from_str(&text).expect("one line of JSON");
    assert_eq!((status.code(), said["result"].as_str()), (Some(9), Some("deadline")), "{text}");
    assert_eq!(said["unsyncedBytes"].as_u64(), Some(24 << 20), "{text}");
    let elapsed = Duration::from_millis(said["elapsedMs"].as_u64().expect("a number"));
    // Half of the grace period is kept for the last words.
    assert!(elapsed >= Duration::from_secs(1) && elapsed <= took, "{text}, and it ended after {took:?}");
}
