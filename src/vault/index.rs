//! The local index: the tree at the head as the vault knows it, beside what tells whether a local file has changed
//! since. A sorted file of checksummed chunks. It is a cache: lost or damaged, it is made again from the remote.

use super::directory::State;
use super::entry::{Entry, Record};
use super::object::{ObjectId, ObjectKind};
use super::record::{ObjectLookup, ObjectNames, UPSERT, put_record, read_body};
use super::wire::{FormatError, Reader, put_varint, put_zigzag};
use crate::seal::{ContentId, checksum};
use crate::tree::{RelPath, Timestamp};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// What a local file's inode said when its content was known to be the recorded one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalStamp {
    /// Change time.
    pub ctime: Timestamp,
    /// Inode number; of a database, mixed with the state of its log.
    pub inode: u64,
}

impl From<(Timestamp, u64)> for LocalStamp {
    fn from((ctime, inode): (Timestamp, u64)) -> LocalStamp {
        LocalStamp { ctime, inode }
    }
}

/// One line of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed {
    /// The entry as the vault has it.
    pub entry: Entry,
    /// The local file; `None` when it was not seen since the index was made from the remote.
    pub stamp: Option<LocalStamp>,
    /// Identities of a large file's blocks, if known.
    pub blocks: Vec<ContentId>,
}

/// What the index is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexHeader {
    /// The vault.
    pub vault_id: [u8; 16],
    /// The commit whose tree it is…
    pub seq: u64,
    /// …and that commit's hash, or that of the commit whose index a merge made this one from.
    pub hash: [u8; 32],
    /// What references into that commit's own data count from; 0 when they are absolute.
    pub inline_base: u32,
}

impl IndexHeader {
    fn encode(&self) -> Vec<u8> {
        let mut chunk = vec![HEADER];
        chunk.extend_from_slice(&self.vault_id);
        chunk.extend_from_slice(&self.seq.to_le_bytes());
        chunk.extend_from_slice(&self.hash);
        chunk.extend_from_slice(&self.inline_base.to_le_bytes());
        chunk
    }
}

/// Trouble with the index file; the cure is to make it again.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Reading or writing failed.
    #[error("the local index: {0}")]
    Io(#[from] io::Error),
    /// It is damaged.
    #[error("the local index is damaged: {0}")]
    Format(#[from] FormatError),
}

const MAGIC: &[u8; 8] = b"vscidx1\n";
const CHUNK_BYTES: usize = 128 << 10;
const CHUNK_HEAD_BYTES: usize = 12;
const HEADER: u8 = 0;
const RECORDS: u8 = 1;
const TRAILER: u8 = 2;

/// Writes an index.
#[derive(Debug)]
pub struct IndexWriter<W> {
    out: W,
    chunk: Vec<u8>,
    previous: Vec<u8>,
    entries: u64,
}

impl<W: Write> IndexWriter<W> {
    /// Starts the file.
    pub fn start(mut out: W, header: &IndexHeader) -> Result<IndexWriter<W>, IndexError> {
        out.write_all(MAGIC)?;
        put_chunk(&mut out, &header.encode())?;
        Ok(IndexWriter { out, chunk: vec![RECORDS], previous: Vec::new(), entries: 0 })
    }

    /// Adds the next entry; paths ascend.
    pub fn push(&mut self, indexed: &Indexed) -> Result<(), IndexError> {
        put_indexed(&mut self.chunk, &self.previous, indexed);
        self.previous.clear();
        self.previous.extend_from_slice(indexed.entry.path.as_bytes());
        self.entries += 1;
        if self.chunk.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), IndexError> {
        put_chunk(&mut self.out, &self.chunk)?;
        self.chunk.truncate(1);
        self.previous.clear();
        Ok(())
    }

    /// Writes the header again, now that the commit is sealed. Afterwards the file's position is undefined.
    pub fn seal_header(mut out: W, header: &IndexHeader) -> Result<W, IndexError>
    where
        W: Seek,
    {
        out.seek(SeekFrom::Start(MAGIC.len() as u64))?;
        put_chunk(&mut out, &header.encode())?;
        out.flush()?;
        Ok(out)
    }

    /// Ends the file with the tree's totals; without this end it is refused by a reader.
    pub fn finish(mut self, state: &State) -> Result<W, IndexError> {
        if self.chunk.len() > 1 {
            self.flush()?;
        }
        let mut trailer = vec![TRAILER];
        for number in [self.entries, state.files, state.dirs, state.bytes] {
            put_varint(&mut trailer, number);
        }
        trailer.extend_from_slice(&state.sum);
        put_chunk(&mut self.out, &trailer)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Appends one line.
pub fn put_indexed(out: &mut Vec<u8>, previous: &[u8], indexed: &Indexed) {
    put_record(out, previous, &Record::Upsert(indexed.entry.clone()), &mut FullNames);
    put_stamp(out, indexed.stamp.as_ref());
    put_varint(out, indexed.blocks.len() as u64);
    indexed.blocks.iter().for_each(|id| out.extend_from_slice(&id.0));
}

/// Appends an optional stamp.
fn put_stamp(out: &mut Vec<u8>, stamp: Option<&LocalStamp>) {
    match stamp {
        None => out.push(0),
        Some(stamp) => {
            out.push(1);
            put_zigzag(out, stamp.ctime.seconds);
            put_varint(out, u64::from(stamp.ctime.nanos));
            put_varint(out, stamp.inode);
        }
    }
}

/// Reads an optional stamp.
fn read_stamp(reader: &mut Reader<'_>) -> Result<Option<LocalStamp>, FormatError> {
    if reader.byte("a stamp")? == 0 {
        return Ok(None);
    }
    let ctime = Timestamp { seconds: reader.zigzag("a stamp")?, nanos: reader.narrow("a stamp")? };
    Ok(Some(LocalStamp { ctime, inode: reader.varint("a stamp")? }))
}

pub(super) fn put_chunk(out: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(|_| io::Error::other("an index chunk is too long"))?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&checksum(payload))?;
    out.write_all(payload)
}

/// The length that a chunk's head says.
fn chunk_length(head: &[u8; CHUNK_HEAD_BYTES]) -> Result<u64, FormatError> {
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    // A chunk is closed at 128 KiB; one record of a very large file, with its blocks' identities, may follow.
    if length == 0 || length > 48 << 20 {
        return Err(FormatError::Invalid("a chunk has an impossible length"));
    }
    Ok(u64::from(length))
}

pub(super) fn read_chunk(input: &mut impl Read) -> Result<Vec<u8>, IndexError> {
    let mut head = [0; CHUNK_HEAD_BYTES];
    input.read_exact(&mut head)?;
    let mut payload = vec![0; chunk_length(&head)? as usize];
    input.read_exact(&mut payload)?;
    if checksum(&payload) != head[4..] {
        return Err(FormatError::Invalid("a chunk's checksum does not fit").into());
    }
    Ok(payload)
}

/// Reads an index from front to end.
#[derive(Debug)]
pub struct IndexReader<R> {
    input: R,
    header: IndexHeader,
    chunk: Vec<u8>,
    at: usize,
    previous: Vec<u8>,
    /// Entries read so far; `None` once the reader has jumped.
    entries: Option<u64>,
    state: Option<State>,
}

/// Where the chunks of an index begin: the path of each chunk's first entry and its offset.
pub type Chunks = Vec<(RelPath, u64)>;

impl<R: Read> IndexReader<R> {
    /// Checks the file's start.
    pub fn open(mut input: R) -> Result<IndexReader<R>, IndexError> {
        let mut magic = [0; 8];
        input.read_exact(&mut magic)?;
        let chunk = read_chunk(&mut input)?;
        let mut reader = Reader::new(&chunk);
        if &magic != MAGIC || reader.byte("the header")? != HEADER {
            return Err(FormatError::Invalid("it does not start as an index").into());
        }
        let header = IndexHeader {
            vault_id: reader.array("the header")?,
            seq: u64::from_le_bytes(reader.array("the header")?),
            hash: reader.array("the header")?,
            inline_base: u32::from_le_bytes(reader.array("the header")?),
        };
        Ok(IndexReader { input, header, chunk: Vec::new(), at: 0, previous: Vec::new(), entries: Some(0), state: None })
    }

    /// What it is of.
    pub fn header(&self) -> &IndexHeader {
        &self.header
    }

    /// The tree's totals, once the end is reached.
    pub fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// The next entry; `None` at a proper end. A file cut short is an error.
    #[allow(clippy::should_implement_trait, reason = "an iterator of results would hide that the end must be checked")]
    pub fn next(&mut self) -> Result<Option<Indexed>, IndexError> {
        while self.at >= self.chunk.len() {
            if self.state.is_some() {
                return Ok(None);
            }
            self.chunk = read_chunk(&mut self.input)?;
            self.at = 1;
            self.previous.clear();
            match self.chunk[0] {
                RECORDS => {}
                TRAILER => self.read_trailer()?,
                _ => return Err(FormatError::Invalid("a chunk has an unknown kind").into()),
            }
        }
        let mut reader = Reader::new(&self.chunk[self.at..]);
        let mut indexed = read_indexed(&mut reader, &self.previous)?;
        if self.header.inline_base > 0 {
            let (own, base) = (ObjectId::commit(self.header.seq), u64::from(self.header.inline_base));
            indexed.entry.relocate(&mut |object, offset| (object, if object == own { offset + base } else { offset }));
        }
        self.at = self.chunk.len() - reader.len();
        self.previous.clear();
        self.previous.extend_from_slice(indexed.entry.path.as_bytes());
        self.entries = self.entries.map(|entries| entries + 1);
        Ok(Some(indexed))
    }

    fn read_trailer(&mut self) -> Result<(), IndexError> {
        let mut reader = Reader::new(&self.chunk[1..]);
        let entries = reader.varint("the trailer")?;
        let (files, dirs, bytes) = (reader.varint("the trailer")?, reader.varint("the trailer")?, reader.varint("the trailer")?);
        self.state = Some(State { files, dirs, bytes, sum: reader.array("the trailer")? });
        self.at = self.chunk.len();
        if self.entries.is_none_or(|seen| seen == entries) {
            Ok(())
        } else {
            Err(FormatError::Invalid("it has another number of entries than its end says").into())
        }
    }
}

impl<R: Read + Seek> IndexReader<R> {
    /// Goes on with the chunk at this offset, one of [`IndexReader::chunks`].
    pub fn jump(&mut self, offset: u64) -> Result<(), IndexError> {
        self.input.seek(SeekFrom::Start(offset))?;
        self.chunk.clear();
        self.at = 0;
        self.entries = None;
        self.state = None;
        Ok(())
    }

    /// Finds where the chunks begin, reading little of each; afterwards the reader must [`jump`](IndexReader::jump).
    pub fn chunks(&mut self) -> Result<Chunks, IndexError> {
        const BEGIN_BYTES: u64 = 256;
        let mut chunks = Vec::new();
        let mut at = MAGIC.len() as u64;
        loop {
            self.input.seek(SeekFrom::Start(at))?;
            let mut head = [0; CHUNK_HEAD_BYTES];
            self.input.read_exact(&mut head)?;
            let length = chunk_length(&head)?;
            let mut begin = Vec::new();
            (&mut self.input).take(length.min(BEGIN_BYTES)).read_to_end(&mut begin)?;
            match begin.first() {
                Some(&HEADER) => {}
                Some(&RECORDS) => {
                    if let Err(FormatError::Truncated(_)) = first_path(&begin) {
                        (&mut self.input).take(length - begin.len() as u64).read_to_end(&mut begin)?;
                    }
                    chunks.push((first_path(&begin)?, at));
                }
                Some(&TRAILER) => return Ok(chunks),
                _ => return Err(FormatError::Invalid("a chunk has an unknown kind").into()),
            }
            at += CHUNK_HEAD_BYTES as u64 + length;
        }
    }
}

/// The path of the first entry of a chunk of entries.
fn first_path(chunk: &[u8]) -> Result<RelPath, FormatError> {
    let mut reader = Reader::new(chunk.get(1..).unwrap_or_default());
    let _op = reader.byte("a record")?;
    let _shared = reader.varint("a path")?;
    RelPath::new(reader.bytes("a path")?).map_err(|_| FormatError::Invalid("a path could leave the volume"))
}

/// Reads one line.
pub fn read_indexed(reader: &mut Reader<'_>, previous: &[u8]) -> Result<Indexed, FormatError> {
    let op = reader.byte("a record")?;
    let shared = reader.narrow::<usize>("a path")?;
    let suffix = reader.bytes("a path")?;
    let head = previous.get(..shared).ok_or(FormatError::Invalid("a path shares more than its predecessor has"))?;
    let path = RelPath::new([head, suffix].concat()).map_err(|_| FormatError::Invalid("a path could leave the volume"))?;
    let body = reader.bytes("a record")?;
    let record = read_body(op, path, body, &FullNames)?;
    let (UPSERT, Record::Upsert(entry)) = (op, record) else { return Err(FormatError::Invalid("an index holds only entries")) };
    let stamp = read_stamp(reader)?;
    let count = reader.varint("blocks")?;
    let blocks = (0..count).map(|_| reader.array("blocks").map(ContentId)).collect::<Result<_, _>>()?;
    Ok(Indexed { entry, stamp, blocks })
}

/// References by full name, for local files.
#[derive(Debug, Clone, Copy)]
pub struct FullNames;

impl ObjectNames for FullNames {
    fn put(&mut self, out: &mut Vec<u8>, object: ObjectId, _length: u64) {
        put_varint(out, object.kind as u64);
        put_varint(out, object.a);
        put_varint(out, object.b >> 32);
        put_varint(out, object.b & 0xffff_ffff);
    }

    fn put_offset(&mut self, out: &mut Vec<u8>, _object: ObjectId, offset: u64) {
        put_varint(out, offset);
    }
}

impl ObjectLookup for FullNames {
    fn get(&self, reader: &mut Reader<'_>) -> Result<Option<ObjectId>, FormatError> {
        let kind = reader.narrow::<u8>("a reference")?;
        if kind == 0 {
            return Ok(None);
        }
        let kind = ObjectKind::from_number(kind).ok_or(FormatError::Invalid("a reference has an unknown kind"))?;
        let a = reader.varint("a reference")?;
        let high = u64::from(reader.narrow::<u32>("a reference")?);
        let low = u64::from(reader.narrow::<u32>("a reference")?);
        Ok(Some(ObjectId { kind, a, b: high << 32 | low }))
    }

    fn get_offset(&self, reader: &mut Reader<'_>, _object: ObjectId) -> Result<u64, FormatError> {
        reader.varint("a reference")
    }
}

#[cfg(test)]
mod tests {
    use super::{IndexHeader, IndexReader, IndexWriter, Indexed, LocalStamp, State};
    use crate::tree::{Attributes, RelPath, Timestamp};
    use crate::vault::entry::{Content, Entry, Extra, Node};

    fn line(name: &str) -> Indexed {
        let node = Node::File { size: 3, hash: Default::default(), content: Content::Literal(b"abc".to_vec()) };
        let entry = Entry { path: RelPath::new(name).unwrap(), attributes: Attributes::default(), node, extra: Extra::default() };
        Indexed { entry, stamp: Some(LocalStamp { ctime: Timestamp { seconds: 5, nanos: 6 }, inode: 7 }), blocks: vec![] }
    }

    #[test]
    fn an_index_comes_back_and_any_damage_is_noticed() {
        let header = IndexHeader { vault_id: [1; 16], seq: 9, hash: [2; 32], inline_base: 0 };
        let mut writer = IndexWriter::start(Vec::new(), &header).unwrap();
        let lines: Vec<Indexed> = (0..5000).map(|i| line(&format!("dir/{i:05}"))).collect();
        lines.iter().for_each(|l| writer.push(l).unwrap());
        let bytes = writer.finish(&State { files: 5000, ..State::default() }).unwrap();
        let read = |bytes: &[u8]| -> Result<Vec<Indexed>, super::IndexError> {
            let mut reader = IndexReader::open(bytes)?;
            assert_eq!(reader.header(), &header);
            let mut all = Vec::new();
            while let Some(next) = reader.next()? {
                all.push(next);
            }
            Ok(all)
        };
        assert_eq!(read(&bytes).unwrap(), lines);
        assert!(read(&bytes[..bytes.len() - 60]).is_err(), "cut short");
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 1;
        assert!(read(&damaged).is_err(), "one bit");
    }
}
