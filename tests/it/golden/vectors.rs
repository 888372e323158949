//! The vectors, computed from fixed inputs. tests/format/check_vectors.py computes them a second way.

use super::sample::{COST, entry};
use super::{KEY_TEXT, PASSPHRASE, VAULT_ID, bytes_from, keys, master};
use data_encoding::HEXLOWER;
use std::collections::BTreeMap;
use volume_syncing_controller::seal::{ContentId, Keys, RawKey, SlotSecret, SlotWrap};
use volume_syncing_controller::secret::Secret;
use volume_syncing_controller::tree::RelPath;
use volume_syncing_controller::vault::container::{Compression, Frame, Identity, Parts, Sealed, padded_len};
use volume_syncing_controller::vault::directory::Table;
use volume_syncing_controller::vault::directory::{Directory, Flags, Labels, PartRef, Plan, Run, State};
use volume_syncing_controller::vault::entry::{BlockRun, Content, Entry, FrameRef, Node, Patch, Record, fold};
use volume_syncing_controller::vault::meta::MetaWriter;
use volume_syncing_controller::vault::object::{Claim, ObjectId, ObjectKind, log_name};
use volume_syncing_controller::vault::pack::{Contained, Pack};
use volume_syncing_controller::vault::record::{logical_record, put_record};
use volume_syncing_controller::vault::tree::Tally;

const CLAIM: Claim = Claim { epoch: 1, nonce: 0xdead_beef };
const OWN: ObjectId = ObjectId { kind: ObjectKind::Commit, a: 7, b: 0 };

type Vectors = BTreeMap<String, String>;

/// Every vector by name.
pub fn all() -> Vectors {
    let mut out = Vectors::new();
    put_keys(&mut out);
    put_slots(&mut out);
    put_records(&mut out);
    put_folds(&mut out);
    put_containers(&mut out);
    for length in [0, 1, 496, 497, 512, 1000, 1010, 4080, 4081, 4096, 4097, 70_000, (1 << 20) + 1, (1 << 24) + 1] {
        out.insert(format!("padded {length:08}"), padded_len(length).to_string());
    }
    for seq in [0, 1, u64::MAX] {
        out.insert(format!("log name {seq}"), log_name(seq));
    }
    out
}

fn put(out: &mut Vectors, name: &str, bytes: &[u8]) {
    assert_eq!(out.insert(name.to_string(), HEXLOWER.encode(bytes)), None, "{name} is there already");
}

fn put_keys(out: &mut Vectors) {
    let keys = keys();
    let header: [u8; 96] = std::array::from_fn(|at| at as u8);
    put(out, "key content_id of abc", &keys.content_id(b"abc").0);
    put(out, "key content_id of nothing", &keys.content_id(b"").0);
    put(out, "key commit_hash of abc", &keys.commit_hash(b"abc"));
    put(out, "key state_term of abc", &keys.state_term(b"abc"));
    put(out, "key pin_mac of abc", &keys.pin_mac(b"abc"));
    put(out, "key config_mac of abc", &keys.config_mac(b"abc"));
    put(out, "file digest of abc", &Keys::file_digest(b"abc"));
    let hedge: &[u8; 64] = header.first_chunk().unwrap();
    put(out, "key salt of abc and def", &keys.salt_with(&[9; 32], hedge, [&b"abc"[..], b"def"].into_iter()));
    let mut blocks = keys.block_ids(16, 100_000);
    blocks.push(&keys.content_id(b"abc"));
    blocks.push(&ContentId::HOLE);
    put(out, "key block_ids of abc and a hole", &blocks.finish().0);
    let object = keys.object_key(&header);
    put(out, "object commitment", object.commitment());
    let mut frame = b"\0abc".to_vec();
    object.seal_tail(0x1234, 3, &mut frame, 0);
    put(out, "frame abc at 0x1234", &frame);
}

fn put_slots(out: &mut Vectors) {
    let key = RawKey::parse(KEY_TEXT).unwrap();
    assert_eq!(key.to_text().expose(), KEY_TEXT);
    out.insert("raw key".into(), KEY_TEXT.into());
    let words = Secret::new(PASSPHRASE.to_string());
    out.insert("slot name of the raw key".into(), SlotSecret::Raw(&key).slot_name(&VAULT_ID));
    for (name, secret) in [("raw32", SlotSecret::Raw(&key)), ("argon2id", SlotSecret::Passphrase(&words, COST))] {
        let wrap = SlotWrap::seal_with_salt(&master(), secret, &VAULT_ID, 0, [8; 32]).unwrap();
        put(out, &format!("slot {name} wrapped"), &wrap.wrapped);
        put(out, &format!("slot {name} commitment"), &wrap.commitment);
    }
}

fn pack_id(counter: u32) -> ObjectId {
    ObjectId::of_claim(ObjectKind::Pack, CLAIM, counter)
}

fn at(offset: u64, length: u32) -> FrameRef {
    FrameRef { object: pack_id(5), offset, length }
}

fn file(name: &[u8], size: u64, content: Content) -> Entry {
    entry(name, Node::File { size, hash: keys().content_id(name).short(), content })
}

/// Five blocks of 64 KiB and a bit: stored, hole, two of one length, two of different lengths.
fn in_blocks(name: &[u8]) -> Entry {
    let run =
        |offset, lengths: &[u32]| BlockRun::Stored { object: pack_id(5), offset, lengths: lengths.iter().copied().collect() };
    let runs = vec![run(200, &[40]), BlockRun::Hole(1), run(1000, &[60, 60]), run(5000, &[70, 30])];
    file(name, 5 * 65_536 + 1, Content::Blocks { log2_block: 16, runs })
}

fn patch(name: &[u8], size: u64, runs: Vec<(u64, BlockRun)>) -> Patch {
    let Entry { path, attributes, extra, .. } = entry(name, Node::Fifo);
    Patch { path, attributes, size, hash: keys().content_id(b"patched").short(), log2_block: 16, runs, extra }
}

/// Records in path order, with everything a record can have.
fn records() -> Vec<Record> {
    let mut linked = file(b"dir/b", 10, Content::Slice { frame: FrameRef { object: OWN, offset: 30, length: 90 }, inner: 4 });
    linked.extra.hard_link = Some([0xaa; 16]);
    linked.extra.xattrs = vec![(b"user.a".to_vec(), b"one".to_vec()), (b"user.b".to_vec(), vec![])];
    linked.extra.sparse = true;
    let mut old = file(b"dir/a", 3, Content::Literal(b"abc".to_vec()));
    old.attributes.mtime.seconds = -1;
    old.attributes.mode = 0o7777;
    vec![
        Record::Upsert(entry(b"dir", Node::Directory)),
        Record::Upsert(old),
        Record::Upsert(linked),
        Record::Upsert(file(b"dir/c", 10, Content::Slice { frame: at(300, 90), inner: 14 })),
        Record::Upsert(file(b"dir/d", 0, Content::Empty)),
        Record::Delete(RelPath::new("dir/gone").unwrap()),
        Record::Upsert(entry(b"dir.link", Node::Symlink { target: b"../\xff".to_vec() })),
        Record::Upsert(entry(b"name \xff\xfe", Node::Fifo)),
        Record::Upsert(in_blocks(b"x/blocks")),
        Record::Patch(patch(b"x/patch", 70_000, vec![(0, BlockRun::Hole(1))])),
    ]
}

fn put_records(out: &mut Vectors) {
    let mut table = Table::new(OWN);
    let (mut body, mut previous) = (Vec::new(), Vec::new());
    for record in records() {
        let start = body.len();
        put_record(&mut body, &previous, &record, &mut table);
        put(out, &format!("record {}", record.path()), &body[start..]);
        previous = record.path().as_bytes().to_vec();
    }
    put(out, "records", &body);
    for record in records() {
        if let Record::Upsert(entry) = record {
            put(out, &format!("logical record {}", entry.path), &logical_record(&entry));
        }
    }
}

/// The state sum and the encoding after each of an upsert, two patches and a delete.
fn put_folds(out: &mut Vectors) {
    let keys = keys();
    let name = b"x/blocks";
    let new = |offset, length| BlockRun::Stored { object: pack_id(6), offset, lengths: [length].into_iter().collect() };
    let grows = patch(name, 7 * 65_536, vec![(1, new(128, 50)), (5, BlockRun::Hole(1)), (6, new(178, 51))]);
    let shrinks = patch(name, 2 * 65_536, vec![(0, new(300, 52))]);
    let steps = [Record::Upsert(in_blocks(name)), Record::Patch(grows), Record::Patch(shrinks)];
    let mut tally = Tally::default();
    tally.add(&keys, &entry(b"dir", Node::Directory));
    let mut before: Option<Entry> = None;
    for count in 1..=steps.len() {
        let now = fold(steps[..count].to_vec()).unwrap().unwrap();
        if let Some(before) = before {
            tally.remove(&keys, &before);
        }
        tally.add(&keys, &now);
        let mut body = Vec::new();
        put_record(&mut body, b"", &Record::Upsert(now.clone()), &mut Table::new(OWN));
        put(out, &format!("fold of {count}"), &body);
        put(out, &format!("state sum of {count}"), &tally.state.sum);
        before = Some(now);
    }
    tally.remove(&keys, &before.unwrap());
    put(out, "state sum of 4, a delete", &tally.state.sum);
}

fn labels() -> Labels {
    Labels { app: "sample 1".into(), pod: "pod-0".into(), config: bytes_from(20, 32).try_into().unwrap() }
}

fn directory(previous: &[u8]) -> Directory {
    Directory {
        epoch: CLAIM.epoch,
        nonce: CLAIM.nonce,
        writer: bytes_from(21, 16).try_into().unwrap(),
        time_ms: 1_700_000_000_000,
        previous: previous.try_into().unwrap(),
        state: State { files: 3, dirs: 1, bytes: 99, sum: bytes_from(22, 32).try_into().unwrap() },
        labels: labels(),
        ..Directory::default()
    }
}

/// Seals with a salt that the object's number fixes. The directory must not shrink under zstd, whose output is no part of
/// the format.
fn seal(out: &mut Vectors, name: &str, id: ObjectId, directory: &Directory, parts: Parts) -> Sealed {
    let identity = Identity { keys: &keys(), vault_id: VAULT_ID };
    let parts = Parts { directory: directory.encode(), ..parts };
    let raw = parts.directory.len() + 17;
    let sealed = parts.seal_salted(identity, id, Some([id.kind as u8; 32])).unwrap();
    assert_eq!(sealed.bytes[56..60], u32::try_from(raw).unwrap().to_le_bytes(), "{name}: its directory is not raw");
    put(out, &format!("container {name}"), &sealed.bytes);
    sealed
}

fn with_records(id: ObjectId, records: &[Record], directory: &mut Directory) -> Vec<Frame> {
    let mut writer = MetaWriter::new(id);
    records.iter().for_each(|record| writer.push(record).unwrap());
    let meta = writer.finish();
    directory.meta = meta.listed;
    directory.table = meta.table.into_lines();
    meta.frames
}

fn put_containers(out: &mut Vectors) {
    let keys = keys();
    let hash = |sealed: &Sealed| keys.commit_hash(&sealed.bytes[..sealed.head_len as usize]);

    // A chain of three commits: an empty one, one with records and a data frame, one with a plan.
    let first = Directory { flags: Flags::CLAIM, ..directory(&bytes_from(23, 32)) };
    let first = seal(out, "commit 6, empty", ObjectId::commit(6), &first, Parts::default());
    put(out, "H of commit 6", &hash(&first));
    let mut second = directory(&hash(&first));
    let short = [Record::Upsert(file(&bytes_from_name(30), 3, Content::Literal(bytes_from(24, 3))))];
    let meta = with_records(OWN, &short, &mut second);
    let data = vec![Frame::pack(&bytes_from(25, 100), Compression::None)];
    let second = seal(out, "commit 7, with records", OWN, &second, Parts { meta, data, ..Parts::default() });
    put(out, "H of commit 7", &hash(&second));

    let mut run = directory(&bytes_from(26, 32));
    let id = ObjectId::of_claim(ObjectKind::Run, CLAIM, 2);
    let meta = with_records(id, &short, &mut run);
    let run = seal(out, "run part", id, &run, Parts { meta, ..Parts::default() });
    let length = run.bytes.len() as u64;
    let part = PartRef { object: id, length, tag: run.tag, first: short[0].path().as_bytes().to_vec(), count: 1 };
    let merged = Run { from: 0, to: 6, hash: hash(&first), parts: vec![part] };
    let plan = Some(Plan { runs: vec![merged], log_floor: 5 });
    let third = Directory { plan, plan_at: 4, ..directory(&hash(&second)) };
    let third = seal(out, "commit 8, with a plan", ObjectId::commit(8), &third, Parts::default());
    put(out, "H of commit 8", &hash(&third));

    let fork = Directory { fork_of: 8, ..directory(&hash(&third)) };
    let id = ObjectId::of_claim(ObjectKind::Fork, CLAIM, 4);
    seal(out, "fork", id, &fork, Parts::default());

    let mut pack = Pack::new(pack_id(5));
    for seed in [27, 28] {
        let body = bytes_from(seed, 64);
        let contents = vec![Contained { id: keys.content_id(&body), inner: 0, length: 64 }];
        pack.push(Frame::pack(&body, Compression::None), 64, contents);
    }
    let (toc, data) = pack.into_frames();
    let lengths = toc.iter().map(|frame| frame.stored_len() as u32).collect();
    let packed = Directory { toc: lengths, ..directory(&bytes_from(29, 32)) };
    seal(out, "pack", pack_id(5), &packed, Parts { toc, data, ..Parts::default() });
}

/// A name of hexadecimal digits.
fn bytes_from_name(seed: u8) -> Vec<u8> {
    HEXLOWER.encode(&bytes_from(seed, 8)).into_bytes()
}
