//! Where the stages meet: plan a window → fetch ranges → open and verify frames → write files. What ranges hold at once
//! is bounded; a file is finished only when all its bytes were verified.

use super::RestoreError;
use super::survey::{Step, StepReader};
use crate::disk::{PlacedFile, Placer, Volume};
use crate::remote::session::{Local, Memory};
use crate::runtime::{Stop, Tasks, compute, limits};
use crate::seal::ContentId;
use crate::telemetry::Progress;
use crate::tree::{Found, RelPath};
use crate::vault::container::{FrameType, Opened};
use crate::vault::entry::{Content, Entry, FrameRef, Node, blocks_of};
use crate::vault::error::VaultError;
use crate::vault::index::{Indexed, LocalStamp};
use crate::vault::object::ObjectId;
use crate::vault::open::Vault;
use crate::vault::ranges::{RangeReader, coalesce};
use crate::vault::wire::FormatError;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// One file of a window.
#[derive(Debug)]
struct Slot {
    indexed: Indexed,
    state: Mutex<SlotState>,
}

#[derive(Debug, Default)]
struct SlotState {
    file: Option<PlacedFile>,
    ids: Vec<ContentId>,
    left: usize,
    found: Option<Found>,
}

/// Who wants a frame, and what of it.
#[derive(Debug, Clone, Copy)]
enum Use {
    /// `length` bytes at `inner` are all of the file.
    Whole { slot: usize, inner: u32 },
    /// The frame is a block of the file.
    Block { slot: usize, index: usize },
}

#[derive(Debug, Clone)]
struct Wanted {
    frame: FrameRef,
    uses: Vec<Use>,
}

/// Places what the steps say, window by window.
pub struct Filler {
    /// The vault.
    pub vault: Vault,
    /// The volume.
    pub volume: Volume,
    /// Makes entries.
    pub placer: Placer,
    /// Bars.
    pub progress: Progress,
    /// Asked to stop.
    pub stop: Stop,
    /// Whether local data wins: directories that are there keep their metadata.
    pub merge: bool,
    /// First placed name of each hard-link group.
    pub links: HashMap<[u8; 16], RelPath>,
    /// Directories whose content is not complete yet, outermost first.
    pub open: Vec<Entry>,
}

/// The steps of one window.
struct Window {
    slots: Arc<Vec<Slot>>,
    frames: BTreeMap<(ObjectId, u64), Wanted>,
    /// In order: what the index will say, and for placed files which slot knows the local file.
    lines: Vec<Line>,
    links: Vec<usize>,
    closing: Vec<Entry>,
}

enum Line {
    Done(Box<Indexed>),
    Slot(usize),
    Link(Box<Indexed>, RelPath),
}

impl Filler {
    /// Fills the next window; gives its lines of the index in order. `None` at the end.
    pub async fn window(&mut self, steps: &mut StepReader) -> Result<Option<Vec<Indexed>>, RestoreError> {
        let mut window = Window {
            slots: Arc::new(Vec::new()),
            frames: BTreeMap::new(),
            lines: Vec::new(),
            links: Vec::new(),
            closing: Vec::new(),
        };
        let mut slots = Vec::new();
        let mut bytes = 0;
        while window.lines.len() < limits::WINDOW_ENTRIES && bytes < limits::WINDOW_BYTES {
            self.stop.check()?;
            let Some((step, indexed)) = steps.next()? else { break };
            self.close_until(Some(&indexed.entry.path), &mut window.closing);
            bytes += if step == Step::Place { indexed.entry.node.size() } else { 0 };
            self.plan(step, indexed, &mut slots, &mut window)?;
        }
        if window.lines.is_empty() {
            let mut closing = Vec::new();
            self.close_until(None, &mut closing);
            self.finish_directories(closing)?;
            return Ok(None);
        }
        window.slots = Arc::new(slots);
        self.fetch(&mut window).await?;
        self.link(&window)?;
        self.finish_directories(std::mem::take(&mut window.closing))?;
        self.lines(window).map(Some)
    }

    /// Directories that the walk has left are complete once this window is.
    fn close_until(&mut self, next: Option<&RelPath>, closing: &mut Vec<Entry>) {
        while self.open.last().is_some_and(|dir| next.is_none_or(|next| !next.is_within(&dir.path))) {
            closing.extend(self.open.pop());
        }
    }

    fn finish_directories(&self, closing: Vec<Entry>) -> Result<(), RestoreError> {
        for dir in closing {
            self.placer.finish_directory(&dir.path, &dir.attributes, &dir.extra.xattrs)?;
        }
        Ok(())
    }

    fn plan(&mut self, step: Step, mut indexed: Indexed, slots: &mut Vec<Slot>, window: &mut Window) -> Result<(), RestoreError> {
        let entry = indexed.entry.clone();
        // A directory that stays gets its times again too: placing entries in it moves them.
        if entry.node == Node::Directory && !(self.merge && step == Step::Keep) {
            self.placer.directory(&entry.path)?;
            self.open.push(entry);
            window.lines.push(Line::Done(Box::new(indexed)));
            return Ok(());
        }
        match step {
            Step::Keep => window.lines.push(Line::Done(Box::new(indexed))),
            Step::Adjust => {
                let kind = entry.node.file_type();
                let found = self.placer.set_attributes(&entry.path, kind, &entry.attributes, Some(&entry.extra.xattrs))?;
                indexed.stamp = Some(stamp(&found));
                window.lines.push(Line::Done(Box::new(indexed)));
            }
            Step::Place => return self.plan_placing(indexed, slots, window),
        }
        if let Some(group) = entry.extra.hard_link {
            self.links.entry(group).or_insert(entry.path);
        }
        Ok(())
    }

    fn plan_placing(&mut self, mut indexed: Indexed, slots: &mut Vec<Slot>, window: &mut Window) -> Result<(), RestoreError> {
        // With a filter, directories above may be left out of the steps.
        if let Some(parent) = indexed.entry.path.parent()
            && self.open.last().is_none_or(|open| open.path != parent)
        {
            self.placer.directory(&parent)?;
        }
        let Entry { path, attributes, node, extra } = &indexed.entry;
        self.progress.add_files(1);
        match node {
            Node::Directory => {}
            Node::Symlink { target } => {
                let found = self.placer.symlink(path, target, attributes)?;
                indexed.stamp = Some(stamp(&found));
                window.lines.push(Line::Done(Box::new(indexed)));
            }
            Node::Fifo => {
                let found = self.placer.fifo(path, attributes)?;
                indexed.stamp = Some(stamp(&found));
                window.lines.push(Line::Done(Box::new(indexed)));
            }
            Node::File { content, size, .. } => {
                if let Some(group) = extra.hard_link {
                    if let Some(first) = self.links.get(&group) {
                        window.links.push(window.lines.len());
                        window.lines.push(Line::Link(Box::new(indexed.clone()), first.clone()));
                        return Ok(());
                    }
                    self.links.insert(group, path.clone());
                }
                let slot = slots.len();
                let (size, content) = (*size, content.clone());
                slots.push(Slot { indexed, state: Mutex::default() });
                want(&content, slot, &slots[slot], &mut window.frames);
                window.lines.push(Line::Slot(slot));
                if matches!(content, Content::Empty | Content::Literal(_)) || size == 0 {
                    self.place_literal(&slots[slot], &content)?;
                } else if slots[slot].state.lock().unwrap_or_else(PoisonError::into_inner).left == 0 {
                    finish_blocks(&self.vault, &self.placer, &slots[slot])?;
                }
            }
        }
        Ok(())
    }

    fn place_literal(&self, slot: &Slot, content: &Content) -> Result<(), RestoreError> {
        let bytes: &[u8] = match content {
            Content::Literal(bytes) => bytes,
            _ => &[],
        };
        write_whole(&self.vault, &self.placer, slot, bytes, ObjectId::commit(0))
    }

    /// Fetches the window's frames object by object, several objects at once.
    async fn fetch(&mut self, window: &mut Window) -> Result<(), RestoreError> {
        let mut objects: Vec<(ObjectId, Vec<Wanted>)> = Vec::new();
        for ((object, _), wanted) in std::mem::take(&mut window.frames) {
            match objects.last_mut() {
                Some((last, list)) if *last == object => list.push(wanted),
                _ => objects.push((object, vec![wanted])),
            }
        }
        let room = Arc::new(Semaphore::new(limits::FETCH_BYTES / limits::FETCH_RANGE_BYTES as usize));
        let mut tasks: Tasks<Result<(), RestoreError>> = Tasks::new("fetch");
        for (object, wanted) in objects {
            while tasks.len() >= limits::FETCHES {
                tasks.next().await.transpose()?;
            }
            let fetch = ObjectFetch {
                vault: self.vault.clone(),
                placer: self.placer.clone(),
                slots: Arc::clone(&window.slots),
                progress: self.progress.clone(),
                stop: self.stop.clone(),
                room: Arc::clone(&room),
                object,
            };
            tasks.spawn(fetch.run(wanted));
        }
        while let Some(done) = tasks.next().await {
            done?;
        }
        Ok(())
    }

    fn link(&self, window: &Window) -> Result<(), RestoreError> {
        for index in &window.links {
            if let Line::Link(indexed, first) = &window.lines[*index] {
                self.placer.hard_link(&indexed.entry.path, first)?;
            }
        }
        Ok(())
    }

    fn lines(&self, window: Window) -> Result<Vec<Indexed>, RestoreError> {
        let mut states: Vec<Option<(Indexed, SlotState)>> = match Arc::try_unwrap(window.slots) {
            Ok(slots) => {
                let opened = |slot: Slot| (slot.indexed, slot.state.into_inner().unwrap_or_else(PoisonError::into_inner));
                slots.into_iter().map(|slot| Some(opened(slot))).collect()
            }
            Err(_) => return Err(RestoreError::Stopped(crate::runtime::Stopped)),
        };
        let mut lines = Vec::with_capacity(window.lines.len());
        for line in window.lines {
            lines.push(match line {
                Line::Done(indexed) => *indexed,
                Line::Link(mut indexed, _) => {
                    indexed.stamp = self.volume.look(&indexed.entry.path)?.as_ref().map(stamp);
                    *indexed
                }
                Line::Slot(slot) => {
                    let Some((mut indexed, state)) = states.get_mut(slot).and_then(Option::take) else { continue };
                    let found = match indexed.entry.extra.hard_link {
                        // Linking moved the change time of every name.
                        Some(_) => self.volume.look(&indexed.entry.path)?,
                        None => state.found,
                    };
                    indexed.stamp = found.as_ref().map(stamp);
                    indexed.blocks = state.ids;
                    indexed
                }
            });
        }
        Ok(lines)
    }
}

/// What the index remembers of a local entry.
fn stamp(found: &Found) -> LocalStamp {
    found.identity.stamp().into()
}

/// Only now, with all in place, do directories keep their change time, and files the one that a further name gave them: a
/// push need not look at each again, and the next restore does not take it for a change made here.
pub fn note_moved_times(memory: &Memory, local: &Local) -> Result<(), RestoreError> {
    let noted = memory.revise_next_index(|indexed| {
        let Indexed { entry, stamp: known, .. } = indexed;
        let is_directory = entry.node == Node::Directory;
        if is_directory || entry.extra.hard_link.is_some() {
            let here = local.volume.look(&entry.path)?;
            let recorded = (entry.node.size(), entry.attributes.mtime);
            let as_placed = here.filter(|here| is_directory || (here.size, here.attributes.mtime) == recorded);
            *known = as_placed.as_ref().map(stamp).or(*known);
        }
        Ok(())
    });
    Ok(noted?)
}

/// Notes which frames a file needs.
fn want(content: &Content, slot: usize, file: &Slot, frames: &mut BTreeMap<(ObjectId, u64), Wanted>) {
    let mut add = |frame: FrameRef, user: Use| {
        frames.entry((frame.object, frame.offset)).or_insert_with(|| Wanted { frame, uses: Vec::new() }).uses.push(user);
    };
    match content {
        Content::Empty | Content::Literal(_) => {}
        Content::Slice { frame, inner } => add(*frame, Use::Whole { slot, inner: *inner }),
        Content::Blocks { runs, .. } => {
            let blocks = blocks_of(runs);
            let mut state = file.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.ids = vec![ContentId::HOLE; blocks.len()];
            for (index, frame) in blocks.into_iter().enumerate() {
                if let Some(frame) = frame {
                    state.left += 1;
                    add(frame, Use::Block { slot, index });
                }
            }
        }
    }
}

/// The frames of one object, fetched range after range.
struct ObjectFetch {
    vault: Vault,
    placer: Placer,
    slots: Arc<Vec<Slot>>,
    progress: Progress,
    stop: Stop,
    room: Arc<Semaphore>,
    object: ObjectId,
}

impl ObjectFetch {
    async fn run(self, wanted: Vec<Wanted>) -> Result<(), RestoreError> {
        let ranges = coalesce(wanted.iter().map(|wanted| wanted.frame));
        let this = Arc::new(self);
        let mut reader = RangeReader::new(this.vault.clone(), this.object);
        let mut rest = wanted.into_iter();
        for (range, count) in ranges {
            let room = this.stop.or(Arc::clone(&this.room).acquire_owned()).await?;
            let start = range.start;
            let (key, bytes) = reader.read(range, &this.stop).await?;
            let frames: Vec<Wanted> = rest.by_ref().take(count).collect();
            let worker = Arc::clone(&this);
            compute("open frames", move || worker.write(&key, &bytes, start, frames)).await?;
            drop(room);
        }
        Ok(())
    }

    fn corrupt(&self, what: FormatError) -> VaultError {
        VaultError::corrupt(self.object, what)
    }

    fn write(&self, key: &Opened, bytes: &Bytes, start: u64, frames: Vec<Wanted>) -> Result<(), RestoreError> {
        for wanted in frames {
            self.stop.check()?;
            let from = (wanted.frame.offset - start) as usize;
            let stored = bytes.get(from..from + wanted.frame.length as usize);
            let stored = stored.ok_or_else(|| self.corrupt(FormatError::Truncated("a data frame")))?;
            let body = key.frame(wanted.frame.offset, FrameType::Data, stored).map_err(|what| self.corrupt(what))?;
            for user in &wanted.uses {
                self.serve(*user, &body)?;
            }
        }
        Ok(())
    }

    fn serve(&self, user: Use, body: &[u8]) -> Result<(), RestoreError> {
        match user {
            Use::Whole { slot, inner } => {
                let slot = &self.slots[slot];
                let size = slot.indexed.entry.node.size() as usize;
                let content = body.get(inner as usize..inner as usize + size);
                let content =
                    content.ok_or_else(|| self.corrupt(FormatError::Invalid("a data frame is shorter than a file in it")))?;
                self.progress.add_bytes(size as u64);
                write_whole(&self.vault, &self.placer, slot, content, self.object)
            }
            Use::Block { slot, index } => self.serve_block(&self.slots[slot], index, body),
        }
    }

    fn serve_block(&self, slot: &Slot, index: usize, body: &[u8]) -> Result<(), RestoreError> {
        let Node::File { size, content: Content::Blocks { log2_block, .. }, .. } = &slot.indexed.entry.node else {
            return Ok(());
        };
        let offset = (index as u64) << log2_block;
        if body.len() as u64 != (size - offset).min(1 << log2_block) {
            return Err(self.corrupt(FormatError::Invalid("a block has the wrong length")).into());
        }
        let id = self.vault.keys().content_id(body);
        let mut state = slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.file.is_none() {
            state.file = Some(self.placer.file(&slot.indexed.entry.path, *size)?);
        }
        if let Some(file) = &state.file {
            file.write_at(body, offset)?;
        }
        state.ids[index] = id;
        state.left -= 1;
        self.progress.add_bytes(body.len() as u64);
        let last = state.left == 0;
        drop(state);
        if last { finish_blocks(&self.vault, &self.placer, slot) } else { Ok(()) }
    }
}

/// Verifies a small file and writes it.
fn write_whole(vault: &Vault, placer: &Placer, slot: &Slot, content: &[u8], object: ObjectId) -> Result<(), RestoreError> {
    let Entry { path, attributes, node: Node::File { size, hash, .. }, extra } = &slot.indexed.entry else { return Ok(()) };
    if vault.keys().content_id(content).short() != *hash {
        return Err(VaultError::corrupt(object, FormatError::Invalid("a file's content is not the one recorded")).into());
    }
    let file = placer.file(path, *size)?;
    if extra.sparse {
        for (index, page) in content.chunks(4096).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0)) {
            file.write_at(page, index as u64 * 4096)?;
        }
    } else {
        file.write_at(content, 0)?;
    }
    let found = file.finish(attributes, &extra.xattrs)?;
    slot.state.lock().unwrap_or_else(PoisonError::into_inner).found = Some(found);
    Ok(())
}

/// Verifies a large file whose blocks are all written, and finishes it.
fn finish_blocks(vault: &Vault, placer: &Placer, slot: &Slot) -> Result<(), RestoreError> {
    let Entry { path, attributes, node: Node::File { size, hash, content: Content::Blocks { log2_block, .. } }, extra } =
        &slot.indexed.entry
    else {
        return Ok(());
    };
    let mut state = slot.state.lock().unwrap_or_else(PoisonError::into_inner);
    let mut whole = vault.keys().block_ids(*log2_block, *size);
    state.ids.iter().for_each(|id| whole.push(id));
    if whole.finish() != *hash {
        let what = FormatError::Invalid("a file's blocks are not the ones recorded");
        return Err(VaultError::corrupt(ObjectId::commit(0), what).into());
    }
    let file = match state.file.take() {
        Some(file) => file,
        None => placer.file(path, *size)?,
    };
    state.found = Some(file.finish(attributes, &extra.xattrs)?);
    Ok(())
}
