//! What a volume remembers of a plain remote: the receipt of the last finished pass, the index, and whether a pass is
//! under way. The files lie in the state directory; losing them costs a comparison of everything, and the right to push
//! before a restore.

use super::session::Local;
use crate::disk::{DiskError, StateDir, StateFile};
use crate::plain::error::PlainError;
use crate::plain::log::{Log, wait_for_silence};
use crate::plain::manifest::LineReader;
use crate::plan::Begun;
use crate::runtime::Stop;
use crate::seal::checksum;
use crate::store::Bucket;
use crate::vault::writer::Takeover;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const RECEIPT: &str = "receipt.json";
const CLAIMED: &str = "claimed";
const PUSHING: &str = "pushing";
const SENDING: &str = "sending";
const RESTORING: &str = "restoring";
const UPLOADS: &str = "uploads.json";
const INDEX: &str = "index";
/// The next index while it is written.
pub const NEXT_INDEX_NAME: &str = "index.next";
/// The index in messages.
pub const INDEX_IN_WORDS: &str = "the local index";

/// The state of a volume, as of the last finished pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlainReceipt {
    /// The remote in words: a receipt is of one place.
    pub place: String,
    /// The manifest's newest entry; 0 where there was none.
    pub seq: u64,
    /// Its id.
    pub id: String,
    /// The claim under which this volume writes; 0 for none.
    pub epoch: u64,
}

/// What the volume remembers.
#[derive(Debug)]
pub struct PlainMemory {
    /// The last finished pass.
    pub receipt: Option<PlainReceipt>,
    /// A push began and did not end: objects may be ours that no entry names.
    pub was_pushing: bool,
    place: String,
    state: StateDir,
}

impl PlainMemory {
    /// Reads it.
    pub fn open(local: &Local, place: &str) -> Result<PlainMemory, DiskError> {
        let name = format!("plain-{}", HEXLOWER.encode(&checksum(place.as_bytes())));
        let state = StateDir::open(&local.spill().join(name))?;
        let receipt = state.read(RECEIPT)?.and_then(|bytes| serde_json::from_slice::<PlainReceipt>(&bytes).ok());
        let receipt = receipt.filter(|receipt| receipt.place == place);
        let was_pushing = state.read(PUSHING)?.is_some();
        Ok(PlainMemory { receipt, was_pushing, place: place.to_owned(), state })
    }

    /// The uploads in parts. A list that cannot be read is as good as none.
    pub fn uploads(&self) -> Result<Uploads, DiskError> {
        let open = self.state.read(UPLOADS)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Ok(Uploads { state: Arc::new(StateDir::open(self.state.path())?), open: Arc::new(Mutex::new(open)) })
    }

    /// Whether the receipt names the newest entry.
    pub fn is_current(&self, log: &Log) -> bool {
        self.receipt.as_ref().is_some_and(|receipt| receipt.seq == log.seq() && receipt.id == log.id())
    }

    /// The index of the last pass. One that is damaged is as good as none.
    pub fn index(&self) -> Result<Option<LineReader<StateFile>>, DiskError> {
        let Some(file) = self.state.open_file(INDEX)? else { return Ok(None) };
        match LineReader::open(file, INDEX_IN_WORDS) {
            Ok(reader) => Ok(Some(reader)),
            Err(error) => {
                tracing::warn!(%error, "comparing everything");
                Ok(None)
            }
        }
    }

    /// A file for the next index.
    pub fn next_index(&self) -> Result<StateFile, DiskError> {
        self.state.create_file(NEXT_INDEX_NAME)
    }

    /// Another temporary file, emptied.
    pub fn scratch(&self, name: &str) -> Result<StateFile, DiskError> {
        self.state.create_file(name)
    }

    /// A file that this pass has written, from its beginning; `what` is its name in messages.
    pub fn reread(&self, name: &str, what: &str) -> Result<LineReader<StateFile>, PlainStateError> {
        let file = self.state.open_file(name)?;
        let file = file.ok_or_else(|| PlainError::Io(std::io::Error::other(format!("{what}: the file is missing"))))?;
        Ok(LineReader::open(file, what)?)
    }

    /// The paths that a broken-off pass may have sent. Without the list, what it sent and no entry names counts as
    /// another program's.
    pub fn sending(&self) -> Result<Option<LineReader<StateFile>>, DiskError> {
        match self.state.open_file(SENDING)? {
            Some(file) if self.was_pushing => Ok(LineReader::open(file, SENDING).ok()),
            _ => Ok(None),
        }
    }

    /// Notes that objects are about to be written, and which: the list lies under the name `sending`.
    pub fn begin_push(&mut self, sending: &str) -> Result<(), DiskError> {
        self.state.publish(sending, SENDING)?;
        self.state.write(PUSHING, b"objects may be stored that no entry names\n")
    }

    /// Notes the entry that is about to be published, with the next index finished: if this process dies, the next one
    /// recognizes it.
    pub fn note_intent(&self, receipt: &PlainReceipt) -> Result<(), PlainStateError> {
        let bytes = serde_json::to_vec(receipt).map_err(std::io::Error::other).map_err(PlainError::Io)?;
        Ok(self.state.write(PUSHING, &bytes)?)
    }

    /// Notes an entry without changes that is about to be published: nothing else of this pass is under way.
    pub fn note_release(&self, receipt: &PlainReceipt) -> Result<(), PlainStateError> {
        self.state.remove(NEXT_INDEX_NAME)?;
        self.state.remove(SENDING)?;
        self.note_intent(receipt)
    }

    /// Finishes what a process that died had published: then that pass did end, but for its deletes.
    pub fn settle(&mut self, log: &Log) -> Result<(), PlainStateError> {
        let intent = self.state.read(PUSHING)?.and_then(|bytes| serde_json::from_slice::<PlainReceipt>(&bytes).ok());
        let Some(intent) = intent.filter(|intent| intent.place == self.place) else { return Ok(()) };
        if intent.seq != log.seq() || intent.id != log.id() {
            return Ok(());
        }
        tracing::info!(entry = intent.seq, "the last run's push was stored although it was not finished");
        if self.state.open_file(NEXT_INDEX_NAME)?.is_some() {
            self.adopt_index()?;
        }
        self.finish(intent)
    }

    /// Drops an index that turned out to be damaged.
    pub fn drop_index(&self) -> Result<(), DiskError> {
        self.state.remove(INDEX)?;
        Ok(())
    }

    /// The next index becomes the index.
    pub fn adopt_index(&self) -> Result<(), DiskError> {
        self.state.publish(NEXT_INDEX_NAME, INDEX)
    }

    /// Notes a claim as soon as it is made: the pass under it may fail, and nobody waits for himself.
    pub fn note_claim(&self, epoch: u64) -> Result<(), DiskError> {
        self.state.write(CLAIMED, epoch.to_string().as_bytes())
    }

    /// Whether the newest claim is this volume's: there is nobody else behind it, since the volume is locked.
    pub fn is_own(&self, log: &Log) -> Result<bool, DiskError> {
        let noted = || Ok(self.state.read(CLAIMED)?.is_some_and(|noted| noted == log.epoch.to_string().as_bytes()));
        Ok(log.epoch > 0 && (self.epoch() == log.epoch || noted()?))
    }

    /// The claim under which the last finished pass wrote; 0 for none.
    pub fn epoch(&self) -> u64 {
        self.receipt.as_ref().map_or(0, |receipt| receipt.epoch)
    }

    /// The pass is finished.
    pub fn finish(&mut self, receipt: PlainReceipt) -> Result<(), PlainStateError> {
        let receipt = PlainReceipt { place: self.place.clone(), ..receipt };
        let bytes = serde_json::to_vec_pretty(&receipt).map_err(std::io::Error::other).map_err(PlainError::Io)?;
        self.state.write(RECEIPT, &bytes)?;
        self.state.remove(PUSHING)?;
        self.state.remove(RESTORING)?;
        (self.receipt, self.was_pushing) = (Some(receipt), false);
        Ok(())
    }

    /// A restore that was begun and not finished.
    pub fn interrupted_restore(&self) -> Result<Option<Begun>, DiskError> {
        Ok(self.state.read(RESTORING)?.as_deref().map(Begun::of_word))
    }

    /// Notes that the volume is about to be changed: until the end, nothing may be pushed from it.
    pub fn begin_restore(&mut self, begun: Begun) -> Result<(), DiskError> {
        self.state.write(RESTORING, begun.word().as_bytes())?;
        self.state.remove(RECEIPT)?;
        self.receipt = None;
        Ok(())
    }

    /// A part was restored: what was known no longer holds.
    pub fn forget(&mut self) -> Result<(), DiskError> {
        self.state.remove(RECEIPT)?;
        self.state.remove(RESTORING)?;
        Ok(())
    }
}

/// Waits for a writer that has not said that it ended, as was asked for; gives the log as it is then.
pub async fn outwait(bucket: &Bucket, log: Log, takeover: Takeover, stop: &Stop) -> Result<Log, PlainError> {
    match takeover {
        Takeover::Force => Ok(log),
        Takeover::Wait { silence, timeout } => wait_for_silence(bucket, log, silence, timeout, stop).await,
    }
}

/// Uploads in parts that are under way, by the store's name for each, with their keys: what a killed process leaves of
/// them costs room at the store until somebody gives it up.
#[derive(Debug, Clone)]
pub struct Uploads {
    state: Arc<StateDir>,
    open: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Uploads {
    /// Those of passes before this one, which did not end well: name and key.
    pub fn left(&self) -> Vec<(String, String)> {
        self.locked().clone().into_iter().collect()
    }

    /// One has begun.
    pub fn begun(&self, id: String, key: String) -> Result<(), DiskError> {
        let mut open = self.locked();
        open.insert(id, key);
        self.write(&open)
    }

    /// One was finished, or is no more.
    pub fn ended(&self, id: &str) -> Result<(), DiskError> {
        let mut open = self.locked();
        if open.remove(id).is_some() { self.write(&open) } else { Ok(()) }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, open: &BTreeMap<String, String>) -> Result<(), DiskError> {
        if open.is_empty() {
            return self.state.remove(UPLOADS).map(drop);
        }
        self.state.write(UPLOADS, serde_json::json!(open).to_string().as_bytes())
    }
}

/// An error of this file.
#[derive(Debug, thiserror::Error)]
pub enum PlainStateError {
    /// The state directory.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A temporary file.
    #[error(transparent)]
    Plain(#[from] PlainError),
}
