//! The program as it runs in a cluster: reviews over TLS, with an API server that is slow, away or does not know.

use super::caller::{Caller, patch, request};
use super::certs::{elsewhere, published};
use super::cluster::{Cluster, Fault};
use super::progress::{fill, report};
use super::reconcile::status;
use crate::machine::{Running, until};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::Command;
use volume_syncing_controller::operator::nodes::{self, Ability};

const CONFIGURATIONS: &str = "admissionregistration.k8s.io/mutatingwebhookconfigurations";
pub const SYNCS: &str = "riotkit.org/podfilesystemsyncs";

/// A controller that runs, and its cluster.
pub struct Controller {
    pub cluster: Cluster,
    pub running: Running,
    home: tempfile::TempDir,
}

impl Controller {
    /// With certificates of its own, in a cluster with one PodFilesystemSync.
    pub fn start(flags: &[&str]) -> Controller {
        Controller::start_in(Cluster::start(), flags)
    }

    /// In a cluster that holds more than that.
    pub fn start_in(cluster: Cluster, flags: &[&str]) -> Controller {
        let service = json!({"service": {"name": "hook", "namespace": "system"}});
        let webhook =
            json!({"name": "a.example.org", "clientConfig": service, "sideEffects": "None", "admissionReviewVersions": ["v1"]});
        let metadata = json!({"name": "hooks"});
        cluster.put(CONFIGURATIONS, json!({"metadata": metadata, "webhooks": [webhook]}));
        cluster.put(SYNCS, sync("cloud-press", "press"));
        let home = tempfile::tempdir().expect("a folder");
        let own = ["--tls-mode=self", "--webhook-configuration=hooks", "--tls-secret=certs", "--image=registry/image:1"];
        let running = begin(&cluster, home.path(), &[&own[..], flags].concat());
        let controller = Controller { cluster, running, home };
        until("it is ready", || controller.running.page("/readyz").0 == 200);
        controller
    }

    /// Who trusts what was published.
    pub fn caller(&self) -> Caller {
        let bundle = published(&self.cluster).expect("it is published");
        Caller::new(webhook_of(&self.running), &bundle)
    }

    /// Whether it holds the Lease.
    fn leads(&self) -> bool {
        let lease = self.cluster.get("coordination.k8s.io/leases", "system", "volume-syncing-controller");
        lease.is_some_and(|lease| lease["spec"]["holderIdentity"].as_str().is_some_and(|holder| holder.starts_with("replica")))
    }

    /// All that was written but certificates and the Lease.
    fn written(&self) -> Vec<String> {
        let methods = ["POST", "PUT", "PATCH", "DELETE"];
        let asked = methods.iter().flat_map(|method| self.cluster.asked(method, ""));
        asked.filter(|asked| !asked.path.contains("/leases")).map(|asked| format!("{} {}", asked.method, asked.path)).collect()
    }
}

/// The program; where figures of a release are wanted, the one that `IT_PROGRAM` names.
fn program() -> OsString {
    std::env::var_os("IT_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_volume-syncing-controller").into())
}

/// Starts the program beside a cluster, with what all of these tests say.
pub fn begin(cluster: &Cluster, home: &std::path::Path, flags: &[&str]) -> Running {
    std::fs::write(home.join("kubeconfig"), cluster.kubeconfig()).expect("a file");
    let mut command = Command::new(program());
    command.env_clear().env("KUBECONFIG", home.join("kubeconfig")).env("POD_NAME", "replica").current_dir(home);
    command.args(["serve", "--namespace=system", "--service-name=hook", "--address=127.0.0.1:0", "--health-addr=127.0.0.1:0"]);
    command.args(flags);
    Running::start(command)
}

/// Where it answers reviews.
pub fn webhook_of(running: &Running) -> SocketAddr {
    let said = running.said();
    let address = said.split("webhook=").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an address");
    address.parse().expect("an address")
}

pub fn sync(name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "riotkit.org/v1alpha1",
        "kind": "PodFilesystemSync",
        "metadata": {"name": name, "namespace": "press"},
        "spec": {
            "podSelector": {"matchLabels": {"app": app}},
            "localPath": "/data",
            "remotePath": "bucket/press",
            "syncOptions": {"schedule": "@every 1m"},
        },
    })
}

/// A review of a new Pod with this label.
pub fn review(app: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": format!("uid-of-{app}"),
            "namespace": "press",
            "operation": "CREATE",
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "dryRun": false,
            "object": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"generateName": "web-", "labels": {"app": app, "riotkit.org/volume-syncing-controller": "true"}},
                "spec": {
                    "containers": [{"name": "web", "image": "nginx", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
                    "volumes": [{"name": "data", "emptyDir": {}}],
                },
            },
        },
    })
}

fn paths(patch: &[Value]) -> String {
    patch.iter().map(|add| add["path"].as_str().expect("a path")).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_pod_is_injected_refused_or_left_alone() {
    let controller = Controller::start(&["--native=always"]);
    let caller = controller.caller();
    let injected = caller.reviews(&review("press"));
    assert_eq!(injected["allowed"], true);
    let added = patch(&injected);
    assert!(added.iter().all(|add| add["op"] == "add"), "{added:?}");
    assert!(paths(&added).contains("/spec/initContainers"), "{added:?}");
    let text = serde_json::to_string(&added).expect("JSON");
    let reports = "https://hook.system.svc:443/progress";
    for words in ["registry/image:1", "volume-syncing-sidecar", "bucket/press", reports] {
        assert!(text.contains(words), "no {words} in {text}");
    }

    let stranger = caller.reviews(&review("stranger"));
    assert_eq!((&stranger["allowed"], &stranger["status"]["code"]), (&json!(false), &json!(403)));
    let message = stranger["status"]["message"].as_str().expect("a message");
    for words in
        ["'press' matches this Pod (there are: cloud-press)", "take the label riotkit.org/volume-syncing-controller away"]
    {
        assert!(message.contains(words), "{message}");
    }
    let mut elsewhere = review("press");
    elsewhere["request"]["namespace"] = "other".into();
    elsewhere["request"]["object"]["metadata"]["namespace"] = "press".into();
    let message = caller.reviews(&elsewhere)["status"]["message"].to_string();
    assert!(message.contains("no PodFilesystemSync in the namespace 'other'"), "the request's namespace counts: {message}");

    let mut deleted = review("press");
    deleted["request"]["operation"] = "DELETE".into();
    deleted["request"]["object"] = Value::Null;
    assert_eq!(caller.reviews(&deleted), json!({"uid": "uid-of-press", "allowed": true}));
    let (status, body) = caller.posts("/inform", review("press").to_string().as_bytes());
    assert_eq!((status, body.contains("\"allowed\":true")), (200, true), "{body}");

    let metric = |labels: &str| controller.running.metric(&format!("vsc_admission_requests_total{{{labels}}}"));
    assert_eq!(metric("result=\"injected\",reason=\"\""), 1.0);
    controller.cluster.put(SYNCS, sync("second", "press"));
    until("several are refused", || caller.reviews(&review("press"))["allowed"] == false);
    let message = caller.reviews(&review("press"))["status"]["message"].to_string();
    assert!(message.contains("cloud-press") && message.contains("second"), "{message}");
    assert_eq!(metric("result=\"refused\",reason=\"no_match\""), 2.0);
    assert_eq!(metric("result=\"skipped\",reason=\"not_created\""), 1.0);
    assert!(metric("result=\"refused\",reason=\"choice\"") >= 2.0);
    assert!(controller.running.metric("vsc_webhook_certificate_expiry_timestamp_seconds{kind=\"leaf\"}") > 1.7e9);
}

#[test]
fn a_dry_run_writes_nothing_nor_does_any_other_review() {
    let controller = Controller::start(&["--leader=false"]);
    let caller = controller.caller();
    let before = controller.written();
    for is_dry in [true, false] {
        for app in ["press", "stranger"] {
            let mut review = review(app);
            review["request"]["dryRun"] = is_dry.into();
            caller.reviews(&review);
        }
    }
    assert_eq!(controller.written(), before);
}

#[test]
fn what_is_no_review_is_refused_and_the_next_one_is_answered() {
    let controller = Controller::start(&[]);
    let caller = controller.caller();
    let good = review("press").to_string();
    let deep = format!("{{\"request\":{{\"object\":{}{}}}}}", "[".repeat(100_000), "]".repeat(100_000));
    let wrong = |path: &str, kind: &str, body: &[u8]| caller.sends(&request(path, kind, body)).expect("an answer");
    for path in ["/mutate-pods", "/inform"] {
        for (status, kind, body) in [
            (415, "text/plain", good.as_bytes()),
            (415, "application/jsonp", good.as_bytes()),
            (400, "application/json", b"".as_slice()),
            (400, "application/json", b"\xff\x00garbage"),
            (400, "application/json", b"{}"),
            (400, "application/json; charset=utf-8", deep.as_bytes()),
            (200, "application/json; charset=utf-8", good.as_bytes()),
        ] {
            let answer = wrong(path, kind, body);
            assert_eq!(answer.0, status, "{path} {kind} {answer:?}");
        }
    }
    assert_eq!(caller.sends(b"GET /mutate-pods HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("an answer").0, 405);
    assert_eq!(wrong("/nothing", "application/json", b"{}").0, 405);
    assert_eq!(caller.sends(b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("an answer").0, 404);
    assert_eq!(caller.sends(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("an answer").0, 200);
    let health = controller.running.page("/metrics").0;
    let front = caller.sends(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("an answer").0;
    assert_eq!((health, front), (200, 404), "the names of namespaces are not for all that reach the webhook");
    let too_long = format!(
        "POST /mutate-pods HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        11 << 20
    );
    assert_eq!(caller.sends(too_long.as_bytes()).expect("an answer").0, 413);
    let mut large = review("press");
    large["request"]["object"]["metadata"]["annotations"] = json!({"large": "x".repeat(9 << 20)});
    assert_eq!(caller.reviews(&large)["allowed"], true, "9 MB are read");
    assert_eq!(controller.running.metric("vsc_admission_requests_total{result=\"error\",reason=\"malformed\"}"), 8.0);
}

#[test]
fn a_pods_words_are_cut_and_begin_no_line_of_the_log() {
    let controller = Controller::start(&[]);
    let mut loud = review("press");
    let name = format!("x\n2026-01-01T00:00:00Z INFO all is well {}", "y".repeat(100_000));
    loud["request"]["object"]["metadata"]["annotations"] = json!({"riotkit.org/pod-filesystem-sync": name});
    let refused = controller.caller().reviews(&loud);
    let message = refused["status"]["message"].as_str().expect("a message");
    assert!(
        message.len() <= 2048 && message.contains("names the PodFilesystemSync 'x 2026-") && !message.contains('\n'),
        "{message}"
    );
    loud["request"]["resource"] = "y".repeat(100_000).into();
    let (status, answer) = controller.caller().posts("/mutate-pods", loud.to_string().as_bytes());
    assert!(status == 400 && answer.len() < 3000, "{status} {}", answer.len());
    let said = controller.running.said();
    assert!(said.lines().all(|line| !line.contains("INFO all is well") || line.contains("a Pod was refused")), "{said}");
    assert!(said.lines().all(|line| line.len() < 3000), "no line is long");
}

#[test]
fn what_the_cache_lacks_is_asked_for_and_what_it_has_outlives_the_api_server() {
    let cluster = Cluster::start();
    let mut idle = sync("idle", "idle");
    idle["spec"]["syncOptions"]["allowedDirections"] = json!({"toRemote": false, "fromRemote": false});
    cluster.put(SYNCS, idle.clone());
    let controller = Controller::start_in(cluster, &[]);
    let caller = controller.caller();
    assert_eq!(caller.reviews(&review("press"))["allowed"], true);
    let bare = caller.reviews(&review("idle"));
    assert_eq!((&bare["allowed"], bare.get("patch")), (&json!(true), None), "it asks for nothing");
    // No watch comes back: what is applied now is not heard of.
    controller.cluster.fail(Fault { method: "GET", path: "/v1alpha1/podfilesystemsyncs", times: usize::MAX, status: 500 });
    controller.cluster.away(true);
    controller.cluster.away(false);
    controller.cluster.put(SYNCS, sync("fresh", "fresh"));
    assert_eq!(caller.reviews(&review("fresh"))["allowed"], true);
    idle["spec"]["syncOptions"]["allowedDirections"]["fromRemote"] = true.into();
    controller.cluster.put(SYNCS, idle);
    assert!(
        paths(&patch(&caller.reviews(&review("idle")))).contains("/spec/initContainers"),
        "a moment ago it asked for nothing"
    );
    assert_eq!(
        controller.cluster.asked("GET", "/namespaces/press/podfilesystemsyncs").len(),
        3,
        "once for each that is not certain"
    );

    controller.cluster.away(true);
    assert_eq!(caller.reviews(&review("press"))["allowed"], true, "from the cache");
    let refused = caller.reviews(&review("idle"));
    assert!(refused["status"]["message"].to_string().contains("asks for anything is known here"), "{refused}");
    let refused = caller.reviews(&review("stranger"));
    assert!(refused["status"]["message"].to_string().contains("the API server was asked in vain"), "{refused}");
    assert_eq!(controller.running.page("/readyz").0, 200, "it still answers");
}

#[test]
fn unmatched_pods_are_let_in_where_that_is_wanted() {
    let controller = Controller::start(&["--no-match=allow"]);
    let answer = controller.caller().reviews(&review("stranger"));
    assert_eq!((&answer["allowed"], answer.get("patch")), (&json!(true), None));
    assert!(answer["warnings"][0].as_str().expect("a warning").contains("it is not synced"), "{answer}");
}

#[test]
fn a_controller_that_ends_finishes_what_is_under_way() {
    let mut controller = Controller::start(&[]);
    let caller = controller.caller();
    until("it leads", || controller.leads());
    let body = review("press").to_string();
    let whole = request("/mutate-pods", "application/json", body.as_bytes());
    let (first, rest) = whole.split_at(whole.len() - 10);
    let finish = caller.begins(first);
    controller.running.signal(Signal::TERM);
    until("the Lease is given back", || !controller.leads());
    assert_eq!(caller.reviews(&review("press"))["allowed"], true, "the cluster does not know of the end yet");
    until("nothing new is taken", || caller.shakes_hands().is_err());
    let (status, answer) = finish(rest).expect("an answer");
    assert!(status == 200 && answer.contains("\"allowed\":true"), "{answer}");
    let (code, said) = controller.running.ends();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("all that was under way has ended"), "{said}");
    drop(controller.home);
}

#[test]
fn a_report_that_is_taken_at_the_end_is_in_the_status() {
    let mut controller = Controller::start(&[]);
    let caller = controller.caller();
    until("it leads", || controller.leads());
    fill(&controller.cluster);
    let reports = |generation: u64| {
        let body = report(json!({"generation": generation})).to_string();
        let head = "POST /progress HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer token\r\n";
        caller.sends(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).expect("an answer").0
    };
    let generation = |controller: &Controller| status(&controller.cluster, "a")["locations"][0]["generation"].clone();
    until("the Pod is known", || reports(7) == 204);
    until("it is in the status", || generation(&controller) == 7);
    controller.running.signal(Signal::TERM);
    until("the Lease is given back", || !controller.leads());
    // So soon after the last one, and of so little news, a report waits as long as anybody writes again.
    assert_eq!(reports(8), 204);
    controller.running.ends();
    assert_eq!(generation(&controller), 8);
}

#[test]
fn without_tls_it_answers_in_the_clear_and_no_token_is_sent_there() {
    let (cluster, home) = (Cluster::start(), tempfile::tempdir().expect("a folder"));
    cluster.put(SYNCS, sync("cloud-press", "press"));
    let running = begin(&cluster, home.path(), &["--image=registry/image:1"]);
    until("it is ready", || running.page("/readyz").0 == 200);
    let mut stream = std::net::TcpStream::connect(webhook_of(&running)).expect("it listens");
    std::io::Write::write_all(&mut stream, &request("/mutate-pods", "application/json", review("press").to_string().as_bytes()))
        .expect("sent");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).expect("an answer");
    let answer: Value = serde_json::from_str(answer.split_once("\r\n\r\n").expect("a body").1).expect("JSON");
    let added = serde_json::to_string(&patch(&answer["response"])).expect("JSON");
    assert!(added.contains("registry/image:1") && !added.contains("/progress"), "{added}");
    assert!(cluster.get("/secrets", "system", "certs").is_none());
}

#[test]
fn the_authority_beside_a_mounted_certificate_goes_into_the_pods_and_vouches_for_where_they_report() {
    let (cluster, home) = (Cluster::start(), tempfile::tempdir().expect("a folder"));
    cluster.put(SYNCS, sync("cloud-press", "press"));
    let (authority, certificate, key) = elsewhere();
    for (name, content) in [("ca.crt", &authority), ("server.crt", &certificate), ("server.key", &key)] {
        std::fs::write(home.path().join(name), content).expect("a file");
    }
    let files = ["--tls-mode=files", "--tls-crt=server.crt", "--tls-key=server.key", "--image=registry/image:1"];
    let running = begin(&cluster, home.path(), &files);
    until("it is ready", || running.page("/readyz").0 == 200);
    let caller = Caller::new(webhook_of(&running), &authority);
    let added = serde_json::to_string(&patch(&caller.reviews(&review("press")))).expect("JSON");
    let told = added.split("{\"name\":\"VSC_PROGRESS_CA\",\"value\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let told = data_encoding::BASE64.decode(told.expect("an authority").as_bytes()).expect("base64");
    let sidecar = Caller::new(webhook_of(&running), std::str::from_utf8(&told).expect("text"));
    let (status, answer) = sidecar.posts("/progress", b"{}");
    assert_eq!(status, 401, "it is heard, and asked who it is: {answer}");
}

#[test]
fn a_right_that_is_missing_is_named_once_by_the_log() {
    let forbidden = |method, path| Fault { method, path, times: usize::MAX, status: 403 };
    for (fault, words) in [
        (forbidden("GET", "/leases"), "WARN the Lease cannot be had, and without it this replica will not lead"),
        (forbidden("POST", "/events"), "WARN Events are not told now"),
    ] {
        let (cluster, home) = (Cluster::start(), tempfile::tempdir().expect("a folder"));
        let path = fault.path;
        cluster.fail(fault);
        for (name, app) in [("one", "press"), ("two", "press"), ("three", "shop"), ("four", "shop")] {
            cluster.put(SYNCS, sync(name, app));
        }
        let running = begin(&cluster, home.path(), &["--image=registry/image:1"]);
        until("it tried again and again", || cluster.asked("GET", path).len() + cluster.asked("POST", path).len() >= 3);
        until("it is told", || running.said().contains(words));
        let said = running.said();
        assert_eq!((said.matches(words).count(), said.contains("answered 403")), (1, true), "{said}");
    }
}

#[test]
fn what_is_wrong_with_its_options_is_told_at_once() {
    let (cluster, home) = (Cluster::start(), tempfile::tempdir().expect("a folder"));
    let mut running = begin(&cluster, home.path(), &["--tls-mode=self", "--no-match=perhaps"]);
    let (code, said) = running.ends();
    assert_eq!(code, 2, "{said}");
    for words in ["has 3 mistakes", "WEBHOOK_CONFIGURATION is missing", "IMAGE is missing", "NO_MATCH is 'perhaps'"] {
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn what_is_wrong_with_certificates_is_said_once_and_what_to_do() {
    let (cluster, home) = (Cluster::start(), tempfile::tempdir().expect("a folder"));
    cluster.fail(Fault { method: "POST", path: "/secrets", times: usize::MAX, status: 403 });
    let running = begin(&cluster, home.path(), &["--tls-mode=self", "--webhook-configuration=hooks", "--image=x"]);
    for times in 1..4 {
        until("it tries", || cluster.asked("POST", "/secrets").len() >= times);
        let metadata = json!({"name": "hooks", "labels": {"change": times.to_string()}});
        cluster.put(CONFIGURATIONS, json!({"metadata": metadata, "webhooks": []}));
    }
    running.says("writing the Secret 'volume-syncing-controller'", 1);
    assert_eq!(running.said().matches("the webhook's certificates").count(), 1, "{}", running.said());
    let running = begin(&cluster, home.path(), &["--tls-mode=files", "--tls-crt=crt", "--image=x"]);
    running.says("there is no certificate to show: 'crt' ", 1);
    running.says("(name both files with --tls-crt and --tls-key)", 1);
}

#[test]
fn no_pod_is_judged_before_the_nodes_were_looked_at() {
    let cluster = Cluster::start();
    cluster.fail(Fault { method: "GET", path: "/nodes", times: 2, status: 500 });
    let controller = Controller::start_in(cluster, &[]);
    assert_eq!(controller.cluster.asked("GET", "/nodes").len(), 3, "it is ready after the first answer");
    let said = controller.running.said();
    assert_eq!(said.matches("what the cluster is able to is not known").count(), 1, "once for as long as it is so: {said}");
    assert!(said.contains("not ready: the API server has not answered yet what the cluster is able to"), "{said}");
    let added = patch(&controller.caller().reviews(&review("press")));
    assert!(added.iter().any(|add| add["value"].to_string().contains("\"restartPolicy\":\"Always\"")), "{added:?}");

    let cluster = Cluster::start();
    cluster.fail(Fault { method: "GET", path: "/nodes", times: 1, status: 403 });
    let controller = Controller::start_in(cluster, &[]);
    assert_eq!(controller.cluster.asked("GET", "/nodes").len(), 1, "a right that is missing is an answer");
}

#[test]
fn native_sidecars_need_all_nodes_of_linux() {
    let cluster = Cluster::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let node = |name: &str, system: &str, version: &str| {
        let info = json!({
            "operatingSystem": system, "kubeletVersion": version, "architecture": "", "bootID": "", "containerRuntimeVersion": "",
            "kernelVersion": "", "kubeProxyVersion": "", "machineID": "", "osImage": "", "systemUUID": "",
        });
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"nodeInfo": info}})
    };
    let look = |native: Ability, floor: &str| {
        runtime.block_on(async {
            let seen = nodes::Cluster::new(native, Ability::Auto, floor.parse().expect("a version"));
            seen.look(&cluster.client()).await;
            seen.is_native()
        })
    };
    assert!(look(Ability::Auto, "1.29"), "no nodes: the server's version counts");
    assert!(!look(Ability::Auto, "1.34"), "the server is older");
    cluster.put("/nodes", node("one", "linux", "v1.31.2"));
    assert!(look(Ability::Auto, "1.29") && !look(Ability::Auto, "1.33"));
    cluster.put("/nodes", node("windows", "windows", "v1.20.0"));
    assert!(look(Ability::Auto, "1.29"), "no Pod of ours runs there");
    cluster.put("/nodes", node("old", "linux", "v1.28.15-gke.1"));
    assert!(!look(Ability::Auto, "1.29"));
    assert!(look(Ability::Given(true), "1.29") && !look(Ability::Given(false), "1.29"));
    cluster.delete("/nodes", "", "old");
    cluster.fail(Fault { method: "GET", path: "/nodes", times: 1, status: 403 });
    assert!(!look(Ability::Auto, "1.29"), "what is not known counts as not able");
}
