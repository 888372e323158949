//! What was received and is not in the status yet: the newest report of each Pod.

use crate::contract::progress::Report;
use crate::operator::pods::Seen;
use crate::runtime::{clock, limits};
use k8s_openapi::api::core::v1::ObjectReference;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A report, and who it is from.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// What was reported.
    pub report: Report,
    /// The Pod.
    pub pod: ObjectReference,
    /// The Secret with the Pod's key, where one was made for it.
    pub key: Option<String>,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Tells one report from another.
    serial: u64,
}

impl Received {
    /// As one report among no others.
    #[cfg(test)]
    pub(in crate::operator) fn new(report: Report, pod: ObjectReference, at_ms: u64) -> Received {
        Received { report, pod, key: None, at_ms, serial: 0 }
    }

    /// When the last complete pass ended; `None` when none is known of.
    pub fn complete_ms(&self) -> Option<u64> {
        self.report.since_complete_ms.map(|since| self.at_ms.saturating_sub(since))
    }

    /// The Pod's UID.
    pub fn uid(&self) -> &str {
        self.pod.uid.as_deref().unwrap_or_default()
    }
}

/// The newest report of each Pod.
#[derive(Debug)]
pub struct Inbox {
    news: Arc<Notify>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    serial: u64,
    waiting: HashMap<String, Received>,
    allowances: HashMap<String, Allowance>,
}

/// What a Pod may still send: one report for each interval, and some at once.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    /// When it would have all of them again.
    whole_at: Instant,
}

impl Inbox {
    /// Tells `news` of each report.
    pub fn new(news: Arc<Notify>) -> Inbox {
        Inbox { news, state: Mutex::default() }
    }

    /// Takes a report instead of the Pod's one before; or tells how long the Pod has to wait.
    pub(super) fn put(&self, pod: &Seen, report: Report, now: Instant) -> Result<(), Duration> {
        let mut state = self.state();
        let allowance = state.allowances.get(pod.uid()).copied().unwrap_or(Allowance { whole_at: now });
        let whole_at = allowance.whole_at.max(now) + limits::REPORT_INTERVAL;
        if let Some(wait) = whole_at.checked_duration_since(now + limits::REPORT_INTERVAL * limits::REPORT_BURST)
            && !wait.is_zero()
        {
            return Err(wait);
        }
        state.allowances.insert(pod.uid().to_owned(), Allowance { whole_at });
        state.serial += 1;
        let (key, at_ms) = (pod.key().map(str::to_owned), clock::wall_ms());
        let received = Received { report, pod: pod.reference(), key, at_ms, serial: state.serial };
        state.waiting.insert(pod.uid().to_owned(), received);
        drop(state);
        self.news.notify_one();
        Ok(())
    }

    /// All that waits, by namespace and PodFilesystemSync.
    pub(in crate::operator) fn waiting(&self) -> HashMap<(String, String), Vec<Received>> {
        let mut all: HashMap<(String, String), Vec<Received>> = HashMap::new();
        for received in self.state().waiting.values() {
            let namespace = received.pod.namespace.clone().unwrap_or_default();
            all.entry((namespace, received.report.sync.clone())).or_default().push(received.clone());
        }
        all
    }

    /// Forgets what is in the status now, where nothing newer has come.
    pub(in crate::operator) fn done(&self, received: &[Received]) {
        let mut state = self.state();
        for received in received {
            if state.waiting.get(received.uid()).is_some_and(|newest| newest.serial == received.serial) {
                state.waiting.remove(received.uid());
            }
        }
    }

    /// Forgets allowances that are whole again: there are no more than Pods that reported of late.
    pub(in crate::operator) fn tidy(&self, now: Instant) {
        self.state().allowances.retain(|_, allowance| allowance.whole_at > now);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
