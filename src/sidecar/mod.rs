//! The sidecar: passes for as long as the Pod lives, and a last one when it ends.
//!
//! One loop waits for whatever comes first (a change heard, a tick, somebody's wish, a pause that is over, a signal) and
//! begins a pass when [`Trigger`] says so. While a pass runs, the loop goes on listening: what comes then is served by the
//! next pass. Nothing here decides about data; a pass that fails changes nothing but the time of the next one.

mod drain;
mod ears;
mod farewell;
mod report;
mod reporter;
mod ticks;

use self::ears::Ears;
use self::report::Reports;
use self::ticks::Ticks;
use crate::admin::{Command, Health, Wish};
use crate::contract::control::Reply;
use crate::cycle::{Grace, PassEnd, Schedule, Spacing, Trigger};
use crate::disk::{Coverage, DiskError, Watch};
use crate::fault::Kind;
use crate::push::{Ending, Last, Outcome, Pass, Push, PushError, Pusher};
use crate::runtime::{Signals, Stop, Stopped, clock, limits};
use crate::telemetry::Metrics;
use crate::tree::Dirty;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

pub use farewell::usual_place;
pub use reporter::Reporter;

/// When passes begin, and how the end goes.
#[derive(Debug)]
pub struct Rhythm {
    /// Scheduled passes over everything.
    pub schedule: Option<Schedule>,
    /// Each tick comes later by a random part of this.
    pub jitter: Duration,
    /// Changes are heard, and pushed soon after.
    pub watch: bool,
    /// How passes are spaced.
    pub spacing: Spacing,
    /// The Pod's grace period.
    pub grace: Duration,
    /// The container's termination message.
    pub termination_log: PathBuf,
}

/// What the loop is connected with.
#[derive(Debug)]
pub struct Around {
    /// The process's signals.
    pub signals: Signals,
    /// What is asked over the control socket.
    pub wishes: mpsc::Receiver<Wish>,
    /// Told of each pass.
    pub health: Health,
    /// Counts.
    pub metrics: Metrics,
    /// Told of each complete pass.
    pub heartbeat: Option<crate::store::Heartbeat>,
    /// Tells the controller how things stand.
    pub reporter: Option<Reporter>,
}

/// Runs until a signal ends it; the exit code.
pub async fn run(push: Push<'_>, rhythm: &Rhythm, around: Around) -> Result<u8, DiskError> {
    let watch = rhythm.watch.then(|| watch(&push)).transpose()?.flatten();
    let request = Push { watch: watch.clone(), ..push };
    let mut sidecar = Sidecar {
        request: &request,
        pusher: Pusher::new(&request),
        trigger: Trigger::new(Spacing { reconcile: rhythm.spacing.reconcile.filter(|_| rhythm.watch), ..rhythm.spacing }),
        ticks: rhythm.schedule.clone().map(|schedule| Ticks::new(schedule, rhythm.jitter)),
        grace: Grace::new(rhythm.grace),
        unheard: rhythm.watch && watch.is_none(),
        reports: Reports::new(&around, request.bucket.describe()),
        reporter: around.reporter,
        ears: watch.clone().map(Ears::new),
        watch,
        second: around.signals.hear_second(),
        signals: around.signals,
        wishes: around.wishes,
        health: around.health,
        metrics: around.metrics,
        asked: Vec::new(),
        approved: None,
        waiting: Vec::new(),
        quiet_look: None,
        patience: None,
        end: None,
    };
    sidecar.metrics.insecure(request.bucket.is_insecure());
    sidecar.note_coverage();
    while sidecar.wait().await {
        let now = clock::now();
        if sidecar.trigger.due(now).is_some_and(|due| due <= now) {
            sidecar.pass().await;
        }
    }
    let farewell = sidecar.drain().await;
    farewell.write(&rhythm.termination_log);
    Ok(farewell.exit_code)
}

/// Listens to the volume, if its changes can be heard at all.
fn watch(push: &Push<'_>) -> Result<Option<Watch>, DiskError> {
    let local = push.local;
    if let Some(kind) = Watch::unheard(&local.volume) {
        tracing::warn!("changes on {kind} are not always heard: everything is looked at again and again instead");
        return Ok(None);
    }
    match Watch::new(&local.volume, push.capture.filter.clone(), local.reserved.clone()) {
        Ok(watch) => Ok(Some(watch)),
        Err(error) => {
            tracing::warn!(%error, "changes cannot be heard: everything is looked at again and again instead");
            Ok(None)
        }
    }
}

struct Sidecar<'a> {
    request: &'a Push<'a>,
    pusher: Pusher<'a>,
    trigger: Trigger,
    ticks: Option<Ticks>,
    grace: Grace,
    watch: Option<Watch>,
    ears: Option<Ears>,
    /// Changes should be heard and cannot be.
    unheard: bool,
    reports: Reports,
    reporter: Option<Reporter>,
    signals: Signals,
    second: Stop,
    wishes: mpsc::Receiver<Wish>,
    health: Health,
    metrics: Metrics,
    /// Who asked for a pass that has not begun.
    asked: Vec<oneshot::Sender<Reply>>,
    /// Deletions that one of them released.
    approved: Option<[u8; 8]>,
    /// Who waits until nothing is left to push.
    waiting: Vec<oneshot::Sender<Reply>>,
    /// For those: when to look whether the application has gone quiet.
    quiet_look: Option<Instant>,
    /// For those: when they are answered, quiet or not.
    patience: Option<Instant>,
    /// Once a signal has come.
    end: Option<End>,
}

/// The end of the process.
#[derive(Debug, Clone, Copy)]
struct End {
    /// When it was told.
    since: Instant,
    /// When work ends.
    deadline: Instant,
}

/// What the loop was woken by.
enum Woken {
    News,
    Tick,
    Wish(Option<Wish>),
    Time,
    Signal,
}

impl Sidecar<'_> {
    /// Waits for something to happen; false when the end has come.
    async fn wait(&mut self) -> bool {
        self.health.beat();
        let now = clock::now();
        let due = self.trigger.due(now).into_iter().chain(self.quiet_look).chain(self.patience).min();
        let pause = due.map_or(limits::BEAT, |due| due.saturating_duration_since(now).min(limits::BEAT));
        if pause.is_zero() && !self.signals.stop.asked() {
            self.look_at_those_who_wait(now);
            return true;
        }
        // Each branch is cancel-safe: news are kept by the ears, wishes by their channel, ticks by the clock.
        let woken = tokio::select! {
            biased;
            () = self.signals.stop.wait() => Woken::Signal,
            wish = self.wishes.recv(), if !self.wishes.is_closed() => Woken::Wish(wish),
            () = news(self.ears.as_ref()) => Woken::News,
            () = tick(self.ticks.as_mut()) => Woken::Tick,
            () = clock::sleep(pause) => Woken::Time,
        };
        self.take_in(woken);
        !self.signals.stop.asked()
    }

    fn take_in(&mut self, woken: Woken) {
        let now = clock::now();
        match woken {
            Woken::News => self.hear(now),
            Woken::Tick => {
                if !self.trigger.want_everything() {
                    tracing::info!("a scheduled pass is left out: another waits already");
                    self.metrics.missed_interval();
                }
            }
            Woken::Wish(Some(wish)) => self.serve(wish),
            Woken::Signal => {
                let end = self.end.get_or_insert_with(|| End { since: now, deadline: self.grace.deadline(now) });
                if self.second.asked() {
                    end.deadline = Grace::hastened(end.deadline, now);
                }
            }
            Woken::Wish(None) | Woken::Time => self.look_at_those_who_wait(now),
        }
    }

    fn hear(&mut self, now: Instant) {
        let Some(ears) = &self.ears else { return };
        let dirty = ears.take();
        for _ in 0..dirty.overflows {
            tracing::info!("changes came faster than they were heard: looking at everything");
            self.metrics.watch_overflow();
        }
        if !dirty.is_clean() {
            self.trigger.heard(dirty, now);
            self.metrics.set_oldest_unsynced(self.trigger.waiting_since());
        }
    }

    fn serve(&mut self, wish: Wish) {
        match wish.command {
            Command::Pass { allow_deletes } => {
                self.trigger.want_everything();
                self.approved = allow_deletes.or(self.approved);
                self.asked.push(wish.reply);
            }
            Command::Interrupt { wait, asked } => {
                tracing::info!("termination was announced: pushing what is there");
                self.grace.announce(asked);
                self.want_all_changes();
                if wait {
                    self.waiting.push(wish.reply);
                    self.patience.get_or_insert(self.grace.deadline(clock::now()));
                } else {
                    // Whoever asked may be gone.
                    let _ = wish.reply.send(Reply::new(0, "noted; a flush begins"));
                }
            }
        }
    }

    /// Wants a pass that finds every change, by what was heard where that is enough.
    fn want_all_changes(&mut self) {
        self.hear(clock::now());
        if self.ears.is_some() && !self.unheard {
            self.trigger.want();
        } else {
            self.trigger.want_everything();
        }
    }

    /// Those who wait for quiet are answered when a pass found nothing new after a pause, or when the time is over.
    fn look_at_those_who_wait(&mut self, now: Instant) {
        if self.patience.is_some_and(|until| until <= now) {
            let message = "the time is over: the volume still changes, or its pushes fail";
            self.answer_waiting(&Reply::new(Kind::Unfinished.exit_code(), message));
        }
        if self.quiet_look.is_some_and(|at| at <= now) {
            self.quiet_look = None;
            self.want_all_changes();
        }
    }

    /// A pass has ended while somebody waits for quiet.
    fn judge_quiet(&mut self, result: &Result<Outcome, PushError>) {
        match result {
            _ if self.waiting.is_empty() => {}
            Ok(outcome) if !outcome.published && self.trigger.is_quiet() => self.answer_waiting(&match outcome.ending() {
                Ending::Complete => Reply::new(0, "quiet: all that was there is at the remote"),
                Ending::Partial(kind) => Reply::new(kind.exit_code(), "quiet, but something was left out: see the log"),
            }),
            _ => self.quiet_look = Some(clock::now() + limits::QUIET),
        }
    }

    fn answer_waiting(&mut self, reply: &Reply) {
        (self.quiet_look, self.patience) = (None, None);
        // Whoever asked may be gone.
        self.waiting.drain(..).for_each(|waiting| drop(waiting.send(reply.clone())));
    }

    /// One pass. Whoever asked for one before it began is told what came of it.
    async fn pass(&mut self) {
        self.hear(clock::now());
        let began = clock::now();
        let began_ms = clock::wall_ms();
        let asked = std::mem::take(&mut self.asked);
        let dirty = self.trigger.begin(began);
        let pass = Pass { dirty: dirty.clone(), last: Last::No, allow_deletes: self.approved.take() };
        let result = self.run_pass(&pass).await;
        let end = report::end_of(&result);
        self.trigger.end(end, clock::now());
        self.note_coverage();
        let reply = self.reports.pass(self.request, &result, began_ms);
        let epoch = self.pusher.epoch();
        self.metrics.set_lease(epoch.unwrap_or(0).into(), epoch.is_some());
        self.metrics.set_oldest_unsynced(self.trigger.waiting_since());
        asked.into_iter().for_each(|asked| drop(asked.send(reply.clone())));
        self.judge_quiet(&result);
        // Both take time, which is not theirs once the end has begun.
        let stop = self.signals.stop.clone();
        match end {
            PassEnd::Complete => drop(stop.or(self.reports.send_heartbeat()).await),
            PassEnd::Failed => self.reports.count_pending(self.request, &dirty, &stop).await,
            PassEnd::Partial => {}
        }
        self.tell_controller(&result);
    }

    /// Has the controller told how things stand; waits for nothing.
    fn tell_controller(&self, result: &Result<Outcome, PushError>) {
        if let Some(reporter) = &self.reporter {
            reporter.tell(self.reports.report(reporter.of(), result, &self.pusher));
        }
    }

    /// Runs a pass to its end, or to the deadline once a signal has come; listens meanwhile.
    async fn run_pass(&mut self, pass: &Pass) -> Result<Outcome, PushError> {
        let stop = Stop::new();
        let mut marks = (self.request.bucket.requests(), self.request.progress.counted());
        let mut pusher = std::mem::replace(&mut self.pusher, Pusher::new(self.request));
        let result = {
            let work = pusher.pass(pass, &stop);
            tokio::pin!(work);
            loop {
                let left = self.time_left(&stop);
                // The pass itself goes on; the other branches are cancel-safe as in `wait`.
                let woken = tokio::select! {
                    biased;
                    result = &mut work => break result,
                    () = self.signals.stop.wait(), if self.end.is_none() => Woken::Signal,
                    () = self.second.wait(), if self.hastens() => Woken::Signal,
                    wish = self.wishes.recv(), if !self.wishes.is_closed() => Woken::Wish(wish),
                    () = news(self.ears.as_ref()) => Woken::News,
                    () = tick(self.ticks.as_mut()) => Woken::Tick,
                    () = clock::sleep(left) => Woken::Time,
                };
                if self.end.is_some_and(|end| clock::now() >= end.deadline + limits::DRAIN_PATIENCE) {
                    // It was asked to stop and has not: the time that is kept for the last words begins.
                    break Err(Stopped.into());
                }
                let now_marks = (self.request.bucket.requests(), self.request.progress.counted());
                if std::mem::replace(&mut marks, now_marks) != now_marks {
                    self.health.beat();
                }
                self.take_in(woken);
            }
        };
        self.pusher = pusher;
        result
    }

    /// Whether a second signal would bring the deadline nearer.
    fn hastens(&self) -> bool {
        self.end.is_some_and(|end| end.deadline > clock::now() + limits::DRAIN_HASTE)
    }

    /// How long to wait for a pass before looking around. Where the time is over, the pass is asked to stop.
    fn time_left(&self, stop: &Stop) -> Duration {
        let now = clock::now();
        if self.end.is_some_and(|end| end.deadline <= now) {
            stop.ask();
            return limits::DRAIN_PATIENCE;
        }
        let next = self.end.map(|end| end.deadline).into_iter().chain(self.patience).min();
        next.map_or(limits::BEAT, |next| next.saturating_duration_since(now).min(limits::BEAT))
    }

    /// Says when changes begin or cease to go unheard.
    fn note_coverage(&mut self) {
        let coverage = self.watch.as_ref().map(Watch::coverage);
        let unheard = match coverage {
            Some(Coverage::Whole) => false,
            Some(Coverage::Exhausted | Coverage::Refused) => true,
            None => self.unheard,
        };
        if unheard && !self.unheard {
            tracing::warn!(
                "not every directory can be watched (fs.inotify.max_user_watches): everything is looked at again and again instead"
            );
        }
        self.unheard = unheard;
        self.trigger.set_polling(unheard);
        self.metrics.polling(unheard);
    }

    /// What the last pass looks at.
    fn all_changes(&mut self) -> Dirty {
        self.want_all_changes();
        self.trigger.begin(clock::now())
    }
}

async fn news(ears: Option<&Ears>) {
    match ears {
        Some(ears) => ears.news().await,
        None => std::future::pending().await,
    }
}

async fn tick(ticks: Option<&mut Ticks>) {
    match ticks {
        Some(ticks) => ticks.tick().await,
        None => std::future::pending().await,
    }
}
