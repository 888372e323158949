//! What the vault's readers must refuse: each with an error that says what is wrong, none with a panic.

use bytes::Bytes;
use volume_syncing_controller::seal::{Keys, MasterKey, ShortId};
use volume_syncing_controller::tree::{Attributes, RelPath};
use volume_syncing_controller::vault::container::{Compression, Frame, FrameType, Identity, Opened, Parts, Sealed};
use volume_syncing_controller::vault::directory::{Directory, TableLookup};
use volume_syncing_controller::vault::entry::{BlockRun, Content, Entry, Extra, Node, Patch, Record, fold};
use volume_syncing_controller::vault::meta::{Head, MetaWriter};
use volume_syncing_controller::vault::object::ObjectId;
use volume_syncing_controller::vault::record::Records;
use volume_syncing_controller::vault::wire::{FormatError, put_bytes, put_varint, put_zigzag};

const VAULT_ID: [u8; 16] = [9; 16];

fn keys() -> Keys {
    Keys::derive(&MasterKey::from_bytes([42; 32]), &VAULT_ID)
}

fn entry(name: &str, node: Node) -> Entry {
    Entry { path: RelPath::new(name).unwrap(), attributes: Attributes::default(), node, extra: Extra::default() }
}

/// A commit with two frames of records and two of data.
struct Made {
    sealed: Sealed,
    /// Where frames begin and end: header, directory, records, records, data, data.
    edges: [usize; 7],
}

fn make(keys: &Keys, seq: u64) -> Made {
    let id = ObjectId::commit(seq);
    let (mut listed, mut meta) = (Vec::new(), Vec::new());
    for name in ["a", "b"] {
        let mut writer = MetaWriter::new(id);
        writer.push(&Record::Upsert(entry(name, Node::Directory))).unwrap();
        let frames = writer.finish();
        listed.extend(frames.listed);
        meta.extend(frames.frames);
    }
    let data: Vec<Frame> = [1, 2].map(|seed| Frame::pack(&[seed; 40], Compression::None)).into();
    let lengths: Vec<usize> = meta.iter().chain(&data).map(Frame::stored_len).collect();
    let directory = Directory { meta: listed, ..Directory::default() }.encode();
    let parts = Parts { directory, meta, data, ..Parts::default() };
    let sealed = parts.seal(Identity { keys, vault_id: VAULT_ID }, id).unwrap();
    let directory_end = sealed.head_len as usize - lengths[0] - lengths[1];
    let mut edges = [0, 128, directory_end, 0, 0, 0, 0];
    for (frame, length) in lengths.iter().enumerate() {
        edges[frame + 3] = edges[frame + 2] + length;
    }
    Made { sealed, edges }
}

/// Reads a commit to its end, as the commit with this number.
fn read(keys: &Keys, id: ObjectId, bytes: &[u8], edges: &[usize; 7]) -> Result<(), FormatError> {
    let opened = Opened::parse(Identity { keys, vault_id: VAULT_ID }, id, bytes)?;
    let range = |from: usize, to: usize| bytes.get(from..to).ok_or(FormatError::Truncated("a frame"));
    for frame in 4..6 {
        opened.frame(edges[frame] as u64, FrameType::Data, range(edges[frame], edges[frame + 1])?)?;
    }
    opened.check_pad(edges[6] as u64, range(edges[6], opened.total_len as usize)?)?;
    let head = Head::read(opened, Bytes::copy_from_slice(bytes))?;
    (0..head.frames()).try_for_each(|frame| head.records(frame).map(drop))
}

#[test]
fn every_changed_byte_of_an_object_is_noticed() {
    let keys = keys();
    let Made { sealed, edges } = make(&keys, 7);
    read(&keys, sealed.id, &sealed.bytes, &edges).unwrap();
    for byte in 0..sealed.bytes.len() {
        let mut damaged = sealed.bytes.to_vec();
        damaged[byte] ^= 1 << (byte % 8);
        assert!(read(&keys, sealed.id, &damaged, &edges).is_err(), "byte {byte}");
    }
}

#[test]
fn an_object_cut_short_is_noticed_wherever_it_ends() {
    let keys = keys();
    let Made { sealed, edges } = make(&keys, 7);
    for edge in edges {
        for cut in [edge.saturating_sub(1), edge, edge + 1] {
            assert!(read(&keys, sealed.id, &sealed.bytes[..cut], &edges).is_err(), "cut at {cut}");
        }
    }
    assert!(read(&keys, sealed.id, &sealed.bytes[..sealed.bytes.len() - 1], &edges).is_err());
}

#[test]
fn objects_and_frames_cannot_change_places() {
    let keys = keys();
    let (one, two) = (make(&keys, 7), make(&keys, 8));
    let said = |id, bytes: &[u8]| read(&keys, id, bytes, &one.edges).unwrap_err().to_string();
    assert!(said(one.sealed.id, &two.sealed.bytes).contains("another object"));
    for (first, second) in [(2, 3), (4, 5)] {
        let (a, b, end) = (one.edges[first], one.edges[second], one.edges[second + 1]);
        assert_eq!(b - a, end - b, "the two frames are of one length");
        let mut swapped = one.sealed.bytes.to_vec();
        swapped[a..end].rotate_left(b - a);
        assert!(said(one.sealed.id, &swapped).contains("fails authentication"));
        // The same frame of another object.
        let mut foreign = one.sealed.bytes.to_vec();
        foreign[a..b].copy_from_slice(&two.sealed.bytes[a..b]);
        assert!(said(one.sealed.id, &foreign).contains("fails authentication"));
    }
}

#[test]
fn another_vaults_object_is_refused() {
    let keys = keys();
    let Made { sealed, .. } = make(&keys, 7);
    let error = |keys: &Keys, vault_id| Opened::parse(Identity { keys, vault_id }, sealed.id, &sealed.bytes).unwrap_err();
    assert_eq!(error(&keys, [8; 16]), FormatError::Invalid("it belongs to another vault"));
    let other = Keys::derive(&MasterKey::from_bytes([41; 32]), &VAULT_ID);
    assert_eq!(error(&other, VAULT_ID), FormatError::Seal("header"));
}

/// A frame as somebody who has the key could make it, sealed as the first data frame of an object.
fn open_made(codec: u8, body: &[u8]) -> Result<Vec<u8>, FormatError> {
    let keys = keys();
    let mut header = [0u8; 128];
    header[..10].copy_from_slice(b"svault\x01\0\x01\x01");
    header[16..32].copy_from_slice(&VAULT_ID);
    header[32] = 7;
    header[48..56].copy_from_slice(&(1u64 << 20).to_le_bytes());
    header[60..64].copy_from_slice(&128u32.to_le_bytes());
    let key = keys.object_key(header.first_chunk().unwrap());
    header[96..].copy_from_slice(key.commitment());
    let opened = Opened::parse(Identity { keys: &keys, vault_id: VAULT_ID }, ObjectId::commit(7), &header)?;
    let mut stored = [&[codec], body].concat();
    key.seal_tail(128, FrameType::Data as u8, &mut stored, 0);
    opened.frame(128, FrameType::Data, &stored)
}

#[test]
fn a_frame_cannot_grow_beyond_its_bound() {
    const CAP: usize = 4 << 20;
    let packed = |length: usize| zstd::bulk::compress(&vec![0; length], 1).unwrap();
    assert_eq!(open_made(1, &packed(CAP)).unwrap().len(), CAP);
    assert_eq!(open_made(0, &vec![0; CAP]).unwrap().len(), CAP);
    let said = |codec, body: &[u8]| open_made(codec, body).unwrap_err().to_string();
    assert!(said(1, &packed(CAP + 1)).contains("larger than 4 MiB"));
    assert!(said(0, &vec![0; CAP + 1]).contains("larger than 4 MiB"));
    // Without its content size in the frame, and with a second frame behind the first.
    let streamed = zstd::stream::encode_all(&vec![0; CAP + 1][..], 1).unwrap();
    assert!(said(1, &streamed).contains("larger than 4 MiB"));
    assert!(said(1, &[packed(9), packed(CAP)].concat()).contains("does not decompress"));
    assert!(said(1, b"not zstd").contains("larger than 4 MiB"), "what states no size is refused before it is read");
    assert!(said(2, b"").contains("codec 2"));
}

#[test]
fn a_directory_of_a_newer_or_no_format_is_refused() {
    let said = |bytes: &[u8]| Directory::decode(bytes).unwrap_err().to_string();
    assert_eq!(Directory::decode(&[0xa1, 0x18, 63, 0xf6]).unwrap(), Directory::default(), "unknown, below 64");
    assert!(said(&[0xa1, 0x18, 64, 0xf6]).contains("newer version"), "unknown, must be understood");
    assert!(said(&[0xa2, 3, 1, 3, 1]).contains("repeats or misorders"));
    assert!(said(&[0xa2, 5, 1, 3, 1]).contains("repeats or misorders"));
    assert!(said(&[0xa0, 0]).contains("trailing"));
    assert!(said(&[0xa1, 3, 0x1b, 0, 0, 0, 1, 0, 0, 0, 0]).contains("malformed"), "an epoch of 33 bits");
    assert!(said(&[0xa1, 10, 0x81, 0x84, 9, 0, 0, 0]).contains("object kind"));
    assert!(said(&[0xa1, 8, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).contains("malformed"), "2^64-1 frames");
    let whole = Directory::default().encode();
    for cut in 0..whole.len() {
        assert!(Directory::decode(&whole[..cut]).is_err(), "cut at {cut}");
    }
    let deep = [&[0xa1, 0x18, 63][..], &[0x81; 100_000], &[0]].concat();
    assert!(Directory::decode(&deep).is_ok(), "an unknown value nested deeply is skipped without recursion");
}

/// One record as bytes.
fn record(op: u8, shared: u64, suffix: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = vec![op];
    put_varint(&mut out, shared);
    put_bytes(&mut out, suffix);
    put_bytes(&mut out, body);
    out
}

fn decode(bytes: &[u8]) -> Result<Vec<Record>, FormatError> {
    let lookup = TableLookup { own: ObjectId::commit(7), head_len: 300, lines: vec![] };
    Records::new(bytes, &lookup).collect()
}

fn refused(bytes: &[u8], why: &str) {
    let said = decode(bytes).expect_err(why).to_string();
    assert!(said.contains(why), "{bytes:02x?}: {said}, not {why}");
}

#[test]
fn records_cannot_leave_the_volume() {
    for path in [&b".."[..], b"a/..", b"a/../b", b"/a", b"a//b", b"a/", b".", b"./a", b"", b"a\0b"] {
        refused(&record(0, 0, path, b""), "could leave the volume");
    }
    refused(&record(0, 0, &[b'x'; 256], b""), "could leave the volume");
    refused(&record(0, 0, &b"xy/".repeat(30_000), b""), "could leave the volume");
    // Put together from two records.
    let second = |shared: u64, suffix: &[u8]| [record(0, 0, b"a/.x", b""), record(0, shared, suffix, b"")].concat();
    refused(&second(3, b"."), "could leave the volume");
    refused(&second(2, b""), "could leave the volume");
    refused(&second(5, b""), "shares more");
    refused(&second(u64::MAX, b""), "shares more");
}

#[test]
fn records_out_of_order_are_refused() {
    for (first, second) in [("b", "a"), ("a", "a"), ("a-", "a/b"), ("a/b", "a")] {
        refused(&[record(0, 0, first.as_bytes(), b""), record(0, 0, second.as_bytes(), b"")].concat(), "not in order");
    }
    assert_eq!(decode(&[record(0, 0, b"a/b", b""), record(0, 1, b"-", b"")].concat()).unwrap().len(), 2);
}

/// The body of an upsert of a file: no attributes, this size, this content, these extras.
fn file(size: u64, content: &[u8], extras: &[u8]) -> Vec<u8> {
    let mut body = vec![b'f', 0, 0, 0, 0, 0];
    put_varint(&mut body, size);
    body.extend_from_slice(&[1; 16]);
    body.extend_from_slice(content);
    body.extend_from_slice(extras);
    body
}

#[test]
fn impossible_records_are_refused() {
    let upsert = |body: &[u8]| record(1, 0, b"a", body);
    decode(&upsert(&file(1, &[1, b'x'], &[]))).unwrap();
    let mut huge = vec![2, 1];
    for number in [0, 90, u64::from(u32::MAX)] {
        put_varint(&mut huge, number);
    }
    let mut many = vec![3, 12, 1, 0];
    put_varint(&mut many, 1 << 20);
    let cases: &[(&[u8], &str)] = &[
        (&file(0, &[1], &[]), "does not fit its size"),
        (&file(1, &[0], &[]), "does not fit its size"),
        (&file(129, &[1; 130], &[]), "does not fit its size"),
        (&file(0, &[2, 1, 0, 90, 0], &[]), "does not fit into a frame"),
        (&file(u64::MAX, &huge, &[]), "does not fit into a frame"),
        (&file(1, &[2, 0, 0, 90, 0], &[]), "hole"),
        (&file(1, &[2, 2, 0, 90, 0], &[]), "names no object"),
        (&file(1, &[4], &[]), "content kind 4"),
        (&file(1, &[3, 11, 1, 0, 1], &[]), "block size"),
        (&file(1, &[3, 23, 1, 0, 1], &[]), "block size"),
        (&file(u64::MAX, &many, &[]), "more than 2^20 blocks"),
        (&file(1, &many, &[]), "wrong number of blocks"),
        (&file(1, &[3, 12, 1, 0, 0], &[]), "wrong number of blocks"),
        (&file(5000, &[3, 12, 1, 0, 1], &[]), "too few blocks"),
        (&file(1, &[3, 12, 1, 1, 1, 0, 2, 9], &[]), "run form 2"),
        (&file(1, &[1, b'x'], &[64, 0]), "attribute 64"),
        (&file(1, &[1, b'x'], &[0, 0]), "not in order"),
        (&file(1, &[1, b'x'], &[3, 0, 3, 0]), "not in order"),
        (&file(1, &[1, b'x'], &[3, 1, 0]), "sparse"),
        (&file(1, &[1, b'x'], &[1, 1, 0]), "16 bytes"),
        (&file(1, &[1, b'x'], &[2, 0]), "empty"),
        (&file(1, &[1, b'x'], &[2, 6, 1, b'b', 0, 1, b'a', 0]), "not in order"),
        (&file(1, &[1, b'x'], &[2, 6, 1, b'a', 0, 1, b'a', 0]), "not in order"),
        (b"s\0\0\0\0\0", "entry type 115"),
        (b"d\xff\xff\x03\0\0\0\0", "mode or time"),
        (b"d\x80\x00\0\0\0\0", "shortest form"),
        (b"d\0\xff\xff\xff\xff\xff\x01\0\0\0", "out of range"),
        (b"d\0\0\0\0", "ends inside"),
    ];
    for (body, why) in cases {
        refused(&upsert(body), why);
    }
    assert!(decode(&upsert(&file(1, &[1, b'x'], &[63, 1, 0]))).is_ok(), "an unknown extra below 64 is skipped");
    refused(&record(0, 0, b"a", b"x"), "a delete has a body");
    refused(&record(3, 0, b"a", b""), "record operation 3");
    refused(&[0, 0x80, 0], "shortest form");
    let mut late = vec![b'd', 0, 0, 0];
    put_zigzag(&mut late, 0);
    put_varint(&mut late, 1_000_000_000);
    refused(&upsert(&late), "mode or time");
}

#[test]
fn references_stay_inside_an_object() {
    let run = |offset: u64, length: u64| {
        let mut content = vec![3, 12, 1, 1, 1];
        put_varint(&mut content, offset);
        content.push(1);
        put_varint(&mut content, length);
        record(1, 0, b"a", &file(1, &content, &[]))
    };
    decode(&run(100, 90)).unwrap();
    refused(&run(64 << 20, 90), "outside its object");
    refused(&run(u64::MAX, 90), "outside its object");
    refused(&run(0, 1 << 32), "out of range");
}

#[test]
fn a_patch_fits_its_file_or_is_refused() {
    let blocks = |count: u64| {
        let content = Content::Blocks { log2_block: 12, runs: vec![BlockRun::Hole(count)] };
        Record::Upsert(entry("a", Node::File { size: count << 12, hash: ShortId::default(), content }))
    };
    let patch = |log2_block: u8, count: u64, runs: Vec<(u64, BlockRun)>| {
        let Entry { path, attributes, extra, .. } = entry("a", Node::Fifo);
        Record::Patch(Patch { path, attributes, size: count << log2_block, hash: ShortId::default(), log2_block, runs, extra })
    };
    let hole = |count| BlockRun::Hole(count);
    assert!(fold(vec![blocks(2), patch(12, 4, vec![(1, hole(3))])]).is_ok());
    let refused = [
        ("nothing to patch", vec![patch(12, 1, vec![(0, hole(1))])]),
        ("deleted before", vec![blocks(2), Record::Delete(RelPath::new("a").unwrap()), patch(12, 2, vec![])]),
        ("no file in blocks", vec![Record::Upsert(entry("a", Node::Fifo)), patch(12, 1, vec![(0, hole(1))])]),
        ("another block size", vec![blocks(2), patch(13, 2, vec![])]),
        ("new blocks not listed", vec![blocks(2), patch(12, 4, vec![(3, hole(1))])]),
        ("past the end", vec![blocks(2), patch(12, 2, vec![(2, hole(1))])]),
    ];
    for (why, records) in refused {
        assert!(fold(records).is_err(), "{why}");
    }
}
