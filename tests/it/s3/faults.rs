//! The door of the server: it logs every request and makes things go wrong.

use super::BUCKET;
use super::bucket::Overlooked;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::dto::StreamingBlob;
use s3s::service::S3Service;
use s3s::{Body, HttpError};
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    Put,
    Head,
    List,
    Delete,
    Other,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Seen {
    pub verb: Verb,
    /// The key, or the prefix that is listed.
    pub key: String,
    /// Whether a put must not overwrite.
    pub conditional: bool,
    /// The host it was meant for.
    pub host: String,
    /// The access key it was signed with.
    pub user: String,
    /// The session token it was signed with.
    pub token: Option<String>,
    /// Requests that came before this one.
    pub ordinal: usize,
    /// The status of the answer; 0 before there is one, and when there never was one.
    pub status: u16,
}

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Nothing.
    None,
    /// It is refused when more than so many are under way, this one included; else it takes the time.
    Crowd(usize, Duration),
    /// It is refused with the wish to be left alone for so many seconds.
    After(u64),
    /// It is refused with this status and S3 error code.
    Status(u16, &'static str),
    /// It is answered with this page instead of by the store.
    Page(u16, &'static str),
    /// The connection ends; nothing is done.
    DropBefore,
    /// It is carried out, and the connection ends without an answer.
    ApplyThenDrop,
    /// It is carried out after this time.
    Stall(Duration),
    /// It is carried out; the answer's body begins after this time.
    SlowFirstByte(Duration),
    /// The answer declares its full length and ends after so many bytes.
    TruncateBody(usize),
    /// The answer has only so many bytes, and says so.
    WrongLength(usize),
    /// The condition of a put is overlooked.
    IgnoreCondition,
}

type Decide = Box<dyn FnMut(&Seen) -> Fault + Send>;

pub struct Front {
    service: S3Service,
    decide: Mutex<Decide>,
    seen: Mutex<Vec<Seen>>,
    count: AtomicUsize,
    under_way: AtomicUsize,
}

impl Front {
    pub fn new(service: S3Service) -> Front {
        let decide: Decide = Box::new(|_| Fault::None);
        Front {
            service,
            decide: Mutex::new(decide),
            seen: Mutex::default(),
            count: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
        }
    }

    pub fn decide(&self, decide: impl FnMut(&Seen) -> Fault + Send + 'static) {
        *self.decide.lock().expect("no decision panics") = Box::new(decide);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("the log is only pushed to").clone()
    }

    pub fn forget(&self) {
        self.seen.lock().expect("the log is only pushed to").clear();
        self.count.store(0, Ordering::SeqCst);
    }

    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Body>, HttpError> {
        let mut seen = read(&request, self.count.fetch_add(1, Ordering::SeqCst));
        let fault = (self.decide.lock().expect("no decision panics"))(&seen);
        let crowd = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        let answer = self.answer(request, fault, crowd).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        seen.status = answer.as_ref().map_or(0, |response| response.status().as_u16());
        self.seen.lock().expect("the log is only pushed to").push(seen);
        answer
    }

    async fn answer(&self, request: Request<Incoming>, fault: Fault, crowd: usize) -> Result<Response<Body>, HttpError> {
        let mut request = request.map(Body::from);
        match fault {
            Fault::None => self.service.call(request).await,
            Fault::Status(status, code) => refuse(request, status, code).await,
            Fault::Crowd(most, _) if crowd > most => refuse(request, 503, "SlowDown").await,
            Fault::Crowd(_, time) => {
                tokio::time::sleep(time).await;
                self.service.call(request).await
            }
            Fault::After(seconds) => {
                let mut answer = refuse(request, 503, "SlowDown").await?;
                answer.headers_mut().insert(RETRY_AFTER, seconds.into());
                Ok(answer)
            }
            Fault::Page(status, body) => {
                drain(request).await;
                Ok(page(status, "text/html", body.to_owned()))
            }
            Fault::DropBefore => Err(gone()),
            Fault::ApplyThenDrop => {
                self.service.call(request).await?;
                Err(gone())
            }
            Fault::Stall(time) => {
                tokio::time::sleep(time).await;
                self.service.call(request).await
            }
            Fault::SlowFirstByte(time) => {
                let (head, body) = whole(self.service.call(request).await?).await?;
                let later = stream::once(async move {
                    tokio::time::sleep(time).await;
                    Ok::<_, io::Error>(body)
                });
                Ok(Response::from_parts(head, Body::from(StreamingBlob::wrap(later))))
            }
            Fault::TruncateBody(bytes) => {
                let (head, body) = whole(self.service.call(request).await?).await?;
                let part = body.slice(..bytes.min(body.len()));
                let broken = stream::iter([Ok(part), Err(io::Error::other("broken off on purpose"))]);
                Ok(Response::from_parts(head, Body::from(StreamingBlob::wrap(broken))))
            }
            Fault::WrongLength(bytes) => {
                let (mut head, body) = whole(self.service.call(request).await?).await?;
                let part = body.slice(..bytes.min(body.len()));
                head.headers.insert(CONTENT_LENGTH, part.len().into());
                Ok(Response::from_parts(head, Body::from(part)))
            }
            Fault::IgnoreCondition => {
                request.extensions_mut().insert(Overlooked);
                self.service.call(request).await
            }
        }
    }
}

fn read(request: &Request<Incoming>, ordinal: usize) -> Seen {
    let query = request.uri().query().unwrap_or_default();
    let path = request.uri().path().trim_start_matches('/');
    let key = path.strip_prefix(BUCKET).unwrap_or(path).trim_start_matches('/');
    let listing = query.contains("list-type=2");
    let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or_default();
    let verb = match *request.method() {
        Method::GET if listing => Verb::List,
        Method::GET => Verb::Get,
        Method::PUT => Verb::Put,
        Method::HEAD => Verb::Head,
        Method::DELETE => Verb::Delete,
        _ => Verb::Other,
    };
    let key = if listing { prefix.replace("%2F", "/") } else { key.to_owned() };
    let header = |name: &str| Some(request.headers().get(name)?.to_str().expect("text").to_owned());
    let (host, token) = (header("host").unwrap_or_default(), header("x-amz-security-token"));
    let user = header("authorization").and_then(|text| Some(text.split_once("Credential=")?.1.split('/').next()?.to_owned()));
    let user = user.unwrap_or_default();
    Seen { user, verb, key, conditional: request.headers().contains_key("if-none-match"), host, token, ordinal, status: 0 }
}

async fn refuse(request: Request<Body>, status: u16, code: &str) -> Result<Response<Body>, HttpError> {
    drain(request).await;
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>made up</Message></Error>");
    Ok(page(status, "application/xml", body))
}

/// A request must be read to its end before it is answered, or the client may see a reset instead of the answer.
async fn drain(request: Request<Body>) {
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.next().await {}
}

async fn whole(response: Response<Body>) -> Result<(hyper::http::response::Parts, Bytes), HttpError> {
    let (mut head, mut body) = response.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.try_next().await.map_err(HttpError::new)? {
        bytes.extend_from_slice(&piece);
    }
    head.headers.insert(CONTENT_LENGTH, bytes.len().into());
    Ok((head, bytes.freeze()))
}

fn page(status: u16, kind: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response.headers_mut().insert(CONTENT_TYPE, kind.parse().expect("a header"));
    response
}

fn gone() -> HttpError {
    HttpError::new(Box::new(io::Error::other("dropped on purpose")))
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, front: Arc<Front>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let front = Arc::clone(&front);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let front = Arc::clone(&front);
                async move { front.handle(request).await }
            });
            // An error here is a connection that ended: mostly on purpose.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}
