//! Who calls the webhook: an API server's client, which trusts whom it is told to trust and nobody else.

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// The name that is asked for.
pub const NAME: &str = "hook.system.svc";

/// A caller.
#[derive(Clone)]
pub struct Caller {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

impl Caller {
    /// Trusts the authorities of a text.
    pub fn new(address: SocketAddr, bundle: &str) -> Caller {
        Caller::at(address, bundle, Arc::new(DefaultTimeProvider))
    }

    /// Lives in a time of its own.
    pub fn at(address: SocketAddr, bundle: &str, time: Arc<dyn TimeProvider>) -> Caller {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(authority.expect("PEM")).expect("an authority");
        }
        let builder = ClientConfig::builder_with_details(Arc::new(ring::default_provider()), time);
        let mut config =
            builder.with_safe_default_protocol_versions().expect("versions").with_root_certificates(roots).with_no_client_auth();
        // A session that goes on asks for no certificate.
        config.resumption = rustls::client::Resumption::disabled();
        Caller { address, config: Arc::new(config) }
    }

    /// A handshake: the certificate that was shown.
    pub fn shakes_hands(&self) -> Result<Vec<u8>, String> {
        let mut stream = self.connect()?;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|error| error.to_string())?;
        }
        let shown = stream.conn.peer_certificates().and_then(<[_]>::first).expect("a certificate");
        Ok(shown.to_vec())
    }

    fn connect(&self) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
        let socket = TcpStream::connect(self.address).map_err(|error| error.to_string())?;
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let name = ServerName::try_from(NAME).expect("a name");
        let connection = ClientConnection::new(Arc::clone(&self.config), name).expect("a configuration");
        Ok(StreamOwned::new(connection, socket))
    }

    /// Sends bytes as they are and reads the answer: its status and its body.
    pub fn sends(&self, bytes: &[u8]) -> Result<(u16, String), String> {
        let mut stream = self.connect()?;
        stream.write_all(bytes).map_err(|error| error.to_string())?;
        read_answer(stream)
    }

    /// Sends a first part now; the rest is sent, and the answer read, by what is returned.
    pub fn begins(&self, first: &[u8]) -> impl FnOnce(&[u8]) -> Result<(u16, String), String> {
        let mut stream = self.connect().expect("it listens");
        stream.write_all(first).expect("sent");
        move |rest| {
            stream.write_all(rest).map_err(|error| error.to_string())?;
            read_answer(stream)
        }
    }

    /// Posts JSON.
    pub fn posts(&self, path: &str, body: &[u8]) -> (u16, String) {
        self.sends(&request(path, "application/json", body)).expect("an answer")
    }

    /// The answer to a review: its `response`.
    pub fn reviews(&self, review: &Value) -> Value {
        let (status, body) = self.posts("/mutate-pods", review.to_string().as_bytes());
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((&answer["apiVersion"], &answer["kind"]), (&json!("admission.k8s.io/v1"), &json!("AdmissionReview")));
        assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
        answer["response"].clone()
    }
}

/// What is answered: its status and its body.
fn read_answer(mut stream: impl Read) -> Result<(u16, String), String> {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("no answer: {read:?}"))?;
    Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_string()).unwrap_or_default()))
}

/// A request that is the only one of its connection.
pub fn request(path: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The patch of an answer.
pub fn patch(response: &Value) -> Vec<Value> {
    assert_eq!(response["patchType"], "JSONPatch", "{response}");
    let text = response["patch"].as_str().expect("a patch");
    serde_json::from_slice(&data_encoding::BASE64.decode(text.as_bytes()).expect("base64")).expect("JSON")
}
