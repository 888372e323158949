//! The listener of the webhook: TLS with certificates that may change at any time, HTTP/2 and HTTP/1.1, and bounds on all that
//! a client may take. It knows nothing of what is asked.

use super::timely;
use crate::admin::{AdminError, accept_until, listen};
use crate::runtime::{Stop, Tasks, clock, limits};
use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use rustls::ServerConfig;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Context;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What answers requests.
pub trait Site: Send + Sync + 'static {
    /// The answer to one request. It bounds the body and its own time.
    fn answer(&self, request: Request<Body>) -> impl Future<Output = Response> + Send;
}

/// A listening webhook.
pub struct Front {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Front {
    /// Listens, with TLS where there is a configuration for it.
    pub async fn bind(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Result<Front, AdminError> {
        Ok(Front { listener: listen(address).await?, tls: tls.map(TlsAcceptor::from) })
    }

    /// The address, with the port that the kernel chose where 0 was asked for.
    pub fn address(&self) -> Result<SocketAddr, AdminError> {
        let address = self.listener.local_addr();
        address.map_err(|cause| AdminError::Listen { address: "the chosen address".into(), cause })
    }

    /// Answers until the stop is asked for, and then for as long as the cluster may not know of it yet. What is under way after
    /// that is finished, within its bound.
    pub async fn serve(self, stop: &Stop, drain: Duration, site: Arc<impl Site>) {
        let closing = Stop::new();
        let mut guests: Vec<Arc<Guest>> = Vec::new();
        let Front { listener, tls } = self;
        let accept = move |context: &mut Context<'_>| listener.poll_accept(context).map_ok(|(stream, _)| stream);
        let begin = |stream: TcpStream, connections: &mut Tasks<()>| {
            make_room(&mut guests);
            let guest = Arc::new(Guest::new());
            guests.push(Arc::clone(&guest));
            let (tls, site, closing) = (tls.clone(), Arc::clone(&site), closing.clone());
            connections.spawn(async move {
                let cut = guest.cut.clone();
                // Cancel-safe: whichever ends first, nothing is kept.
                tokio::select! {
                    () = cut.wait() => {}
                    () = converse(stream, tls, &closing, (guest, site)) => {}
                }
            });
        };
        let end = async {
            stop.wait().await;
            clock::sleep(drain).await;
            closing.ask();
        };
        tokio::join!(accept_until((&closing, limits::HOOK_FAREWELL), "webhook connections", accept, begin), end);
    }
}

impl std::fmt::Debug for Front {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Front({:?})", self.listener)
    }
}

/// One connection, as far as the others are concerned.
#[derive(Debug)]
struct Guest {
    cut: Stop,
    under_way: AtomicUsize,
    rests_since: Mutex<Instant>,
}

impl Guest {
    fn new() -> Guest {
        Guest { cut: Stop::new(), under_way: AtomicUsize::new(0), rests_since: Mutex::new(clock::now()) }
    }

    async fn serve(&self, request: Request<Incoming>, site: &impl Site) -> Response {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let _visit = Visit(self);
        site.answer(request.map(Body::new)).await
    }

    fn rests_since(&self) -> Instant {
        *self.rests_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way. A client that leaves drops it in the middle.
struct Visit<'a>(&'a Guest);

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        *self.0.rests_since.lock().unwrap_or_else(PoisonError::into_inner) = clock::now();
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Cuts a connection where there are too many: the one that has rested longest, or else the oldest.
fn make_room(guests: &mut Vec<Arc<Guest>>) {
    guests.retain(|guest| Arc::strong_count(guest) > 1 && !guest.cut.asked());
    if guests.len() < limits::HOOK_CONNECTIONS {
        return;
    }
    let at_rest = guests.iter().filter(|guest| guest.under_way.load(Ordering::Relaxed) == 0);
    if let Some(guest) = at_rest.min_by_key(|guest| guest.rests_since()).or(guests.first()) {
        guest.cut.ask();
    }
}

/// One connection from its first byte to its last.
async fn converse<S: Site>(stream: TcpStream, tls: Option<TlsAcceptor>, closing: &Stop, (guest, site): (Arc<Guest>, Arc<S>)) {
    // Answers are small and waited for.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let (guest, site) = (Arc::clone(&guest), Arc::clone(&site));
        async move { Ok::<_, Infallible>(guest.serve(request, &*site).await) }
    });
    let Some(tls) = tls else { return speak_http1(TokioIo::new(stream), service, closing).await };
    match timely(limits::WEB_TIMEOUT, tls.accept(stream)).await {
        Some(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
            speak_http2(TokioIo::new(stream), service, closing).await;
        }
        Some(Ok(stream)) => speak_http1(TokioIo::new(stream), service, closing).await,
        Some(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        None => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn speak_http1<V>(stream: impl Read + Write + Unpin + 'static, service: V, closing: &Stop)
where
    V: Service<Request<Incoming>, Response = Response, Error = Infallible> + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Also how long a connection may rest between two requests.
        .header_read_timeout(limits::HOOK_PING)
        .max_buf_size(limits::WEB_HEAD_BYTES)
        .serve_connection(stream, service);
    speak(connection, closing).await;
}

async fn speak_http2<V>(stream: impl Read + Write + Unpin + 'static, service: V, closing: &Stop)
where
    V: Service<Request<Incoming>, Response = Response, Error = Infallible> + 'static,
    V::Future: Send + 'static,
{
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::HOOK_STREAMS)
        .max_header_list_size(u32::try_from(limits::WEB_HEAD_BYTES).unwrap_or(u32::MAX))
        .keep_alive_interval(limits::HOOK_PING)
        .keep_alive_timeout(limits::WEB_TIMEOUT)
        .serve_connection(stream, service);
    speak(connection, closing).await;
}

/// Speaks until the client leaves, or what is under way when the end has come has ended. What a client does wrong is its own
/// affair.
async fn speak(connection: impl GracefulConnection, closing: &Stop) {
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = closing.wait() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
