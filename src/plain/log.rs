//! The manifest's log: entries that are each created once, claims of those who write, and the bases that keep it short.

use super::error::PlainError;
use super::line::Line;
use super::manifest::{Header, LineReader, LineWriter, Overlay, VERSION};
use crate::contract::layouts::{PLAIN_FOLDER, VAULT_CONFIG};
use crate::runtime::{Stop, clock, limits};
use crate::store::{Bucket, Create, StoreError, Tries, part_bytes};
use crate::tree::{RelPath, Timestamp};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;
use tempfile::SpooledTempFile;

const DELTA: &str = ".delta.jsonl.zst";
const BASE: &str = ".base.jsonl.zst";

/// What lies in our folder.
#[derive(Debug, Clone)]
pub struct Log {
    /// The newest entry.
    pub head: Option<Head>,
    /// The newest claim; 0 when nobody claimed.
    pub epoch: u64,
    /// The names in the folder `meta`.
    names: Vec<String>,
    /// Stored lengths of the deltas after the head's base.
    tail_bytes: u64,
}

/// The newest entry.
#[derive(Debug, Clone)]
pub struct Head {
    /// What it says of itself.
    pub header: Header,
    bytes: Bytes,
}

/// The tree that a log describes.
pub type State = Overlay<SpooledTempFile, Cursor<Vec<u8>>>;

/// Looks what lies at the remote: three requests side by side, and one for the newest entry. Without any entry the
/// remote may still hold objects.
pub async fn look(bucket: &Bucket, stop: &Stop) -> Result<Log, PlainError> {
    let (meta, claims) = (format!("{PLAIN_FOLDER}/meta"), claims());
    let (vault, listed, claim) =
        futures::join!(bucket.get(stop, VAULT_CONFIG, None), bucket.list(stop, &meta), bucket.first(stop, &claims));
    match vault {
        Ok(_) => return Err(PlainError::IsVault { place: bucket.describe() }),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    let listed = listed?;
    let epoch = epoch_of(claim?);
    let newest = listed.iter().filter_map(|one| number(one.name.strip_suffix(DELTA)?)).max();
    let head = match newest {
        Some(seq) => Some(read_head(bucket, seq, stop).await?),
        None => None,
    };
    let base = head.as_ref().and_then(|head| head.header.base.as_ref()).map_or(0, |base| base.seq);
    let is_tail = |name: &str| name.strip_suffix(DELTA).and_then(number).is_some_and(|seq| seq > base);
    let tail_bytes = listed.iter().filter(|one| is_tail(&one.name)).map(|one| one.size).sum();
    Ok(Log { head, epoch, names: listed.into_iter().map(|one| one.name).collect(), tail_bytes })
}

/// The claim of the first name in the folder of claims, which is the newest; 0 without any.
fn epoch_of(first: Option<String>) -> u64 {
    first.and_then(|name| number(name.strip_suffix(".json")?)).unwrap_or(0)
}

async fn read_head(bucket: &Bucket, seq: u64, stop: &Stop) -> Result<Head, PlainError> {
    let key = delta_key(seq);
    let bytes = bucket.get(stop, &key, None).await?;
    let header = LineReader::open(Cursor::new(bytes.clone()), &key)?.header().clone();
    if header.seq != seq {
        return Err(PlainError::damaged(key, "it says that it is another entry"));
    }
    Ok(Head { header, bytes })
}

impl Log {
    /// Of a remote that keeps none.
    pub fn none() -> Log {
        Log { head: None, epoch: 0, names: Vec::new(), tail_bytes: 0 }
    }

    /// The number of the newest entry; 0 without any.
    pub fn seq(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.header.seq)
    }

    /// The id of the newest entry; empty without any.
    pub fn id(&self) -> &str {
        self.head.as_ref().map_or("", |head| head.header.id.as_str())
    }

    /// Whether nobody is left who may still write: whoever claimed last has said in the newest entry that it ended.
    pub fn is_released(&self) -> bool {
        self.head.as_ref().map_or(self.epoch == 0, |head| head.header.released && head.header.epoch >= self.epoch)
    }

    /// Whether two looks found the same claim and the same entry.
    pub fn is_as(&self, earlier: &Log) -> bool {
        (self.epoch, self.seq(), self.id()) == (earlier.epoch, earlier.seq(), earlier.id())
    }

    /// Whether the next entry should come with a base.
    pub fn base_is_due(&self, next_bytes: u64) -> bool {
        let base = self.head.as_ref().and_then(|head| head.header.base.as_ref()).map_or(0, |base| base.seq);
        self.seq() - base >= limits::MANIFEST_DELTAS || self.tail_bytes + next_bytes > limits::MANIFEST_DELTA_BYTES
    }

    /// The tree as of the newest entry.
    pub async fn state(&self, bucket: &Bucket, spill: &Path, stop: &Stop) -> Result<State, PlainError> {
        let Some(head) = &self.head else { return Ok(Overlay::new(None, None)) };
        let mut old = None;
        if let Some(base) = &head.header.base {
            let key = format!("{PLAIN_FOLDER}/meta/{}", base.name);
            let reader = LineReader::open(download(bucket, &key, spill, stop).await?, &key)?;
            if reader.header().seq != base.seq {
                return Err(PlainError::damaged(key, "it says that it is of another entry"));
            }
            old = Some(reader);
        }
        let from = head.header.base.as_ref().map_or(0, |base| base.seq);
        let mut tail: BTreeMap<RelPath, Line> = BTreeMap::new();
        for seq in from + 1..=head.header.seq {
            let bytes = if seq == head.header.seq { head.bytes.clone() } else { read_head(bucket, seq, stop).await?.bytes };
            let mut reader = LineReader::open(Cursor::new(bytes), &delta_key(seq))?;
            while let Some(line) = reader.next()? {
                tail.insert(line.path.clone(), line);
            }
        }
        let mut newer = LineWriter::published(Vec::new(), &head.header)?;
        tail.values().try_for_each(|line| newer.push(line))?;
        let newer = LineReader::open(Cursor::new(newer.finish()?), "the newer lines")?;
        Ok(Overlay::new(old, Some(newer)))
    }

    /// Removes what no reader needs any more: what lies before the last base but one. Denied deletes change nothing.
    pub async fn clean(&self, bucket: &Bucket, stop: &Stop) {
        let Some(base) = self.head.as_ref().and_then(|head| head.header.base.as_ref()) else { return };
        let old = |name: &&String| number(name.get(..16).unwrap_or_default()).is_some_and(|seq| seq < base.seq);
        let keys: Vec<String> = self.names.iter().filter(old).map(|name| format!("{PLAIN_FOLDER}/meta/{name}")).collect();
        if let Err(error) = bucket.delete_all(stop, &keys).await {
            tracing::debug!(%error, "old entries of the manifest stay");
        }
    }
}

/// An object of any length in a temporary file.
async fn download(bucket: &Bucket, key: &str, spill: &Path, stop: &Stop) -> Result<SpooledTempFile, PlainError> {
    let mut file = tempfile::spooled_tempfile_in(limits::SPOOL_BYTES, spill);
    let mut at = 0;
    loop {
        match bucket.get(stop, key, Some(at..at + limits::FETCH_RANGE_BYTES)).await {
            Ok(bytes) => {
                file.write_all(&bytes)?;
                at += bytes.len() as u64;
                if (bytes.len() as u64) < limits::FETCH_RANGE_BYTES {
                    break;
                }
            }
            Err(error) if error.is_outside() && at > 0 => break,
            Err(error) if error.is_not_found() => {
                return Err(PlainError::damaged(key, "it is missing although an entry refers to it"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

/// Stores a base for the entry `header.seq`; gives its name. Until that entry names it, it means nothing.
pub async fn put_base(bucket: &Bucket, header: &Header, mut file: SpooledTempFile, stop: &Stop) -> Result<String, PlainError> {
    let name = format!("{}-{}{BASE}", inverted(header.seq), header.id);
    let size = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let part = part_bytes(size);
    let mut upload = bucket.upload(&format!("{PLAIN_FOLDER}/meta/{name}"), wall_time(), part).await?;
    let mut left = size;
    while left > 0 {
        let mut piece = vec![0; usize::try_from(left.min(part as u64)).unwrap_or(part)];
        file.read_exact(&mut piece)?;
        left -= piece.len() as u64;
        if let Err(error) = upload.write(stop, Bytes::from(piece)).await {
            upload.abort().await;
            return Err(error.into());
        }
    }
    upload.finish(stop).await?;
    Ok(name)
}

/// Publishes an entry: the one step that counts. Somebody else's entry under that number means that we are fenced, and so
/// does a newer claim: whoever made it has waited for our silence, and restores what was there. Between this look and the
/// step lies one request; a claim that falls there finds the entry when it pushes, and restores again.
pub async fn publish(bucket: &Bucket, header: &Header, body: Bytes, stop: &Stop) -> Result<(), PlainError> {
    let key = delta_key(header.seq);
    let newest = epoch_of(bucket.first(stop, &claims()).await?);
    if newest > header.epoch {
        return Err(PlainError::Fenced { seq: header.seq, by: claimant(bucket, newest, stop).await });
    }
    let mut tries = Tries::default();
    loop {
        let trouble = match bucket.create(stop, &key, body.clone()).await {
            Ok(Create::New) => return Ok(()),
            Ok(Create::Exists) => return settle(bucket, header, stop).await,
            // A store without conditional creates: looking must do.
            Err(error) if error.is_unsupported() => return put_entry(bucket, header, body, stop).await,
            Err(error) if error.is_ambiguous() => error,
            Err(error) => return Err(error.into()),
        };
        let Some(wait) = bucket.next_wait(&mut tries, &trouble) else { return settle(bucket, header, stop).await };
        tracing::debug!(%trouble, "asking again whether the entry was stored");
        stop.or(clock::sleep(wait)).await?;
    }
}

/// Writes an entry where none is, as far as looking tells.
async fn put_entry(bucket: &Bucket, header: &Header, body: Bytes, stop: &Stop) -> Result<(), PlainError> {
    let key = delta_key(header.seq);
    match bucket.get(stop, &key, None).await {
        Ok(_) => settle(bucket, header, stop).await,
        Err(error) if error.is_not_found() => Ok(bucket.put(stop, &key, body).await?),
        Err(error) => Err(error.into()),
    }
}

/// Whose entry it is that lies there.
async fn settle(bucket: &Bucket, header: &Header, stop: &Stop) -> Result<(), PlainError> {
    let there = read_head(bucket, header.seq, stop).await?.header;
    if there.id == header.id { Ok(()) } else { Err(PlainError::Fenced { seq: header.seq, by: there.pod }) }
}

/// Waits until the log is released or has shown nothing new for `silence`; gives it as it is then. Only time that passes
/// here counts; no clock of another machine is compared.
pub async fn wait_for_silence(
    bucket: &Bucket,
    mut log: Log,
    silence: Duration,
    timeout: Duration,
    stop: &Stop,
) -> Result<Log, PlainError> {
    let began = clock::now();
    let mut quiet_since = began;
    let mut said = false;
    while !log.is_released() {
        let now = clock::now();
        if now.duration_since(quiet_since) >= silence {
            break;
        }
        if now.duration_since(began) >= timeout {
            let by = claimant(bucket, log.epoch, stop).await;
            return Err(PlainError::Busy { by, claim: log.epoch, waited_s: timeout.as_secs() });
        }
        if !said {
            said = true;
            let silence_s = silence.as_secs();
            tracing::info!(claim = log.epoch, silence_s, "the last writer has not said that it ended: waiting for its silence");
        }
        stop.or(clock::sleep(limits::TAKEOVER_POLL.min(silence))).await?;
        let looked = look(bucket, stop).await?;
        if !looked.is_as(&log) {
            quiet_since = clock::now();
        }
        log = looked;
    }
    Ok(log)
}

/// Who made a claim, for a message.
async fn claimant(bucket: &Bucket, epoch: u64, stop: &Stop) -> String {
    let claim = bucket.get(stop, &claim_key(epoch), None).await;
    let claim = claim.ok().and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    claim.and_then(|claim| Some(claim.get("pod")?.as_str()?.to_owned())).unwrap_or_else(|| "an unknown Pod".into())
}

/// Claims the right to write above every claim that is there; gives the claim's number.
pub async fn claim(bucket: &Bucket, above: u64, pod: &str, stop: &Stop) -> Result<u64, PlainError> {
    let mut epoch = above;
    for _ in 0..limits::CLAIM_TRIES {
        epoch += 1;
        let key = claim_key(epoch);
        let body = serde_json::json!({ "version": VERSION, "pod": pod, "time_ms": clock::wall_ms() }).to_string();
        match bucket.create(stop, &key, Bytes::from(body.clone())).await {
            Ok(Create::New) => return Ok(epoch),
            // Possibly our own, whose answer was lost: the next number is as good.
            Ok(Create::Exists) | Err(StoreError::Ambiguous(_)) => {}
            Err(error) if error.is_unsupported() => {
                bucket.put(stop, &key, Bytes::from(body)).await?;
                return Ok(epoch);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(PlainError::Fenced { seq: epoch, by: "other claims".into() })
}

fn claims() -> String {
    format!("{PLAIN_FOLDER}/claim")
}

fn claim_key(epoch: u64) -> String {
    format!("{}/{}.json", claims(), inverted(epoch))
}

fn delta_key(seq: u64) -> String {
    format!("{PLAIN_FOLDER}/meta/{}{DELTA}", inverted(seq))
}

/// Counts down, so that the newest name is the first of a listing.
fn inverted(number: u64) -> String {
    format!("{:016x}", u64::MAX - number)
}

fn number(name: &str) -> Option<u64> {
    if name.len() != 16 {
        return None;
    }
    u64::from_str_radix(name, 16).ok().map(|inverted| u64::MAX - inverted)
}

/// Now, as a file's time.
pub fn wall_time() -> Timestamp {
    let ms = clock::wall_ms();
    Timestamp { seconds: i64::try_from(ms / 1000).unwrap_or(i64::MAX), nanos: u32::try_from(ms % 1000).unwrap_or(0) * 1_000_000 }
}
