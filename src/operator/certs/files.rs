//! Certificates that somebody else writes: mounted files, looked at again and again. A mounted Secret is exchanged by a symbolic
//! link that no event on the files tells of; looking finds every kind of change.

use super::{CertError, Shown, advised, certificates, in_pem, is_trusted};
use crate::operator::Complaint;
use crate::operator::readiness::Readiness;
use crate::runtime::{Stop, clock, compute};
use crate::secret::{Secret, text_of_file};
use crate::telemetry::{Certificate, OperatorMetrics};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Where they lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate and what stands between it and its CA. The CA itself is `ca.crt` in the same folder, where there is one.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What they hold.
struct Held {
    chain: String,
    key: Secret<String>,
    /// Empty where nobody wrote down whom to trust.
    authorities: Result<String, CertError>,
}

impl Files {
    fn authorities(&self) -> PathBuf {
        self.certificate.with_file_name("ca.crt")
    }

    fn read(&self) -> Result<Held, CertError> {
        let path = self.authorities();
        let authorities = if path.exists() { text(&path) } else { Ok(String::new()) };
        Ok(Held { chain: text(&self.certificate)?, key: Secret::new(text(&self.key)?), authorities })
    }
}

fn text(path: &Path) -> Result<String, CertError> {
    let told = |problem| CertError::File { path: path.display().to_string(), problem };
    text_of_file(path).map(|text| text.to_string()).map_err(told)
}

/// Keeps what is shown equal to the files.
#[derive(Debug)]
pub struct Mounted {
    files: Files,
    /// By which clients call the webhook; none: nobody is told whom to trust.
    name: Option<String>,
    shown: Arc<Shown>,
    bundle: watch::Sender<String>,
    readiness: Arc<Readiness>,
    metrics: OperatorMetrics,
}

impl Mounted {
    /// Nothing is shown yet.
    pub fn new(
        files: Files,
        name: Option<String>,
        (shown, readiness): (Arc<Shown>, Arc<Readiness>),
        metrics: OperatorMetrics,
    ) -> Mounted {
        Mounted { files, name, shown, bundle: watch::Sender::new(String::new()), readiness, metrics }
    }

    /// Whom to trust to know this webhook; empty where the files do not say.
    pub fn bundle(&self) -> watch::Receiver<String> {
        self.bundle.subscribe()
    }

    /// Looks until the stop is asked for, first of all at once; what cannot be used leaves what was before in its place.
    pub async fn run(self, every: Duration, stop: &Stop) {
        let mut last: Option<(String, Secret<String>)> = None;
        let mut complaints = [Complaint::default(), Complaint::default()];
        loop {
            let files = self.files.clone();
            let [certificate, authorities] = match compute("certificate files", move || files.read()).await {
                Ok(held) => [self.show(&held, &mut last), held.authorities.and_then(|text| self.tell(&text, &held.chain))],
                Err(error) => [Err(error), Ok(())],
            };
            // The files of one exchange may be seen apart: the next look sees all of them. Each complaint is made once.
            complain(&mut complaints[0], certificate, self.shown.stays());
            complain(&mut complaints[1], authorities, "sidecars are not told to trust the certificate");
            self.readiness.certificate(self.shown.is_loaded());
            if stop.or(clock::sleep(every)).await.is_err() {
                return;
            }
        }
    }

    fn show(&self, held: &Held, last: &mut Option<(String, Secret<String>)>) -> Result<(), CertError> {
        let Held { chain, key, .. } = held;
        if last.as_ref().is_some_and(|(before, of_before)| before == chain && of_before.expose() == key.expose()) {
            return Ok(());
        }
        let path = self.files.certificate.display();
        let expires = self.shown.show(chain, key, &path.to_string())?;
        expires.into_iter().for_each(|at| self.metrics.expires(Certificate::Leaf, at));
        tracing::info!(%path, "the certificate was loaded");
        *last = Some((chain.clone(), Secret::new(key.expose().clone())));
        Ok(())
    }

    /// Tells whom to trust: certificates and nothing else that lies in the file, since it goes into Pods.
    fn tell(&self, authorities: &str, chain: &str) -> Result<(), CertError> {
        let Some(name) = &self.name else { return Ok(()) };
        let found = certificates(authorities);
        let what = self.files.authorities().display().to_string();
        if found.is_empty() && !authorities.trim().is_empty() {
            return Err(CertError::NoCertificate { what });
        }
        let newest = in_pem(&found);
        // Whoever is told trusts nobody else: better no word than a wrong one.
        let now_ms = i64::try_from(clock::wall_ms()).unwrap_or(i64::MAX);
        if !found.is_empty() && !is_trusted(&newest, chain, name, now_ms) {
            return Err(CertError::Stranger { what, name: name.clone() });
        }
        self.bundle.send_if_modified(|bundle| std::mem::replace(bundle, newest.clone()) != newest);
        Ok(())
    }
}

fn complain(complaint: &mut Complaint, outcome: Result<(), CertError>, consequence: &str) {
    let problem = outcome.err().map(|error| advised(&error)).unwrap_or_default();
    if let Some(problem) = complaint.if_new(problem) {
        tracing::warn!("{consequence}: {problem}");
    }
}
