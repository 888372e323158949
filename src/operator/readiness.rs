//! Whether the API server's questions can be answered here.

use std::sync::atomic::{AtomicBool, Ordering};

/// What has to be so before the first question.
#[derive(Debug, Default)]
pub struct Readiness {
    certificate: AtomicBool,
    trust: AtomicBool,
    cache: AtomicBool,
}

/// What is not so yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// There is nothing to show to a client.
    #[error("ready: no certificate is loaded yet")]
    Certificate,
    /// The API server would refuse to talk to us.
    #[error("ready: the API server is not told yet to trust the certificate")]
    Trust,
    /// Which resources there are is not known.
    #[error("ready: the PodFilesystemSyncs are not listed yet")]
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

    /// Whether the resources were listed.
    pub fn cache(&self, is_whole: bool) {
        self.cache.store(is_whole, Ordering::Relaxed);
    }

    /// `Err` while something is missing.
    pub fn check(&self) -> Result<(), Unready> {
        let parts = [(&self.certificate, Unready::Certificate), (&self.trust, Unready::Trust), (&self.cache, Unready::Cache)];
        match parts.into_iter().find(|(part, _)| !part.load(Ordering::Relaxed)) {
            Some((_, missing)) => Err(missing),
            None => Ok(()),
        }
    }
}
