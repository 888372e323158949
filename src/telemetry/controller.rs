//! What the controller counts beside its answers to the API server. The names of PodFilesystemSyncs are labels of one metric
//! only, as their number is bounded by the cluster.

use super::metrics::new;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

type Labels<const N: usize> = [(&'static str, &'static str); N];
type SyncLabels = [(&'static str, String); 2];
type Number = Gauge<u64, AtomicU64>;

/// The metrics of the controller's part. Cheap to clone; clones count together.
#[derive(Clone, Default)]
pub struct ControllerMetrics {
    leader: Number,
    uninjected: Number,
    syncs: Family<Labels<1>, Number>,
    errors: Family<Labels<1>, Counter>,
    reports: Family<Labels<1>, Counter>,
    last_complete: Family<SyncLabels, Gauge<f64, AtomicU64>>,
    /// The labels of that.
    completed: Arc<Mutex<BTreeSet<SyncLabels>>>,
}

/// What became of a report, with the words of the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// It was taken.
    Accepted,
    /// It was no report.
    Malformed,
    /// Nothing proved who sent it.
    Unauthenticated,
    /// That Pod has nothing to say there.
    Forbidden,
    /// The Pod sends too many.
    TooOften,
    /// The API server did not say who sent it.
    Unavailable,
}

impl Reported {
    const ALL: [Reported; 6] = [
        Reported::Accepted,
        Reported::Malformed,
        Reported::Unauthenticated,
        Reported::Forbidden,
        Reported::TooOften,
        Reported::Unavailable,
    ];

    fn labels(self) -> Labels<1> {
        let word = match self {
            Reported::Accepted => "accepted",
            Reported::Malformed => "malformed",
            Reported::Unauthenticated => "unauthenticated",
            Reported::Forbidden => "forbidden",
            Reported::TooOften => "too_often",
            Reported::Unavailable => "unavailable",
        };
        [("result", word)]
    }
}

/// What the API server refused to write, with the words of the label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwritten {
    /// The status of a PodFilesystemSync.
    Status,
    /// A key.
    Secret,
    /// An Event.
    Event,
}

impl Unwritten {
    const ALL: [Unwritten; 3] = [Unwritten::Status, Unwritten::Secret, Unwritten::Event];

    fn labels(self) -> Labels<1> {
        let word = match self {
            Unwritten::Status => "status",
            Unwritten::Secret => "secret",
            Unwritten::Event => "event",
        };
        [("reason", word)]
    }
}

impl ControllerMetrics {
    /// Nothing is counted yet; every series of fixed words exists from the start.
    pub fn register(registry: &mut Registry) -> ControllerMetrics {
        let metrics = ControllerMetrics {
            leader: new(registry, "vsc_leader", "1 while this replica leads"),
            uninjected: new(registry, "vsc_uninjected_pods", "Pods that asked for syncing and run without its containers"),
            syncs: new(registry, "vsc_sync_objects", "PodFilesystemSyncs by their condition Ready"),
            errors: new(registry, "vsc_reconcile_errors", "What the API server refused to write"),
            reports: new(registry, "vsc_progress_reports", "Reports of sidecars"),
            last_complete: new(
                registry,
                "vsc_last_complete_sync_timestamp_seconds",
                "When the remote was last known to hold all of the volumes of a PodFilesystemSync; absent before the first time",
            ),
            completed: Arc::default(),
        };
        for result in Reported::ALL {
            drop(metrics.reports.get_or_create(&result.labels()));
        }
        for reason in Unwritten::ALL {
            drop(metrics.errors.get_or_create(&reason.labels()));
        }
        metrics.syncs_are(0, 0);
        metrics
    }

    /// Whether this replica leads. One that does not knows nothing of the others' work.
    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
        if !leads {
            self.uninjected.set(0);
            self.syncs_are(0, 0);
            self.completed(std::iter::empty());
        }
    }

    /// Pods that asked for syncing and run without its containers.
    pub fn uninjected(&self, pods: u64) {
        self.uninjected.set(pods);
    }

    /// How many PodFilesystemSyncs are ready, and how many are not.
    pub fn syncs_are(&self, ready: u64, unready: u64) {
        self.syncs.get_or_create(&[("ready", "true")]).set(ready);
        self.syncs.get_or_create(&[("ready", "false")]).set(unready);
    }

    /// When each PodFilesystemSync was last complete, by namespace and name, in seconds since 1970.
    pub fn completed(&self, syncs: impl Iterator<Item = (String, String, f64)>) {
        let mut known = self.completed.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *known);
        for (namespace, name, seconds) in syncs {
            let labels = [("namespace", namespace), ("sync", name)];
            self.last_complete.get_or_create(&labels).set(seconds);
            known.insert(labels);
        }
        // Those that stay are never absent, not even for a moment.
        for gone in before.difference(&known) {
            self.last_complete.remove(gone);
        }
    }

    /// A write failed.
    pub fn error(&self, what: Unwritten) {
        self.errors.get_or_create(&what.labels()).inc();
    }

    /// A report was answered.
    pub fn report(&self, outcome: Reported) {
        self.reports.get_or_create(&outcome.labels()).inc();
    }
}

impl fmt::Debug for ControllerMetrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ControllerMetrics")
    }
}
