//! An S3 store inside the test process: one bucket in memory, checked signatures, true conditional creates, and
//! faults on demand. It runs on its own thread, so that plain tests and child processes can use it too.
#![allow(dead_code)] // each suite uses its own part of the server

mod bucket;
mod faults;
mod suite;

pub use faults::{Fault, Seen, Verb};

use bucket::Stored;
use bytes::Bytes;
use faults::Front;
use s3s::S3Result;
use s3s::auth::SimpleAuth;
use s3s::host::{S3Host, VirtualHost};
use s3s::service::S3ServiceBuilder;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The server's only bucket.
pub const BUCKET: &str = "bucket";
/// A made-up access key.
pub const ACCESS_KEY: &str = "MADEUPACCESSKEY00";
/// Its made-up secret key.
pub const SECRET_KEY: &str = "made-up-secret-key";

/// Another pair that the server knows.
pub const OTHER_ACCESS_KEY: &str = "MADEUPACCESSKEY01";
/// Its made-up secret key.
pub const OTHER_SECRET_KEY: &str = "another-made-up-secret-key";

/// A running server; it ends when this is dropped.
pub struct S3 {
    address: SocketAddr,
    front: Arc<Front>,
    stored: Arc<Stored>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl S3 {
    /// Starts a server on a port of the kernel's choice.
    pub fn start() -> S3 {
        let stored = Arc::new(Stored::default());
        let mut builder = S3ServiceBuilder::new(bucket::Bucket(Arc::clone(&stored)));
        let mut keys = SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY);
        keys.register(OTHER_ACCESS_KEY.into(), OTHER_SECRET_KEY.into());
        builder.set_auth(keys);
        builder.set_host(Hosts);
        let front = Arc::new(Front::new(builder.build()));
        let (end, ended) = oneshot::channel();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket option");
        let address = listener.local_addr().expect("a bound socket");
        let served = Arc::clone(&front);
        let thread = std::thread::Builder::new().name("s3".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = faults::serve(listener, served) => {}
                    _ = ended => {}
                }
            });
        });
        S3 { address, front, stored, end: Some(end), thread: Some(thread.expect("a thread")) }
    }

    /// Another server with the same objects.
    pub fn copy(&self) -> S3 {
        let other = S3::start();
        for key in self.objects() {
            let bytes = self.object(&key).expect("nobody removes objects meanwhile");
            other.replace(&key, bytes);
        }
        other
    }

    /// The server's address, as the program takes it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Decides about each request from now on; the closure must not call back into this server.
    pub fn faults(&self, decide: impl FnMut(&Seen) -> Fault + Send + 'static) {
        self.front.decide(decide);
    }

    /// No faults from now on.
    pub fn heal(&self) {
        self.faults(|_| Fault::None);
    }

    /// The requests so far, in order of their end.
    pub fn requests(&self) -> Vec<Seen> {
        self.front.seen()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.front.forget();
    }

    /// Entries on one page of a listing, unless a request asks for fewer.
    pub fn page_size(&self, entries: usize) {
        self.stored.page_size(entries);
    }

    /// The keys that are stored, sorted.
    pub fn objects(&self) -> Vec<String> {
        self.stored.keys()
    }

    /// The bytes under a key.
    pub fn object(&self, key: &str) -> Option<Bytes> {
        self.stored.get(key)
    }

    /// Puts bytes under a key behind everybody's back.
    pub fn replace(&self, key: &str, bytes: impl Into<Bytes>) {
        self.stored.put(key, bytes.into());
    }

    /// What a program left beside an object.
    pub fn metadata(&self, key: &str, name: &str) -> Option<String> {
        self.stored.metadata(key, name)
    }

    /// Leaves something beside an object, as another program does.
    pub fn set_metadata(&self, key: &str, name: &str, value: &str) {
        self.stored.set_metadata(key, name, value);
    }

    /// Uploads in parts that were neither completed nor given up.
    pub fn open_uploads(&self) -> usize {
        self.stored.open_uploads()
    }

    /// The bucket exists no longer, or not yet.
    pub fn take_bucket_away(&self) {
        self.stored.take_bucket_away();
    }

    /// Takes an object away behind everybody's back.
    pub fn remove(&self, key: &str) {
        self.stored.remove(key);
    }
}

/// The bucket may be the first label of a host.
struct Hosts;

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let bucket = host.split_once('.').map(|(label, _)| label).filter(|label| *label == BUCKET);
        Ok(bucket.map_or_else(|| VirtualHost::new(host), |bucket| VirtualHost::new(host).with_bucket(bucket)))
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
