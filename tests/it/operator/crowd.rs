//! What many reviews, connections and resources cost. The figures are printed; those of a release come with `IT_PROGRAM`.

use super::cluster::Cluster;
use super::serve::{Controller, SYNCS, review, sync};
use std::time::{Duration, Instant};

/// At once.
const REVIEWS: usize = 200;
const RESOURCES: usize = 5000;
const MIB: u64 = 1 << 10;

/// Sends the reviews at once, each on a connection of its own, and prints what they cost.
fn crowd(controller: &Controller) {
    let (caller, body) = (controller.caller(), review("press").to_string());
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let ask = || {
            let begin = Instant::now();
            let (status, answer) = caller.posts("/mutate-pods", body.as_bytes());
            assert!(status == 200 && answer.contains("\"allowed\":true"), "{answer}");
            begin.elapsed()
        };
        let callers: Vec<_> = (0..REVIEWS).map(|_| scope.spawn(ask)).collect();
        callers.into_iter().map(|caller| caller.join().expect("an answer")).collect()
    });
    times.sort_unstable();
    let (median, most) = (times[REVIEWS / 2], times[REVIEWS * 99 / 100]);
    println!("of {REVIEWS} callers at once, handshakes included: median {median:?}, p99 {most:?}");
    let within = |seconds: &str| {
        controller.running.metric(&format!("vsc_admission_duration_seconds_bucket{{le=\"{seconds}\"}}")) / REVIEWS as f64
    };
    let shares = ["0.001", "0.0025", "0.005", "0.01", "0.025", "0.1", "0.5"].map(|most| format!("{most} s: {:.4}", within(most)));
    println!("within our own time of {}", shares.join(", "));
    println!("resident: {} KiB, at most {} KiB", controller.running.memory("VmRSS:"), controller.running.memory("VmHWM:"));
    // The API server waits for 5 s.
    assert_eq!(within("5.0"), 1.0, "{shares:?}");
}

#[test]
fn a_crowd_of_reviews_costs_little_time_and_memory() {
    let controller = Controller::start(&[]);
    crowd(&controller);
    let most = controller.running.memory("VmHWM:");
    assert!(most <= 96 * MIB, "{most} KiB");
}

#[test]
fn thousands_of_resources_are_kept_in_little_memory_and_looked_through_soon() {
    let cluster = Cluster::start();
    for number in 0..RESOURCES {
        let mut one = sync(&format!("sync-{number}"), &format!("app-{number}"));
        one["metadata"]["namespace"] = format!("space-{}", number % (RESOURCES / 10)).into();
        one["spec"]["env"] = serde_json::json!({"REMOTE_TYPE": "s3", "REMOTE_ENDPOINT": "https://s3.example.org"});
        cluster.put(SYNCS, one);
    }
    let controller = Controller::start_in(cluster, &[]);
    crowd(&controller);
    let most = controller.running.memory("VmHWM:");
    assert!(most <= 96 * MIB, "{most} KiB");
}
