//! Pushes that are killed while the store does what it is asked and loses its answers.

use crate::machine::{Machine, assert_same, noise, picture, told};
use crate::s3::{Fault, S3, Verb};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const KILLS: u32 = 120;

fn change(machine: &Machine, round: u32) {
    for i in 0..6 {
        machine.write(&format!("dir{}/file{i}", round % 3), noise(u64::from(round * 100 + i), 3000));
    }
    // In every fifth round more than fits into a commit: then a pack comes before it.
    let large = if round.is_multiple_of(5) { 4_400_000 } else { 40_000 };
    machine.write("large", noise(u64::from(round), large));
    machine.write("round", round.to_string());
}

/// Kills as soon as it is time, unless the process ends before; true when it was killed.
fn kill_when(child: &mut Child, now: impl Fn() -> bool) -> bool {
    while !now() {
        if child.try_wait().expect("a child").is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    let _ = child.kill();
    child.wait().expect("it ended").code().is_none()
}

fn commits(s3: &S3) -> usize {
    s3.objects().iter().filter(|key| key.contains("/log/")).count()
}

#[test]
fn a_push_killed_while_answers_are_lost_leaves_a_complete_state_and_takes_no_acknowledged_one_back() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3);
    let mut states = Vec::new();
    change(&machine, 0);
    assert_eq!(machine.push(&[]).0, 0);
    states.push(picture(&machine.at("volume")));
    // The newest state of which we know that it was stored.
    let (mut kills, mut round, mut known, mut landed, mut usual) = (0, 0u32, 0usize, 0, 12);
    while kills < KILLS {
        round += 1;
        assert!(round < 4 * KILLS, "only {kills} of {round} pushes were killed");
        change(&machine, round);
        states.push(picture(&machine.at("volume")));
        let begun = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&begun);
        s3.forget_requests();
        let before = commits(&s3);
        let mut puts = round;
        s3.faults(move |seen| {
            count.store(seen.ordinal + 1, Ordering::SeqCst);
            puts += u32::from(seen.verb == Verb::Put);
            if seen.verb == Verb::Put && puts.is_multiple_of(2) { Fault::ApplyThenDrop } else { Fault::None }
        });
        let args = ["sync-to-remote", "-s", "volume", "-d", machine.path, "--takeover=force"];
        let mut child = machine.command(&args).stderr(Stdio::null()).spawn().expect("the program starts");
        // Before or after any of the requests that a push has now is carried out, and after it is published.
        let last = if round.is_multiple_of(10) { usize::MAX } else { (round * 7) as usize % usual };
        let now = || match round % 3 {
            0 => begun.load(Ordering::SeqCst) > last,
            1 => s3.requests().len() > last,
            // A commit is stored; where a claim was needed, that is the first.
            _ => commits(&s3) > before + (round % 2) as usize,
        };
        if kill_when(&mut child, now) {
            kills += 1;
            landed += u32::from(commits(&s3) > before);
        } else if child.wait().expect("it ended").success() {
            known = states.len() - 1;
            usual = s3.requests().len();
        }
        s3.heal();
        if round.is_multiple_of(4) {
            let (code, text) = machine.restore("seen", &[]);
            assert_eq!(code, 0, "{text}");
            let seen = picture(&machine.at("seen"));
            let state = states.iter().position(|state| *state == seen);
            let state = state.unwrap_or_else(|| panic!("round {round}: the restored tree is no state that was there"));
            assert!(state >= known, "round {round}: state {state} was restored, but state {known} was stored before");
            known = state;
            std::fs::remove_dir_all(machine.at("seen")).expect("removed");
        }
    }
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 0, "no manual step is needed: {text}");
    assert_eq!(machine.restore("final", &[]).0, 0);
    assert_same(&machine, "final");
    let (code, text) = told(&machine.run(&["check", "-s", machine.path, "--level", "data"]));
    assert_eq!(code, 0, "{text}");
    assert!(landed >= 15, "only {landed} of {kills} pushes were killed after a commit was stored");
}
