//! The page for probes and Prometheus: three paths over plain HTTP. No router: there is nothing to route, and what
//! counts here are the bounds on connections, heads and time, which the HTTP library itself offers.

use super::accept::accept_until;
use super::error::AdminError;
use super::health::{Health, Unwell};
use crate::contract::control::Check;
use crate::runtime::{Stop, clock, limits};
use crate::telemetry::{METRICS_TYPE, Metrics};
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// A listening health address.
#[derive(Debug)]
pub struct Web {
    listener: TcpListener,
}

impl Web {
    /// Listens. On `[::]` that means every address of the machine, also where it has no IPv6.
    pub async fn bind(address: SocketAddr) -> Result<Web, AdminError> {
        let mut bound = TcpListener::bind(address).await;
        let is_taken = matches!(&bound, Err(error) if error.kind() == ErrorKind::AddrInUse);
        if bound.is_err() && !is_taken && address.ip() == Ipv6Addr::UNSPECIFIED {
            bound = TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await;
        }
        let listener = bound.map_err(|cause| AdminError::Listen { address: address.to_string(), cause })?;
        Ok(Web { listener })
    }

    /// The address, with the port that the kernel chose where 0 was asked for.
    pub fn address(&self) -> Result<SocketAddr, AdminError> {
        let address = self.listener.local_addr();
        address.map_err(|cause| AdminError::Listen { address: "the chosen address".into(), cause })
    }

    /// Answers until the stop is asked for; answers that are ready get a moment to leave.
    pub async fn serve(self, stop: &Stop, health: &Health, metrics: &Metrics) {
        let mut open = VecDeque::new();
        let accept = |context: &mut Context<'_>| self.listener.poll_accept(context).map_ok(|(stream, _)| stream);
        accept_until(stop, "health connections", accept, |stream, connections| {
            let cut = make_room(&mut open);
            let (health, metrics) = (health.clone(), metrics.clone());
            connections.spawn(async move { converse(stream, cut, &health, &metrics).await });
        })
        .await;
    }
}

/// Cuts the oldest connection where there are too many. The new one ends when what is returned hears something: its
/// other half is dropped to cut it.
fn make_room(open: &mut VecDeque<oneshot::Sender<()>>) -> oneshot::Receiver<()> {
    open.retain(|connection| !connection.is_closed());
    if open.len() >= limits::WEB_CONNECTIONS {
        open.pop_front();
    }
    let (keep, cut) = oneshot::channel();
    open.push_back(keep);
    cut
}

/// One request and its answer.
async fn converse(stream: TcpStream, cut: oneshot::Receiver<()>, health: &Health, metrics: &Metrics) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(request.method(), request.uri().path(), health, metrics);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::WEB_TIMEOUT)
        .max_buf_size(limits::WEB_HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // A client that sends nonsense or leaves is its own affair. Cancel-safe: whichever ends first, nothing is kept.
    tokio::select! {
        _ = connection => {}
        _ = cut => {}
        () = clock::sleep(2 * limits::WEB_TIMEOUT) => {}
    }
}

fn answer(method: &Method, path: &str, health: &Health, metrics: &Metrics) -> Response<String> {
    let page = match path {
        "/healthz" => verdict(health.check(Check::Live)),
        "/readyz" => verdict(health.check(Check::Ready)),
        "/metrics" => (StatusCode::OK, METRICS_TYPE, metrics.render()),
        _ => plain(StatusCode::NOT_FOUND, "there are /healthz, /readyz and /metrics"),
    };
    // A body is neither wanted nor read.
    let asks = method == Method::GET || method == Method::HEAD;
    let (status, kind, text) = if asks { page } else { plain(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD are served") };
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    if !asks {
        response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
    }
    response
}

type Page = (StatusCode, &'static str, String);

fn verdict(outcome: Result<(), Unwell>) -> Page {
    match outcome {
        Ok(()) => plain(StatusCode::OK, "ok"),
        Err(unwell) => plain(StatusCode::SERVICE_UNAVAILABLE, &unwell.to_string()),
    }
}

fn plain(status: StatusCode, text: &str) -> Page {
    (status, "text/plain; charset=utf-8", format!("{text}\n"))
}
