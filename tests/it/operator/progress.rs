//! Reports of sidecars, from the real program to the status.

use super::cluster::{Cluster, Fault};
use super::reconcile::{PODS, Replica, SYNCS, condition, encrypted, pod, secret_writes, status, sync, until};
use crate::connect::wire::Authority;
use crate::machine::{Machine, Running};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::response::Response;
use data_encoding::BASE64;
use http::{Request, header};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use volume_syncing_controller::contract::progress::AUDIENCE;
use volume_syncing_controller::operator::reconcile::Rules;

const EVENTS: &str = "events.k8s.io/events";

fn cluster() -> Cluster {
    let cluster = Cluster::start();
    fill(&cluster);
    cluster
}

/// Puts the PodFilesystemSync `a`, the injected Pod `a-1` and its token into a cluster.
pub fn fill(cluster: &Cluster) {
    cluster.put(SYNCS, sync("a", json!({})));
    let uid = cluster.put(PODS, pod("a-1", "a", Some("a")))["metadata"]["uid"].clone();
    cluster.token("token", review("ns", "a-1", &uid));
}

/// What the API server says of a Pod's token.
fn review(namespace: &str, pod: &str, uid: &Value) -> Value {
    let extra = json!({"authentication.kubernetes.io/pod-name": [pod], "authentication.kubernetes.io/pod-uid": [uid]});
    let user = json!({"username": format!("system:serviceaccount:{namespace}:default"), "extra": extra});
    json!({"authenticated": true, "audiences": [AUDIENCE], "user": user})
}

pub fn report(fields: Value) -> Value {
    let mut whole =
        json!({"version": 1, "sync": "a", "directory": "bucket/a", "step": "push", "result": "complete", "sinceCompleteMs": 0});
    for (name, value) in fields.as_object().expect("fields") {
        whole[name] = value.clone();
    }
    whole
}

/// Posts it: the status, the body and how long to wait.
async fn post(replica: &Replica, token: Option<&str>, body: impl Into<Body>) -> (u16, String, Option<u64>) {
    let mut request = Request::post("/progress");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let response = replica.receiver.answer(request.body(body.into()).expect("a request")).await;
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, 1 << 20).await.expect("a body");
    let wait = parts.headers.get(header::RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse().ok());
    (parts.status.as_u16(), String::from_utf8(text.to_vec()).expect("text"), wait)
}

/// A replica whose caches are full.
async fn replica(cluster: &Cluster, leads: bool) -> Replica {
    let replica = Replica::new(cluster, leads, Rules::default());
    if leads {
        condition(cluster, "a", "Accepted", "Valid").await;
    }
    until("the Pod is known", || cluster.asked("GET", "/pods").iter().any(|asked| asked.query.contains("watch=")).then_some(()))
        .await;
    replica
}

async fn location(cluster: &Cluster, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    until(what, || Some(status(cluster, "a")["locations"][0].clone()).filter(&is_it)).await
}

async fn event(cluster: &Cluster, reason: &str) -> Value {
    until(reason, || cluster.all(EVENTS).into_iter().find(|event| event["reason"] == reason)).await
}

#[tokio::test]
async fn a_report_becomes_the_status_and_events_of_the_pod() {
    let cluster = cluster();
    let replica = replica(&cluster, true).await;
    let restore = report(json!({"step": "restore", "message": "12 entries", "sinceCompleteMs": null})).to_string();
    assert_eq!(post(&replica, Some("token"), restore).await.0, 204);
    let told = event(&cluster, "VolumeRestored").await;
    assert_eq!((&told["regarding"]["name"], &told["type"]), (&json!("a-1"), &json!("Normal")));
    assert_eq!(status(&cluster, "a")["locations"], Value::Null, "a restore is no push");
    let pushed = report(json!({"generation": 7, "epoch": 2, "pendingBytes": 0})).to_string();
    assert_eq!(post(&replica, Some("token"), pushed).await.0, 204);
    let known = location(&cluster, "a location", |location| location["lastResult"] == "Complete").await;
    assert_eq!((&known["directory"], &known["synchronizedToRemote"]), (&json!("bucket/a"), &json!(true)));
    assert_eq!((&known["pod"], &known["generation"], &known["leaseEpoch"]), (&json!("a-1"), &json!(7), &json!(2)));
    assert_eq!(condition(&cluster, "a", "Synced", "Complete").await["status"], "True");
    assert!(status(&cluster, "a")["lastSyncTime"].is_string());
    let failing = report(
        json!({"result": "failed", "trouble": "Failing", "message": "no\nanswer", "pendingBytes": 9, "generation": 7, "epoch": 2}),
    );
    assert_eq!(post(&replica, Some("token"), failing.to_string()).await.0, 204);
    let said = condition(&cluster, "a", "Synced", "Failing").await;
    assert_eq!(said["message"], "a-1 at bucket/a: no answer");
    assert_eq!(status(&cluster, "a")["pods"]["failing"], 1);
    assert_eq!(status(&cluster, "a")["pendingBytes"], 9);
    event(&cluster, "SyncFailing").await;
    assert_eq!(replica.metric("vsc_progress_reports_total{result=\"accepted\"}"), 3.0);
}

#[tokio::test]
async fn a_report_is_taken_from_the_pod_alone_that_it_is_about() {
    let cluster = cluster();
    let uid = cluster.get(PODS, "ns", "a-1").expect("a Pod")["metadata"]["uid"].clone();
    let plain = cluster.put(PODS, pod("plain", "a", None))["metadata"]["uid"].clone();
    let other = cluster.put(PODS, pod("b-1", "b", Some("b")))["metadata"]["uid"].clone();
    let mut far = pod("far", "a", Some("a"));
    far["metadata"]["namespace"] = "far".into();
    let far = cluster.put(PODS, far)["metadata"]["uid"].clone();
    let with = |change: fn(&mut Value)| {
        let mut status = review("ns", "a-1", &uid);
        change(&mut status);
        status
    };
    cluster.token("wrong-audience", with(|status| status["audiences"] = json!(["https://kubernetes.default.svc"])));
    cluster.token("no-audience", with(|status| drop(status.as_object_mut().expect("fields").remove("audiences"))));
    cluster.token("expired", with(|status| status["authenticated"] = false.into()));
    cluster.token("person", with(|status| status["user"]["username"] = "jane".into()));
    cluster.token("unbound", with(|status| status["user"]["extra"] = json!({})));
    cluster.token("gone", review("ns", "a-0", &"uid-0".into()));
    cluster.token("another-life", review("ns", "a-1", &"uid-0".into()));
    cluster.token("other-namespace", review("far", "a-1", &uid));
    cluster.token("uninjected", review("ns", "plain", &plain));
    cluster.token("other-sync", review("ns", "b-1", &other));
    cluster.token("far", review("far", "far", &far));
    let replica = replica(&cluster, true).await;
    let good = report(json!({})).to_string();
    assert_eq!(post(&replica, None, good.clone()).await.0, 401);
    for (token, expected) in [
        ("unknown", 401),
        ("wrong-audience", 401),
        ("no-audience", 401),
        ("expired", 401),
        ("person", 401),
        ("unbound", 401),
        ("gone", 403),
        ("another-life", 403),
        ("other-namespace", 403),
        ("uninjected", 403),
        ("other-sync", 403),
    ] {
        assert_eq!(post(&replica, Some(token), good.clone()).await.0, expected, "{token}");
    }
    assert_eq!(status(&cluster, "a")["locations"], Value::Null);
    // The namespace is the token's: a name that is also elsewhere is not meant.
    assert_eq!(post(&replica, Some("far"), good.clone()).await.0, 204);
    assert_eq!(post(&replica, Some("token"), good).await.0, 204);
    let known = location(&cluster, "its own report", |location| location["lastResult"] == "Complete").await;
    assert_eq!(known["pod"], "a-1");
    assert_eq!(replica.metric("vsc_progress_reports_total{result=\"unauthenticated\"}"), 7.0);
    assert_eq!(replica.metric("vsc_progress_reports_total{result=\"forbidden\"}"), 5.0);
}

#[tokio::test]
async fn a_pod_speaks_of_no_path_but_its_own() {
    let cluster = cluster();
    let mut named = pod("a-2", "a", Some("a"));
    let injected = json!({"v": 1, "sync": "a", "kind": "native", "remote": "bucket/$$(X)/$(POD_NAME)"}).to_string();
    named["metadata"]["annotations"]["riotkit.org/volume-sync-status"] = injected.into();
    let uid = cluster.put(PODS, named)["metadata"]["uid"].clone();
    cluster.token("named", review("ns", "a-2", &uid));
    let replica = replica(&cluster, true).await;
    let about = |directory: &str| report(json!({"directory": directory, "epoch": 1000, "generation": 1000})).to_string();
    for directory in ["bucket/$(X)/a-1", "bucket/$(X)/a-2/", "bucket/$$(X)/$(POD_NAME)", "bucket/a"] {
        let (code, said, _) = post(&replica, Some("named"), about(directory)).await;
        assert!(code == 403 && said.contains("another path"), "{directory}: {code} {said}");
    }
    assert_eq!(post(&replica, Some("named"), about("bucket/$(X)/a-2")).await.0, 204);
    let known = location(&cluster, "its own path", |location| location["lastResult"] == "Complete").await;
    assert_eq!((&known["directory"], &known["pod"]), (&json!("bucket/$(X)/a-2"), &json!("a-2")));
    // Of a Pod whose path was not written down any is taken.
    assert_eq!(post(&replica, Some("token"), about("bucket/any")).await.0, 204);
}

#[tokio::test]
async fn a_key_that_somebody_else_made_is_known_once_a_sidecar_uses_it() {
    let cluster = Cluster::start();
    cluster.put(SYNCS, encrypted("a"));
    for (name, key) in [("a-1", "a-key"), ("a-0", "key-of-before")] {
        let mut pod = pod(name, "a", Some("a"));
        let injected = json!({"v": 1, "sync": "a", "kind": "native", "key": key}).to_string();
        pod["metadata"]["annotations"]["riotkit.org/volume-sync-status"] = injected.into();
        let uid = cluster.put(PODS, pod)["metadata"]["uid"].clone();
        cluster.token(name, review("ns", name, &uid));
    }
    let rules = Rules { encryption_namespaces: ["elsewhere".to_string()].into(), ..Rules::default() };
    let replica = Replica::new(&cluster, true, rules);
    condition(&cluster, "a", "EncryptionKeyReady", "NamespaceNotAllowed").await;
    let about = |directory: &str| report(json!({"directory": directory, "keyFingerprint": "slot"})).to_string();
    // A Pod of before has the key of before.
    assert_eq!(post(&replica, Some("a-0"), about("bucket/old")).await.0, 204);
    location(&cluster, "its report", |location| location["pod"] == "a-0").await;
    assert_eq!(status(&cluster, "a")["encryption"], json!({"secretName": "a-key"}));
    condition(&cluster, "a", "EncryptionKeyReady", "NamespaceNotAllowed").await;
    assert_eq!(post(&replica, Some("a-1"), about("bucket/a")).await.0, 204);
    assert_eq!(condition(&cluster, "a", "EncryptionKeyReady", "KeyFound").await["status"], "True");
    condition(&cluster, "a", "Ready", "Complete").await;
    assert_eq!(status(&cluster, "a")["encryption"]["keyFingerprint"], "slot");
    assert_eq!(secret_writes(&cluster), 0);
}

#[tokio::test]
async fn what_is_no_report_is_refused() {
    let cluster = cluster();
    let replica = replica(&cluster, true).await;
    let long = report(json!({"message": "x".repeat(5000)})).to_string();
    for (body, expected, text) in [
        (long, 413, "at most 4096 bytes"),
        ("{".to_string(), 400, "no report"),
        (report(json!({"version": 2})).to_string(), 400, "version"),
        (report(json!({"directory": ""})).to_string(), 400, "directory"),
        (report(json!({"directory": "a\nb"})).to_string(), 400, "directory"),
        (report(json!({"directory": "x".repeat(1025)})).to_string(), 400, "directory"),
        (report(json!({"keyFingerprint": "a b"})).to_string(), 400, "fingerprint"),
        (report(json!({"result": "splendid"})).to_string(), 400, "no report"),
    ] {
        let (code, said, _) = post(&replica, Some("token"), body.clone()).await;
        assert!(code == expected && said.contains(text), "{code} {said} {body}");
    }
    let get = Request::get("/progress").body(Body::empty()).expect("a request");
    assert_eq!(replica.receiver.answer(get).await.status().as_u16(), 405);
    assert_eq!(replica.metric("vsc_progress_reports_total{result=\"malformed\"}"), 9.0);
    assert_eq!(status(&cluster, "a")["locations"], Value::Null);
}

#[tokio::test]
async fn a_pod_that_reports_too_often_is_told_to_wait() {
    let cluster = cluster();
    let replica = replica(&cluster, true).await;
    let body = report(json!({})).to_string();
    for _ in 0..3 {
        assert_eq!(post(&replica, Some("token"), body.clone()).await.0, 204);
    }
    let (code, said, wait) = post(&replica, Some("token"), body.clone()).await;
    assert_eq!(code, 429, "{said}");
    assert!(wait.is_some_and(|seconds| (1..=11).contains(&seconds)), "{wait:?}");
    // Another Pod is not meant.
    let uid = cluster.put(PODS, pod("a-2", "a", Some("a")))["metadata"]["uid"].clone();
    cluster.token("second", review("ns", "a-2", &uid));
    let mut taken = 0;
    let began = Instant::now();
    while taken != 204 {
        assert!(began.elapsed() < Duration::from_secs(20), "the second Pod's reports are refused: {taken}");
        taken = post(&replica, Some("second"), body.clone()).await.0;
    }
}

#[tokio::test]
async fn a_token_is_asked_about_once() {
    let cluster = cluster();
    let replica = replica(&cluster, true).await;
    let reviews = || cluster.asked("POST", "/tokenreviews").len();
    for (token, expected) in [("token", 204), ("token", 204), ("made-up", 401), ("made-up", 401)] {
        assert_eq!(post(&replica, Some(token), report(json!({})).to_string()).await.0, expected);
    }
    assert_eq!(reviews(), 2);
    assert_eq!(cluster.asked("POST", "/tokenreviews")[0].body["spec"]["audiences"], json!([AUDIENCE]));
    // What the API server did not answer is not remembered.
    cluster.fail(Fault { method: "POST", path: "/tokenreviews", times: 1, status: 500 });
    cluster.token("late", json!({"authenticated": false}));
    assert_eq!(post(&replica, Some("late"), report(json!({})).to_string()).await.0, 503);
    assert_eq!(post(&replica, Some("late"), report(json!({})).to_string()).await.0, 401);
}

#[tokio::test]
async fn what_a_replica_received_that_does_not_lead_is_in_the_status_all_the_same() {
    let cluster = cluster();
    let idle = replica(&cluster, false).await;
    let _leading = replica(&cluster, true).await;
    let before = cluster.asked("PATCH", "/podfilesystemsyncs/a/status").len();
    let held = report(json!({"result": "partial", "trouble": "DeletesHeld", "deletesHeld": 80, "sinceCompleteMs": null}));
    assert_eq!(post(&idle, Some("token"), held.to_string()).await.0, 204);
    condition(&cluster, "a", "Synced", "DeletesHeld").await;
    assert_eq!(event(&cluster, "DeletesHeld").await["regarding"]["name"], "a-1");
    // The one wrote the location, the other what it comes to.
    assert_eq!(cluster.asked("PATCH", "/podfilesystemsyncs/a/status").len(), before + 2);
}

#[tokio::test]
async fn times_and_amounts_alone_are_not_written_at_once() {
    let cluster = cluster();
    let replica = replica(&cluster, true).await;
    assert_eq!(post(&replica, Some("token"), report(json!({})).to_string()).await.0, 204);
    condition(&cluster, "a", "Synced", "Complete").await;
    let writes = || cluster.asked("PATCH", "/podfilesystemsyncs/a/status").len();
    let before = writes();
    assert_eq!(post(&replica, Some("token"), report(json!({"result": "noop", "generation": 8})).to_string()).await.0, 204);
    // A round that had to write something else was one after it.
    cluster.put(SYNCS, sync("b", json!({})));
    condition(&cluster, "b", "Accepted", "Valid").await;
    assert_eq!(writes(), before);
    let failing = report(json!({"result": "failed", "generation": 8}));
    assert_eq!(post(&replica, Some("token"), failing.to_string()).await.0, 204);
    condition(&cluster, "a", "Synced", "Failing").await;
    assert_eq!(writes(), before + 1);
    assert_eq!(status(&cluster, "a")["locations"][0]["generation"], 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_end_left_behind_is_the_last_that_is_reported() {
    let cluster = cluster();
    let replica = replica(&cluster, true).await;
    let machine = reporting(&format!("http://{}/progress", listen(&replica).await), None);
    let mut running = machine.sidecar(&["--schedule=@every 1h", "--grace=4s"]);
    location(&cluster, "its first push", |location| location["lastResult"] == "Complete").await;
    machine.write("late", crate::machine::noise(1, 70_000));
    std::fs::rename(machine.at("remote"), machine.at("gone")).expect("renamed");
    std::fs::write(machine.at("remote"), "no folder").expect("a file");
    let (code, said) = tokio::task::block_in_place(|| running.terminate());
    assert_ne!(code, 0, "{said}");
    let known = location(&cluster, "what is pending", |location| location["pendingBytes"] == 70_000).await;
    assert_eq!((&known["lastResult"], &known["synchronizedToRemote"]), (&json!("Failed"), &json!(true)), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_comes_late_says_for_how_long_it_was_true() {
    let heard = Arc::new(Mutex::new(Vec::<(Instant, u64)>::new()));
    let told = Arc::clone(&heard);
    // The first is told to come again in a second.
    let url = serve(move |request: Request<Body>| {
        let told = Arc::clone(&told);
        async move {
            let body = to_bytes(request.into_body(), 1 << 20).await.expect("a body");
            let since = serde_json::from_slice::<Value>(&body).expect("JSON")["sinceCompleteMs"].as_u64().expect("a number");
            let mut told = told.lock().expect("a list");
            told.push((Instant::now(), since));
            let status = if told.len() == 1 { 429 } else { 204 };
            Response::builder().status(status).header(header::RETRY_AFTER, "1").body(Body::empty()).expect("a response")
        }
    })
    .await;
    let machine = reporting(&format!("http://{url}/progress"), None);
    let mut running = sidecar(&machine);
    let (first, second) = until("it comes again", || {
        let heard = heard.lock().expect("a list");
        Some((*heard.first()?, *heard.get(1)?))
    })
    .await;
    let between = u64::try_from(second.0.duration_since(first.0).as_millis()).expect("a short time");
    assert!(between >= 900, "{between}");
    let (least, most) = (first.1 + between - 100, first.1 + between + 1000);
    assert!((least..most).contains(&second.1), "{first:?} {second:?}");
    tokio::task::block_in_place(|| running.terminate());
}

/// The receiver as a server of its own.
async fn listen(replica: &Replica) -> SocketAddr {
    let receiver = Arc::clone(&replica.receiver);
    serve(move |request: Request<Body>| {
        let receiver = Arc::clone(&receiver);
        async move { receiver.answer(request).await }
    })
    .await
}

/// A server that gives these answers.
async fn serve<F: Future<Output = Response> + Send + 'static>(
    answer: impl Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// A machine whose sidecars report there as the Pod `a-1`.
fn reporting(url: &str, authority: Option<&Authority>) -> Machine {
    let mut machine = Machine::local();
    std::fs::write(machine.at("token"), "token\n").expect("a file");
    let token_file = machine.at("token").display().to_string();
    for (name, value) in [("VSC_PROGRESS_URL", url), ("VSC_SYNC", "a"), ("VSC_PROGRESS_TOKEN_FILE", &token_file)] {
        machine.set(name, value);
    }
    if let Some(authority) = authority {
        machine.set("VSC_PROGRESS_CA", &BASE64.encode(authority.pem().as_bytes()));
    }
    machine.write("file", "content");
    machine
}

fn sidecar(machine: &Machine) -> Running {
    machine.sidecar(&["--schedule=@every 1h"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_reports_over_tls_to_whom_the_injector_named() {
    let cluster = cluster();
    let replica = replica(&cluster, true).await;
    let authority = Authority::new("the controller's");
    let front = authority.before(&["localhost"], listen(&replica).await);
    let url = format!("https://localhost:{}/progress", front.address.port());
    let machine = reporting(&url, Some(&authority));
    let (code, text) = machine.restore("volume", &[]);
    assert_eq!(code, 0, "{text}");
    event(&cluster, "VolumeRestored").await;
    let mut running = sidecar(&machine);
    let known = location(&cluster, "its first push", |location| location["lastResult"] == "Complete").await;
    assert_eq!((&known["directory"], &known["leaseEpoch"], &known["pod"]), (&json!("demo"), &json!(1), &json!("a-1")));
    assert!(known["generation"].as_u64().is_some_and(|generation| generation > 0), "{known}");
    let before = replica.metric("vsc_progress_reports_total{result=\"accepted\"}");
    let (code, said) = tokio::task::block_in_place(|| running.terminate());
    assert_eq!(code, 0, "{said}");
    assert!(replica.metric("vsc_progress_reports_total{result=\"accepted\"}") > before, "its last words did not come: {said}");
    assert!(!said.contains("reports do not arrive"), "{said}");
    // Of somebody else who says to be the controller it tells nothing.
    let impostor = Authority::new("the controller's");
    let front = impostor.before(&["localhost"], listen(&replica).await);
    let mut machine = machine;
    machine.set("VSC_PROGRESS_URL", &format!("https://localhost:{}/progress", front.address.port()));
    let before = replica.metric("vsc_progress_reports_total{result=\"accepted\"}");
    let mut running = sidecar(&machine);
    tokio::task::block_in_place(|| running.says("reports do not arrive", 1));
    let (code, said) = tokio::task::block_in_place(|| running.terminate());
    assert!(code == 0 && said.contains("certificate"), "{code} {said}");
    assert_eq!(replica.metric("vsc_progress_reports_total{result=\"accepted\"}"), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_whose_key_does_not_fit_says_so() {
    let cluster = cluster();
    let replica = replica(&cluster, true).await;
    let machine = reporting(&format!("http://{}/progress", listen(&replica).await), None);
    let (code, text) = machine.push(&[]);
    assert_eq!(code, 0, "{text}");
    let other = Machine::local();
    let mut command =
        machine.command(&[&machine.sidecar_args()[..], &["--schedule=@every 1h", "--state-dir=elsewhere"]].concat());
    command.env("ENCRYPTED_PASSWORD", other.key());
    std::fs::write(machine.at("termination"), "").expect("a file");
    let mut running = Running::start(command);
    let said = condition(&cluster, "a", "Synced", "KeyMismatch").await;
    assert!(said["message"].as_str().expect("text").contains("wrong key for the vault"), "{said}");
    let told = event(&cluster, "KeyMismatch").await;
    assert_eq!(told["regarding"]["kind"], "PodFilesystemSync");
    event(&cluster, "SyncFailing").await;
    running.kill();
    // The restore beside it, in an init container, fails for the same reason.
    let mut machine = machine;
    machine.set("ENCRYPTED_PASSWORD", other.key());
    let (code, text) = machine.restore("restored", &[]);
    assert_eq!(code, 4, "{text}");
    event(&cluster, "RestoreFailed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_is_silent_or_away_keeps_no_sidecar_from_its_work() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent_url = format!("http://{}/progress", silent.local_addr().expect("an address"));
    for (url, more) in [
        (silent_url.as_str(), None),
        ("http://127.0.0.1:1/progress", None),
        ("nonsense", Some("VSC_PROGRESS_URL is not an http")),
    ] {
        let machine = reporting(url, None);
        let mut running = machine.sidecar(&["--fsnotify", "--debounce=10ms"]);
        let (code, said) = tokio::task::block_in_place(|| {
            running.has_pushed(1);
            machine.write("another", "content");
            // The report of the first push is still on its way, or failed.
            assert!(running.says(" pushed to ", 2) < Duration::from_secs(4), "a pass waited for a report");
            let began = Instant::now();
            let ended = running.terminate();
            assert!(began.elapsed() < Duration::from_secs(5), "the end waited for a report: {:?}", began.elapsed());
            ended
        });
        assert_eq!(code, 0, "{url}: {said}");
        assert_eq!(machine.last_words()["result"], "complete", "{said}");
        assert!(more.is_none_or(|text| said.contains(text)), "{said}");
        machine.converges();
    }
}
