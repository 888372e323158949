//! Storing an object exactly once, whatever the store answers (FORMAT.md, "Publishing").

use super::container::{HEADER_BYTES, Sealed};
use super::error::VaultError;
use crate::runtime::{Stop, clock};
use crate::store::{Bucket, Create, Fencing, StoreError, Tries};
use bytes::Bytes;
use std::ops::Range;

/// Whose object lies under the name now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The one we sealed.
    Ours,
    /// Another.
    Foreign,
}

/// Stores a sealed object. A lost answer is settled by reading the stored object's salt; the same bytes are sent
/// again only when nothing is there, so a late duplicate can only meet itself.
pub async fn store_sealed(bucket: &Bucket, fencing: Fencing, sealed: &Sealed, stop: &Stop) -> Result<Owner, VaultError> {
    let key = sealed.id.key();
    let ours = &sealed.bytes[..HEADER_BYTES];
    settle(bucket, fencing, &key, &sealed.bytes, ours, stop).await
}

/// Stores a small file of ours under a name nobody else has a reason to use.
pub async fn create_own(bucket: &Bucket, key: &str, bytes: Bytes, stop: &Stop) -> Result<Create, VaultError> {
    match settle(bucket, Fencing::Strict, key, &bytes, &bytes, stop).await? {
        Owner::Ours => Ok(Create::New),
        Owner::Foreign => Ok(Create::Exists),
    }
}

/// `start` is the part of `bytes` that is compared with what is stored.
async fn settle(
    bucket: &Bucket,
    fencing: Fencing,
    key: &str,
    bytes: &Bytes,
    start: &[u8],
    stop: &Stop,
) -> Result<Owner, VaultError> {
    if fencing == Fencing::Detect {
        return put_watched(bucket, key, bytes, start, stop).await;
    }
    let mut tries = Tries::default();
    loop {
        let trouble = match bucket.create(stop, key, bytes.clone()).await {
            Ok(Create::New) => return Ok(Owner::Ours),
            Ok(Create::Exists) => None,
            Err(error) if error.is_unsupported() => return put_watched(bucket, key, bytes, start, stop).await,
            Err(error) if error.is_ambiguous() => Some(error),
            Err(error) => return Err(error.into()),
        };
        if stop.asked() {
            // The answer may still be found out: the caller's next run does that.
            return Err(crate::runtime::Stopped.into());
        }
        match (bucket.get(stop, key, Some(whole(start))).await, trouble) {
            (Ok(stored), _) => return Ok(if stored == start { Owner::Ours } else { Owner::Foreign }),
            (Err(error), Some(last)) if error.is_not_found() => {
                let Some(wait) = bucket.next_wait(&mut tries, &last) else { return Err(last.after(tries.count()).into()) };
                stop.or(clock::sleep(wait)).await?;
            }
            (Err(error), None) if error.is_not_found() => {
                return Err(VaultError::BrokenStore { what: format!("it said that {key} exists, and then that it does not") });
            }
            (Err(error), _) => return Err(error.into()),
        }
    }
}

fn whole(start: &[u8]) -> Range<u64> {
    0..start.len() as u64
}

/// For stores without conditional creates: look, write, look again. A lost race is noticed, not prevented.
async fn put_watched(bucket: &Bucket, key: &str, bytes: &Bytes, start: &[u8], stop: &Stop) -> Result<Owner, VaultError> {
    let look = async || -> Result<Option<bool>, StoreError> {
        match bucket.get(stop, key, Some(whole(start))).await {
            Ok(stored) => Ok(Some(stored == start)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    };
    match look().await? {
        Some(true) => return Ok(Owner::Ours),
        Some(false) => return Ok(Owner::Foreign),
        None => bucket.put(stop, key, bytes.clone()).await?,
    }
    match look().await? {
        Some(true) => Ok(Owner::Ours),
        _ => Ok(Owner::Foreign),
    }
}
