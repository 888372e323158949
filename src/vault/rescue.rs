//! Rescues: what a fenced writer could not publish, kept under a name that its claim has only once (FORMAT.md, "Forks").
//!
//! The same name settles who is first, the writer that leaves a rescue or the one that cleans up after it: an empty fork
//! closes the claim, and only then are its orphans deleted. A rescue that was stored therefore never loses what it needs.

use super::container::{FrameType, HEADER_BYTES, Opened, Parts, Sealed};
use super::directory::{Directory, Flags};
use super::error::VaultError;
use super::log::Commit;
use super::meta::Head;
use super::object::{Claim, ObjectId, ObjectKind};
use super::open::Vault;
use super::pack::read_toc;
use super::point::directory_of;
use super::publish::{Owner, store_sealed};
use super::wire::FormatError;
use super::writer::Writer;
use crate::runtime::Stop;

/// The one fork of a claim.
pub fn fork_id(claim: Claim) -> ObjectId {
    ObjectId::of_claim(ObjectKind::Fork, claim, 0)
}

/// Whether a fork only closes its claim: it changes nothing.
pub fn only_closes(directory: &Directory) -> bool {
    directory.meta.is_empty() && directory.parts.is_empty()
}

/// Keeps a commit that could not be published as a rescue. `None` when the claim was closed: what the commit needs may
/// be gone by now.
pub async fn leave(writer: &Writer, unpublished: &Sealed, stop: &Stop) -> Result<Option<ObjectId>, VaultError> {
    let id = fork_id(writer.claim);
    let sealed = as_fork(&writer.vault, id, unpublished).map_err(|what| VaultError::corrupt(unpublished.id, what))?;
    match store_sealed(&writer.vault.bucket, writer.fencing, &sealed, stop).await? {
        Owner::Ours => Ok(Some(id)),
        Owner::Foreign => Ok(None),
    }
}

/// Seals a commit's content again, as a fork. References into the commit's own data say "this object", and so need no change.
fn as_fork(vault: &Vault, id: ObjectId, commit: &Sealed) -> Result<Sealed, FormatError> {
    let opened = Opened::parse(vault.identity(), commit.id, &commit.bytes)?;
    let head = Head::read(opened, commit.bytes.clone())?;
    let mut parts = Parts::default();
    let mut at = HEADER_BYTES as u64 + u64::from(head.opened.dir_len);
    let mut take = |frame_type, length: u32| {
        let stored = commit.bytes.get(at as usize..at as usize + length as usize).ok_or(FormatError::Truncated("a frame"))?;
        let (start, stored) = (at, stored);
        at += u64::from(length);
        Ok::<_, FormatError>((head.opened.packed(start, frame_type, stored)?, start))
    };
    for frame in &head.directory.meta {
        parts.meta.push(take(FrameType::Meta, frame.length)?.0);
    }
    let mut lines = Vec::new();
    for length in &head.directory.toc {
        let (frame, start) = take(FrameType::Toc, *length)?;
        let stored = &commit.bytes[start as usize..(start + u64::from(*length)) as usize];
        lines.extend(read_toc(&head.opened.frame(start, FrameType::Toc, stored)?)?);
        parts.toc.push(frame);
    }
    for line in lines {
        parts.data.push(take(FrameType::Data, line.stored)?.0);
    }
    let directory = Directory { fork_of: commit.id.a - 1, flags: Flags::default(), upkeep: None, plan: None, ..head.directory };
    parts.directory = directory.encode();
    parts.seal(vault.identity(), id)
}

/// Makes sure that a claim whose last commit is `last` can leave no rescue any more. False when it left one.
pub async fn close(writer: &Writer, last: &Commit, stop: &Stop) -> Result<bool, VaultError> {
    let (vault, claim) = (&writer.vault, last.directory().claim());
    let directory = Directory {
        epoch: claim.epoch,
        nonce: claim.nonce,
        previous: last.hash,
        state: last.directory().state,
        plan_at: last.plan_at(),
        fork_of: last.seq,
        upkeep: None,
        ..writer.directory()
    };
    let id = fork_id(claim);
    let parts = Parts { directory: directory.encode(), ..Parts::default() };
    let sealed = parts.seal(vault.identity(), id).map_err(|what| VaultError::corrupt(id, what))?;
    match store_sealed(&vault.bucket, writer.fencing, &sealed, stop).await? {
        Owner::Ours => Ok(true),
        Owner::Foreign => match directory_of(vault, id, stop).await? {
            Some(head) => Ok(only_closes(&head.directory)),
            None => Err(VaultError::Missing { object: id.key(), referrer: "the answer of the store".into() }),
        },
    }
}
