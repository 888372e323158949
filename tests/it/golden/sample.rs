//! A small vault with one of everything, made without the program's own writer: what both readers are held against.

use super::{KEY_TEXT, PASSPHRASE, VAULT_ID, bytes_from, keys, master};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde_json::json;
use volume_syncing_controller::seal::{Argon2Cost, ContentId, Keys, RawKey, ShortId, SlotSecret, SlotWrap};
use volume_syncing_controller::secret::Secret;
use volume_syncing_controller::tree::{Attributes, RelPath, Timestamp};
use volume_syncing_controller::vault::container::{Compression, Frame, Identity, Parts, Sealed};
use volume_syncing_controller::vault::directory::{Directory, Flags, Labels, PartRef, Plan, Run, State};
use volume_syncing_controller::vault::entry::{BlockRun, Content, Entry, Extra, FrameRef, Node, Patch, Record, fold};
use volume_syncing_controller::vault::meta::MetaWriter;
use volume_syncing_controller::vault::object::{Claim, ObjectId, ObjectKind};
use volume_syncing_controller::vault::pack::{Contained, Pack};
use volume_syncing_controller::vault::tree::Tally;

/// Cheap enough for a test, and just accepted.
pub const COST: Argon2Cost = Argon2Cost { memory_kib: 19 * 1024, passes: 2, lanes: 1 };
const CLAIM: Claim = Claim { epoch: 1, nonce: 0xdead_beef };
const LOG2_BLOCK: u8 = 12;
const BLOCK: usize = 1 << LOG2_BLOCK;

/// The vault's files and the tree as of its newest commit.
pub struct Sample {
    pub files: Vec<(String, Bytes)>,
    pub live: Vec<Live>,
}

/// An entry and, of a file, its content.
#[derive(Clone)]
pub struct Live {
    pub entry: Entry,
    pub content: Vec<u8>,
}

/// A name, attributes that differ from entry to entry, and no extras.
pub fn entry(name: &[u8], node: Node) -> Entry {
    let number = name.len() as u32;
    let mtime = Timestamp { seconds: 1_700_000_000 + i64::from(number), nanos: number };
    let mode = if matches!(node, Node::Directory) { 0o750 } else { 0o640 };
    let attributes = Attributes { mode, uid: 1000, gid: 2000, mtime };
    Entry { path: RelPath::new(name).unwrap(), attributes, node, extra: Extra::default() }
}

fn whole(keys: &Keys, content: &[u8], at: Content) -> Node {
    Node::File { size: content.len() as u64, hash: keys.content_id(content).short(), content: at }
}

struct Log {
    keys: Keys,
    config: [u8; 32],
    files: Vec<(String, Bytes)>,
    seq: u64,
    previous: [u8; 32],
    state: State,
    plan_at: u64,
}

impl Log {
    fn identity(&self) -> Identity<'_> {
        Identity { keys: &self.keys, vault_id: VAULT_ID }
    }

    fn labels(&self) -> Labels {
        Labels { app: "sample 1".into(), pod: "pod-0".into(), config: self.config }
    }

    fn directory(&self, state: State) -> Directory {
        Directory {
            epoch: CLAIM.epoch,
            nonce: CLAIM.nonce,
            writer: [7; 16],
            time_ms: 1_700_000_000_000,
            previous: self.previous,
            plan_at: self.plan_at,
            state,
            labels: self.labels(),
            ..Directory::default()
        }
    }

    /// Seals an object with records; `directory` says the rest.
    fn seal(&mut self, id: ObjectId, mut directory: Directory, records: &[Record], data: (Vec<Frame>, Vec<Frame>)) -> Sealed {
        let mut meta = MetaWriter::new(id);
        records.iter().for_each(|record| meta.push(record).unwrap());
        let meta = meta.finish();
        directory.meta = meta.listed;
        directory.table = meta.table.into_lines();
        directory.toc = data.0.iter().map(|frame| frame.stored_len() as u32).collect();
        let parts = Parts { directory: directory.encode(), meta: meta.frames, toc: data.0, data: data.1 };
        let sealed = parts.seal(self.identity(), id).unwrap();
        self.files.push((id.key(), sealed.bytes.clone()));
        sealed
    }

    fn commit(&mut self, directory: Directory, records: &[Record], data: (Vec<Frame>, Vec<Frame>)) -> Sealed {
        self.seq += 1;
        self.state = directory.state;
        if directory.plan.is_some() {
            self.plan_at = self.seq;
        }
        let sealed = self.seal(ObjectId::commit(self.seq), directory, records, data);
        self.previous = self.keys.commit_hash(&sealed.bytes[..sealed.head_len as usize]);
        sealed
    }

    fn part(&mut self, counter: u32, records: &[Record]) -> PartRef {
        let id = ObjectId::of_claim(ObjectKind::Run, CLAIM, counter);
        let directory = self.directory(State::default());
        let sealed = self.seal(id, directory, records, (vec![], vec![]));
        PartRef {
            object: id,
            length: sealed.bytes.len() as u64,
            tag: sealed.tag,
            first: records[0].path().as_bytes().to_vec(),
            count: records.len() as u64,
        }
    }
}

fn state_of(keys: &Keys, live: &[Live]) -> State {
    let mut tally = Tally::default();
    live.iter().for_each(|live| tally.add(keys, &live.entry));
    tally.state
}

/// Seals the blocks of a file, `None` for holes, into a pack.
fn pack_blocks(log: &Log, counter: u32, blocks: &[&[u8]]) -> (Sealed, Vec<FrameRef>) {
    let id = ObjectId::of_claim(ObjectKind::Pack, CLAIM, counter);
    let mut pack = Pack::new(id);
    let mut at = Vec::new();
    for block in blocks {
        let contained = Contained { id: log.keys.content_id(block), inner: 0, length: block.len() as u32 };
        at.push(pack.push(Frame::pack(block, Compression::Zstd), block.len() as u32, vec![contained]));
    }
    let sealed = pack.seal(log.identity(), CLAIM, [7; 16], log.labels()).unwrap();
    at.iter_mut().for_each(|frame| frame.offset += u64::from(sealed.head_len));
    (sealed, at)
}

fn blocks_hash(keys: &Keys, content: &[u8]) -> ShortId {
    let mut ids = keys.block_ids(LOG2_BLOCK, content.len() as u64);
    for block in content.chunks(BLOCK) {
        let id = if block.iter().all(|byte| *byte == 0) { ContentId::HOLE } else { keys.content_id(block) };
        ids.push(&id);
    }
    ids.finish()
}

fn stored(frames: &[FrameRef]) -> BlockRun {
    BlockRun::Stored {
        object: frames[0].object,
        offset: frames[0].offset,
        lengths: frames.iter().map(|frame| frame.length).collect(),
    }
}

/// Everything but the file in blocks, with contents in the commit's own frame (offsets from its first data frame).
fn first_tree(keys: &Keys, own: ObjectId) -> (Vec<Live>, Vec<Frame>) {
    let (one, two) = (bytes_from(1, 300), bytes_from(2, 500));
    let mut sparse = vec![0; 20_000];
    sparse[9000] = 1;
    let body = [&one[..], &two, &sparse].concat();
    let frame = Frame::pack(&body, Compression::Zstd);
    let at = FrameRef { object: own, offset: 0, length: frame.stored_len() as u32 };
    let slice = |content: &[u8], inner: u32| whole(keys, content, Content::Slice { frame: at, inner });
    let literal = |content: &[u8]| whole(keys, content, Content::Literal(content.to_vec()));
    let mut live = vec![
        Live { entry: entry(b"d", Node::Directory), content: vec![] },
        Live { entry: entry(b"d/empty", whole(keys, b"", Content::Empty)), content: vec![] },
        Live { entry: entry(b"d/literal", literal(b"literal")), content: b"literal".to_vec() },
        Live { entry: entry(b"d/one", slice(&one, 0)), content: one },
        Live { entry: entry(b"d/twin", slice(&two, 300)), content: two.clone() },
        Live { entry: entry(b"d/two", slice(&two, 300)), content: two },
        Live { entry: entry(b"d.link", Node::Symlink { target: b"d/one".to_vec() }), content: vec![] },
        Live { entry: entry(b"pipe", Node::Fifo), content: vec![] },
        Live { entry: entry(b"raw \xff\n", literal(b"name")), content: b"name".to_vec() },
        Live { entry: entry(b"sparse", slice(&sparse, 800)), content: sparse },
    ];
    live[3].entry.extra.xattrs = vec![(b"user.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), vec![])];
    live[5].entry.attributes = live[4].entry.attributes;
    live[4].entry.extra.hard_link = Some([5; 16]);
    live[5].entry.extra.hard_link = Some([5; 16]);
    live[9].entry.extra.sparse = true;
    (live, vec![frame])
}

fn upserts(live: &[Live]) -> Vec<Record> {
    live.iter().map(|live| Record::Upsert(live.entry.clone())).collect()
}

/// A log that begins with a claim.
fn claimed() -> Log {
    let (config, slots) = config_and_slots();
    let digest = Keys::file_digest(&config);
    let mut log = Log {
        keys: keys(),
        config: digest,
        files: vec![("vault.json".into(), config)],
        seq: 0,
        previous: [0; 32],
        state: State::default(),
        plan_at: 0,
    };
    log.files.extend(slots);
    let claim = Directory { flags: Flags::CLAIM, ..log.directory(State::default()) };
    log.commit(claim, &[], (vec![], vec![]));
    log
}

/// The files of a vault whose newest commit has exactly these entries, in this order, whether they make sense or not.
/// A file's content is its name.
pub fn planted(entries: &[(&str, Option<Node>)]) -> Vec<(String, Bytes)> {
    let mut log = claimed();
    let node = |name: &str| whole(&log.keys, name.as_bytes(), Content::Literal(name.into()));
    let live = |(name, given): &(&str, Option<Node>)| {
        let node = given.clone().unwrap_or_else(|| node(name));
        Live { entry: entry(name.as_bytes(), node), content: vec![] }
    };
    let live: Vec<Live> = entries.iter().map(live).collect();
    let directory = log.directory(state_of(&log.keys, &live));
    log.commit(directory, &upserts(&live), (vec![], vec![]));
    log.files
}

/// The vault: a claim, a first push, a push whose records lie in a part, a merge, a release.
pub fn build() -> Sample {
    let mut log = claimed();
    let keys = keys();
    let empty = || (vec![], vec![]);

    // Commit 2: everything, the large file's blocks in a pack.
    let own = ObjectId::commit(2);
    let (mut live, data) = first_tree(&keys, own);
    let zeros = vec![0; BLOCK];
    let big =
        [bytes_from(10, BLOCK), zeros.clone(), bytes_from(11, BLOCK), bytes_from(12, BLOCK), zeros, bytes_from(13, 10)].concat();
    let block = |number: usize| &big[number * BLOCK..big.len().min((number + 1) * BLOCK)];
    let (pack, at) = pack_blocks(&log, 0, &[block(0), block(2), block(3), block(5)]);
    log.files.push((pack.id.key(), pack.bytes));
    let runs = vec![stored(&at[..1]), BlockRun::Hole(1), stored(&at[1..3]), BlockRun::Hole(1), stored(&at[3..])];
    let content = Content::Blocks { log2_block: LOG2_BLOCK, runs };
    let node = Node::File { size: big.len() as u64, hash: blocks_hash(&keys, &big), content };
    live.insert(0, Live { entry: entry(b"big", node), content: big.clone() });
    let directory = log.directory(state_of(&keys, &live));
    let sealed = log.commit(directory, &upserts(&live), (vec![], data));
    let second = (log.previous, state_of(&keys, &live));
    for live in &mut live {
        if let Node::File { content: Content::Slice { frame, .. }, .. } = &mut live.entry.node {
            frame.offset += u64::from(sealed.head_len);
        }
    }
    let merged = upserts(&live);

    // Commit 3: a patch and a delete, in a part.
    let mut changed = big[..4 * BLOCK + 5].to_vec();
    changed[BLOCK..2 * BLOCK].copy_from_slice(&bytes_from(14, BLOCK));
    let (pack, at) = pack_blocks(&log, 1, &[&changed[BLOCK..2 * BLOCK]]);
    log.files.push((pack.id.key(), pack.bytes));
    let patch = Patch {
        path: live[0].entry.path.clone(),
        attributes: Attributes { mode: 0o600, ..live[0].entry.attributes },
        size: changed.len() as u64,
        hash: blocks_hash(&keys, &changed),
        log2_block: LOG2_BLOCK,
        runs: vec![(1, stored(&at)), (4, BlockRun::Hole(1))],
        extra: Extra::default(),
    };
    let patched = fold(vec![Record::Upsert(live[0].entry.clone()), Record::Patch(patch.clone())]).unwrap().unwrap();
    live[0] = Live { entry: patched, content: changed };
    let gone = live.remove(3);
    let part = log.part(2, &[Record::Patch(patch), Record::Delete(gone.entry.path)]);
    let directory = Directory { parts: vec![part], ..log.directory(state_of(&keys, &live)) };
    log.commit(directory, &[], empty());

    // Commit 4: the run (0, 2].
    let part = log.part(3, &merged);
    let run = Run { from: 0, to: 2, hash: second.0, parts: vec![part] };
    let plan = Some(Plan { runs: vec![run], log_floor: 2 });
    let directory = Directory { plan, ..log.directory(log.state) };
    log.commit(directory, &[], empty());

    // Commit 5: one more file, with the release.
    let new = entry(b"new", whole(&keys, b"new", Content::Literal(b"new".to_vec())));
    let at = live.iter().position(|live| live.entry.path > new.path).unwrap();
    live.insert(at, Live { entry: new.clone(), content: b"new".to_vec() });
    let directory = Directory { flags: Flags::RELEASE, ..log.directory(state_of(&keys, &live)) };
    log.commit(directory, &[Record::Upsert(new)], empty());
    Sample { files: log.files, live }
}

fn config_and_slots() -> (Bytes, Vec<(String, Bytes)>) {
    let id = HEXLOWER.encode(&VAULT_ID);
    let mut covered = b"svault\0\x01\0\0\0".to_vec();
    covered.extend_from_slice(id.as_bytes());
    covered.extend_from_slice(&1_700_000_000_000u64.to_le_bytes());
    covered.extend_from_slice(&24u32.to_le_bytes());
    let config = json!({
        "format": "svault", "version": 1, "vault_id": id, "created": 1_700_000_000_000u64, "incompat": [], "t_fence_h": 24,
        "mac": HEXLOWER.encode(&keys().config_mac(&covered)),
    });
    let (key, words) = (RawKey::parse(KEY_TEXT).unwrap(), Secret::new(PASSPHRASE.to_string()));
    let slots = [
        (SlotSecret::Raw(&key), SlotSecret::Raw(&key).slot_name(&VAULT_ID), json!(null)),
        (SlotSecret::Passphrase(&words, COST), "p0123456789abcdef".to_string(), json!({"m": 19 * 1024, "t": 2, "p": 1})),
    ]
    .map(|(secret, name, kdf)| {
        let wrap = SlotWrap::seal(&master(), secret, &VAULT_ID, 0).unwrap();
        let slot = json!({
            "slot": name, "gen": 0, "type": secret.type_name(), "label": "sample", "kdf": kdf,
            "salt": HEXLOWER.encode(&wrap.salt), "wrapped": HEXLOWER.encode(&wrap.wrapped),
            "commitment": HEXLOWER.encode(&wrap.commitment),
        });
        (format!("keys/{name}.json"), Bytes::from(serde_json::to_vec_pretty(&slot).unwrap()))
    });
    (Bytes::from(serde_json::to_vec_pretty(&config).unwrap()), slots.into())
}
