//! Reading the volume: the scan beside the index, path by path, and the content of what may have changed.

use super::PushError;
use super::batch::{BlockBatch, Captured, Memo, SmallBatch, SmallItem, Subject, finished};
use super::pipeline::{Large, Stage};
use crate::disk::{Copied, DatabaseCopies, Scan, Skips, SourceFile, Stamp, Volume, stamp_of};
use crate::plan::{DeleteSet, Known, Side, Verdict, judge, side};
use crate::remote::LocalIndex;
use crate::runtime::{OrderedSender, Stop, clock, limits};
use crate::seal::{ContentId, checksum};
use crate::telemetry::Progress;
use crate::tree::{Completeness, FileType, Filter, Found, RelPath, Skip, SkipReason};
use crate::vault::container::Compression;
use crate::vault::entry::{Content, Extra, Node, block_class, block_class_of_changed, block_count};
use crate::vault::index::{Indexed, LocalStamp};
use crate::vault::open::Vault;
use std::collections::{HashMap, HashSet};

/// How files are read.
#[derive(Debug, Clone)]
pub struct CaptureOptions {
    /// Which paths take part.
    pub filter: Filter,
    /// Read every file, whatever its times say.
    pub reread: bool,
    /// Compress contents.
    pub compression: Compression,
}

/// What reading came to.
#[derive(Debug, Clone)]
pub struct CaptureReport {
    /// Whether the listing was whole.
    pub completeness: Completeness,
    /// What was left out.
    pub skips: Skips,
    /// What is at the remote and no longer here.
    pub deletes: DeleteSet,
    /// Entries as before.
    pub unchanged: u64,
    /// Bytes read.
    pub bytes_read: u64,
}

/// The reading stage; runs on one blocking thread.
pub struct Capture {
    /// The volume.
    pub volume: Volume,
    /// For identities.
    pub vault: Vault,
    /// How.
    pub options: CaptureOptions,
    /// Where databases are copied to.
    pub databases: DatabaseCopies,
    /// Contents stored lately.
    pub memo: Memo,
    /// A second reader of the index, from which the memo is filled when a new file appears.
    pub memory: Option<LocalIndex>,
    /// The next stage.
    pub sender: OrderedSender<Stage>,
    /// Bars.
    pub progress: Progress,
    /// Asked to stop.
    pub stop: Stop,
}

struct Reading {
    inner: Capture,
    batch: SmallBatch,
    /// Group of each file that has further names.
    links: HashMap<(u64, u64), [u8; 16]>,
    /// Groups whose large content this push has read whole: their other names need not be read.
    sent: HashSet<[u8; 16]>,
    /// The last entry here that is no directory: what the vault has below it is gone for certain.
    over: Option<RelPath>,
    report: CaptureReport,
}

enum Look {
    Done,
    Gone,
    /// Why it is not certain what it holds, if more is known than that it kept changing.
    Moving(Option<String>),
}

impl Capture {
    /// Walks the volume and sends every change to the next stage, in path order.
    pub fn run(self, mut scan: Scan, mut index: Option<LocalIndex>) -> Result<CaptureReport, PushError> {
        let report = CaptureReport {
            completeness: Completeness::Partial,
            skips: Skips::default(),
            deletes: DeleteSet::default(),
            unchanged: 0,
            bytes_read: 0,
        };
        let mut reading = Reading {
            inner: self,
            batch: SmallBatch::default(),
            links: HashMap::new(),
            sent: HashSet::new(),
            over: None,
            report,
        };
        reading.join(&mut scan, &mut index)?;
        reading.flush()?;
        reading.report.completeness = scan.completeness();
        reading.report.skips.merge(scan.skips().clone());
        Ok(reading.report)
    }
}

impl Reading {
    fn join(&mut self, scan: &mut Scan, index: &mut Option<LocalIndex>) -> Result<(), PushError> {
        let mut found = scan.next().transpose()?;
        let mut known = next_known(index)?;
        let root = scan.root_device();
        let mut mount: Option<RelPath> = None;
        while let Some(side) = side(found.as_ref().map(|f| &f.path), known.as_ref().map(|k| &k.entry.path)) {
            self.inner.stop.check()?;
            if matches!(side, Side::Left | Side::Both)
                && let Some(here) = &found
            {
                if here.file_type == FileType::Directory && here.identity.device != root {
                    mount = Some(here.path.clone());
                }
                if here.file_type != FileType::Directory {
                    self.over = Some(here.path.clone());
                }
            }
            match side {
                Side::Left => {
                    if let Some(found) = found.take() {
                        self.look(found, None)?;
                    }
                }
                Side::Right => {
                    if let Some(known) = known.take() {
                        self.missing(known, mount.as_ref())?;
                    }
                }
                Side::Both => {
                    if let (Some(found), Some(known)) = (found.take(), known.take()) {
                        self.compare(found, known)?;
                    }
                }
            }
            if found.is_none() {
                found = scan.next().transpose()?;
            }
            if known.is_none() {
                known = next_known(index)?;
            }
        }
        Ok(())
    }

    fn compare(&mut self, found: Found, known: Indexed) -> Result<(), PushError> {
        let node = &known.entry.node;
        let stamp = known.stamp.filter(|_| !self.inner.options.reread || found.file_type != FileType::File);
        let facts = Known {
            file_type: node.file_type(),
            attributes: &known.entry.attributes,
            size: node.size(),
            stamp: stamp.map(|stamp| (stamp.ctime, stamp.inode)),
        };
        self.note_link(&found);
        match judge(&found, &facts) {
            Verdict::Unchanged => {
                self.report.unchanged += 1;
                self.inner.progress.add_files(1);
                Ok(())
            }
            Verdict::Look => self.look(found, Some(Box::new(known))),
        }
    }

    /// Something that the vault has is not in the scan.
    fn missing(&mut self, known: Indexed, mount: Option<&RelPath>) -> Result<(), PushError> {
        let path = &known.entry.path;
        let hidden = mount.is_some_and(|mount| path.is_within(mount));
        let below = self.over.as_ref().is_some_and(|over| path != over && path.is_within(over));
        if hidden || !(below || self.inner.options.filter.admits(path)) {
            self.report.unchanged += 1;
            return Ok(());
        }
        let deletes = &mut self.report.deletes;
        deletes.count += 1;
        deletes.hash = checksum(&[&deletes.hash[..], path.as_bytes()].concat());
        self.add(SmallItem::Ready(Captured::Delete(Box::new(known))))
    }

    /// The group of a file with several names is made from the first of them in path order.
    fn note_link(&mut self, found: &Found) -> Option<[u8; 16]> {
        if found.identity.links < 2 || found.file_type != FileType::File {
            return None;
        }
        let keys = self.inner.vault.keys();
        let inode = (found.identity.device, found.identity.inode);
        Some(*self.links.entry(inode).or_insert_with(|| keys.group_id(found.path.as_bytes())))
    }

    fn look(&mut self, found: Found, before: Option<Box<Indexed>>) -> Result<(), PushError> {
        let path = found.path.clone();
        self.inner.progress.add_files(1);
        let looked = match found.file_type {
            FileType::File => self.look_at_file(found, before.clone()),
            _ => self.look_at_other(found, before.clone()),
        };
        match looked {
            Ok(Look::Done) => Ok(()),
            Ok(Look::Moving(why)) => {
                self.skip(path, SkipReason::Unstable, why);
                Ok(())
            }
            Ok(Look::Gone) => match before {
                Some(known) => self.missing(*known, None),
                None => Ok(()),
            },
            Err(PushError::Disk(error)) if error.is_gone() => match before {
                Some(known) => self.missing(*known, None),
                None => Ok(()),
            },
            Err(PushError::Disk(error)) if !error.is_full() => {
                self.skip(path, SkipReason::Unreadable, Some(error.to_string()));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn skip(&mut self, path: RelPath, reason: SkipReason, detail: Option<String>) {
        self.report.skips.add(Skip { path: Some(path), reason, detail });
    }

    fn look_at_other(&mut self, found: Found, before: Option<Box<Indexed>>) -> Result<Look, PushError> {
        let volume = &self.inner.volume;
        let node = match found.file_type {
            FileType::Directory => Node::Directory,
            FileType::Symlink => Node::Symlink { target: volume.read_link(&found.path)? },
            FileType::Fifo => Node::Fifo,
            FileType::File | FileType::Socket | FileType::Device => return Ok(Look::Gone),
        };
        let xattrs = if node == Node::Directory { volume.xattrs(&found.path)? } else { Vec::new() };
        let extra = Extra { xattrs, ..Extra::default() };
        let stamp = settled_stamp(&found);
        let captured = finished(Subject { found, extra, before, stamp }, node, Vec::new());
        self.add(SmallItem::Ready(captured))?;
        Ok(Look::Done)
    }

    fn look_at_file(&mut self, mut found: Found, before: Option<Box<Indexed>>) -> Result<Look, PushError> {
        for _ in 0..limits::UNSTABLE_READS {
            let file = self.inner.volume.open_file(&found.path)?;
            let stamp = file.stamp()?;
            if stamp != stamp_of(&found) {
                match self.inner.volume.look(&found.path)? {
                    None => return Ok(Look::Gone),
                    Some(again) if again.file_type == FileType::File => found = again,
                    Some(_) => return Ok(Look::Moving(None)),
                }
                // A database is copied under its own locks, which say what holds still.
                if stamp != stamp_of(&found) && !file.is_database()? {
                    continue;
                }
            }
            let hard_link = self.note_link(&found);
            let sparse = found.size > 4096 && found.allocated + 4096 <= found.size;
            let extra = Extra { hard_link, xattrs: file.xattrs()?, sparse };
            if file.is_database()? {
                return self.look_at_database(found, extra, before);
            }
            let subject = Subject { stamp: settled_stamp(&found), found: found.clone(), extra, before: before.clone() };
            if self.read(&file, stamp, subject)? {
                return Ok(Look::Done);
            }
        }
        Ok(Look::Moving(None))
    }

    /// Reads a copy of a database. What is remembered of the database is what it was before it was copied: a commit that
    /// came between is looked for again.
    fn look_at_database(&mut self, mut found: Found, extra: Extra, before: Option<Box<Indexed>>) -> Result<Look, PushError> {
        let Capture { volume, databases, stop, .. } = &self.inner;
        found.identity.log = volume.database_log(&found.path)?;
        let stamp = settled_stamp(&found);
        let copy = match databases.copy(volume, &found.path, stop)? {
            Copied::Whole(copy) => copy,
            Copied::Unstable(why) => return Ok(Look::Moving(Some(why))),
        };
        let copied = copy.stamp()?;
        found.size = copied.size;
        let whole = self.read(&copy, copied, Subject { found, extra, before, stamp })?;
        Ok(if whole { Look::Done } else { Look::Moving(None) })
    }

    /// Reads a file. `false` when it is not what the stamp says after it was read.
    fn read(&mut self, file: &SourceFile, stamp: Stamp, subject: Subject) -> Result<bool, PushError> {
        if subject.found.size <= limits::SMALL_FILE_BYTES {
            self.read_small(file, stamp, subject)
        } else {
            self.read_large(file, stamp, subject)
        }
    }

    /// Reads a small file into the batch. `false` when it changed meanwhile.
    fn read_small(&mut self, file: &SourceFile, stamp: Stamp, subject: Subject) -> Result<bool, PushError> {
        let size = subject.found.size as usize;
        if subject.before.is_none() && size > limits::LITERAL_BYTES {
            self.fill_memo()?;
        }
        let start = self.batch.bytes.len();
        self.batch.bytes.resize(start + size, 0);
        let read = file.read_at(&mut self.batch.bytes[start..], 0)?;
        if read != size || file.stamp()? != stamp {
            self.batch.bytes.truncate(start);
            return Ok(false);
        }
        self.count_read(size as u64);
        self.add(SmallItem::File(Box::new(subject), size))?;
        Ok(true)
    }

    fn count_read(&mut self, bytes: u64) {
        self.report.bytes_read += bytes;
        self.inner.progress.add_bytes(bytes);
    }

    /// Reads a large file block by block into the next stage. `false` when it changed meanwhile.
    fn read_large(&mut self, file: &SourceFile, stamp: Stamp, subject: Subject) -> Result<bool, PushError> {
        self.flush()?;
        let group = subject.extra.hard_link;
        if let Some(group) = group.filter(|group| self.sent.contains(group)) {
            self.inner.sender.put(Stage::Linked(Box::new(subject), group))?;
            return Ok(true);
        }
        let size = subject.found.size;
        let old = subject.before.as_deref().and_then(blocks_before);
        let log2 = old.map_or_else(|| block_class(size), |(log2, _)| block_class_of_changed(size, log2));
        if block_count(size, log2) > crate::vault::record::MAX_BLOCKS {
            self.skip(subject.found.path.clone(), SkipReason::TooLong, Some("the file is larger than 4 TiB".into()));
            return Ok(true);
        }
        if let Some((node, blocks)) = self.known_whole(file, &subject, log2)? {
            let whole = file.stamp()? == stamp;
            if whole {
                self.add(SmallItem::Ready(finished(subject, node, blocks)))?;
            }
            return Ok(whole);
        }
        let before = match old {
            Some((old_log2, indexed)) if old_log2 == log2 => indexed.blocks.clone(),
            _ => Vec::new(),
        };
        self.inner.sender.put(Stage::Start(Box::new(Large::new(subject, log2))))?;
        let whole = self.send_blocks(file, size, log2, &before).and_then(|read| Ok(read && file.stamp()? == stamp));
        // The next stage must hear of the end even when reading failed.
        self.inner.sender.put(Stage::End { whole: matches!(whole, Ok(true)) })?;
        if matches!(whole, Ok(true)) {
            self.sent.extend(group);
        }
        whole
    }

    fn send_blocks(&mut self, file: &SourceFile, size: u64, log2: u8, before: &[ContentId]) -> Result<bool, PushError> {
        file.advise_sequential();
        let block = 1u64 << log2;
        let batch = (limits::BLOCK_BATCH_BYTES as u64).max(block);
        let data = file.data_ranges(size)?;
        let mut at = 0;
        while at < size {
            self.inner.stop.check()?;
            let length = batch.min(size - at);
            let holes = !data.iter().any(|range| range.start < at + length && range.end > at);
            let mut work = BlockBatch { block_bytes: block as usize, bytes: Vec::new(), holes: 0, before: Vec::new() };
            if holes {
                work.holes = length.div_ceil(block);
            } else {
                work.bytes = vec![0; length as usize];
                if file.read_at(&mut work.bytes, at)? != length as usize {
                    return Ok(false);
                }
                let first = (at / block) as usize;
                let count = length.div_ceil(block) as usize;
                work.before = before.iter().skip(first).take(count).copied().collect();
            }
            self.count_read(length);
            let (vault, compression) = (self.inner.vault.clone(), self.inner.options.compression);
            self.inner.sender.start(move || Stage::Blocks(work.work(vault.keys(), compression)))?;
            at += length;
        }
        Ok(true)
    }

    /// A large file whose whole content the vault has: under this path with identities unknown, or under another path
    /// with the same length. It is read once to find out, so that nothing is stored again.
    fn known_whole(
        &mut self,
        file: &SourceFile,
        subject: &Subject,
        log2: u8,
    ) -> Result<Option<(Node, Vec<ContentId>)>, PushError> {
        let size = subject.found.size;
        let mut candidates = Vec::new();
        match subject.before.as_deref() {
            Some(before) if before.blocks.is_empty() && before.entry.node.size() == size => {
                if let Node::File { hash, content: content @ Content::Blocks { log2_block, .. }, .. } = &before.entry.node
                    && *log2_block == log2
                {
                    candidates.push((*hash, content.clone()));
                }
            }
            None => {
                self.fill_memo()?;
                candidates = self.inner.memo.large(size, log2);
            }
            Some(_) => {}
        }
        if candidates.is_empty() {
            return Ok(None);
        }
        let keys = self.inner.vault.keys();
        let mut ids = Vec::new();
        let mut whole = keys.block_ids(log2, size);
        let mut buffer = vec![0; 1 << log2];
        let mut at = 0;
        while at < size {
            self.inner.stop.check()?;
            let length = (size - at).min(1 << log2) as usize;
            if file.read_at(&mut buffer[..length], at)? != length {
                return Ok(None);
            }
            let zero = buffer[..length].iter().all(|byte| *byte == 0);
            let id = if zero { ContentId::HOLE } else { keys.content_id(&buffer[..length]) };
            whole.push(&id);
            ids.push(id);
            at += length as u64;
        }
        let hash = whole.finish();
        let found = candidates.into_iter().find(|(candidate, _)| *candidate == hash);
        Ok(found.map(|(hash, content)| (Node::File { size, hash, content }, ids)))
    }

    /// Once, when the first new file appears: what the vault has under other paths, as far as the memo has room.
    fn fill_memo(&mut self) -> Result<(), PushError> {
        let Some(mut index) = self.inner.memory.take() else { return Ok(()) };
        while let Some(indexed) = index.next()? {
            if let Node::File { size, hash, content } = &indexed.entry.node
                && matches!(content, Content::Slice { .. } | Content::Blocks { .. })
            {
                self.inner.memo.remember(*hash, *size, content);
            }
        }
        Ok(())
    }

    fn add(&mut self, item: SmallItem) -> Result<(), PushError> {
        self.batch.items.push(item);
        if self.batch.bytes.len() >= limits::FRAME_BYTES || self.batch.items.len() >= limits::BATCH_ITEMS {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PushError> {
        if self.batch.items.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        let (vault, memo, compression) = (self.inner.vault.clone(), self.inner.memo.clone(), self.inner.options.compression);
        Ok(self.inner.sender.start(move || Stage::Small(batch.work(vault.keys(), &memo, compression)))?)
    }
}

/// The next entry of the index, where there is one.
pub(super) fn next_known(index: &mut Option<LocalIndex>) -> Result<Option<Indexed>, PushError> {
    match index {
        Some(index) => Ok(index.next()?),
        None => Ok(None),
    }
}

fn blocks_before(indexed: &Indexed) -> Option<(u8, &Indexed)> {
    match &indexed.entry.node {
        Node::File { content: Content::Blocks { log2_block, .. }, .. } => Some((*log2_block, indexed)),
        _ => None,
    }
}

/// What the index may remember of a local file. A change within the clock's tick after we looked would leave the same
/// change time, so a file changed just now is not remembered, and looked at again by the next push.
pub fn settled_stamp(found: &Found) -> Option<LocalStamp> {
    const TICK_MS: i64 = 50;
    let settled = found.identity.changed().millis().saturating_add(TICK_MS) < i64::try_from(clock::wall_ms()).unwrap_or(i64::MAX);
    settled.then(|| found.identity.stamp().into())
}
