//! Who we are to an SSH server, and who it must be to us.

use super::super::config::ServedConfig;
use super::super::error::StoreError;
use super::certificate::problem;
use super::known_hosts::{KnownHosts, Verdict, name_of};
use crate::runtime::clock;
use crate::secret::{Secret, text_of_file};
use russh::client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyBase64};
use russh::keys::{PublicKeyOrCertificate, decode_secret_key, load_public_key};
use russh::{ChannelId, MethodKind, MethodSet};
use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// Keys of an agent that are tried: servers hang up after some six refusals.
const AGENT_KEYS: usize = 4;
/// Rounds of questions that are answered.
const ROUNDS: usize = 4;

/// What is shown to the server, in this order: keys, those of the agent, the password.
pub(super) struct Login {
    user: String,
    key: Option<Arc<PrivateKey>>,
    certificate: Option<Certificate>,
    agent: Option<Agent>,
    password: Option<Secret<String>>,
}

struct Agent {
    socket: PathBuf,
    /// The one key that may be used.
    only: Option<PublicKey>,
}

impl Login {
    /// Reads keys and certificate. No request is made.
    pub(super) fn read(config: &ServedConfig) -> Result<Login, StoreError> {
        let key_file = config.get("key_file");
        let by_agent = config.flag("key_use_agent");
        let key = match (config.get("key_pem"), key_file) {
            (Some(pem), _) => Some(private_key(config, &Zeroizing::new(pem.replace("\\n", "\n")), "key_pem")?),
            (None, Some(path)) if !by_agent => {
                let text = text_of_file(Path::new(path)).map_err(|problem| no_text(path, &problem))?;
                Some(private_key(config, &text, path)?)
            }
            _ => None,
        };
        let certificate = match (config.get("pubkey"), config.get("pubkey_file")) {
            (Some(text), _) => Some(certificate(text, "pubkey")?),
            (None, Some(path)) => Some(certificate(&text_of(path)?, path)?),
            _ => None,
        };
        let password = config.options.get("pass").cloned();
        let agent = match config.get("agent_socket") {
            Some(socket) if by_agent || (key.is_none() && password.is_none()) => {
                let only = key_file.map(public_key_beside).transpose()?;
                Some(Agent { socket: socket.into(), only })
            }
            _ => None,
        };
        if key.is_none() && agent.is_none() && password.is_none() {
            let hint = "give key_file, key_pem or pass, or SSH_AUTH_SOCK of an agent";
            return Err(StoreError::usage("the sftp remote has no credentials", hint));
        }
        Ok(Login { user: config.text("user").to_owned(), key: key.map(Arc::new), certificate, agent, password })
    }

    /// Logs in, or says in words what was tried.
    pub(super) async fn show<H: client::Handler>(&self, ssh: &mut Handle<H>) -> Result<(), Lost> {
        let mut tried = Tried::default();
        if let Some(key) = &self.key {
            let outcome = match &self.certificate {
                Some(certificate) => ssh.authenticate_openssh_cert(&self.user, Arc::clone(key), certificate.clone()).await,
                None => {
                    let hash = hash_for(ssh, key.public_key()).await?;
                    let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
                    ssh.authenticate_publickey(&self.user, key).await
                }
            };
            if tried.is_done("a key", outcome?) {
                return Ok(());
            }
        }
        if let Some(agent) = &self.agent
            && self.show_agents(ssh, agent, &mut tried).await?
        {
            return Ok(());
        }
        if let Some(password) = &self.password {
            if tried.takes(MethodKind::Password) {
                let outcome = ssh.authenticate_password(&self.user, password.expose()).await?;
                if tried.is_done("the password", outcome) {
                    return Ok(());
                }
            }
            if tried.takes(MethodKind::KeyboardInteractive) && self.answer(ssh, password, &mut tried).await? {
                return Ok(());
            }
        }
        Err(Lost::Refused(tried.in_words(&self.user)))
    }

    async fn show_agents<H: client::Handler>(&self, ssh: &mut Handle<H>, agent: &Agent, tried: &mut Tried) -> Result<bool, Lost> {
        let mut client = match AgentClient::connect_uds(&agent.socket).await {
            Ok(client) => client,
            Err(_) => {
                tried.note("no agent at SSH_AUTH_SOCK");
                return Ok(false);
            }
        };
        let Ok(identities) = client.request_identities().await else {
            tried.note("an agent that does not answer");
            return Ok(false);
        };
        let keys = identities.into_iter().filter_map(|identity| match identity {
            AgentIdentity::PublicKey { key, .. } => Some(key),
            AgentIdentity::Certificate { .. } => None,
        });
        let wanted = |key: &PublicKey| agent.only.as_ref().is_none_or(|only| only.key_data() == key.key_data());
        for key in keys.filter(wanted).take(AGENT_KEYS) {
            let hash = hash_for(ssh, &key).await?;
            // An agent may keep a key and refuse its use.
            let Ok(outcome) = ssh.authenticate_publickey_with(&self.user, key, hash, &mut client).await else {
                tried.note("a key that the agent does not use");
                continue;
            };
            if tried.is_done("a key of the agent", outcome) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Some servers ask for the password in words of their own.
    async fn answer<H: client::Handler>(
        &self,
        ssh: &mut Handle<H>,
        password: &Secret<String>,
        tried: &mut Tried,
    ) -> Result<bool, Lost> {
        let mut asked = ssh.authenticate_keyboard_interactive_start(&self.user, None).await?;
        for _ in 0..ROUNDS {
            match asked {
                KeyboardInteractiveAuthResponse::Success => return Ok(true),
                KeyboardInteractiveAuthResponse::Failure { remaining_methods, .. } => {
                    tried.failed("the password as an answer", remaining_methods);
                    return Ok(false);
                }
                KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                    // What may be seen while it is typed is no password.
                    let answer = |echo: bool| if echo { String::new() } else { password.expose().clone() };
                    let answers = prompts.iter().map(|prompt| answer(prompt.echo)).collect();
                    asked = ssh.authenticate_keyboard_interactive_respond(answers).await?;
                }
            }
        }
        tried.note("answers to more questions than there are answers");
        Ok(false)
    }
}

/// What the server refused, and what it would take.
#[derive(Default)]
struct Tried {
    shown: Vec<&'static str>,
    takes: Option<MethodSet>,
}

impl Tried {
    fn note(&mut self, what: &'static str) {
        self.shown.push(what);
    }

    fn failed(&mut self, what: &'static str, takes: MethodSet) {
        self.note(what);
        self.takes = Some(takes);
    }

    fn is_done(&mut self, what: &'static str, outcome: AuthResult) -> bool {
        match outcome {
            AuthResult::Success => true,
            AuthResult::Failure { remaining_methods, .. } => {
                self.failed(what, remaining_methods);
                false
            }
        }
    }

    /// Nothing is known before the first refusal.
    fn takes(&self, kind: MethodKind) -> bool {
        self.takes.as_ref().is_none_or(|takes| takes.contains(&kind))
    }

    fn in_words(&self, user: &str) -> String {
        let takes: Vec<&str> = self.takes.iter().flat_map(|takes| takes.iter()).map(Into::into).collect();
        let takes = if takes.is_empty() { String::new() } else { format!("; it takes {}", takes.join(", ")) };
        format!("the server does not let user '{user}' in with {}{takes}", self.shown.join(", "))
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Lost {
    /// The server's key is not one that it may have: what is wrong, and what to do.
    Key { what: String, hint: String },
    /// Nobody is let in.
    Refused(String),
    /// Everything else.
    Broken(russh::Error),
}

impl From<russh::Error> for Lost {
    fn from(error: russh::Error) -> Lost {
        Lost::Broken(error)
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Key { what, .. } | Lost::Refused(what) => out.write_str(what),
            Lost::Broken(error) => write!(out, "{error}"),
        }
    }
}

/// The host that connections must lead to.
pub(super) struct Witness {
    pub(super) host: String,
    pub(super) port: u16,
    file: Option<String>,
    known: KnownHosts,
}

impl Witness {
    /// Reads the file of known hosts.
    pub(super) fn read(config: &ServedConfig) -> Result<Witness, StoreError> {
        let file = config.get("known_hosts_file").map(str::to_owned);
        let text = file.as_deref().map(text_of).transpose()?.unwrap_or_default();
        let (host, port) = address(config);
        Ok(Witness { host, port, file, known: KnownHosts::parse(&text) })
    }

    /// The algorithms, those first of which the file has a key: the server shows another kind otherwise.
    pub(super) fn preferred(&self) -> russh::Preferred {
        let known = self.known.algorithms(&self.host, self.port);
        let mut all: Vec<_> = russh::Preferred::DEFAULT.key.to_vec();
        let is_known = |algorithm: &russh::keys::Algorithm| match algorithm {
            russh::keys::Algorithm::Rsa { .. } => known.contains(&"ssh-rsa"),
            other => known.contains(&other.as_str()),
        };
        all.sort_by_key(|algorithm| !is_known(algorithm));
        // A server shows a certificate to whom asks for one, and its key to others.
        let has_authority = !self.known.authorities(&self.host, self.port).is_empty();
        let certified = if has_authority { all.clone() } else { Vec::new() };
        let (key, host_key_certificates) = (Cow::Owned(all), Cow::Owned(certified));
        russh::Preferred { key, host_key_certificates, ..russh::Preferred::DEFAULT }
    }

    fn judge(&self, shown: &PublicKeyOrCertificate) -> Result<(), Lost> {
        match shown.certificate() {
            Some(certificate) => self.judge_certificate(certificate),
            None => self.judge_key(&shown.public_key()),
        }
    }

    fn judge_certificate(&self, certificate: &Certificate) -> Result<(), Lost> {
        let authority = PublicKey::from(certificate.signature_key().clone());
        let key = PublicKey::from(certificate.public_key().clone());
        let judged = |key: &PublicKey| self.known.judge(&self.host, self.port, &key.public_key_bytes());
        match (judged(&authority), judged(&key)) {
            (Verdict::Revoked(_), _) => return self.judge_key(&authority),
            // Whose key is known needs no authority.
            (_, Verdict::Revoked(_) | Verdict::Known) => return self.judge_key(&key),
            _ => {}
        }
        let made_by = authority.fingerprint(HashAlg::Sha256);
        let is_vouched_for = self.known.authorities(&self.host, self.port).contains(&authority.public_key_bytes().as_slice());
        if !is_vouched_for {
            let what = format!("nobody vouches for the authority {made_by}, which made the server's certificate");
            let name = name_of(&self.host, self.port);
            let (kind, key) = (authority.algorithm(), authority.public_key_base64());
            let hint = format!(
                "compare it with `ssh-keygen -lf` of the authority's own key; when it is right, put this line into the file of \
                 REMOTE_KNOWN_HOSTS_FILE: @cert-authority {name} {kind} {key}"
            );
            return Err(Lost::Key { what, hint });
        }
        // Certificates begin and end by the wall clock.
        match problem(certificate, &self.host, clock::wall_ms() / 1000) {
            None => Ok(()),
            Some(problem) => {
                let what = format!("the server's certificate, made by {made_by}, {problem}");
                Err(Lost::Key { what, hint: "ask who runs the server for a certificate of this host that is valid".into() })
            }
        }
    }

    fn judge_key(&self, key: &PublicKey) -> Result<(), Lost> {
        let shown = format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256));
        let file = self.file.as_deref().unwrap_or_default();
        let (what, hint) = match self.known.judge(&self.host, self.port, &key.public_key_bytes()) {
            Verdict::Known => return Ok(()),
            Verdict::Unknown => {
                let line = format!("{} {} {}", name_of(&self.host, self.port), key.algorithm(), key.public_key_base64());
                (
                    format!("nobody vouches for the server's key {shown}"),
                    format!(
                        "compare it with `ssh-keygen -lf` of the server's own key; when it is right, put this line into a file \
                         and name that in REMOTE_KNOWN_HOSTS_FILE: {line}"
                    ),
                )
            }
            Verdict::Changed(number) => (
                format!("the server's key is {shown}, and '{file}' has another for this host on line {number}"),
                "somebody may be in between: ask who runs the server, and correct the file only if the key was changed".into(),
            ),
            Verdict::Revoked(number) => (
                format!("the server's key {shown} is revoked on line {number} of '{file}'"),
                "ask who runs the server for its new key".into(),
            ),
        };
        Err(Lost::Key { what, hint })
    }
}

/// What watches over one connection. It is dropped when the connection ends.
pub(super) struct Watch {
    pub(super) witness: Arc<Witness>,
    /// Cancelled when there is nobody left to answer.
    pub(super) lost: CancellationToken,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.lost.cancel();
    }
}

impl client::Handler for Watch {
    type Error = Lost;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Lost> {
        self.witness.judge(shown).map(|()| true)
    }

    /// The file service ended, and the connection stays.
    async fn channel_eof(&mut self, _: ChannelId, _: &mut client::Session) -> Result<(), Lost> {
        self.lost.cancel();
        Ok(())
    }

    async fn channel_close(&mut self, _: ChannelId, _: &mut client::Session) -> Result<(), Lost> {
        self.lost.cancel();
        Ok(())
    }
}

/// Host and port: `port`, or what follows the host's name, or 22.
pub(super) fn address(config: &ServedConfig) -> (String, u16) {
    let given = config.text("host");
    let (host, port) = match given.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()),
        _ => (given, None),
    };
    let named = config.get("port").and_then(|port| port.parse().ok());
    (host.trim_matches(['[', ']']).to_owned(), port.or(named).unwrap_or(22))
}

/// The digest for an RSA key: the best that the server names; many that name none know this one.
async fn hash_for<H: client::Handler>(ssh: &Handle<H>, key: &PublicKey) -> Result<Option<HashAlg>, Lost> {
    if !key.algorithm().is_rsa() {
        return Ok(None);
    }
    Ok(ssh.best_supported_rsa_hash().await?.unwrap_or(Some(HashAlg::Sha256)))
}

/// The text of a file that holds no secret; lists of hosts may be long.
fn text_of(path: &str) -> Result<String, StoreError> {
    std::fs::read_to_string(path).map_err(|error| no_text(path, &format!("cannot be read: {error}")))
}

fn no_text(path: &str, problem: &str) -> StoreError {
    StoreError::usage(format!("the file '{path}' {problem}"), "name a text file that can be read")
}

fn private_key(config: &ServedConfig, pem: &str, from: &str) -> Result<PrivateKey, StoreError> {
    let phrase = config.get("key_file_pass");
    decode_secret_key(pem, phrase).map_err(|error| {
        // What the decoder says could quote the key.
        let (what, hint) = match (error, phrase) {
            (russh::keys::Error::KeyIsEncrypted, _) => ("is encrypted", "give its passphrase as key_file_pass"),
            (_, Some(_)) => ("cannot be opened with key_file_pass", "check the passphrase, and that the key is whole"),
            (_, None) => ("is no private key", "give a key as ssh-keygen writes it; an encrypted one needs key_file_pass"),
        };
        StoreError::usage(format!("the private key {from} {what}"), hint)
    })
}

fn certificate(text: &str, from: &str) -> Result<Certificate, StoreError> {
    let wrong =
        |_| StoreError::usage(format!("{from} is no certificate"), "give a line such as ssh-ed25519-cert-v01@openssh.com …");
    Certificate::from_openssh(text.trim()).map_err(wrong)
}

/// The public key of a key that an agent keeps.
fn public_key_beside(path: &str) -> Result<PublicKey, StoreError> {
    let beside = format!("{path}.pub");
    load_public_key(Path::new(&beside)).map_err(|_| {
        StoreError::usage(
            format!("'{beside}' is no public key"),
            "put the public key there: it says which of the agent's keys to use",
        )
    })
}
