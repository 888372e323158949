//! What a sidecar counts, for Prometheus. Labels hold words of this program only: nothing that a file, a store or a
//! person named can appear here.

use super::process;
use crate::contract::control::PassResult;
use crate::runtime::clock;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The MIME type of [`Metrics::render`].
pub const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A small push takes one request, a large one minutes.
const SECONDS: [f64; 10] = [0.05, 0.2, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0];

type Labels<const N: usize> = [(&'static str, &'static str); N];
type Seconds = Gauge<f64, AtomicU64>;
type Number = Gauge<u64, AtomicU64>;

/// Which way data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// A push.
    ToRemote,
    /// A restore.
    FromRemote,
}

impl Direction {
    fn label(self) -> (&'static str, &'static str) {
        let word = match self {
            Direction::ToRemote => "to_remote",
            Direction::FromRemote => "from_remote",
        };
        ("direction", word)
    }
}

/// What a request to the remote is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reading an object.
    Get,
    /// Creating or writing one.
    Put,
    /// A page of a listing.
    List,
    /// Looking at an object's size.
    Head,
    /// Deleting an object.
    Delete,
    /// Asking for credentials, and what is about a bucket or an upload as a whole.
    Other,
}

impl Operation {
    const ALL: [Operation; 6] =
        [Operation::Get, Operation::Put, Operation::List, Operation::Head, Operation::Delete, Operation::Other];

    fn word(self) -> &'static str {
        match self {
            Operation::Get => "get",
            Operation::Put => "put",
            Operation::List => "list",
            Operation::Head => "head",
            Operation::Delete => "delete",
            Operation::Other => "other",
        }
    }
}

/// What the last pass before the end came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinalPass {
    /// Everything is at the remote.
    Complete,
    /// The time was over, or it failed.
    Deadline,
    /// There was nothing to do, or it was not allowed.
    Skipped,
}

impl FinalPass {
    fn word(self) -> &'static str {
        match self {
            FinalPass::Complete => "complete",
            FinalPass::Deadline => "deadline",
            FinalPass::Skipped => "skipped",
        }
    }
}

/// The metrics of one process. Cheap to clone; clones count together.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    counted: Counted,
    /// Since when the oldest change waits. Held while a page is written, so that two readers do not count time twice.
    oldest_unsynced: Mutex<Option<Instant>>,
}

struct Counted {
    syncs: Family<Labels<2>, Counter>,
    durations: Family<Labels<1>, Histogram, fn() -> Histogram>,
    last_complete: Seconds,
    last_attempt: Seconds,
    missed_intervals: Counter,
    oldest_unsynced: Seconds,
    pending_files: Number,
    pending_bytes: Number,
    transferred: Family<Labels<1>, Counter>,
    requests: Family<Labels<1>, Counter>,
    retries: Counter,
    deletes_held: Number,
    generation: Number,
    lease_epoch: Number,
    lease_held: Number,
    watch_overflows: Counter,
    polling: Number,
    insecure: Number,
    final_budget: Seconds,
    final_syncs: Family<Labels<1>, Counter>,
    memory: Number,
    cpu: Counter<f64, AtomicU64>,
}

impl Counted {
    fn register(registry: &mut Registry) -> Counted {
        let durations = Family::<Labels<1>, Histogram, fn() -> Histogram>::new_with_constructor(|| Histogram::new(SECONDS));
        registry.register("vsc_sync_duration_seconds", "How long passes took", durations.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("revision", option_env!("VSC_REVISION").unwrap_or(""))]);
        registry.register("vsc_build", "What runs here", build);
        // The text format appends `_total` to a counter's name.
        Counted {
            durations,
            syncs: new(registry, "vsc_syncs", "Passes that ended"),
            last_complete: new(
                registry,
                "vsc_last_complete_sync_timestamp_seconds",
                "When the remote was last known to hold all of the volume; 0: not since the start",
            ),
            last_attempt: new(
                registry,
                "vsc_last_attempt_timestamp_seconds",
                "When the newest pass ended; 0: none since the start",
            ),
            missed_intervals: new(registry, "vsc_missed_intervals", "Scheduled passes left out because another waited already"),
            oldest_unsynced: new(
                registry,
                "vsc_oldest_unsynced_change_age_seconds",
                "How long the oldest known change has waited for a push",
            ),
            pending_files: new(registry, "vsc_pending_files", "Files known to wait for a push"),
            pending_bytes: new(registry, "vsc_pending_bytes", "Bytes of files known to wait for a push"),
            transferred: new(registry, "vsc_transferred_bytes", "Bytes of bodies sent and received"),
            requests: new(registry, "vsc_remote_requests", "Requests to the remote"),
            retries: new(registry, "vsc_remote_retries", "Requests to the remote that followed a failed one"),
            deletes_held: new(registry, "vsc_deletes_held", "Deletes that wait for an approval"),
            generation: new(registry, "vsc_generation", "The newest commit that was published or found here"),
            lease_epoch: new(registry, "vsc_lease_epoch", "The epoch of this writer"),
            lease_held: new(registry, "vsc_lease_held", "1 while this is the one writer"),
            watch_overflows: new(registry, "vsc_watch_overflows", "Times that events were lost and everything was looked at"),
            polling: new(registry, "vsc_polling", "1 while changes are found by looking again and again"),
            insecure: new(
                registry,
                "vsc_insecure",
                "1 when the check of the remote's certificate is switched off (option insecure)",
            ),
            final_budget: new(registry, "vsc_final_sync_budget_seconds", "Time that the final pass has or had"),
            final_syncs: new(registry, "vsc_final_syncs", "Final passes"),
            memory: new(registry, "process_resident_memory_bytes", "Resident memory"),
            cpu: new(registry, "process_cpu_seconds", "User and system time"),
        }
    }

    /// Every series exists from the start: a rate over one that appears with its first event does not see that event.
    fn begin(&self) {
        for direction in [Direction::ToRemote, Direction::FromRemote].map(Direction::label) {
            for result in PassResult::ALL {
                drop(self.syncs.get_or_create(&[direction, ("result", result.word())]));
            }
            drop(self.transferred.get_or_create(&[direction]));
        }
        drop(self.durations.get_or_create(&[Direction::ToRemote.label()]));
        for operation in Operation::ALL {
            drop(self.requests.get_or_create(&[("operation", operation.word())]));
        }
        for result in [FinalPass::Complete, FinalPass::Deadline, FinalPass::Skipped] {
            drop(self.final_syncs.get_or_create(&[("result", result.word())]));
        }
    }
}

pub(super) fn new<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// Nothing is counted yet.
    pub fn new() -> Metrics {
        let mut registry = Registry::default();
        let counted = Counted::register(&mut registry);
        counted.begin();
        Metrics { inner: Arc::new(Inner { registry, counted, oldest_unsynced: Mutex::new(None) }) }
    }

    /// A pass ended. Only one after which the remote holds all of the volume renews the time of the last complete one.
    pub fn pass_ended(&self, direction: Direction, result: PassResult, elapsed: Duration) {
        let now = clock::wall_ms() as f64 / 1000.0;
        self.counted().syncs.get_or_create(&[direction.label(), ("result", result.word())]).inc();
        self.counted().durations.get_or_create(&[direction.label()]).observe(elapsed.as_secs_f64());
        self.counted().last_attempt.set(now);
        if result.is_complete() && direction == Direction::ToRemote {
            self.counted().last_complete.set(now);
        }
    }

    /// A scheduled pass was left out, because one was under way.
    pub fn missed_interval(&self) {
        self.counted().missed_intervals.inc();
    }

    /// What is known to wait for a push.
    pub fn set_pending(&self, files: u64, bytes: u64) {
        self.counted().pending_files.set(files);
        self.counted().pending_bytes.set(bytes);
    }

    /// Since when the oldest known change waits; `None` when none does.
    pub fn set_oldest_unsynced(&self, since: Option<Instant>) {
        *self.inner.oldest_unsynced.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Bytes of bodies that went one way.
    pub fn transferred(&self, direction: Direction, bytes: u64) {
        self.counted().transferred.get_or_create(&[direction.label()]).inc_by(bytes);
    }

    /// Requests that were made since the last call.
    pub fn remote_requests(&self, operation: Operation, requests: u64) {
        self.counted().requests.get_or_create(&[("operation", operation.word())]).inc_by(requests);
    }

    /// Requests, among those, that followed a failed one.
    pub fn remote_retries(&self, requests: u64) {
        self.counted().retries.inc_by(requests);
    }

    /// Deletes that wait for an approval.
    pub fn set_deletes_held(&self, deletes: u64) {
        self.counted().deletes_held.set(deletes);
    }

    /// The newest commit that was published or found.
    pub fn set_generation(&self, commit: u64) {
        self.counted().generation.set(commit);
    }

    /// The epoch of this writer, and whether it is the one writer.
    pub fn set_lease(&self, epoch: u64, is_held: bool) {
        self.counted().lease_epoch.set(epoch);
        self.counted().lease_held.set(is_held.into());
    }

    /// Events were lost, and everything is looked at.
    pub fn watch_overflow(&self) {
        self.counted().watch_overflows.inc();
    }

    /// Whether changes are found by looking again and again.
    pub fn polling(&self, is_polling: bool) {
        self.counted().polling.set(is_polling.into());
    }

    /// Whether the remote is reached without a check of who it is.
    pub fn insecure(&self, is_insecure: bool) {
        self.counted().insecure.set(is_insecure.into());
    }

    /// The time that the final pass has.
    pub fn set_final_budget(&self, budget: Duration) {
        self.counted().final_budget.set(budget.as_secs_f64());
    }

    /// The final pass ended.
    pub fn final_ended(&self, result: FinalPass) {
        self.counted().final_syncs.get_or_create(&[("result", result.word())]).inc();
    }

    /// The parts that the control socket's status shows too.
    pub fn gauges(&self) -> Gauges {
        let counted = self.counted();
        Gauges {
            pending_files: counted.pending_files.get(),
            pending_bytes: counted.pending_bytes.get(),
            deletes_held: counted.deletes_held.get(),
            generation: counted.generation.get(),
            polling: counted.polling.get() != 0,
        }
    }

    /// The page that Prometheus reads, of type [`METRICS_TYPE`].
    pub fn render(&self) -> String {
        let oldest = self.inner.oldest_unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = self.counted();
        let waited = oldest.map_or(Duration::ZERO, |since| clock::now().saturating_duration_since(since));
        counted.oldest_unsynced.set(waited.as_secs_f64());
        counted.memory.set(process::resident_bytes().unwrap_or(0));
        counted.cpu.inc_by((process::cpu().as_secs_f64() - counted.cpu.get()).max(0.0));
        let mut page = String::new();
        text::encode(&mut page, &self.inner.registry).expect("a string takes everything");
        page
    }

    fn counted(&self) -> &Counted {
        &self.inner.counted
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Metrics")
    }
}

/// Some metrics as they are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gauges {
    /// Files known to wait for a push.
    pub pending_files: u64,
    /// Their bytes.
    pub pending_bytes: u64,
    /// Deletes that wait for an approval.
    pub deletes_held: u64,
    /// The newest commit.
    pub generation: u64,
    /// Changes are found by looking again and again.
    pub polling: bool,
}

#[cfg(test)]
mod tests {
    use super::{Direction, FinalPass, Metrics, Operation};
    use crate::contract::control::PassResult;
    use crate::runtime::clock;
    use std::collections::BTreeSet;
    use std::time::Duration;

    /// The value of a series.
    fn value(page: &str, series: &str) -> f64 {
        let line = page.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        let line = line.unwrap_or_else(|| panic!("no series {series} in\n{page}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn every_documented_metric_is_there_from_the_start() {
        let page = Metrics::new().render();
        for series in [
            "vsc_syncs_total{direction=\"to_remote\",result=\"failed\"}",
            "vsc_syncs_total{direction=\"from_remote\",result=\"noop\"}",
            "vsc_sync_duration_seconds_count{direction=\"to_remote\"}",
            "vsc_last_complete_sync_timestamp_seconds",
            "vsc_last_attempt_timestamp_seconds",
            "vsc_missed_intervals_total",
            "vsc_oldest_unsynced_change_age_seconds",
            "vsc_pending_files",
            "vsc_pending_bytes",
            "vsc_transferred_bytes_total{direction=\"from_remote\"}",
            "vsc_remote_requests_total{operation=\"put\"}",
            "vsc_remote_retries_total",
            "vsc_deletes_held",
            "vsc_generation",
            "vsc_lease_epoch",
            "vsc_lease_held",
            "vsc_watch_overflows_total",
            "vsc_polling",
            "vsc_insecure",
            "vsc_final_sync_budget_seconds",
            "vsc_final_syncs_total{result=\"deadline\"}",
        ] {
            assert_eq!(value(&page, series), 0.0, "{series}");
        }
        let version = concat!("vsc_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\",");
        assert!(page.contains(version) && page.ends_with("# EOF\n"), "{page}");
        assert!(value(&page, "process_resident_memory_bytes") > 1e6);
        assert!(value(&page, "process_cpu_seconds_total") > 0.0);
    }

    #[test]
    fn what_happens_is_counted() {
        let metrics = Metrics::new();
        let (to, seconds) = (Direction::ToRemote, Duration::from_secs(3));
        metrics.pass_ended(to, PassResult::Failed, seconds);
        metrics.pass_ended(to, PassResult::Partial, seconds);
        metrics.pass_ended(Direction::FromRemote, PassResult::Complete, seconds);
        let page = metrics.render();
        assert_eq!(value(&page, "vsc_last_complete_sync_timestamp_seconds"), 0.0, "a partial push is not a complete one");
        assert!(value(&page, "vsc_last_attempt_timestamp_seconds") > 1e9);

        metrics.pass_ended(to, PassResult::Noop, seconds);
        metrics.remote_requests(Operation::List, 4);
        metrics.remote_retries(1);
        metrics.transferred(to, 5);
        metrics.set_pending(6, 7);
        metrics.set_deletes_held(8);
        metrics.set_generation(9);
        metrics.set_lease(10, true);
        metrics.missed_interval();
        metrics.watch_overflow();
        metrics.polling(true);
        metrics.insecure(true);
        metrics.set_final_budget(Duration::from_millis(2500));
        metrics.final_ended(FinalPass::Deadline);
        metrics.set_oldest_unsynced(clock::now().checked_sub(seconds));
        let page = metrics.clone().render();
        for (series, expected) in [
            ("vsc_syncs_total{direction=\"to_remote\",result=\"failed\"}", 1.0),
            ("vsc_syncs_total{direction=\"to_remote\",result=\"noop\"}", 1.0),
            ("vsc_syncs_total{direction=\"to_remote\",result=\"complete\"}", 0.0),
            ("vsc_sync_duration_seconds_sum{direction=\"to_remote\"}", 9.0),
            ("vsc_sync_duration_seconds_bucket{le=\"1.0\",direction=\"to_remote\"}", 0.0),
            ("vsc_sync_duration_seconds_bucket{le=\"5.0\",direction=\"to_remote\"}", 3.0),
            ("vsc_remote_requests_total{operation=\"list\"}", 4.0),
            ("vsc_remote_retries_total", 1.0),
            ("vsc_transferred_bytes_total{direction=\"to_remote\"}", 5.0),
            ("vsc_pending_files", 6.0),
            ("vsc_pending_bytes", 7.0),
            ("vsc_deletes_held", 8.0),
            ("vsc_generation", 9.0),
            ("vsc_lease_epoch", 10.0),
            ("vsc_lease_held", 1.0),
            ("vsc_missed_intervals_total", 1.0),
            ("vsc_watch_overflows_total", 1.0),
            ("vsc_polling", 1.0),
            ("vsc_insecure", 1.0),
            ("vsc_final_sync_budget_seconds", 2.5),
            ("vsc_final_syncs_total{result=\"deadline\"}", 1.0),
        ] {
            assert_eq!(value(&page, series), expected, "{series}");
        }
        assert!(value(&page, "vsc_last_complete_sync_timestamp_seconds") > 1e9, "nothing to push means that all is there");
        assert!(value(&page, "vsc_oldest_unsynced_change_age_seconds") >= 3.0);
        metrics.set_oldest_unsynced(None);
        assert_eq!(value(&metrics.render(), "vsc_oldest_unsynced_change_age_seconds"), 0.0);
    }

    #[test]
    fn labels_hold_no_other_words() {
        let page = Metrics::new().render();
        let labels =
            page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('{')?.1.split_once('}'));
        let names: BTreeSet<&str> =
            labels.flat_map(|(labels, _)| labels.split(',')).filter_map(|label| Some(label.split_once('=')?.0)).collect();
        assert_eq!(names, BTreeSet::from(["direction", "le", "operation", "result", "revision", "version"]));
    }
}
