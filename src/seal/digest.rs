//! Identities of contents: keyed BLAKE3, so that they say nothing without the key.

/// The full identity of a content, 32 bytes. De-duplication compares these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentId(pub [u8; 32]);

/// Bytes of a [`ShortId`].
pub const SHORT_ID_BYTES: usize = 16;

/// The first half of an identity: detects errors and renames, decides nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ShortId(pub [u8; SHORT_ID_BYTES]);

impl ContentId {
    /// Stands for a block of zeros that is not stored.
    pub const HOLE: ContentId = ContentId([0; 32]);

    /// The first half.
    pub fn short(&self) -> ShortId {
        let mut short = [0; SHORT_ID_BYTES];
        short.copy_from_slice(&self.0[..SHORT_ID_BYTES]);
        ShortId(short)
    }
}

/// Gathers the identity of a file that is kept in blocks from its blocks' identities, in order.
#[derive(Debug, Clone)]
pub struct BlockIds {
    hasher: blake3::Hasher,
}

impl BlockIds {
    pub(super) fn start(key: &[u8; 32], log2_block: u8, size: u64) -> BlockIds {
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(b"blk").update(&[log2_block]).update(&size.to_le_bytes());
        BlockIds { hasher }
    }

    /// Adds the next block.
    pub fn push(&mut self, id: &ContentId) {
        self.hasher.update(&id.0);
    }

    /// The file's identity.
    pub fn finish(&self) -> ShortId {
        ContentId(*self.hasher.finalize().as_bytes()).short()
    }
}

/// An unkeyed checksum for local files, against torn writes; not for anything an enemy could write.
pub fn checksum(bytes: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    sum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    sum
}

/// Length of a part of a [`FileDigest`]; the last may be shorter.
pub const DIGEST_PART_BYTES: usize = 8 << 20;

/// The unkeyed identity of a file's content, for stores that keep it in the open: BLAKE3 of the content, or, where it is
/// longer than one part, of its parts' BLAKE3 digests; the first 16 bytes.
#[derive(Debug, Clone, Default)]
pub struct FileDigest {
    parts: Vec<[u8; 32]>,
}

impl FileDigest {
    /// Of a content that is no longer than one part.
    pub fn of(content: &[u8]) -> ShortId {
        let mut digest = FileDigest::default();
        digest.push(content);
        digest.finish()
    }

    /// Adds the next part: [`DIGEST_PART_BYTES`], or what is left at the end.
    pub fn push(&mut self, part: &[u8]) {
        self.parts.push(*blake3::hash(part).as_bytes());
    }

    /// Adds parts that were digested elsewhere.
    pub fn append(&mut self, next: FileDigest) {
        self.parts.extend(next.parts);
    }

    /// The identity of all parts.
    pub fn finish(&self) -> ShortId {
        match self.parts.as_slice() {
            [] => ContentId(*blake3::hash(&[]).as_bytes()).short(),
            [one] => ContentId(*one).short(),
            parts => ContentId(*blake3::hash(parts.as_flattened()).as_bytes()).short(),
        }
    }
}
