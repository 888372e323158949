//! One attempt at a time against an S3 store. OpenDAL forms and signs the requests; the answers are judged here.

mod credentials;
mod files;
mod sts;
mod whole_bucket;

pub(super) use credentials::Identity;
pub(super) use files::Sending;

use super::bandwidth::Shaper;
use super::client::{Client, Trust};
use super::config::{S3Config, join};
use super::error::{Act, Asked, StoreError};
use super::gate::Gate;
use super::http::{Exchange, Lost, Meter, Page, Recording, within};
use super::judge::settle;
use super::memory::cut;
use super::{Create, Listed, Patience};
use bytes::Bytes;
use futures::TryStreamExt;
use opendal::options::{ListOptions, WriteOptions};
use opendal::services::S3 as Service;
use opendal::{Buffer, HttpTransporter, Operator};
use reqsign_core::ProvideCredentialChain;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A bucket of an S3 store.
#[derive(Clone)]
pub(super) struct S3 {
    operator: Operator,
    client: Arc<Client>,
    meter: Arc<Meter>,
    prefix: String,
    /// The address of the bucket itself.
    bucket_url: String,
    region: String,
    /// Directory buckets list in no order.
    pub(super) ordered: bool,
    identity: Identity,
    patience: Patience,
    gate: Arc<Gate>,
    shaper: Arc<Shaper>,
}

impl S3 {
    /// Makes no request.
    pub(super) fn open(config: &S3Config, meter: Arc<Meter>, patience: Patience) -> Result<S3, StoreError> {
        config.check()?;
        let client = Arc::new(Client::open(Trust::of_s3(config)?)?);
        let identity = Identity::new(config);
        let operator = Operator::new(builder(config, &identity)?).map_err(|_| {
            let hint = "check endpoint, region, storage class and encryption";
            StoreError::usage(format!("the options of the bucket '{}' do not fit together", config.bucket), hint)
        })?;
        Ok(S3 {
            operator,
            client,
            meter,
            prefix: config.prefix.clone(),
            bucket_url: config.bucket_url()?,
            region: config.signing_region().to_owned(),
            ordered: !config.bucket.ends_with("--x-s3"),
            identity,
            patience,
            gate: Gate::new(),
            shaper: Arc::new(Shaper::new(config.bandwidth.clone())),
        })
    }

    /// Whether the store's certificate is not checked.
    pub(super) fn is_insecure(&self) -> bool {
        self.client.is_insecure()
    }

    /// When the store last answered.
    pub(super) fn progress(&self) -> Option<Instant> {
        self.gate.progress()
    }

    /// One conditional create, sent once.
    pub(super) async fn create(&self, asked: &Asked, body: Bytes) -> Result<Create, StoreError> {
        let exchange = self.write(asked, body, true).await;
        match &exchange.answer {
            Some(Ok(got)) if got.status == 412 => return Ok(Create::Exists),
            Some(Ok(got)) if (200..300).contains(&got.status) && got.etag.is_some() => return Ok(Create::New),
            _ => {}
        }
        let error = match self.settle(asked, exchange) {
            Err(error) => error,
            // Something that is no S3 store said yes.
            Ok(_) => StoreError::unavailable(asked, "the answer names no stored object", true),
        };
        // Whatever may pass may also have been carried out: an answer that is lost, late or undecided proves nothing.
        if error.is_temporary() { Err(StoreError::Ambiguous(Box::new(error))) } else { Err(error) }
    }

    pub(super) async fn put(&self, asked: &Asked, body: Bytes) -> Result<(), StoreError> {
        let exchange = self.write(asked, body, false).await;
        if self.settle(asked, exchange)?.etag.is_some() {
            Ok(())
        } else {
            Err(StoreError::unavailable(asked, "the answer names no stored object", true))
        }
    }

    async fn write(&self, asked: &Asked, body: Bytes, if_not_exists: bool) -> Exchange {
        let path = join(&self.prefix, &asked.key);
        let options = WriteOptions { if_not_exists, ..WriteOptions::default() };
        self.shaper.up(body.len()).await;
        self.write_as(&path, body, options).await
    }

    async fn write_as(&self, path: &str, body: Bytes, options: WriteOptions) -> Exchange {
        let body = Buffer::from(body);
        self.exchange(|operator| {
            let (body, options) = (body.clone(), options.clone());
            async move { operator.write_options(path, body, options).await.map(drop) }
        })
        .await
    }

    pub(super) async fn delete(&self, asked: &Asked) -> Result<(), StoreError> {
        let path = join(&self.prefix, &asked.key);
        let path = path.as_str();
        let exchange = self.exchange(|operator| async move { operator.delete(path).await }).await;
        match self.settle(asked, exchange) {
            Err(error) if error.is_not_found() => Ok(()),
            settled => settled.map(drop),
        }
    }

    pub(super) async fn size(&self, asked: &Asked) -> Result<Option<u64>, StoreError> {
        let path = join(&self.prefix, &asked.key);
        let path = path.as_str();
        let exchange = self.exchange(|operator| async move { operator.stat(path).await.map(drop) }).await;
        match self.settle(asked, exchange) {
            Ok(got) => match got.length {
                Some(length) => Ok(Some(length)),
                None => Err(StoreError::unavailable(asked, "the store did not say how long the object is", true)),
            },
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists the direct children of a folder from where an earlier attempt broke off. `each` returns whether it wants
    /// more; `reached` is the last path it was given, for the next attempt.
    pub(super) async fn walk(
        &self,
        asked: &Asked,
        page: Option<usize>,
        reached: &mut Option<String>,
        each: &mut (dyn FnMut(Listed) -> bool + Send),
    ) -> Result<(), StoreError> {
        let folder = match join(&self.prefix, &asked.key) {
            whole if whole.is_empty() => whole,
            whole => format!("{whole}/"),
        };
        let start_after = reached.clone();
        let (operator, exchange) = self.recorded();
        let options = ListOptions { limit: page, start_after: start_after.clone(), ..ListOptions::default() };
        let path = if folder.is_empty() { "/" } else { &folder };
        let failed = |_| self.settle(asked, Exchange::take(&exchange)).err().unwrap_or_else(|| garbled(asked));
        let mut lister = operator.lister_options(path, options).await.map_err(failed)?;
        loop {
            // A page's requests have their own limits; entries of a page that is here come at once.
            let Some(entry) = lister.try_next().await.map_err(failed)? else { return Ok(()) };
            let path = entry.path();
            // A common prefix at the starting point is listed again by some stores.
            let seen = start_after.as_deref().is_some_and(|start| path <= start);
            let Some(name) = path.strip_prefix(&folder).filter(|name| !name.is_empty() && !seen) else { continue };
            let (name, is_folder) = name.strip_suffix('/').map_or((name, false), |name| (name, true));
            let size = if is_folder { 0 } else { entry.metadata().content_length() };
            if reached.as_deref().is_none_or(|last| last < path) {
                *reached = Some(path.to_owned());
            }
            if !each(Listed { name: name.to_owned(), size, is_folder }) {
                return Ok(());
            }
        }
    }

    /// The path in the store's order at which a name of a folder stands.
    pub(super) fn place_of(&self, folder: &str, name: &str) -> String {
        join(&join(&self.prefix, folder), name)
    }

    /// Runs one operation and returns what came back; once more, when the store refused credentials that can be renewed.
    /// A refusal did nothing, so even a conditional create may be sent again.
    async fn exchange<F>(&self, work: impl Fn(Operator) -> F) -> Exchange
    where
        F: Future<Output = opendal::Result<()>>,
    {
        let first = self.exchange_once(&work).await;
        if first.is_renewed { self.exchange_once(&work).await } else { first }
    }

    async fn exchange_once<F>(&self, work: &impl Fn(Operator) -> F) -> Exchange
    where
        F: Future<Output = opendal::Result<()>>,
    {
        let (operator, exchange) = self.recorded();
        let longest = self.patience.attempt;
        if within(longest, work(operator)).await.is_none() {
            let lost = Lost::late(format!("no whole answer within {} s", longest.as_secs()));
            return Exchange { answer: Some(Err(lost)), ..Exchange::default() };
        }
        Exchange::take(&exchange)
    }

    /// The operator with a transport that records.
    fn recorded(&self) -> (Operator, Arc<Mutex<Exchange>>) {
        let (transport, exchange) = self.transport();
        let context = self.operator.base_context().with_http_transport(HttpTransporter::new(transport));
        (self.operator.clone().with_context(context), exchange)
    }

    fn transport(&self) -> (Recording, Arc<Mutex<Exchange>>) {
        let exchange = Arc::new(Mutex::new(Exchange::default()));
        let transport = Recording {
            client: self.client.current(),
            meter: Arc::clone(&self.meter),
            exchange: Arc::clone(&exchange),
            patience: self.patience,
            page: Page::S3,
            gate: Arc::clone(&self.gate),
            identity: Some(self.identity.clone()),
        };
        (transport, exchange)
    }

    /// Judges an answer after wiping our own secrets from what the store wrote.
    fn settle(&self, asked: &Asked, mut exchange: Exchange) -> Result<super::http::Got, StoreError> {
        if let Some(Ok(got)) = &mut exchange.answer {
            got.message = self.identity.wiped(std::mem::take(&mut got.message));
        }
        settle(asked, exchange)
    }
}

/// OpenDAL could not read an answer that looked whole.
fn garbled(asked: &Asked) -> StoreError {
    debug_assert_eq!(asked.act, Act::List);
    StoreError::unavailable(asked, "the listing cannot be read", true)
}

fn builder(config: &S3Config, identity: &Identity) -> Result<Service, StoreError> {
    let address = config.address()?;
    let mut builder = Service::default().bucket(&config.bucket).endpoint(&address).region(config.signing_region());
    builder = builder.credential_provider_chain(ProvideCredentialChain::new().push(identity.clone()));
    if config.virtual_host_style {
        builder = builder.enable_virtual_host_style();
    }
    if address.starts_with("http://") {
        // Without TLS nothing else would notice a byte that changed on its way.
        builder = builder.checksum_algorithm("crc32c");
    }
    let given = |option: &Option<String>| option.clone().unwrap_or_default();
    Ok(builder
        .default_storage_class(&given(&config.storage_class))
        .server_side_encryption(&given(&config.server_side_encryption))
        .server_side_encryption_aws_kms_key_id(&given(&config.sse_kms_key_id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    /// A server that writes the same to everybody, and then neither says more nor hangs up.
    fn says(text: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for mut socket in listener.incoming().flatten() {
                let _ = socket.read(&mut [0u8; 4096]);
                let _ = socket.write_all(text.as_bytes());
                kept.push(socket);
            }
        });
        format!("http://{address}")
    }

    fn open(endpoint: String) -> S3 {
        let config = S3Config {
            endpoint: Some(endpoint),
            bucket: "bucket".into(),
            access_key_id: Some(Secret::new("made-up-access".into())),
            secret_access_key: Some(Secret::new("made-up-secret".into())),
            ..S3Config::default()
        };
        let patience = Patience { silence: Duration::from_millis(200), attempt: Duration::from_secs(5) };
        S3::open(&config, Arc::default(), patience).expect("a bucket")
    }

    fn asked(act: Act) -> Asked {
        Asked { act, key: "x".into(), place: "s3://bucket".into() }
    }

    #[tokio::test]
    async fn a_store_that_falls_silent_is_given_up() {
        let silent = open(says(""));
        let error = silent.get(&asked(Act::Get), None).await.expect_err("no answer");
        assert!(error.is_temporary() && error.to_string().contains("no answer within"), "{error}");
        let error = silent.create(&asked(Act::Create), Bytes::from_static(b"x")).await.expect_err("no answer");
        assert!(error.is_ambiguous(), "{error}");
        let half = open(says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345"));
        let error = half.get(&asked(Act::Get), None).await.expect_err("half an answer");
        assert!(error.is_temporary() && error.to_string().contains("the answer stopped"), "{error}");
    }

    #[tokio::test]
    async fn our_secrets_are_wiped_from_what_a_store_says() {
        let body = "HTTP/1.1 403 Forbidden\r\nContent-Length: 84\r\n\r\n\
                    <Error><Code>Odd</Code><Message>key made-up-access made-up-secret</Message></Error>\n";
        let error = open(says(body)).get(&asked(Act::Get), None).await.expect_err("refused").to_string();
        assert!(error.ends_with("the store answered 403 Odd: key <secret> <secret>"), "{error}");
    }
}
