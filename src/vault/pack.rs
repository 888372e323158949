//! Contents gathered into data frames: sealed as a pack, or carried inside a commit.

use super::container::{Frame, Identity, Parts, Sealed};
use super::directory::{Directory, Labels};
use super::entry::FrameRef;
use super::object::{Claim, ObjectId};
use super::wire::{FormatError, Reader, put_varint};
use crate::runtime::limits;
use crate::seal::ContentId;

/// One content inside a data frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contained {
    /// Its identity.
    pub id: ContentId,
    /// Where in the frame's body.
    pub inner: u32,
    /// Its length.
    pub length: u32,
}

/// A data frame as a TOC lists it; the offset counts from the first data frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TocLine {
    /// Offset from the first data frame.
    pub offset: u32,
    /// Stored length.
    pub stored: u32,
    /// Length of its body.
    pub plain: u32,
    /// What it holds.
    pub contents: Vec<Contained>,
}

/// Data frames being gathered. Offsets of references into it count from the first data frame until it is sealed.
#[derive(Debug)]
pub struct Pack {
    id: ObjectId,
    frames: Vec<Frame>,
    toc: Vec<TocLine>,
    stored: usize,
    contents: usize,
}

impl Pack {
    /// An empty pack that will be `id`.
    pub fn new(id: ObjectId) -> Pack {
        Pack { id, frames: Vec::new(), toc: Vec::new(), stored: 0, contents: 0 }
    }

    /// Which object it will be.
    pub fn id(&self) -> ObjectId {
        self.id
    }

    /// Adds a frame.
    pub fn push(&mut self, frame: Frame, plain: u32, contents: Vec<Contained>) -> FrameRef {
        let offset = self.stored as u32;
        let stored = frame.stored_len() as u32;
        self.stored += frame.stored_len();
        self.contents += contents.len();
        self.toc.push(TocLine { offset, stored, plain, contents });
        self.frames.push(frame);
        FrameRef { object: self.id, offset: u64::from(offset), length: stored }
    }

    /// Stored bytes of its frames.
    pub fn stored_len(&self) -> usize {
        self.stored
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether it should be sealed now.
    pub fn is_full(&self) -> bool {
        self.stored >= limits::PACK_BYTES || self.contents >= limits::PACK_ENTRIES
    }

    /// Seals it as a pack of its own.
    pub fn seal(self, identity: Identity<'_>, claim: Claim, writer: [u8; 16], labels: Labels) -> Result<Sealed, FormatError> {
        let id = self.id;
        let (toc, data) = self.into_frames();
        let directory = Directory {
            epoch: claim.epoch,
            nonce: claim.nonce,
            writer,
            labels,
            toc: toc.iter().map(|frame| frame.stored_len() as u32).collect(),
            ..Directory::default()
        };
        Parts { directory: directory.encode(), meta: Vec::new(), toc, data }.seal(identity, id)
    }

    /// Its TOC and data frames, to be carried by another object.
    pub fn into_frames(self) -> (Vec<Frame>, Vec<Frame>) {
        let mut frames = Vec::new();
        let mut body = Vec::new();
        for line in &self.toc {
            put_toc_line(&mut body, line);
            // Below the frame limit even when the next line is the longest there can be.
            if body.len() > limits::FRAME_CAP_BYTES / 4 {
                frames.push(Frame::pack(&body, super::container::Compression::Zstd));
                body.clear();
            }
        }
        if !body.is_empty() {
            frames.push(Frame::pack(&body, super::container::Compression::Zstd));
        }
        (frames, self.frames)
    }
}

fn put_toc_line(out: &mut Vec<u8>, line: &TocLine) {
    put_varint(out, u64::from(line.offset));
    put_varint(out, u64::from(line.stored));
    put_varint(out, u64::from(line.plain));
    put_varint(out, line.contents.len() as u64);
    for content in &line.contents {
        out.extend_from_slice(&content.id.0);
        put_varint(out, u64::from(content.inner));
        put_varint(out, u64::from(content.length));
    }
}

/// Reads a TOC frame's body.
pub fn read_toc(body: &[u8]) -> Result<Vec<TocLine>, FormatError> {
    let mut reader = Reader::new(body);
    let mut lines = Vec::new();
    while !reader.is_empty() {
        let (offset, stored, plain) = (reader.narrow("a TOC")?, reader.narrow("a TOC")?, reader.narrow("a TOC")?);
        let count = reader.varint("a TOC")?;
        let mut contents = Vec::new();
        for _ in 0..count {
            let id = ContentId(reader.array("a TOC")?);
            contents.push(Contained { id, inner: reader.narrow("a TOC")?, length: reader.narrow("a TOC")? });
        }
        lines.push(TocLine { offset, stored, plain, contents });
    }
    Ok(lines)
}
