//! Who we are to an S3 store, for weeks: keys in files that are swapped, and sessions that end.
//!
//! The signer asks before each request, because what it is given is said to end soon. What is kept, and when it is fetched
//! again, is decided here: in good time before a session ends, and once when the store calls it over. As long as a session
//! holds, a failure to fetch the next one changes nothing.

use super::super::config::S3Config;
use super::super::http::within;
use super::sts::{AtEndpoint, Role};
use crate::runtime::{clock, compute, limits};
use crate::secret::Secret;
use reqsign_aws_v4::{Credential, DefaultCredentialProvider};
use reqsign_core::time::Timestamp;
use reqsign_core::{Context, Error, ProvideCredential, ProvideCredentialChain, Result, StaticEnv};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The signer asks again for what ends within two minutes, and signs with what does not end within seconds.
const FOR_ONE_REQUEST: Duration = Duration::from_secs(60);
/// A request that was sent so shortly after a renewal may still have been signed before it.
const JUST_RENEWED: Duration = Duration::from_millis(300);

/// The credentials of one remote. Cheap to clone; clones share what is kept.
#[derive(Clone)]
pub(in crate::store) struct Identity {
    source: Arc<Source>,
    role: Option<Role>,
    environment: Arc<StaticEnv>,
    held: Arc<Mutex<Option<Held>>>,
}

/// Where keys come from.
#[derive(Debug)]
pub(super) enum Source {
    Given(Given),
    Environment(ProvideCredentialChain<Credential>),
}

/// Keys of the configuration.
#[derive(Debug)]
pub(super) struct Given {
    access_key_id: Part,
    secret_access_key: Part,
    session_token: Option<Part>,
}

#[derive(Debug)]
enum Part {
    Text(Secret<String>),
    /// Mounted, and swapped for another while the process runs.
    File(PathBuf),
}

struct Held {
    credential: Credential,
    since: Instant,
    /// When it is fetched again; never, when nothing can change.
    due: Option<Instant>,
    /// Others were held before it.
    is_renewed: bool,
    /// The store took it at least once.
    is_accepted: bool,
    /// The store called it over.
    is_refused: bool,
    /// Fetching the next one failed, and was reported.
    is_reported: bool,
}

impl Identity {
    pub(super) fn new(config: &S3Config) -> Identity {
        let given = |name: &str| config.environment.get(name).map(|value| value.expose().clone());
        let envs = config.environment.iter().map(|(name, value)| (name.clone(), value.expose().clone())).collect();
        let environment = Arc::new(StaticEnv { home_dir: given("HOME").map(PathBuf::from), envs });
        let part = |text: &Secret<String>, file: &Option<PathBuf>| match file {
            Some(path) => Part::File(path.clone()),
            None => Part::Text(text.clone()),
        };
        let files = &config.key_files;
        let source = match config.static_keys() {
            Some((access, secret)) => Source::Given(Given {
                access_key_id: part(access, &files.access_key_id),
                secret_access_key: part(secret, &files.secret_access_key),
                session_token: config.session_token.as_ref().map(|token| part(token, &files.session_token)),
            }),
            None => Source::Environment(chain(config)),
        };
        let role = config.role_arn.as_ref().filter(|arn| !arn.is_empty()).map(|arn| Role {
            arn: arn.clone(),
            region: config.signing_region().to_owned(),
            endpoint: config.sts_endpoint.clone(),
        });
        Identity { source: Arc::new(source), role, environment, held: Arc::default() }
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store carried out a request.
    pub(in crate::store) fn accepted(&self) {
        if let Some(held) = &mut *self.held() {
            held.is_accepted = true;
        }
    }

    /// The store refused the credentials of a request that was sent at that moment: whether there may be others by now.
    /// Once for each that it took before: what is new and refused stays refused.
    pub(in crate::store) fn refused(&self, sent: Instant) -> bool {
        let mut held = self.held();
        let Some(held) = &mut *held else { return false };
        if held.is_refused || (held.is_renewed && sent < held.since) {
            return true;
        }
        held.is_refused = held.is_accepted && held.due.is_some();
        held.is_refused || (held.is_renewed && sent < held.since + JUST_RENEWED)
    }

    /// The text without the credentials in use.
    pub(super) fn wiped(&self, mut text: String) -> String {
        let held = self.held();
        let Some(Held { credential, .. }) = &*held else { return text };
        let secrets = [Some(&credential.access_key_id), Some(&credential.secret_access_key), credential.session_token.as_ref()];
        for secret in secrets.into_iter().flatten().filter(|secret| secret.len() > 3) {
            text = text.replace(secret.as_str(), "<secret>");
        }
        text
    }

    async fn load(&self, ctx: &Context) -> Result<Option<Credential>> {
        let ctx = ctx.clone().with_env(StaticEnv::clone(&self.environment));
        match &self.role {
            Some(role) => role.assume(&ctx, &self.source).await.map(Some),
            None => self.source.provide_credential(&ctx).await,
        }
    }

    /// How long keys without an end are used before they are looked at again.
    fn look(&self) -> Option<Duration> {
        match &*self.source {
            Source::Given(given) => given.has_files().then_some(limits::KEYS_LOOK),
            Source::Environment(_) => Some(limits::PROFILE_LOOK),
        }
    }

    /// Takes what was loaded into use; a failure only when nothing else is left.
    fn take(&self, loaded: Result<Option<Credential>>) -> Result<Option<Credential>> {
        let mut held = self.held();
        let now = clock::now();
        let new = match (loaded, &mut *held) {
            (Ok(Some(new)), _) => new,
            (failed, Some(held)) if held.is_usable() => {
                let pause = left(&held.credential).map(|left| limits::RENEW_PAUSE.min(left / 4)).or(self.look());
                held.due = pause.map(|pause| now + pause);
                if !std::mem::replace(&mut held.is_reported, true) {
                    let why = failed.err().map_or_else(|| "there are none".to_owned(), |error| error.to_string());
                    tracing::warn!(why, "no new credentials for the store; those in use still hold");
                }
                return Ok(Some(for_one_request(&held.credential)));
            }
            (failed, _) => return failed,
        };
        let due = next_look(left(&new), self.look()).map(|wait| now + wait);
        let given = for_one_request(&new);
        match &mut *held {
            Some(same) if is_same(&same.credential, &new) => {
                same.credential = new;
                same.due = due;
                same.is_accepted &= !same.is_refused;
                (same.is_refused, same.is_reported) = (false, false);
            }
            other => {
                let is_renewed = other.is_some();
                let (is_accepted, is_refused, is_reported) = (false, false, false);
                *other = Some(Held { credential: new, since: now, due, is_renewed, is_accepted, is_refused, is_reported });
            }
        }
        Ok(Some(given))
    }
}

impl ProvideCredential for Identity {
    type Credential = Credential;

    async fn provide_credential(&self, ctx: &Context) -> Result<Option<Credential>> {
        let spare = match &*self.held() {
            Some(held) if held.is_usable() && held.due.is_none_or(|due| clock::now() < due) => {
                return Ok(Some(for_one_request(&held.credential)));
            }
            held => held.as_ref().is_some_and(Held::is_usable),
        };
        // Requests wait meanwhile: not for long, where what is held still works.
        let loaded = if spare {
            let late = || Err(Error::unexpected(format!("no answer within {} s", limits::RENEW_WAIT.as_secs())));
            within(limits::RENEW_WAIT, self.load(ctx)).await.unwrap_or_else(late)
        } else {
            self.load(ctx).await
        };
        self.take(loaded)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Identity")
    }
}

impl Held {
    fn is_usable(&self) -> bool {
        !self.is_refused && left(&self.credential).is_none_or(|left| !left.is_zero())
    }
}

impl ProvideCredential for Source {
    type Credential = Credential;

    async fn provide_credential(&self, ctx: &Context) -> Result<Option<Credential>> {
        match self {
            Source::Given(given) => given.read().await.map(Some),
            Source::Environment(chain) => chain.provide_credential(ctx).await,
        }
    }
}

impl Given {
    fn has_files(&self) -> bool {
        let parts = [Some(&self.access_key_id), Some(&self.secret_access_key), self.session_token.as_ref()];
        parts.into_iter().flatten().any(|part| matches!(part, Part::File(_)))
    }

    /// Reads the parts until two readings in a row agree: a swap between two files would else give an old key with a new
    /// secret.
    async fn read(&self) -> Result<Credential> {
        let first = self.read_once().await?;
        if !self.has_files() {
            return Ok(first);
        }
        let second = self.read_once().await?;
        if is_same(&first, &second) { Ok(first) } else { Err(Error::config_invalid("the files of the keys are being changed")) }
    }

    async fn read_once(&self) -> Result<Credential> {
        Ok(Credential {
            access_key_id: self.access_key_id.read().await?,
            secret_access_key: self.secret_access_key.read().await?,
            session_token: match &self.session_token {
                Some(part) => Some(part.read().await?),
                None => None,
            },
            expires_in: None,
        })
    }
}

impl Part {
    async fn read(&self) -> Result<String> {
        match self {
            Part::Text(text) => Ok(text.expose().clone()),
            Part::File(path) => {
                let path = path.clone();
                let read = compute("read a mounted key", move || {
                    Secret::from_file(&path).map_err(|problem| format!("{} {problem}", path.display()))
                });
                read.await.map(|secret| secret.expose().clone()).map_err(Error::config_invalid)
            }
        }
    }
}

/// What the environment offers, in the order of the AWS tools.
fn chain(config: &S3Config) -> ProvideCredentialChain<Credential> {
    let mut builder = DefaultCredentialProvider::builder();
    // A workload that has its own identity must not take the machine's for it, only because a service is down.
    let own = ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"];
    if config.disable_imds || own.iter().any(|name| config.environment.contains_key(*name)) {
        builder = builder.no_imds();
    }
    let chain = ProvideCredentialChain::new();
    match &config.sts_endpoint {
        Some(endpoint) => chain.push(AtEndpoint { endpoint: endpoint.clone() }).push(builder.no_web_identity().build()),
        None => chain.push(builder.build()),
    }
}

fn is_same(one: &Credential, other: &Credential) -> bool {
    one.access_key_id == other.access_key_id
        && one.secret_access_key == other.secret_access_key
        && one.session_token == other.session_token
}

fn for_one_request(credential: &Credential) -> Credential {
    Credential { expires_in: Some(Timestamp::now() + FOR_ONE_REQUEST), ..credential.clone() }
}

/// How long it still holds; `None` for keys without an end.
fn left(credential: &Credential) -> Option<Duration> {
    let end = credential.expires_in?;
    let end_ms = end.as_second().saturating_mul(1000).saturating_add(i64::from(end.subsec_nanosecond() / 1_000_000));
    Some(Duration::from_millis(u64::try_from(end_ms).unwrap_or(0).saturating_sub(clock::wall_ms())))
}

/// When to fetch again. Short sessions are renewed at half of their time.
fn next_look(left: Option<Duration>, look: Option<Duration>) -> Option<Duration> {
    match left {
        Some(left) => Some(left.saturating_sub(limits::SESSION_MARGIN.min(left / 2))),
        None => look,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(source: Source) -> Identity {
        Identity { source: Arc::new(source), role: None, environment: Arc::default(), held: Arc::default() }
    }

    fn session(token: &str, seconds: u64) -> Credential {
        Credential {
            access_key_id: "made-up-access".into(),
            secret_access_key: "made-up-secret".into(),
            session_token: Some(token.into()),
            expires_in: Some(Timestamp::now() + Duration::from_secs(seconds)),
        }
    }

    fn environment() -> Identity {
        identity(Source::Environment(ProvideCredentialChain::new()))
    }

    fn failure() -> Result<Option<Credential>> {
        Err(Error::unexpected("the service is down"))
    }

    fn token(taken: Result<Option<Credential>>) -> Option<String> {
        taken.ok().flatten().and_then(|credential| credential.session_token)
    }

    #[test]
    fn sessions_are_renewed_in_good_time() {
        let minutes = |count: u64| Some(Duration::from_secs(60 * count));
        assert_eq!(next_look(minutes(60), None), minutes(55));
        assert_eq!(next_look(minutes(4), minutes(9)), minutes(2));
        assert_eq!(next_look(None, minutes(9)), minutes(9));
        assert_eq!(next_look(None, None), None);
    }

    #[test]
    fn a_failure_changes_nothing_while_the_session_holds() {
        let identity = environment();
        assert!(identity.take(failure()).is_err(), "there is nothing yet");
        assert_eq!(token(identity.take(Ok(Some(session("first", 60))))).as_deref(), Some("first"));
        assert_eq!(token(identity.take(failure())).as_deref(), Some("first"));
        assert_eq!(token(identity.take(Ok(None))).as_deref(), Some("first"));
        assert_eq!(token(identity.take(Ok(Some(session("second", 0))))).as_deref(), Some("second"));
        assert!(identity.take(failure()).is_err(), "the second has ended");
    }

    #[test]
    fn what_the_store_calls_over_is_renewed_once() {
        let identity = environment();
        let later = || clock::now() + 2 * JUST_RENEWED;
        identity.take(Ok(Some(session("first", 60)))).expect("taken");
        assert!(!identity.refused(later()), "it was never good");
        identity.accepted();
        assert!(identity.refused(later()), "it was good");
        assert!(identity.take(failure()).is_err(), "what is over is not used again");
        identity.take(Ok(Some(session("second", 60)))).expect("taken");
        assert!(identity.refused(clock::now()), "a request that the first one signed");
        assert!(!identity.refused(later()), "the second was never good");
        identity.accepted();
        assert!(identity.refused(later()));
        identity.take(Ok(Some(session("second", 60)))).expect("taken");
        assert!(!identity.refused(later()), "the same again is refused for good");
    }

    #[test]
    fn keys_that_cannot_change_are_never_asked_for_again() {
        let text = |text: &str| Part::Text(Secret::new(text.into()));
        let given = Given { access_key_id: text("access"), secret_access_key: text("secret"), session_token: None };
        let identity = identity(Source::Given(given));
        let keys = Credential { session_token: None, expires_in: None, ..session("", 0) };
        identity.take(Ok(Some(keys))).expect("taken");
        identity.accepted();
        assert!(!identity.refused(clock::now() + 2 * JUST_RENEWED));
    }
}
