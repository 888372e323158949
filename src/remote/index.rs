//! The local index: read, renewed by a pass, or made again from the remote.

use super::session::{INDEX, INDEX_NEXT, Memory, OVERLAY, OVERLAY_NEXT, SessionError};
use crate::disk::{DiskError, StateFile};
use crate::runtime::Stop;
use crate::seal::ContentId;
use crate::tree::Region;
use crate::vault::directory::State;
use crate::vault::error::VaultError;
use crate::vault::index::{IndexError, IndexHeader, IndexReader, IndexWriter, Indexed, LocalStamp};
use crate::vault::known::Known;
use crate::vault::log::Commit;
use crate::vault::object::ObjectId;
use crate::vault::overlay::{Changes, Overlay};
use crate::vault::receipt::Intent;
use crate::vault::tree::{Tally, TreeReader};
use data_encoding::HEXLOWER;
use std::collections::VecDeque;
use std::io::{BufReader, BufWriter};
use std::sync::{Arc, OnceLock};

/// The local index as of the last finished pass.
pub type LocalIndex = Known<BufReader<StateFile>>;

type IndexFile = (IndexReader<BufReader<StateFile>>, Option<Arc<Overlay>>);

const INDEX_REVISED: &str = "index.revised";

/// What a pass has put aside until it is finished. A file of that name may be one that another pass left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aside {
    /// A new index.
    Index,
    /// Changes beside the index.
    Overlay,
}

impl Memory {
    /// A file for the next index; [`finish`](Memory::finish) makes it the volume's.
    pub fn next_index(&mut self) -> Result<StateFile, SessionError> {
        self.forget_next()?;
        let file = self.state.create_file(INDEX_NEXT)?;
        self.aside = Some(Aside::Index);
        Ok(file)
    }

    /// Drops what was put aside and is not needed.
    pub fn forget_next(&mut self) -> Result<(), SessionError> {
        self.aside = None;
        self.state.remove(INDEX_NEXT)?;
        self.state.remove(OVERLAY_NEXT)?;
        Ok(())
    }

    /// What a process put aside for the commit of this intent, unless a later pass or a dry run took its place.
    pub(super) fn aside_for(&self, intent: &Intent) -> Result<Option<Aside>, SessionError> {
        if let Some(file) = self.state.open_file(INDEX_NEXT)? {
            let header = IndexReader::open(BufReader::new(file)).map(|reader| *reader.header());
            let is_its = |header: IndexHeader| header.seq == intent.seq && HEXLOWER.encode(&header.hash) == intent.hash;
            return Ok(header.is_ok_and(is_its).then_some(Aside::Index));
        }
        let overlay = self.read_overlay(OVERLAY_NEXT)?;
        Ok(overlay.is_some_and(|overlay| overlay.seq == intent.seq).then_some(Aside::Overlay))
    }

    /// Makes what was put aside the volume's.
    pub(super) fn publish_aside(&mut self) -> Result<(), SessionError> {
        match self.aside.take() {
            Some(Aside::Index) => self.publish_index(),
            Some(Aside::Overlay) => {
                self.state.publish(OVERLAY_NEXT, OVERLAY)?;
                self.overlay = self.read_overlay(OVERLAY)?;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The index, if there is one of the tree of commit `tree_seq`.
    pub fn index(&self, tree_seq: u64) -> Result<Option<LocalIndex>, SessionError> {
        Ok(self.index_file(tree_seq)?.map(|(reader, overlay)| Known::all(reader, overlay)))
    }

    /// Parts of the index, if there is one of the tree of commit `tree_seq`.
    pub fn index_parts(&self, tree_seq: u64, regions: impl Iterator<Item = Region>) -> Result<Option<LocalIndex>, SessionError> {
        let Some((mut reader, overlay)) = self.index_file(tree_seq)? else { return Ok(None) };
        let chunks = match self.chunks.get() {
            Some(chunks) => chunks.clone(),
            None => {
                let found = Arc::new(reader.chunks()?);
                self.chunks.get_or_init(|| found).clone()
            }
        };
        Ok(Some(Known::parts(reader, overlay, chunks, regions)))
    }

    fn index_file(&self, tree_seq: u64) -> Result<Option<IndexFile>, SessionError> {
        let Some(file) = self.state.open_file(INDEX)? else { return Ok(None) };
        let reader = match IndexReader::open(BufReader::with_capacity(256 << 10, file)) {
            Ok(reader) => reader,
            Err(error) => {
                tracing::warn!(%error, "the local index is made again from the remote");
                return Ok(None);
            }
        };
        let header = reader.header();
        if header.vault_id != self.vault.id {
            return Ok(None);
        }
        let base = (header.seq, header.hash);
        let overlay = self.overlay.clone().filter(|overlay| overlay.seq == tree_seq && overlay.base == base);
        Ok((overlay.is_some() || base.0 == tree_seq).then_some((reader, overlay)))
    }

    /// Makes the next index the volume's. What lay beside the one before means nothing to it.
    fn publish_index(&mut self) -> Result<(), SessionError> {
        self.aside = None;
        self.state.publish(INDEX_NEXT, INDEX)?;
        self.state.remove(OVERLAY)?;
        self.overlay = None;
        self.chunks = OnceLock::new();
        Ok(())
    }

    pub(super) fn read_overlay(&self, name: &str) -> Result<Option<Arc<Overlay>>, SessionError> {
        let damage = match self.state.read(name) {
            Ok(None) => return Ok(None),
            Ok(Some(bytes)) => match Overlay::decode(&bytes) {
                Ok(overlay) => return Ok(Some(Arc::new(overlay))),
                Err(error) => error.to_string(),
            },
            Err(error @ DiskError::StateTooLarge { .. }) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        tracing::warn!("what lies beside the local index is damaged ({damage}): making both again from the remote");
        Ok(None)
    }

    /// Puts aside what a commit changes in the tree of `tree_seq`, whose totals are then `state`; [`finish`](Memory::finish)
    /// makes it the volume's. References into the commit's own data count from the end of its head.
    pub fn stage_changes(
        &mut self,
        tree_seq: u64,
        (commit, head_len): (ObjectId, u32),
        state: State,
        changes: Changes,
    ) -> Result<(), SessionError> {
        self.forget_next()?;
        let Some((index, overlay)) = self.index_file(tree_seq)? else { return Ok(()) };
        let base = (index.header().seq, index.header().hash);
        let mut all = overlay.map(|overlay| overlay.changes.clone()).unwrap_or_default();
        for (path, mut change) in changes {
            if let Some(indexed) = &mut change {
                let own = |object, offset| (object, if object == commit { offset + u64::from(head_len) } else { offset });
                indexed.entry.relocate(&mut { own });
            }
            all.insert(path, change);
        }
        self.state.write(OVERLAY_NEXT, &Overlay::encode(base, commit.a, &state, &all)?)?;
        self.aside = Some(Aside::Overlay);
        Ok(())
    }

    /// What has changed since the index was written, for a tree that [`index`](Memory::index) has.
    pub fn overlay(&self, tree_seq: u64) -> Option<&Overlay> {
        self.overlay.as_deref().filter(|overlay| overlay.seq == tree_seq)
    }

    /// Drops an index that turned out to be damaged.
    pub fn drop_index(&mut self) -> Result<(), SessionError> {
        self.state.remove(INDEX)?;
        self.state.remove(OVERLAY)?;
        self.overlay = None;
        self.chunks = OnceLock::new();
        Ok(())
    }

    /// Makes the index of a commit's tree from the remote, keeping what the old index knows about local files whose
    /// recorded content is the same.
    pub async fn rebuild_index(&mut self, commit: Commit, stop: &Stop) -> Result<(), SessionError> {
        tracing::info!(commit = commit.seq, "making the local index from the remote");
        let header = IndexHeader { vault_id: self.vault.id, seq: commit.seq, hash: commit.hash, inline_base: 0 };
        let (expected, id) = (commit.directory().state, ObjectId::commit(commit.seq));
        let mut old = self.old_index()?;
        let mut writer = IndexWriter::start(BufWriter::new(self.next_index()?), &header)?;
        let mut tally = Tally::default();
        let view = self.vault.view(commit, stop).await?;
        let mut tree = TreeReader::new(&self.vault, view, None, stop);
        while let Some(entry) = tree.next().await? {
            tally.add(self.vault.keys(), &entry);
            let (stamp, blocks) = old.known(&entry);
            writer.push(&Indexed { entry, stamp, blocks })?;
        }
        if tally.state != expected {
            let what = crate::vault::wire::FormatError::Invalid("the tree it leaves has other totals than it says");
            return Err(VaultError::corrupt(id, what).into());
        }
        writer.finish(&tally.state)?.into_inner().map_err(|error| IndexError::Io(error.into_error()))?;
        self.publish_index()
    }

    /// Goes over the finished next index once more: `each` may change what it knows of a local file.
    pub fn revise_next_index(&self, mut each: impl FnMut(&mut Indexed) -> Result<(), DiskError>) -> Result<(), SessionError> {
        let Some(file) = self.state.open_file(INDEX_NEXT)? else { return Ok(()) };
        let mut reader = IndexReader::open(BufReader::with_capacity(256 << 10, file))?;
        let revised = BufWriter::with_capacity(256 << 10, self.state.create_file(INDEX_REVISED)?);
        let mut writer = IndexWriter::start(revised, reader.header())?;
        while let Some(mut indexed) = reader.next()? {
            each(&mut indexed)?;
            writer.push(&indexed)?;
        }
        let state = reader.state().copied().unwrap_or_default();
        writer.finish(&state)?.into_inner().map_err(|error| IndexError::Io(error.into_error()))?;
        Ok(self.state.publish(INDEX_REVISED, INDEX_NEXT)?)
    }

    fn old_index(&self) -> Result<OldIndex, SessionError> {
        let Some(file) = self.state.open_file(INDEX)? else { return Ok(OldIndex { index: None, ahead: VecDeque::new() }) };
        let reader = IndexReader::open(BufReader::new(file)).ok().filter(|reader| reader.header().vault_id == self.vault.id);
        let index = reader.map(|reader| {
            let base = (reader.header().seq, reader.header().hash);
            let overlay = self.overlay.clone().filter(|overlay| overlay.base == base);
            Known::all(reader, overlay)
        });
        Ok(OldIndex { index, ahead: VecDeque::new() })
    }
}

/// An older index read beside a newer tree. Its damage costs only what it knew.
struct OldIndex {
    index: Option<LocalIndex>,
    ahead: VecDeque<Indexed>,
}

impl OldIndex {
    fn known(&mut self, entry: &crate::vault::entry::Entry) -> (Option<LocalStamp>, Vec<ContentId>) {
        loop {
            if self.ahead.is_empty() {
                let next = self.index.as_mut().and_then(|index| index.next().ok().flatten());
                match next {
                    Some(indexed) => self.ahead.push_back(indexed),
                    None => return (None, Vec::new()),
                }
            }
            match self.ahead[0].entry.path.cmp(&entry.path) {
                std::cmp::Ordering::Less => drop(self.ahead.pop_front()),
                std::cmp::Ordering::Greater => return (None, Vec::new()),
                std::cmp::Ordering::Equal => break,
            }
        }
        match self.ahead.pop_front() {
            Some(old) if crate::vault::record::logical_record(&old.entry) == crate::vault::record::logical_record(entry) => {
                (old.stamp, old.blocks)
            }
            _ => (None, Vec::new()),
        }
    }
}
