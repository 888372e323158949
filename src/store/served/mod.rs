//! Stores that are not S3, each through OpenDAL's service for it, with the meaning of S3.
//!
//! Absence is believed only where the remote's own beginning answered once: a wrong address says of everything that it
//! is not there. What tells two states of an object apart is its tag where listings have one, else length and time.

mod files;
mod index_page;
mod judge;
mod keystone;
mod listing;
mod segments;
mod services;

pub(super) use files::ServedSending;

use self::judge::judge;
use self::keystone::{Keystone, Tokens, no_log_in, not_logged_in};
use self::services::{Manner, address, manner, operator};
use super::bandwidth::Shaper;
use super::client::{Client, Trust};
use super::config::{ServedConfig, check_prefix, join};
use super::error::{Act, Asked, StoreError};
use super::followed::Followed;
use super::gate::Gate;
use super::http::{Exchange, Lost, Meter, Recording, within};
use super::local::TEMPORARY;
use super::memory::cut;
use super::{Create, Patience};
use crate::contract::remotes::{First, RemoteType};
use crate::secret::Secret;
use bytes::Bytes;
use futures::TryStreamExt;
use opendal::options::{ListOptions, ReadOptions, WriteOptions};
use opendal::{Buffer, BytesRange, Capability, ErrorKind, HttpTransporter, Metadata, Operator};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::Semaphore;

/// Requests under way at once: servers of files serve few connections at a time, and drives slow down who sends more.
const AT_ONCE: usize = 8;
/// The same for stores of objects.
const AT_ONCE_BY_KEY: usize = 64;
/// A place in a store that is not S3.
#[derive(Clone)]
pub(super) struct Served {
    kind: &'static RemoteType,
    capability: Capability,
    operator: Arc<Followed<Operator>>,
    keystone: Option<Arc<Keystone>>,
    client: Arc<Client>,
    meter: Arc<Meter>,
    prefix: String,
    manner: Manner,
    patience: Patience,
    gate: Arc<Gate>,
    shaper: Arc<Shaper>,
    slots: Arc<Semaphore>,
    /// Whether the remote's beginning answered.
    proven: Arc<AtomicBool>,
}

/// What an operation is carried out with.
struct Recorded {
    operator: Operator,
    exchange: Arc<Mutex<Exchange>>,
    /// Where it asks.
    address: String,
}

/// What an operation gave, and what the store answered.
struct Done<T> {
    result: opendal::Result<T>,
    exchange: Exchange,
}

impl Served {
    /// Makes no request.
    pub(super) fn open(config: &ServedConfig, meter: Arc<Meter>, patience: Patience) -> Result<Served, StoreError> {
        check_prefix(&config.prefix)?;
        let client = Arc::new(Client::open(Trust::of_served(config)?)?);
        // What asks for credentials goes through the process's default transport. The first one installed wins.
        HttpTransporter::install_default(client.current());
        let manner = manner(config.kind.name);
        let at_once = if manner.ordered { AT_ONCE_BY_KEY } else { AT_ONCE };
        let operator = Followed::open(config, operator)?;
        let (_, made) = operator.current();
        Ok(Served {
            kind: config.kind,
            capability: made.info().capability(),
            operator: Arc::new(operator),
            keystone: Keystone::of(config),
            client,
            meter,
            prefix: config.prefix.clone(),
            manner,
            slots: Arc::new(Semaphore::new(at_once)),
            patience,
            gate: Gate::new(),
            shaper: Arc::new(Shaper::new(config.bandwidth.clone())),
            proven: Arc::default(),
        })
    }

    /// Whether the remote lies in a bucket or container.
    pub(super) fn has_container(&self) -> bool {
        self.kind.first == First::Container
    }

    /// Whether the store's certificate is not checked.
    pub(super) fn is_insecure(&self) -> bool {
        self.client.is_insecure()
    }

    /// When the store last answered.
    pub(super) fn progress(&self) -> Option<Instant> {
        self.gate.progress()
    }

    /// The remote in words, without secrets.
    pub(super) fn place(config: &ServedConfig) -> String {
        let path = join(&config.container, &config.prefix);
        let of_path = if path.is_empty() { String::new() } else { format!(" {path}") };
        format!("{}{of_path} at {}", config.kind.name, address(config))
    }

    /// Bytes that all keys here have in front of them.
    pub(super) fn prefix_length(&self) -> usize {
        self.prefix.len() + 1
    }

    fn path(&self, key: &str) -> String {
        join(&self.prefix, key)
    }

    /// The folder as OpenDAL writes it; empty for the beginning of everything.
    fn folder(&self, key: &str) -> String {
        match self.path(key) {
            whole if whole.is_empty() => whole,
            whole => format!("{whole}/"),
        }
    }

    /// An operator whose last answer is kept, after a log-in where one is needed.
    async fn recorded(&self) -> Result<Recorded, Exchange> {
        let (recording, exchange) = self.transport();
        let (config, operator) = self.operator.current();
        let (operator, address) = match &self.keystone {
            None => (operator, address(&config)),
            Some(keystone) => match keystone.session(&config, &recording).await {
                Ok(session) => (session.operator, session.storage_url),
                Err(lost) => return Err(not_logged_in(Exchange::take(&exchange), lost)),
            },
        };
        let tokens = Tokens { recording, keystone: self.keystone.clone(), options: Arc::clone(&self.operator) };
        let context = operator.base_context().with_http_transport(HttpTransporter::new(tokens));
        Ok(Recorded { operator: operator.with_context(context), exchange, address })
    }

    /// The same for one request, with what is wrong in words.
    async fn recorded_for(&self, asked: &Asked) -> Result<Recorded, StoreError> {
        self.recorded().await.map_err(|exchange| self.judged(asked, &no_log_in(), &exchange))
    }

    fn transport(&self) -> (Recording, Arc<Mutex<Exchange>>) {
        let exchange = Arc::new(Mutex::new(Exchange::default()));
        let transport = Recording {
            client: self.client.current(),
            meter: Arc::clone(&self.meter),
            exchange: Arc::clone(&exchange),
            patience: self.patience,
            page: self.manner.page,
            gate: Arc::clone(&self.gate),
            identity: None,
        };
        (transport, exchange)
    }

    async fn run<T, F>(&self, work: impl FnOnce(Operator) -> F) -> Done<T>
    where
        F: Future<Output = opendal::Result<T>>,
    {
        let _slot = self.slots.acquire().await;
        let Recorded { operator, exchange, .. } = match self.recorded().await {
            Ok(recorded) => recorded,
            Err(exchange) => return Done { result: Err(no_log_in()), exchange },
        };
        let longest = self.patience.attempt;
        match within(longest, work(operator)).await {
            Some(result) => Done { result, exchange: Exchange::take(&exchange) },
            None => {
                let lost = Lost::late(format!("no whole answer within {} s", longest.as_secs()));
                let result = Err(opendal::Error::new(ErrorKind::Unexpected, "no whole answer"));
                Done { result, exchange: Exchange { answer: Some(Err(lost)), ..Exchange::default() } }
            }
        }
    }

    /// Judges after wiping our own secrets from what the store wrote.
    fn settle<T>(&self, asked: &Asked, done: Done<T>) -> Result<T, StoreError> {
        done.result.map_err(|error| self.judged(asked, &error, &done.exchange))
    }

    fn judged(&self, asked: &Asked, error: &opendal::Error, exchange: &Exchange) -> StoreError {
        let config = self.operator.config();
        let secrets = self.kind.options.iter().filter(|option| option.form.is_secret());
        let mut secrets: Vec<&Secret<String>> = secrets.filter_map(|option| config.options.get(option.name)).collect();
        secrets.extend(["access_token", "refresh_token"].iter().filter_map(|name| config.options.get(name)));
        secrets.retain(|secret| secret.expose().len() > 3);
        judge(asked, error, exchange).without(&secrets)
    }

    /// What is absent is so only at a place that exists.
    async fn prove(&self, asked: &Asked) -> Result<(), StoreError> {
        if self.proven.load(Ordering::Relaxed) {
            return Ok(());
        }
        let begin = Asked { key: String::new(), ..asked.clone() };
        let found = if self.manner.index {
            self.index(&begin, "").await.map(|names| names.is_some())
        } else {
            let options = ListOptions { limit: Some(1), ..ListOptions::default() };
            let done = self.run(|operator| async move { operator.lister_options("/", options).await?.try_next().await });
            let done = done.await;
            let is_there = !is_absent(&done.exchange);
            match self.settle(&begin, done) {
                Err(error) if error.is_not_found() => Ok(false),
                outcome => outcome.map(|_| is_there),
            }
        };
        if !found? {
            let hint = "check the address and the bucket, container or library: they are not made by this program";
            return Err(StoreError::usage(format!("{asked}: the store says that the remote itself does not exist"), hint));
        }
        self.proven.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The error of an absent object, once absence is proven.
    async fn missing(&self, asked: &Asked, error: StoreError) -> StoreError {
        if !error.is_not_found() {
            return error;
        }
        self.prove(asked).await.err().unwrap_or(error)
    }

    pub(super) async fn create(&self, asked: &Asked, body: Bytes) -> Result<Create, StoreError> {
        self.refuse_if_read_only(asked)?;
        if !self.capability.write_with_if_not_exists {
            let answer = format!("a remote of type {} has no conditional create", self.kind.name);
            return Err(StoreError::NotSupported { asked: Box::new(asked.clone()), answer });
        }
        self.shaper.up(body.len()).await;
        let path = self.path(&asked.key);
        let options = WriteOptions { if_not_exists: true, ..WriteOptions::default() };
        let body = Buffer::from(body);
        let done = self.run(|operator| async move { operator.write_options(&path, body, options).await.map(drop) }).await;
        let status = done.exchange.answer.as_ref().and_then(|answer| answer.as_ref().ok()).map_or(0, |got| got.status);
        match done.result {
            Ok(()) => Ok(Create::New),
            Err(error) if status == 412 || error.kind() == ErrorKind::ConditionNotMatch => Ok(Create::Exists),
            Err(error) => {
                let error = self.judged(asked, &error, &done.exchange);
                // Whatever may pass may also have been carried out.
                Err(if error.is_temporary() { StoreError::Ambiguous(Box::new(error)) } else { error })
            }
        }
    }

    pub(super) async fn put(&self, asked: &Asked, body: Bytes) -> Result<(), StoreError> {
        self.write(asked, body, WriteOptions::default()).await
    }

    /// Writes whatever is there. Where a server may keep half of a write, the object appears by a move: a crash before it
    /// leaves a hidden object that no list shows; after it, the object.
    async fn write(&self, asked: &Asked, body: Bytes, options: WriteOptions) -> Result<(), StoreError> {
        self.refuse_if_read_only(asked)?;
        self.shaper.up(body.len()).await;
        let target = self.path(&asked.key);
        let body = Buffer::from(body);
        if !self.manner.moves {
            let done = self.run(|operator| async move { operator.write_options(&target, body, options).await.map(drop) });
            return self.settle(asked, done.await);
        }
        self.clear_folder(asked).await?;
        let random = super::random_name().map_err(|error| StoreError::unavailable(asked, error.to_string(), false))?;
        let temporary = self.path(&format!("{TEMPORARY}{random}"));
        let beside = temporary.clone();
        let done = self.run(|operator| async move {
            operator.write_options(&beside, body, options).await?;
            operator.rename(&beside, &target).await
        });
        let outcome = self.settle(asked, done.await);
        if outcome.is_err() {
            // The first error tells more.
            let _ = self.run(|operator| async move { operator.delete(&temporary).await }).await;
        }
        outcome
    }

    /// A move onto a folder would delete all that is in it: one that is not empty refuses the write.
    async fn clear_folder(&self, asked: &Asked) -> Result<(), StoreError> {
        let path = self.path(&asked.key);
        let done = self.run(|operator| async move { operator.stat(&path).await }).await;
        match self.settle(&Asked { act: Act::Head, ..asked.clone() }, done) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Ok(()),
            // The write itself tells whether the remote exists.
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        }
        let inside = self.listed(asked).await?;
        if inside.is_some_and(|inside| !inside.is_empty()) {
            let message = format!("{asked}: a folder of that name lies there, with something in it");
            return Err(StoreError::usage(message, "move the folder away at the remote"));
        }
        let folder = self.folder(&asked.key);
        let done = self.run(|operator| async move { operator.delete(&folder).await }).await;
        self.settle(asked, done)
    }

    fn refuse_if_read_only(&self, asked: &Asked) -> Result<(), StoreError> {
        if self.capability.write {
            return Ok(());
        }
        let message = format!("{asked}: a remote of type {} is for restoring only", self.kind.name);
        Err(StoreError::usage(message, "write through another protocol to the same place, such as webdav or s3"))
    }

    pub(super) async fn delete(&self, asked: &Asked) -> Result<(), StoreError> {
        self.refuse_if_read_only(asked)?;
        self.delete_at(asked, self.path(&asked.key)).await
    }

    async fn delete_at(&self, asked: &Asked, path: String) -> Result<(), StoreError> {
        let done = self.run(|operator| async move { operator.delete(&path).await }).await;
        match self.settle(asked, done) {
            Err(error) if error.is_not_found() => Ok(()),
            settled => settled,
        }
    }

    async fn stat(&self, asked: &Asked) -> Result<Metadata, StoreError> {
        let path = self.path(&asked.key);
        let done = self.run(|operator| async move { operator.stat(&path).await }).await;
        match self.settle(asked, done) {
            Ok(meta) if meta.is_file() => self.as_listed(asked, meta).await,
            Ok(_) => Err(StoreError::NotFound(Box::new(asked.clone()))),
            Err(error) => Err(self.missing(asked, error).await),
        }
    }

    pub(super) async fn size(&self, asked: &Asked) -> Result<Option<u64>, StoreError> {
        match self.stat(asked).await {
            Ok(meta) => Ok(Some(meta.content_length())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn get(&self, asked: &Asked, range: Option<&Range<u64>>) -> Result<Bytes, StoreError> {
        match self.read(asked, range).await {
            Ok((bytes, _)) => Ok(bytes),
            Err(error) => Err(self.missing(asked, error).await),
        }
    }

    /// The bytes, and the tag that came with them.
    async fn read(&self, asked: &Asked, range: Option<&Range<u64>>) -> Result<(Bytes, Option<String>), StoreError> {
        // Where the object comes by a second request, OpenDAL alone knows whether it came; it wants exact ranges.
        let exact = match range {
            Some(range) if !self.manner.direct => {
                let length = self.stat(asked).await?.content_length();
                if range.start >= length {
                    return Err(StoreError::Outside(Box::new(asked.clone())));
                }
                Some(range.start..range.end.min(length))
            }
            range => range.cloned(),
        };
        let path = self.path(&asked.key);
        let wanted = exact.clone().map_or_else(BytesRange::default, BytesRange::from);
        let options = ReadOptions { range: wanted, ..ReadOptions::default() };
        let done = self.run(|operator| async move { operator.read_options(&path, options).await }).await;
        let got = match (&done.result, &done.exchange.answer) {
            (Ok(_), Some(Ok(got))) => got,
            // OpenDAL calls a range that ends past the object an error; the answer itself tells.
            (Err(_), Some(Ok(got))) if self.manner.direct && matches!(got.status, 200 | 206) => got,
            (Err(error), _) => return Err(self.judged(asked, error, &done.exchange)),
            (Ok(_), _) => return Err(StoreError::unavailable(asked, "no answer was seen", true)),
        };
        self.shaper.down(got.body.len()).await;
        let length = got.body.len() as u64;
        match (got.status, &exact) {
            // A store may answer a range with the whole.
            (200, _) => Ok((cut(asked, got.body.clone(), exact.as_ref())?, got.etag.clone())),
            (206, Some(range)) => {
                let fits = match got.part {
                    Some((first, last, whole)) => {
                        first == range.start && last + 1 == range.end.min(whole) && length == (last + 1).saturating_sub(first)
                    }
                    None => length == range.end - range.start,
                };
                let another = || StoreError::unavailable(asked, "the store sent another part than was asked for", true);
                if fits { Ok((got.body.clone(), got.etag.clone())) } else { Err(another()) }
            }
            (status, _) => Err(StoreError::unavailable(asked, format!("the store answered {status}"), true)),
        }
    }
}

/// Some services call the listing of a folder that is not there an empty one.
fn is_absent(exchange: &Exchange) -> bool {
    matches!(&exchange.answer, Some(Ok(got)) if !(200..300).contains(&got.status))
}
