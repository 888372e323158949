//! Certificates that somebody else writes: two mounted files, looked at again and again. A mounted Secret is exchanged by a
//! symbolic link that no event on the files tells of; looking finds every kind of change.

use super::{CertError, Shown};
use crate::operator::Complaint;
use crate::operator::readiness::Readiness;
use crate::runtime::{Stop, clock, compute};
use crate::secret::{Secret, text_of_file};
use crate::telemetry::{Certificate, OperatorMetrics};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where they lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate and what stands between it and its CA.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Files {
    fn read(&self) -> Result<(String, Secret<String>), CertError> {
        let text = |path: &Path| {
            let told = |problem| CertError::File { path: path.display().to_string(), problem };
            text_of_file(path).map(|text| text.to_string()).map_err(told)
        };
        Ok((text(&self.certificate)?, Secret::new(text(&self.key)?)))
    }
}

/// Shows what the files hold until the stop is asked for; what cannot be used leaves the one before in its place. The first look
/// comes at once.
pub async fn watch_files(
    files: Files,
    every: Duration,
    (shown, readiness): (Arc<Shown>, Arc<Readiness>),
    metrics: OperatorMetrics,
    stop: &Stop,
) {
    let mut last: Option<(String, Secret<String>)> = None;
    let mut complaint = Complaint::default();
    loop {
        let asked = files.clone();
        let read = compute("certificate files", move || asked.read()).await;
        let is_same = |(chain, key): &(String, Secret<String>)| {
            last.as_ref().is_some_and(|(before, held)| before == chain && held.expose() == key.expose())
        };
        let outcome = match read {
            Ok(found) if is_same(&found) => Ok(()),
            Ok(found) => shown.show(&found.0, &found.1, &files.certificate.display().to_string()).map(|expires| {
                expires.into_iter().for_each(|at| metrics.expires(Certificate::Leaf, at));
                tracing::info!(path = %files.certificate.display(), "the certificate was loaded");
                last = Some(found);
            }),
            Err(error) => Err(error),
        };
        // The two files of one exchange may be seen apart: the next look sees both. Each complaint is made once.
        let problem = outcome.err().map(|error| super::advised(&error)).unwrap_or_default();
        if let Some(problem) = complaint.if_new(problem) {
            tracing::warn!("{}: {problem}", shown.stays());
        }
        readiness.certificate(shown.is_loaded());
        if stop.or(clock::sleep(every)).await.is_err() {
            return;
        }
    }
}
