//! What a sidecar costs while nothing happens, and while little does.

use crate::machine::{Machine, Running, until};
use crate::s3::{S3, Seen, Verb};
use std::time::{Duration, Instant};

/// How often a sidecar that has nothing to do looks at everything in that time, and what it asks of the store.
fn looks_while_idle(running: &Running, s3: &S3, time: Duration) -> (f64, Vec<Seen>) {
    let looks = || running.metric("vsc_syncs_total{direction=\"to_remote\",result=\"noop\"}");
    until("everything was looked at again", || looks() >= 1.0);
    s3.forget_requests();
    let (before, began) = (looks(), Instant::now());
    until("some time has passed", || began.elapsed() > time);
    (looks() - before, s3.requests())
}

#[test]
fn an_idle_sidecar_asks_nothing_of_the_remote() {
    let (s3, _machine, running) = super::begun(&["--fsnotify", "--reconcile=1s"]);
    let (looks, requests) = looks_while_idle(&running, &s3, Duration::from_secs(4));
    assert!(looks >= 2.0, "everything was looked at meanwhile");
    assert_eq!(requests.len(), 0, "{requests:?}");
}

#[test]
fn without_encryption_each_look_at_everything_is_a_listing() {
    let s3 = S3::start();
    let machine = super::machine(&s3).without_key();
    let running = machine.sidecar(&["--fsnotify", "--reconcile=1s"]);
    running.has_pushed(1);
    let (looks, requests) = looks_while_idle(&running, &s3, Duration::from_secs(3));
    let writes = requests.iter().filter(|seen| matches!(seen.verb, Verb::Put | Verb::Delete)).count();
    assert!(writes == 0 && looks >= 1.0 && requests.len() as f64 <= 4.0 * (looks + 1.0), "{looks} looks: {requests:?}");
}

#[test]
fn one_change_among_many_files_is_one_write() {
    let s3 = S3::start();
    let machine = Machine::s3(&s3).in_memory();
    (0..8000).for_each(|i| machine.write(&format!("d{:02}/f{i}", i % 40), i.to_string()));
    let running = machine.sidecar(&["--fsnotify", "--debounce=50ms"]);
    running.has_pushed(1);
    let mut took = Vec::new();
    for round in 0..3 {
        s3.forget_requests();
        machine.write("d07/f7", format!("changed {round}"));
        running.has_pushed(round + 2);
        let requests: Vec<Verb> = s3.requests().iter().map(|seen| seen.verb).collect();
        assert_eq!(requests, [Verb::Put]);
        let said = running.said();
        took.push(said.trim_end().rsplit("took=").next().expect("a time").to_string());
    }
    // A debug build alone has more than half of it.
    assert!(running.memory("VmRSS:") < 64 << 10, "{} KiB", running.memory("VmRSS:"));
    assert!(took.iter().all(|took| took.ends_with(" ms")), "a walk of everything takes longer: {took:?}");
}
