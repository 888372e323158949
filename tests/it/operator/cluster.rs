//! An API server inside the test process: objects of any kind, lists, watches, optimistic locking, and faults on demand. It
//! runs on its own thread, so that plain tests and child processes can use it too. It knows no schema and no right.
#![allow(dead_code, reason = "each suite uses its own part of the server")]

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::response::{IntoResponse, Response};
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// A running API server; it ends when this is dropped.
pub struct Cluster {
    address: std::net::SocketAddr,
    shared: Arc<Shared>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// A request that was made.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: String,
    pub body: Value,
}

/// What becomes of the next requests of a kind.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Of this method.
    pub method: &'static str,
    /// With this in the path.
    pub path: &'static str,
    /// So many of them.
    pub times: usize,
    /// They are answered with this status; 0: never.
    pub status: u16,
}

struct Shared {
    state: Mutex<State>,
    /// The newest version, and how often all watches were cut.
    news: watch::Sender<(u64, u64)>,
}

#[derive(Default)]
struct State {
    version: u64,
    objects: BTreeMap<Key, Value>,
    /// Version, type of change, what changed.
    history: Vec<(u64, &'static str, Key, Value)>,
    /// What happened up to here is forgotten.
    forgotten: u64,
    asked: Vec<Asked>,
    faults: Vec<Fault>,
    away: bool,
    /// What a token is, by its text.
    tokens: BTreeMap<String, Value>,
}

/// `apps/deployments`, `/pods`; namespace, empty for none; name.
type Key = (String, String, String);

impl Cluster {
    /// Starts a server on a port of the kernel's choice.
    pub fn start() -> Cluster {
        let (news, _) = watch::channel((0, 0));
        let shared = Arc::new(Shared { state: Mutex::default(), news });
        let (end, ended) = oneshot::channel::<()>();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket option");
        let address = listener.local_addr().expect("a bound socket");
        let served = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("cluster".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let app = Router::new().fallback(move |request: Request<Body>| answer(Arc::clone(&served), request));
                tokio::select! {
                    served = async { axum::serve(listener, app).await } => served.expect("it serves"),
                    _ = ended => {}
                }
            });
        });
        Cluster { address, shared, end: Some(end), thread: Some(thread.expect("a thread")) }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client; to be made inside of a runtime.
    pub fn client(&self) -> kube::Client {
        let config = kube::Config::new(self.url().parse().expect("a URL"));
        kube::Client::try_from(config).expect("a client")
    }

    /// A configuration for child processes.
    pub fn kubeconfig(&self) -> String {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": self.url()}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {}}],
        });
        config.to_string()
    }

    /// Creates or replaces an object, as somebody with all rights. `kind` is `/pods` or `riotkit.org/podfilesystemsyncs`.
    pub fn put(&self, kind: &str, object: Value) -> Value {
        let mut state = self.state();
        let key = key_of(kind, &object);
        let put = match state.objects.get(&key).cloned() {
            Some(before) => {
                let mut object = object;
                object["metadata"]["uid"] = before["metadata"]["uid"].clone();
                let fresh = before["metadata"]["generation"].as_u64().unwrap_or(1) + u64::from(before["spec"] != object["spec"]);
                object["metadata"]["generation"] = fresh.into();
                object["metadata"]["creationTimestamp"] = before["metadata"]["creationTimestamp"].clone();
                state.store("MODIFIED", key, object)
            }
            None => state.create(key, object),
        };
        self.tell(state);
        put
    }

    /// Takes an object away.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) {
        let mut state = self.state();
        state.delete(&(kind.into(), namespace.into(), name.into()));
        self.tell(state);
    }

    /// An object as it is now.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        self.state().objects.get(&(kind.into(), namespace.into(), name.into())).cloned()
    }

    /// All objects of a kind.
    pub fn all(&self, kind: &str) -> Vec<Value> {
        let state = self.state();
        state.objects.iter().filter(|(key, _)| key.0 == kind).map(|(_, object)| object.clone()).collect()
    }

    /// What a TokenReview answers about a token.
    pub fn token(&self, token: &str, status: Value) {
        self.state().tokens.insert(token.into(), status);
    }

    /// The requests so far with this method, and this in their path.
    pub fn asked(&self, method: &str, path: &str) -> Vec<Asked> {
        let state = self.state();
        state.asked.iter().filter(|asked| asked.method == method && asked.path.contains(path)).cloned().collect()
    }

    /// Lets requests fail.
    pub fn fail(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Answers nothing but errors from now on, or answers again. Watches are cut.
    pub fn away(&self, away: bool) {
        self.state().away = away;
        self.cut_watches();
    }

    /// Forgets what happened up to now, and cuts all watches: those who come back with a version are told 410.
    pub fn forget_history(&self) {
        let mut state = self.state();
        // A version that nobody has seen: whoever asks for one before is too late.
        state.version += 1;
        state.forgotten = state.version;
        state.history.clear();
        drop(state);
        self.cut_watches();
    }

    fn cut_watches(&self) {
        self.shared.news.send_modify(|(_, cuts)| *cuts += 1);
    }

    fn tell(&self, state: MutexGuard<'_, State>) {
        let version = state.version;
        drop(state);
        self.shared.news.send_modify(|(newest, _)| *newest = version);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server is a panic of its test.
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the API server of the test failed");
        }
    }
}

fn key_of(kind: &str, object: &Value) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_string();
    (kind.into(), text("namespace"), text("name"))
}

impl State {
    fn create(&mut self, key: Key, mut object: Value) -> Value {
        let metadata = &mut object["metadata"];
        metadata["uid"] = format!("uid-{}", self.version + 1).into();
        metadata["generation"] = 1.into();
        if metadata["creationTimestamp"].is_null() {
            metadata["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        if let Some(given) = object.as_object_mut().and_then(|object| object.remove("stringData")) {
            // As the API server does: what is written as text is read as base64.
            for (name, value) in given.as_object().expect("a map") {
                object["data"][name] = data_encoding::BASE64.encode(value.as_str().expect("text").as_bytes()).into();
            }
        }
        self.store("ADDED", key, object)
    }

    fn store(&mut self, change: &'static str, key: Key, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        object["metadata"]["name"] = key.2.clone().into();
        if !key.1.is_empty() {
            object["metadata"]["namespace"] = key.1.clone().into();
        }
        self.history.push((self.version, change, key.clone(), object.clone()));
        self.objects.insert(key, object.clone());
        object
    }

    fn delete(&mut self, key: &Key) -> Option<Value> {
        let mut object = self.objects.remove(key)?;
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.history.push((self.version, "DELETED", key.clone(), object.clone()));
        Some(object)
    }
}

/// What a path names.
struct Place {
    kind: String,
    group_version: String,
    namespace: String,
    name: Option<String>,
    subresource: Option<String>,
}

impl Place {
    /// `/api/v1/namespaces/N/pods/P/status`, `/apis/G/V/things/T`.
    fn read(path: &str) -> Option<Place> {
        let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version) = match *parts.first()? {
            "api" => (String::new(), parts.drain(..2).nth(1)?.to_string()),
            "apis" if parts.len() > 3 => {
                let group = parts[1].to_string();
                (group, parts.drain(..3).nth(2)?.to_string())
            }
            _ => return None,
        };
        let is_inside = parts.first() == Some(&"namespaces") && parts.len() > 2;
        let namespace = if is_inside { parts.drain(..2).nth(1)?.to_string() } else { String::new() };
        let group_version = if group.is_empty() { version } else { format!("{group}/{version}") };
        let text = |at: usize| parts.get(at).map(|part| part.to_string());
        Some(Place { kind: format!("{group}/{}", parts.first()?), group_version, namespace, name: text(1), subresource: text(2) })
    }

    fn key(&self) -> Key {
        (self.kind.clone(), self.namespace.clone(), self.name.clone().unwrap_or_default())
    }

    /// Whether an object is of this collection, and is asked for.
    fn covers(&self, key: &Key) -> bool {
        key.0 == self.kind && (self.namespace.is_empty() || key.1 == self.namespace)
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 16 << 20).await.unwrap_or_default();
    let (path, query) = (parts.uri.path().to_string(), parts.uri.query().unwrap_or_default().to_string());
    let asked = Asked {
        method: parts.method.to_string(),
        path: path.clone(),
        query: query.clone(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    let (fault, cuts) = {
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked.push(asked.clone());
        // A watch that was let in before a cut ends by it, however late it begins.
        let cuts = shared.news.borrow().1;
        let is_meant = |fault: &&mut Fault| fault.times > 0 && fault.method == asked.method && path.contains(fault.path);
        let fault = match state.faults.iter_mut().find(is_meant) {
            Some(fault) => {
                fault.times -= 1;
                Some(fault.status)
            }
            None => state.away.then_some(503),
        };
        (fault, cuts)
    };
    match fault {
        Some(0) => std::future::pending().await,
        Some(code) => return refusal(code, "Made"),
        None => {}
    }
    if path == "/version" {
        return reply(200, &json!({"major": "1", "minor": "33", "gitVersion": "v1.33.0", "platform": "linux/amd64"}));
    }
    if path == "/apis" {
        return reply(200, &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}));
    }
    let Some(place) = Place::read(&path) else { return refusal(404, "NotFound") };
    let options: BTreeMap<String, String> = pairs(&query);
    let is_watch = options.get("watch").is_some_and(|word| word == "true" || word == "1");
    if is_watch {
        return follow(shared, place, options, cuts);
    }
    let (response, version) = {
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let response = serve(&mut state, &parts.method, &place, &options, asked.body);
        (response, state.version)
    };
    shared.news.send_modify(|(newest, _)| *newest = version.max(*newest));
    response
}

fn serve(state: &mut State, method: &Method, place: &Place, options: &BTreeMap<String, String>, body: Value) -> Response {
    let key = place.key();
    let is_dry = options.contains_key("dryRun");
    match (method, &place.name) {
        (&Method::GET, None) => {
            let objects = state.objects.iter().filter(|(key, object)| place.covers(key) && is_selected(object, options));
            let items: Vec<Value> = objects.map(|(_, object)| object.clone()).collect();
            let version = state.version.to_string();
            reply(
                200,
                &json!({"kind": "List", "apiVersion": place.group_version, "metadata": {"resourceVersion": version}, "items": items}),
            )
        }
        (&Method::GET, Some(_)) => match state.objects.get(&key) {
            Some(object) => reply(200, object),
            None => refusal(404, "NotFound"),
        },
        (&Method::POST, None) if place.kind == "authentication.k8s.io/tokenreviews" => {
            let token = body["spec"]["token"].as_str().unwrap_or_default();
            let status = state.tokens.get(token).cloned().unwrap_or(json!({"authenticated": false, "error": "unknown"}));
            reply(
                201,
                &json!({"kind": "TokenReview", "apiVersion": place.group_version, "metadata": {}, "spec": body["spec"], "status": status}),
            )
        }
        (&Method::POST, None) => {
            let name = body["metadata"]["name"].as_str().unwrap_or_default().to_string();
            let key = (key.0, key.1, name);
            match state.objects.contains_key(&key) {
                true => refusal(409, "AlreadyExists"),
                false if is_dry => reply(201, &body),
                false => reply(201, &state.create(key, body)),
            }
        }
        (&Method::PUT | &Method::PATCH, Some(_)) => {
            let Some(before) = state.objects.get(&key).cloned() else { return refusal(404, "NotFound") };
            let version = &body["metadata"]["resourceVersion"];
            if !version.is_null() && *version != before["metadata"]["resourceVersion"] {
                return refusal(409, "Conflict");
            }
            let after = change(&before, body, place.subresource.as_deref(), method == Method::PUT);
            if is_dry { reply(200, &after) } else { reply(200, &state.store("MODIFIED", key, after)) }
        }
        (&Method::DELETE, Some(_)) => match state.delete(&key) {
            Some(object) => reply(200, &object),
            None => refusal(404, "NotFound"),
        },
        _ => refusal(405, "MethodNotAllowed"),
    }
}

/// The object after a write. What one manager applies to a status is all of it: nobody else writes one here.
fn change(before: &Value, body: Value, subresource: Option<&str>, is_whole: bool) -> Value {
    let mut after = before.clone();
    match subresource {
        Some(part) => after[part] = body[part].clone(),
        None if is_whole => {
            after = body;
            after["metadata"]["uid"] = before["metadata"]["uid"].clone();
            after["metadata"]["creationTimestamp"] = before["metadata"]["creationTimestamp"].clone();
        }
        None => merge(&mut after, &body),
    }
    after
}

/// A JSON merge patch; the webhooks of a configuration are told by their names, as in a strategic one.
fn merge(target: &mut Value, patch: &Value) {
    if let (Some(webhooks), Some(patches)) =
        (target.get_mut("webhooks").and_then(Value::as_array_mut), patch["webhooks"].as_array())
    {
        for patch in patches {
            let webhook = webhooks.iter_mut().find(|webhook| webhook["name"] == patch["name"]);
            merge(webhook.expect("a webhook of that name"), patch);
        }
        return;
    }
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        match value {
            Value::Null => drop(target.as_object_mut().expect("an object").remove(name)),
            value => merge(&mut target[name], value),
        }
    }
}

/// A watch: what happened after a version, and what happens.
fn follow(shared: Arc<Shared>, place: Place, options: BTreeMap<String, String>, cuts: u64) -> Response {
    let mut seen: u64 = options.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
    let mut news = shared.news.subscribe();
    let stream = async_stream(move |lines| async move {
        while news.borrow_and_update().1 == cuts {
            let (events, is_gone) = {
                let state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
                let events: Vec<_> = state.history.iter().filter(|(version, ..)| *version > seen).cloned().collect();
                let is_gone = seen < state.forgotten;
                seen = seen.max(state.version);
                (events, is_gone)
            };
            if is_gone {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410});
                let _ = lines.send(line("ERROR", &status)).await;
                return;
            }
            for (_, change, key, object) in events.iter().filter(|(_, _, key, _)| place.covers(key)) {
                debug_assert_eq!(key.0, place.kind);
                let change = if is_selected(object, &options) { *change } else { "DELETED" };
                if lines.send(line(change, object)).await.is_err() {
                    return;
                }
            }
            let is_told = tokio::time::timeout(Duration::from_secs(60), news.changed()).await;
            if !matches!(is_told, Ok(Ok(()))) {
                return;
            }
        }
    });
    Response::builder().header(header::CONTENT_TYPE, "application/json").body(stream).expect("a response")
}

/// A body that is written while it is read.
fn async_stream<F, W>(write: F) -> Body
where
    F: FnOnce(tokio::sync::mpsc::Sender<Bytes>) -> W,
    W: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    let writer = tokio::spawn(write(sender));
    let lines = futures::stream::unfold((receiver, writer), |(mut receiver, writer)| async move {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, Infallible>(bytes), (receiver, writer)))
    });
    Body::from_stream(lines)
}

fn line(change: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{}\n", json!({"type": change, "object": object})))
}

fn pairs(query: &str) -> BTreeMap<String, String> {
    query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.to_string(), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        match (first, more) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, more @ ..]) => {
                let digits = std::str::from_utf8(&[*high, *low]).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(digits.expect("two digits"));
                rest = more;
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).expect("text")
}

/// Labels that must be equal, and fields that must or must not be.
fn is_selected(object: &Value, options: &BTreeMap<String, String>) -> bool {
    let conditions = |name: &str| options.get(name).map(|text| text.split(',').map(String::from).collect()).unwrap_or_default();
    let labels: Vec<String> = conditions("labelSelector");
    let fields: Vec<String> = conditions("fieldSelector");
    let has_labels = labels.iter().all(|condition| {
        let (name, value) = condition.split_once('=').expect("a label's value");
        object["metadata"]["labels"][name].as_str() == Some(value)
    });
    let has_fields = fields.iter().all(|condition| {
        let (path, value, wanted) = match condition.split_once("!=") {
            Some((path, value)) => (path, value, false),
            None => condition.split_once('=').map(|(path, value)| (path, value, true)).expect("a field's value"),
        };
        let found = path.split('.').fold(object, |object, field| &object[field]);
        (found.as_str().unwrap_or_default() == value) == wanted
    });
    has_labels && has_fields
}

fn reply(code: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(code).expect("a status");
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn refusal(code: u16, reason: &str) -> Response {
    let message = format!("the test's API server says {code} {reason}");
    let body =
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": message});
    reply(code, &body)
}
