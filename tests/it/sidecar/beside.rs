//! Other processes beside a sidecar: a push by hand, probes, and a sidecar that stands still.

use super::stores;
use crate::machine::{assert_same, told, until};
use crate::s3::{Fault, S3};
use rustix::process::Signal;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_push_by_hand_is_made_by_the_sidecar_also_twice_at_once() {
    let s3 = S3::start();
    let machine = super::machine(&s3);
    let running = machine.sidecar(&["--schedule", "@every 1h"]);
    running.has_pushed(1);
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
    for flag in ["-f", "--allow-deletes=0123456789abcdef"] {
        let (code, said) = told(&machine.run(&[&args[..], &[flag]].concat()));
        assert!(code == 2 && said.contains("would have no effect"), "a flag that the sidecar was not given: {code}: {said}");
    }
}

#[test]
fn whoever_asked_is_told_that_the_sidecar_died() {
    let s3 = S3::start();
    let machine = super::machine(&s3);
    let mut running = machine.sidecar(&["--schedule", "@every 1h"]);
    running.has_pushed(1);
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
    let s3 = S3::start();
    let machine = super::machine(&s3);
    let mut running = machine.sidecar(&["--fsnotify"]);
    running.has_pushed(1);
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
