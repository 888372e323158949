//! Reports of sidecars: who sends one is proven by a token that is for nothing else, and a Pod speaks only of itself and for the
//! PodFilesystemSync by which it was injected.
//!
//! Any replica receives. What was received waits in an [`Inbox`] of that replica until it is in the status, which is where
//! all replicas meet: the receiving one writes it there itself, so that nothing is handed on from one to the other.

mod inbox;
mod tokens;

pub use inbox::{Inbox, Received};

use self::tokens::Tokens;
use super::pods::{PodMeta, Seen};
use super::timely;
use crate::contract::progress::{AUDIENCE, BODY_BYTES, DIRECTORY_BYTES, MESSAGE_BYTES, Report, VERSION, one_line};
use crate::runtime::{clock, limits};
use crate::telemetry::{ControllerMetrics, Reported};
use axum::body::{Body, to_bytes};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, Request, StatusCode, header};
use kube::Client;
use kube::runtime::reflector::Store;
use std::sync::Arc;
use std::time::Duration;

/// Why a report is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("reports are posted")]
    Method,
    #[error("a report has at most {BODY_BYTES} bytes")]
    TooLong,
    #[error("the report did not arrive in time")]
    TooSlow,
    #[error("send the Pod's token as `Authorization: Bearer …`")]
    NoToken,
    #[error("the token is not valid for the audience {AUDIENCE}, or not bound to a Pod")]
    Token,
    #[error("the API server does not say whose token this is; try again later")]
    Unknown,
    #[error("no injected Pod of that name and UID is known here")]
    Stranger,
    #[error("this Pod was injected by another PodFilesystemSync")]
    OtherSync,
    #[error("this Pod was injected for another path at the remote")]
    OtherPath,
    #[error("this is no report: {0}")]
    Malformed(String),
    #[error("a Pod reports once in {} s", limits::REPORT_INTERVAL.as_secs())]
    TooOften(Duration),
}

impl Refused {
    fn status(&self) -> StatusCode {
        match self {
            Refused::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refused::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Refused::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Refused::NoToken | Refused::Token => StatusCode::UNAUTHORIZED,
            Refused::Unknown => StatusCode::SERVICE_UNAVAILABLE,
            Refused::Stranger | Refused::OtherSync | Refused::OtherPath => StatusCode::FORBIDDEN,
            Refused::Malformed(_) => StatusCode::BAD_REQUEST,
            Refused::TooOften(_) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    fn outcome(&self) -> Reported {
        match self {
            Refused::Method | Refused::TooLong | Refused::TooSlow | Refused::Malformed(_) => Reported::Malformed,
            Refused::NoToken | Refused::Token => Reported::Unauthenticated,
            Refused::Unknown => Reported::Unavailable,
            Refused::Stranger | Refused::OtherSync | Refused::OtherPath => Reported::Forbidden,
            Refused::TooOften(_) => Reported::TooOften,
        }
    }
}

/// Receives reports.
#[derive(Debug)]
pub struct Receiver {
    tokens: Tokens,
    pods: Store<PodMeta>,
    inbox: Arc<Inbox>,
    metrics: ControllerMetrics,
}

impl Receiver {
    /// Puts what it receives into the inbox.
    pub fn new(client: Client, pods: Store<PodMeta>, inbox: Arc<Inbox>, metrics: ControllerMetrics) -> Receiver {
        Receiver { tokens: Tokens::new(client), pods, inbox, metrics }
    }

    /// Answers one request to `/progress`. It bounds the body itself, and its time.
    pub async fn answer(&self, request: Request<Body>) -> Response {
        let refused = match self.receive(request).await {
            Ok(()) => {
                self.metrics.report(Reported::Accepted);
                return StatusCode::NO_CONTENT.into_response();
            }
            Err(refused) => refused,
        };
        self.metrics.report(refused.outcome());
        tracing::debug!(%refused, "a report was refused");
        let mut response = (refused.status(), format!("{refused}\n")).into_response();
        if let Refused::TooOften(wait) = refused {
            response.headers_mut().insert(header::RETRY_AFTER, (wait.as_secs() + 1).into());
        }
        response
    }

    async fn receive(&self, request: Request<Body>) -> Result<(), Refused> {
        if request.method() != Method::POST {
            return Err(Refused::Method);
        }
        let (parts, body) = request.into_parts();
        let token = bearer(&parts.headers).ok_or(Refused::NoToken)?;
        let whole = timely(limits::WEB_TIMEOUT, to_bytes(body, BODY_BYTES)).await.ok_or(Refused::TooSlow)?;
        let bytes = whole.map_err(|_| Refused::TooLong)?;
        let who = self.tokens.who(token).await?;
        let pod = Seen::find(&self.pods, &who.namespace, &who.pod).filter(|pod| pod.uid() == who.uid);
        let pod = pod.ok_or(Refused::Stranger)?;
        let sync = pod.injected_by().ok_or(Refused::Stranger)?;
        let report = read(&bytes)?;
        if report.sync != sync {
            return Err(Refused::OtherSync);
        }
        if pod.directory().is_some_and(|own| own != report.directory) {
            return Err(Refused::OtherPath);
        }
        self.inbox.put(&pod, report, clock::now()).map_err(Refused::TooOften)
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= limits::TOKEN_BYTES).then_some(token)
}

/// A report that may be shown: what is not text on one line is not taken.
fn read(bytes: &[u8]) -> Result<Report, Refused> {
    let malformed = |why: &str| Refused::Malformed(why.to_owned());
    let report: Report = serde_json::from_slice(bytes).map_err(|error| Refused::Malformed(error.to_string()))?;
    if report.version != VERSION {
        return Err(malformed("its version is not known"));
    }
    let is_odd = |text: &str| text.is_empty() || text.len() > DIRECTORY_BYTES || text.chars().any(char::is_control);
    if is_odd(&report.directory) {
        return Err(malformed("its directory is empty, too long or not text"));
    }
    let has_odd_key =
        report.key_fingerprint.as_ref().is_some_and(|key| key.len() > 64 || !key.bytes().all(|b| b.is_ascii_graphic()));
    if has_odd_key {
        return Err(malformed("its fingerprint is none"));
    }
    let trouble = report.trouble.filter(|_| !report.result.is_complete());
    let message = report.message.as_deref().map(|text| one_line(text, MESSAGE_BYTES));
    Ok(Report { trouble, message, ..report })
}
