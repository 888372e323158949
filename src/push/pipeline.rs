//! Where the stages meet: read → hash and compress → pack → upload. Channels are bounded, and so are the bytes in
//! flight: batches under way, one pack being filled, and the packs being uploaded.

use super::PushError;
use super::batch::finished;
use super::batch::{BlockDone, Captured, SmallDone, SmallPlaced, Subject};
use super::spool::{ChangeReader, ChangeSpool};
use crate::runtime::{OrderedReceiver, Stop, Tasks, limits, wait_blocking};
use crate::seal::ContentId;
use crate::store::Fencing;
use crate::vault::container::Sealed;
use crate::vault::directory::Labels;
use crate::vault::entry::{BlockRun, Content, FrameRef, Node, Patch, RunBuilder, blocks_of};
use crate::vault::error::VaultError;
use crate::vault::object::{Claim, ObjectId, ObjectKind};
use crate::vault::open::Vault;
use crate::vault::pack::{Contained, Pack};
use crate::vault::writer::Writer;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// What the reading stage sends, in path order.
#[derive(Debug)]
pub enum Stage {
    /// A batch of small files and finished changes.
    Small(SmallDone),
    /// A large file begins.
    Start(Box<Large>),
    /// Another name of a large file that came whole before.
    Linked(Box<Subject>, [u8; 16]),
    /// Some of its blocks.
    Blocks(Vec<BlockDone>),
    /// It ends; unless it was read whole, it is forgotten.
    End {
        /// Whether it was read whole and did not change meanwhile.
        whole: bool,
    },
}

/// A large file on its way.
#[derive(Debug)]
pub struct Large {
    subject: Subject,
    log2: u8,
    old: Vec<Option<FrameRef>>,
    blocks: Vec<Option<FrameRef>>,
    ids: Vec<ContentId>,
    changed: Vec<bool>,
}

impl Large {
    /// A file that will be cut into blocks of 2^`log2` bytes.
    pub fn new(subject: Subject, log2: u8) -> Large {
        let old = match subject.before.as_deref().map(|before| &before.entry.node) {
            Some(Node::File { content: Content::Blocks { log2_block, runs }, .. }) if *log2_block == log2 => blocks_of(runs),
            _ => Vec::new(),
        };
        Large { subject, log2, old, blocks: Vec::new(), ids: Vec::new(), changed: Vec::new() }
    }

    fn push(&mut self, block: Option<FrameRef>, id: ContentId) {
        let index = self.blocks.len();
        self.changed.push(self.old.get(index) != Some(&block));
        self.blocks.push(block);
        self.ids.push(id);
    }

    fn finish(self, vault: &Vault) -> Captured {
        let size = self.subject.found.size;
        let mut hash = vault.keys().block_ids(self.log2, size);
        self.ids.iter().for_each(|id| hash.push(id));
        let hash = hash.finish();
        let mut runs = RunBuilder::default();
        self.blocks.iter().for_each(|block| runs.push(*block));
        let content = Content::Blocks { log2_block: self.log2, runs: runs.finish() };
        let changed = self.changed.iter().filter(|changed| **changed).count();
        let patch = (!self.old.is_empty() && changed * 2 < self.blocks.len()).then(|| patch_runs(&self.blocks, &self.changed));
        let log2_block = self.log2;
        match (finished(self.subject, Node::File { size, hash, content }, self.ids), patch) {
            (Captured::Upsert(indexed), Some(runs)) => {
                let entry = &indexed.entry;
                let patch = Patch {
                    path: entry.path.clone(),
                    attributes: entry.attributes,
                    size,
                    hash,
                    log2_block,
                    runs,
                    extra: entry.extra.clone(),
                };
                Captured::Patch(indexed, Box::new(patch))
            }
            (captured, _) => captured,
        }
    }
}

fn patch_runs(blocks: &[Option<FrameRef>], changed: &[bool]) -> Vec<(u64, BlockRun)> {
    let mut runs = Vec::new();
    let mut index = 0;
    while index < blocks.len() {
        if !changed[index] {
            index += 1;
            continue;
        }
        let mut next = index as u64;
        let end = (index..blocks.len()).find(|i| !changed[*i]).unwrap_or(blocks.len());
        let mut folded = RunBuilder::default();
        blocks[index..end].iter().for_each(|block| folded.push(*block));
        for run in folded.finish() {
            let count = run.count();
            runs.push((next, run));
            next += count;
        }
        index = end;
    }
    runs
}

/// A sealed object and the room it takes among those in flight.
pub type Upload = (Sealed, OwnedSemaphorePermit);
/// What an [`Outbox`] was given, in that order.
pub type Uploads = mpsc::Receiver<Upload>;

/// Hands sealed objects to the uploads.
#[derive(Debug, Clone)]
pub struct Outbox {
    sender: mpsc::Sender<Upload>,
    room: Arc<Semaphore>,
}

impl Outbox {
    /// An outbox and what [`upload_all`] reads.
    pub fn new() -> (Outbox, Uploads) {
        let (sender, receiver) = mpsc::channel(limits::UPLOADS);
        (Outbox { sender, room: Arc::new(Semaphore::new(limits::UPLOADS)) }, receiver)
    }

    /// Waits for room; an object should be sealed only then, so that sealed ones do not pile up.
    pub fn wait_for_room(&self) -> Result<OwnedSemaphorePermit, PushError> {
        wait_blocking(Arc::clone(&self.room).acquire_owned()).map_err(|_| PushError::NextStage)
    }

    /// Sends it off.
    pub fn send(&self, sealed: Sealed, room: OwnedSemaphorePermit) -> Result<(), PushError> {
        self.sender.blocking_send((sealed, room)).map_err(|_| PushError::NextStage)
    }

    /// Seals a pack and sends it off. Returns where its data begins.
    pub fn send_pack(&self, pack: Pack, identity: &PackIdentity) -> Result<u32, PushError> {
        let room = self.wait_for_room()?;
        let id = pack.id();
        let sealed = pack.seal(identity.vault.identity(), identity.claim, identity.writer, identity.labels.clone());
        let sealed = sealed.map_err(|what| VaultError::corrupt(id, what))?;
        let data_at = sealed.head_len;
        self.send(sealed, room)?;
        Ok(data_at)
    }
}

/// Uploads what comes, several at once, until the senders are gone. Returns the number of objects.
pub async fn upload_all(
    vault: &Vault,
    fencing: Fencing,
    mut receiver: Uploads,
    mut before_first: impl FnMut() -> Result<(), PushError>,
    stop: &Stop,
) -> Result<u64, PushError> {
    let mut tasks: Tasks<Result<(), PushError>> = Tasks::new("upload");
    let mut objects = 0;
    loop {
        // Both branches are cancel-safe: a received object is moved into its task at once.
        tokio::select! {
            next = receiver.recv() => match next {
                Some((sealed, room)) => {
                    if objects == 0 {
                        before_first()?;
                    }
                    objects += 1;
                    let (vault, stop) = (vault.clone(), stop.clone());
                    tasks.spawn(async move {
                        Writer::upload(&vault, fencing, &sealed, &stop).await?;
                        drop(room);
                        Ok(())
                    });
                }
                None => break,
            },
            Some(done) = tasks.next() => done?,
        }
    }
    while let Some(done) = tasks.next().await {
        done?;
    }
    Ok(objects)
}

/// Identity under which packs are sealed.
#[derive(Debug, Clone)]
pub struct PackIdentity {
    /// The vault.
    pub vault: Vault,
    /// The writer's claim.
    pub claim: Claim,
    /// The writer.
    pub writer: [u8; 16],
    /// Labels of its objects.
    pub labels: Labels,
    /// The first unused counter.
    pub counter: u32,
    /// The commit that may carry the last of the data itself.
    pub commit: ObjectId,
}

/// The packing stage; runs on one blocking thread.
pub struct Packer {
    identity: PackIdentity,
    /// `None` in a dry run: contents are then only counted.
    outbox: Option<Outbox>,
    memo: super::batch::Memo,
    first: u32,
    open: Pack,
    /// Where the data frames of this push's sealed packs begin.
    sealed: HashMap<ObjectId, u32>,
    pending: VecDeque<Captured>,
    spool: ChangeSpool,
    large: Option<Box<Large>>,
    /// Large files with several names, by group.
    linked: HashMap<[u8; 16], (Node, Vec<ContentId>)>,
    bytes_new: u64,
}

/// Everything captured, with final references.
pub struct Packed {
    /// The changes.
    pub spool: ChangeReader,
    /// How many they are.
    pub changes: u64,
    /// Their length.
    pub change_bytes: u64,
    /// Data that the commit carries itself.
    pub inline: Option<Pack>,
    /// The next unused counter.
    pub counter: u32,
    /// Bytes of new content, before compression.
    pub bytes_new: u64,
}

impl Packer {
    /// A stage that stores packs through `outbox` and spools changes into a file in `spill`.
    pub fn new(mut identity: PackIdentity, outbox: Option<Outbox>, memo: super::batch::Memo, spill: &std::path::Path) -> Packer {
        let first = identity.counter;
        let open = Pack::new(ObjectId::of_claim(ObjectKind::Pack, identity.claim, first));
        identity.counter += 1;
        Packer {
            identity,
            outbox,
            memo,
            first,
            open,
            sealed: HashMap::new(),
            pending: VecDeque::new(),
            spool: ChangeSpool::new(spill),
            large: None,
            linked: HashMap::new(),
            bytes_new: 0,
        }
    }

    /// Takes everything the reading stage sends.
    pub fn run(mut self, mut receiver: OrderedReceiver<Stage>) -> Result<Packed, PushError> {
        while let Some(stage) = receiver.take_next() {
            match stage {
                Stage::Small(done) => self.small(done)?,
                Stage::Start(large) => self.large = Some(large),
                Stage::Blocks(blocks) => self.blocks(blocks)?,
                Stage::End { whole } => {
                    if let Some(large) = self.large.take().filter(|_| whole) {
                        let captured = large.finish(&self.identity.vault);
                        self.note_linked(&captured);
                        self.pend(captured)?;
                    }
                }
                Stage::Linked(subject, group) => {
                    let (node, blocks) = self.linked.get(&group).cloned().expect("a group's first name came before its others");
                    self.pend(finished(*subject, node, blocks))?;
                }
            }
        }
        self.finish()
    }

    fn note_linked(&mut self, captured: &Captured) {
        let (Captured::Upsert(indexed) | Captured::Patch(indexed, _) | Captured::Refresh(indexed) | Captured::Delete(indexed)) =
            captured;
        if let Some(group) = indexed.entry.extra.hard_link {
            self.linked.insert(group, (indexed.entry.node.clone(), indexed.blocks.clone()));
        }
    }

    fn small(&mut self, done: SmallDone) -> Result<(), PushError> {
        let frame = match done.frame {
            Some((frame, plain, contents)) => Some(self.place(frame, plain, contents)?),
            None => None,
        };
        for item in done.items {
            let captured = match item {
                SmallPlaced::Ready(captured) => captured,
                SmallPlaced::Known(subject, hash, content) => {
                    let size = subject.found.size;
                    finished(subject, Node::File { size, hash, content }, Vec::new())
                }
                SmallPlaced::Framed(subject, id, inner) => {
                    let frame = frame.expect("a batch with framed files has a frame");
                    let (size, hash, content) = (subject.found.size, id.short(), Content::Slice { frame, inner });
                    self.memo.remember(hash, size, &content);
                    finished(subject, Node::File { size, hash, content }, Vec::new())
                }
            };
            self.pend(captured)?;
        }
        Ok(())
    }

    fn blocks(&mut self, blocks: Vec<BlockDone>) -> Result<(), PushError> {
        let Some(mut large) = self.large.take() else { return Ok(()) };
        for block in blocks {
            let (place, id) = match block {
                BlockDone::Hole => (None, ContentId::HOLE),
                BlockDone::Same(id) => (large.old.get(large.blocks.len()).copied().flatten(), id),
                BlockDone::New(id, frame, plain) => {
                    let contained = vec![Contained { id, inner: 0, length: plain }];
                    (Some(self.place(frame, plain, contained)?), id)
                }
            };
            large.push(place, id);
        }
        self.large = Some(large);
        Ok(())
    }

    fn place(
        &mut self,
        frame: crate::vault::container::Frame,
        plain: u32,
        contents: Vec<Contained>,
    ) -> Result<FrameRef, PushError> {
        if !self.open.is_empty() && self.open.stored_len() + frame.stored_len() > limits::PACK_BYTES {
            self.seal_open()?;
        }
        self.bytes_new += u64::from(plain);
        if self.outbox.is_none() {
            return Ok(FrameRef { object: ObjectId::commit(0), offset: 0, length: 0 });
        }
        let place = self.open.push(frame, plain, contents);
        if self.open.is_full() {
            self.seal_open()?;
        }
        Ok(place)
    }

    fn seal_open(&mut self) -> Result<(), PushError> {
        let next = ObjectId::of_claim(ObjectKind::Pack, self.identity.claim, self.identity.counter);
        self.identity.counter += 1;
        let pack = std::mem::replace(&mut self.open, Pack::new(next));
        let id = pack.id();
        if let Some(outbox) = &self.outbox {
            self.sealed.insert(id, outbox.send_pack(pack, &self.identity)?);
        }
        self.release()
    }

    /// Adds a finished change behind those that wait for their packs.
    fn pend(&mut self, captured: Captured) -> Result<(), PushError> {
        self.pending.push_back(captured);
        self.release()
    }

    /// Spools what waits no longer: changes whose packs are all sealed, in order.
    fn release(&mut self) -> Result<(), PushError> {
        while self.pending.front().is_some_and(|captured| self.is_settled(captured)) {
            if let Some(mut captured) = self.pending.pop_front() {
                self.settle(&mut captured, None);
                self.spool.push(&captured)?;
            }
        }
        Ok(())
    }

    /// Whether an object is a pack of this push: references into it are not absolute yet.
    fn is_new(&self, object: ObjectId) -> bool {
        object.kind == ObjectKind::Pack && object.claim() == Some(self.identity.claim) && (object.b as u32) >= self.first
    }

    fn is_settled(&self, captured: &Captured) -> bool {
        let (Captured::Upsert(indexed) | Captured::Patch(indexed, _)) = captured else { return true };
        let mut settled = true;
        indexed.entry.objects(&mut |object| settled &= !self.is_new(object) || self.sealed.contains_key(&object));
        settled
    }

    /// Makes references absolute; those into the open pack become the commit's own, relative to its data.
    fn settle(&self, captured: &mut Captured, inline: Option<ObjectId>) {
        let mut to = |object: ObjectId, offset: u64| match self.sealed.get(&object) {
            Some(head_len) if self.is_new(object) => (object, offset + u64::from(*head_len)),
            None if Some(object) == inline => (self.identity.commit, offset),
            _ => (object, offset),
        };
        match captured {
            Captured::Upsert(indexed) => indexed.entry.relocate(&mut to),
            Captured::Patch(indexed, patch) => {
                indexed.entry.relocate(&mut to);
                patch.runs.iter_mut().for_each(|(_, run)| run.relocate(&mut to));
            }
            Captured::Delete(_) | Captured::Refresh(_) => {}
        }
    }

    /// What is left travels inside the commit if it is small and so are the records; else it is one more pack.
    fn finish(mut self) -> Result<Packed, PushError> {
        const RECORD_GUESS: u64 = 256;
        let records = self.spool.bytes() + self.pending.len() as u64 * RECORD_GUESS;
        let fits = self.open.stored_len() <= limits::INLINE_BYTES && records <= limits::COMMIT_META_BYTES as u64;
        if !self.open.is_empty() && !fits {
            self.seal_open()?;
        }
        let inline_id = self.open.id();
        let pending = std::mem::take(&mut self.pending);
        for mut captured in pending {
            self.settle(&mut captured, Some(inline_id));
            self.spool.push(&captured)?;
        }
        let inline = (!self.open.is_empty()).then_some(self.open);
        let (changes, change_bytes) = (self.spool.changes(), self.spool.bytes());
        let (spool, counter) = (self.spool.read()?, self.identity.counter);
        Ok(Packed { spool, changes, change_bytes, inline, counter, bytes_new: self.bytes_new })
    }
}
