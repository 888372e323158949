//! Work for the processors: identities and compression of what was read, in portions.

use crate::seal::{ContentId, Keys, ShortId};
use crate::tree::Found;
use crate::vault::container::{Compression, Frame};
use crate::vault::entry::{Content, Entry, Extra, Node};
use crate::vault::index::{Indexed, LocalStamp};
use crate::vault::pack::Contained;
use crate::vault::record::logical_record;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A change on its way into the commit. Its references into packs of this push count from the first data frame until
/// the pack is sealed.
#[derive(Debug, Clone)]
pub enum Captured {
    /// The entry is this now.
    Upsert(Box<Indexed>),
    /// A file in blocks changed in some of them.
    Patch(Box<Indexed>, Box<crate::vault::entry::Patch>),
    /// The entry is gone.
    Delete(Box<Indexed>),
    /// Only what the local index knows about the local file has changed.
    Refresh(Box<Indexed>),
}

/// What is known of a file that is about to be stored, beside its content.
#[derive(Debug)]
pub struct Subject {
    /// As the scan or a second look saw it.
    pub found: Found,
    /// Rare metadata.
    pub extra: Extra,
    /// What the vault has at this path.
    pub before: Option<Box<Indexed>>,
    /// What the index will remember.
    pub stamp: Option<LocalStamp>,
}

/// The change that a looked-at entry amounts to.
pub fn finished(subject: Subject, node: Node, blocks: Vec<ContentId>) -> Captured {
    let Subject { found, extra, before, stamp } = subject;
    let entry = Entry { path: found.path, attributes: found.attributes, node, extra };
    match before {
        Some(before) if logical_record(&before.entry) == logical_record(&entry) => {
            let blocks = if blocks.is_empty() { before.blocks } else { blocks };
            Captured::Refresh(Box::new(Indexed { entry: before.entry, stamp, blocks }))
        }
        _ => Captured::Upsert(Box::new(Indexed { entry, stamp, blocks })),
    }
}

/// Small files and finished changes, in path order.
#[derive(Debug, Default)]
pub struct SmallBatch {
    /// What is in it.
    pub items: Vec<SmallItem>,
    /// Contents of the small files, joined.
    pub bytes: Vec<u8>,
}

/// One item of a [`SmallBatch`].
#[derive(Debug)]
pub enum SmallItem {
    /// Needs no work.
    Ready(Captured),
    /// A small file; its content is the next `length` bytes.
    File(Box<Subject>, usize),
}

/// A [`SmallBatch`] after the work.
#[derive(Debug)]
pub struct SmallDone {
    /// The frame of what is new, its plain length and what it holds.
    pub frame: Option<(Frame, u32, Vec<Contained>)>,
    /// The items; those in the frame know where.
    pub items: Vec<SmallPlaced>,
}

/// One item after the work.
#[derive(Debug)]
pub enum SmallPlaced {
    /// As it was.
    Ready(Captured),
    /// A file whose content is at hand.
    Known(Subject, ShortId, Content),
    /// A file whose content lies at this place of the batch's frame.
    Framed(Subject, ContentId, u32),
}

/// Contents stored lately, by identity: finds copies and renames. Forgets; nothing depends on it.
#[derive(Debug, Clone, Default)]
pub struct Memo {
    known: Arc<Mutex<HashMap<ShortId, (u64, Content)>>>,
}

impl Memo {
    /// Remembers where a content lies, while there is room.
    pub fn remember(&self, id: ShortId, size: u64, content: &Content) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < crate::runtime::limits::DEDUP_ENTRIES {
            known.insert(id, (size, content.clone()));
        }
    }

    /// Large contents of this length and block size.
    pub fn large(&self, size: u64, log2: u8) -> Vec<(ShortId, Content)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |content: &Content| matches!(content, Content::Blocks { log2_block, .. } if *log2_block == log2);
        known
            .iter()
            .filter(|(_, (length, content))| *length == size && fits(content))
            .map(|(id, (_, c))| (*id, c.clone()))
            .collect()
    }

    fn find(&self, id: ShortId, size: u64) -> Option<Content> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&id).filter(|(length, _)| *length == size).map(|(_, content)| content.clone())
    }
}

impl SmallBatch {
    /// Hashes the files and packs the contents that are new into one frame.
    pub fn work(self, keys: &Keys, memo: &Memo, compression: Compression) -> SmallDone {
        let mut body = Vec::with_capacity(self.bytes.len());
        let mut contents = Vec::new();
        let mut items = Vec::with_capacity(self.items.len());
        let mut rest = &self.bytes[..];
        for item in self.items {
            let (subject, content) = match item {
                SmallItem::Ready(captured) => {
                    items.push(SmallPlaced::Ready(captured));
                    continue;
                }
                SmallItem::File(subject, length) => {
                    let (content, left) = rest.split_at(length);
                    rest = left;
                    (*subject, content)
                }
            };
            let id = keys.content_id(content);
            if let Some(known) = known_content(&subject, id.short(), content, memo) {
                items.push(SmallPlaced::Known(subject, id.short(), known));
                continue;
            }
            let inner = body.len() as u32;
            contents.push(Contained { id, inner, length: content.len() as u32 });
            body.extend_from_slice(content);
            items.push(SmallPlaced::Framed(subject, id, inner));
        }
        let frame = (!contents.is_empty()).then(|| (Frame::pack(&body, compression), body.len() as u32, contents));
        SmallDone { frame, items }
    }
}

fn known_content(subject: &Subject, id: ShortId, content: &[u8], memo: &Memo) -> Option<Content> {
    let size = content.len() as u64;
    if content.is_empty() {
        return Some(Content::Empty);
    }
    if let Some(before) = &subject.before
        && let Node::File { size: old, hash, content } = &before.entry.node
        && *old == size
        && *hash == id
        && !matches!(content, Content::Blocks { .. })
    {
        return Some(content.clone());
    }
    if content.len() <= crate::runtime::limits::LITERAL_BYTES {
        return Some(Content::Literal(content.to_vec()));
    }
    memo.find(id, size).filter(|content| !matches!(content, Content::Blocks { .. }))
}

/// Consecutive blocks of a large file.
#[derive(Debug)]
pub struct BlockBatch {
    /// Block size.
    pub block_bytes: usize,
    /// The blocks, joined; empty for a hole.
    pub bytes: Vec<u8>,
    /// Number of blocks when `bytes` is empty: all of them holes.
    pub holes: u64,
    /// Identities the blocks had before, as far as known.
    pub before: Vec<ContentId>,
}

/// One block after the work.
#[derive(Debug)]
pub enum BlockDone {
    /// All zeros.
    Hole,
    /// As before.
    Same(ContentId),
    /// New: to be stored.
    New(ContentId, Frame, u32),
}

impl BlockBatch {
    /// Hashes the blocks and packs those that changed.
    pub fn work(self, keys: &Keys, compression: Compression) -> Vec<BlockDone> {
        let mut done: Vec<BlockDone> = (0..self.holes).map(|_| BlockDone::Hole).collect();
        for (index, block) in self.bytes.chunks(self.block_bytes).enumerate() {
            if is_zero(block) {
                done.push(BlockDone::Hole);
                continue;
            }
            let id = keys.content_id(block);
            done.push(match self.before.get(index) {
                Some(before) if *before == id => BlockDone::Same(id),
                _ => BlockDone::New(id, Frame::pack(block, compression), block.len() as u32),
            });
        }
        done
    }
}

/// Word by word: this runs over every byte that is read.
fn is_zero(block: &[u8]) -> bool {
    let words = block.chunks_exact(8);
    words.remainder().iter().all(|byte| *byte == 0) && block.chunks_exact(8).all(|word| word == [0; 8])
}
