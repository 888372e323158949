//! What the webhook counts, and the page of the whole controller.

use super::controller::ControllerMetrics;
use super::metrics::new;
use super::process;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// An answer takes a millisecond; the API server gives up after seconds.
const SECONDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// How a review ended, with the words of the labels `result` and `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The Pod was injected.
    Injected,
    /// It was left as it is, for this reason.
    Skipped(Skip),
    /// It was refused, for this reason.
    Refused(Refuse),
    /// The review was not understood.
    Error,
}

/// Why a Pod is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// The review is not about the creation of a Pod.
    NotCreated,
    /// No PodFilesystemSync matches, and that is allowed.
    NoMatch,
    /// Nothing is to be done for it: a mirror Pod, one for Windows, or its PodFilesystemSync asks for nothing.
    Pod,
}

/// Why a Pod is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuse {
    /// No PodFilesystemSync matches.
    NoMatch,
    /// Which one is meant cannot be told.
    Choice,
    /// What is known is not enough: the API server did not answer.
    Unknown,
    /// The Pod or the PodFilesystemSync does not allow it.
    Injection,
}

impl Verdict {
    const ALL: [Verdict; 9] = [
        Verdict::Injected,
        Verdict::Skipped(Skip::NotCreated),
        Verdict::Skipped(Skip::NoMatch),
        Verdict::Skipped(Skip::Pod),
        Verdict::Refused(Refuse::NoMatch),
        Verdict::Refused(Refuse::Choice),
        Verdict::Refused(Refuse::Unknown),
        Verdict::Refused(Refuse::Injection),
        Verdict::Error,
    ];

    fn labels(self) -> [(&'static str, &'static str); 2] {
        let (result, reason) = match self {
            Verdict::Injected => ("injected", ""),
            Verdict::Skipped(Skip::NotCreated) => ("skipped", "not_created"),
            Verdict::Skipped(Skip::NoMatch) => ("skipped", "no_match"),
            Verdict::Skipped(Skip::Pod) => ("skipped", "pod"),
            Verdict::Refused(Refuse::NoMatch) => ("refused", "no_match"),
            Verdict::Refused(Refuse::Choice) => ("refused", "choice"),
            Verdict::Refused(Refuse::Unknown) => ("refused", "unknown"),
            Verdict::Refused(Refuse::Injection) => ("refused", "injection"),
            Verdict::Error => ("error", "malformed"),
        };
        [("result", result), ("reason", reason)]
    }
}

/// Which certificate is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// The one that signs.
    Ca,
    /// The one that is shown to clients.
    Leaf,
}

/// The metrics of one controller. Cheap to clone; clones count together.
#[derive(Clone)]
pub struct OperatorMetrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    requests: Family<[(&'static str, &'static str); 2], Counter>,
    durations: Histogram,
    expiry: Family<[(&'static str, &'static str); 1], Gauge<f64, AtomicU64>>,
    memory: Gauge<u64, AtomicU64>,
    /// Held while a page is written, so that two readers do not count time twice.
    cpu: Mutex<Counter<f64, AtomicU64>>,
    controller: ControllerMetrics,
}

impl OperatorMetrics {
    /// Nothing is counted yet; every series exists from the start.
    pub fn new() -> OperatorMetrics {
        let mut registry = Registry::default();
        let durations = Histogram::new(SECONDS);
        registry.register("vsc_admission_duration_seconds", "How long answers to the API server took", durations.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("revision", option_env!("VSC_REVISION").unwrap_or(""))]);
        registry.register("vsc_build", "What runs here", build);
        let inner = Inner {
            requests: new(&mut registry, "vsc_admission_requests", "Reviews that were answered"),
            durations,
            expiry: new(&mut registry, "vsc_webhook_certificate_expiry_timestamp_seconds", "When the certificates run out"),
            memory: new(&mut registry, "process_resident_memory_bytes", "Resident memory"),
            cpu: Mutex::new(new(&mut registry, "process_cpu_seconds", "User and system time")),
            controller: ControllerMetrics::register(&mut registry),
            registry,
        };
        for verdict in Verdict::ALL {
            drop(inner.requests.get_or_create(&verdict.labels()));
        }
        OperatorMetrics { inner: Arc::new(inner) }
    }

    /// A review was answered.
    pub fn reviewed(&self, verdict: Verdict, elapsed: Duration) {
        self.inner.requests.get_or_create(&verdict.labels()).inc();
        self.inner.durations.observe(elapsed.as_secs_f64());
    }

    /// When a certificate runs out, in milliseconds since 1970.
    pub fn expires(&self, which: Certificate, at_ms: i64) {
        let kind = match which {
            Certificate::Ca => "ca",
            Certificate::Leaf => "leaf",
        };
        self.inner.expiry.get_or_create(&[("kind", kind)]).set(at_ms as f64 / 1000.0);
    }

    /// What the controller's part counts.
    pub fn controller(&self) -> &ControllerMetrics {
        &self.inner.controller
    }

    /// The page that Prometheus reads, of type [`METRICS_TYPE`](super::METRICS_TYPE).
    pub fn render(&self) -> String {
        self.inner.memory.set(process::resident_bytes().unwrap_or(0));
        let cpu = self.inner.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        cpu.inc_by((process::cpu().as_secs_f64() - cpu.get()).max(0.0));
        let mut page = String::new();
        text::encode(&mut page, &self.inner.registry).expect("a string takes everything");
        page
    }
}

impl Default for OperatorMetrics {
    fn default() -> OperatorMetrics {
        OperatorMetrics::new()
    }
}

impl fmt::Debug for OperatorMetrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("OperatorMetrics")
    }
}

#[cfg(test)]
mod tests {
    use super::{Certificate, OperatorMetrics, Refuse, Verdict};
    use std::time::Duration;

    #[test]
    fn reviews_and_certificates_are_on_the_page() {
        let metrics = OperatorMetrics::new();
        let refused = "vsc_admission_requests_total{result=\"refused\",reason=\"no_match\"}";
        assert!(metrics.render().contains(&format!("{refused} 0\n")), "{}", metrics.render());
        metrics.reviewed(Verdict::Refused(Refuse::NoMatch), Duration::from_millis(2));
        metrics.expires(Certificate::Ca, 1_800_000_000_000);
        metrics.controller().leads(true);
        let page = metrics.clone().render();
        for line in [
            &format!("{refused} 1"),
            "vsc_admission_requests_total{result=\"error\",reason=\"malformed\"} 0",
            "vsc_admission_duration_seconds_bucket{le=\"0.001\"} 0",
            "vsc_admission_duration_seconds_bucket{le=\"0.0025\"} 1",
            "vsc_webhook_certificate_expiry_timestamp_seconds{kind=\"ca\"} 1800000000.0",
            "vsc_leader 1",
        ] {
            assert!(page.contains(&format!("{line}\n")), "{line} is not in\n{page}");
        }
        assert!(page.ends_with("# EOF\n") && page.contains("vsc_build_info{version="), "{page}");
    }
}
