//! The remote: objects under keys, and what they cost. The only room that knows OpenDAL, HTTP, S3, FTP
//! and SSH.
//!
//! A [`Bucket`] reads, creates, lists and deletes objects in an S3 store, in another store, in a folder or in memory, with the
//! meaning of S3 in all of them. It never understands what the objects hold. It never retries a conditional create: whether the
//! first attempt was applied is known to nobody, and only the caller can recognize its own object. It never returns a
//! part as the whole, neither of an object nor of a listing, and never takes an answer that is not S3's for absence.
//! It makes or looks for the bucket itself only when it is told to, and no message of it holds a secret.

mod bandwidth;
mod callback;
mod client;
mod config;
mod error;
mod file_server;
mod followed;
mod ftp;
mod gate;
mod heartbeat;
mod http;
mod judge;
mod listing;
mod local;
mod memory;
mod objects;
mod probe;
pub mod reporting;
mod requests;
mod s3;
mod served;
mod sftp;
mod tries;
mod unneeded;

pub use bandwidth::{Bandwidth, BandwidthError};
pub use callback::{Callback, CallbackError};
pub use config::{KeyFiles, RemoteConfig, S3Config, SecretFiles, ServedConfig};
pub use error::{Asked, StoreError};
pub use heartbeat::{Heartbeat, HeartbeatError};
pub use listing::Listed;
pub use objects::{About, Fetched, Mark, Object, Upload, part_bytes};
pub use probe::{Fencing, probe, recheck};
pub use requests::Requests;
pub use tries::Tries;
pub use unneeded::{Parts, Unneeded};

use self::config::{check_exact_key, check_key, check_prefix, join};
use self::error::Act;
use self::file_server::FileServer;
use self::http::Meter;
use self::local::Local;
use self::memory::Memory;
use self::s3::S3;
use self::served::Served;
use crate::runtime::{Stop, compute, limits};
use bytes::Bytes;
use opendal::raw::Operation;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What a conditional create found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// The object is ours and new.
    New,
    /// There was an object already; it is untouched.
    Exists,
}

/// How long one attempt may take.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Without a byte.
    silence: Duration,
    /// As a whole.
    attempt: Duration,
}

impl Patience {
    const USUAL: Patience = Patience { silence: limits::IO_TIMEOUT, attempt: ATTEMPT_CAP };

    /// How long to wait for the answer to an upload: the client does not say how much of it has left, so the slowest
    /// line that is still served gets its time.
    fn for_upload(self, bytes: u64) -> Duration {
        (self.silence + Duration::from_secs(bytes / SLOWEST_LINE_BYTES)).min(self.attempt)
    }
}

/// One attempt, body included, takes no longer: slower lines could not carry a pack within a grace period anyway.
const ATTEMPT_CAP: Duration = Duration::from_secs(300);
/// Uploads slower than this, per second, are given up.
const SLOWEST_LINE_BYTES: u64 = 64 << 10;

/// A place for objects. Cheap to clone; clones share connections and counts.
#[derive(Clone)]
pub struct Bucket {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Backend,
    meter: Arc<Meter>,
    place: String,
}

enum Backend {
    S3(Box<S3>),
    Served(Box<Served>),
    Files(FileServer),
    Local(Local),
    Memory(Memory),
}

impl fmt::Debug for Bucket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Bucket({})", self.inner.place)
    }
}

impl Bucket {
    /// Opens a remote. No request is made.
    pub fn connect(config: &RemoteConfig) -> Result<Bucket, StoreError> {
        let meter = Arc::new(Meter::default());
        let (backend, place) = match config {
            RemoteConfig::S3(config) => {
                let s3 = S3::open(config, Arc::clone(&meter), Patience::USUAL)?;
                let place = format!("s3://{} at {}", join(&config.bucket, &config.prefix), config.address()?);
                (Backend::S3(Box::new(s3)), place)
            }
            RemoteConfig::Served(config) if FileServer::serves(config) => {
                let server = FileServer::open(config, Patience::USUAL)?;
                (Backend::Files(server), FileServer::place(config))
            }
            RemoteConfig::Served(config) => {
                let served = Served::open(config, Arc::clone(&meter), Patience::USUAL)?;
                (Backend::Served(Box::new(served)), Served::place(config))
            }
            RemoteConfig::Local { folder, path } => {
                check_prefix(path)?;
                let folder = if path.is_empty() { folder.clone() } else { folder.join(path) };
                let place = format!("folder {}", folder.display());
                (Backend::Local(Local { folder }), place)
            }
            RemoteConfig::Memory { name } => (Backend::Memory(Memory::open(name)), format!("memory '{name}'")),
        };
        Ok(Bucket { inner: Arc::new(Inner { backend, meter, place }) })
    }

    /// The remote in words, without secrets.
    pub fn describe(&self) -> String {
        self.inner.place.clone()
    }

    /// Requests so far.
    pub fn requests(&self) -> Requests {
        self.inner.meter.snapshot()
    }

    /// Whether anyone on the way can pose as the store, because its certificate is not checked.
    pub fn is_insecure(&self) -> bool {
        match &self.inner.backend {
            Backend::S3(s3) => s3.is_insecure(),
            Backend::Served(served) => served.is_insecure(),
            Backend::Files(_) | Backend::Local(_) | Backend::Memory(_) => false,
        }
    }

    /// Whether the conditional create is this program's own, and needs no probe.
    pub fn conditional_create_is_native(&self) -> bool {
        matches!(self.inner.backend, Backend::Local(_) | Backend::Memory(_))
    }

    /// An object, or a range of it as far as it exists. An object that is not there is an error that
    /// [`StoreError::is_not_found`]; a range that begins past the end is one that [`StoreError::is_outside`].
    pub async fn get(&self, stop: &Stop, key: &str, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        let asked = self.asked(Act::Get, key)?;
        if range.as_ref().is_some_and(|range| range.start >= range.end) {
            return Ok(Bytes::new());
        }
        self.tries(stop, &asked, || self.get_once(&asked, range.as_ref())).await
    }

    /// Creates an object unless its key is taken. One attempt: an error that [`StoreError::is_ambiguous`] means that
    /// the object may have been stored, and that reading it tells.
    pub async fn create(&self, stop: &Stop, key: &str, body: Bytes) -> Result<Create, StoreError> {
        let asked = self.asked(Act::Create, key)?;
        let stopped = || StoreError::Stopped(Box::new(asked.clone()));
        stop.check().map_err(|_| stopped())?;
        match &self.inner.backend {
            Backend::S3(s3) => match stop.or(s3.create(&asked, body)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(StoreError::Ambiguous(Box::new(stopped()))),
            },
            Backend::Served(served) => match stop.or(served.create(&asked, body)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(StoreError::Ambiguous(Box::new(stopped()))),
            },
            Backend::Files(server) => {
                self.count(Operation::Write, body.len());
                match stop.or(server.create(&asked, body)).await {
                    Ok(outcome) => outcome,
                    Err(_) => Err(StoreError::Ambiguous(Box::new(stopped()))),
                }
            }
            Backend::Local(local) => {
                self.count(Operation::Write, body.len());
                let local = local.clone();
                compute("create a file", move || local.create(&asked, &body)).await
            }
            Backend::Memory(memory) => {
                self.count(Operation::Write, body.len());
                Ok(memory.create(&asked.key, body))
            }
        }
    }

    /// Writes an object whatever is there. Only for stores without conditional creates, and for probes.
    pub async fn put(&self, stop: &Stop, key: &str, body: Bytes) -> Result<(), StoreError> {
        let asked = self.asked(Act::Put, key)?;
        self.tries(stop, &asked, || self.put_once(&asked, body.clone())).await
    }

    /// Deletes an object; one that is not there is fine.
    pub async fn delete(&self, stop: &Stop, key: &str) -> Result<(), StoreError> {
        let asked = self.asked(Act::Delete, key)?;
        self.tries(stop, &asked, || self.delete_once(&asked)).await
    }

    /// The size of an object, or nothing when it does not exist. S3 answers this request without a reason: a bucket
    /// that does not exist looks like an object that does not.
    pub async fn size(&self, stop: &Stop, key: &str) -> Result<Option<u64>, StoreError> {
        let asked = self.asked(Act::Head, key)?;
        self.tries(stop, &asked, || self.size_once(&asked)).await
    }
}

impl Bucket {
    /// Makes the bucket if it does not exist; says whether it did. Folders are made by the first write.
    pub async fn make(&self, stop: &Stop) -> Result<bool, StoreError> {
        let asked = Asked { act: Act::Make, key: String::new(), place: self.inner.place.clone() };
        match &self.inner.backend {
            Backend::S3(s3) => self.tries(stop, &asked, || s3.make_bucket(&asked)).await,
            Backend::Served(served) if served.has_container() => {
                let message = format!("{asked}: buckets are made in S3 stores only");
                Err(StoreError::usage(message, "make it with the store's own tools, and leave out --create-bucket"))
            }
            Backend::Served(_) | Backend::Files(_) | Backend::Local(_) | Backend::Memory(_) => Ok(false),
        }
    }

    fn asked(&self, act: Act, key: &str) -> Result<Asked, StoreError> {
        if !(act == Act::List && key.is_empty()) {
            self.check(key)?;
        }
        Ok(Asked { act, key: key.to_owned(), place: self.inner.place.clone() })
    }

    /// OpenDAL trims keys; a folder and the memory take them as they are.
    fn check(&self, key: &str) -> Result<(), StoreError> {
        let exact = matches!(self.inner.backend, Backend::Local(_) | Backend::Memory(_));
        if exact { check_exact_key(key) } else { check_key(key) }
    }

    fn count(&self, operation: Operation, up: usize) {
        self.inner.meter.count(Some(operation));
        self.inner.meter.bytes_up.fetch_add(up as u64, Ordering::Relaxed);
    }

    async fn get_once(&self, asked: &Asked, range: Option<&Range<u64>>) -> Result<Bytes, StoreError> {
        let outcome = match &self.inner.backend {
            Backend::S3(s3) => return s3.get(asked, range).await,
            Backend::Served(served) => return served.get(asked, range).await,
            Backend::Local(local) => {
                let (local, asked, range) = (local.clone(), asked.clone(), range.cloned());
                compute("read a file", move || local.get(&asked, range.as_ref())).await
            }
            Backend::Files(server) => server.get(asked, range).await,
            Backend::Memory(memory) => memory.get(asked, range),
        };
        self.count(Operation::Read, 0);
        let down = outcome.as_ref().map_or(0, Bytes::len);
        self.inner.meter.bytes_down.fetch_add(down as u64, Ordering::Relaxed);
        outcome
    }

    async fn put_once(&self, asked: &Asked, body: Bytes) -> Result<(), StoreError> {
        let up = body.len();
        match &self.inner.backend {
            Backend::S3(s3) => return s3.put(asked, body).await,
            Backend::Served(served) => return served.put(asked, body).await,
            Backend::Local(local) => {
                let (local, asked) = (local.clone(), asked.clone());
                compute("write a file", move || local.put(&asked, &body)).await?;
            }
            Backend::Files(server) => server.put(asked, body).await?,
            Backend::Memory(memory) => memory.put(&asked.key, body),
        }
        self.count(Operation::Write, up);
        Ok(())
    }

    async fn delete_once(&self, asked: &Asked) -> Result<(), StoreError> {
        match &self.inner.backend {
            Backend::S3(s3) => return s3.delete(asked).await,
            Backend::Served(served) => return served.delete(asked).await,
            Backend::Local(local) => {
                let (local, asked) = (local.clone(), asked.clone());
                compute("delete a file", move || local.delete(&asked)).await?;
            }
            Backend::Files(server) => server.delete(asked).await?,
            Backend::Memory(memory) => memory.delete(&asked.key),
        }
        self.count(Operation::Delete, 0);
        Ok(())
    }

    async fn size_once(&self, asked: &Asked) -> Result<Option<u64>, StoreError> {
        let size = match &self.inner.backend {
            Backend::S3(s3) => return s3.size(asked).await,
            Backend::Served(served) => return served.size(asked).await,
            Backend::Local(local) => {
                let (local, asked) = (local.clone(), asked.clone());
                compute("look at a file", move || local.size(&asked)).await?
            }
            Backend::Files(server) => server.size(asked).await?,
            Backend::Memory(memory) => memory.size(&asked.key),
        };
        self.count(Operation::Stat, 0);
        Ok(size)
    }
}

/// A name that nothing else has: 128 random bits.
fn random_name() -> std::io::Result<String> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|_| std::io::Error::other("the system gives no random numbers"))?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}
