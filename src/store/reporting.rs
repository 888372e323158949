//! Reports to the controller of the cluster: one POST each, with the token that says which Pod they are from.

use super::client::{CONNECT_TIMEOUT, Trust};
use super::heartbeat::because;
use crate::contract::progress::Report;
use crate::runtime::limits;
use crate::secret::Secret;
use http::{StatusCode, header};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::PathBuf;
use std::time::Duration;

/// Where reports go.
#[derive(Debug, Clone)]
pub struct Controller {
    /// The address.
    pub url: String,
    /// Whose word is taken for who listens there, in PEM; none: the public authorities'.
    pub authorities: Option<Vec<u8>>,
    /// The token. It is exchanged now and then, so the file is read each time.
    pub token_file: PathBuf,
}

/// A report did not arrive, or was not taken. Never holds the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// There is nothing to say who we are with.
    #[error("the token '{0}' {1}")]
    Token(String, String),
    /// The certificates cannot be used.
    #[error("the controller's certificates cannot be used: {0}")]
    Authorities(String),
    /// It was not reached.
    #[error("the controller was not reached: {0}")]
    Away(String),
    /// It wants to be left alone for a while.
    #[error("the controller wants the next report in {} s", .0.as_secs())]
    TooOften(Duration),
    /// It refused.
    #[error("the controller answered {0}: {1}")]
    Refused(u16, String),
}

impl Controller {
    /// Sends one report, once.
    pub async fn send(&self, report: &Report) -> Result<(), ReportError> {
        let token = Secret::from_file(&self.token_file);
        let token = token.map_err(|problem| ReportError::Token(self.token_file.display().to_string(), problem))?;
        let body = serde_json::to_vec(report).expect("plain fields become JSON");
        let request = self.client()?.post(&self.url).timeout(limits::HEARTBEAT_TIMEOUT).bearer_auth(token.expose());
        let request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        let away = |error| ReportError::Away(because(error, limits::HEARTBEAT_TIMEOUT));
        let response = request.send().await.map_err(away)?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let wait = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        if let (StatusCode::TOO_MANY_REQUESTS, Some(seconds)) = (status, wait) {
            return Err(ReportError::TooOften(Duration::from_secs(seconds).min(limits::REPORT_PAUSE)));
        }
        // The body is short; of whoever else listens there nothing is shown.
        let reason = status.canonical_reason().unwrap_or("an unknown status");
        Err(ReportError::Refused(status.as_u16(), reason.to_owned()))
    }

    /// One client for each report: seldom used, and made for what the certificates are now. The proxy is for the way out of
    /// the cluster.
    fn client(&self) -> Result<reqwest::Client, ReportError> {
        let unusable = |problem: &str| ReportError::Authorities(problem.to_owned());
        let Some(pem) = &self.authorities else {
            return Trust::public().client().map_err(|error| unusable(&error.to_string()));
        };
        // The first one wins; a second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let given = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
        let given: Vec<_> = given.filter_map(|der| reqwest::Certificate::from_der(&der).ok()).collect();
        if given.is_empty() {
            return Err(unusable("there is none"));
        }
        let builder = reqwest::Client::builder().tls_certs_only(given).redirect(reqwest::redirect::Policy::none());
        let builder = builder.no_proxy().http1_only().connect_timeout(CONNECT_TIMEOUT);
        let builder = builder.hickory_dns(std::fs::read("/etc/resolv.conf").is_ok());
        builder.build().map_err(|error| unusable(&error.without_url().to_string()))
    }
}
