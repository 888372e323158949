//! Files as objects: with metadata, listed with their marks, sent in parts.

use super::super::error::{Asked, StoreError};
use super::super::http::{Exchange, Got};
use super::super::objects::{About, Fetched, Mark, Object, give_up, rclone_time};
use super::{S3, garbled, join};
use crate::runtime::limits;
use crate::tree::Timestamp;
use bytes::Bytes;
use futures::TryStreamExt;
use opendal::layers::RetryLayer;
use opendal::options::{ListOptions, ReadOptions, WriteOptions};
use opendal::{BytesRange, Writer};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// A large object being sent in parts.
pub(in crate::store) struct Sending {
    writer: Writer,
    exchange: Arc<Mutex<Exchange>>,
    s3: S3,
}

impl S3 {
    /// Lists everything below a folder from where an earlier attempt broke off.
    pub(in crate::store) async fn walk_all(
        &self,
        asked: &Asked,
        reached: &mut Option<String>,
        each: &mut (dyn FnMut(Object) -> bool + Send),
    ) -> Result<(), StoreError> {
        let below = match join(&self.prefix, &asked.key) {
            whole if whole.is_empty() => whole,
            whole => format!("{whole}/"),
        };
        let base = if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        let (operator, exchange) = self.recorded();
        let start_after = reached.clone();
        let options = ListOptions { recursive: true, start_after: start_after.clone(), ..ListOptions::default() };
        let path = if below.is_empty() { "/" } else { &below };
        let failed = |_| self.settle(asked, Exchange::take(&exchange)).err().unwrap_or_else(|| garbled(asked));
        let mut lister = operator.lister_options(path, options).await.map_err(failed)?;
        while let Some(entry) = lister.try_next().await.map_err(failed)? {
            let path = entry.path();
            let seen = self.ordered && start_after.as_deref().is_some_and(|start| path <= start);
            let Some(key) = path.strip_prefix(&base).filter(|key| !key.is_empty() && path != below && !seen) else { continue };
            let meta = entry.metadata();
            let modified = meta.last_modified().map(opendal::raw::Timestamp::into_inner);
            let modified = modified.map_or_else(Timestamp::default, |at| Timestamp {
                seconds: at.as_second(),
                nanos: u32::try_from(at.subsec_nanosecond()).unwrap_or(0),
            });
            let mark = mark(meta.etag().unwrap_or_default());
            let size = if key.ends_with('/') { 0 } else { meta.content_length() };
            let object = Object { key: key.to_owned(), size, mark, modified };
            if self.ordered {
                *reached = Some(path.to_owned());
            }
            if !each(object) {
                break;
            }
        }
        Ok(())
    }

    pub(in crate::store) async fn fetch(&self, asked: &Asked, range: Option<&Range<u64>>) -> Result<Fetched, StoreError> {
        let got = self.read(asked, range).await?;
        let about = About::parse(got.mtime.as_deref(), got.mc_attrs.as_deref());
        Ok(Fetched { mark: mark(got.etag.as_deref().unwrap_or_default()), about, bytes: got.body })
    }

    pub(in crate::store) async fn put_file(&self, asked: &Asked, body: Bytes, mtime: Timestamp) -> Result<Mark, StoreError> {
        self.shaper.up(body.len()).await;
        let path = join(&self.prefix, &asked.key);
        let options = WriteOptions { user_metadata: Some(metadata(mtime)), ..WriteOptions::default() };
        let got = self.settle(asked, self.write_as(&path, body, options).await)?;
        stored(asked, got.etag.as_deref())
    }

    /// Begins an upload in parts, each tried several times.
    pub(in crate::store) async fn send(&self, asked: &Asked, mtime: Timestamp, part_bytes: usize) -> Result<Sending, StoreError> {
        let path = join(&self.prefix, &asked.key);
        let (operator, exchange) = self.recorded();
        let retry = RetryLayer::new().with_max_times(limits::PART_TRIES as usize - 1).with_jitter();
        let retry = retry.with_min_delay(limits::RETRY_WAIT).with_max_delay(limits::RETRY_WAIT_MAX);
        // Parts that have grown are sent one at a time: what is under way at once stays bounded.
        let concurrent = (limits::UPLOAD_PARTS_BYTES / part_bytes).max(1);
        let options =
            WriteOptions { user_metadata: Some(metadata(mtime)), chunk: Some(part_bytes), concurrent, ..WriteOptions::default() };
        match operator.layer(retry).writer_options(&path, options).await {
            Ok(writer) => Ok(Sending { writer, exchange, s3: self.clone() }),
            Err(_) => Err(self.settle(asked, Exchange::take(&exchange)).err().unwrap_or_else(|| broken(asked))),
        }
    }

    /// Deletes in requests of a thousand.
    pub(in crate::store) async fn delete_all(&self, asked: &Asked, keys: &[&str]) -> Result<(), StoreError> {
        for keys in keys.chunks(limits::DELETES) {
            let paths: Vec<String> = keys.iter().map(|key| join(&self.prefix, key)).collect();
            let (operator, exchange) = self.recorded();
            if operator.delete_iter(paths).await.is_err() {
                return Err(self.settle(asked, Exchange::take(&exchange)).err().unwrap_or_else(|| broken(asked)));
            }
        }
        Ok(())
    }
}

impl Sending {
    pub(in crate::store) async fn write(&mut self, asked: &Asked, bytes: Bytes) -> Result<(), StoreError> {
        self.s3.shaper.up(bytes.len()).await;
        match self.writer.write(bytes).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.judge(asked, &error)),
        }
    }

    pub(in crate::store) async fn finish(&mut self, asked: &Asked) -> Result<Mark, StoreError> {
        match self.writer.close().await {
            Ok(meta) => stored(asked, meta.etag()),
            Err(error) => Err(self.judge(asked, &error)),
        }
    }

    /// The store's name for it, once there is one.
    pub(in crate::store) fn id(&self) -> Option<String> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner).upload_id.clone()
    }

    /// Tells the store to forget the parts.
    pub(in crate::store) async fn abort(&mut self) {
        give_up(&mut self.writer).await;
    }

    fn judge(&self, asked: &Asked, error: &opendal::Error) -> StoreError {
        // With several parts under way, the last answer need not be the one that failed.
        let judged = self.s3.settle(asked, Exchange::take(&self.exchange)).err();
        judged.unwrap_or_else(|| StoreError::unavailable(asked, format!("a part was not stored ({})", error.kind()), true))
    }
}

/// The tag without the quotes that surround it.
fn mark(etag: &str) -> Mark {
    Mark(etag.trim_start_matches("W/").trim_matches('"').to_owned())
}

fn metadata(mtime: Timestamp) -> HashMap<String, String> {
    HashMap::from([("mtime".to_owned(), rclone_time(mtime))])
}

fn stored(asked: &Asked, etag: Option<&str>) -> Result<Mark, StoreError> {
    match etag {
        Some(etag) => Ok(mark(etag)),
        None => Err(StoreError::unavailable(asked, "the answer names no stored object", true)),
    }
}

fn broken(asked: &Asked) -> StoreError {
    StoreError::unavailable(asked, "the answer cannot be read", true)
}

/// What the answer to a read says, whole or part.
impl S3 {
    async fn read(&self, asked: &Asked, range: Option<&Range<u64>>) -> Result<Got, StoreError> {
        let path = join(&self.prefix, &asked.key);
        let wanted = range.map_or_else(BytesRange::default, |range| BytesRange::from(range.clone()));
        let options = ReadOptions { range: wanted, ..ReadOptions::default() };
        // OpenDAL calls a range that ends past the object an error; the recorded answer tells it from a short body.
        let exchange = self.exchange(|operator| {
            let (path, options) = (path.as_str(), options.clone());
            async move { operator.read_options(path, options).await.map(drop) }
        });
        let mut got = self.settle(asked, exchange.await)?;
        self.shaper.down(got.body.len()).await;
        match (got.status, range) {
            // A store may answer a range with the whole.
            (200, _) => {
                got.body = super::cut(asked, got.body, range)?;
                Ok(got)
            }
            (206, Some(range)) => {
                let length = got.body.len() as u64;
                let fits = got.part.is_some_and(|(first, last, whole)| {
                    first == range.start && length == (last + 1).saturating_sub(first) && last + 1 == range.end.min(whole)
                });
                if fits {
                    Ok(got)
                } else {
                    Err(StoreError::unavailable(asked, "the store sent another part than was asked for", true))
                }
            }
            _ => Err(StoreError::unavailable(asked, format!("the store answered {}", got.status), true)),
        }
    }

    pub(in crate::store) async fn get(&self, asked: &Asked, range: Option<&Range<u64>>) -> Result<Bytes, StoreError> {
        Ok(self.read(asked, range).await?.body)
    }
}
