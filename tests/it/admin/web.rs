//! The health address over real TCP.

use super::{SOON, Sidecar};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use volume_syncing_controller::admin::{Ended, Web};
use volume_syncing_controller::runtime::limits;

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream
}

/// Sends bytes and reads what comes back until the connection ends.
fn exchange(port: u16, bytes: &[u8]) -> String {
    let mut stream = connect(port);
    // The server may have heard enough before it is all written.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(port: u16, method: &str, path: &str) -> (String, String) {
    let answer = exchange(port, format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no whole answer: {answer}"));
    (head.to_lowercase(), body.to_string())
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no status: '{answer}'"))
}

#[test]
fn probes_are_answered_in_fixed_words() {
    let mut sidecar = Sidecar::new();
    let port = sidecar.serve_web();
    let get = |path: &str| {
        let (head, body) = request(port, "GET", path);
        (status(&head), body)
    };
    assert_eq!(get("/healthz"), (200, "ok\n".into()));
    assert_eq!(get("/readyz"), (503, "ready: no pass has finished yet\n".into()));
    sidecar.health.ended(Ended::Partial);
    assert_eq!(get("/readyz?verbose"), (200, "ok\n".into()));
    sidecar.fail_twice();
    assert_eq!(get("/healthz"), (503, "sync: failed passes in a row: 2, the newest one: denied\n".into()));
    assert_eq!(get("/readyz"), (200, "ok\n".into()), "what was restored stays usable");
    let (code, metrics) = get("/metrics");
    assert_eq!(code, 200);
    assert!(metrics.contains("vsc_syncs_total{") && metrics.ends_with("# EOF\n"), "{metrics}");
    for secret in ["made-up", "example.org", "user", "said"] {
        assert!(!metrics.replace("User and system", "").contains(secret), "{metrics}");
    }
    sidecar.health.ended(Ended::Complete);
    assert_eq!(get("/healthz"), (200, "ok\n".into()));
    for path in ["/", "/healthz/", "/metrics/../healthz", "//metrics", "*"] {
        assert_eq!(get(path).0, 404, "{path}");
    }
}

#[test]
fn head_is_answered_like_get_without_a_body() {
    let mut sidecar = Sidecar::new();
    let port = sidecar.serve_web();
    for path in ["/healthz", "/readyz", "/nothing"] {
        let (get, body) = request(port, "GET", path);
        let (head, nothing) = request(port, "HEAD", path);
        let undated = |head: &str| head.lines().filter(|line| !line.starts_with("date:")).collect::<Vec<_>>().join("\n");
        assert_eq!(undated(&get), undated(&head));
        assert!(get.contains(&format!("content-length: {}", body.len())), "{get}");
        assert_eq!(nothing, "");
    }
    let (head, _) = request(port, "HEAD", "/metrics");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
}

#[test]
fn nonsense_and_excess_are_refused() {
    let mut sidecar = Sidecar::new();
    let port = sidecar.serve_web();
    for (method, path) in [("POST", "/healthz"), ("DELETE", "/metrics"), ("OPTIONS", "/readyz"), ("MADE-UP", "/nothing")] {
        let (head, _) = request(port, method, path);
        assert_eq!(status(&head), 405, "{method} {path}");
        assert!(head.contains("allow: get, head"), "{head}");
    }
    let body = "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nbeginning";
    assert_eq!(status(&exchange(port, body.as_bytes())), 405, "a body is not waited for");
    let long = format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    let answer = exchange(port, long.as_bytes());
    assert!(answer.is_empty() || status(&answer) == 431, "{answer}");
    let many = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(500));
    let answer = exchange(port, many.as_bytes());
    assert!(answer.is_empty() || status(&answer) == 431, "{answer}");
    for garbage in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"hello\r\n\r\n", b"\r\n\r\n\r\n\0\0\0\r\n", b"{\"v\":1}\n\n"]
    {
        let answer = exchange(port, garbage);
        assert!(answer.is_empty() || status(&answer) == 400, "{answer}");
    }
    assert_eq!(request(port, "GET", "/healthz").1, "ok\n");
}

#[test]
fn slow_clients_are_cut() {
    let mut sidecar = Sidecar::new();
    let port = sidecar.serve_web();
    let begin = Instant::now();
    let mut slow = [&b""[..], b"GET /healthz HTTP/1.1\r\nHost: x", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"].map(|bytes| {
        let mut stream = connect(port);
        stream.write_all(bytes).expect("a few bytes");
        stream
    });
    for stream in &mut slow {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it ends");
        assert!(answer.is_empty() || status(&answer) == 408, "{answer}");
    }
    let cut = begin.elapsed();
    assert!(cut >= limits::WEB_TIMEOUT - Duration::from_secs(1) && cut < limits::WEB_TIMEOUT + Duration::from_secs(3), "{cut:?}");
}

#[test]
fn a_crowd_of_slow_clients_keeps_no_probe_waiting() {
    let mut sidecar = Sidecar::new();
    let port = sidecar.serve_web();
    let mut crowd = VecDeque::new();
    for number in 1..=1000 {
        let mut stream = connect(port);
        // Some of them are cut before they have said anything.
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ");
        crowd.push_back(stream);
        // They would take all descriptors that a test run may have.
        if crowd.len() > 200 {
            crowd.pop_front();
        }
        if number % 100 == 0 {
            let begin = Instant::now();
            assert_eq!(request(port, "GET", "/healthz").1, "ok\n");
            assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        }
    }
    let is_open = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
        matches!(stream.read(&mut [0; 1]), Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    };
    let open = crowd.iter_mut().filter_map(|stream| is_open(stream).then_some(())).count();
    assert!((1..=limits::WEB_CONNECTIONS).contains(&open), "{open} are open");
    let ended = sidecar.end();
    assert!(ended < limits::FAREWELL + Duration::from_secs(2), "{ended:?}: the end waits for no client");
}

#[test]
fn every_address_includes_that_of_ipv4() {
    let sidecar = Sidecar::new();
    let web = sidecar.runtime.block_on(Web::bind("[::]:0".parse().expect("an address"))).expect("a port");
    connect(web.address().expect("an address").port());
}

#[test]
fn an_address_that_is_taken_is_named() {
    let mut sidecar = Sidecar::new();
    let port = sidecar.serve_web();
    let address = format!("127.0.0.1:{port}").parse().expect("an address");
    let error = sidecar.runtime.block_on(Web::bind(address)).expect_err("it is taken");
    assert!(error.to_string().starts_with(&format!("listening on 127.0.0.1:{port}: ")), "{error}");
}
