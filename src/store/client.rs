//! The HTTP client for one remote: whom it trusts, and who it says it is. Mounted certificates are swapped while the
//! process runs: the client is made anew then, and the old one goes on as long as the new files are of no use.

use super::config::{S3Config, ServedConfig};
use super::error::StoreError;
use crate::runtime::{clock, limits};
use opendal_http_transport_reqwest::ReqwestTransport;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// A connection that is not made in this time goes to a host that is not there.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Some stores redirect to where the bytes lie; more hops than this lead nowhere.
const REDIRECTS: usize = 5;

/// How a client trusts and what it follows.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    ca_file: Option<PathBuf>,
    /// Certificate and key by which the client says who it is.
    client_files: Option<(PathBuf, PathBuf)>,
    insecure: bool,
    redirects: usize,
}

impl Trust {
    /// An S3 store that redirects has another region or address, and signed requests do not survive the move.
    pub(super) fn of_s3(config: &S3Config) -> Result<Trust, StoreError> {
        let client_files = pair(config.client_cert_file.clone(), config.client_key_file.clone())?;
        Ok(Trust { ca_file: config.ca_file.clone(), client_files, insecure: config.insecure_tls, redirects: 0 })
    }

    pub(super) fn of_served(config: &ServedConfig) -> Result<Trust, StoreError> {
        let file = |name: &str| config.get(name).map(PathBuf::from);
        let client_files = pair(file("client_cert_file"), file("client_key_file"))?;
        Ok(Trust { ca_file: file("ca_file"), client_files, insecure: config.flag("insecure"), redirects: REDIRECTS })
    }

    /// The public authorities and no redirects.
    pub(super) fn public() -> Trust {
        Trust { ca_file: None, client_files: None, insecure: false, redirects: 0 }
    }

    /// The public authorities, which an image without system certificates still trusts, and those of the file.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, StoreError> {
        self.files().and_then(|files| files.certificates(self))
    }

    /// What the files hold now.
    fn files(&self) -> Result<Files, StoreError> {
        let read = |what: &str, path: &Path| {
            std::fs::read(path).map(Zeroizing::new).map_err(|error| wrong(what, path, &format!("cannot be read: {error}")))
        };
        Ok(Files {
            authorities: self.ca_file.as_deref().map(|path| read("CA file", path)).transpose()?,
            client: match &self.client_files {
                Some((cert, key)) => Some((read("client certificate", cert)?, read("client key", key)?)),
                None => None,
            },
        })
    }

    /// A client that stays as it is.
    pub(super) fn client(&self) -> Result<reqwest::Client, StoreError> {
        self.client_by(&self.files()?)
    }

    fn client_by(&self, files: &Files) -> Result<reqwest::Client, StoreError> {
        let certificates = files.certificates(self)?;
        let certificates = certificates.iter().filter_map(|der| reqwest::Certificate::from_der(der).ok());
        let redirect = match self.redirects {
            0 => reqwest::redirect::Policy::none(),
            most => reqwest::redirect::Policy::limited(most),
        };
        let mut builder = reqwest::Client::builder()
            .tls_certs_merge(certificates)
            .tls_danger_accept_invalid_certs(self.insecure)
            .http1_only()
            .redirect(redirect)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(64)
            .tcp_keepalive(Duration::from_secs(30))
            // The built-in resolver would ask a public server when it cannot read this file.
            .hickory_dns(std::fs::read("/etc/resolv.conf").is_ok());
        if let (Some((cert, key)), Some((path, _))) = (&files.client, &self.client_files) {
            let both = Zeroizing::new([cert.as_slice(), b"\n", key.as_slice()].concat());
            let identity = reqwest::Identity::from_pem(&both);
            builder =
                builder.identity(identity.map_err(|_| wrong("client certificate", path, "does not fit its key, or is no PEM"))?);
        }
        builder.build().map_err(|error| {
            let hint = "check the CA file, the client certificate and its key, and the proxy settings";
            StoreError::usage(format!("the HTTP client cannot be made: {error}"), hint)
        })
    }
}

fn pair(cert: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<(PathBuf, PathBuf)>, StoreError> {
    if cert.is_some() != key.is_some() {
        return Err(StoreError::usage("only one of client certificate and client key is given", "give both, or neither"));
    }
    Ok(cert.zip(key))
}

fn wrong(what: &str, path: &Path, problem: &str) -> StoreError {
    StoreError::usage(format!("the {what} '{}' {problem}", path.display()), "give files of PEM certificates, and of their key")
}

type Pem = Zeroizing<Vec<u8>>;

/// The bytes of the files. No `Debug`: a key is among them.
#[derive(PartialEq, Eq)]
struct Files {
    authorities: Option<Pem>,
    client: Option<(Pem, Pem)>,
}

impl Files {
    fn certificates(&self, trust: &Trust) -> Result<Vec<CertificateDer<'static>>, StoreError> {
        // The first one wins; a second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut all: Vec<CertificateDer<'static>> = webpki_root_certs::TLS_SERVER_ROOT_CERTS.to_vec();
        let (Some(pem), Some(path)) = (&self.authorities, &trust.ca_file) else { return Ok(all) };
        let given: Vec<_> = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
        if given.is_empty() {
            return Err(wrong("CA file", path, "holds no certificate"));
        }
        all.extend(given);
        Ok(all)
    }
}

/// The client that is in use.
pub(super) struct Client {
    trust: Trust,
    state: Mutex<State>,
}

struct State {
    transport: ReqwestTransport,
    files: Files,
    looked: Instant,
    /// That the files are of no use was reported.
    is_reported: bool,
}

impl Client {
    /// Makes no request.
    pub(super) fn open(trust: Trust) -> Result<Client, StoreError> {
        let files = trust.files()?;
        let transport = ReqwestTransport::new(trust.client_by(&files)?);
        Ok(Client { state: Mutex::new(State { transport, files, looked: clock::now(), is_reported: false }), trust })
    }

    /// Whether the store's certificate is not checked.
    pub(super) fn is_insecure(&self) -> bool {
        self.trust.insecure
    }

    /// What to send with. A new one shares no connection with the one before it: what is no longer trusted is not used.
    pub(super) fn current(&self) -> ReqwestTransport {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_mounted = self.trust.ca_file.is_some() || self.trust.client_files.is_some();
        if is_mounted && clock::now().duration_since(state.looked) >= limits::KEYS_LOOK {
            state.looked = clock::now();
            match self.changed(&state.files) {
                Ok(None) => {}
                Ok(Some((transport, files))) => {
                    tracing::info!("the certificates were changed, and are used from now on");
                    (state.transport, state.files, state.is_reported) = (transport, files, false);
                }
                Err(error) => {
                    if !std::mem::replace(&mut state.is_reported, true) {
                        tracing::warn!(%error, "the changed certificates cannot be used; those from before still are");
                    }
                }
            }
        }
        state.transport.clone()
    }

    fn changed(&self, before: &Files) -> Result<Option<(ReqwestTransport, Files)>, StoreError> {
        let files = self.trust.files()?;
        if files == *before {
            return Ok(None);
        }
        Ok(Some((ReqwestTransport::new(self.trust.client_by(&files)?), files)))
    }
}
