//! Scheduled passes.

use crate::machine::{Machine, until};
use crate::s3::{Fault, S3};
use std::time::Duration;

#[test]
fn a_schedule_pushes_at_once_and_then_at_each_tick() {
    let machine = Machine::local_in_memory();
    for schedule in ["@every 1s", "* * * * * *", "TZ=Europe/Warsaw */1 * * * * *"] {
        machine.write("changes", schedule);
        let mut running = machine.sidecar(&["--schedule", schedule]);
        running.has_pushed(1);
        for round in 0..2 {
            machine.write("changes", format!("{schedule} {round}"));
            running.has_pushed(round + 2);
        }
        assert_eq!(running.metric("vsc_polling"), 0.0, "nothing was to be heard");
        assert_eq!(running.terminate().0, 0, "{schedule}");
        machine.converges();
    }
}

#[test]
fn a_schedule_stands_beside_the_watch() {
    let machine = Machine::local_in_memory();
    machine.write("file", "1");
    let running = machine.sidecar(&["--schedule", "@every 1s", "--fsnotify=1h", "--reconcile=0"]);
    running.has_pushed(1);
    machine.write("file", "the watch alone would wait for an hour");
    running.has_pushed(2);
    drop(running);
    let running = machine.sidecar(&["--schedule", "@every 1h", "--jitter=1h", "--fsnotify"]);
    machine.write("file", "the schedule alone would wait for an hour");
    running.has_pushed(1);
    machine.converges();
}

#[test]
fn ticks_during_a_pass_become_one_pass_and_the_rest_is_said() {
    let (s3, machine, running) = super::begun(&["--schedule", "@every 1s"]);
    s3.faults(|seen| if super::stores(seen) { Fault::Stall(Duration::from_millis(2500)) } else { Fault::None });
    machine.write("file", "slow");
    running.says("a scheduled pass is left out: another waits already", 1);
    assert!(running.metric("vsc_missed_intervals_total") >= 1.0);
    s3.heal();
    running.has_pushed(2);
}

#[test]
fn a_pass_that_fails_is_tried_again_long_before_the_next_tick() {
    let s3 = S3::start();
    let machine = super::machine(&s3);
    s3.faults(|_| Fault::Status(403, "AccessDenied"));
    let running = machine.sidecar(&["--schedule", "@every 24h"]);
    running.says("a pass failed", 2);
    s3.heal();
    until("the store holds a commit", || super::commits(&s3) > 0);
}
