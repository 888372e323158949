//! What each pass came to, told to health, metrics, log and whoever asked for it.

use super::Around;
use crate::admin::{Ended, Health};
use crate::contract::control::{self, PassResult, Reply};
use crate::contract::progress::{self, MESSAGE_BYTES, Step, Trouble, VERSION, one_line};
use crate::cycle::PassEnd;
use crate::fault::{Fault, Kind, Report};
use crate::plan::HoldReason;
use crate::push::{Ending, Held, Outcome, Push, PushError, Pusher, pending};
use crate::runtime::Stop;
use crate::store::Heartbeat;
use crate::store::Requests;
use crate::telemetry::{Direction, Metrics, Operation};
use crate::tree::Dirty;
use std::time::Duration;

/// How a pass ended, for the time of the next one.
pub(super) fn end_of(result: &Result<Outcome, PushError>) -> PassEnd {
    match result.as_ref().map(Outcome::ending) {
        Ok(Ending::Complete) => PassEnd::Complete,
        Ok(Ending::Partial(_)) => PassEnd::Partial,
        Err(_) => PassEnd::Failed,
    }
}

/// Tells what passes come to.
#[derive(Debug)]
pub(super) struct Reports {
    health: Health,
    metrics: Metrics,
    heartbeat: Option<Heartbeat>,
    place: String,
    /// When the last complete pass began, by the wall clock; 0 before the first one.
    complete_ms: u64,
    /// The newest commit.
    commit: u64,
    requests: Requests,
    failed: u64,
}

impl Reports {
    pub fn new(around: &Around, place: String) -> Reports {
        Reports {
            health: around.health.clone(),
            metrics: around.metrics.clone(),
            heartbeat: around.heartbeat.clone(),
            place,
            complete_ms: 0,
            commit: 0,
            requests: Requests::default(),
            failed: 0,
        }
    }

    /// When the last complete pass began: what changed later may not be at the remote.
    pub fn complete_ms(&self) -> u64 {
        self.complete_ms
    }

    /// The newest commit; 0 before the first pass that ended well.
    pub fn commit(&self) -> u64 {
        self.commit
    }

    /// Tells of a pass that began at `began_ms`. The answer is for those who asked for it.
    pub fn pass(&mut self, request: &Push<'_>, result: &Result<Outcome, PushError>, began_ms: u64) -> Reply {
        self.count_requests(&request.bucket.requests());
        match result {
            Ok(outcome) => self.ended(outcome, began_ms),
            Err(error) => self.failed(error),
        }
    }

    /// What the controller is told of a pass.
    pub fn report(
        &self,
        (sync, directory): (String, String),
        result: &Result<Outcome, PushError>,
        pusher: &Pusher<'_>,
    ) -> progress::Report {
        let (word, trouble, message) = match result {
            Ok(outcome) => match (outcome.ending(), outcome.held) {
                (Ending::Complete, _) if outcome.published => (PassResult::Complete, None, None),
                (Ending::Complete, _) => (PassResult::Noop, None, None),
                (Ending::Partial(_), Some(Held { reason: HoldReason::Fuse, count, .. })) => {
                    (PassResult::Partial, Some(Trouble::DeletesHeld), Some(format!("{count} deletes wait for an approval")))
                }
                (Ending::Partial(_), _) => (PassResult::Partial, None, Some("something was left out: see the log".to_owned())),
            },
            Err(error) => {
                let trouble = match error.kind() {
                    _ if error.is_wrong_key() => Trouble::KeyMismatch,
                    Kind::Fenced => Trouble::LeaseHeld,
                    _ => Trouble::Failing,
                };
                (PassResult::Failed, Some(trouble), Some(Report::of(error).to_string()))
            }
        };
        let (status, gauges) = (self.health.status(), self.metrics.gauges());
        progress::Report {
            version: VERSION,
            sync,
            directory,
            step: Step::Push,
            result: word,
            trouble,
            message: message.map(|text| one_line(&text, MESSAGE_BYTES)),
            generation: self.commit,
            epoch: pusher.epoch().unwrap_or(0).into(),
            since_complete_ms: status.since_complete_ms,
            pending_bytes: gauges.pending_bytes,
            deletes_held: gauges.deletes_held,
            key_fingerprint: pusher.slot().map(str::to_owned),
        }
    }

    /// Tells the monitoring service, if there is one, of a complete pass.
    pub async fn send_heartbeat(&self) {
        if let Some(heartbeat) = &self.heartbeat
            && let Err(error) = heartbeat.send().await
        {
            tracing::warn!("{error}");
        }
    }

    /// Counts what waits after a pass over `dirty` that failed.
    pub async fn count_pending(&self, request: &Push<'_>, dirty: &Dirty, stop: &Stop) {
        if let Ok(pending) = pending(request, dirty, self.complete_ms, stop).await {
            self.metrics.set_pending(pending.files, pending.bytes);
        }
    }

    fn ended(&mut self, outcome: &Outcome, began_ms: u64) -> Reply {
        let result = match (outcome.ending(), outcome.published) {
            (Ending::Complete, true) => PassResult::Complete,
            (Ending::Complete, false) => PassResult::Noop,
            (Ending::Partial(_), _) => PassResult::Partial,
        };
        // In a quiet hour, hundreds of lines would say that nothing changed.
        if result == PassResult::Noop && self.failed == 0 {
            tracing::debug!("nothing changed");
        } else {
            outcome.say(&self.place);
        }
        self.failed = 0;
        self.commit = outcome.commit;
        self.metrics.pass_ended(Direction::ToRemote, result, outcome.elapsed);
        self.metrics.set_deletes_held(outcome.held.map_or(0, |held| held.count));
        self.metrics.set_generation(outcome.commit);
        let (exit, ended) = match outcome.ending() {
            Ending::Complete => (0, Ended::Complete),
            Ending::Partial(kind) => (kind.exit_code(), Ended::Partial),
        };
        self.health.ended(ended);
        if exit == 0 {
            self.complete_ms = began_ms;
            self.metrics.set_pending(0, 0);
        }
        let entries = outcome.added + outcome.changed + outcome.deleted;
        let pass = control::Pass {
            result,
            commit: outcome.commit,
            entries,
            bytes: outcome.bytes_new,
            elapsed_ms: u64::try_from(outcome.elapsed.as_millis()).unwrap_or(u64::MAX),
        };
        let held = outcome.held.map(|held| format!("; {held}")).unwrap_or_default();
        Reply { pass: Some(pass), ..Reply::new(exit, format!("{}: {entries} entries to {}{held}", result.word(), self.place)) }
    }

    fn failed(&mut self, error: &PushError) -> Reply {
        let kind = error.kind();
        let report = Report::of(error);
        self.failed += 1;
        if kind == Kind::Unfinished {
            tracing::warn!("{report}");
        } else {
            tracing::error!(kind = kind.word(), failed_in_a_row = self.failed, "a pass failed: {report}");
        }
        self.metrics.pass_ended(Direction::ToRemote, PassResult::Failed, Duration::ZERO);
        self.health.ended(Ended::Failed(kind, report.to_string()));
        Reply::new(kind.exit_code(), report.to_string())
    }

    fn count_requests(&mut self, now: &Requests) {
        let new = now.since(&self.requests);
        self.requests = *now;
        let metrics = &self.metrics;
        for (operation, requests) in [
            (Operation::Get, new.get),
            (Operation::Put, new.put),
            (Operation::List, new.list),
            (Operation::Head, new.head),
            (Operation::Delete, new.delete),
            (Operation::Other, new.other),
        ] {
            metrics.remote_requests(operation, requests);
        }
        metrics.remote_retries(new.retried);
        metrics.transferred(Direction::ToRemote, new.bytes_up);
        metrics.transferred(Direction::FromRemote, new.bytes_down);
    }
}
