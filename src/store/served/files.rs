//! Files as objects of stores that are not S3.

use super::super::error::{Act, Asked, StoreError};
use super::super::http::Exchange;
use super::super::objects::{About, Fetched, Mark, Object, give_up, part_bytes};
use super::segments::SEGMENTS;
use super::{Recorded, Served};
use crate::runtime::limits;
use crate::tree::Timestamp;
use bytes::Bytes;
use futures::TryStreamExt;
use opendal::layers::RetryLayer;
use opendal::options::{ListOptions, WriteOptions};
use opendal::{Buffer, Metadata, Writer};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// The metadata key of the file's time, as rclone writes it to Azure and Google: by name, in RFC 3339.
const MTIME: &str = "mtime";

/// A large object being sent in parts.
pub(in crate::store) struct ServedSending {
    served: Served,
    writer: Writer,
    exchange: Arc<Mutex<Exchange>>,
    bytes: u64,
    /// The store was told to put the parts together, and may have done so whatever it answered.
    ended: bool,
}

impl Served {
    /// Whether everything below a folder comes in one sorted listing.
    pub(in crate::store) fn is_ordered(&self) -> bool {
        self.manner.ordered
    }

    /// Lists everything below a folder from where an earlier attempt broke off; only where the store sorts.
    pub(in crate::store) async fn walk_all(
        &self,
        asked: &Asked,
        reached: &mut Option<String>,
        each: &mut (dyn FnMut(Object) -> bool + Send),
    ) -> Result<(), StoreError> {
        let below = self.folder(&asked.key);
        let base = if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        let Recorded { operator, exchange, .. } = self.recorded_for(asked).await?;
        let path = if below.is_empty() { "/" } else { &below };
        let failed = |error: opendal::Error| self.judged(asked, &error, &Exchange::take(&exchange));
        let options = ListOptions { recursive: true, ..ListOptions::default() };
        let mut lister = operator.lister_options(path, options).await.map_err(failed)?;
        let start_after = reached.clone();
        while let Some(entry) = lister.try_next().await.map_err(failed)? {
            let path = entry.path();
            let seen = start_after.as_deref().is_some_and(|start| path <= start);
            let is_part = self.manner.segments && path.starts_with(SEGMENTS);
            let key = path.strip_prefix(&base).filter(|key| !key.is_empty() && path != below && !seen && !is_part);
            let Some(key) = key else { continue };
            *reached = Some(path.to_owned());
            if !each(object(key.to_owned(), entry.metadata())) {
                break;
            }
        }
        Ok(())
    }

    /// The objects directly in a folder, and the folders in it.
    pub(in crate::store) async fn objects(&self, asked: &Asked) -> Result<(Vec<Object>, Vec<String>), StoreError> {
        let (mut objects, mut folders) = (Vec::new(), Vec::new());
        for (name, meta) in self.children(asked).await? {
            match name.strip_suffix('/') {
                Some(name) => folders.push(super::join(&asked.key, name)),
                None => objects.push(object(super::join(&asked.key, &name), &meta)),
            }
        }
        Ok((objects, folders))
    }

    /// What is known of an object, with the tag that listings show.
    pub(super) async fn as_listed(&self, asked: &Asked, meta: Metadata) -> Result<Metadata, StoreError> {
        if !self.manner.segments || !meta.etag().is_some_and(|tag| tag.starts_with('"')) {
            return Ok(meta);
        }
        let path = self.path(&asked.key);
        let first = path.clone();
        let done = self.run(|operator| async move {
            let options = ListOptions { recursive: true, limit: Some(1), ..ListOptions::default() };
            operator.lister_options(&first, options).await?.try_next().await
        });
        // The shortest name that begins so comes first.
        let entry = self.settle(&Asked { act: Act::List, ..asked.clone() }, done.await)?;
        let listed = entry.filter(|entry| entry.path() == path);
        match listed.as_ref().and_then(|entry| entry.metadata().content_md5()) {
            Some(tag) => {
                let mut known = meta.into_builder();
                known.etag(tag);
                Ok(known.build())
            }
            None => Ok(meta),
        }
    }

    pub(in crate::store) async fn fetch(&self, asked: &Asked, range: Option<&Range<u64>>) -> Result<Fetched, StoreError> {
        let before = self.stat(asked).await?;
        let (bytes, tag) = match self.read(asked, range).await {
            Ok(read) => read,
            Err(error) => return Err(self.missing(asked, error).await),
        };
        let found = mark(&before);
        // A tag that came with the bytes spares the second look, where both spell it alike.
        if tag.as_deref().map(bare) != before.etag().map(bare) && found != mark(&self.stat(asked).await?) {
            return Err(StoreError::unavailable(asked, "the object changed while it was read", true));
        }
        if range.is_none() && bytes.len() as u64 != before.content_length() {
            return Err(StoreError::unavailable(asked, "the object came with another length than it has", true));
        }
        let time = before.user_metadata().and_then(|all| rfc3339(all.get(MTIME)?));
        Ok(Fetched { bytes, mark: found, about: About { mtime: time, mode: None } })
    }

    pub(in crate::store) async fn put_file(&self, asked: &Asked, body: Bytes, mtime: Timestamp) -> Result<Mark, StoreError> {
        let length = body.len() as u64;
        let options = WriteOptions { user_metadata: self.times(mtime), ..WriteOptions::default() };
        self.write(asked, body, options).await?;
        self.stored(asked, length).await
    }

    /// The mark of what was just written, as listings will show it.
    async fn stored(&self, asked: &Asked, length: u64) -> Result<Mark, StoreError> {
        match self.stat(asked).await {
            Ok(meta) if meta.content_length() == length => Ok(mark(&meta)),
            Ok(_) => Err(StoreError::unavailable(asked, "the store kept another length than was sent", true)),
            Err(error) if error.is_not_found() => Err(StoreError::unavailable(asked, "the store did not keep it", true)),
            Err(error) => Err(error),
        }
    }

    fn times(&self, mtime: Timestamp) -> Option<HashMap<String, String>> {
        let time = jiff::Timestamp::new(mtime.seconds, i32::try_from(mtime.nanos).ok()?).ok()?;
        self.manner.times.then(|| HashMap::from([(MTIME.to_owned(), time.to_string())]))
    }

    /// Begins a large object; `None` where the store takes it only in one piece.
    pub(in crate::store) async fn send(
        &self,
        asked: &Asked,
        mtime: Timestamp,
        part: usize,
    ) -> Result<Option<ServedSending>, StoreError> {
        self.refuse_if_read_only(asked)?;
        if !self.capability.write_can_multi {
            return Ok(None);
        }
        let part = part.max(part_bytes(0));
        let Recorded { operator, exchange, .. } = self.recorded_for(asked).await?;
        let retry = RetryLayer::new().with_max_times(limits::PART_TRIES as usize - 1).with_jitter();
        let retry = retry.with_min_delay(limits::RETRY_WAIT).with_max_delay(limits::RETRY_WAIT_MAX);
        let concurrent = (limits::UPLOAD_PARTS_BYTES / part).max(1);
        let options = WriteOptions { user_metadata: self.times(mtime), chunk: Some(part), concurrent, ..WriteOptions::default() };
        let path = self.path(&asked.key);
        match operator.layer(retry).writer_options(&path, options).await {
            Ok(writer) => Ok(Some(ServedSending { served: self.clone(), writer, exchange, bytes: 0, ended: false })),
            Err(error) => Err(self.judged(asked, &error, &Exchange::take(&exchange))),
        }
    }
}

impl ServedSending {
    pub(in crate::store) async fn write(&mut self, asked: &Asked, bytes: Bytes) -> Result<(), StoreError> {
        self.served.shaper.up(bytes.len()).await;
        self.bytes += bytes.len() as u64;
        self.writer.write(Buffer::from(bytes)).await.map_err(|error| self.judged(asked, &error))
    }

    /// Makes the object appear.
    pub(in crate::store) async fn finish(&mut self, asked: &Asked) -> Result<(), StoreError> {
        self.ended = true;
        self.writer.close().await.map(drop).map_err(|error| self.judged(asked, &error))
    }

    /// The mark of what appeared.
    pub(in crate::store) async fn stored(&self, asked: &Asked) -> Result<Mark, StoreError> {
        self.served.stored(asked, self.bytes).await
    }

    /// Tells the store to forget the parts, unless an object that it has by now may consist of them.
    pub(in crate::store) async fn abort(&mut self) {
        if !(self.ended && self.served.manner.segments) {
            give_up(&mut self.writer).await;
        }
    }

    fn judged(&self, asked: &Asked, error: &opendal::Error) -> StoreError {
        self.served.judged(asked, error, &Exchange::take(&self.exchange))
    }
}

fn object(key: String, meta: &Metadata) -> Object {
    let size = if key.ends_with('/') { 0 } else { meta.content_length() };
    Object { key, size, mark: mark(meta), modified: modified(meta) }
}

/// The tag, else the digest, else length and time. Listings of Swift have the tag as a digest.
fn mark(meta: &Metadata) -> Mark {
    match meta.etag().or(meta.content_md5()) {
        Some(etag) if !bare(etag).is_empty() => Mark(bare(etag).to_owned()),
        _ => {
            let at = modified(meta);
            Mark(format!("{}@{}.{:09}", meta.content_length(), at.seconds, at.nanos))
        }
    }
}

/// Without the quotes that surround it.
fn bare(etag: &str) -> &str {
    etag.trim_start_matches("W/").trim_matches('"')
}

fn modified(meta: &Metadata) -> Timestamp {
    meta.last_modified().map(opendal::raw::Timestamp::into_inner).map_or_else(Timestamp::default, of_jiff)
}

fn of_jiff(at: jiff::Timestamp) -> Timestamp {
    // Before 1970 jiff counts the nanoseconds downwards.
    let (seconds, nanos) = (at.as_second(), at.subsec_nanosecond());
    let below = i64::from(nanos < 0);
    Timestamp { seconds: seconds - below, nanos: u32::try_from(nanos + i32::from(nanos < 0) * 1_000_000_000).unwrap_or(0) }
}

fn rfc3339(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(of_jiff)
}
