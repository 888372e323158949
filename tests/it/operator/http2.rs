//! The webhook as the API server speaks to it: over HTTP/2, many reviews at once on one connection.

use super::caller::Caller;
use super::serve::{Controller, review};
use crate::machine::until;
use axum::body::{Body, Bytes, to_bytes};
use futures::stream::unfold;
use http::{Request, header};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::Signal;
use serde_json::Value;
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection, and what tells how it ended.
pub async fn connect(caller: &Caller) -> (SendRequest<Body>, JoinHandle<Result<(), hyper::Error>>) {
    let (address, config, name) = caller.offers(b"h2");
    let socket = TcpStream::connect(address).await.expect("it listens");
    let stream = tokio_rustls::TlsConnector::from(config).connect(name, socket).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    (sender, tokio::spawn(connection))
}

pub fn post(body: impl Into<Body>) -> Request<Body> {
    let request = Request::post("https://hook.system.svc/mutate-pods").header(header::CONTENT_TYPE, "application/json");
    request.body(body.into()).expect("a request")
}

/// The status of an answer, and its body.
pub async fn send(sender: &mut SendRequest<Body>, request: Request<Body>) -> Result<(u16, Bytes), String> {
    let answer = async {
        sender.ready().await.map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        Ok((status, to_bytes(Body::new(response.into_body()), 1 << 20).await.map_err(|error| error.to_string())?))
    };
    timeout(PATIENCE, answer).await.expect("an answer in time")
}

pub fn response_of(body: &[u8]) -> Value {
    serde_json::from_slice::<Value>(body).expect("JSON")["response"].take()
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

#[test]
fn reviews_that_share_a_connection_are_answered_each_for_itself() {
    const REVIEWS: usize = 400;
    let controller = Controller::start(&[]);
    runtime().block_on(async {
        let (sender, _) = connect(&controller.caller()).await;
        let mut asked = JoinSet::new();
        for number in 0..REVIEWS {
            let mut sender = sender.clone();
            asked.spawn(async move {
                let app = if number % 2 == 0 { "press" } else { "stranger" };
                let mut review = review(app);
                review["request"]["uid"] = format!("u-{number}").into();
                let (status, body) = send(&mut sender, post(review.to_string())).await.expect("an answer");
                let response = response_of(&body);
                assert_eq!((status, &response["uid"]), (200, &review["request"]["uid"]));
                assert_eq!(response["allowed"], app == "press", "{response}");
            });
        }
        asked.join_all().await;
    });
    let counted = |labels: &str| controller.running.metric(&format!("vsc_admission_requests_total{{{labels}}}"));
    assert_eq!(counted("result=\"injected\",reason=\"\""), 200.0);
    assert_eq!(counted("result=\"refused\",reason=\"no_match\""), 200.0);
}

#[test]
fn what_is_too_much_on_a_connection_is_refused_and_the_rest_of_it_is_answered() {
    let controller = Controller::start(&[]);
    runtime().block_on(async {
        let (mut sender, _) = connect(&controller.caller()).await;
        let (status, body) = send(&mut sender, post(vec![b'x'; 11 << 20])).await.expect("an answer");
        assert_eq!(status, 413, "{body:?}");
        let mut long = post("{}");
        long.headers_mut().insert("x-long", "x".repeat(20 << 10).parse().expect("a value"));
        let refused = send(&mut sender, long).await;
        assert!(refused.as_ref().map_or(true, |(status, _)| *status == 431), "{refused:?}");
        // A body that is begun and given up.
        let (begun, mut given_up) = (post(review("press").to_string()), sender.clone());
        drop(timeout(Duration::ZERO, given_up.send_request(begun)).await);
        let (status, body) = send(&mut sender, post(review("press").to_string())).await.expect("an answer");
        assert_eq!((status, &response_of(&body)["allowed"]), (200, &Value::Bool(true)));
    });
}

#[test]
fn a_connection_ends_after_what_is_under_way_on_it() {
    let mut controller = Controller::start(&[]);
    let caller = controller.caller();
    runtime().block_on(async {
        let (mut sender, ended) = connect(&caller).await;
        let text = review("press").to_string();
        let (first, rest) = text.split_at(text.len() - 10);
        let (parts, waiting) = mpsc::channel::<String>(2);
        let body = unfold(waiting, |mut waiting| async {
            let part = waiting.recv().await?;
            Some((Ok::<_, Infallible>(part), waiting))
        });
        parts.send(first.to_owned()).await.expect("somebody waits");
        let mut asking = sender.clone();
        let begun = tokio::spawn(async move { send(&mut asking, post(Body::from_stream(body))).await });
        let (status, _) = send(&mut sender, post(review("press").to_string())).await.expect("an answer");
        assert_eq!(status, 200, "what was begun before it has arrived, too");
        controller.running.signal(Signal::TERM);
        tokio::task::block_in_place(|| until("nothing new is taken", || caller.shakes_hands().is_err()));
        parts.send(rest.to_owned()).await.expect("somebody waits");
        drop(parts);
        let (status, body) = begun.await.expect("it ends").expect("an answer");
        assert_eq!((status, &response_of(&body)["allowed"]), (200, &Value::Bool(true)));
        let ended = timeout(PATIENCE, ended).await.expect("in time").expect("it ends");
        assert!(ended.is_ok(), "{ended:?}");
    });
    assert_eq!(controller.running.ends().0, 0);
}
