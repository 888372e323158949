//! From captured changes to a commit: the changes beside the old index, path by path, into records, totals and the new
//! index.

use super::PushError;
use super::batch::Captured;
use super::capture::next_known;
use super::pipeline::{Outbox, PackIdentity};
use super::spool::ChangeReader;
use crate::disk::StateFile;
use crate::plan::{Deletes, HoldReason, Side, side};
use crate::remote::LocalIndex;
use crate::runtime::limits;
use crate::tree::RelPath;
use crate::vault::container::{Parts, Sealed};
use crate::vault::directory::{Directory, PartRef, State, Table};
use crate::vault::entry::{Node, Record};
use crate::vault::error::VaultError;
use crate::vault::index::{IndexHeader, IndexWriter, Indexed};
use crate::vault::meta::{MetaFrames, MetaWriter};
use crate::vault::object::{ObjectId, ObjectKind};
use crate::vault::overlay::Changes;
use crate::vault::pack::Pack;
use crate::vault::tree::Tally;
use std::io::BufWriter;

/// What is put together.
pub struct Assembly {
    /// Under whose names.
    pub identity: PackIdentity,
    /// The changes.
    pub spool: ChangeReader,
    /// What the vault had where the changes are: all of it, or the parts that were looked at.
    pub index: Option<LocalIndex>,
    /// What becomes of the local index.
    pub next: NextIndex,
    /// Data that the commit carries itself.
    pub inline: Option<Pack>,
    /// Whether deletes are carried over.
    pub deletes: Deletes,
    /// For records that are too many for the commit.
    pub outbox: Option<Outbox>,
}

/// What becomes of the local index.
pub enum NextIndex {
    /// It is written anew, into this file, with what its header says for now.
    Whole(StateFile, IndexHeader),
    /// The changes are put beside it; these are the totals before them.
    Beside(State),
}

/// The local index after a push.
pub enum After {
    /// Written anew, without its final header.
    Whole(BufWriter<StateFile>),
    /// What differs from the one before.
    Beside(Changes),
}

/// A commit's content, ready to be sealed.
pub struct Assembled {
    /// The local index after.
    pub index: After,
    /// Totals after.
    pub tally: Tally,
    /// Records in the commit.
    pub records: u64,
    /// New entries.
    pub added: u64,
    /// Changed entries.
    pub changed: u64,
    /// Deleted entries.
    pub deleted: u64,
    /// Deletes that were held but had to make way: something that is no directory lies above them now.
    pub displaced: u64,
    /// Entries in the place of a directory whose deletes are held by the fuse: held with them.
    pub replacing: u64,
    /// Whether the local index says anything new.
    pub refreshed: bool,
    /// The next unused counter.
    pub counter: u32,
    meta: MetaFrames,
    parts: Vec<PartRef>,
    table: Option<Table>,
    inline: Option<Pack>,
}

impl Assembled {
    /// Seals the commit. `directory` has everything but the lists of what the commit holds, and comes back with them.
    pub fn seal(
        self,
        vault: &crate::vault::open::Vault,
        id: ObjectId,
        directory: Directory,
    ) -> Result<(Sealed, Directory, After), PushError> {
        let (toc, data) = self.inline.map_or_else(Default::default, Pack::into_frames);
        let mut directory = Directory {
            meta: self.meta.listed,
            toc: toc.iter().map(|frame| frame.stored_len() as u32).collect(),
            table: self.table.unwrap_or(self.meta.table).into_lines(),
            parts: self.parts,
            state: self.tally.state,
            ..directory
        };
        directory.tail_bytes += directory.held_bytes();
        let parts = Parts { directory: directory.encode(), meta: self.meta.frames, toc, data };
        let sealed = parts.seal(vault.identity(), id).map_err(|what| VaultError::corrupt(id, what))?;
        Ok((sealed, directory, self.index))
    }
}

enum Next {
    Whole(IndexWriter<BufWriter<StateFile>>),
    Beside(Changes),
}

/// What a live entry is to the local index.
#[derive(Clone, Copy, PartialEq, Eq)]
enum News {
    /// As before.
    None,
    /// The vault has it, but the index learned something about the local file.
    Local,
    /// New or changed.
    Entry,
}

struct Work {
    identity: PackIdentity,
    outbox: Option<Outbox>,
    next: Next,
    meta: MetaWriter,
    parts: Vec<PartRef>,
    first: Option<Vec<u8>>,
    tally: Tally,
    /// Records may leave the commit for parts only when none of them refers to the commit's own data.
    may_split: bool,
    deletes: Deletes,
    /// The last live entry that is no directory: nothing may stay below it.
    over: Option<RelPath>,
    counts: [u64; 3],
    displaced: u64,
    replacing: u64,
    records: u64,
    refreshed: bool,
}

impl Assembly {
    /// Merges; runs on a blocking thread.
    pub fn run(self) -> Result<Assembled, PushError> {
        let Assembly { identity, mut spool, mut index, next, inline, deletes, outbox } = self;
        let (next, before) = match next {
            NextIndex::Whole(file, header) => {
                (Next::Whole(IndexWriter::start(BufWriter::with_capacity(256 << 10, file), &header)?), State::default())
            }
            NextIndex::Beside(before) => (Next::Beside(Changes::new()), before),
        };
        let mut work = Work {
            next,
            meta: MetaWriter::new(identity.commit),
            parts: Vec::new(),
            first: None,
            tally: Tally::from(before),
            may_split: inline.is_none(),
            deletes,
            over: None,
            counts: [0; 3],
            displaced: 0,
            replacing: 0,
            records: 0,
            refreshed: false,
            identity,
            outbox,
        };
        let mut change = spool.next()?;
        let mut known = next_known(&mut index)?;
        while let Some(side) = side(change.as_ref().map(path_of), known.as_ref().map(|known| &known.entry.path)) {
            match side {
                Side::Left => work.change(change.take(), None)?,
                Side::Right => work.keep_unless_displaced(known.take(), change.as_ref())?,
                Side::Both => work.change(change.take(), known.take())?,
            }
            if change.is_none() {
                change = spool.next()?;
            }
            if known.is_none() {
                known = next_known(&mut index)?;
            }
        }
        work.finish(inline)
    }
}

fn is_directory(indexed: &Indexed) -> bool {
    indexed.entry.node == Node::Directory
}

fn path_of(captured: &Captured) -> &RelPath {
    match captured {
        Captured::Upsert(indexed) | Captured::Patch(indexed, _) | Captured::Delete(indexed) | Captured::Refresh(indexed) => {
            &indexed.entry.path
        }
    }
}

impl Work {
    fn keep(&mut self, known: Option<Indexed>) -> Result<(), PushError> {
        if let Some(known) = known {
            self.live(&known, News::None)?;
        }
        Ok(())
    }

    /// An entry that this push leaves alone, unless the next change shows that it has become a directory.
    fn keep_unless_displaced(&mut self, known: Option<Indexed>, next: Option<&Captured>) -> Result<(), PushError> {
        let Some(known) = known else { return Ok(()) };
        let path = &known.entry.path;
        let inside = next.is_some_and(|next| !matches!(next, Captured::Delete(_)) && path_of(next).is_within(path));
        if inside && !is_directory(&known) {
            self.counts[2] += 1;
            self.gone(&known);
            return self.record(&Record::Delete(known.entry.path));
        }
        self.live(&known, News::None)
    }

    fn live(&mut self, indexed: &Indexed, news: News) -> Result<(), PushError> {
        let entry = &indexed.entry;
        if !is_directory(indexed) {
            self.over = Some(entry.path.clone());
        }
        let counts = match &mut self.next {
            Next::Whole(writer) => {
                writer.push(indexed)?;
                true
            }
            Next::Beside(changes) => {
                if news != News::None {
                    changes.insert(entry.path.clone(), Some(indexed.clone()));
                }
                news == News::Entry
            }
        };
        if counts {
            self.tally.add(self.identity.vault.keys(), entry);
        }
        Ok(())
    }

    /// What the vault had is replaced. Where the index is written anew, it was never added.
    fn replaced(&mut self, known: Option<&Indexed>) {
        if let (Next::Beside(_), Some(known)) = (&self.next, known) {
            self.tally.remove(self.identity.vault.keys(), &known.entry);
        }
    }

    /// What the vault had is no more.
    fn gone(&mut self, known: &Indexed) {
        self.replaced(Some(known));
        if let Next::Beside(changes) = &mut self.next {
            changes.insert(known.entry.path.clone(), None);
        }
    }

    fn change(&mut self, change: Option<Captured>, known: Option<Indexed>) -> Result<(), PushError> {
        match change {
            None => self.keep(known),
            // A directory goes with what is in it, or stays with it.
            Some(Captured::Upsert(indexed))
                if self.deletes == Deletes::Held(HoldReason::Fuse)
                    && !is_directory(&indexed)
                    && known.as_ref().is_some_and(is_directory) =>
            {
                self.replacing += 1;
                self.keep(known)
            }
            Some(Captured::Upsert(indexed)) => {
                self.replaced(known.as_ref());
                self.live(&indexed, News::Entry)?;
                self.counts[usize::from(known.is_some())] += 1;
                self.record(&Record::Upsert(indexed.entry))
            }
            Some(Captured::Patch(indexed, patch)) => {
                self.replaced(known.as_ref());
                self.live(&indexed, News::Entry)?;
                self.counts[1] += 1;
                self.record(&Record::Patch(*patch))
            }
            Some(Captured::Refresh(indexed)) => {
                self.refreshed = true;
                self.live(&indexed, News::Local)
            }
            Some(Captured::Delete(indexed)) => {
                if self.deletes != Deletes::Carried {
                    if !self.over.as_ref().is_some_and(|over| indexed.entry.path.is_within(over)) {
                        return self.keep(known);
                    }
                    self.displaced += 1;
                }
                self.counts[2] += 1;
                self.gone(&indexed);
                self.record(&Record::Delete(indexed.entry.path.clone()))
            }
        }
    }

    fn record(&mut self, record: &Record) -> Result<(), PushError> {
        if self.may_split && self.meta.stored_len() >= limits::RUN_PART_BYTES {
            self.close_part()?;
        }
        self.first.get_or_insert_with(|| record.path().as_bytes().to_vec());
        let commit = self.identity.commit;
        self.meta.push(record).map_err(|what| VaultError::corrupt(commit, what))?;
        self.records += 1;
        Ok(())
    }

    fn close_part(&mut self) -> Result<(), PushError> {
        let id = ObjectId::of_claim(ObjectKind::Run, self.identity.claim, self.identity.counter);
        self.identity.counter += 1;
        let meta = std::mem::replace(&mut self.meta, MetaWriter::new(self.identity.commit)).finish();
        let Some(outbox) = &self.outbox else { return Ok(()) };
        let room = outbox.wait_for_room()?;
        let count = meta.records;
        let sealed = seal_part(&self.identity, id, meta)?;
        let (length, tag) = (sealed.bytes.len() as u64, sealed.tag);
        self.parts.push(PartRef { object: id, length, tag, first: self.first.take().unwrap_or_default(), count });
        outbox.send(sealed, room)
    }

    fn finish(mut self, inline: Option<Pack>) -> Result<Assembled, PushError> {
        let mut table = None;
        if self.may_split && (!self.parts.is_empty() || self.meta.stored_len() > limits::COMMIT_META_BYTES) {
            if self.first.is_some() {
                self.close_part()?;
            }
            table = Some(Table::new(self.identity.commit));
        }
        let index = match self.next {
            Next::Whole(writer) => After::Whole(writer.finish(&self.tally.state)?),
            Next::Beside(changes) => After::Beside(changes),
        };
        let [added, changed, deleted] = self.counts;
        Ok(Assembled {
            index,
            tally: self.tally,
            records: self.records,
            added,
            changed,
            deleted,
            displaced: self.displaced,
            replacing: self.replacing,
            refreshed: self.refreshed,
            counter: self.identity.counter,
            meta: self.meta.finish(),
            parts: self.parts,
            table,
            inline,
        })
    }
}

/// Seals records as a run part.
pub fn seal_part(identity: &PackIdentity, id: ObjectId, meta: MetaFrames) -> Result<Sealed, VaultError> {
    let directory = Directory {
        epoch: identity.claim.epoch,
        nonce: identity.claim.nonce,
        writer: identity.writer,
        labels: identity.labels.clone(),
        meta: meta.listed,
        table: meta.table.into_lines(),
        ..Directory::default()
    };
    let parts = Parts { directory: directory.encode(), meta: meta.frames, ..Parts::default() };
    parts.seal(identity.vault.identity(), id).map_err(|what| VaultError::corrupt(id, what))
}
