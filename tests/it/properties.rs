//! Laws of the vault's format, tried on arbitrary trees.

mod made;

use made::OWN;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
use volume_syncing_controller::seal::{ContentId, Keys, MasterKey, ShortId};
use volume_syncing_controller::tree::{Attributes, RelPath, Timestamp};
use volume_syncing_controller::vault::container::{Compression, Frame, FrameType, Identity, Opened, Parts, padded_len};
use volume_syncing_controller::vault::directory::{Directory, State, TableLookup};
use volume_syncing_controller::vault::entry::{
    BlockRun, Content, Entry, Extra, FrameRef, Node, Patch, Record, RunBuilder, blocks_of, fold,
};
use volume_syncing_controller::vault::index::{IndexHeader, IndexReader, IndexWriter, Indexed, LocalStamp};
use volume_syncing_controller::vault::meta::{Head, MetaWriter};
use volume_syncing_controller::vault::object::{ObjectId, ObjectKind};
use volume_syncing_controller::vault::pack::read_toc;
use volume_syncing_controller::vault::record::{Records, logical_record};
use volume_syncing_controller::vault::tree::Tally;
use volume_syncing_controller::vault::wire::{Reader, put_varint, put_zigzag};

const VAULT_ID: [u8; 16] = [9; 16];

fn keys() -> Keys {
    Keys::derive(&MasterKey::from_bytes([42; 32]), &VAULT_ID)
}

/// A record as it comes back from an object: what it says of that object's own frames counts from the object's start.
fn absolute(mut record: Record, head_len: u32) -> Record {
    let shift = |run: &mut BlockRun| {
        if let BlockRun::Stored { object, offset, .. } = run
            && *object == OWN
        {
            *offset += u64::from(head_len);
        }
    };
    match &mut record {
        Record::Upsert(Entry { node: Node::File { content: Content::Slice { frame, .. }, .. }, .. }) if frame.object == OWN => {
            frame.offset += u64::from(head_len);
        }
        Record::Upsert(Entry { node: Node::File { content: Content::Blocks { runs, .. }, .. }, .. }) => {
            runs.iter_mut().for_each(shift);
        }
        Record::Patch(patch) => patch.runs.iter_mut().for_each(|(_, run)| shift(run)),
        _ => {}
    }
    record
}

/// A file of the blocks, `None` for holes.
fn file_of(blocks: &[Option<FrameRef>]) -> Entry {
    let mut runs = RunBuilder::default();
    blocks.iter().for_each(|block| runs.push(*block));
    let content = Content::Blocks { log2_block: 12, runs: runs.finish() };
    let node = Node::File { size: (blocks.len() as u64) << 12, hash: ShortId::default(), content };
    let path = RelPath::new("file").unwrap();
    Entry { path, attributes: Attributes::default(), node, extra: Extra::default() }
}

/// One step in a file's life and the blocks it has afterwards; `None`: it is gone.
type Step = (Record, Option<Vec<Option<FrameRef>>>);

/// A life of one file: it is made, patched, deleted and made again.
fn life() -> impl Strategy<Value = Vec<Step>> {
    let block = || option::of((0..4u64, 17..99u32));
    let step = (0..5u8, 0..9usize, btree_map(0..9usize, block(), 0..5), vec(block(), 9));
    vec(step, 1..12).prop_map(|steps| {
        let frame = |block: Option<(u64, u32)>| {
            let object = ObjectId { kind: ObjectKind::Pack, a: 1, b: 5 };
            block.map(|(at, length)| FrameRef { object, offset: at * 50, length })
        };
        let mut live: Option<Vec<Option<FrameRef>>> = None;
        let mut out = Vec::new();
        for (kind, count, changes, filler) in steps {
            let record = match (kind, &mut live) {
                (0, _) => {
                    live = None;
                    Record::Delete(RelPath::new("file").unwrap())
                }
                (1, _) | (_, None) => {
                    let blocks: Vec<_> = filler[..count].iter().map(|block| frame(*block)).collect();
                    live = Some(blocks.clone());
                    Record::Upsert(file_of(&blocks))
                }
                (_, Some(blocks)) => {
                    let before = blocks.len();
                    blocks.resize(count, None);
                    let mut runs = Vec::new();
                    for number in 0..count {
                        let changed = changes.get(&number).or((number >= before).then(|| &filler[number]));
                        if let Some(block) = changed.map(|block| frame(*block)) {
                            blocks[number] = block;
                            let mut run = RunBuilder::default();
                            run.push(block);
                            runs.push((number as u64, run.finish().remove(0)));
                        }
                    }
                    let Entry { path, attributes, extra, .. } = file_of(&[]);
                    let (size, hash) = ((count as u64) << 12, ShortId::default());
                    Record::Patch(Patch { path, attributes, size, hash, log2_block: 12, runs, extra })
                }
            };
            out.push((record, live.clone()));
        }
        out
    })
}

proptest! {
    #[test]
    fn records_survive_being_sealed(records in made::records(40)) {
        let keys = keys();
        let identity = Identity { keys: &keys, vault_id: VAULT_ID };
        let mut writer = MetaWriter::new(OWN);
        records.iter().for_each(|record| writer.push(record).unwrap());
        let meta = writer.finish();
        prop_assert_eq!(meta.records, records.len() as u64);
        let directory = Directory { meta: meta.listed, table: meta.table.into_lines(), ..Directory::default() };
        let data = vec![Frame::pack(b"data", Compression::None)];
        let parts = Parts { directory: directory.encode(), meta: meta.frames, data, ..Parts::default() };
        let sealed = parts.seal(identity, OWN).unwrap();
        prop_assert_eq!(sealed.bytes.len() as u64 % 128, 0);

        let opened = Opened::parse(identity, OWN, &sealed.bytes).unwrap();
        let head = Head::read(opened, sealed.bytes.slice(..sealed.head_len as usize)).unwrap();
        let read: Vec<Record> = (0..head.frames()).flat_map(|frame| head.records(frame).unwrap()).collect();
        let wanted: Vec<Record> = records.into_iter().map(|record| absolute(record, sealed.head_len)).collect();
        prop_assert_eq!(read, wanted);
        prop_assert_eq!(head.head_bytes().unwrap().len(), sealed.head_len as usize);
    }

    #[test]
    fn a_directory_survives(directory in made::directory()) {
        prop_assert_eq!(Directory::decode(&directory.encode()).unwrap(), directory);
    }

    #[test]
    fn folding_in_two_stages_is_folding_at_once(life in life(), split in any::<u8>()) {
        let records: Vec<Record> = life.iter().map(|(record, _)| record.clone()).collect();
        for (count, (_, blocks)) in (1..).zip(&life) {
            prop_assert_eq!(fold(records[..count].to_vec()).unwrap(), blocks.as_deref().map(file_of));
        }
        let split = usize::from(split) % (records.len() + 1);
        let merged = fold(records[..split].to_vec()).unwrap().map(Record::Upsert);
        let staged = merged.into_iter().chain(records[split..].iter().cloned()).collect();
        prop_assert_eq!(fold(staged).unwrap(), fold(records).unwrap());
    }

    #[test]
    fn runs_hold_the_blocks_they_were_built_from(runs in vec(made::run(), 0..6)) {
        let blocks = blocks_of(&runs);
        let mut builder = RunBuilder::default();
        blocks.iter().for_each(|block| builder.push(*block));
        let built = builder.finish();
        prop_assert!(built.len() <= runs.len());
        prop_assert_eq!(blocks_of(&built), blocks);
    }

    #[test]
    fn totals_do_not_depend_on_the_order(entries in made::entries(12), turn in any::<u8>()) {
        let keys = keys();
        let mut forward = Tally::default();
        entries.iter().for_each(|entry| forward.add(&keys, entry));
        let mut turned = entries.clone();
        turned.rotate_left(usize::from(turn) % entries.len().max(1));
        turned.reverse();
        let mut other = Tally::default();
        turned.iter().for_each(|entry| other.add(&keys, entry));
        prop_assert_eq!(forward, other);
        entries.iter().for_each(|entry| other.remove(&keys, entry));
        prop_assert_eq!(other, Tally::default());
    }

    #[test]
    fn different_entries_have_different_terms(entries in made::entries(12)) {
        let mut terms: Vec<Vec<u8>> = entries.iter().map(logical_record).collect();
        terms.sort();
        terms.dedup();
        prop_assert_eq!(terms.len(), entries.len());
    }

    #[test]
    fn an_index_survives(entries in made::entries(12), stamps in vec(option::of((any::<i64>(), any::<u32>(), any::<u64>())), 12)) {
        let header = IndexHeader { vault_id: VAULT_ID, seq: 5, hash: [6; 32], inline_base: 0 };
        let state = State { files: 1, dirs: 2, bytes: 3, sum: [4; 32] };
        let lines: Vec<Indexed> = entries.into_iter().zip(stamps).map(|(entry, stamp)| {
            let stamp = stamp.map(|(seconds, nanos, inode)| LocalStamp { ctime: Timestamp { seconds, nanos }, inode });
            Indexed { entry, stamp, blocks: vec![ContentId([7; 32]); usize::from(stamp.is_some())] }
        }).collect();
        let mut writer = IndexWriter::start(Vec::new(), &header).unwrap();
        lines.iter().for_each(|line| writer.push(line).unwrap());
        let bytes = writer.finish(&state).unwrap();
        let mut reader = IndexReader::open(&bytes[..]).unwrap();
        prop_assert_eq!(reader.header(), &header);
        let mut read = Vec::new();
        while let Some(line) = reader.next().unwrap() {
            read.push(line);
        }
        prop_assert_eq!(read, lines);
        prop_assert_eq!(reader.state(), Some(&state));
    }

    #[test]
    fn integers_survive(value in any::<u64>(), signed in any::<i64>()) {
        let mut out = Vec::new();
        put_varint(&mut out, value);
        put_zigzag(&mut out, signed);
        let mut reader = Reader::new(&out);
        prop_assert_eq!((reader.varint("x").unwrap(), reader.zigzag("x").unwrap()), (value, signed));
        prop_assert!(reader.is_empty());
    }

    #[test]
    fn padding_hides_within_an_eighth_and_leaves_room_for_its_seal(length in 0..(63u64 << 20)) {
        let padded = padded_len(length);
        prop_assert!(padded == length || padded >= length + 16);
        prop_assert!(padded >= 512 && (length < 4096 || padded <= length + length / 8));
        prop_assert_eq!(padded_len(padded), padded);
    }

    #[test]
    fn a_frame_survives(body in vec(any::<u8>(), 0..3000), repeat in 1..20usize) {
        let body = body.repeat(repeat);
        let keys = keys();
        let identity = Identity { keys: &keys, vault_id: VAULT_ID };
        for compression in [Compression::Zstd, Compression::None] {
            let frame = Frame::pack(&body, compression);
            let end = frame.stored_len();
            let sealed = Parts { directory: vec![0xa0], data: vec![frame], ..Parts::default() }.seal(identity, OWN).unwrap();
            let opened = Opened::parse(identity, OWN, &sealed.bytes).unwrap();
            let start = sealed.head_len as usize;
            let read = opened.frame(start as u64, FrameType::Data, &sealed.bytes[start..start + end]).unwrap();
            prop_assert_eq!(&read, &body);
        }
    }

    /// Whatever the bytes, the answer is a value or an error.
    #[test]
    fn arbitrary_bytes_are_refused_quietly(bytes in vec(any::<u8>(), 0..200)) {
        let lookup = TableLookup { own: OWN, head_len: 300, lines: vec![] };
        let _ = Records::new(&bytes, &lookup).count();
        let _ = Directory::decode(&bytes);
        let _ = read_toc(&bytes);
        let _ = IndexReader::open(&bytes[..]).map(|mut reader| while let Ok(Some(_)) = reader.next() {});
    }
}
