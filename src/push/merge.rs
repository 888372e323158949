//! Merging the log into a base, so that a restore reads the base and the commits after it instead of every commit. The
//! local index is the tree at the head, so nothing is read from the remote. A crash before the plan is published leaves
//! unreferenced parts; the old plan stays in force.

use super::PushError;
use super::assemble::seal_part;
use super::capture::Index;
use super::pipeline::{Outbox, PackIdentity, upload_all};
use crate::remote::session::Memory;
use crate::runtime::{Stop, compute, limits};
use crate::vault::directory::{Directory, Flags, PartRef, Plan, Run};
use crate::vault::entry::Record;
use crate::vault::error::VaultError;
use crate::vault::meta::MetaWriter;
use crate::vault::object::{ObjectId, ObjectKind};
use crate::vault::receipt::Receipt;
use crate::vault::writer::Writer;

/// Writes a base when enough commits follow the last one.
pub async fn merge_if_due(memory: &mut Memory, writer: &mut Writer, stop: &Stop) -> Result<(), PushError> {
    // A plan covers everything up to the commit before the one that carries it.
    if writer.base.seq - writer.base.plan_at < limits::TAIL_COMMITS {
        return Ok(());
    }
    let Some(receipt) = memory.receipt.clone().filter(|receipt| receipt.seq == writer.base.seq && !receipt.reverted) else {
        return Ok(());
    };
    let Some(index) = memory.index(receipt.tree_seq)? else { return Ok(()) };
    let identity = PackIdentity {
        vault: memory.vault.clone(),
        claim: writer.claim,
        writer: writer.name.id,
        labels: writer.labels(),
        counter: writer.counter(),
        commit: ObjectId::commit(0),
    };
    let (outbox, uploads) = Outbox::new();
    let vault = memory.vault.clone();
    let dirty = Receipt { clean: false, ..receipt.clone() };
    let before_first = || Ok(memory.write_receipt(dirty.clone())?);
    let write = compute("write the base", move || write_parts(identity, index, &outbox));
    let (written, uploaded) = futures::join!(write, upload_all(&vault, writer.fencing, uploads, before_first, stop));
    uploaded?;
    let (parts, counter) = written?;
    writer.skip_to(counter);
    publish(memory, writer, parts, receipt, stop).await
}

fn write_parts(mut identity: PackIdentity, mut index: Index, outbox: &Outbox) -> Result<(Vec<PartRef>, u32), PushError> {
    let mut parts = Vec::new();
    let mut meta = MetaWriter::new(identity.commit);
    let mut first: Option<Vec<u8>> = None;
    loop {
        let next = index.next()?;
        if first.is_some() && (next.is_none() || meta.stored_len() >= limits::RUN_PART_BYTES) {
            let id = ObjectId::of_claim(ObjectKind::Run, identity.claim, identity.counter);
            identity.counter += 1;
            let done = std::mem::replace(&mut meta, MetaWriter::new(identity.commit)).finish();
            let count = done.records;
            let room = outbox.wait_for_room()?;
            let sealed = seal_part(&identity, id, done)?;
            let (length, tag) = (sealed.bytes.len() as u64, sealed.tag);
            parts.push(PartRef { object: id, length, tag, first: first.take().unwrap_or_default(), count });
            outbox.send(sealed, room)?;
        }
        let Some(indexed) = next else { return Ok((parts, identity.counter)) };
        first.get_or_insert_with(|| indexed.entry.path.as_bytes().to_vec());
        meta.push(&Record::Upsert(indexed.entry)).map_err(|what| VaultError::corrupt(identity.commit, what))?;
    }
}

async fn publish(
    memory: &mut Memory,
    writer: &mut Writer,
    parts: Vec<PartRef>,
    receipt: Receipt,
    stop: &Stop,
) -> Result<(), PushError> {
    let base = writer.base;
    let run = Run { from: 0, to: base.seq, hash: base.hash, parts };
    let plan = Plan { runs: vec![run], log_floor: 1 };
    let directory = Directory { flags: Flags::RELEASE, plan: Some(plan), ..writer.directory() };
    // Until the answer is known, the receipt says that parts may be stored that no commit lists: the next process then
    // claims anew, which is right whether this commit landed or not.
    writer.publish_empty(directory, stop).await?;
    tracing::info!(commit = base.seq, "merged the log into a base");
    let after = memory.receipt_of(writer, receipt.tree_seq, receipt.partial);
    Ok(memory.write_receipt(after)?)
}
