//! Arbitrary trees, records and directories, as far as the format allows them.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use volume_syncing_controller::seal::ShortId;
use volume_syncing_controller::tree::{Attributes, RelPath, Timestamp};
use volume_syncing_controller::vault::directory::{Directory, Flags, Labels, MetaFrame, PartRef, Plan, Run, State, TableLine};
use volume_syncing_controller::vault::entry::{BlockRun, Content, Entry, Extra, FrameRef, Node, Patch, Record, block_count};
use volume_syncing_controller::vault::object::{Claim, ObjectId, ObjectKind};
use volume_syncing_controller::vault::orphans::Upkeep;

/// The commit that arbitrary records lie in.
pub const OWN: ObjectId = ObjectId { kind: ObjectKind::Commit, a: 7, b: 0 };

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'a'), Just(b'b'), Just(b'.'), Just(b'-'), any::<u8>()];
    vec(byte, 1..6)
        .prop_map(|mut name| {
            name.iter_mut().filter(|byte| matches!(byte, 0 | b'/')).for_each(|byte| *byte = 0xff);
            if matches!(&name[..], b"." | b"..") { b"dot".to_vec() } else { name }
        })
        .boxed()
}

pub fn path() -> impl Strategy<Value = RelPath> {
    vec(name(), 1..4).prop_map(|names| RelPath::new(names.join(&b'/')).unwrap())
}

pub fn object() -> impl Strategy<Value = ObjectId> {
    let claim = (0..3u32, 0..2u32).prop_map(|(epoch, nonce)| Claim { epoch, nonce });
    let kind = prop_oneof![Just(ObjectKind::Run), Just(ObjectKind::Pack), Just(ObjectKind::Fork)];
    prop_oneof![
        Just(OWN),
        (1..5u64).prop_map(ObjectId::commit),
        (kind, claim, 0..3u32).prop_map(|(kind, claim, counter)| ObjectId::of_claim(kind, claim, counter)),
    ]
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let mtime = (any::<i64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos });
    (0..=0o7777u32, any::<u32>(), any::<u32>(), mtime).prop_map(|(mode, uid, gid, mtime)| Attributes { mode, uid, gid, mtime })
}

fn extra() -> impl Strategy<Value = Extra> {
    let xattrs = btree_map(vec(any::<u8>(), 1..9), vec(any::<u8>(), 0..9), 0..3);
    (option::of(any::<[u8; 16]>()), xattrs, any::<bool>()).prop_map(|(hard_link, xattrs, sparse)| Extra {
        hard_link,
        xattrs: xattrs.into_iter().collect(),
        sparse,
    })
}

pub fn run() -> impl Strategy<Value = BlockRun> {
    let lengths = prop_oneof![(17..100u32, 1..5usize).prop_map(|(length, count)| vec![length; count]), vec(17..9000u32, 1..5)];
    let stored =
        (object(), 0..1_000_000u64, lengths).prop_map(|(object, offset, lengths)| BlockRun::Stored { object, offset, lengths });
    prop_oneof![(1..9u64).prop_map(BlockRun::Hole), stored]
}

/// Content and the size it is of.
fn content() -> impl Strategy<Value = (u64, Content)> {
    let slice = (1..200_000u64, object(), 0..1_000_000u64, 17..300_000u32, 0..100_000u32).prop_map(
        |(size, object, offset, length, inner)| (size, Content::Slice { frame: FrameRef { object, offset, length }, inner }),
    );
    let blocks = (12..=22u8, vec(run(), 1..5), any::<u64>()).prop_map(|(log2_block, runs, short)| {
        let count: u64 = runs.iter().map(BlockRun::count).sum();
        ((count << log2_block) - short % (1 << log2_block), Content::Blocks { log2_block, runs })
    });
    prop_oneof![
        Just((0, Content::Empty)),
        vec(any::<u8>(), 1..=128).prop_map(|bytes| (bytes.len() as u64, Content::Literal(bytes))),
        slice,
        blocks,
    ]
}

fn node() -> impl Strategy<Value = Node> {
    let file =
        (any::<[u8; 16]>(), content()).prop_map(|(hash, (size, content))| Node::File { size, hash: ShortId(hash), content });
    let link = vec(any::<u8>(), 1..20).prop_map(|target| Node::Symlink { target });
    prop_oneof![4 => file, 1 => Just(Node::Directory), 1 => link, 1 => Just(Node::Fifo)]
}

pub fn entry() -> impl Strategy<Value = Entry> {
    (path(), attributes(), node(), extra()).prop_map(|(path, attributes, node, extra)| Entry { path, attributes, node, extra })
}

fn patch() -> impl Strategy<Value = Patch> {
    (path(), attributes(), any::<[u8; 16]>(), 12..=22u8, vec((0..5u64, run()), 0..4), extra()).prop_map(
        |(path, attributes, hash, log2_block, gaps, extra)| {
            let mut end = 0;
            let mut runs = Vec::new();
            for (gap, run) in gaps {
                runs.push((end + gap, run.clone()));
                end += gap + run.count();
            }
            let size = end << log2_block;
            assert_eq!(block_count(size, log2_block), end);
            Patch { path, attributes, size, hash: ShortId(hash), log2_block, runs, extra }
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![1 => path().prop_map(Record::Delete), 4 => entry().prop_map(Record::Upsert), 2 => patch().prop_map(Record::Patch)]
}

/// Records in path order.
pub fn records(most: usize) -> impl Strategy<Value = Vec<Record>> {
    vec(record(), 0..most).prop_map(|mut records| {
        records.sort_by(|a, b| a.path().cmp(b.path()));
        records.dedup_by(|a, b| a.path() == b.path());
        records
    })
}

/// Entries in path order.
pub fn entries(most: usize) -> impl Strategy<Value = Vec<Entry>> {
    vec(entry(), 0..most).prop_map(|mut entries| {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries.dedup_by(|a, b| a.path == b.path);
        entries
    })
}

fn part() -> impl Strategy<Value = PartRef> {
    (object(), any::<u64>(), any::<[u8; 16]>(), vec(any::<u8>(), 0..9), any::<u64>())
        .prop_map(|(object, length, tag, first, count)| PartRef { object, length, tag, first, count })
}

fn plan() -> impl Strategy<Value = Plan> {
    let run = (any::<u64>(), any::<u64>(), any::<[u8; 32]>(), vec(part(), 0..3)).prop_map(|(from, to, hash, parts)| Run {
        from,
        to,
        hash,
        parts,
    });
    (vec(run, 0..3), any::<u64>()).prop_map(|(runs, log_floor)| Plan { runs, log_floor })
}

pub fn directory() -> impl Strategy<Value = Directory> {
    let meta = (any::<u32>(), vec(any::<u8>(), 0..9), any::<u32>()).prop_map(|(length, first, count)| MetaFrame {
        length,
        first,
        count,
    });
    let line = (object(), any::<u64>()).prop_map(|(object, referenced)| TableLine { object, referenced });
    let state = (any::<u64>(), any::<u64>(), any::<u64>(), any::<[u8; 32]>()).prop_map(|(files, dirs, bytes, sum)| State {
        files,
        dirs,
        bytes,
        sum,
    });
    let labels = (any::<String>(), any::<String>(), any::<[u8; 32]>()).prop_map(|(app, pod, config)| Labels { app, pod, config });
    let who = (any::<u32>(), any::<[u8; 16]>(), any::<u64>(), any::<[u8; 32]>(), any::<u64>(), any::<u32>(), any::<u64>());
    let lists = (vec(meta, 0..3), vec(any::<u32>(), 0..3), vec(line, 0..3), vec(part(), 0..3));
    let upkeep = option::of((any::<u32>(), any::<u64>(), any::<u32>()).prop_map(|(counter, claimed_at, swept)| Upkeep {
        counter,
        claimed_at,
        swept,
    }));
    let plans = (option::of(plan()), any::<u64>());
    (who, lists, state, plans, upkeep, labels).prop_map(|(who, lists, state, (plan, plan_at), upkeep, labels)| {
        let (epoch, writer, time_ms, previous, flags, nonce, fork_of) = who;
        let (meta, toc, table, parts) = lists;
        let flags = Flags(flags);
        Directory {
            epoch,
            writer,
            time_ms,
            previous,
            flags,
            meta,
            toc,
            table,
            state,
            plan,
            plan_at,
            labels,
            parts,
            nonce,
            fork_of,
            upkeep,
        }
    })
}
