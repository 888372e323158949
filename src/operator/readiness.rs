//! Whether the API server's questions can be answered here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What has to be so before the first question.
#[derive(Debug, Default)]
pub struct Readiness {
    certificate: AtomicBool,
    trust: AtomicBool,
    cluster: AtomicBool,
    /// What was said last.
    said: Mutex<Option<Result<(), Unready>>>,
}

/// What is not so yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// There is nothing to show to a client.
    #[error("no certificate is loaded yet")]
    Certificate,
    /// The API server would refuse to talk to us.
    #[error("the API server is not told yet to trust the certificate")]
    Trust,
    /// How containers are to be made is not known.
    #[error("the API server has not answered yet what the cluster is able to")]
    Cluster,
    /// Which resources there are is not known.
    #[error("the PodFilesystemSyncs are not listed yet")]
    Cache,
}

impl Readiness {
    /// Whether a certificate is loaded, or none is needed.
    pub fn certificate(&self, is_loaded: bool) {
        self.certificate.store(is_loaded, Ordering::Relaxed);
    }

    /// Whether the API server trusts it, as far as that is our affair.
    pub fn trust(&self, is_trusted: bool) {
        self.trust.store(is_trusted, Ordering::Relaxed);
    }

    /// What the cluster is able to was asked and answered. What was known once is not forgotten.
    pub fn cluster_is_known(&self) {
        self.cluster.store(true, Ordering::Relaxed);
    }

    /// `Err` while something is missing. Whether the resources were listed is known to whoever asks. A change goes into the
    /// log: probes ask, and show nobody what they were told.
    pub fn check(&self, is_listed: bool) -> Result<(), Unready> {
        let set = |part: &AtomicBool| part.load(Ordering::Relaxed);
        let parts = [
            (set(&self.certificate), Unready::Certificate),
            (set(&self.trust), Unready::Trust),
            (set(&self.cluster), Unready::Cluster),
            (is_listed, Unready::Cache),
        ];
        let missing = parts.into_iter().find(|(is_so, _)| !is_so);
        let outcome = missing.map_or(Ok(()), |(_, missing)| Err(missing));
        let before = self.said.lock().unwrap_or_else(PoisonError::into_inner).replace(outcome);
        if before != Some(outcome) {
            match outcome {
                Ok(()) => tracing::info!("ready"),
                Err(missing) => tracing::warn!("not ready: {missing}"),
            }
        }
        outcome
    }
}
