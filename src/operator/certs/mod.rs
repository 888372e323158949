//! What the webhook shows to prove who it is, and what the API server is told to trust. Certificates are swapped in memory: a
//! handshake gets the old one or the new one, and both are trusted at that time. Keys are never logged.

mod files;
mod keeper;
mod own;
mod validity;

pub use files::{Files, Mounted};
pub use keeper::{Keeper, Place};
pub use own::Terms;

use crate::fault::{Fault, Kind};
use crate::secret::Secret;
use data_encoding::BASE64_MIME;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Why a certificate is not used or not made.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// The text holds none.
    #[error("{what} holds no certificate in PEM")]
    NoCertificate {
        /// Where it was looked for.
        what: String,
    },
    /// The text holds no key.
    #[error("{what} holds no private key in PEM")]
    NoKey {
        /// Where it was looked for.
        what: String,
    },
    /// They are not of one pair, or of a kind that is not supported.
    #[error("the certificate and its key cannot be used together: {cause}")]
    Pair {
        /// What the library said.
        cause: rustls::Error,
    },
    /// A file cannot be read.
    #[error("'{path}' {problem}")]
    File {
        /// Which.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// They do not vouch for the certificate.
    #[error("'{what}' does not vouch for the certificate under the name {name}, or not now")]
    Stranger {
        /// Where the authorities lie.
        what: String,
        /// By which the webhook is called.
        name: String,
    },
    /// The library did not sign.
    #[error("making a certificate: {cause}")]
    Make {
        /// What it said.
        cause: rcgen::Error,
    },
}

impl Fault for CertError {
    fn kind(&self) -> Kind {
        match self {
            CertError::Make { .. } => Kind::Bug,
            _ => Kind::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        matches!(self, CertError::File { .. }).then(|| "name both files with --tls-crt and --tls-key".to_string())
    }
}

/// What is wrong with a certificate, and what to do: it is met long after the start, where nothing but the log is read.
fn advised(error: &CertError) -> String {
    error.hint().map_or_else(|| error.to_string(), |hint| format!("{error} ({hint})"))
}

/// The certificate that clients are shown, which may be exchanged at any time.
#[derive(Debug, Default)]
pub struct Shown {
    pair: RwLock<Option<Arc<CertifiedKey>>>,
}

impl Shown {
    /// None yet: handshakes fail.
    pub fn new() -> Shown {
        Shown::default()
    }

    /// From the next handshake on, this one is shown. Tells when it runs out, in milliseconds since 1970.
    pub fn show(&self, chain: &str, key: &Secret<String>, what: &str) -> Result<Option<i64>, CertError> {
        let chain = certificates(chain);
        let first = chain.first().ok_or_else(|| CertError::NoCertificate { what: what.to_string() })?;
        let expires = validity::not_after_ms(first);
        let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes());
        let key = key.map_err(|_| CertError::NoKey { what: what.to_string() })?;
        let pair =
            CertifiedKey::from_der(chain, key, &crypto::ring::default_provider()).map_err(|cause| CertError::Pair { cause })?;
        *self.pair.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(pair));
        Ok(expires)
    }

    /// What follows where another one cannot be shown.
    fn stays(&self) -> &'static str {
        if self.is_loaded() { "the certificate stays as it is" } else { "there is no certificate to show" }
    }

    /// Whether there is one.
    pub fn is_loaded(&self) -> bool {
        self.pair().is_some()
    }

    fn pair(&self) -> Option<Arc<CertifiedKey>> {
        self.pair.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.pair()
    }
}

/// How the webhook speaks TLS: versions 1.2 and 1.3.
pub fn server_config(shown: Arc<Shown>) -> Result<Arc<ServerConfig>, CertError> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|cause| CertError::Pair { cause })?;
    Ok(Arc::new(builder.with_no_client_auth().with_cert_resolver(shown)))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(crypto::ring::default_provider())
}

/// The certificates of a text, as far as it can be read.
fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map_while(Result::ok).collect()
}

/// Certificates as a text that holds nothing else.
fn in_pem(certificates: &[CertificateDer<'_>]) -> String {
    let one = |der: &CertificateDer<'_>| {
        format!("-----BEGIN CERTIFICATE-----\r\n{}-----END CERTIFICATE-----\r\n", BASE64_MIME.encode(der))
    };
    certificates.iter().map(one).collect()
}

/// Whether a client that trusts these authorities, and asks for that name, takes the certificate at that time.
fn is_trusted(authorities: &str, chain: &str, name: &str, now_ms: i64) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(authorities));
    let chain = certificates(chain);
    let (Some((leaf, between)), Ok(name)) = (chain.split_first(), ServerName::try_from(name)) else { return false };
    let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build() else { return false };
    let now = UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(now_ms).unwrap_or(0)));
    verifier.verify_server_cert(leaf, between, &name, &[], now).is_ok()
}
