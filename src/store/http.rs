//! The transport through which OpenDAL sends.
//!
//! OpenDAL signs requests and speaks S3; what came back is judged here, on the raw answer, because OpenDAL folds
//! answers together that mean different things to a commit, and because an empty or cut page must never pass for an
//! empty store.

use super::error::{Asked, StoreError};
use super::gate::{End, Gate};
use super::s3::Identity;
use super::{Patience, Requests};
use crate::runtime::{clock, limits};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode, header};
use opendal::raw::Operation;
use opendal::raw::oio::ReadStream;
use opendal::{Buffer, ErrorKind, HttpBody, HttpTransport};
use opendal_http_transport_reqwest::ReqwestTransport;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An error answer longer than this is not read for its code.
const ERROR_BYTES: usize = 64 << 10;
/// No answer is longer: the largest object with room to spare. A page of a listing is far smaller.
pub(super) const ANSWER_BYTES: u64 = limits::OBJECT_CAP_BYTES + (1 << 20);

/// Requests and bytes since the bucket was opened.
#[derive(Debug, Default)]
pub(super) struct Meter {
    get: AtomicU64,
    put: AtomicU64,
    list: AtomicU64,
    head: AtomicU64,
    delete: AtomicU64,
    other: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) bytes_up: AtomicU64,
    pub(super) bytes_down: AtomicU64,
}

impl Meter {
    pub(super) fn count(&self, operation: Option<Operation>) {
        let counter = match operation {
            Some(Operation::Read) => &self.get,
            Some(Operation::Write) => &self.put,
            Some(Operation::List) => &self.list,
            Some(Operation::Stat) => &self.head,
            Some(Operation::Delete) => &self.delete,
            _ => &self.other,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> Requests {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Requests {
            get: load(&self.get),
            put: load(&self.put),
            list: load(&self.list),
            head: load(&self.head),
            delete: load(&self.delete),
            other: load(&self.other),
            retried: load(&self.retried),
            bytes_up: load(&self.bytes_up),
            bytes_down: load(&self.bytes_down),
        }
    }
}

/// No whole answer came.
#[derive(Debug, Clone)]
pub(super) struct Lost {
    pub(super) text: String,
    pub(super) temporary: bool,
    /// The store was waited for.
    pub(super) late: bool,
}

impl Lost {
    pub(super) fn again(text: impl Into<String>) -> Lost {
        Lost { text: text.into(), temporary: true, late: false }
    }

    fn for_good(text: impl Into<String>) -> Lost {
        Lost { text: text.into(), temporary: false, late: false }
    }

    pub(super) fn late(text: impl Into<String>) -> Lost {
        Lost { text: text.into(), temporary: true, late: true }
    }
}

/// A whole answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Got {
    pub(super) status: u16,
    /// The S3 error code; empty when the answer has none.
    pub(super) code: String,
    pub(super) message: String,
    pub(super) etag: Option<String>,
    /// What rclone and others call `mtime`.
    pub(super) mtime: Option<String>,
    /// What mc leaves.
    pub(super) mc_attrs: Option<String>,
    pub(super) length: Option<u64>,
    /// First byte, last byte and whole length of a part.
    pub(super) part: Option<(u64, u64, u64)>,
    /// How long the store wants to be left alone.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

impl Got {
    /// Whether the store has more to do than it can.
    pub(super) fn is_busy(&self) -> bool {
        const CODES: [&str; 4] = ["SlowDown", "RequestTimeout", "ServiceUnavailable", "TooManyRequests"];
        matches!(self.status, 408 | 429 | 503 | 504) || CODES.contains(&self.code.as_str())
    }

    /// Whether other credentials would make a difference: these are over, or no longer known.
    fn refuses_credentials(&self) -> bool {
        const CODES: [&str; 6] = [
            "ExpiredToken",
            "InvalidAccessKeyId",
            "InvalidToken",
            "InvalidTokenId",
            "SignatureDoesNotMatch",
            "TokenRefreshRequired",
        ];
        let refused = matches!(self.status, 400 | 401 | 403);
        refused && (CODES.contains(&self.code.as_str()) || self.message.contains("expired"))
    }
}

/// What came back for one operation: of the last request for the object, and of a request for credentials that failed.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    pub(super) answer: Option<Result<Got, Lost>>,
    pub(super) credentials: Option<Lost>,
    /// The store's name for the upload in parts that was begun.
    pub(super) upload_id: Option<String>,
    /// The answer refused credentials for which there may be others by now: another try is worth it.
    pub(super) is_renewed: bool,
}

impl Exchange {
    /// What was recorded, once.
    pub(super) fn take(recorded: &Mutex<Exchange>) -> Exchange {
        std::mem::take(&mut *recorded.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a page of a listing must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    /// The XML of S3.
    S3,
    /// The XML of WebDAV, behind its own status.
    Multistatus,
    /// OpenDAL reads it, and calls what it cannot read an error.
    Other,
}

/// Sends one operation's requests, counts them and keeps the answer.
pub(super) struct Recording {
    pub(super) client: ReqwestTransport,
    pub(super) meter: Arc<Meter>,
    pub(super) exchange: Arc<Mutex<Exchange>>,
    pub(super) patience: Patience,
    pub(super) page: Page,
    pub(super) gate: Arc<Gate>,
    /// Who signs, where that is ours to know.
    pub(super) identity: Option<Identity>,
}

impl HttpTransport for Recording {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let operation = request.extensions().get::<Operation>().copied();
        let host = request.uri().host().unwrap_or_default().to_owned();
        let sent = clock::now();
        let answer = match operation {
            Some(_) => {
                let pass = self.gate.enter().await;
                let answer = self.ask(operation, request).await;
                pass.ended(end(&answer));
                answer
            }
            None => self.ask(operation, request).await,
        };
        let mut exchange = self.exchange.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok((got, _)) if operation.is_some() && self.is_renewed(&got, sent) => {
                *exchange = Exchange { answer: Some(Ok(got)), is_renewed: true, ..Exchange::default() };
                Err(opendal::Error::new(ErrorKind::Unexpected, "the credentials are renewed").set_temporary())
            }
            Ok((got, parts)) => {
                let body = got.body.clone();
                if operation == Some(Operation::Write) && got.status == 200 {
                    exchange.upload_id = begun_upload(&got.body).or(exchange.upload_id.take());
                }
                if operation.is_some() {
                    exchange.answer = Some(Ok(got));
                } else if got.status >= 300 {
                    let text = format!("{host} answered {} {}", got.status, got.code);
                    exchange.credentials = Some(Lost { text, temporary: got.status >= 500 || got.status == 429, late: false });
                }
                Ok(Response::from_parts(parts, replay(body)))
            }
            Err(lost) => {
                let temporary = lost.temporary;
                if operation.is_some() {
                    exchange.answer = Some(Err(lost));
                } else {
                    exchange.credentials = Some(Lost { text: format!("{host}: {}", lost.text), ..lost });
                }
                let error = opendal::Error::new(ErrorKind::Unexpected, "no whole answer came");
                // Only uploads in parts are tried again by OpenDAL; all else is judged and tried again here.
                Err(if temporary { error.set_temporary() } else { error })
            }
        }
    }
}

impl Recording {
    /// Puts other words in the place of what was seen.
    pub(super) fn change(&self, other: impl FnOnce(Exchange) -> Exchange) {
        let mut exchange = self.exchange.lock().unwrap_or_else(PoisonError::into_inner);
        *exchange = other(std::mem::take(&mut *exchange));
    }

    /// Tells the signer what became of a request, and whether another one may fare better.
    fn is_renewed(&self, got: &Got, sent: Instant) -> bool {
        let Some(identity) = &self.identity else { return false };
        if got.status < 300 {
            identity.accepted();
        }
        got.refuses_credentials() && identity.refused(sent)
    }

    async fn ask(&self, operation: Option<Operation>, request: Request<Buffer>) -> Result<(Got, http::response::Parts), Lost> {
        self.meter.count(operation);
        let up = request.body().len() as u64;
        self.meter.bytes_up.fetch_add(up, Ordering::Relaxed);
        let wait = match operation {
            Some(_) => self.patience.for_upload(up),
            None => limits::CREDENTIALS_TIMEOUT,
        };
        let sent = within(wait, self.client.fetch(request)).await;
        let response = sent.ok_or_else(|| Lost::late(format!("no answer within {} s", wait.as_secs())))?;
        let (parts, mut body) = response.map_err(|error| lost_because(&error))?.into_parts();
        let length = number(&parts.headers, header::CONTENT_LENGTH);
        let body = self.collect(&mut body, if operation == Some(Operation::Stat) { None } else { length }).await?;
        match (operation, self.page) {
            (Some(Operation::List), Page::S3) if parts.status == StatusCode::OK => check_page(&body)?,
            (Some(Operation::List), Page::Multistatus) if parts.status.is_success() => check_multistatus(parts.status, &body)?,
            _ => {}
        }
        let (code, message) = if parts.status.is_success() { Default::default() } else { error_in(&body) };
        let got = Got {
            status: parts.status.as_u16(),
            code,
            message,
            etag: text(&parts.headers, header::ETAG.as_str()),
            mtime: text(&parts.headers, "x-amz-meta-mtime"),
            mc_attrs: text(&parts.headers, "x-amz-meta-mc-attrs"),
            length,
            part: part(&parts.headers),
            retry_after: text(&parts.headers, header::RETRY_AFTER.as_str()).and_then(|text| wait_of(&text)),
            body,
        };
        Ok((got, parts))
    }

    /// The whole body in one piece, or an error: never a part.
    async fn collect(&self, body: &mut HttpBody, length: Option<u64>) -> Result<Bytes, Lost> {
        let expected = length.unwrap_or(0).min(ANSWER_BYTES);
        let mut whole = BytesMut::with_capacity(usize::try_from(expected).unwrap_or(0));
        loop {
            let wait = self.patience.silence;
            let chunk = within(wait, body.read()).await;
            let chunk = chunk.ok_or_else(|| Lost::late(format!("the answer stopped for {} s", wait.as_secs())))?;
            let chunk = chunk.map_err(|error| {
                let cause = lost_because(&error).text;
                Lost::again(format!("the answer broke off after {} bytes ({cause})", whole.len()))
            })?;
            if chunk.is_empty() {
                break;
            }
            self.meter.bytes_down.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            for piece in chunk {
                whole.extend_from_slice(&piece);
            }
            if whole.len() as u64 > ANSWER_BYTES {
                return Err(Lost::for_good(too_long()));
            }
        }
        if length.is_some_and(|length| length != whole.len() as u64) {
            return Err(Lost::again(format!("the answer broke off after {} bytes", whole.len())));
        }
        Ok(whole.freeze())
    }
}

fn too_long() -> String {
    format!("the answer is longer than {ANSWER_BYTES} bytes")
}

/// Refuses an answer of that many bytes, which would have to be held in memory.
pub(super) fn check_length(asked: &Asked, bytes: u64) -> Result<(), StoreError> {
    if bytes > ANSWER_BYTES { Err(StoreError::unavailable(asked, too_long(), false)) } else { Ok(()) }
}

fn end(answer: &Result<(Got, http::response::Parts), Lost>) -> End {
    match answer {
        Ok((got, _)) if got.is_busy() => End::Busy(got.retry_after),
        Ok((got, _)) if got.status < 500 => End::Answered,
        Err(lost) if lost.late => End::Busy(None),
        _ => End::Unknown,
    }
}

/// Seconds, or a date.
fn wait_of(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp().as_millisecond();
    Some(Duration::from_millis(u64::try_from(at).ok()?.saturating_sub(clock::wall_ms())))
}

/// Runs work for at most so long; `None` when it did not end. The work is dropped then.
pub(super) async fn within<T>(longest: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = clock::sleep(longest) => None,
    }
}

/// The body once more, for OpenDAL.
fn replay(body: Bytes) -> HttpBody {
    let pieces: Vec<opendal::Result<Buffer>> = if body.is_empty() { vec![] } else { vec![Ok(Buffer::from(body))] };
    // OpenDAL's own check of the length is not needed: the body was checked when it was collected.
    HttpBody::new(futures::stream::iter(pieces), None)
}

/// A page must be an S3 listing from its beginning to its end, and say how it goes on: a log-in page answered with
/// status 200, or half a page, would otherwise read as an empty store.
fn check_page(body: &[u8]) -> Result<(), Lost> {
    let text = String::from_utf8_lossy(body);
    if !text.contains("<ListBucketResult") {
        return Err(Lost::for_good("the answer is not a listing of an S3 store"));
    }
    let token = text.split_once("<NextContinuationToken>").map_or("", |(_, rest)| rest);
    let stuck = text.contains("<IsTruncated>true") && (token.is_empty() || token.starts_with('<'));
    if !text.contains("</ListBucketResult>") || stuck {
        return Err(Lost::again("the listing is cut off"));
    }
    Ok(())
}

fn check_multistatus(status: StatusCode, body: &[u8]) -> Result<(), Lost> {
    let text = String::from_utf8_lossy(body);
    if status != StatusCode::MULTI_STATUS || !text.contains("multistatus") {
        return Err(Lost::for_good("the answer is not a listing of a WebDAV server"));
    }
    let end = text.trim_end();
    // An empty one may close itself.
    if end.ends_with("multistatus>") || end.ends_with("/>") { Ok(()) } else { Err(Lost::again("the listing is cut off")) }
}

/// Why the client gave up, in the words of the deepest cause. URLs are not repeated: a signed one would be a secret.
fn lost_because(error: &opendal::Error) -> Lost {
    let mut deepest: Option<&(dyn Error + 'static)> = error.source();
    let mut connecting = false;
    while let Some(cause) = deepest {
        connecting |= cause.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect);
        match cause.source() {
            Some(next) => deepest = Some(next),
            None => break,
        }
    }
    let text = deepest.map_or_else(|| error.message().to_owned(), ToString::to_string);
    // A certificate does not become valid by asking again.
    let temporary = !text.contains("certificate");
    let text = if connecting { format!("no connection: {text}") } else { text };
    Lost { text, temporary, late: false }
}

fn begun_upload(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok().filter(|text| text.contains("<InitiateMultipartUploadResult"))?;
    tag(text, "UploadId")
}

/// The code and message of an S3 error answer.
fn error_in(body: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(body.get(..body.len().min(ERROR_BYTES)).unwrap_or_default());
    let short = |text: String| text.chars().filter(|character| !character.is_control()).take(300).collect();
    (tag(&text, "Code").map(short).unwrap_or_default(), tag(&text, "Message").map(short).unwrap_or_default())
}

/// What stands in the first element of a name.
pub(super) fn tag(text: &str, name: &str) -> Option<String> {
    let rest = text.split_once(&format!("<{name}>"))?.1;
    let inner = rest.split_once(&format!("</{name}>"))?.0;
    Some(inner.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&"))
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn number(headers: &HeaderMap, name: header::HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// `Content-Range: bytes first-last/whole`.
fn part(headers: &HeaderMap) -> Option<(u64, u64, u64)> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, whole) = text.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, whole.parse().ok()?))
}
