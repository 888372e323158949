//! What the vault keeps of an entry, and where its content lies.

use super::object::ObjectId;
use crate::seal::ShortId;
use crate::tree::{Attributes, FileType, RelPath};

/// One live entry of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: RelPath,
    /// Mode, owner, mtime.
    pub attributes: Attributes,
    /// What is there.
    pub node: Node,
    /// Rarely used metadata.
    pub extra: Extra,
}

impl Entry {
    /// Replaces the object and offset of each reference.
    pub fn relocate(&mut self, to: &mut impl FnMut(ObjectId, u64) -> (ObjectId, u64)) {
        if let Node::File { content, .. } = &mut self.node {
            content.relocate(to);
        }
    }

    /// The block size of a file in blocks, else 0.
    pub fn block_bytes(&self) -> u64 {
        match &self.node {
            Node::File { content: Content::Blocks { log2_block, .. }, .. } => 1 << log2_block,
            _ => 0,
        }
    }

    /// Calls `each` with the object of each reference.
    pub fn objects(&self, each: &mut impl FnMut(ObjectId)) {
        match &self.node {
            Node::File { content: Content::Slice { frame, .. }, .. } => each(frame.object),
            Node::File { content: Content::Blocks { runs, .. }, .. } => {
                runs.iter().for_each(|run| run.object().into_iter().for_each(&mut *each))
            }
            _ => {}
        }
    }
}

/// The entry itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// Short identity of the content: of all of it, or of its blocks' identities.
        hash: ShortId,
        /// Where the bytes are.
        content: Content,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Its target, bytes as stored in the link.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
}

impl Node {
    /// Its type.
    pub fn file_type(&self) -> FileType {
        match self {
            Node::File { .. } => FileType::File,
            Node::Directory => FileType::Directory,
            Node::Symlink { .. } => FileType::Symlink,
            Node::Fifo => FileType::Fifo,
        }
    }

    /// Length in bytes; 0 unless a file.
    pub fn size(&self) -> u64 {
        match self {
            Node::File { size, .. } => *size,
            _ => 0,
        }
    }
}

/// Metadata few entries have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extra {
    /// Files with the same group are names of one file.
    pub hard_link: Option<[u8; 16]>,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The file had holes: runs of zero pages are not written on restore.
    pub sparse: bool,
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// No bytes.
    Empty,
    /// In the record itself.
    Literal(Vec<u8>),
    /// Part of a frame shared with other small files.
    Slice {
        /// The frame.
        frame: FrameRef,
        /// Where in its body.
        inner: u32,
    },
    /// Blocks of 2^`log2_block` bytes, the last one shorter.
    Blocks {
        /// Block size as a power of two.
        log2_block: u8,
        /// All blocks in order.
        runs: Vec<BlockRun>,
    },
}

impl Content {
    /// Replaces the object and offset of each reference.
    pub fn relocate(&mut self, to: &mut impl FnMut(ObjectId, u64) -> (ObjectId, u64)) {
        match self {
            Content::Slice { frame, .. } => (frame.object, frame.offset) = to(frame.object, frame.offset),
            Content::Blocks { runs, .. } => runs.iter_mut().for_each(|run| run.relocate(to)),
            Content::Empty | Content::Literal(_) => {}
        }
    }
}

/// A stored data frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameRef {
    /// In which object.
    pub object: ObjectId,
    /// Byte offset in the object.
    pub offset: u64,
    /// Stored length.
    pub length: u32,
}

/// Consecutive blocks of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockRun {
    /// So many blocks of zeros.
    Hole(u64),
    /// Blocks whose frames lie back to back.
    Stored {
        /// In which object.
        object: ObjectId,
        /// Offset of the first frame.
        offset: u64,
        /// Stored length of each frame.
        lengths: Vec<u32>,
    },
}

impl BlockRun {
    /// Replaces the object and offset.
    pub fn relocate(&mut self, to: &mut impl FnMut(ObjectId, u64) -> (ObjectId, u64)) {
        if let BlockRun::Stored { object, offset, .. } = self {
            (*object, *offset) = to(*object, *offset);
        }
    }

    /// The object it lies in; `None` for a hole.
    pub fn object(&self) -> Option<ObjectId> {
        match self {
            BlockRun::Hole(_) => None,
            BlockRun::Stored { object, .. } => Some(*object),
        }
    }

    /// Number of blocks.
    pub fn count(&self) -> u64 {
        match self {
            BlockRun::Hole(count) => *count,
            BlockRun::Stored { lengths, .. } => lengths.len() as u64,
        }
    }
}

/// Number of blocks of a file.
pub fn block_count(size: u64, log2_block: u8) -> u64 {
    size.div_ceil(1 << log2_block)
}

/// Block size for a new file of this size, as a power of two (FORMAT.md, "Blocks").
pub fn block_class(size: u64) -> u8 {
    match size {
        0..=0x4000_0000 => 16,
        0x4000_0001..=0x4_0000_0000 => 18,
        0x4_0000_0001..=0x40_0000_0000 => 20,
        _ => 22,
    }
}

/// The block size to keep when a file that has one changes its size: only a file that outgrew its class four times
/// over is cut anew, because that stores it anew.
pub fn block_class_of_changed(size: u64, before: u8) -> u8 {
    let class = block_class(size);
    if class <= before || block_class(size / 4) <= before { before } else { class }
}

/// Unfolds runs into single blocks: `None` is a hole.
pub fn blocks_of(runs: &[BlockRun]) -> Vec<Option<FrameRef>> {
    let mut blocks = Vec::new();
    for run in runs {
        match run {
            BlockRun::Hole(count) => blocks.extend(std::iter::repeat_n(None, *count as usize)),
            BlockRun::Stored { object, offset, lengths } => {
                let mut at = *offset;
                for length in lengths {
                    blocks.push(Some(FrameRef { object: *object, offset: at, length: *length }));
                    at += u64::from(*length);
                }
            }
        }
    }
    blocks
}

/// Folds single blocks into runs.
#[derive(Debug, Default)]
pub struct RunBuilder {
    runs: Vec<BlockRun>,
    end: u64,
}

impl RunBuilder {
    /// Adds the next block; `None` is a hole.
    pub fn push(&mut self, block: Option<FrameRef>) {
        match (self.runs.last_mut(), block) {
            (Some(BlockRun::Hole(count)), None) => *count += 1,
            (_, None) => self.runs.push(BlockRun::Hole(1)),
            (Some(BlockRun::Stored { object, lengths, .. }), Some(frame))
                if *object == frame.object && self.end == frame.offset =>
            {
                lengths.push(frame.length);
                self.end = frame.offset + u64::from(frame.length);
            }
            (_, Some(frame)) => {
                self.end = frame.offset + u64::from(frame.length);
                self.runs.push(BlockRun::Stored { object: frame.object, offset: frame.offset, lengths: vec![frame.length] });
            }
        }
    }

    /// The runs.
    pub fn finish(self) -> Vec<BlockRun> {
        self.runs
    }
}

/// A change to one path in a commit or run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The path is no more.
    Delete(RelPath),
    /// The path is this now.
    Upsert(Entry),
    /// A file kept in blocks changed in some of them.
    Patch(Patch),
}

impl Record {
    /// Which path.
    pub fn path(&self) -> &RelPath {
        match self {
            Record::Delete(path) => path,
            Record::Upsert(entry) => &entry.path,
            Record::Patch(patch) => &patch.path,
        }
    }
}

/// New metadata of a file and those of its blocks that changed. Blocks past the new end are gone; every block past
/// the old end is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// Where.
    pub path: RelPath,
    /// New mode, owner, mtime.
    pub attributes: Attributes,
    /// New length.
    pub size: u64,
    /// New identity.
    pub hash: ShortId,
    /// Block size of the file, unchanged.
    pub log2_block: u8,
    /// Changed runs: first block and the blocks, ascending, not overlapping.
    pub runs: Vec<(u64, BlockRun)>,
    /// New rare metadata, all of it.
    pub extra: Extra,
}

/// A patch that does not fit what it should change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a patch does not fit the file it changes")]
pub struct BadPatch;

impl Patch {
    /// The blocks as this patch leaves them.
    fn apply_blocks(&self, mut blocks: Vec<Option<FrameRef>>) -> Result<Vec<Option<FrameRef>>, BadPatch> {
        let count = block_count(self.size, self.log2_block) as usize;
        let before = blocks.len();
        blocks.resize(count, None);
        let mut listed_past_end = 0;
        for (first, run) in &self.runs {
            for (index, block) in (*first as usize..).zip(blocks_of(std::slice::from_ref(run))) {
                *blocks.get_mut(index).ok_or(BadPatch)? = block;
                listed_past_end += usize::from(index >= before);
            }
        }
        if listed_past_end == count.saturating_sub(before) { Ok(blocks) } else { Err(BadPatch) }
    }

    /// What the entry is after this patch.
    pub fn apply(&self, entry: &Entry) -> Result<Entry, BadPatch> {
        let Node::File { content: Content::Blocks { log2_block, runs }, .. } = &entry.node else { return Err(BadPatch) };
        if *log2_block != self.log2_block {
            return Err(BadPatch);
        }
        let blocks = self.apply_blocks(blocks_of(runs))?;
        let mut folded = RunBuilder::default();
        blocks.into_iter().for_each(|block| folded.push(block));
        let content = Content::Blocks { log2_block: self.log2_block, runs: folded.finish() };
        Ok(Entry {
            path: self.path.clone(),
            attributes: self.attributes,
            node: Node::File { size: self.size, hash: self.hash, content },
            extra: self.extra.clone(),
        })
    }
}

/// What one path's records, oldest first, leave: `None` when it is no more.
pub fn fold(records: Vec<Record>) -> Result<Option<Entry>, BadPatch> {
    let mut live: Option<Entry> = None;
    for record in records {
        live = match record {
            Record::Delete(_) => None,
            Record::Upsert(entry) => Some(entry),
            Record::Patch(patch) => Some(patch.apply(live.as_ref().ok_or(BadPatch)?)?),
        };
    }
    Ok(live)
}
