//! Contents: every object read whole, every frame opened and compared with the identities its TOC promises.

use super::Check;
use super::records::own_frames;
use crate::runtime::{Stop, compute, limits};
use crate::vault::container::{FrameType, HEADER_BYTES, Opened};
use crate::vault::error::VaultError;
use crate::vault::meta::Head;
use crate::vault::object::{ObjectId, ObjectKind};
use crate::vault::open::Vault;
use crate::vault::pack::{TocLine, read_toc};
use crate::vault::point::directory_of;
use crate::vault::tree::read_whole;
use crate::vault::wire::FormatError;
use bytes::Bytes;
use futures::{StreamExt, stream};
use std::collections::HashMap;

/// Where the data frames of objects lie: offset and length, ascending.
pub(super) type Frames = HashMap<ObjectId, Vec<(u32, u32)>>;

impl Check<'_> {
    /// Every pack's head: that it opens, and that its TOC fits its length.
    pub(super) async fn packs(&mut self) -> Result<(), VaultError> {
        self.progress.note_phase("packs");
        let (vault, stop) = (self.vault, self.stop);
        let reads = self.inventory.of_kind(ObjectKind::Pack).into_iter().map(|id| async move {
            let read = match directory_of(vault, id, stop).await {
                Ok(Some(head)) => vault.whole_head(head, stop).await,
                Ok(None) => Err(VaultError::Missing { object: id.key(), referrer: "the listing".into() }),
                Err(error) => Err(error),
            };
            (id, read)
        });
        let mut reads = stream::iter(reads).buffer_unordered(limits::FETCHES);
        while let Some((id, read)) = reads.next().await {
            self.progress.add_files(1);
            let head = match read {
                Ok(head) => head,
                Err(error) => {
                    self.note(id, error)?;
                    continue;
                }
            };
            self.length(&head.opened);
            if let Err(what) = compute("check a pack's TOC", move || toc(&head).map(drop)).await {
                self.note(id, VaultError::corrupt(id, what))?;
            }
        }
        Ok(())
    }

    /// Every object, whole.
    pub(super) async fn contents(&mut self) -> Result<(), VaultError> {
        self.progress.note_phase("contents");
        self.progress.set_totals(0, self.findings.bytes);
        let (vault, stop, budget) = (self.vault, self.stop, self.budget.clone());
        let sizes: Vec<(ObjectId, u64)> = self.inventory.sizes.iter().map(|(id, size)| (*id, *size)).collect();
        let reads = sizes.into_iter().map(|(id, size)| {
            let budget = budget.clone();
            async move {
                let share = budget.share(size).await;
                let checked = whole(vault.clone(), id, stop).await;
                drop(share);
                (id, size, checked)
            }
        });
        let mut reads = stream::iter(reads).buffer_unordered(limits::FETCHES);
        let mut frames = Frames::new();
        let mut held = 0;
        while let Some((id, size, checked)) = reads.next().await {
            self.progress.add_files(1);
            self.progress.add_bytes(size);
            self.findings.read += 1;
            match checked {
                Ok(found) => {
                    held += found.len();
                    frames.insert(id, found);
                }
                Err(error) => self.note(id, error)?,
            }
            if held >= limits::CHECK_FRAMES {
                self.references(&frames).await?;
                frames.clear();
                held = 0;
            }
        }
        self.references(&frames).await
    }
}

async fn whole(vault: Vault, id: ObjectId, stop: &Stop) -> Result<Vec<(u32, u32)>, VaultError> {
    let bytes = read_whole(&vault, id, stop).await?;
    let checked = compute("check an object", move || check_object(&vault, id, &bytes)).await;
    checked.map_err(|what| VaultError::corrupt(id, what))
}

/// Opens everything in an object. Returns where its data frames lie.
fn check_object(vault: &Vault, id: ObjectId, bytes: &Bytes) -> Result<Vec<(u32, u32)>, FormatError> {
    let opened = Opened::parse(vault.identity(), id, bytes)?;
    if bytes.len() as u64 != opened.total_len {
        return Err(FormatError::Invalid("it has another length than its header says"));
    }
    let head = Head::read(opened, bytes.slice(..))?;
    for frame in 0..head.frames() {
        head.records(frame)?;
    }
    let lines = toc(&head)?;
    let frames = if lines.is_empty() { unlisted(&head, bytes)? } else { listed(vault, &head, &lines, bytes)? };
    let end = frames.last().map_or(head.opened.head_len, |(at, stored)| at + stored);
    let rest = bytes.get(end as usize..).ok_or(FormatError::Truncated("its data"))?;
    head.opened.check_pad(u64::from(end), rest)?;
    Ok(frames)
}

/// Opens the frames that the TOC lists, and compares their contents with the identities it promises.
fn listed(vault: &Vault, head: &Head, lines: &[TocLine], bytes: &Bytes) -> Result<Vec<(u32, u32)>, FormatError> {
    let mut frames = Vec::with_capacity(lines.len());
    let mut at = head.opened.head_len;
    for line in lines {
        let body = data_frame(head, bytes, u64::from(at), line.stored)?;
        if body.len() != line.plain as usize {
            return Err(FormatError::Invalid("a data frame has another length than its TOC says"));
        }
        for content in &line.contents {
            let start = content.inner as usize;
            let part = body.get(start..start + content.length as usize).ok_or(FormatError::Truncated("a content"))?;
            if vault.keys().content_id(part) != content.id {
                return Err(FormatError::Invalid("a content is not what its identity says"));
            }
        }
        frames.push((at, line.stored));
        at += line.stored;
    }
    Ok(frames)
}

/// Opens the frames of an object without a TOC: those that its own records name, which must be all.
fn unlisted(head: &Head, bytes: &Bytes) -> Result<Vec<(u32, u32)>, FormatError> {
    let mut frames = Vec::new();
    let mut at = head.opened.head_len;
    for (offset, stored) in own_frames(head)? {
        if offset != u64::from(at) {
            return Err(FormatError::Invalid("it has data that neither a TOC nor its own records name"));
        }
        data_frame(head, bytes, offset, stored)?;
        frames.push((at, stored));
        at += stored;
    }
    Ok(frames)
}

fn data_frame(head: &Head, bytes: &Bytes, at: u64, stored: u32) -> Result<Vec<u8>, FormatError> {
    let end = at + u64::from(stored);
    let stored = bytes.get(at as usize..end as usize).ok_or(FormatError::Truncated("a data frame"))?;
    head.opened.frame(at, FrameType::Data, stored)
}

/// The lines of an object's TOC, which follow each other without a gap and stay inside it.
fn toc(head: &Head) -> Result<Vec<TocLine>, FormatError> {
    let bytes = head.head_bytes().ok_or(FormatError::Truncated("its head"))?;
    let meta: u64 = head.directory.meta.iter().map(|frame| u64::from(frame.length)).sum();
    let mut at = HEADER_BYTES as u64 + u64::from(head.opened.dir_len) + meta;
    let mut lines = Vec::new();
    for length in &head.directory.toc {
        let end = at + u64::from(*length);
        let stored = bytes.get(at as usize..end as usize).ok_or(FormatError::Truncated("its TOC"))?;
        lines.extend(read_toc(&head.opened.frame(at, FrameType::Toc, stored)?)?);
        at = end;
    }
    let mut next = 0u64;
    for line in &lines {
        if u64::from(line.offset) != next {
            return Err(FormatError::Invalid("its TOC leaves a gap between data frames"));
        }
        next += u64::from(line.stored);
    }
    if u64::from(head.opened.head_len) + next > head.opened.total_len {
        return Err(FormatError::Invalid("its TOC names frames past its end"));
    }
    Ok(lines)
}
