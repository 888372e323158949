//! The listener of the webhook, and what strangers may take of it.

use super::caller::request;
use super::certs::Nothing;
use super::cluster::Cluster;
use super::serve::{begin, review, webhook_of};
use crate::machine::until;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use volume_syncing_controller::operator::web::{Front, Terms};
use volume_syncing_controller::runtime::{Stop, limits};

/// Longer than anything takes that is not stuck.
const SOON: Duration = Duration::from_secs(30);

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream
}

/// Reads as much as this text is long, and compares.
fn hears(stream: &mut TcpStream, text: &str) {
    let mut heard = vec![0; text.len()];
    stream.read_exact(&mut heard).expect("an answer");
    assert_eq!(String::from_utf8_lossy(&heard), text);
}

#[test]
fn a_connection_at_rest_is_not_ended_before_the_api_server_ends_it() {
    let terms = Terms::default();
    assert!(terms.rest > Duration::from_secs(90), "so long the API server keeps its connections: {terms:?}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let front = runtime.block_on(Front::bind("127.0.0.1:0".parse().expect("an address"), None)).expect("a port");
    let (address, stop) = (front.address().expect("an address"), Stop::new());
    let (served, rest) = (stop.clone(), Duration::from_millis(300));
    let done = runtime.spawn(async move { front.serve(&served, Terms { rest, drain: Duration::ZERO }, Arc::new(Nothing)).await });
    let (mut asked, mut slow) = (connect(address), connect(address));
    slow.write_all(b"GET /x HTTP/1.1\r\nHost").expect("sent");
    for _ in 0..2 {
        asked.write_all(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        hears(&mut asked, "HTTP/1.1 200 OK\r\n");
        let mut rest = [0; 1024];
        while asked.read(&mut rest).is_ok_and(|count| !rest[..count].ends_with(b"nothing")) {}
    }
    for (what, mut stream) in [("one at rest", asked), ("one whose head never ends", slow)] {
        let mut last = Vec::new();
        stream.read_to_end(&mut last).unwrap_or_else(|error| panic!("{what} is ended: {error}"));
    }
    stop.ask();
    runtime.block_on(done).expect("it ends");
}

#[test]
fn bodies_that_are_never_whole_fill_no_memory() {
    let (cluster, home) = (Cluster::start(), tempfile::tempdir().expect("a folder"));
    let running = begin(&cluster, home.path(), &["--image=x", "--no-match=allow"]);
    until("it is ready", || running.page("/readyz").0 == 200);
    let body = review("press").to_string();
    let whole = request("/mutate-pods", "application/json", body.as_bytes());
    let head = String::from_utf8_lossy(&whole[..whole.len() - body.len()]).replace("Host: x", "Host: x\r\nExpect: 100-continue");
    // Whoever is told to go on is read; a stranger sends no more then.
    let open = || {
        let mut stream = connect(webhook_of(&running));
        stream.write_all(head.as_bytes()).expect("sent");
        stream
    };
    const GO_ON: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    let mut strangers: Vec<TcpStream> = (0..limits::REVIEWS_SMALL).map(|_| open()).collect();
    strangers.iter_mut().for_each(|stranger| hears(stranger, GO_ON));
    let mut next = open();
    next.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let early = next.read(&mut [0; 1]).expect_err("it waits");
    assert!([ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&early.kind()), "{early}");
    next.set_read_timeout(Some(SOON)).expect("a timeout");
    strangers[0].write_all(body.as_bytes()).expect("sent");
    hears(&mut strangers[0], "HTTP/1.1 200 OK\r\n");
    hears(&mut next, GO_ON);
    // Nobody holds up others for long.
    hears(&mut strangers[1], "HTTP/1.1 400 Bad Request\r\n");
    let most = limits::REVIEWS_SMALL * limits::REVIEW_SMALL_BYTES + limits::REVIEWS_LARGE * limits::REVIEW_BYTES;
    assert!(most <= 32 << 20, "{most}");
}
