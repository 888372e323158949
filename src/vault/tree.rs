//! Reading the tree as of a commit: a merge of sorted streams, one per run and commit, folded path by path.

use super::directory::{PartRef, State};
use super::entry::{Entry, Node, Record, fold};
use super::error::VaultError;
use super::log::{Commit, View};
use super::meta::Head;
use super::object::ObjectId;
use super::open::Vault;
use super::record::logical_record;
use super::wire::FormatError;
use crate::runtime::{Stop, limits};
use crate::seal::Keys;
use crate::tree::RelPath;
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Streams the live entries in path order. Memory: one frame of records per run and commit.
#[derive(Debug)]
pub struct TreeReader {
    vault: Vault,
    stop: Stop,
    sources: Vec<Source>,
    /// Next path of each source that has one; ties give the older source first.
    heap: BinaryHeap<Reverse<(RelPath, usize)>>,
    started: bool,
    source_name: ObjectId,
}

#[derive(Debug)]
struct Source {
    id: ObjectId,
    queue: VecDeque<Record>,
    head: Option<Head>,
    frame: usize,
    parts: VecDeque<PartRef>,
    last: Option<RelPath>,
}

impl Source {
    fn of_commit(commit: Commit) -> Source {
        let parts = commit.head.directory.parts.clone().into();
        Source { id: ObjectId::commit(commit.seq), queue: VecDeque::new(), head: Some(commit.head), frame: 0, parts, last: None }
    }

    fn of_parts(id: ObjectId, parts: Vec<PartRef>) -> Source {
        Source { id, queue: VecDeque::new(), head: None, frame: 0, parts: parts.into(), last: None }
    }

    /// Makes sure that a record is queued, unless the source is at its end.
    async fn fill(&mut self, vault: &Vault, stop: &Stop) -> Result<(), VaultError> {
        while self.queue.is_empty() {
            if let Some(head) = self.head.as_ref().filter(|head| self.frame < head.frames()) {
                let id = head.opened.id;
                let records = head.records(self.frame).map_err(|what| VaultError::corrupt(id, what))?;
                self.frame += 1;
                self.check_order(id, &records)?;
                self.queue.extend(records);
            } else if let Some(part) = self.parts.pop_front() {
                self.head = Some(read_part(vault, &part, self.id, stop).await?);
                self.frame = 0;
            } else {
                return Ok(());
            }
        }
        Ok(())
    }

    fn check_order(&mut self, id: ObjectId, records: &[Record]) -> Result<(), VaultError> {
        let first = records.first().map(Record::path);
        if first.is_some() && self.last.as_ref() >= first {
            return Err(VaultError::corrupt(id, FormatError::Invalid("its records do not follow those before")));
        }
        self.last = records.last().map(|record| record.path().clone()).or(self.last.take());
        Ok(())
    }
}

/// Reads a run part and makes sure that it is the one that was referred to.
pub(super) async fn read_part(vault: &Vault, part: &PartRef, referrer: ObjectId, stop: &Stop) -> Result<Head, VaultError> {
    let bytes = match vault.bucket.get(stop, &part.object.key(), None).await {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => {
            return Err(VaultError::Missing { object: part.object.key(), referrer: referrer.key() });
        }
        Err(error) => return Err(error.into()),
    };
    if bytes.len() as u64 != part.length {
        return Err(VaultError::corrupt(part.object, FormatError::Invalid("it has another length than its reference says")));
    }
    let head = vault.head_of(part.object, bytes, stop).await?;
    if head.opened.total_len != part.length {
        return Err(VaultError::corrupt(part.object, FormatError::Invalid("it has another length than its header says")));
    }
    let records: u64 = head.directory.meta.iter().map(|frame| u64::from(frame.count)).sum();
    if head.opened.tag != part.tag || records != part.count {
        return Err(VaultError::corrupt(part.object, FormatError::Invalid("it is another object than the one referred to")));
    }
    Ok(head)
}

impl TreeReader {
    /// Reads the tree of a view; `fork` adds what a fenced writer left on top of it.
    pub fn new(vault: &Vault, view: View, fork: Option<Head>, stop: &Stop) -> TreeReader {
        let name = view.tail.last().map_or(ObjectId::commit(0), |commit| ObjectId::commit(commit.seq));
        let runs = view.plan.runs.into_iter().map(|run| Source::of_parts(ObjectId::commit(run.to), run.parts));
        let mut sources: Vec<Source> = runs.chain(view.tail.into_iter().map(Source::of_commit)).collect();
        if let Some(head) = fork {
            let parts = head.directory.parts.clone().into();
            sources.push(Source { id: head.opened.id, queue: VecDeque::new(), head: Some(head), frame: 0, parts, last: None });
        }
        TreeReader {
            vault: vault.clone(),
            stop: stop.clone(),
            sources,
            heap: BinaryHeap::new(),
            started: false,
            source_name: name,
        }
    }

    async fn queue_next(&mut self, index: usize) -> Result<(), VaultError> {
        let source = &mut self.sources[index];
        source.fill(&self.vault, &self.stop).await?;
        if let Some(record) = source.queue.front() {
            self.heap.push(Reverse((record.path().clone(), index)));
        }
        Ok(())
    }

    /// The next live entry. Not cancel-safe: drop the reader with the future.
    pub async fn next(&mut self) -> Result<Option<Entry>, VaultError> {
        if !self.started {
            self.started = true;
            for index in 0..self.sources.len() {
                self.queue_next(index).await?;
            }
        }
        while let Some(Reverse((path, index))) = self.heap.pop() {
            let mut records = Vec::with_capacity(1);
            records.extend(self.sources[index].queue.pop_front());
            self.queue_next(index).await?;
            while let Some(Reverse((same, other))) = self.heap.peek()
                && *same == path
            {
                let other = *other;
                self.heap.pop();
                records.extend(self.sources[other].queue.pop_front());
                self.queue_next(other).await?;
            }
            let folded = fold(records);
            let entry = folded.map_err(|_| {
                VaultError::corrupt(self.source_name, FormatError::Invalid("a patch does not fit the file it changes"))
            })?;
            if entry.is_some() {
                return Ok(entry);
            }
        }
        Ok(None)
    }
}

/// Adds and removes entries from a tree's totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// The totals.
    pub state: State,
}

impl Tally {
    /// Starts from known totals.
    pub fn from(state: State) -> Tally {
        Tally { state }
    }

    /// An entry came to be.
    pub fn add(&mut self, keys: &Keys, entry: &Entry) {
        self.state.add_term(&keys.state_term(&logical_record(entry)));
        match entry.node {
            Node::Directory => self.state.dirs += 1,
            _ => self.state.files += 1,
        }
        self.state.bytes = self.state.bytes.wrapping_add(entry.node.size());
    }

    /// An entry is no more.
    pub fn remove(&mut self, keys: &Keys, entry: &Entry) {
        self.state.remove_term(&keys.state_term(&logical_record(entry)));
        match entry.node {
            Node::Directory => self.state.dirs = self.state.dirs.wrapping_sub(1),
            _ => self.state.files = self.state.files.wrapping_sub(1),
        }
        self.state.bytes = self.state.bytes.wrapping_sub(entry.node.size());
    }
}

/// The bytes of a whole object.
pub async fn read_whole(vault: &Vault, id: ObjectId, stop: &Stop) -> Result<Bytes, VaultError> {
    let bytes = vault.bucket.get(stop, &id.key(), None).await?;
    if bytes.len() as u64 > limits::OBJECT_CAP_BYTES {
        return Err(VaultError::corrupt(id, FormatError::Invalid("it is larger than any object of a vault")));
    }
    Ok(bytes)
}
