//! The listener of the webhook: TLS with certificates that may change at any time, HTTP/1.1, which is what the API server and
//! sidecars speak, and bounds on all that a client may take. It knows nothing of what is asked.

use super::timely;
use crate::admin::{AdminError, accept_until, listen};
use crate::runtime::{Stop, Tasks, clock, limits};
use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
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

/// How long connections live.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// One that rests for longer is ended.
    pub rest: Duration,
    /// After the stop was asked for, connections are taken for so long.
    pub drain: Duration,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms { rest: limits::HOOK_REST, drain: limits::HOOK_DRAIN }
    }
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
    pub async fn serve(self, stop: &Stop, terms: Terms, site: Arc<impl Site>) {
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
                    () = converse(stream, tls, (&closing, terms.rest), (guest, site)) => {}
                }
            });
        };
        let end = async {
            stop.wait().await;
            clock::sleep(terms.drain).await;
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
async fn converse<S: Site>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    ends: (&Stop, Duration),
    (guest, site): (Arc<Guest>, Arc<S>),
) {
    // Answers are small and waited for.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let (guest, site) = (Arc::clone(&guest), Arc::clone(&site));
        async move { Ok::<_, Infallible>(guest.serve(request, &*site).await) }
    });
    let Some(tls) = tls else { return speak(TokioIo::new(stream), service, ends).await };
    match timely(limits::WEB_TIMEOUT, tls.accept(stream)).await {
        Some(Ok(stream)) => speak(TokioIo::new(stream), service, ends).await,
        Some(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        None => tracing::debug!("a TLS handshake took too long"),
    }
}

/// Speaks until the client leaves, or what is under way when the end has come has ended. What a client does wrong is its own
/// affair.
async fn speak<V>(stream: impl Read + Write + Unpin, service: V, (closing, rest): (&Stop, Duration))
where
    V: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Also how long a connection may rest between two requests.
        .header_read_timeout(rest)
        .max_buf_size(limits::WEB_HEAD_BYTES)
        .serve_connection(stream, service);
    let mut connection = pin!(connection);
    // Cancel-safe: the connection stays where it is.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = closing.wait() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    use super::{Guest, Visit, make_room};
    use crate::runtime::limits;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    #[test]
    fn of_too_many_connections_the_one_that_rests_longest_is_cut() {
        let all: Vec<Arc<Guest>> = (0..limits::HOOK_CONNECTIONS).map(|_| Arc::new(Guest::new())).collect();
        let cut = |all: &[Arc<Guest>]| all.iter().map(|guest| guest.cut.asked()).collect::<Vec<_>>();
        let (busy, slow, rest) = (&all[0], &all[1], &all[2..]);
        busy.under_way.store(1, Ordering::Relaxed);
        // All but those two have asked something meanwhile; a head that never ends is a rest.
        for guest in rest {
            guest.under_way.fetch_add(1, Ordering::Relaxed);
            drop(Visit(guest));
        }
        let mut guests = all.clone();
        make_room(&mut guests);
        assert!(slow.cut.asked() && cut(&all).iter().filter(|is_cut| **is_cut).count() == 1);
        make_room(&mut guests);
        assert_eq!(cut(&all).iter().filter(|is_cut| **is_cut).count(), 1, "there is room now");
        guests.clone_from(&all);
        for guest in &all {
            guest.under_way.store(1, Ordering::Relaxed);
        }
        guests.remove(1);
        guests.push(Arc::new(Guest::new()));
        let newest = Arc::clone(&guests[guests.len() - 1]);
        newest.under_way.store(1, Ordering::Relaxed);
        make_room(&mut guests);
        assert!(busy.cut.asked() && !newest.cut.asked(), "where all are busy, the oldest goes");
    }
}
