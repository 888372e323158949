//! Logging in to Swift: a token and the address that it is for, from Keystone (versions 3 and 2) or from Swift itself (1).

use super::super::config::ServedConfig;
use super::super::followed::Followed;
use super::super::http::{Exchange, Lost, Recording};
use super::services::operator;
use crate::runtime::clock;
use crate::secret::Secret;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use opendal::{Buffer, ErrorKind, HttpBody, HttpTransport, Operator};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long a token is used that does not say how long it lives. An answer of 401 ends it earlier.
const UNSAID_LIFE: Duration = Duration::from_secs(3600);
/// No token is asked for more often, whatever the clocks say.
const LEAST_LIFE: Duration = Duration::from_secs(60);

/// The log-in of one remote.
pub(super) struct Keystone {
    session: Mutex<Option<Session>>,
    /// The newest session whose token the store took.
    accepted: AtomicU64,
    /// The newest session whose token it refused.
    refused: AtomicU64,
    number: AtomicU64,
}

/// What is done with one token.
#[derive(Clone)]
pub(super) struct Session {
    number: u64,
    pub(super) operator: Operator,
    /// The account's address.
    pub(super) storage_url: String,
    token: HeaderValue,
    until: Instant,
}

/// Sends each request with a token that is good when it is sent: what takes long outlives the one that it began with.
pub(super) struct Tokens {
    pub(super) recording: Recording,
    pub(super) keystone: Option<Arc<Keystone>>,
    pub(super) options: Arc<Followed<Operator>>,
}

/// What a log-in gives.
struct Ticket {
    token: String,
    storage_url: String,
    life: Duration,
}

impl Keystone {
    /// Nothing where the token itself is given.
    pub(super) fn of(config: &ServedConfig) -> Option<Arc<Keystone>> {
        let needed = config.kind.name == "swift" && config.get("auth").is_some();
        let (session, accepted, refused, number) = Default::default();
        needed.then(|| Arc::new(Keystone { session, accepted, refused, number }))
    }

    /// One whose token is good for a while.
    pub(super) async fn session(&self, config: &ServedConfig, transport: &Recording) -> Result<Session, Lost> {
        let mut session = self.session.lock().await;
        let refused = self.refused.load(Ordering::Relaxed);
        let is_good = |session: &&Session| session.number > refused && clock::now() < session.until;
        if let Some(session) = session.as_ref().filter(is_good) {
            return Ok(session.clone());
        }
        let ticket = LogIn { config }.send(transport).await?;
        let mut token =
            HeaderValue::from_str(&ticket.token).map_err(|_| lost("the log-in gave a token that cannot be sent", false))?;
        token.set_sensitive(true);
        let mut config = config.clone();
        config.options.insert("storage_url", Secret::new(ticket.storage_url.clone()));
        let operator = operator(&config).map_err(|_| lost("the log-in gave an address that is none", false))?;
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        // A tenth of its life is left for what begins with it.
        let until = clock::now() + ticket.life.max(LEAST_LIFE).mul_f64(0.9);
        Ok(session.insert(Session { number, operator, storage_url: ticket.storage_url, token, until }).clone())
    }

    fn accept(&self, number: u64) {
        self.accepted.fetch_max(number, Ordering::Relaxed);
    }

    /// A token was refused: whether another one may do better. Two in a row that never worked are a denial.
    fn refuse(&self, number: u64) -> bool {
        self.refused.fetch_max(number, Ordering::Relaxed);
        self.accepted.load(Ordering::Relaxed) + 1 >= number
    }
}

impl HttpTransport for Tokens {
    async fn fetch(&self, mut request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let Some(keystone) = &self.keystone else { return self.recording.fetch(request).await };
        let (config, _) = self.options.current();
        let session = match keystone.session(&config, &self.recording).await {
            Ok(session) => session,
            Err(lost) => {
                let error = if lost.temporary { no_log_in().set_temporary() } else { no_log_in() };
                self.recording.change(|seen| not_logged_in(seen, lost));
                return Err(error);
            }
        };
        request.headers_mut().insert("X-Auth-Token", session.token);
        let answer = self.recording.fetch(request).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            keystone.accept(session.number);
        } else if keystone.refuse(session.number) {
            // A passing trouble: whoever tries again does so with another token.
            let text = "the token was not taken any more";
            self.recording.change(|seen| Exchange { answer: Some(Err(Lost::again(text))), ..seen });
            return Err(opendal::Error::new(ErrorKind::Unexpected, text).set_temporary());
        }
        Ok(answer)
    }
}

pub(super) fn no_log_in() -> opendal::Error {
    opendal::Error::new(ErrorKind::Unexpected, "no log-in")
}

/// What was seen of a log-in says more than what became of it.
pub(super) fn not_logged_in(seen: Exchange, lost: Lost) -> Exchange {
    Exchange { answer: None, credentials: seen.credentials.or(Some(lost)), ..seen }
}

/// One log-in, with the options as they are now.
struct LogIn<'a> {
    config: &'a ServedConfig,
}

impl LogIn<'_> {
    async fn send(&self, transport: &impl HttpTransport) -> Result<Ticket, Lost> {
        let auth = self.config.text("auth").trim_end_matches('/');
        let version = match self.config.get("auth_version") {
            Some("1") => 1,
            Some("2") => 2,
            Some("3") => 3,
            _ if auth.contains("/v1") || auth.contains("/auth/1") => 1,
            _ if auth.contains("/v2") => 2,
            _ => 3,
        };
        let request = match version {
            1 => Request::get(auth)
                .header("X-Auth-User", self.config.text("user"))
                .header("X-Auth-Key", self.config.text("key"))
                .body(Buffer::new()),
            2 => posted(&format!("{auth}/tokens"), &self.question_2()),
            _ => posted(&format!("{auth}/auth/tokens"), &self.question_3()),
        };
        let request = request.map_err(|_| lost("the user, the key or the address cannot be sent", false))?;
        let answer = transport.fetch(request).await.map_err(|_| lost("no answer to the log-in", true))?;
        let (parts, mut body) = answer.into_parts();
        if !parts.status.is_success() {
            let status = parts.status.as_u16();
            return Err(lost(&format!("the log-in was answered {status}"), status >= 500 || status == 429));
        }
        let body = body.to_buffer().await.map_err(|_| lost("the answer to the log-in broke off", true))?;
        let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        let ticket = match version {
            1 => Some(Ticket {
                token: header(&parts.headers, "x-auth-token").unwrap_or_default(),
                storage_url: header(&parts.headers, "x-storage-url").unwrap_or_default(),
                life: UNSAID_LIFE,
            }),
            2 => self.ticket_2(&body),
            _ => self.ticket_3(&parts.headers, &body),
        };
        let mut ticket = ticket.ok_or_else(|| lost("the answer to the log-in names no object store of that region", false))?;
        if let Some(given) = self.config.get("storage_url") {
            given.clone_into(&mut ticket.storage_url);
        }
        if ticket.token.is_empty() || ticket.storage_url.is_empty() {
            return Err(lost("the answer to the log-in holds no token or no address", false));
        }
        Ok(ticket)
    }

    fn question_2(&self) -> Value {
        let text = |name: &str| self.config.text(name);
        let mut auth = json!({ "passwordCredentials": { "username": text("user"), "password": text("key") } });
        match self.config.get("tenant_id") {
            Some(id) => auth["tenantId"] = json!(id),
            None => auth["tenantName"] = json!(text("tenant")),
        }
        json!({ "auth": auth })
    }

    fn question_3(&self) -> Value {
        let get = |name: &str| self.config.get(name);
        let domain = |name: Option<&str>| json!({ "name": name.unwrap_or("Default") });
        let user = match get("user_id") {
            Some(id) => json!({ "id": id }),
            None => json!({ "name": self.config.text("user"), "domain": domain(get("domain")) }),
        };
        if let Some(secret) = get("application_credential_secret") {
            let credential = match get("application_credential_id") {
                Some(id) => json!({ "id": id, "secret": secret }),
                None => json!({ "name": self.config.text("application_credential_name"), "secret": secret, "user": user }),
            };
            return json!({ "auth": { "identity": { "methods": ["application_credential"], "application_credential": credential } } });
        }
        let mut user = user;
        user["password"] = json!(self.config.text("key"));
        let mut auth = json!({ "identity": { "methods": ["password"], "password": { "user": user } } });
        match (get("tenant_id"), get("tenant")) {
            (Some(id), _) => auth["scope"] = json!({ "project": { "id": id } }),
            (None, Some(name)) => {
                let domain = domain(get("tenant_domain").or_else(|| get("domain")));
                auth["scope"] = json!({ "project": { "name": name, "domain": domain } });
            }
            (None, None) => {}
        }
        json!({ "auth": auth })
    }

    fn ticket_2(&self, body: &Value) -> Option<Ticket> {
        let access = &body["access"];
        let endpoints = store_of(&access["serviceCatalog"])?;
        let kind = format!("{}URL", self.config.get("endpoint_type").unwrap_or("public"));
        let endpoint = endpoints.iter().find(|endpoint| self.is_wanted(endpoint) && endpoint[&kind].is_string())?;
        Some(Ticket {
            token: access["token"]["id"].as_str()?.to_owned(),
            storage_url: endpoint[&kind].as_str()?.to_owned(),
            life: life(&access["token"]["expires"]),
        })
    }

    fn ticket_3(&self, headers: &HeaderMap, body: &Value) -> Option<Ticket> {
        let token = &body["token"];
        let endpoints = store_of(&token["catalog"])?;
        let kind = self.config.get("endpoint_type").unwrap_or("public");
        let endpoint = endpoints.iter().find(|endpoint| self.is_wanted(endpoint) && endpoint["interface"] == kind)?;
        Some(Ticket {
            token: header(headers, "x-subject-token")?,
            storage_url: endpoint["url"].as_str()?.to_owned(),
            life: life(&token["expires_at"]),
        })
    }

    fn is_wanted(&self, endpoint: &Value) -> bool {
        self.config.get("region").is_none_or(|region| endpoint["region"] == region || endpoint["region_id"] == region)
    }
}

fn posted(url: &str, question: &Value) -> http::Result<Request<Buffer>> {
    Request::post(url).header(http::header::CONTENT_TYPE, "application/json").body(Buffer::from(question.to_string()))
}

fn store_of(catalog: &Value) -> Option<&Vec<Value>> {
    catalog.as_array()?.iter().find(|service| service["type"] == "object-store")?["endpoints"].as_array()
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// From now on, by this machine's clock.
fn life(expires: &Value) -> Duration {
    let Some(at) = expires.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()) else { return UNSAID_LIFE };
    let now = i64::try_from(clock::wall_ms() / 1000).unwrap_or(i64::MAX);
    Duration::from_secs(u64::try_from(at.as_second().saturating_sub(now)).unwrap_or(0))
}

fn lost(text: &str, temporary: bool) -> Lost {
    Lost { text: text.to_owned(), temporary, late: false }
}
