//! The local index made again: from the remote, or from itself once the volume is in place.

use super::session::{INDEX, INDEX_NEXT, Memory, SessionError};
use crate::disk::{DiskError, StateFile};
use crate::runtime::Stop;
use crate::seal::ContentId;
use crate::vault::error::VaultError;
use crate::vault::index::{IndexError, IndexHeader, IndexReader, IndexWriter, Indexed, LocalStamp};
use crate::vault::log::Commit;
use crate::vault::object::ObjectId;
use crate::vault::tree::{Tally, TreeReader};
use std::collections::VecDeque;
use std::io::{BufReader, BufWriter};

const INDEX_REVISED: &str = "index.revised";

impl Memory {
    /// Makes the index of a commit's tree from the remote, keeping what the old index knows about local files whose
    /// recorded content is the same.
    pub async fn rebuild_index(&self, commit: Commit, stop: &Stop) -> Result<(), SessionError> {
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
        self.state.publish(INDEX_NEXT, INDEX)?;
        Ok(())
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
        let Some(file) = self.state.open_file(INDEX)? else { return Ok(OldIndex { reader: None, ahead: VecDeque::new() }) };
        let reader = IndexReader::open(BufReader::new(file)).ok().filter(|reader| reader.header().vault_id == self.vault.id);
        Ok(OldIndex { reader, ahead: VecDeque::new() })
    }
}

/// An older index read beside a newer tree. Its damage costs only what it knew.
struct OldIndex {
    reader: Option<IndexReader<BufReader<StateFile>>>,
    ahead: VecDeque<Indexed>,
}

impl OldIndex {
    fn known(&mut self, entry: &crate::vault::entry::Entry) -> (Option<LocalStamp>, Vec<ContentId>) {
        loop {
            if self.ahead.is_empty() {
                let next = self.reader.as_mut().and_then(|reader| reader.next().ok().flatten());
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
