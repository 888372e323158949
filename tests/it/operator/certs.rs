//! Certificates of our own and mounted ones, in a time that passes quickly.

use super::caller::{Caller, NAME};
use super::cluster::Cluster;
use crate::machine::until;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::Request;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use volume_syncing_controller::operator::certs::{Files, Keeper, Mounted, Place, Shown, Terms, server_config};
use volume_syncing_controller::operator::readiness::Readiness;
use volume_syncing_controller::operator::web::{self, Front, Site};
use volume_syncing_controller::runtime::Stop;
use volume_syncing_controller::telemetry::OperatorMetrics;

const CONFIGURATIONS: &str = "admissionregistration.k8s.io/mutatingwebhookconfigurations";
const DAY: i64 = 24 * 3600 * 1000;
/// So much time passes at once.
const STEP: i64 = 4 * DAY;
/// What time it is in the test that lets it pass.
static NOW: AtomicI64 = AtomicI64::new(1_800_000_000_000);

fn now_ms() -> i64 {
    NOW.load(Ordering::SeqCst)
}

/// So many days after what time it is.
#[derive(Debug)]
struct TestTime(i64);

impl TimeProvider for TestTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis((now_ms() + self.0 * DAY) as u64)))
    }
}

pub struct Nothing;

impl Site for Nothing {
    async fn answer(&self, _: Request<Body>) -> Response {
        "nothing".into_response()
    }
}

/// A listener with what keeps its certificates, on threads of its own.
struct Replica {
    address: SocketAddr,
    readiness: Arc<Readiness>,
    stop: Stop,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Replica {
    fn start<W: Future<Output = ()> + Send + 'static>(
        keep: impl FnOnce(Arc<Shown>, Arc<Readiness>, OperatorMetrics, Stop) -> W,
    ) -> Replica {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let (shown, readiness, stop) = (Arc::new(Shown::new()), Arc::new(Readiness::default()), Stop::new());
        let tls = server_config(Arc::clone(&shown)).expect("TLS");
        let front = runtime.block_on(Front::bind("127.0.0.1:0".parse().expect("an address"), Some(tls))).expect("a port");
        let address = front.address().expect("an address");
        let guard = runtime.enter();
        runtime.spawn(keep(shown, Arc::clone(&readiness), OperatorMetrics::new(), stop.clone()));
        drop(guard);
        let served = stop.clone();
        runtime.spawn(async move {
            front.serve(&served, web::Terms { drain: Duration::ZERO, ..web::Terms::default() }, Arc::new(Nothing)).await
        });
        Replica { address, readiness, stop, runtime: Some(runtime) }
    }

    fn own(cluster: &Cluster, terms: Terms, leads: Option<watch::Receiver<bool>>) -> Replica {
        let config = kube::Config::new(cluster.url().parse().expect("a URL"));
        Replica::start(|shown, readiness, metrics, stop| async move {
            let client = kube::Client::try_from(config).expect("a client");
            let [namespace, service, secret, configuration] = ["system", "hook", "certs", "hooks"].map(String::from);
            let place = Place { namespace, service, secret, configuration };
            Keeper::new(client, (place, terms), leads, (shown, readiness), metrics).run(&stop).await;
        })
    }

    fn is_trusted(&self) -> bool {
        // Of the cluster and its resources nobody has spoken here.
        self.readiness.cluster_is_known();
        self.readiness.check(true).is_ok()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop.ask();
        self.runtime.take().into_iter().for_each(tokio::runtime::Runtime::shutdown_background);
    }
}

fn configuration() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "hooks", "labels": {"of": "somebody"}},
        "webhooks": [
            {"name": "a.example.org", "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
             "clientConfig": {"service": {"name": "hook", "namespace": "system", "path": "/mutate-pods"}}},
            {"name": "b.example.org", "sideEffects": "None", "admissionReviewVersions": ["v1"],
             "clientConfig": {"url": "https://elsewhere.example.org"}},
        ],
    })
}

/// Whom the API server trusts now.
pub fn published(cluster: &Cluster) -> Option<String> {
    let configuration = cluster.get(CONFIGURATIONS, "", "hooks")?;
    let bundle = configuration["webhooks"][0]["clientConfig"]["caBundle"].as_str()?.to_string();
    Some(String::from_utf8(data_encoding::BASE64.decode(bundle.as_bytes()).expect("base64")).expect("text"))
}

#[test]
fn certificates_are_renewed_for_years_and_no_handshake_fails() {
    let cluster = Cluster::start();
    cluster.put(CONFIGURATIONS, configuration());
    let terms = Terms { now_ms, ..Terms::default() };
    let leads = [true, false].map(watch::Sender::new);
    let replicas = [0, 1].map(|at| Replica::own(&cluster, terms, Some(leads[at].subscribe())));
    until("both replicas are trusted", || replicas.iter().all(Replica::is_trusted));
    let (shaken, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut authorities = vec![published(&cluster).expect("it is published")];
    std::thread::scope(|scope| {
        let callers = [0, 1].map(|at| {
            let (replica, cluster, shaken, ended) = (&replicas[at], &cluster, &shaken, &ended);
            scope.spawn(move || {
                // Trusts what was published before, as an API server does that hears of it late.
                let mut before = published(cluster).expect("it is published");
                while !ended.load(Ordering::SeqCst) {
                    let now = published(cluster).expect("it is published");
                    for bundle in [&before, &now] {
                        let began = now_ms();
                        let outcome = Caller::at(replica.address, bundle, Arc::new(TestTime(0))).shakes_hands();
                        // A thread that was not let run sees weeks pass between what it was shown and its look at the clock.
                        let is_fair = now_ms() - began <= STEP;
                        assert!(outcome.is_ok() || !is_fair, "replica {at}: {outcome:?}");
                        shaken.fetch_add(1, Ordering::SeqCst);
                    }
                    before = now;
                }
            })
        });
        let mut day = 0;
        while authorities.len() < 5 && callers.iter().all(|caller| !caller.is_finished()) && day < 1500 {
            day += 4;
            NOW.fetch_add(STEP, Ordering::SeqCst);
            // The other one leads every second year.
            leads[0].send_replace(day / 365 % 2 == 0);
            leads[1].send_replace(day / 365 % 2 == 1);
            until("what is shown will do for days", || {
                let bundle = published(&cluster).expect("it is published");
                let will_do =
                    |replica: &Replica| Caller::at(replica.address, &bundle, Arc::new(TestTime(9))).shakes_hands().is_ok();
                callers.iter().any(|caller| caller.is_finished()) || replicas.iter().all(will_do)
            });
            let bundle = published(&cluster).expect("it is published");
            if authorities.last() != Some(&bundle) {
                authorities.push(bundle);
            }
        }
        ended.store(true, Ordering::SeqCst);
    });
    // One, two, one, two, one: each next authority is published beside the last.
    let counts: Vec<usize> = authorities.iter().map(|bundle| bundle.matches("BEGIN CERTIFICATE").count()).collect();
    assert_eq!(counts, [1, 2, 1, 2, 1], "after {} handshakes", shaken.load(Ordering::SeqCst));
    assert!(authorities[1].contains(&authorities[0]) && authorities[1].ends_with(&authorities[2]), "the next takes its place");
    let after = cluster.get(CONFIGURATIONS, "", "hooks").expect("it is there");
    assert_eq!(after["webhooks"][1], configuration()["webhooks"][1], "another's webhook is left alone");
    assert_eq!(after["webhooks"][0]["timeoutSeconds"], 5);
}

#[test]
fn of_replicas_that_begin_together_one_makes_the_certificates() {
    let cluster = Cluster::start();
    cluster.put(CONFIGURATIONS, configuration());
    let replicas: Vec<Replica> = (0..6).map(|_| Replica::own(&cluster, Terms::default(), None)).collect();
    until("all replicas are trusted", || replicas.iter().all(Replica::is_trusted));
    let secret = cluster.get("/secrets", "system", "certs").expect("it is there");
    assert!(secret["data"]["next-ca.crt"].is_null() && secret["data"]["tls.key"].is_string());
    let bundle = published(&cluster).expect("it is published");
    let shown: Vec<Vec<u8>> =
        replicas.iter().map(|replica| Caller::new(replica.address, &bundle).shakes_hands().expect("trusted")).collect();
    assert!(shown.windows(2).all(|pair| pair[0] == pair[1]), "they show one certificate");
    assert!(cluster.asked("PUT", "secrets").is_empty(), "nothing was written over");
    assert!(Caller::new(replicas[0].address, &elsewhere().0).shakes_hands().is_err(), "others vouch for nothing");
}

#[test]
fn what_somebody_breaks_is_mended() {
    let cluster = Cluster::start();
    let replica = Replica::own(&cluster, Terms::default(), None);
    until("the Secret is made", || cluster.get("/secrets", "system", "certs").is_some());
    assert!(!replica.is_trusted(), "nobody was told to trust it");
    cluster.put(CONFIGURATIONS, configuration());
    until("it is trusted", || replica.is_trusted());
    let first = published(&cluster);
    cluster.put(CONFIGURATIONS, configuration());
    until("the bundle is back", || published(&cluster) == first);
    let mut secret = cluster.get("/secrets", "system", "certs").expect("it is there");
    secret["data"]["ca.key"] = "bm9uZQ==".into();
    secret["metadata"].as_object_mut().expect("an object").remove("resourceVersion");
    cluster.put("/secrets", secret);
    until("there is a new authority", || published(&cluster).is_some_and(|bundle| Some(bundle) != first));
    until("it is trusted again", || {
        published(&cluster).is_some_and(|bundle| Caller::new(replica.address, &bundle).shakes_hands().is_ok())
    });
    cluster.delete("/secrets", "system", "certs");
    until("the Secret is back", || cluster.get("/secrets", "system", "certs").is_some());
}

#[test]
fn a_replica_that_does_not_lead_writes_over_nothing() {
    let cluster = Cluster::start();
    cluster.put(CONFIGURATIONS, configuration());
    let leads = watch::Sender::new(false);
    let replica = Replica::own(&cluster, Terms::default(), Some(leads.subscribe()));
    until("the Secret is made", || cluster.get("/secrets", "system", "certs").is_some());
    // It is done with the first one when it shows the second.
    for _ in 0..2 {
        let (secret, authority) = outlived();
        cluster.put("/secrets", secret);
        let then = Caller::at(replica.address, &authority, Arc::new(LongAgo));
        until("it is shown", || then.shakes_hands().is_ok());
    }
    assert!(cluster.asked("PUT", "secrets").is_empty() && published(&cluster).is_none());
    leads.send_replace(true);
    until("the leader mends it", || replica.is_trusted() && !cluster.asked("PUT", "secrets").is_empty());
}

/// When no certificate of today was valid, nor is one of that time today.
#[derive(Debug)]
struct LongAgo;

fn long_ago_ms() -> i64 {
    1_500_000_000_000
}

impl TimeProvider for LongAgo {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(long_ago_ms() as u64)))
    }
}

/// A whole Secret that was made long ago, and its authority.
fn outlived() -> (Value, String) {
    let cluster = Cluster::start();
    let _replica = Replica::own(&cluster, Terms { now_ms: long_ago_ms, ..Terms::default() }, None);
    until("the Secret is made", || cluster.get("/secrets", "system", "certs").is_some());
    let secret = cluster.get("/secrets", "system", "certs").expect("it is there");
    let authority = secret["data"]["ca.crt"].as_str().expect("a certificate");
    let authority = data_encoding::BASE64.decode(authority.as_bytes()).expect("base64");
    (secret, String::from_utf8(authority).expect("text"))
}

/// An authority, and what it signed for the name, with its key.
pub fn elsewhere() -> (String, String, String) {
    let (ca_key, key) = (rcgen::KeyPair::generate().expect("a key"), rcgen::KeyPair::generate().expect("a key"));
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = ca.self_signed(&ca_key).expect("signed");
    let issuer = rcgen::Issuer::from_params(&ca, &ca_key);
    let leaf = rcgen::CertificateParams::new(vec![NAME.to_string()]).expect("a name").signed_by(&key, &issuer).expect("signed");
    (authority.pem(), leaf.pem(), key.serialize_pem())
}

/// Lays files into a folder as the kubelet does: a link to a folder is exchanged.
fn mount(folder: &Path, files: &[(&str, &str)]) {
    let data = tempfile::Builder::new().prefix("..").tempdir_in(folder).expect("a folder").keep();
    for (name, content) in files {
        std::fs::write(data.join(name), content).expect("a file");
        // They are there from the second time on.
        let _ = symlink(format!("..data/{name}"), folder.join(name));
    }
    symlink(data.file_name().expect("a name"), folder.join("..new")).expect("a link");
    std::fs::rename(folder.join("..new"), folder.join("..data")).expect("an exchange");
}

/// A replica that shows what is mounted in a folder, and whom it says to trust.
fn mounted(folder: &Path) -> (Replica, watch::Receiver<String>) {
    let files = Files { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
    let (tell, told) = std::sync::mpsc::channel();
    let replica = Replica::start(move |shown, readiness, metrics, stop| {
        readiness.trust(true);
        let mounted = Mounted::new(files, Some(NAME.to_string()), (shown, readiness), metrics);
        tell.send(mounted.bundle()).expect("somebody waits");
        async move { mounted.run(Duration::from_millis(10), &stop).await }
    });
    (replica, told.recv().expect("a bundle"))
}

#[test]
fn mounted_certificates_are_exchanged_and_broken_ones_are_not_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let (replica, _) = mounted(folder.path());
    assert!(!replica.is_trusted() || folder.path().join("tls.crt").exists(), "there is nothing yet");
    let [first, second] = [elsewhere(), elsewhere()];
    let lay = |certificate: &str, key: &str| mount(folder.path(), &[("tls.crt", certificate), ("tls.key", key)]);
    lay(&first.1, &first.2);
    until("the first is shown", || replica.is_trusted() && Caller::new(replica.address, &first.0).shakes_hands().is_ok());
    lay(&second.1, &second.2);
    until("the second is shown", || Caller::new(replica.address, &second.0).shakes_hands().is_ok());
    for (certificate, key) in [(first.1.as_str(), &second.2), ("nonsense", &first.2)] {
        lay(certificate, key);
        for _ in 0..10 {
            Caller::new(replica.address, &second.0).shakes_hands().expect("the second is still shown");
        }
    }
    lay(&first.1, &first.2);
    until("the first is back", || Caller::new(replica.address, &first.0).shakes_hands().is_ok());
}

#[test]
fn the_authority_beside_a_mounted_certificate_is_told_as_long_as_it_vouches() {
    let folder = tempfile::tempdir().expect("a folder");
    let (replica, bundle) = mounted(folder.path());
    let [first, second] = [elsewhere(), elsewhere()];
    let lay = |pair: &(String, String, String), authority: Option<&str>| {
        let files = [("tls.crt", pair.1.as_str()), ("tls.key", &pair.2)];
        mount(folder.path(), &files.into_iter().chain(authority.map(|text| ("ca.crt", text))).collect::<Vec<_>>());
    };
    let is_told = || {
        let bundle = bundle.borrow().clone();
        !bundle.is_empty() && Caller::new(replica.address, &bundle).shakes_hands().is_ok()
    };
    // What else lies in the file, a key at worst, does not go into Pods.
    lay(&first, Some(&format!("# ours\n{}{}", first.2, first.0)));
    until("the first authority is told", is_told);
    assert!(!bundle.borrow().contains("PRIVATE KEY") && !bundle.borrow().contains("ours"));
    lay(&second, Some(&second.0));
    until("the second authority is told", is_told);
    let before = bundle.borrow().clone();
    for wrong in [first.0.as_str(), "nonsense"] {
        lay(&second, Some(wrong));
        // The second look after that began after it.
        for _ in 0..2 {
            replica.readiness.certificate(false);
            until("it looked", || replica.is_trusted());
        }
        assert_eq!(*bundle.borrow(), before, "whom it cannot trust, nobody is told to trust");
    }
    lay(&second, None);
    until("nobody is named", || bundle.borrow().is_empty());
    Caller::new(replica.address, &second.0).shakes_hands().expect("the certificate is still shown");
    lay(&second, Some(&format!("{}{}", first.0, second.0)));
    until("both are told", || bundle.borrow().matches("BEGIN CERTIFICATE").count() == 2);
}
