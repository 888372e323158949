//! Records gathered into frames, and frames read back as records.

use super::container::{Compression, Frame, FrameType, Opened};
use super::directory::{Directory, MetaFrame, Table, TableLookup};
use super::entry::Record;
use super::object::ObjectId;
use super::record::{Records, put_record};
use super::wire::FormatError;
use crate::runtime::limits;

/// Gathers sorted records into frames of at most [`limits::META_FRAME_BYTES`] (one larger record gets its own).
#[derive(Debug)]
pub struct MetaWriter {
    table: Table,
    open: Vec<u8>,
    previous: Vec<u8>,
    first: Vec<u8>,
    count: u32,
    frames: Vec<Frame>,
    listed: Vec<MetaFrame>,
    stored: usize,
    records: u64,
}

/// What a [`MetaWriter`] made.
#[derive(Debug)]
pub struct MetaFrames {
    /// The frames.
    pub frames: Vec<Frame>,
    /// How the directory lists them.
    pub listed: Vec<MetaFrame>,
    /// The objects the records refer to.
    pub table: Table,
    /// Number of records.
    pub records: u64,
}

impl MetaWriter {
    /// Starts the records of object `own`.
    pub fn new(own: ObjectId) -> MetaWriter {
        MetaWriter {
            table: Table::new(own),
            open: Vec::new(),
            previous: Vec::new(),
            first: Vec::new(),
            count: 0,
            frames: Vec::new(),
            listed: Vec::new(),
            stored: 0,
            records: 0,
        }
    }

    /// Adds the next record.
    pub fn push(&mut self, record: &Record) -> Result<(), FormatError> {
        let path = record.path().as_bytes();
        if self.count > 0 && self.open.len() >= limits::META_FRAME_BYTES - 1024 {
            self.close();
        }
        if self.count == 0 {
            self.first = path.to_vec();
            self.previous.clear();
        }
        let start = self.open.len();
        put_record(&mut self.open, &self.previous, record, &mut self.table);
        if self.open.len() - start > limits::FRAME_CAP_BYTES - limits::META_FRAME_BYTES {
            return Err(FormatError::Invalid("a record would be larger than a frame"));
        }
        self.previous = path.to_vec();
        self.count += 1;
        self.records += 1;
        Ok(())
    }

    /// Bytes so far, the open frame counted uncompressed.
    pub fn stored_len(&self) -> usize {
        self.stored + self.open.len()
    }

    fn close(&mut self) {
        let frame = Frame::pack(&self.open, Compression::Zstd);
        self.stored += frame.stored_len();
        let first = std::mem::take(&mut self.first);
        self.listed.push(MetaFrame { length: frame.stored_len() as u32, first, count: self.count });
        self.frames.push(frame);
        self.open.clear();
        self.count = 0;
    }

    /// Ends the last frame.
    pub fn finish(mut self) -> MetaFrames {
        if self.count > 0 {
            self.close();
        }
        MetaFrames { frames: self.frames, listed: self.listed, table: self.table, records: self.records }
    }
}

/// The head of a commit, run part or fork: header, directory and frames of records, opened as they are needed.
#[derive(Debug)]
pub struct Head {
    /// The checked header.
    pub opened: Opened,
    /// What it says.
    pub directory: Directory,
    lookup: TableLookup,
    bytes: bytes::Bytes,
}

impl Head {
    /// Reads the directory; `bytes` starts the object and reaches at least to the end of its directory.
    pub fn read(opened: Opened, bytes: bytes::Bytes) -> Result<Head, FormatError> {
        let directory = Directory::decode(&opened.directory(&bytes)?)?;
        let frames: u64 =
            directory.meta.iter().map(|f| u64::from(f.length)).chain(directory.toc.iter().map(|l| u64::from(*l))).sum();
        if frames + super::container::HEADER_BYTES as u64 + u64::from(opened.dir_len) != u64::from(opened.head_len) {
            return Err(FormatError::Invalid("its directory contradicts its header"));
        }
        let lookup = TableLookup { own: opened.id, head_len: opened.head_len, lines: directory.table.clone() };
        Ok(Head { opened, directory, lookup, bytes })
    }

    /// Number of frames of records.
    pub fn frames(&self) -> usize {
        self.directory.meta.len()
    }

    /// The records of one frame.
    pub fn records(&self, index: usize) -> Result<Vec<Record>, FormatError> {
        let (offset, listed) =
            self.directory.meta_offsets(self.opened.dir_len).nth(index).ok_or(FormatError::Invalid("no such frame"))?;
        let end = offset as usize + listed.length as usize;
        let stored = self.bytes.get(offset as usize..end).ok_or(FormatError::Truncated("its records"))?;
        let body = self.opened.frame(offset, FrameType::Meta, stored)?;
        let records = Records::new(&body, &self.lookup).collect::<Result<Vec<Record>, FormatError>>()?;
        let first = records.first().map(|record| record.path().as_bytes());
        if records.len() != listed.count as usize || first != Some(&listed.first[..]) {
            return Err(FormatError::Invalid("a frame does not hold the records its directory lists"));
        }
        Ok(records)
    }

    /// The checked header, and the bytes that were read.
    pub fn into_parts(self) -> (Opened, bytes::Bytes) {
        (self.opened, self.bytes)
    }

    /// The head's bytes, if all are there.
    pub fn head_bytes(&self) -> Option<&[u8]> {
        self.bytes.get(..self.opened.head_len as usize)
    }
}
