//! Whether a store keeps the promise of the conditional create. A probe is evidence, not proof.

use super::error::Act;
use super::{Bucket, Create, StoreError, random_name};
use crate::runtime::{Backoff, Stop, clock};
use bytes::Bytes;
use futures::future::join_all;

/// Creators of one key in each round.
const CREATORS: u8 = 8;
/// Rounds with a decided outcome.
const ROUNDS: u32 = 3;
/// Rounds in all, with those in which an answer was lost.
const ROUNDS_MAX: u32 = 9;

/// What conditional creates are worth at a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fencing {
    /// A key is created at most once: a second writer is refused.
    Strict,
    /// A second writer is only noticed afterwards.
    Detect,
}

/// Tries conditional creates below `probe/`, one after the other and at once, and deletes what it made.
pub async fn probe(bucket: &Bucket, stop: &Stop) -> Result<Fencing, StoreError> {
    let random = random_name().map_err(|error| StoreError::usage(error.to_string(), "check the kernel's getrandom"))?;
    let mut made = Vec::new();
    let outcome = rounds(bucket, stop, &random, &mut made).await;
    for key in made {
        match bucket.delete(stop, &key).await {
            // A writer without the right to delete is a good idea; a few small objects stay then.
            Ok(()) | Err(StoreError::Denied { .. }) => {}
            // The first error tells more.
            Err(_) if outcome.is_err() => {}
            Err(error) => return Err(error),
        }
    }
    match outcome {
        Err(error) if error.is_unsupported() => Ok(Fencing::Detect),
        outcome => outcome,
    }
}

async fn rounds(bucket: &Bucket, stop: &Stop, random: &str, made: &mut Vec<String>) -> Result<Fencing, StoreError> {
    let mut lone: Option<Fencing> = None;
    let mut decided = 0;
    let asked = bucket.asked(Act::Create, "probe")?;
    let mut backoff = Backoff::new();
    for round in 0..ROUNDS_MAX {
        let key = format!("probe/{random}-{round}");
        made.push(key.clone());
        let verdict = if lone.is_none() { twice(bucket, stop, &key).await? } else { at_once(bucket, stop, &key).await? };
        match verdict {
            Some(Fencing::Detect) => return Ok(Fencing::Detect),
            Some(Fencing::Strict) if lone.is_none() => lone = verdict,
            Some(Fencing::Strict) => decided += 1,
            // A store that is short of breath gets some time.
            None => stop.or(clock::sleep(backoff.next_wait())).await.map_err(|_| StoreError::Stopped(Box::new(asked.clone())))?,
        }
        if decided == ROUNDS {
            return Ok(Fencing::Strict);
        }
    }
    let lost = StoreError::unavailable(&asked, "too many answers were lost to judge the store", false);
    Err(lost.hinted("check the endpoint, the network and that the store is up; then run again"))
}

/// Creates a key, and again with another body. `None` when an answer was lost.
async fn twice(bucket: &Bucket, stop: &Stop, key: &str) -> Result<Option<Fencing>, StoreError> {
    let first = Bytes::from_static(b"first");
    match bucket.create(stop, key, first.clone()).await {
        Ok(Create::New) => {}
        Ok(Create::Exists) => return Ok(Some(Fencing::Detect)),
        Err(error) => return undecided(error),
    }
    match bucket.create(stop, key, Bytes::from_static(b"second")).await {
        Ok(Create::Exists) => {}
        Ok(Create::New) => return Ok(Some(Fencing::Detect)),
        Err(error) => return undecided(error),
    }
    Ok(Some(fencing(bucket.get(stop, key, None).await? == first)))
}

/// Creates a key several times at once with different bodies: one may win, and its body must stay.
async fn at_once(bucket: &Bucket, stop: &Stop, key: &str) -> Result<Option<Fencing>, StoreError> {
    let body = |number: u8| Bytes::from(vec![number; 64]);
    let outcomes = join_all((0..CREATORS).map(|number| bucket.create(stop, key, body(number)))).await;
    let mut winners = Vec::new();
    let mut lost = false;
    for (number, outcome) in (0..CREATORS).zip(outcomes) {
        match outcome {
            Ok(Create::New) => winners.push(number),
            Ok(Create::Exists) => {}
            Err(error) => {
                undecided(error)?;
                lost = true;
            }
        }
    }
    match winners.as_slice() {
        [winner] => Ok(Some(fencing(bucket.get(stop, key, None).await? == body(*winner)))),
        [] if lost => Ok(None),
        _ => Ok(Some(Fencing::Detect)),
    }
}

/// Tries one conditional create of an object that exists, with its own bytes, so that nothing changes whatever happens.
pub async fn recheck(bucket: &Bucket, stop: &Stop, key: &str, bytes: Bytes) -> Result<Fencing, StoreError> {
    let asked = bucket.asked(Act::Create, key)?;
    // The object is there with these bytes: sending them again can only meet them.
    match bucket.tries(stop, &asked, || bucket.create(stop, key, bytes.clone())).await {
        Ok(outcome) => Ok(fencing(outcome == Create::Exists)),
        Err(error) if error.is_unsupported() => Ok(Fencing::Detect),
        Err(error) => Err(error),
    }
}

fn fencing(kept: bool) -> Fencing {
    if kept { Fencing::Strict } else { Fencing::Detect }
}

/// An answer that was lost proves nothing; anything else is an error.
fn undecided(error: StoreError) -> Result<Option<Fencing>, StoreError> {
    if error.is_ambiguous() && error.is_temporary() { Ok(None) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::super::RemoteConfig;
    use super::*;

    #[tokio::test]
    async fn a_remote_that_fences_is_strict_and_left_clean() {
        let base = tempfile::tempdir().expect("a temporary folder");
        let local = RemoteConfig::Local { folder: base.path().join("remote"), path: String::new() };
        for config in [local, RemoteConfig::Memory { name: "probe".into() }] {
            let (bucket, stop) = (Bucket::connect(&config).expect("a bucket"), Stop::new());
            assert_eq!(probe(&bucket, &stop).await.expect("a verdict"), Fencing::Strict);
            assert!(bucket.list(&stop, "").await.expect("a list").is_empty());
            bucket.create(&stop, "vault", Bytes::from_static(b"v")).await.expect("created");
            let again = recheck(&bucket, &stop, "vault", Bytes::from_static(b"v")).await;
            assert_eq!(again.expect("a verdict"), Fencing::Strict);
        }
    }
}
