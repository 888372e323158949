//! One of several replicas leads.

use super::cluster::{Cluster, Fault};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;
use volume_syncing_controller::operator::lease::{Leader, Terms};
use volume_syncing_controller::runtime::{Stop, Tasks};

const KIND: &str = "coordination.k8s.io/leases";
/// Longer than anything takes that is not stuck.
const SOON: Duration = Duration::from_secs(20);

/// Short terms, so that a test need not wait. A Lease counts whole seconds.
const TERMS: Terms =
    Terms { duration: Duration::from_secs(2), deadline: Duration::from_millis(600), pause: Duration::from_millis(60) };

struct Candidates {
    cluster: Cluster,
    tasks: Tasks<()>,
}

impl Candidates {
    fn new() -> Candidates {
        Candidates { cluster: Cluster::start(), tasks: Tasks::new("candidates") }
    }

    fn add(&mut self, pod: &str) -> (watch::Receiver<bool>, Stop) {
        let leader = Leader::new(self.cluster.client(), "ns", "vsc", pod, TERMS);
        let (leads, stop) = (leader.watch(), Stop::new());
        let stopped = stop.clone();
        self.tasks.spawn(async move { leader.run(&stopped).await });
        (leads, stop)
    }

    fn holder(&self) -> String {
        let lease = self.cluster.get(KIND, "ns", "vsc").expect("a lease");
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().split('_').next().expect("a name").to_string()
    }
}

async fn until_it_is(leads: &mut watch::Receiver<bool>, expected: bool) {
    let waited = timeout(SOON, leads.wait_for(|leads| *leads == expected)).await;
    waited.expect("in time").expect("a candidate");
}

#[tokio::test]
async fn of_two_candidates_that_begin_together_one_leads() {
    let mut candidates = Candidates::new();
    let (mut one, _) = candidates.add("one");
    let (mut other, _) = candidates.add("other");
    tokio::select! {
        () = until_it_is(&mut one, true) => {}
        () = until_it_is(&mut other, true) => {}
    }
    // As long as it is renewed, nobody takes it; the Lease's own time passes.
    let end = Instant::now() + TERMS.duration + TERMS.deadline;
    while Instant::now() < end {
        assert!(!(*one.borrow() && *other.borrow()), "both lead");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(*one.borrow() || *other.borrow(), "nobody leads");
    let lease = candidates.cluster.get(KIND, "ns", "vsc").expect("a lease");
    assert_eq!(lease["spec"]["leaseTransitions"], json!(0), "{lease}");
}

#[tokio::test]
async fn a_lease_that_is_given_back_is_taken_without_a_wait() {
    let mut candidates = Candidates::new();
    let (mut one, end) = candidates.add("one");
    until_it_is(&mut one, true).await;
    let (mut other, _) = candidates.add("other");
    end.ask();
    until_it_is(&mut one, false).await;
    let began = Instant::now();
    until_it_is(&mut other, true).await;
    assert!(began.elapsed() < TERMS.duration, "it waited for the lease to run out: {:?}", began.elapsed());
    assert_eq!(candidates.holder(), "other");
}

#[tokio::test]
async fn a_lease_of_a_holder_that_vanished_is_taken_after_its_time() {
    let mut candidates = Candidates::new();
    // A clock that is hours ahead or behind says nothing about who is there.
    let spec = json!({"holderIdentity": "gone_1", "leaseDurationSeconds": 1, "leaseTransitions": 4, "renewTime": "2036-01-01T00:00:00.000000Z"});
    candidates.cluster.put(KIND, json!({"metadata": {"namespace": "ns", "name": "vsc"}, "spec": spec}));
    let began = Instant::now();
    let (mut one, _) = candidates.add("one");
    until_it_is(&mut one, true).await;
    assert!(began.elapsed() >= Duration::from_secs(1), "it was taken from a holder that may have been there");
    let lease = candidates.cluster.get(KIND, "ns", "vsc").expect("a lease");
    assert_eq!((candidates.holder().as_str(), &lease["spec"]["leaseTransitions"]), ("one", &json!(5)));
}

#[tokio::test]
async fn a_holder_that_cannot_renew_leads_no_more_before_another_may() {
    let mut candidates = Candidates::new();
    let (mut one, _) = candidates.add("one");
    until_it_is(&mut one, true).await;
    // The API server hears it and never answers.
    candidates.cluster.fail(Fault { method: "PUT", path: "/leases", times: 1000, status: 0 });
    let began = Instant::now();
    until_it_is(&mut one, false).await;
    assert!(began.elapsed() < TERMS.duration, "it led for {:?} without its lease", began.elapsed());
}

#[tokio::test]
async fn one_answer_that_is_lost_does_not_end_it() {
    let mut candidates = Candidates::new();
    let (mut one, _) = candidates.add("one");
    until_it_is(&mut one, true).await;
    candidates.cluster.fail(Fault { method: "GET", path: "/leases", times: 2, status: 500 });
    let before = candidates.cluster.asked("GET", "/leases").len();
    let end = Instant::now() + SOON;
    while candidates.cluster.asked("GET", "/leases").len() < before + 4 {
        assert!(*one.borrow() && Instant::now() < end, "it gave up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
