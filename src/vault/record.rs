//! Records as bytes (FORMAT.md, "Records").

use super::entry::{BlockRun, Content, Entry, Extra, FrameRef, Lengths, Node, Patch, Record, block_count};
use super::object::ObjectId;
use super::wire::{FormatError, Reader, put_bytes, put_varint, put_zigzag};
use crate::runtime::limits;
use crate::seal::{SHORT_ID_BYTES, ShortId};
use crate::tree::{Attributes, RelPath, Timestamp};

/// How references name objects: by their place in an object's table, or in full in a local file.
pub trait ObjectNames {
    /// Writes a reference to `length` bytes stored at `offset` of an object.
    fn put(&mut self, out: &mut Vec<u8>, object: ObjectId, length: u64);
    /// Writes the offset of a reference just written.
    fn put_offset(&mut self, out: &mut Vec<u8>, object: ObjectId, offset: u64);
}

/// The reading side of [`ObjectNames`].
pub trait ObjectLookup {
    /// Reads a reference; `None` is a hole.
    fn get(&self, reader: &mut Reader<'_>) -> Result<Option<ObjectId>, FormatError>;
    /// Reads an offset and makes it absolute.
    fn get_offset(&self, reader: &mut Reader<'_>, object: ObjectId) -> Result<u64, FormatError>;
}

const OP_DELETE: u8 = 0;
const OP_UPSERT: u8 = 1;
const OP_PATCH: u8 = 2;

const TLV_HARD_LINK: u64 = 1;
const TLV_XATTRS: u64 = 2;
const TLV_SPARSE: u64 = 3;
/// Tags from here on must be understood.
const TLV_MANDATORY: u64 = 64;

/// Largest number of blocks a file may have (4 TiB in blocks of 4 MiB): bounds what one record takes in memory.
pub const MAX_BLOCKS: u64 = 1 << 20;

/// Appends one record; `previous` is the path of the record before it in the same frame (empty at its start).
pub fn put_record(out: &mut Vec<u8>, previous: &[u8], record: &Record, names: &mut impl ObjectNames) {
    let path = record.path().as_bytes();
    let shared = path.iter().zip(previous).take_while(|(a, b)| a == b).count();
    let (op, body) = match record {
        Record::Delete(_) => (OP_DELETE, Vec::new()),
        Record::Upsert(entry) => (OP_UPSERT, upsert_body(entry, names)),
        Record::Patch(patch) => (OP_PATCH, patch_body(patch, names)),
    };
    out.push(op);
    put_varint(out, shared as u64);
    put_bytes(out, &path[shared..]);
    put_bytes(out, &body);
}

/// The body of an upsert.
pub fn upsert_body(entry: &Entry, names: &mut impl ObjectNames) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    match &entry.node {
        Node::File { .. } => out.push(b'f'),
        Node::Directory => out.push(b'd'),
        Node::Symlink { .. } => out.push(b'l'),
        Node::Fifo => out.push(b'p'),
    }
    put_attributes(&mut out, &entry.attributes);
    match &entry.node {
        Node::File { size, hash, content } => {
            put_varint(&mut out, *size);
            out.extend_from_slice(&hash.0);
            put_content(&mut out, content, names);
        }
        Node::Symlink { target } => put_bytes(&mut out, target),
        Node::Directory | Node::Fifo => {}
    }
    put_extra(&mut out, &entry.extra);
    out
}

fn patch_body(patch: &Patch, names: &mut impl ObjectNames) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    put_attributes(&mut out, &patch.attributes);
    put_varint(&mut out, patch.size);
    out.extend_from_slice(&patch.hash.0);
    out.push(patch.log2_block);
    put_varint(&mut out, patch.runs.len() as u64);
    for (first, run) in &patch.runs {
        put_varint(&mut out, *first);
        put_run(&mut out, run, names);
    }
    put_extra(&mut out, &patch.extra);
    out
}

fn put_attributes(out: &mut Vec<u8>, attributes: &Attributes) {
    put_varint(out, u64::from(attributes.mode));
    put_varint(out, u64::from(attributes.uid));
    put_varint(out, u64::from(attributes.gid));
    put_zigzag(out, attributes.mtime.seconds);
    put_varint(out, u64::from(attributes.mtime.nanos));
}

fn put_content(out: &mut Vec<u8>, content: &Content, names: &mut impl ObjectNames) {
    match content {
        Content::Empty => out.push(0),
        Content::Literal(bytes) => {
            out.push(1);
            out.extend_from_slice(bytes);
        }
        Content::Slice { frame, inner } => {
            out.push(2);
            names.put(out, frame.object, u64::from(frame.length));
            names.put_offset(out, frame.object, frame.offset);
            put_varint(out, u64::from(frame.length));
            put_varint(out, u64::from(*inner));
        }
        Content::Blocks { log2_block, runs } => {
            out.push(3);
            out.push(*log2_block);
            put_varint(out, runs.len() as u64);
            for run in runs {
                put_run(out, run, names);
            }
        }
    }
}

fn put_run(out: &mut Vec<u8>, run: &BlockRun, names: &mut impl ObjectNames) {
    match run {
        BlockRun::Hole(count) => {
            put_varint(out, 0);
            put_varint(out, *count);
        }
        BlockRun::Stored { object, offset, lengths } => {
            names.put(out, *object, lengths.sum());
            put_varint(out, lengths.count());
            names.put_offset(out, *object, *offset);
            match lengths.all_same() {
                Some(length) => {
                    out.push(1);
                    put_varint(out, u64::from(length));
                }
                None => {
                    out.push(0);
                    lengths.iter().for_each(|length| put_varint(out, u64::from(length)));
                }
            }
        }
    }
}

fn put_extra(out: &mut Vec<u8>, extra: &Extra) {
    if let Some(group) = &extra.hard_link {
        put_varint(out, TLV_HARD_LINK);
        put_bytes(out, group);
    }
    if !extra.xattrs.is_empty() {
        let mut body = Vec::new();
        for (name, value) in &extra.xattrs {
            put_bytes(&mut body, name);
            put_bytes(&mut body, value);
        }
        put_varint(out, TLV_XATTRS);
        put_bytes(out, &body);
    }
    if extra.sparse {
        put_varint(out, TLV_SPARSE);
        put_bytes(out, &[]);
    }
}

/// The bytes that the state sum covers: everything about the entry but where its content lies.
pub fn logical_record(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    put_bytes(&mut out, entry.path.as_bytes());
    out.push(match &entry.node {
        Node::File { .. } => b'f',
        Node::Directory => b'd',
        Node::Symlink { .. } => b'l',
        Node::Fifo => b'p',
    });
    put_attributes(&mut out, &entry.attributes);
    match &entry.node {
        Node::File { size, hash, .. } => {
            put_varint(&mut out, *size);
            out.extend_from_slice(&hash.0);
        }
        Node::Symlink { target } => put_bytes(&mut out, target),
        Node::Directory | Node::Fifo => {}
    }
    put_extra(&mut out, &entry.extra);
    out
}

/// Reads the records of one frame; refuses what is not sorted or not valid.
#[derive(Debug)]
pub struct Records<'a, L> {
    reader: Reader<'a>,
    previous: Vec<u8>,
    last: Option<RelPath>,
    lookup: &'a L,
}

impl<'a, L: ObjectLookup> Records<'a, L> {
    /// Starts at the front of a meta frame's body.
    pub fn new(body: &'a [u8], lookup: &'a L) -> Records<'a, L> {
        Records { reader: Reader::new(body), previous: Vec::new(), last: None, lookup }
    }

    fn read(&mut self) -> Result<Record, FormatError> {
        let op = self.reader.byte("a record")?;
        let shared = self.reader.narrow::<usize>("a path")?;
        let suffix = self.reader.bytes("a path")?;
        let head = self.previous.get(..shared).ok_or(FormatError::Invalid("a path shares more than its predecessor has"))?;
        let path = RelPath::new([head, suffix].concat()).map_err(|_| FormatError::Invalid("a path could leave the volume"))?;
        if self.last.as_ref().is_some_and(|last| *last >= path) {
            return Err(FormatError::Invalid("records are not in order"));
        }
        self.previous = path.as_bytes().to_vec();
        self.last = Some(path.clone());
        let body = self.reader.bytes("a record")?;
        read_body(op, path, body, self.lookup)
    }
}

/// Reads a record's body.
pub fn read_body(op: u8, path: RelPath, body: &[u8], lookup: &impl ObjectLookup) -> Result<Record, FormatError> {
    let mut reader = Reader::new(body);
    match op {
        OP_DELETE if body.is_empty() => Ok(Record::Delete(path)),
        OP_UPSERT => Ok(Record::Upsert(read_upsert(path, &mut reader, lookup)?)),
        OP_PATCH => Ok(Record::Patch(read_patch(path, &mut reader, lookup)?)),
        OP_DELETE => Err(FormatError::Invalid("a delete has a body")),
        other => Err(FormatError::Unknown(format!("record operation {other}"))),
    }
}

/// The operation number of an upsert, for local files that hold nothing else.
pub const UPSERT: u8 = OP_UPSERT;

impl<L: ObjectLookup> Iterator for Records<'_, L> {
    type Item = Result<Record, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() { None } else { Some(self.read()) }
    }
}

fn read_upsert(path: RelPath, reader: &mut Reader<'_>, lookup: &impl ObjectLookup) -> Result<Entry, FormatError> {
    let kind = reader.byte("a record")?;
    let attributes = read_attributes(reader)?;
    let node = match kind {
        b'f' => {
            let size = reader.varint("a size")?;
            let hash = ShortId(reader.array::<SHORT_ID_BYTES>("a hash")?);
            Node::File { size, hash, content: read_content(reader, size, lookup)? }
        }
        b'd' => Node::Directory,
        b'l' => Node::Symlink { target: reader.bytes("a link target")?.to_vec() },
        b'p' => Node::Fifo,
        other => return Err(FormatError::Unknown(format!("entry type {other}"))),
    };
    Ok(Entry { path, attributes, node, extra: read_extra(reader)? })
}

fn read_patch(path: RelPath, reader: &mut Reader<'_>, lookup: &impl ObjectLookup) -> Result<Patch, FormatError> {
    let attributes = read_attributes(reader)?;
    let size = reader.varint("a size")?;
    let hash = ShortId(reader.array::<SHORT_ID_BYTES>("a hash")?);
    let log2_block = read_log2(reader)?;
    let count = block_total(size, log2_block)?;
    let mut runs = Vec::new();
    let mut end = 0u64;
    for _ in 0..reader.varint("a patch")? {
        let first = reader.varint("a patch")?;
        let run = read_run(reader, count, lookup)?;
        let next = first.checked_add(run.count()).filter(|next| first >= end && *next <= count);
        end = next.ok_or(FormatError::Invalid("a patch lists blocks out of order"))?;
        runs.push((first, run));
    }
    Ok(Patch { path, attributes, size, hash, log2_block, runs, extra: read_extra(reader)? })
}

fn read_attributes(reader: &mut Reader<'_>) -> Result<Attributes, FormatError> {
    let mode = reader.narrow::<u32>("a mode")?;
    let uid = reader.narrow("an owner")?;
    let gid = reader.narrow("a group")?;
    let mtime = Timestamp { seconds: reader.zigzag("a time")?, nanos: reader.narrow("a time")? };
    if mode > 0o7777 || mtime.nanos >= 1_000_000_000 {
        return Err(FormatError::Invalid("a mode or time is out of range"));
    }
    Ok(Attributes { mode, uid, gid, mtime })
}

fn read_content(reader: &mut Reader<'_>, size: u64, lookup: &impl ObjectLookup) -> Result<Content, FormatError> {
    match reader.byte("a content")? {
        0 if size == 0 => Ok(Content::Empty),
        1 if (1..=limits::LITERAL_BYTES as u64).contains(&size) => {
            Ok(Content::Literal(reader.take(size as usize, "a content")?.to_vec()))
        }
        2 => {
            let object = lookup.get(reader)?.ok_or(FormatError::Invalid("a small file lies in a hole"))?;
            let offset = lookup.get_offset(reader, object)?;
            let frame = FrameRef { object, offset, length: reader.narrow("a reference")? };
            let inner: u32 = reader.narrow("a reference")?;
            if size == 0 || u64::from(inner).checked_add(size).is_none_or(|end| end > limits::FRAME_CAP_BYTES as u64) {
                return Err(FormatError::Invalid("a small file does not fit into a frame"));
            }
            check_frame(&frame)?;
            Ok(Content::Slice { frame, inner })
        }
        3 => {
            let log2_block = read_log2(reader)?;
            let mut left = block_total(size, log2_block)?;
            let mut runs = Vec::new();
            for _ in 0..reader.varint("blocks")? {
                let run = read_run(reader, left, lookup)?;
                left -= run.count();
                runs.push(run);
            }
            if left > 0 {
                return Err(FormatError::Invalid("a file lists too few blocks"));
            }
            Ok(Content::Blocks { log2_block, runs })
        }
        0 | 1 => Err(FormatError::Invalid("a content does not fit its size")),
        other => Err(FormatError::Unknown(format!("content kind {other}"))),
    }
}

fn read_log2(reader: &mut Reader<'_>) -> Result<u8, FormatError> {
    let log2 = reader.byte("a block size")?;
    if (12..=22).contains(&log2) { Ok(log2) } else { Err(FormatError::Invalid("a block size is out of range")) }
}

fn block_total(size: u64, log2_block: u8) -> Result<u64, FormatError> {
    let count = block_count(size, log2_block);
    if count <= MAX_BLOCKS { Ok(count) } else { Err(FormatError::Invalid("a file has more than 2^20 blocks")) }
}

fn check_frame(frame: &FrameRef) -> Result<(), FormatError> {
    let fits = frame.offset.checked_add(u64::from(frame.length)).is_some_and(|end| end <= limits::OBJECT_CAP_BYTES);
    if fits { Ok(()) } else { Err(FormatError::Invalid("a reference points outside its object")) }
}

fn read_run(reader: &mut Reader<'_>, most: u64, lookup: &impl ObjectLookup) -> Result<BlockRun, FormatError> {
    let object = lookup.get(reader)?;
    let count = reader.varint("a run")?;
    if count == 0 || count > most {
        return Err(FormatError::Invalid("a run has the wrong number of blocks"));
    }
    let Some(object) = object else { return Ok(BlockRun::Hole(count)) };
    let offset = lookup.get_offset(reader, object)?;
    let lengths = match reader.byte("a run")? {
        1 => Lengths::same(count as u32, reader.narrow("a run")?),
        0 => (0..count).map(|_| reader.narrow::<u32>("a run")).collect::<Result<_, _>>()?,
        other => return Err(FormatError::Unknown(format!("run form {other}"))),
    };
    if offset.checked_add(lengths.sum()).is_none_or(|end| end > limits::OBJECT_CAP_BYTES) {
        return Err(FormatError::Invalid("a reference points outside its object"));
    }
    Ok(BlockRun::Stored { object, offset, lengths })
}

fn read_extra(reader: &mut Reader<'_>) -> Result<Extra, FormatError> {
    let mut extra = Extra::default();
    let mut last = 0;
    while !reader.is_empty() {
        let tag = reader.varint("an attribute")?;
        let body = reader.bytes("an attribute")?;
        if tag <= last {
            return Err(FormatError::Invalid("attributes are not in order"));
        }
        last = tag;
        match tag {
            TLV_HARD_LINK => {
                let group = body.try_into().map_err(|_| FormatError::Invalid("a hard link's group is not 16 bytes"))?;
                extra.hard_link = Some(group);
            }
            TLV_XATTRS => extra.xattrs = read_xattrs(body)?,
            TLV_SPARSE if body.is_empty() => extra.sparse = true,
            TLV_SPARSE => return Err(FormatError::Invalid("a sparse mark has a value")),
            unknown if unknown >= TLV_MANDATORY => return Err(FormatError::Unknown(format!("attribute {unknown}"))),
            _ => {}
        }
    }
    Ok(extra)
}

/// Names and values.
type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

fn read_xattrs(body: &[u8]) -> Result<Xattrs, FormatError> {
    let mut reader = Reader::new(body);
    let mut xattrs = Xattrs::new();
    while !reader.is_empty() {
        let (name, value) = (reader.bytes("an xattr")?, reader.bytes("an xattr")?);
        if name.is_empty() || xattrs.last().is_some_and(|(last, _)| &last[..] >= name) {
            return Err(FormatError::Invalid("extended attributes are not in order"));
        }
        xattrs.push((name.to_vec(), value.to_vec()));
    }
    if xattrs.is_empty() { Err(FormatError::Invalid("a list of extended attributes is empty")) } else { Ok(xattrs) }
}
