//! Pushes that are killed while the store does what it is asked and loses its answers.

use crate::machine::{Machine, assert_same, noise, picture, told};
use crate::s3::{Fault, S3, Verb};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
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

/// Waits until so many requests came, or the process ended; true when it was killed.
fn kill_at(child: &mut Child, requests: &Receiver<usize>, last: usize, grace: Duration) -> bool {
    loop {
        match requests.recv_timeout(Duration::from_millis(20)) {
            Ok(ordinal) if ordinal >= last => break,
            Ok(_) => {}
            Err(_) if child.try_wait().expect("a child").is_some() => return false,
            Err(_) => {}
        }
    }
    std::thread::sleep(grace);
    let _ = child.kill();
    child.wait().expect("it ended").code().is_none()
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
        let (sender, requests) = channel();
        s3.forget_requests();
        let mut puts = round;
        s3.faults(move |seen| {
            let _ = sender.send(seen.ordinal);
            puts += u32::from(seen.verb == Verb::Put);
            if seen.verb == Verb::Put && puts.is_multiple_of(2) { Fault::ApplyThenDrop } else { Fault::None }
        });
        let args = ["sync-to-remote", "-s", "volume", "-d", machine.path, "--takeover=force"];
        let mut child = machine.command(&args).stderr(Stdio::null()).spawn().expect("the program starts");
        // Any of the requests that a push has now, and a moment after it; now and then none.
        let last = if round.is_multiple_of(10) { usize::MAX } else { (round * 7) as usize % usual };
        if kill_at(&mut child, &requests, last, Duration::from_millis(u64::from(round % 4) * 3)) {
            kills += 1;
        } else if child.wait().expect("it ended").success() {
            known = states.len() - 1;
            usual = s3.requests().len();
        }
        s3.heal();
        if round.is_multiple_of(3) {
            let (code, text) = machine.restore("seen", &[]);
            assert_eq!(code, 0, "{text}");
            let seen = picture(&machine.at("seen"));
            let state = states.iter().position(|state| *state == seen);
            let state = state.unwrap_or_else(|| panic!("round {round}: the restored tree is no state that was there"));
            assert!(state >= known, "round {round}: state {state} was restored, but state {known} was stored before");
            landed += u32::from(state > known);
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
    assert!(landed >= 5, "only {landed} pushes were stored and not acknowledged");
}
