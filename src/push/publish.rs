//! The end of a pass over a vault: its commit becomes the head, and index and receipt the volume's.

use super::assemble::{After, Assembled};
use super::{PushError, rescue};
use crate::remote::session::Memory;
use crate::runtime::Stop;
use crate::vault::directory::{Directory, Flags};
use crate::vault::index::{IndexHeader, IndexWriter};
use crate::vault::object::ObjectId;
use crate::vault::receipt::Receipt;
use crate::vault::writer::Writer;
use data_encoding::HEXLOWER;

/// Whose commit is published, and what it follows.
pub struct Publishing<'a> {
    /// What the volume remembers.
    pub memory: &'a mut Memory,
    /// The right to write.
    pub writer: &'a mut Writer,
    /// The commit whose tree the index has that the pass compared with.
    pub tree_seq: u64,
    /// Whether this is the last pass: its commit releases the vault, so that the next writer need not wait.
    pub last: bool,
    /// Whether files were left out.
    pub partial: bool,
}

impl Publishing<'_> {
    /// Publishes the commit, if there is anything to publish, and makes index and receipt the volume's. Returns the number
    /// of the commit.
    pub async fn publish(self, assembled: Assembled, stop: &Stop) -> Result<Option<u64>, PushError> {
        if assembled.records == 0 {
            return self.keep_head(assembled, stop).await.map(|()| None);
        }
        let Publishing { memory, writer, tree_seq, last, partial } = self;
        let (id, state) = (writer.next_commit(), assembled.tally.state);
        let flags = if last { Flags::RELEASE } else { Flags::default() };
        let (sealed, directory, index) = assembled.seal(&memory.vault, id, Directory { flags, ..writer.directory() })?;
        let hash = memory.vault.keys().commit_hash(&sealed.bytes[..sealed.head_len as usize]);
        match index {
            After::Whole(index) => {
                let header = IndexHeader { vault_id: memory.vault.id, seq: id.a, hash, inline_base: sealed.head_len };
                IndexWriter::seal_header(index, &header)?;
            }
            After::Beside(changes) => memory.stage_changes(tree_seq, (id, sealed.head_len), state, changes)?,
        }
        let receipt = Receipt { seq: id.a, hash: HEXLOWER.encode(&hash), ..memory.receipt_of(writer, id.a, partial) };
        memory.note_intent(id, hash, &receipt)?;
        if let Err(error) = writer.publish(&sealed, &directory, stop).await {
            return Err(rescue::keep(writer, &sealed, error, stop).await);
        }
        memory.finish(&receipt)?;
        Ok(Some(id.a))
    }

    /// Nothing changed: the head's tree stays. The last pass releases a head that is not released.
    async fn keep_head(self, assembled: Assembled, stop: &Stop) -> Result<(), PushError> {
        let Publishing { memory, writer, tree_seq, last, partial } = self;
        if last && !writer.base.released {
            let released = Directory { flags: Flags::RELEASE, ..writer.directory() };
            writer.publish_empty(released, stop).await?;
        }
        let seq = if assembled.refreshed { writer.base.seq } else { tree_seq };
        match assembled.index {
            // Neither what was begun, nor what an earlier pass may have left.
            _ if !assembled.refreshed => memory.forget_next()?,
            After::Whole(index) => {
                let header = IndexHeader { vault_id: memory.vault.id, seq, hash: writer.base.hash, inline_base: 0 };
                IndexWriter::seal_header(index, &header)?;
            }
            After::Beside(changes) => {
                memory.stage_changes(tree_seq, (ObjectId::commit(seq), 0), writer.base.state, changes)?;
            }
        }
        let known = |receipt: &Receipt| receipt.seq == writer.base.seq && receipt.clean && receipt.partial == partial;
        if !assembled.refreshed && memory.receipt.as_ref().is_some_and(known) {
            return Ok(());
        }
        let receipt = memory.receipt_of(writer, seq, partial);
        Ok(memory.finish(&receipt)?)
    }
}
