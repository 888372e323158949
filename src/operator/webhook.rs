//! What is answered on each path of the webhook. An answer about a Pod comes from what is known, asks the API server once where
//! that is not enough, and writes nothing: a dry run is no special case.

use super::crd::PodFilesystemSync;
use super::inject::{Choice, Injection, Refusal, Surroundings, inject, names, select};
use super::progress::Receiver;
use super::readiness::Readiness;
use super::review::{Answer, Question, ReviewError};
use super::web::Site;
use super::{caches, in_words, no_answer, timely};
use crate::admin::{Page, respond};
use crate::contract::kubernetes::OPT_IN_LABEL;
use crate::contract::progress::one_line;
use crate::runtime::{clock, compute, limits};
use crate::telemetry::{OperatorMetrics, Refuse, Skip, Verdict};
use axum::body::{Body, to_bytes};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use hyper::body::Body as _;
use kube::api::ListParams;
use kube::runtime::reflector::Store;
use kube::{Api, Client};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The paths that are asked with a review.
const MUTATE: &str = "/mutate-pods";
const INFORM: &str = "/inform";
const PROGRESS: &str = "/progress";
/// What Prometheus reads: it names namespaces and PodFilesystemSyncs.
const METRICS: &str = "/metrics";

/// What injected containers are made with, as it is now: what is found out about the cluster may change.
pub type Around = Box<dyn Fn() -> Surroundings + Send + Sync>;

/// What is answered otherwise where it is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Pods without a PodFilesystemSync are let in as they are.
    pub lets_unmatched_in: bool,
    /// Metrics have an address of their own: they are not shown to all that reach the webhook.
    pub hides_metrics: bool,
}

/// What a review is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Matter {
    /// A Pod.
    Pod,
    /// A PodFilesystemSync: configurations of the predecessor still ask.
    Sync,
}

/// The webhook of one replica.
pub struct Webhook {
    client: Client,
    syncs: Store<PodFilesystemSync>,
    around: Around,
    rules: Rules,
    progress: Option<Receiver>,
    readiness: Arc<Readiness>,
    metrics: OperatorMetrics,
    small: Semaphore,
    large: Semaphore,
    lookups: Semaphore,
}

/// Why a request is not answered as it asks.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("a review is posted")]
    Method,
    #[error("a review is application/json")]
    ContentType,
    #[error("a review has at most {} MiB", limits::REVIEW_BYTES >> 20)]
    TooLong,
    #[error("the review did not arrive whole")]
    Cut,
    #[error("the review was not answered within {} s", limits::REVIEW_TIMEOUT.as_secs())]
    TooSlow,
    #[error(transparent)]
    Review(#[from] ReviewError),
    #[error("writing the answer: {0}")]
    Answer(#[from] serde_json::Error),
}

impl Unanswered {
    fn status(&self) -> StatusCode {
        match self {
            Unanswered::Method => StatusCode::METHOD_NOT_ALLOWED,
            Unanswered::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Unanswered::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Unanswered::TooSlow => StatusCode::SERVICE_UNAVAILABLE,
            Unanswered::Cut | Unanswered::Review(_) => StatusCode::BAD_REQUEST,
            Unanswered::Answer(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Webhook {
    /// Answers from `syncs`, and from the API server where that is not enough.
    pub fn new(
        (client, syncs): (Client, Store<PodFilesystemSync>),
        around: Around,
        rules: Rules,
        progress: Option<Receiver>,
        (readiness, metrics): (Arc<Readiness>, OperatorMetrics),
    ) -> Webhook {
        let [small, large, lookups] = [limits::REVIEWS_SMALL, limits::REVIEWS_LARGE, limits::LOOKUPS].map(Semaphore::new);
        Webhook { client, syncs, around, rules, progress, readiness, metrics, small, large, lookups }
    }

    /// The pages for probes and Prometheus.
    pub fn page(&self, path: &str) -> Page {
        match path {
            // The second is what the predecessor's probes ask for.
            "/healthz" | "/health" => Page::plain(StatusCode::OK, "ok"),
            "/readyz" => {
                let unready = self.readiness.check(caches::is_whole(&self.syncs));
                Page::verdict(unready.map_err(|missing| format!("ready: {missing}")))
            }
            METRICS => Page::metrics(self.metrics.render()),
            _ => Page::missing(),
        }
    }

    /// Answers a review, and counts it.
    async fn review(&self, matter: Matter, request: Request<Body>) -> Response {
        let begin = clock::now();
        let answered = timely(limits::REVIEW_TIMEOUT, self.answer_review(matter, request)).await;
        let (verdict, response) = match answered.unwrap_or(Err(Unanswered::TooSlow)) {
            Ok((verdict, body)) => (verdict, ([(header::CONTENT_TYPE, "application/json")], body).into_response()),
            Err(unanswered) => {
                let problem = one_line(&unanswered.to_string(), limits::REFUSAL_BYTES);
                tracing::warn!("a review was not answered: {problem}");
                (Verdict::Error, (unanswered.status(), format!("{problem}\n")).into_response())
            }
        };
        if matter == Matter::Pod {
            self.metrics.reviewed(verdict, begin.elapsed());
        }
        response
    }

    async fn answer_review(&self, matter: Matter, request: Request<Body>) -> Result<(Verdict, Vec<u8>), Unanswered> {
        if request.method() != Method::POST {
            return Err(Unanswered::Method);
        }
        if !is_json(&request) {
            return Err(Unanswered::ContentType);
        }
        let body = request.into_body();
        let length = body.size_hint().upper();
        let is_small = length.is_some_and(|length| length <= limits::REVIEW_SMALL_BYTES as u64);
        if length.is_some_and(|length| length > limits::REVIEW_BYTES as u64) {
            return Err(Unanswered::TooLong);
        }
        // Held until the answer is written. It is never closed.
        let _turn = if is_small { &self.small } else { &self.large }.acquire().await.ok();
        let body = read(body).await?;
        let question = match is_small {
            true => Question::read(&body)?,
            false => compute("a large review", move || Question::read(&body)).await?,
        };
        let (verdict, answer) = match matter {
            Matter::Pod => self.judge(&question).await?,
            // What PodFilesystemSyncs there are is heard from the watch, and what is wrong with one is told by its schema and its
            // conditions.
            Matter::Sync => (Verdict::Skipped(Skip::NotCreated), Answer::unchanged(&question.uid, Vec::new())),
        };
        Ok((verdict, answer.body()))
    }

    async fn judge(&self, question: &Question) -> Result<(Verdict, Answer), serde_json::Error> {
        let Question { uid, namespace, object, .. } = question;
        if !question.is_new_pod {
            return Ok((Verdict::Skipped(Skip::NotCreated), Answer::unchanged(uid, Vec::new())));
        }
        let known = self.syncs.state_filter(|sync| sync.metadata.namespace.as_deref() == Some(namespace));
        match select(object, namespace, known.iter().map(|sync| &**sync)) {
            // What it asked for a moment ago is as good as what it asks for now, but not if that was nothing.
            Ok(Choice::Sync(sync)) if !sync.spec.asks_for_nothing() => return self.inject(question, sync),
            _ => {}
        }
        // The cache may be behind: what was applied together with the Pod is not in it yet.
        let found = match self.look_up(namespace).await {
            Ok(found) => found,
            Err(error) => {
                let problem = format!(
                    "no PodFilesystemSync that asks for anything is known here for this Pod, and the API server was asked in vain \
                     ({}); try again",
                    in_words(&error)
                );
                return Ok(refused(question, Refuse::Unknown, problem));
            }
        };
        match select(object, namespace, found.iter()) {
            Ok(Choice::Sync(sync)) => self.inject(question, sync),
            Ok(Choice::None) if self.rules.lets_unmatched_in => {
                let warning = format!("{}; it is not synced", no_match(namespace, &found));
                Ok((Verdict::Skipped(Skip::NoMatch), Answer::unchanged(uid, vec![warning])))
            }
            Ok(Choice::None) => {
                let hint = format!("create one whose podSelector matches, or take the label {OPT_IN_LABEL} away");
                Ok(refused(question, Refuse::NoMatch, format!("{}: {hint}", no_match(namespace, &found))))
            }
            Err(refusal) => Ok(refused(question, Refuse::Choice, refusal.to_string())),
        }
    }

    fn inject(&self, question: &Question, sync: &PodFilesystemSync) -> Result<(Verdict, Answer), serde_json::Error> {
        let surroundings = Surroundings { namespace: question.namespace.clone(), ..(self.around)() };
        let injected: Result<Injection, Refusal> = inject(&question.object, sync, &surroundings);
        let Injection { patch, warnings, skipped, .. } = match injected {
            Ok(injection) => injection,
            Err(refusal) => return Ok(refused(question, Refuse::Injection, refusal.to_string())),
        };
        let verdict = if skipped.is_some() { Verdict::Skipped(Skip::Pod) } else { Verdict::Injected };
        tracing::debug!(namespace = question.namespace, sync = sync.metadata.name, skipped, "a Pod was judged");
        Ok((verdict, Answer::changed(&question.uid, &patch, warnings)?))
    }

    /// The PodFilesystemSyncs of a namespace, as the API server has them now.
    async fn look_up(&self, namespace: &str) -> Result<Vec<PodFilesystemSync>, kube::Error> {
        let syncs: Api<PodFilesystemSync> = Api::namespaced(self.client.clone(), namespace);
        let asked = async {
            // Never closed.
            let _turn = self.lookups.acquire().await.ok();
            syncs.list(&ListParams::default()).await
        };
        timely(limits::LOOKUP_TIMEOUT, asked).await.unwrap_or_else(|| Err(no_answer())).map(|list| list.items)
    }
}

impl Site for Webhook {
    async fn answer(&self, request: Request<Body>) -> Response {
        match (request.uri().path(), &self.progress) {
            (MUTATE, _) => self.review(Matter::Pod, request).await,
            (INFORM, _) => self.review(Matter::Sync, request).await,
            (PROGRESS, Some(receiver)) => receiver.answer(request).await,
            (METRICS, _) if self.rules.hides_metrics => respond(request.method(), Page::missing()).map(Body::from),
            (path, _) => respond(request.method(), self.page(path)).map(Body::from),
        }
    }
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Webhook")
    }
}

fn refused(question: &Question, why: Refuse, message: String) -> (Verdict, Answer) {
    // A Pod's own words are in it: they begin no line of a log, and fill none.
    let message = one_line(&message, limits::REFUSAL_BYTES);
    let namespace = one_line(&question.namespace, limits::REFUSAL_BYTES);
    tracing::info!(namespace, "a Pod was refused: {message}");
    (Verdict::Refused(why), Answer::refused(&question.uid, message))
}

fn no_match(namespace: &str, found: &[PodFilesystemSync]) -> String {
    let names = names(found).join(", ");
    match names.is_empty() {
        true => format!("there is no PodFilesystemSync in the namespace '{namespace}'"),
        false => format!("no PodFilesystemSync of the namespace '{namespace}' matches this Pod (there are: {names})"),
    }
}

fn is_json(request: &Request<Body>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

async fn read(body: Body) -> Result<Bytes, Unanswered> {
    // The API server sends it at once, and others wait meanwhile.
    let whole = timely(limits::WEB_TIMEOUT, to_bytes(body, limits::REVIEW_BYTES)).await.ok_or(Unanswered::Cut)?;
    whole.map_err(|error| {
        let is_long = std::error::Error::source(&error).is_some_and(|cause| cause.to_string().contains("length limit"));
        if is_long { Unanswered::TooLong } else { Unanswered::Cut }
    })
}
