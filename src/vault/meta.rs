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
    /// Length of the paths in the open frame: sharing makes them longer than what is stored.
    paths: usize,
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
            paths: 0,
            frames: Vec::new(),
            listed: Vec::new(),
            stored: 0,
            records: 0,
        }
    }

    /// Adds the next record.
    pub fn push(&mut self, record: &Record) -> Result<(), FormatError> {
        let path = record.path().as_bytes();
        let full = self.open.len() >= limits::META_FRAME_BYTES - 1024
            || self.count as usize >= limits::META_FRAME_RECORDS
            || self.paths + path.len() > limits::META_FRAME_PATH_BYTES;
        if self.count > 0 && full {
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
        self.paths += path.len();
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
        self.paths = 0;
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
        let mut records = Vec::new();
        let mut paths = 0;
        for record in Records::new(&body, &self.lookup) {
            let record = record?;
            paths += record.path().as_bytes().len();
            if records.len() >= limits::META_FRAME_RECORDS || paths > limits::META_FRAME_PATH_BYTES {
                return Err(FormatError::Invalid("a frame has more records or longer paths than a frame may have"));
            }
            records.push(record);
        }
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

#[cfg(test)]
mod tests {
    use super::{Head, MetaFrames, MetaWriter, limits};
    use crate::runtime::limits::META_FRAME_RECORDS;
    use crate::seal::ShortId;
    use crate::tree::{Attributes, RelPath};
    use crate::vault::container::{Compression, Frame, Identity, Opened, Parts, test_keys};
    use crate::vault::directory::{Directory, MetaFrame, Table};
    use crate::vault::entry::{BlockRun, Content, Entry, Extra, Lengths, Node, Record};
    use crate::vault::object::{Claim, ObjectId, ObjectKind};
    use crate::vault::record::put_record;

    const CLAIM: Claim = Claim { epoch: 1, nonce: 2 };

    fn sealed(meta: MetaFrames) -> Head {
        let (keys, id) = (test_keys(), ObjectId::of_claim(ObjectKind::Run, CLAIM, 3));
        let identity = Identity { keys: &keys, vault_id: [9; 16] };
        let directory = Directory { meta: meta.listed, table: meta.table.into_lines(), ..Directory::default() };
        let sealed = Parts { directory: directory.encode(), meta: meta.frames, ..Parts::default() }.seal(identity, id).unwrap();
        Head::read(Opened::parse(identity, id, &sealed.bytes).unwrap(), sealed.bytes).unwrap()
    }

    fn all(head: &Head) -> Vec<Record> {
        (0..head.frames()).flat_map(|frame| head.records(frame).unwrap()).collect()
    }

    fn written(records: &[Record]) -> Head {
        let mut writer = MetaWriter::new(ObjectId::commit(0));
        records.iter().for_each(|record| writer.push(record).unwrap());
        sealed(writer.finish())
    }

    #[test]
    fn files_of_a_million_blocks_take_no_more_memory_than_their_records() {
        const BLOCKS: u32 = 1 << 20;
        // Unfolded, these would take 16 GiB.
        let records: Vec<Record> = (0..4000)
            .map(|number| {
                let object = ObjectId::of_claim(ObjectKind::Pack, CLAIM, number);
                let run = BlockRun::Stored { object, offset: 128, lengths: Lengths::same(BLOCKS, 33) };
                let content = Content::Blocks { log2_block: 12, runs: vec![run] };
                let node = Node::File { size: u64::from(BLOCKS) << 12, hash: ShortId::default(), content };
                let path = RelPath::new(format!("{number:04}")).unwrap();
                Record::Upsert(Entry { path, attributes: Attributes::default(), node, extra: Extra::default() })
            })
            .collect();
        assert_eq!(all(&written(&records)), records);
    }

    #[test]
    fn long_paths_that_share_their_start_fill_several_frames() {
        let long = vec!["x".repeat(250); 200].join("/");
        let records: Vec<Record> =
            (0..200).map(|number| Record::Delete(RelPath::new(format!("{long}/{number:03}")).unwrap())).collect();
        let head = written(&records);
        assert_eq!(head.frames(), 3, "10 MB of paths");
        assert_eq!(all(&head), records);
    }

    #[test]
    fn a_frame_that_would_unfold_to_too_much_is_refused() {
        let few = |count: usize, long: usize| {
            let start = vec!["x".repeat(250); long].into_iter().map(|name| name + "/").collect::<String>();
            let mut table = Table::new(ObjectId::commit(0));
            let (mut body, mut previous) = (Vec::new(), Vec::new());
            let paths = (0..count).map(|number| format!("{start}{number:06}").into_bytes());
            for path in paths {
                let record = Record::Delete(RelPath::new(path.clone()).unwrap());
                put_record(&mut body, &previous, &record, &mut table);
                previous = path;
            }
            let frame = Frame::pack(&body, Compression::Zstd);
            let listed = MetaFrame {
                length: frame.stored_len() as u32,
                first: format!("{start}000000").into_bytes(),
                count: count as u32,
            };
            let meta = MetaFrames { frames: vec![frame], listed: vec![listed], table, records: count as u64 };
            sealed(meta).records(0).map(|records| records.len()).map_err(|error| error.to_string())
        };
        assert_eq!(few(META_FRAME_RECORDS, 0), Ok(META_FRAME_RECORDS));
        assert_eq!(few(META_FRAME_RECORDS + 1, 0), Err(TOO_MUCH.into()));
        assert_eq!(few(limits::META_FRAME_PATH_BYTES / 50_206, 200), Ok(83));
        assert_eq!(few(limits::META_FRAME_PATH_BYTES / 50_206 + 1, 200), Err(TOO_MUCH.into()));
    }

    const TOO_MUCH: &str = "a frame has more records or longer paths than a frame may have";
}
