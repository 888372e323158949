//! What stands beside the Pods of a cluster: decides which containers a Pod gets, answers the API server, and keeps the status
//! of each PodFilesystemSync. The door to Kubernetes.
//!
//! A Pod is judged and changed as JSON, and only ever added to. Keys are created and never read. Nothing here touches a volume
//! or a remote, and no answer about a Pod waits for a write.

pub mod caches;
pub mod certs;
pub mod crd;
pub mod events;
mod expansion;
pub mod inject;
pub mod lease;
pub mod nodes;
mod overlap;
pub mod pods;
pub mod progress;
pub mod readiness;
pub mod reconcile;
pub mod review;
mod secrets;
pub mod serve;
mod status;
pub mod template;
mod verdict;
pub mod web;
pub mod webhook;

use crate::runtime::{clock, limits};
use k8s_openapi::jiff::Timestamp;
use std::time::Duration;

/// Now, by the wall clock: a label for people.
fn stamp() -> Timestamp {
    stamp_of(clock::wall_ms())
}

/// A moment in milliseconds since 1970.
fn stamp_of(wall_ms: u64) -> Timestamp {
    i64::try_from(wall_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default()
}

/// What the API server said, for a log or a status.
fn in_words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("the API server answered {} {}: {}", status.code, status.reason, status.message),
        other => other.to_string(),
    }
}

/// What is said where the API server said nothing in time.
fn no_answer() -> kube::Error {
    kube::Error::Service(format!("no answer within {} s", limits::KUBE_TIMEOUT.as_secs()).into())
}

/// What is said of a state of affairs: once, for as long as it stays the same.
#[derive(Debug, Default)]
struct Complaint(String);

impl Complaint {
    /// What is to be said now; an empty text says that all is well.
    fn if_new(&mut self, problem: String) -> Option<&str> {
        let is_new = !problem.is_empty() && problem != self.0;
        self.0 = problem;
        is_new.then_some(&self.0)
    }
}

/// Works for at most so long. The work is dropped then.
async fn timely<T>(longest: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = clock::sleep(longest) => None,
    }
}
