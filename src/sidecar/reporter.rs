//! Tells the controller how things stand, on the side: a pass neither waits for it nor fails with it.

use crate::contract::progress::Report;
use crate::runtime::{Stop, Tasks, clock, limits};
use crate::store::reporting::{Controller, ReportError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Sends the newest report, now and then. What was not sent when the next one comes is not sent any more.
#[derive(Debug)]
pub struct Reporter {
    sync: String,
    directory: String,
    newest: watch::Sender<Option<Told>>,
    ending: Stop,
    tasks: Tasks<()>,
}

/// A report, and when it was true: times in it are since something.
#[derive(Debug, Clone)]
struct Told {
    report: Report,
    at: Instant,
}

impl Told {
    /// As it is true now.
    fn now(&self) -> Report {
        let elapsed_ms = u64::try_from(clock::now().duration_since(self.at).as_millis()).unwrap_or(u64::MAX);
        let since_complete_ms = self.report.since_complete_ms.map(|since| since.saturating_add(elapsed_ms));
        Report { since_complete_ms, ..self.report.clone() }
    }
}

impl Reporter {
    /// Begins to send, for a PodFilesystemSync and a path at the remote.
    pub fn new(controller: Controller, sync: String, directory: String) -> Reporter {
        let (newest, wanted) = watch::channel(None);
        let (ending, mut tasks) = (Stop::new(), Tasks::new("report to the controller"));
        let ended = ending.clone();
        tasks.spawn(async move { send_each(&controller, wanted, &ended).await });
        Reporter { sync, directory, newest, ending, tasks }
    }

    /// The PodFilesystemSync and the path.
    pub(super) fn of(&self) -> (String, String) {
        (self.sync.clone(), self.directory.clone())
    }

    /// Has a report sent instead of the one before.
    pub(super) fn tell(&self, report: Report) {
        self.newest.send_replace(Some(Told { report, at: clock::now() }));
    }

    /// Sends what is not sent yet, with what the end left behind. How long that may take the caller says: what is not sent when
    /// it is dropped is not sent.
    pub(super) async fn finish(&mut self, pending_bytes: Option<u64>) {
        self.newest.send_if_modified(|newest| match (newest, pending_bytes) {
            (Some(told), Some(bytes)) => std::mem::replace(&mut told.report.pending_bytes, bytes) != bytes,
            _ => false,
        });
        self.ending.ask();
        self.tasks.next().await;
    }
}

async fn send_each(controller: &Controller, mut wanted: watch::Receiver<Option<Told>>, ended: &Stop) {
    let mut is_reported = false;
    let mut is_sent = true;
    loop {
        if is_sent {
            // Cancel-safe: a report that comes meanwhile is seen by the next look.
            tokio::select! {
                biased;
                changed = wanted.changed() => if changed.is_err() { return },
                () = ended.wait() => return,
            }
        }
        let told = wanted.borrow_and_update().clone();
        let Some(told) = told else { continue };
        let sent = controller.send(&told.now()).await;
        is_sent = sent.is_ok();
        let pause = pause_after(sent, &mut is_reported);
        if ended.asked() && !wanted.has_changed().unwrap_or(false) {
            return;
        }
        // Once the end has come there is no pause.
        let _ = ended.or(clock::sleep(pause)).await;
    }
}

fn pause_after(sent: Result<(), ReportError>, is_reported: &mut bool) -> Duration {
    match sent {
        Ok(()) => {
            *is_reported = false;
            limits::REPORT_INTERVAL
        }
        Err(ReportError::TooOften(wait)) => wait,
        Err(error) => {
            // One line tells it; the passes go on.
            if std::mem::replace(is_reported, true) {
                tracing::debug!("{error}");
            } else {
                tracing::warn!("reports do not arrive, which changes nothing else: {error}");
            }
            limits::REPORT_PAUSE
        }
    }
}
