//! A volume and its vault together: the lock, the receipt, the intent of a commit whose answer is outstanding, and the
//! local index. The files lie in the state directory, in one folder per vault; losing them costs a rescan.

use super::index::Aside;
use crate::disk::{DiskError, StateDir, StateLock, Volume};
use crate::fault::{Fault, Kind};
use crate::plan::Begun;
use crate::runtime::Stop;
use crate::seal::{Unlocker, random_bytes};
use crate::store::{Bucket, Fencing, StoreError, probe, recheck};
use crate::tree::RelPath;
use crate::vault::error::VaultError;
use crate::vault::index::{Chunks, IndexError};
use crate::vault::log::Commit;
use crate::vault::object::ObjectId;
use crate::vault::open::{Vault, create};
use crate::vault::overlay::Overlay;
use crate::vault::receipt::{Intent, Receipt, from_file, to_file};
use crate::vault::writer::Writer;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub use crate::contract::control::STATE_NAME;

const RECEIPT: &str = "receipt.json";
const INTENT: &str = "intent.json";
const RESTORING: &str = "restoring";
pub(super) const INDEX: &str = "index";
pub(super) const INDEX_NEXT: &str = "index.next";
pub(super) const OVERLAY: &str = "overlay";
pub(super) const OVERLAY_NEXT: &str = "overlay.next";

/// An error of this room.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The volume or the state directory.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The index could not be written, or not even after it was made again be read.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl SessionError {
    /// Whether another process works on the volume.
    pub fn is_busy(&self) -> bool {
        matches!(self, SessionError::Disk(DiskError::Busy { .. }))
    }
}

impl From<StoreError> for SessionError {
    fn from(error: StoreError) -> SessionError {
        SessionError::Vault(VaultError::Store(error))
    }
}

impl Fault for SessionError {
    fn kind(&self) -> Kind {
        match self {
            SessionError::Disk(error) => error.kind(),
            SessionError::Vault(error) => error.kind(),
            SessionError::Index(_) => Kind::Volume,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            SessionError::Disk(error) => error.hint(),
            SessionError::Vault(error) => error.hint(),
            SessionError::Index(_) => {
                Some("check the space and rights of the state directory (--state-dir); run again to continue".into())
            }
        }
    }
}

/// A locked volume.
#[derive(Debug)]
pub struct Local {
    /// The volume.
    pub volume: Volume,
    /// Paths on it that are ours.
    pub reserved: Vec<RelPath>,
    root: StateDir,
    _lock: StateLock,
}

impl Local {
    /// Opens the state directory of a volume (by default on the volume itself) and locks it against other processes.
    pub fn open(volume: Volume, state_dir: Option<&Path>) -> Result<Local, SessionError> {
        let path = state_dir.map_or_else(|| volume.path().join(STATE_NAME), Path::to_path_buf);
        let root = StateDir::open(&path)?;
        let lock = root.lock()?;
        Ok(Local { reserved: reserved_on(&volume, &path), volume, root, _lock: lock })
    }

    /// Whether another process has it now. No directory is made.
    pub fn is_held(volume: &Path, state_dir: Option<&Path>) -> bool {
        let path = state_dir.map_or_else(|| volume.join(STATE_NAME), Path::to_path_buf);
        let locked = path.is_dir().then(|| StateDir::open(&path).and_then(|root| root.lock()));
        matches!(locked, Some(Err(DiskError::Busy { .. })))
    }

    /// Where temporary files may go.
    pub fn spill(&self) -> PathBuf {
        self.root.path().to_path_buf()
    }
}

/// The state directory as a path of the volume, if it lies on it.
pub fn reserved_on(volume: &Volume, state_dir: &Path) -> Vec<RelPath> {
    use std::os::unix::ffi::OsStrExt;
    let real = state_dir.canonicalize().unwrap_or_else(|_| state_dir.to_path_buf());
    let own = RelPath::new(STATE_NAME).ok();
    let given = real.strip_prefix(volume.path()).ok().and_then(|p| RelPath::new(p.as_os_str().as_bytes()).ok());
    let mut reserved: Vec<RelPath> = own.into_iter().chain(given).collect();
    reserved.sort();
    reserved.dedup();
    reserved
}

/// What the volume remembers of one vault.
#[derive(Debug)]
pub struct Memory {
    /// The vault.
    pub vault: Vault,
    /// The last finished pass.
    pub receipt: Option<Receipt>,
    /// What this process found out about the store when it made the vault.
    pub probed: Option<Fencing>,
    /// The receipt names the head that this process found.
    pub current: bool,
    /// A commit's answer is outstanding: only a new claim makes sure that it cannot land later.
    pub outstanding: bool,
    pub(super) state: StateDir,
    /// What has changed since the index was written.
    pub(super) overlay: Option<Arc<Overlay>>,
    /// What this pass has put aside.
    pub(super) aside: Option<Aside>,
    /// Where the chunks of the index begin, once somebody asked.
    pub(super) chunks: OnceLock<Arc<Chunks>>,
}

impl Memory {
    /// Reads what the volume remembers, and settles an intent of a process that died: if the head is its commit, that
    /// pass did finish.
    pub async fn open(local: &Local, vault: &Vault, head: Option<&Commit>, stop: &Stop) -> Result<Memory, SessionError> {
        let state = StateDir::open(&local.root.path().join(HEXLOWER.encode(&vault.id)))?;
        let receipt = state.read(RECEIPT)?.and_then(|bytes| from_file::<Receipt>(vault, &bytes));
        let intent = state.read(INTENT)?.and_then(|bytes| from_file::<Intent>(vault, &bytes));
        let mut memory = Memory {
            vault: vault.clone(),
            receipt,
            probed: None,
            current: false,
            outstanding: false,
            state,
            overlay: None,
            aside: None,
            chunks: OnceLock::new(),
        };
        memory.overlay = memory.read_overlay(OVERLAY)?;
        if let (Some(intent), Some(head)) = (intent, head) {
            memory.settle(intent, head, stop).await?;
        }
        memory.current = memory.reaches(head, stop).await?;
        Ok(memory)
    }

    async fn settle(&mut self, intent: Intent, head: &Commit, stop: &Stop) -> Result<(), SessionError> {
        let landed = match intent.seq.cmp(&head.seq) {
            std::cmp::Ordering::Greater => false,
            std::cmp::Ordering::Equal => HEXLOWER.encode(&head.hash) == intent.hash,
            std::cmp::Ordering::Less => HEXLOWER.encode(&self.vault.commit(intent.seq, stop).await?.hash) == intent.hash,
        };
        if landed {
            tracing::info!(commit = intent.seq, "the last run's commit was stored although its answer was lost");
            self.aside = self.aside_for(&intent)?;
            self.finish(&intent.receipt)?;
        } else {
            self.outstanding = intent.seq > head.seq;
        }
        Ok(())
    }

    /// Whether the head's tree is the one that the receipt names: it is the same commit, or only claims and releases,
    /// which change nothing, came after it.
    async fn reaches(&self, head: Option<&Commit>, stop: &Stop) -> Result<bool, SessionError> {
        const STEPS: u64 = 64;
        let (Some(receipt), Some(head)) = (&self.receipt, head) else { return Ok(false) };
        if head.seq == receipt.seq {
            return Ok(HEXLOWER.encode(&head.hash) == receipt.hash);
        }
        if !head.changes_nothing() || head.seq < receipt.seq || head.seq > receipt.seq + STEPS {
            return Ok(false);
        }
        let mut previous = head.directory().previous;
        for seq in (receipt.seq + 1..head.seq).rev() {
            let commit = self.vault.commit(seq, stop).await?;
            if commit.hash != previous || !commit.changes_nothing() {
                return Ok(false);
            }
            previous = commit.directory().previous;
        }
        Ok(HEXLOWER.encode(&previous) == receipt.hash)
    }

    /// A store that shows less than the receipt names is refused.
    pub fn check_rollback(&self, head: Option<&Commit>, accept_rollback: bool) -> Result<(), SessionError> {
        let Some(receipt) = &self.receipt else { return Ok(()) };
        let found = head.map_or(0, |head| head.seq);
        let other = head.is_some_and(|head| head.seq == receipt.seq && HEXLOWER.encode(&head.hash) != receipt.hash);
        let epoch_fell = head.is_some_and(|head| head.directory().epoch < receipt.epoch);
        if (found < receipt.seq || other || epoch_fell) && !accept_rollback {
            return Err(VaultError::Rollback { found, pinned: receipt.seq }.into());
        }
        Ok(())
    }

    /// Whether the commit that the receipt names is still on the log that ends at the head: otherwise the remote's
    /// history was replaced by another.
    pub async fn check_pin(&self, head: Option<&Commit>, accept_rollback: bool, stop: &Stop) -> Result<(), SessionError> {
        let (Some(receipt), Some(head)) = (&self.receipt, head) else { return Ok(()) };
        if accept_rollback || head.seq <= receipt.seq {
            return Ok(());
        }
        match self.vault.try_commit(receipt.seq, stop).await? {
            Some(commit) if HEXLOWER.encode(&commit.hash) != receipt.hash => {
                Err(VaultError::Rollback { found: head.seq, pinned: receipt.seq }.into())
            }
            _ => Ok(()),
        }
    }

    /// Notes that another writer took over.
    pub fn note_fence(&mut self, epoch: u32) -> Result<(), SessionError> {
        match self.receipt.clone() {
            Some(receipt) => self.write_receipt(Receipt { fenced: Some(epoch), ..receipt }),
            None => Ok(()),
        }
    }

    /// A writer that was fenced does not wait for the silence of the one that took over, which may have nothing to write
    /// for hours: it stays fenced until that one has released the vault, or somebody decides otherwise.
    pub fn check_fence(&self, head: Option<&Commit>) -> Result<(), SessionError> {
        let (Some(receipt), Some(head)) = (&self.receipt, head) else { return Ok(()) };
        let directory = head.directory();
        let stays = receipt.fenced.is_some_and(|by| by <= directory.epoch) && !head.is_released();
        if !stays || receipt.writer_bytes() == Some(directory.writer) {
            return Ok(());
        }
        let (by, ours) = (directory.labels.pod.clone(), receipt.claim.map_or(receipt.epoch, |claim| claim.epoch));
        Err(VaultError::Fenced { by, epoch: directory.epoch, seq: head.seq, ours }.into())
    }

    /// What the store can do: as remembered, or tried with one request on an object that is there.
    pub async fn fencing(&self, stop: &Stop) -> Result<Fencing, SessionError> {
        if self.vault.bucket.conditional_create_is_native() {
            return Ok(Fencing::Strict);
        }
        if let Some(fencing) = self.probed.or_else(|| self.receipt.as_ref().and_then(Receipt::fencing)) {
            return Ok(fencing);
        }
        let key = crate::contract::layouts::VAULT_CONFIG;
        let bytes: Bytes = self.vault.bucket.get(stop, key, None).await?;
        Ok(recheck(&self.vault.bucket, stop, key, bytes).await?)
    }

    /// The receipt of a writer whose head is `tree_seq`'s tree.
    pub fn receipt_of(&self, writer: &Writer, tree_seq: u64, partial: bool) -> Receipt {
        Receipt {
            vault_id: HEXLOWER.encode(&self.vault.id),
            seq: writer.base.seq,
            hash: HEXLOWER.encode(&writer.base.hash),
            epoch: writer.claim.epoch,
            tree_seq,
            reverted: false,
            claim: Some(writer.claim.into()),
            writer: HEXLOWER.encode(&writer.name.id),
            counter: writer.counter(),
            clean: true,
            strict: Some(writer.fencing == Fencing::Strict),
            partial,
            swept: writer.upkeep.map(|upkeep| upkeep.swept),
            fenced: None,
        }
    }

    /// The receipt of a restore that only read.
    pub fn receipt_of_reader(&self, head: &Commit, tree_seq: u64) -> Receipt {
        let writer = self.receipt.as_ref().and_then(Receipt::writer_bytes).unwrap_or_else(random_bytes);
        Receipt {
            vault_id: HEXLOWER.encode(&self.vault.id),
            seq: head.seq,
            hash: HEXLOWER.encode(&head.hash),
            epoch: head.directory().epoch,
            tree_seq,
            reverted: tree_seq != head.seq,
            claim: None,
            writer: HEXLOWER.encode(&writer),
            counter: 0,
            clean: true,
            strict: self.receipt.as_ref().and_then(|receipt| receipt.strict),
            partial: false,
            swept: None,
            fenced: None,
        }
    }

    /// Notes that a restore has begun.
    pub fn begin_restore(&self, begun: Begun) -> Result<(), SessionError> {
        Ok(self.state.write(RESTORING, begun.word().as_bytes())?)
    }

    /// A restore that was begun and not finished.
    pub fn interrupted_restore(&self) -> Result<Option<Begun>, SessionError> {
        Ok(self.state.read(RESTORING)?.as_deref().map(Begun::of_word))
    }

    /// What is here is a state of its own now, whatever a restore meant to make of it.
    pub fn forget_restore(&self) -> Result<(), SessionError> {
        self.state.remove(RESTORING)?;
        Ok(())
    }

    /// Notes that the restore is finished and durable.
    pub fn end_restore(&mut self, receipt: Option<&Receipt>) -> Result<(), SessionError> {
        match receipt {
            Some(receipt) => self.finish(receipt)?,
            None => self.forget_next()?,
        }
        self.forget_restore()
    }

    /// Writes a receipt; nothing else of the volume's memory changes.
    pub fn write_receipt(&mut self, receipt: Receipt) -> Result<(), SessionError> {
        self.state.write(RECEIPT, &to_file(&self.vault, &receipt))?;
        self.receipt = Some(receipt);
        Ok(())
    }

    /// Notes a commit about to be published. The new index lies aside; a crash from here on leaves the next process to
    /// find out whether the commit was stored.
    pub fn note_intent(&mut self, id: ObjectId, hash: [u8; 32], receipt: &Receipt) -> Result<(), SessionError> {
        let intent = Intent {
            vault_id: HEXLOWER.encode(&self.vault.id),
            seq: id.a,
            hash: HEXLOWER.encode(&hash),
            receipt: receipt.clone(),
        };
        Ok(self.state.write(INTENT, &to_file(&self.vault, &intent))?)
    }

    /// Makes what this pass put aside and the receipt the volume's. In this order, so that a crash in between leaves an index newer than
    /// the receipt, which is then made again, and an intent, which is then settled again.
    pub fn finish(&mut self, receipt: &Receipt) -> Result<(), SessionError> {
        self.publish_aside()?;
        self.write_receipt(receipt.clone())?;
        self.state.remove(INTENT)?;
        self.outstanding = false;
        self.current = true;
        Ok(())
    }

    /// Whether the receipt was true of the head before this process's own claim: the tree is then still the one it names.
    pub fn head_was(&self, receipt: &Receipt) -> bool {
        self.current && receipt.tree_seq > 0
    }

    /// What a failed local file means. Where there is no room, the index that was begun gives its own back.
    pub fn explain(&mut self, error: IndexError) -> SessionError {
        let full = match &error {
            IndexError::Io(cause) => self.state.full(cause),
            IndexError::Format(_) => None,
        };
        match full {
            Some(full) => self.forget_next().err().unwrap_or(full.into()),
            None => error.into(),
        }
    }
}

/// Makes a vault at a remote that is proven empty, and tells what the store can do.
pub async fn make_vault(bucket: &Bucket, unlocker: &Unlocker, stop: &Stop) -> Result<(Vault, Fencing), SessionError> {
    let fencing = probe_new(bucket, stop).await?;
    let vault = create(bucket, unlocker, stop).await?;
    tracing::info!(remote = %bucket.describe(), slot = %vault.slot, "made a new vault");
    Ok((vault, fencing))
}

/// Says what follows from having one key.
pub fn warn_of_single_key() {
    tracing::warn!(
        "only one key opens this vault: losing it loses everything. `key export-kit` makes a second one to keep offline"
    );
}

/// Makes sure that a new remote honours conditional creates, or says that only one writer may exist.
async fn probe_new(vault_bucket: &Bucket, stop: &Stop) -> Result<Fencing, SessionError> {
    if vault_bucket.conditional_create_is_native() {
        return Ok(Fencing::Strict);
    }
    let fencing = probe(vault_bucket, stop).await?;
    if fencing == Fencing::Detect {
        tracing::warn!(
            "the store does not honour conditional creates: a second writer will be detected, not prevented. Make sure that only one writer exists"
        );
    }
    Ok(fencing)
}
