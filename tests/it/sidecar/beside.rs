//! Other processes beside a sidecar: a push by hand, probes, and a sidecar that stands still.

use super::stores;
use crate::machine::{Machine, assert_same, told, until};
use crate::s3::{Fault, S3};
use rustix::process::Signal;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_push_by_hand_is_made_by_the_sidecar_also_twice_at_once() {
    let (s3, machine, _running) = super::begun(&["--schedule", "@every 1h"]);
    machine.write("by/hand", "1");
    let args = ["sync-to-remote", "-s", "volume", "-d", machine.path];
    s3.faults(|seen| if stores(seen) { Fault::Stall(Duration::from_millis(300)) } else { Fault::None });
    let start = || machine.command(&args).stderr(Stdio::piped()).spawn().expect("the program starts");
    for child in [start(), start()] {
        let (code, said) = told(&child.wait_with_output().expect("it ends"));
        assert!(code == 0 && said.contains("the sidecar of this directory made the push"), "{code}: {said}");
    }
    s3.heal();
    assert_eq!(machine.restore("seen", &[]).0, 0);
    assert_same(&machine, "seen");
    let (code, said) = told(&machine.run(&[&args[..], &["-f"]].concat()));
    assert!(code == 2 && said.contains("would have no effect"), "a flag that the sidecar was not given: {code}: {said}");
}

#[test]
fn deletions_that_a_sidecar_holds_are_released_beside_it() {
    let s3 = S3::start();
    for machine in [super::machine(&s3), Machine::local().without_key()] {
        machine.write("stays", "1");
        (0..80).for_each(|number| machine.write(&format!("many/{number}"), "1"));
        let running = machine.sidecar(&["--schedule", "@every 1h", "--no-delete=false"]);
        running.has_pushed(1);
        std::fs::remove_dir_all(machine.at("volume/many")).expect("removed");
        let args = ["sync-to-remote", "-s", "volume", "-d", machine.path];
        let (code, said) = told(&machine.run(&args));
        assert_eq!(code, 3, "{said}");
        let hash =
            said.split("--allow-deletes").nth(1).unwrap_or_else(|| panic!("no approval: {said}")).trim_start_matches([' ', '=']);
        let hash = &hash[..16];
        let (code, said) = told(&machine.run(&[&args[..], &["--allow-deletes=0123456789abcdef"]].concat()));
        assert_eq!(code, 3, "another plan's: {said}");
        let (code, said) = told(&machine.run(&[&args[..], &["--allow-deletes", hash]].concat()));
        assert_eq!(code, 0, "{said}: {}", running.said());
        assert_eq!(machine.restore("seen", &[]).0, 0);
        assert!(!machine.at("seen/many").exists(), "they are gone at the remote: {}", running.said());
    }
}

#[test]
fn whoever_asked_is_told_that_the_sidecar_died() {
    let (s3, machine, mut running) = super::begun(&["--schedule", "@every 1h"]);
    machine.write("by/hand", "1");
    let reached = Arc::new(AtomicBool::new(false));
    let reaching = Arc::clone(&reached);
    s3.faults(move |seen| {
        reaching.fetch_or(stores(seen), Ordering::SeqCst);
        if stores(seen) { Fault::Stall(Duration::from_secs(60)) } else { Fault::None }
    });
    let args = ["sync-to-remote", "-s", "volume", "-d", machine.path];
    let child = machine.command(&args).stderr(Stdio::piped()).spawn().expect("the program starts");
    until("the pass stores", || reached.load(Ordering::SeqCst));
    running.kill();
    let (code, said) = told(&child.wait_with_output().expect("it ends"));
    assert!(code != 0 && said.contains("control socket"), "{code}: {said}");
    s3.heal();
    let (code, said) = told(&machine.run(&args));
    assert_eq!(code, 0, "without a sidecar, the push makes itself: {said}");
    assert_eq!(machine.restore("seen", &[]).0, 0);
    assert_same(&machine, "seen");
}

#[test]
fn a_sidecar_that_stands_still_is_unwell() {
    let (_s3, machine, mut running) = super::begun(&["--fsnotify"]);
    assert!(machine.health("stall").0);
    running.signal(Signal::STOP);
    let began = Instant::now();
    let (well, said) = machine.health("stall");
    assert!(!well && began.elapsed() < Duration::from_secs(6), "{:?}: {said}", began.elapsed());
    running.signal(Signal::CONT);
    until("it goes on", || machine.health("stall").0);
    assert_eq!(running.terminate().0, 0);
    let (well, said) = machine.health("sync");
    assert!(!well && said.starts_with("no sidecar listens on"), "{said}");
}
