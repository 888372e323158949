//! Copying small live data out of the objects it lies in, so that a base refers to few objects: else a restore after
//! thousands of small pushes would ask for each of their commits. What died is not copied.
//!
//! The contents are fetched object by object into a temporary file, verified, and packed in path order, so that
//! neighbours lie together. A damaged object is left as it is: what refers to it goes on doing so, and `check` names it.

use super::PushError;
use super::pipeline::{Outbox, PackIdentity};
use crate::fault::{Fault, Kind};
use crate::remote::LocalIndex;
use crate::runtime::{Stop, Tasks, compute, limits};
use crate::seal::ShortId;
use crate::vault::container::{Compression, Frame, FrameType, Opened};
use crate::vault::entry::{Content, Entry, FrameRef, Node, RunBuilder};
use crate::vault::error::VaultError;
use crate::vault::index::IndexError;
use crate::vault::object::{ObjectId, ObjectKind};
use crate::vault::open::Vault;
use crate::vault::pack::{Contained, Pack};
use crate::vault::ranges::{RangeReader, coalesce};
use crate::vault::wire::FormatError;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::SpooledTempFile;
use tokio::sync::Semaphore;

/// A content where it lies: bytes of a frame, or all of a frame that is a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Source {
    frame: FrameRef,
    /// Where in the frame's body, and how much; `None` for a block.
    slice: Option<(u32, u32)>,
}

/// A content to be copied.
#[derive(Debug)]
struct Item {
    source: Source,
    hash: Option<ShortId>,
    /// Where in the temporary file, and how much, once it was fetched.
    spooled: Option<(u64, u32)>,
    /// Its new frame and where in that frame's body, once it was packed.
    place: Option<(FrameRef, u32)>,
}

/// Contents to be copied, in path order.
#[derive(Debug)]
pub struct Copies {
    items: Vec<Item>,
    numbers: HashMap<Source, u32>,
    objects: HashSet<ObjectId>,
    spool: SpooledTempFile,
}

/// Live data of an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Live {
    /// As far as known, compressed: what a request for it is worth.
    stored: u64,
    /// Not compressed: what it takes meanwhile.
    plain: u64,
    contents: u64,
}

impl Copies {
    /// Chooses what to copy, by two readers of the same index; runs on a blocking thread.
    pub fn choose(mut index: LocalIndex, mut again: LocalIndex, spill: &Path) -> Result<Copies, PushError> {
        let mut live: HashMap<ObjectId, Live> = HashMap::new();
        while let Some(indexed) = index.next()? {
            let block = indexed.entry.block_bytes();
            each_source(&indexed.entry, &mut |source, _| {
                let live = live.entry(source.frame.object).or_default();
                let slice = source.slice.map(|(_, length)| u64::from(length));
                live.stored += slice.unwrap_or_else(|| u64::from(source.frame.length));
                live.plain += slice.unwrap_or(block);
                live.contents += 1;
            });
        }
        let spool = tempfile::spooled_tempfile_in(limits::SPOOL_BYTES, spill);
        let mut copies = Copies { items: Vec::new(), numbers: HashMap::new(), objects: select(live), spool };
        while let Some(indexed) = again.next()?.filter(|_| !copies.is_empty()) {
            each_source(&indexed.entry, &mut |source, hash| copies.want(source, hash));
        }
        Ok(copies)
    }

    /// Whether nothing is copied.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    fn want(&mut self, source: Source, hash: Option<ShortId>) {
        if self.objects.contains(&source.frame.object) && !self.numbers.contains_key(&source) {
            self.numbers.insert(source, self.items.len() as u32);
            self.items.push(Item { source, hash, spooled: None, place: None });
        }
    }

    /// Fetches the contents, each object's with few requests.
    pub async fn fetch(mut self, vault: &Vault, stop: &Stop) -> Result<Copies, PushError> {
        let mut frames: BTreeMap<ObjectId, BTreeMap<(u64, u32), Vec<u32>>> = BTreeMap::new();
        for (number, item) in self.items.iter().enumerate() {
            let FrameRef { object, offset, length } = item.source.frame;
            frames.entry(object).or_default().entry((offset, length)).or_default().push(number as u32);
        }
        let shared = Arc::new(Mutex::new(self));
        let room = Arc::new(Semaphore::new(ROOM_UNITS as usize));
        let mut tasks: Tasks<Result<(), PushError>> = Tasks::new("fetch what is copied");
        for (object, frames) in frames {
            while tasks.len() >= limits::FETCHES {
                tasks.next().await.transpose()?;
            }
            let (vault, room, stop) = (vault.clone(), Arc::clone(&room), stop.clone());
            tasks.spawn(fetch_object(vault, object, frames, Arc::clone(&shared), room, stop));
        }
        while let Some(done) = tasks.next().await {
            done?;
        }
        self = Arc::into_inner(shared).and_then(|copies| copies.into_inner().ok()).expect("all tasks were joined");
        let Copies { items, objects, .. } = &mut self;
        // Of an object that is damaged nothing is copied.
        for item in items.iter().filter(|item| item.spooled.is_none()) {
            objects.remove(&item.source.frame.object);
        }
        Ok(self)
    }

    /// Takes a frame's contents into the temporary file.
    fn take(&mut self, vault: &Vault, body: &[u8], numbers: &[u32]) -> Result<(), TakeError> {
        for number in numbers {
            let item = &mut self.items[*number as usize];
            let content = match item.source.slice {
                None => body,
                Some((inner, length)) => {
                    let rest = body.get(inner as usize..).and_then(|rest| rest.get(..length as usize));
                    rest.ok_or(FormatError::Truncated("a file in it"))?
                }
            };
            if item.hash.is_some_and(|hash| vault.keys().content_id(content).short() != hash) {
                return Err(FormatError::Invalid("a file's content is not the one recorded").into());
            }
            let at = self.spool.seek(SeekFrom::End(0)).map_err(IndexError::Io)?;
            self.spool.write_all(content).map_err(IndexError::Io)?;
            item.spooled = Some((at, content.len() as u32));
        }
        Ok(())
    }

    /// Packs what was fetched; runs on a blocking thread.
    pub fn pack(&mut self, identity: &mut PackIdentity, compression: Compression, outbox: &Outbox) -> Result<(), PushError> {
        let open = Pack::new(ObjectId::of_claim(ObjectKind::Pack, identity.claim, identity.counter));
        let mut repack = Repack { identity, compression, outbox, open, placed: Vec::new(), frame: OpenFrame::default() };
        for number in 0..self.items.len() {
            let item = &self.items[number];
            let Some((at, length)) = item.spooled.filter(|_| self.objects.contains(&item.source.frame.object)) else { continue };
            let mut content = vec![0; length as usize];
            self.spool.seek(SeekFrom::Start(at)).map_err(IndexError::Io)?;
            self.spool.read_exact(&mut content).map_err(IndexError::Io)?;
            repack.add(number, content, item.source.slice.is_some(), &mut self.items)?;
        }
        repack.close_frame(&mut self.items)?;
        repack.seal(&mut self.items)
    }

    /// Makes an entry refer to the copies.
    pub fn relocate(&self, entry: &mut Entry) {
        let mut touched = false;
        entry.objects(&mut |object| touched |= self.objects.contains(&object));
        let Node::File { size, content, .. } = &mut entry.node else { return };
        match content {
            Content::Slice { frame, inner } if touched => {
                if let Some(place) = self.place(&Source { frame: *frame, slice: Some((*inner, *size as u32)) }) {
                    (*frame, *inner) = place;
                }
            }
            Content::Blocks { runs, .. } if touched => {
                let mut moved = RunBuilder::default();
                for run in runs.iter() {
                    run.each_block(&mut |block| {
                        let place = block.and_then(|frame| self.place(&Source { frame, slice: None }));
                        moved.push(place.map(|(frame, _)| frame).or(block));
                    });
                }
                *runs = moved.finish();
            }
            _ => {}
        }
    }

    fn place(&self, source: &Source) -> Option<(FrameRef, u32)> {
        self.items.get(*self.numbers.get(source)? as usize)?.place
    }
}

/// The objects whose live data is copied. A single pack that is small already gains nothing by it.
fn select(live: HashMap<ObjectId, Live>) -> HashSet<ObjectId> {
    let mut small: Vec<(Live, ObjectId)> =
        live.into_iter().filter(|(_, live)| live.stored < limits::SMALL_LIVE_BYTES).map(|(id, live)| (live, id)).collect();
    small.sort_unstable();
    let (mut plain, mut contents) = (0, 0);
    let fits = |(live, _): &(Live, ObjectId)| {
        plain += live.plain;
        contents += live.contents;
        plain <= limits::COPY_BYTES && contents <= limits::COPY_CONTENTS
    };
    let chosen: HashSet<ObjectId> = small.into_iter().take_while(fits).map(|(_, id)| id).collect();
    let gains = chosen.len() > 1 || chosen.iter().any(|id| id.kind == ObjectKind::Commit);
    if gains { chosen } else { HashSet::new() }
}

fn each_source(entry: &Entry, each: &mut impl FnMut(Source, Option<ShortId>)) {
    let Node::File { size, hash, content } = &entry.node else { return };
    match content {
        Content::Slice { frame, inner } => each(Source { frame: *frame, slice: Some((*inner, *size as u32)) }, Some(*hash)),
        Content::Blocks { runs, .. } => runs.iter().for_each(|run| {
            run.each_block(&mut |block| block.into_iter().for_each(|frame| each(Source { frame, slice: None }, None)));
        }),
        Content::Empty | Content::Literal(_) => {}
    }
}

/// Why contents could not be taken.
#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error(transparent)]
    Damage(#[from] FormatError),
    #[error(transparent)]
    Spool(#[from] IndexError),
}

/// What fetched ranges may hold together is counted in these: half of what a restore allows them, because what is to be
/// copied is remembered beside.
const ROOM_UNIT_BYTES: u64 = 64 << 10;
const ROOM_UNITS: u32 = (limits::FETCH_BYTES as u64 / 2 / ROOM_UNIT_BYTES) as u32;

/// Fetches what is wanted of one object. Damage is said and leaves the object uncopied.
async fn fetch_object(
    vault: Vault,
    object: ObjectId,
    frames: BTreeMap<(u64, u32), Vec<u32>>,
    copies: Arc<Mutex<Copies>>,
    room: Arc<Semaphore>,
    stop: Stop,
) -> Result<(), PushError> {
    let mut reader = RangeReader::new(vault.clone(), object);
    let frames = frames.into_iter().map(|((offset, length), numbers)| (FrameRef { object, offset, length }, numbers));
    let frames: Vec<(FrameRef, Vec<u32>)> = frames.collect();
    let ranges = coalesce(frames.iter().map(|(frame, _)| *frame));
    let mut frames = frames.into_iter();
    for (range, count) in ranges {
        let units = u32::try_from((range.end - range.start).div_ceil(ROOM_UNIT_BYTES)).unwrap_or(ROOM_UNITS).min(ROOM_UNITS);
        let share = stop.or(Arc::clone(&room).acquire_many_owned(units)).await?;
        let start = range.start;
        let (opened, bytes) = match reader.read(range, &stop).await {
            Ok(read) => read,
            Err(error) => return leave(error),
        };
        let here: Vec<(FrameRef, Vec<u32>)> = frames.by_ref().take(count).collect();
        let (vault, copies) = (vault.clone(), Arc::clone(&copies));
        let taken = compute("keep what is copied", move || take_frames(&vault, &opened, &bytes, start, here, &copies)).await;
        drop(share);
        match taken {
            Ok(()) => {}
            Err(TakeError::Damage(what)) => return leave(VaultError::corrupt(object, what)),
            Err(TakeError::Spool(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

fn take_frames(
    vault: &Vault,
    opened: &Opened,
    bytes: &Bytes,
    start: u64,
    frames: Vec<(FrameRef, Vec<u32>)>,
    copies: &Mutex<Copies>,
) -> Result<(), TakeError> {
    for (frame, numbers) in frames {
        let from = (frame.offset - start) as usize;
        let stored = bytes.get(from..from + frame.length as usize).ok_or(FormatError::Truncated("a data frame"))?;
        let body = opened.frame(frame.offset, FrameType::Data, stored)?;
        copies.lock().unwrap_or_else(PoisonError::into_inner).take(vault, &body, &numbers)?;
    }
    Ok(())
}

/// The push is published already, and a base that refers to a damaged object is no worse than the log before it.
fn leave(error: VaultError) -> Result<(), PushError> {
    let damage = error.kind() == Kind::Corrupt || matches!(&error, VaultError::Store(error) if error.is_outside());
    if !damage {
        return Err(error.into());
    }
    tracing::warn!(%error, "the base goes on referring to a damaged object");
    Ok(())
}

/// A frame being filled: its body, what it holds, and which items those are.
#[derive(Debug, Default)]
struct OpenFrame {
    body: Vec<u8>,
    contents: Vec<Contained>,
    numbers: Vec<usize>,
}

/// Packs being filled with copies.
struct Repack<'a> {
    identity: &'a mut PackIdentity,
    compression: Compression,
    outbox: &'a Outbox,
    open: Pack,
    /// Items in the open pack: their offsets count from its first data frame until it is sealed.
    placed: Vec<usize>,
    frame: OpenFrame,
}

impl Repack<'_> {
    fn add(&mut self, number: usize, content: Vec<u8>, shared: bool, items: &mut [Item]) -> Result<(), PushError> {
        let id = self.identity.vault.keys().content_id(&content);
        let length = content.len() as u32;
        if !shared {
            let frame = Frame::pack(&content, self.compression);
            let contents = vec![Contained { id, inner: 0, length }];
            return self.put(frame, OpenFrame { body: content, contents, numbers: vec![number] }, items);
        }
        if !self.frame.body.is_empty() && self.frame.body.len() + content.len() > limits::FRAME_BYTES {
            self.close_frame(items)?;
        }
        self.frame.contents.push(Contained { id, inner: self.frame.body.len() as u32, length });
        self.frame.numbers.push(number);
        self.frame.body.extend_from_slice(&content);
        Ok(())
    }

    fn close_frame(&mut self, items: &mut [Item]) -> Result<(), PushError> {
        let open = std::mem::take(&mut self.frame);
        if open.numbers.is_empty() {
            return Ok(());
        }
        let frame = Frame::pack(&open.body, self.compression);
        self.put(frame, open, items)
    }

    fn put(&mut self, frame: Frame, open: OpenFrame, items: &mut [Item]) -> Result<(), PushError> {
        if self.open.stored_len() + frame.stored_len() > limits::PACK_BYTES {
            self.seal(items)?;
        }
        let inners: Vec<u32> = open.contents.iter().map(|content| content.inner).collect();
        let place = self.open.push(frame, open.body.len() as u32, open.contents);
        for (number, inner) in open.numbers.into_iter().zip(inners) {
            items[number].place = Some((place, inner));
            self.placed.push(number);
        }
        if self.open.is_full() { self.seal(items) } else { Ok(()) }
    }

    fn seal(&mut self, items: &mut [Item]) -> Result<(), PushError> {
        if self.open.is_empty() {
            return Ok(());
        }
        self.identity.counter += 1;
        let next = Pack::new(ObjectId::of_claim(ObjectKind::Pack, self.identity.claim, self.identity.counter));
        let data_at = self.outbox.send_pack(std::mem::replace(&mut self.open, next), self.identity)?;
        for number in self.placed.drain(..) {
            if let Some((frame, _)) = &mut items[number].place {
                frame.offset += u64::from(data_at);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Live, limits, select};
    use crate::vault::object::{Claim, ObjectId, ObjectKind};
    use std::collections::HashMap;

    fn pack(counter: u32) -> ObjectId {
        ObjectId::of_claim(ObjectKind::Pack, Claim { epoch: 1, nonce: 2 }, counter)
    }

    fn live(stored: u64, contents: u64) -> Live {
        Live { stored, plain: stored, contents }
    }

    #[test]
    fn small_objects_are_chosen_and_large_ones_stay() {
        let small = limits::SMALL_LIVE_BYTES - 1;
        let cases: [(&[(ObjectId, Live)], usize); 7] = [
            (&[], 0),
            (&[(ObjectId::commit(3), live(500, 1)), (ObjectId::commit(4), live(small + 1, 1))], 1),
            (&[(pack(1), live(500, 1))], 0),
            (&[(pack(1), live(500, 1)), (pack(2), live(small, 9))], 2),
            (&[(pack(1), live(500, 1)), (ObjectId::commit(9), live(small, 9))], 2),
            (&[(pack(1), live(500, limits::COPY_CONTENTS)), (ObjectId::commit(9), live(499, 1))], 1),
            (&[(ObjectId::commit(9), Live { plain: limits::COPY_BYTES + 1, ..live(499, 1) })], 0),
        ];
        for (live, expected) in cases {
            assert_eq!(select(live.iter().copied().collect()).len(), expected, "{live:?}");
        }
    }

    #[test]
    fn a_base_copies_no_more_than_its_bound_and_the_smallest_first() {
        let each = limits::SMALL_LIVE_BYTES / 2;
        let all: HashMap<_, _> = (1..=500u64).map(|seq| (ObjectId::commit(seq), live(each + seq, 1))).collect();
        let chosen = select(all.clone());
        let bytes: u64 = chosen.iter().map(|id| all[id].stored).sum();
        assert!(bytes <= limits::COPY_BYTES && bytes + each + 500 > limits::COPY_BYTES, "{bytes}");
        assert!((1..=chosen.len() as u64).all(|seq| chosen.contains(&ObjectId::commit(seq))));
    }
}
