//! Merging the log into a base, so that a restore reads the base and the commits after it instead of every commit. The
//! local index is the tree at the head, so no record is read from the remote; small live data of old objects is copied
//! (`copy`), so that the base refers to few of them. A crash before the plan is published leaves unreferenced objects;
//! the old plan stays in force, and so does the local index, which gets its new places only when the plan is known to be
//! stored. Old objects stay: older restore points need them, and so does an index that was not renewed.

use super::PushError;
use super::assemble::seal_part;
use super::copy::Copies;
use super::pipeline::{Outbox, PackIdentity, upload_all};
use crate::disk::StateFile;
use crate::remote::{LocalIndex, session::Memory};
use crate::runtime::{Stop, compute, limits};
use crate::vault::container::Compression;
use crate::vault::directory::{Directory, Flags, PartRef, Plan, Run};
use crate::vault::entry::Record;
use crate::vault::error::VaultError;
use crate::vault::index::{IndexError, IndexHeader, IndexWriter};
use crate::vault::meta::MetaWriter;
use crate::vault::object::{ObjectId, ObjectKind};
use crate::vault::receipt::Receipt;
use crate::vault::writer::Writer;
use std::io::BufWriter;
use std::path::Path;

/// Writes a base when enough commits follow the last one, or commits with much metadata.
pub async fn merge_if_due(
    memory: &mut Memory,
    writer: &mut Writer,
    compression: Compression,
    spill: &Path,
    stop: &Stop,
) -> Result<(), PushError> {
    // A plan covers everything up to the commit before the one that carries it.
    let commits = writer.base.seq - writer.base.plan_at;
    if commits < limits::TAIL_COMMITS && writer.base.tail_bytes <= limits::TAIL_META_BYTES {
        return Ok(());
    }
    let Some(receipt) = memory.receipt.clone().filter(|receipt| receipt.seq == writer.base.seq && !receipt.reverted) else {
        return Ok(());
    };
    let open = || memory.index(receipt.tree_seq);
    let (Some(first), Some(second), Some(index)) = (open()?, open()?, open()?) else { return Ok(()) };
    let spill = spill.to_path_buf();
    let copies = compute("choose what to copy", move || Copies::choose(first, second, &spill)).await?;
    let copies = copies.fetch(&memory.vault, stop).await?;
    let identity = PackIdentity {
        vault: memory.vault.clone(),
        claim: writer.claim,
        writer: writer.name.id,
        labels: writer.labels(),
        counter: writer.counter(),
        commit: ObjectId::commit(0),
    };
    // The tree stays: the file's own number, which may be older than what lies beside it, would say otherwise.
    let header = IndexHeader { seq: receipt.tree_seq, inline_base: 0, ..*index.header() };
    let next = if copies.is_empty() { None } else { Some((memory.next_index()?, header)) };
    let renewed = next.is_some();
    let (outbox, uploads) = Outbox::new();
    let vault = memory.vault.clone();
    let dirty = Receipt { clean: false, ..receipt.clone() };
    let before_first = || Ok(memory.write_receipt(dirty.clone())?);
    let write = compute("write the base", move || write_base(identity, index, copies, compression, next, &outbox));
    let (written, uploaded) = futures::join!(write, upload_all(&vault, writer.fencing, uploads, before_first, stop));
    uploaded?;
    let (parts, counter) = written?;
    writer.skip_to(counter);
    publish(writer, parts, stop).await?;
    let after = memory.receipt_of(writer, receipt.tree_seq, receipt.partial);
    if renewed { Ok(memory.finish(&after)?) } else { Ok(memory.write_receipt(after)?) }
}

/// Packs the copies, then writes the parts and, beside them, the index that knows the new places.
fn write_base(
    mut identity: PackIdentity,
    index: LocalIndex,
    mut copies: Copies,
    compression: Compression,
    next: Option<(StateFile, IndexHeader)>,
    outbox: &Outbox,
) -> Result<(Vec<PartRef>, u32), PushError> {
    copies.pack(&mut identity, compression, outbox)?;
    let start = |(file, header)| IndexWriter::start(BufWriter::with_capacity(256 << 10, file), &header);
    let renewed = next.map(start).transpose()?;
    let meta = MetaWriter::new(identity.commit);
    let mut base = Base { identity, outbox, meta, first: None, parts: Vec::new(), renewed };
    base.write(index, &copies)?;
    Ok((base.parts, base.identity.counter))
}

/// A base being written.
struct Base<'a> {
    identity: PackIdentity,
    outbox: &'a Outbox,
    meta: MetaWriter,
    first: Option<Vec<u8>>,
    parts: Vec<PartRef>,
    renewed: Option<IndexWriter<BufWriter<StateFile>>>,
}

impl Base<'_> {
    fn write(&mut self, mut index: LocalIndex, copies: &Copies) -> Result<(), PushError> {
        while let Some(mut indexed) = index.next()? {
            copies.relocate(&mut indexed.entry);
            if let Some(renewed) = &mut self.renewed {
                renewed.push(&indexed)?;
            }
            if self.meta.stored_len() >= limits::RUN_PART_BYTES {
                self.close_part()?;
            }
            self.first.get_or_insert_with(|| indexed.entry.path.as_bytes().to_vec());
            let commit = self.identity.commit;
            self.meta.push(&Record::Upsert(indexed.entry)).map_err(|what| VaultError::corrupt(commit, what))?;
        }
        self.close_part()?;
        if let (Some(renewed), Some(state)) = (self.renewed.take(), index.state()) {
            renewed.finish(state)?.into_inner().map_err(|error| IndexError::Io(error.into_error()))?;
        }
        Ok(())
    }

    fn close_part(&mut self) -> Result<(), PushError> {
        let Some(first) = self.first.take() else { return Ok(()) };
        let id = ObjectId::of_claim(ObjectKind::Run, self.identity.claim, self.identity.counter);
        self.identity.counter += 1;
        let done = std::mem::replace(&mut self.meta, MetaWriter::new(self.identity.commit)).finish();
        let count = done.records;
        let room = self.outbox.wait_for_room()?;
        let sealed = seal_part(&self.identity, id, done)?;
        let (length, tag) = (sealed.bytes.len() as u64, sealed.tag);
        self.parts.push(PartRef { object: id, length, tag, first, count });
        self.outbox.send(sealed, room)
    }
}

async fn publish(writer: &mut Writer, parts: Vec<PartRef>, stop: &Stop) -> Result<(), PushError> {
    let base = writer.base;
    let run = Run { from: 0, to: base.seq, hash: base.hash, parts };
    let plan = Plan { runs: vec![run], log_floor: 1 };
    let flags = if base.released { Flags::RELEASE } else { Flags::default() };
    let directory = Directory { flags, plan: Some(plan), tail_bytes: 0, ..writer.directory() };
    // Until the answer is known, the receipt says that objects may be stored that no commit lists: the next process then
    // claims anew, which is right whether this commit landed or not.
    writer.publish_empty(directory, stop).await?;
    tracing::info!(commit = base.seq, "merged the log into a base");
    Ok(())
}
