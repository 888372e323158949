//! The controller's loop: conditions, keys, Events, and several replicas.

use super::cluster::{Cluster, Fault};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use volume_syncing_controller::operator::caches;
use volume_syncing_controller::operator::crd::PodFilesystemSync;
use volume_syncing_controller::operator::events::Events;
use volume_syncing_controller::operator::pods::{self, PodMeta};
use volume_syncing_controller::operator::progress::{Inbox, Receiver};
use volume_syncing_controller::operator::reconcile::{Reconciler, Rules};
use volume_syncing_controller::runtime::{Stop, Tasks, limits};
use volume_syncing_controller::seal::RawKey;
use volume_syncing_controller::telemetry::ControllerMetrics;

pub const SYNCS: &str = "riotkit.org/podfilesystemsyncs";
pub const PODS: &str = "/pods";
const SECRETS: &str = "/secrets";
const EVENTS: &str = "events.k8s.io/events";
/// Longer than anything takes that is not stuck.
const SOON: Duration = Duration::from_secs(30);

/// One replica.
pub struct Replica {
    pub leads: watch::Sender<bool>,
    pub receiver: Arc<Receiver>,
    registry: Registry,
    stop: Stop,
    _tasks: Tasks<()>,
}

impl Replica {
    pub fn new(cluster: &Cluster, leads: bool, rules: Rules) -> Replica {
        Replica::of(cluster.client(), leads, rules)
    }

    pub fn of(client: kube::Client, leads: bool, rules: Rules) -> Replica {
        let (news, stop) = (Arc::new(Notify::new()), Stop::new());
        let mut tasks = Tasks::new("a replica");
        let (syncs, writer) = kube::runtime::reflector::store::<PodFilesystemSync>();
        let (api, told, stopped) = (kube::Api::all(client.clone()), news.clone(), stop.clone());
        tasks.spawn(async move { caches::keep(api, kube::runtime::watcher::Config::default(), writer, &told, &stopped).await });
        let (seen, writer) = kube::runtime::reflector::store::<PodMeta>();
        let (api, told, stopped) = (pods::api(client.clone()), news.clone(), stop.clone());
        tasks.spawn(async move { caches::keep(api, pods::wanted(), writer, &told, &stopped).await });
        let (leads, leader) = watch::channel(leads);
        let mut registry = Registry::default();
        let metrics = ControllerMetrics::register(&mut registry);
        let inbox = Arc::new(Inbox::new(news.clone()));
        let receiver = Arc::new(Receiver::new(client.clone(), seen.clone(), inbox.clone(), metrics.clone()));
        let events = Events::new(client.clone(), "controller-1");
        let reconciler = Reconciler { client, syncs, pods: seen, inbox, leader, news, rules, metrics, events };
        let stopped = stop.clone();
        tasks.spawn(async move { reconciler.run(&stopped).await });
        Replica { leads, receiver, registry, stop, _tasks: tasks }
    }

    pub fn metric(&self, start: &str) -> f64 {
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &self.registry).expect("a page");
        let line = page.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start}: {page}"));
        line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop.ask();
    }
}

/// Waits until something is true.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < SOON, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn sync(name: &str, spec: Value) -> Value {
    let mut whole =
        json!({"podSelector": {"matchLabels": {"app": name}}, "localPath": "/data", "remotePath": format!("bucket/{name}")});
    for (field, value) in spec.as_object().expect("fields") {
        whole[field] = value.clone();
    }
    json!({"apiVersion": "riotkit.org/v1alpha1", "kind": "PodFilesystemSync", "metadata": {"namespace": "ns", "name": name}, "spec": whole})
}

pub fn encrypted(name: &str) -> Value {
    sync(name, json!({"automaticEncryption": {"enabled": true, "secretName": format!("{name}-key")}}))
}

/// A Pod that asked for syncing; `by`: the PodFilesystemSync by which it was injected.
pub fn pod(name: &str, app: &str, by: Option<&str>) -> Value {
    let labels = json!({"app": app, "riotkit.org/volume-syncing-controller": "true"});
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "ns", "name": name, "labels": labels}});
    if let Some(by) = by {
        let status = json!({"v": 1, "sync": by, "kind": "native"}).to_string();
        pod["metadata"]["annotations"] = json!({"riotkit.org/volume-sync-status": status});
    }
    pod
}

pub fn status(cluster: &Cluster, name: &str) -> Value {
    cluster.get(SYNCS, "ns", name).map(|sync| sync["status"].clone()).unwrap_or_default()
}

/// A condition's status and reason, once it has a reason that is wanted.
pub async fn condition(cluster: &Cluster, name: &str, type_: &str, reason: &str) -> Value {
    let what = format!("{name}: {type_} for the reason {reason}");
    let is_it = |said: &&Value| said["type"] == type_ && said["reason"] == reason;
    until(&what, || status(cluster, name)["conditions"].as_array()?.iter().find(is_it).cloned()).await
}

fn events(cluster: &Cluster, reason: &str) -> Vec<Value> {
    cluster.all(EVENTS).into_iter().filter(|event| event["reason"] == reason).collect()
}

async fn event(cluster: &Cluster, reason: &str) -> Value {
    until(reason, || events(cluster, reason).pop()).await
}

pub fn secret_writes(cluster: &Cluster) -> usize {
    cluster.asked("POST", "/secrets").len()
}

/// Nothing but creates is ever asked of Secrets.
fn assert_only_created(cluster: &Cluster) {
    for method in ["GET", "PUT", "PATCH", "DELETE"] {
        assert!(cluster.asked(method, "/secrets").is_empty(), "{method} of a Secret");
    }
}

#[tokio::test]
async fn a_sync_is_judged_and_its_pods_are_counted() {
    let cluster = Cluster::start();
    cluster.put(SYNCS, sync("a", json!({})));
    cluster.put(PODS, pod("a-1", "a", Some("a")));
    cluster.put(PODS, pod("a-2", "a", None));
    cluster.put(PODS, pod("b-1", "b", None));
    let mut done = pod("a-3", "a", Some("a"));
    done["status"]["phase"] = "Succeeded".into();
    cluster.put(PODS, done);
    let replica = Replica::new(&cluster, true, Rules::default());
    let ready = condition(&cluster, "a", "Ready", "NeverSynced").await;
    assert_eq!((&ready["status"], &ready["observedGeneration"]), (&json!("True"), &json!(1)));
    assert_eq!(condition(&cluster, "a", "Accepted", "Valid").await["status"], "True");
    assert_eq!(condition(&cluster, "a", "Synced", "NeverSynced").await["status"], "Unknown");
    assert_eq!(status(&cluster, "a")["pods"], json!({"matched": 2, "injected": 1, "failing": 0}));
    assert_eq!(status(&cluster, "a")["observedGeneration"], 1);
    until("it is counted", || (replica.metric("vsc_sync_objects{ready=\"true\"}") == 1.0).then_some(())).await;
    assert_eq!(replica.metric("vsc_leader"), 1.0);
}

#[tokio::test]
async fn a_schedule_that_cannot_be_read_is_said_until_it_can() {
    let cluster = Cluster::start();
    cluster.put(SYNCS, sync("a", json!({"syncOptions": {"schedule": "every so often"}})));
    let _replica = Replica::new(&cluster, true, Rules::default());
    let said = condition(&cluster, "a", "Accepted", "InvalidSchedule").await;
    assert_eq!(said["status"], "False");
    assert!(said["message"].as_str().expect("text").contains("'every so often' cannot be read"), "{said}");
    assert_eq!(condition(&cluster, "a", "Ready", "InvalidSchedule").await["status"], "False");
    let told = event(&cluster, "InvalidSchedule").await;
    assert_eq!((&told["regarding"]["kind"], &told["type"]), (&json!("PodFilesystemSync"), &json!("Warning")));
    cluster.put(SYNCS, sync("a", json!({"syncOptions": {"schedule": "@every 5m"}})));
    let said = condition(&cluster, "a", "Accepted", "Valid").await;
    assert_eq!((&said["status"], &said["observedGeneration"]), (&json!("True"), &json!(2)));
}

#[tokio::test]
async fn selectors_that_choose_the_same_pods_are_refused_by_name() {
    let cluster = Cluster::start();
    cluster.put(SYNCS, sync("a", json!({"podSelector": {"matchLabels": {"app": "x"}}})));
    cluster.put(SYNCS, sync("b", json!({"podSelector": {"matchLabels": {"app": "x", "tier": "y"}}})));
    cluster.put(SYNCS, sync("c", json!({})));
    let mut elsewhere = sync("a", json!({"podSelector": {"matchLabels": {"app": "x"}}}));
    elsewhere["metadata"]["namespace"] = "other".into();
    cluster.put(SYNCS, elsewhere);
    let _replica = Replica::new(&cluster, true, Rules::default());
    let said = condition(&cluster, "a", "Accepted", "OverlappingSelector").await;
    assert!(said["message"].as_str().expect("text").contains("that of b choose the same Pods"), "{said}");
    condition(&cluster, "b", "Accepted", "OverlappingSelector").await;
    condition(&cluster, "c", "Accepted", "Valid").await;
    event(&cluster, "OverlappingSelector").await;
    until("the other namespace", || {
        let other = cluster.get(SYNCS, "other", "a")?;
        (other["status"]["conditions"][1]["reason"] == "Valid").then_some(())
    })
    .await;
    cluster.delete(SYNCS, "ns", "b");
    condition(&cluster, "a", "Accepted", "Valid").await;
}

#[tokio::test]
async fn a_key_is_made_once_and_never_looked_at() {
    let cluster = Cluster::start();
    cluster.put(SYNCS, encrypted("a"));
    let _replica = Replica::new(&cluster, true, Rules::default());
    let said = condition(&cluster, "a", "EncryptionKeyReady", "KeyCreated").await;
    assert!(said["message"].as_str().expect("text").contains("kubectl -n ns get secret a-key -o yaml"), "{said}");
    assert_eq!(status(&cluster, "a")["encryption"], json!({"secretName": "a-key"}));
    let secret = cluster.get(SECRETS, "ns", "a-key").expect("a Secret");
    assert_eq!((&secret["immutable"], &secret["type"]), (&json!(true), &json!("Opaque")));
    assert_eq!(secret["metadata"]["labels"], json!({"app.kubernetes.io/managed-by": "volume-syncing-controller"}));
    assert!(secret["metadata"]["ownerReferences"].is_null() && secret["metadata"]["finalizers"].is_null(), "{secret}");
    let key = secret["data"]["ENCRYPTED_PASSWORD"].as_str().expect("a key");
    let key = String::from_utf8(data_encoding::BASE64.decode(key.as_bytes()).expect("base64")).expect("text");
    RawKey::parse(&key).expect("a raw key");
    let note = event(&cluster, "KeyCreated").await["note"].as_str().expect("a note").to_string();
    for part in [
        "BACK IT UP",
        "get secret a-key -o yaml",
        "-c volume-syncing-sidecar -- /usr/bin/volume-syncing-controller key export-kit -d 'bucket/a'",
    ] {
        assert!(note.contains(part), "{note}");
    }
    assert!(
        !cluster.all(EVENTS).iter().chain(&cluster.all(SYNCS)).any(|object| object.to_string().contains(&key)),
        "the key is told"
    );
    // Where it was lost, a new one would open nothing.
    cluster.delete(SECRETS, "ns", "a-key");
    cluster.put(SYNCS, encrypted("b"));
    let mut changed = encrypted("a");
    changed["spec"]["debug"] = true.into();
    changed["status"] = status(&cluster, "a");
    cluster.put(SYNCS, changed);
    condition(&cluster, "b", "EncryptionKeyReady", "KeyCreated").await;
    until("the change was seen", || (status(&cluster, "a")["observedGeneration"] == 2).then_some(())).await;
    assert!(cluster.get(SECRETS, "ns", "a-key").is_none(), "a second key");
    assert_eq!(secret_writes(&cluster), 2);
    assert_only_created(&cluster);
}

#[tokio::test]
async fn a_secret_that_is_there_is_used_as_it_is() {
    let cluster = Cluster::start();
    let secret = json!({"metadata": {"namespace": "ns", "name": "a-key"}, "data": {"ENCRYPTED_PASSWORD": "bWFkZSB1cA=="}});
    let before = cluster.put(SECRETS, secret);
    cluster.put(SYNCS, encrypted("a"));
    let _replica = Replica::new(&cluster, true, Rules::default());
    assert_eq!(condition(&cluster, "a", "EncryptionKeyReady", "KeyFound").await["status"], "True");
    assert_eq!(cluster.get(SECRETS, "ns", "a-key"), Some(before));
    assert!(events(&cluster, "KeyCreated").is_empty());
    assert_only_created(&cluster);
}

#[tokio::test]
async fn a_key_is_made_only_where_that_is_allowed() {
    let cluster = Cluster::start();
    cluster.put(SYNCS, encrypted("a"));
    let rules = Rules { encryption_namespaces: ["elsewhere".to_string()].into(), ..Rules::default() };
    let _replica = Replica::new(&cluster, true, rules);
    let said = condition(&cluster, "a", "EncryptionKeyReady", "NamespaceNotAllowed").await;
    assert!(said["message"].as_str().expect("text").contains("key generate"), "{said}");
    condition(&cluster, "a", "Ready", "NamespaceNotAllowed").await;
    assert_eq!(secret_writes(&cluster), 0);
}

#[tokio::test]
async fn a_secret_that_is_refused_is_said() {
    let cluster = Cluster::start();
    cluster.fail(Fault { method: "POST", path: "/secrets", times: 1, status: 403 });
    cluster.put(SYNCS, encrypted("a"));
    let replica = Replica::new(&cluster, true, Rules::default());
    let said = condition(&cluster, "a", "EncryptionKeyReady", "CreateFailed").await;
    assert!(said["message"].as_str().expect("text").contains("the API server answered 403"), "{said}");
    assert_eq!(condition(&cluster, "a", "Ready", "CreateFailed").await["status"], "False");
    assert_eq!(replica.metric("vsc_reconcile_errors_total{reason=\"secret\"}"), 1.0);
    // It is tried again by itself.
    condition(&cluster, "a", "EncryptionKeyReady", "KeyCreated").await;
}

#[tokio::test]
async fn of_two_that_believe_to_lead_one_makes_the_key() {
    let cluster = Cluster::start();
    let replicas = [Replica::new(&cluster, true, Rules::default()), Replica::new(&cluster, true, Rules::default())];
    for name in ["a", "b", "c"] {
        cluster.put(SYNCS, encrypted(name));
    }
    for name in ["a", "b", "c"] {
        let said = until("a key", || {
            let conditions = status(&cluster, name)["conditions"].clone();
            conditions.as_array()?.iter().find(|said| said["type"] == "EncryptionKeyReady").cloned()
        });
        assert_eq!(said.await["status"], "True");
    }
    assert_eq!(events(&cluster, "KeyCreated").len(), 3, "each was made once");
    assert_eq!(cluster.all(SECRETS).len(), 3);
    assert_only_created(&cluster);
    drop(replicas);
}

#[tokio::test]
async fn who_leads_no_more_makes_no_key() {
    let cluster = Cluster::start();
    // The API server hears the first try and never answers.
    cluster.fail(Fault { method: "POST", path: "/secrets", times: 1, status: 0 });
    cluster.put(SYNCS, encrypted("a"));
    let replica = Replica::new(&cluster, true, Rules::default());
    until("it tries", || (secret_writes(&cluster) == 1).then_some(())).await;
    let began = Instant::now();
    replica.leads.send_replace(false);
    until("it stops", || (replica.metric("vsc_leader") == 0.0).then_some(())).await;
    assert!(began.elapsed() < limits::KUBE_TIMEOUT / 2, "the write went on: {:?}", began.elapsed());
    cluster.put(SYNCS, encrypted("b"));
    let other = Replica::new(&cluster, true, Rules::default());
    condition(&cluster, "a", "EncryptionKeyReady", "KeyCreated").await;
    condition(&cluster, "b", "EncryptionKeyReady", "KeyCreated").await;
    // One try of the first, one for each of the second: nothing of the first went on.
    assert_eq!(secret_writes(&cluster), 3);
    drop(other);
    cluster.put(SYNCS, encrypted("c"));
    replica.leads.send_replace(true);
    condition(&cluster, "c", "EncryptionKeyReady", "KeyCreated").await;
}

#[tokio::test]
async fn a_status_that_another_one_wrote_is_looked_at_again() {
    let cluster = Cluster::start();
    cluster.fail(Fault { method: "PATCH", path: "/status", times: 2, status: 409 });
    cluster.put(SYNCS, sync("a", json!({})));
    let _replica = Replica::new(&cluster, true, Rules::default());
    condition(&cluster, "a", "Accepted", "Valid").await;
    let applied = cluster.asked("PATCH", "/podfilesystemsyncs/a/status");
    assert_eq!(applied.len(), 3);
    assert!(applied.iter().all(|asked| asked.query.contains("fieldManager=volume-syncing-controller")), "{applied:?}");
    assert!(applied.iter().all(|asked| asked.body["metadata"]["resourceVersion"].is_string()), "{applied:?}");
    assert_eq!(cluster.asked("GET", "/podfilesystemsyncs/a").len(), 2, "each time it was read anew");
}

#[tokio::test]
async fn a_watch_whose_history_is_gone_begins_anew() {
    let cluster = Cluster::start();
    cluster.put(SYNCS, sync("a", json!({})));
    let _replica = Replica::new(&cluster, true, Rules::default());
    condition(&cluster, "a", "Accepted", "Valid").await;
    let lists = || cluster.asked("GET", "/podfilesystemsyncs").iter().filter(|asked| !asked.query.contains("watch=")).count();
    let before = lists();
    cluster.forget_history();
    cluster.put(SYNCS, sync("b", json!({})));
    condition(&cluster, "b", "Accepted", "Valid").await;
    assert!(lists() > before, "it was not listed anew");
}

#[tokio::test]
async fn what_was_known_is_known_while_the_api_server_is_away() {
    let cluster = Cluster::start();
    cluster.put(SYNCS, sync("a", json!({})));
    let (syncs, writer) = kube::runtime::reflector::store::<PodFilesystemSync>();
    let (news, stop, mut tasks) = (Notify::new(), Stop::new(), Tasks::new("a watch"));
    let (api, stopped) = (kube::Api::all(cluster.client()), stop.clone());
    assert!(!caches::is_whole(&syncs));
    tasks.spawn(async move { caches::keep(api, kube::runtime::watcher::Config::default(), writer, &news, &stopped).await });
    until("it is listed", || caches::is_whole(&syncs).then_some(())).await;
    let asked = cluster.asked("GET", "/podfilesystemsyncs").len();
    cluster.away(true);
    until("it asks in vain", || (cluster.asked("GET", "/podfilesystemsyncs").len() > asked + 1).then_some(())).await;
    assert_eq!(syncs.state().len(), 1);
    cluster.away(false);
    cluster.put(SYNCS, sync("b", json!({})));
    until("the new one is seen", || (syncs.state().len() == 2).then_some(())).await;
    stop.ask();
}

#[tokio::test]
async fn a_pod_that_was_not_injected_is_found_and_told() {
    let cluster = Cluster::start();
    cluster.put(SYNCS, sync("a", json!({})));
    cluster.put(PODS, pod("forgotten", "a", None));
    cluster.put(PODS, pod("in-order", "a", Some("a")));
    let mut young = pod("young", "a", None);
    young["metadata"]["creationTimestamp"] = k8s_openapi::jiff::Timestamp::now().to_string().into();
    cluster.put(PODS, young);
    let mut ending = pod("ending", "a", None);
    ending["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z".into();
    cluster.put(PODS, ending);
    cluster.put(PODS, pod("unmatched", "nobody", None));
    let rules = Rules { unmatched_is_fine: true, ..Rules::default() };
    let replica = Replica::new(&cluster, true, rules);
    let told = event(&cluster, "NotInjected").await;
    assert_eq!((&told["regarding"]["name"], &told["regarding"]["kind"]), (&json!("forgotten"), &json!("Pod")));
    assert!(told["note"].as_str().expect("a note").contains("Delete the Pod"), "{told}");
    until("it is counted", || (replica.metric("vsc_uninjected_pods") == 1.0).then_some(())).await;
    drop(replica);
    // Where a Pod without a match is refused, one that runs was not seen.
    let replica = Replica::new(&cluster, true, Rules::default());
    until("it is counted", || (replica.metric("vsc_uninjected_pods") == 2.0).then_some(())).await;
    cluster.put(PODS, pod("forgotten", "a", Some("a")));
    until("it is forgotten", || (replica.metric("vsc_uninjected_pods") == 1.0).then_some(())).await;
}

#[tokio::test]
async fn a_pod_that_is_left_alone_on_purpose_is_in_order() {
    let cluster = Cluster::start();
    cluster.put(SYNCS, sync("a", json!({})));
    let none = json!({"allowedDirections": {"toRemote": false, "fromRemote": false}});
    cluster.put(SYNCS, sync("off", json!({"syncOptions": none})));
    let push = json!({"allowedDirections": {"fromRemote": false}});
    cluster.put(SYNCS, sync("idle", json!({"suspend": true, "syncOptions": push})));
    let with = |name: &str, app: &str, annotation: (&str, &str)| {
        let mut pod = pod(name, app, None);
        pod["metadata"]["annotations"][annotation.0] = annotation.1.into();
        pod
    };
    cluster.put(PODS, with("static", "a", ("kubernetes.io/config.mirror", "hash")));
    cluster.put(PODS, pod("without-direction", "off", None));
    cluster.put(PODS, pod("suspended", "idle", None));
    // These named what they want by themselves: the one wants nothing, the others something.
    cluster.put(PODS, with("named-none", "nobody", ("riotkit.org/pod-filesystem-sync", "off")));
    cluster.put(PODS, with("named", "nobody", ("riotkit.org/pod-filesystem-sync", "a")));
    cluster.put(PODS, with("named-gone", "nobody", ("riotkit.org/pod-filesystem-sync", "gone")));
    let rules = Rules { unmatched_is_fine: true, ..Rules::default() };
    let replica = Replica::new(&cluster, true, rules);
    let named = || {
        let mut names: Vec<String> = events(&cluster, "NotInjected")
            .iter()
            .map(|event| event["regarding"]["name"].as_str().expect("a name").to_owned())
            .collect();
        names.sort();
        names
    };
    until("they are told", || (named().len() >= 2).then_some(())).await;
    until("they are counted", || (replica.metric("vsc_uninjected_pods") == 2.0).then_some(())).await;
    assert_eq!(named(), ["named", "named-gone"]);
}

#[tokio::test]
async fn nothing_is_written_twice_and_nothing_by_who_does_not_lead() {
    let cluster = Cluster::start();
    cluster.put(SYNCS, encrypted("a"));
    cluster.put(PODS, pod("a-1", "a", None));
    let idle = Replica::new(&cluster, false, Rules::default());
    let leading = Replica::new(&cluster, true, Rules::default());
    condition(&cluster, "a", "EncryptionKeyReady", "KeyCreated").await;
    event(&cluster, "NotInjected").await;
    // A change that wakes both, and changes nothing about the first.
    cluster.put(SYNCS, sync("b", json!({})));
    condition(&cluster, "b", "Accepted", "Valid").await;
    assert_eq!(cluster.asked("PATCH", "/podfilesystemsyncs/a/status").len(), 1);
    assert_eq!((secret_writes(&cluster), events(&cluster, "NotInjected").len()), (1, 1));
    assert_eq!((idle.metric("vsc_leader"), leading.metric("vsc_leader")), (0.0, 1.0));
}
