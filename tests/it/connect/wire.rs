//! What lies between the program and a store: TLS with an authority of its own, a proxy, and services that give
//! credentials. All on loopback, each on a port of the kernel's choice, each until it is dropped.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// Something that listens.
pub struct Listening {
    pub address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Listening {
    fn start<F>(work: impl Fn(TcpStream) -> F + Send + 'static) -> Listening
    where
        F: Future<Output = Option<()>> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket option");
        let address = listener.local_addr().expect("a bound socket");
        let (end, ended) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let accept = async {
                    loop {
                        if let Ok((socket, _)) = listener.accept().await {
                            tokio::spawn(work(socket));
                        }
                    }
                };
                tokio::select! {
                    () = accept => {}
                    _ = ended => {}
                }
            });
        });
        Listening { address, end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A private certificate authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Authority { issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate") }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these names, and its key.
    fn issue(&self, names: &[&str]) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("parameters");
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    /// A certificate by which a client says who it is, and its key, both as PEM.
    pub fn client(&self) -> (String, String) {
        let (certificate, key) = self.issue(&["client.test"]);
        (certificate.pem(), key.serialize_pem())
    }

    /// With `clients`, only those that this authority knows are let in.
    fn acceptor(&self, names: &[&str], clients: Option<&Authority>) -> TlsAcceptor {
        let (certificate, key) = self.issue(names);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let config = config.with_safe_default_protocol_versions().expect("versions");
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(authority.issuer.der().clone()).expect("a certificate");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                config.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let config = config.with_single_cert(vec![certificate.der().clone()], key).expect("a pair");
        TlsAcceptor::from(Arc::new(config))
    }

    /// Ends TLS under these names, and carries what is inside to another address.
    pub fn before(&self, names: &[&str], to: SocketAddr) -> Listening {
        Front::of(self.acceptor(names, None), to).listening
    }
}

/// Ends TLS by one authority, and then by another.
pub struct Front {
    pub listening: Listening,
    acceptor: Arc<Mutex<TlsAcceptor>>,
    handshakes: Arc<AtomicUsize>,
}

impl Front {
    /// Under the name `localhost`, for clients that this authority knows, if one is named.
    pub fn new(authority: &Authority, clients: Option<&Authority>, to: SocketAddr) -> Front {
        Front::of(authority.acceptor(&["localhost"], clients), to)
    }

    fn of(acceptor: TlsAcceptor, to: SocketAddr) -> Front {
        let acceptor = Arc::new(Mutex::new(acceptor));
        let handshakes: Arc<AtomicUsize> = Arc::default();
        let (current, count) = (Arc::clone(&acceptor), Arc::clone(&handshakes));
        let listening = Listening::start(move |socket| {
            let (acceptor, count) = (current.lock().expect("only replaced").clone(), Arc::clone(&count));
            async move {
                let mut inside = acceptor.accept(socket).await.ok()?;
                count.fetch_add(1, Ordering::SeqCst);
                let mut there = TcpStream::connect(to).await.ok()?;
                copy_bidirectional(&mut inside, &mut there).await.ok().map(drop)
            }
        });
        Front { listening, acceptor, handshakes }
    }

    /// New connections meet another authority.
    pub fn change(&self, authority: &Authority, clients: Option<&Authority>) {
        *self.acceptor.lock().expect("only replaced") = authority.acceptor(&["localhost"], clients);
    }

    /// Connections that were let in.
    pub fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::SeqCst)
    }

    /// Its address, as the program takes it.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.listening.address.port())
    }
}

/// A proxy that knows the way to some names only. It keeps the head of the first request of each connection.
pub struct Proxy {
    pub listening: Listening,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub fn to(ways: &[(&str, SocketAddr)]) -> Proxy {
        let ways: BTreeMap<String, SocketAddr> = ways.iter().map(|(name, to)| (name.to_string(), *to)).collect();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&heads);
        let listening = Listening::start(move |mut socket| {
            let (ways, kept) = (ways.clone(), Arc::clone(&kept));
            async move {
                let head = head(&mut socket).await?;
                kept.lock().expect("only pushed to").push(head.clone());
                let target = head.split(' ').nth(1)?.to_owned();
                let place = target.trim_start_matches("http://").split('/').next()?;
                let Some(to) = ways.get(place) else {
                    return socket.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await.ok();
                };
                let mut there = TcpStream::connect(to).await.ok()?;
                if head.starts_with("CONNECT ") {
                    socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
                } else {
                    there.write_all(head.as_bytes()).await.ok()?;
                }
                copy_bidirectional(&mut socket, &mut there).await.ok().map(drop)
            }
        });
        Proxy { listening, heads }
    }

    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("only pushed to").clone()
    }
}

/// Answers every request, and keeps the requests.
pub struct Answering {
    pub listening: Listening,
    requests: Arc<Mutex<Vec<String>>>,
}

type Answer = (&'static str, String);

impl Answering {
    /// With one text.
    pub fn with(answer: String) -> Answering {
        Answering::saying("200 OK", answer)
    }

    /// With one status and text.
    pub fn saying(status: &'static str, answer: String) -> Answering {
        Answering::by(move |_| (status, answer.clone()))
    }

    /// With a status and text for each.
    pub fn by(decide: impl FnMut(&str) -> Answer + Send + 'static) -> Answering {
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&requests);
        let decide = Arc::new(Mutex::new(decide));
        let listening = Listening::start(move |mut socket| {
            let (decide, kept) = (Arc::clone(&decide), Arc::clone(&kept));
            async move {
                let request = whole(&mut socket).await?;
                kept.lock().expect("only pushed to").push(request.clone());
                let (status, answer) = (decide.lock().expect("no decision panics"))(&request);
                let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", answer.len());
                socket.write_all(format!("{head}{answer}").as_bytes()).await.ok()?;
                socket.shutdown().await.ok()
            }
        });
        Answering { listening, requests }
    }

    /// Its address, as the program takes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.listening.address)
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("only pushed to").clone()
    }
}

/// A request with its body.
async fn whole(socket: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let head = head(socket).await?;
    let length = head.to_lowercase().split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    socket.read_exact(&mut body).await.ok()?;
    Some(format!("{head}{}", String::from_utf8_lossy(&body)))
}

/// A request up to the empty line.
async fn head(socket: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 64 << 10 {
        head.push(socket.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}
