//! The end: a last pass under the deadline, and what is said about it.

use super::farewell::Farewell;
use super::{End, Sidecar, report};
use crate::fault::{Fault, Kind, Report};
use crate::push::{Ending, Last, Outcome, Pass, Pending, PushError, pending};
use crate::runtime::{Stop, clock, limits};
use crate::telemetry::{FinalPass, span};
use crate::tree::Dirty;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Sidecar<'_> {
    /// Pushes until nothing is left or the time is over. Each try that fails for a passing cause is followed by another.
    pub(super) async fn drain(&mut self) -> Farewell {
        let now = clock::now();
        let end = *self.end.get_or_insert_with(|| End { since: now, deadline: self.grace.deadline(now) });
        let budget = end.deadline.saturating_duration_since(now);
        tracing::info!(time = %span(budget), "ending: pushing for the last time");
        self.metrics.set_final_budget(budget);
        let (result, dirty) = self.last_passes().await;
        let (farewell, said) = self.words(result, end.since);
        let farewell = if farewell.result == "complete" {
            self.within_time(limits::DRAIN_RESERVE, self.reports.send_heartbeat()).await;
            farewell.with_pending(Some(Default::default()))
        } else {
            let pending = self.count_pending(&dirty).await;
            farewell.with_pending(pending)
        };
        self.metrics.final_ended(said);
        if let Some(mut reporter) = self.reporter.take() {
            self.within_time(limits::REPORT_FAREWELL, reporter.finish(farewell.unsynced_bytes)).await;
        }
        if let Some(message) = &farewell.message {
            tracing::error!(
                unsynced_files = farewell.unsynced_files,
                unsynced_bytes = farewell.unsynced_bytes,
                "the last push did not finish: {message}"
            );
        }
        let reply = crate::contract::control::Reply::new(farewell.exit_code, "the sidecar has ended");
        self.waiting.drain(..).chain(self.asked.drain(..)).for_each(|waiting| drop(waiting.send(reply.clone())));
        farewell
    }

    /// The result of the newest try, and what it looked at.
    async fn last_passes(&mut self) -> (Result<Outcome, PushError>, Dirty) {
        loop {
            let dirty = self.all_changes();
            let began_ms = clock::wall_ms();
            let last = self.ears.as_ref().map_or(Last::Yes, |ears| Last::If(Arc::new(ears.silence())));
            let result = self.run_pass(&Pass { dirty: dirty.clone(), last, allow_deletes: None }).await;
            self.trigger.end(report::end_of(&result), clock::now());
            self.reports.pass(self.request, &result, began_ms);
            self.tell_controller(&result);
            self.hear(clock::now());
            let again = match &result {
                // The application may still have written its last words while they were pushed. That pass has not handed the
                // remote over.
                Ok(_) => !self.trigger.is_quiet(),
                Err(error) => matches!(error.kind(), Kind::Unavailable | Kind::Denied),
            };
            if !again || !self.pause_before_next(result.is_err()).await {
                return (result, dirty);
            }
        }
    }

    /// Waits a moment after a failure; false when there is no time for another try.
    async fn pause_before_next(&mut self, failed: bool) -> bool {
        let left = self.end.map_or(Duration::ZERO, |end| end.deadline.saturating_duration_since(clock::now()));
        let pause = if failed { limits::DRAIN_PAUSE } else { Duration::ZERO };
        if left <= pause {
            return false;
        }
        clock::sleep(pause).await;
        true
    }

    fn words(&self, result: Result<Outcome, PushError>, began: Instant) -> (Farewell, FinalPass) {
        let farewell = |word, exit_code, commit, message| Farewell {
            result: word,
            exit_code,
            commit,
            unsynced_files: None,
            unsynced_bytes: None,
            elapsed_ms: u64::try_from(clock::now().duration_since(began).as_millis()).unwrap_or(u64::MAX),
            message,
        };
        let before = self.reports.commit();
        match result {
            Ok(outcome) => match outcome.ending() {
                Ending::Complete => (farewell("complete", 0, outcome.commit, None), FinalPass::Complete),
                Ending::Partial(kind) => {
                    let message = "something was left out: see the log".to_string();
                    (farewell("partial", kind.exit_code(), outcome.commit, Some(message)), FinalPass::Complete)
                }
            },
            Err(error) if error.kind() == Kind::Unfinished => {
                let message = "the grace period was over before everything was pushed: the state before stays in force. \
                               A longer terminationGracePeriodSeconds, or more frequent passes, leave more time"
                    .to_string();
                (farewell("deadline", Kind::Unfinished.exit_code(), before, Some(message)), FinalPass::Deadline)
            }
            Err(error) => {
                let report = Report::from(error);
                (farewell("failed", report.kind.exit_code(), before, Some(report.to_string())), FinalPass::Skipped)
            }
        }
    }

    /// What is not at the remote, as far as it can be counted in the time that is kept for it.
    async fn count_pending(&self, dirty: &Dirty) -> Option<Pending> {
        let stop = Stop::new();
        let counted = self.within_time(Duration::MAX, pending(self.request, dirty, self.reports.complete_ms(), &stop)).await;
        stop.ask();
        counted?.ok()
    }

    /// Works while there is time for the last words, and for no longer than `most`.
    async fn within_time<T>(&self, most: Duration, work: impl Future<Output = T>) -> Option<T> {
        let end = self.end.map_or_else(clock::now, |end| end.deadline + limits::DRAIN_PATIENCE + limits::DRAIN_COUNT);
        tokio::select! {
            biased;
            done = work => Some(done),
            () = clock::sleep(end.saturating_duration_since(clock::now()).min(most)) => None,
        }
    }
}
