//! The news of a complete pass.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};
use volume_syncing_controller::runtime::limits;
use volume_syncing_controller::secret::Secret;
use volume_syncing_controller::store::Heartbeat;

/// Sends the news to a URL with a secret in it: what was said of it.
fn send(address: SocketAddr) -> Result<(), String> {
    let url = format!("http://made-up-user:made-up-password@{address}/ping/made-up-uuid?made-up=1");
    let heartbeat = Heartbeat::new(Secret::new(url));
    assert!(!format!("{heartbeat:?}").contains("made-up"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let sent = runtime.block_on(heartbeat.send()).map_err(|error| format!("{error} {error:?}"));
    assert!(sent.as_ref().err().is_none_or(|error| !error.contains("made-up")), "{sent:?}");
    sent
}

/// A service that answers one request; what it was asked.
fn answered_with(answer: &'static str) -> (Result<(), String>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let service = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a request");
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("a head") == 1 {
            head.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).expect("an answer");
        String::from_utf8(head).expect("text")
    });
    (send(address), service.join().expect("a request"))
}

#[test]
fn a_heartbeat_is_one_get_of_the_url() {
    let (sent, asked) = answered_with("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK");
    assert_eq!(sent, Ok(()));
    assert!(asked.starts_with("GET /ping/made-up-uuid?made-up=1 HTTP/1.1\r\n"), "{asked}");
}

#[test]
fn a_heartbeat_that_does_not_arrive_says_why_and_not_where() {
    let (sent, _) = answered_with("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    assert!(sent.expect_err("refused").contains("it answered 404"));
    let (sent, _) = answered_with("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/made-up\r\nContent-Length: 0\r\n\r\n");
    assert!(sent.expect_err("not followed").contains("it answered 302"));
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("an address");
    assert!(send(nobody).expect_err("nobody listens").contains("onnection refused"));
}

#[test]
fn a_service_that_says_nothing_is_left_soon() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let begin = Instant::now();
    let error = send(silent.local_addr().expect("an address")).expect_err("no answer");
    assert!(error.contains("no answer within 5 s"), "{error}");
    assert!(begin.elapsed() < limits::HEARTBEAT_TIMEOUT + Duration::from_secs(3));
}
