//! Taking the right to write: a claim that is gone on under, or a new one.

use super::session::{Memory, SessionError};
use crate::runtime::Stop;
use crate::seal::random_bytes;
use crate::vault::error::VaultError;
use crate::vault::log::Commit;
use crate::vault::object::Claim;
use crate::vault::orphans::sweep;
use crate::vault::receipt::Receipt;
use crate::vault::writer::{Takeover, Writer, WriterName};
use data_encoding::HEXLOWER;

impl Memory {
    /// The right to write: the remembered claim if this volume's last process wrote the head and ended cleanly, else a
    /// new one. Returns the writer and whether the head that it continues is the one that was expected.
    pub async fn writer(
        &mut self,
        head: Option<Commit>,
        policy: Takeover,
        pod: &str,
        stop: &Stop,
    ) -> Result<(Writer, bool), SessionError> {
        if let (Some(receipt), Some(commit)) = (&self.receipt, &head)
            && let Some(claim) = receipt.claim.map(Claim::from)
            && receipt.clean
            && !self.outstanding
            && receipt.hash == HEXLOWER.encode(&commit.hash)
            && claim == commit.directory().claim()
        {
            let fencing = self.fencing(stop).await?;
            let mut writer = Writer::resume(self.vault.clone(), commit, self.name(pod), fencing, receipt.counter);
            if let (Some(upkeep), Some(swept)) = (&mut writer.upkeep, receipt.swept) {
                upkeep.swept = upkeep.swept.max(swept);
            }
            return Ok((writer, true));
        }
        self.claim(head, policy, pod, stop).await
    }

    /// The right to write for a Pod that begins. A claim that was released keeps nobody waiting, so that the next Pod would
    /// begin beside this one: it is not gone on under.
    pub async fn writer_for_pod(
        &mut self,
        head: Commit,
        policy: Takeover,
        pod: &str,
        stop: &Stop,
    ) -> Result<Writer, SessionError> {
        let outcome = match head.is_released() {
            true => self.claim(Some(head), policy, pod, stop).await,
            false => self.writer(Some(head), policy, pod, stop).await,
        };
        outcome.map(|(writer, _)| writer)
    }

    fn name(&self, pod: &str) -> WriterName {
        let id = self.receipt.as_ref().and_then(Receipt::writer_bytes).unwrap_or_else(random_bytes);
        WriterName { id, pod: pod.to_string() }
    }

    async fn claim(
        &mut self,
        head: Option<Commit>,
        policy: Takeover,
        pod: &str,
        stop: &Stop,
    ) -> Result<(Writer, bool), SessionError> {
        let (fencing, name) = (self.fencing(stop).await?, self.name(pod));
        if let Some(commit) = &head {
            self.note_head(commit)?;
        }
        let expected = head.as_ref().map(|commit| commit.hash);
        // A head that this very volume wrote has no other process behind it: the volume is locked.
        let own = head.as_ref().is_some_and(|commit| commit.directory().writer == name.id);
        let policy = if own { Takeover::Force } else { policy };
        let (mut writer, over) = Writer::claim(&self.vault, head, name, fencing, policy, stop).await?;
        tracing::info!(epoch = writer.claim.epoch, commit = writer.base.seq, "claimed the vault");
        self.outstanding = false;
        if let Some(over) = &over {
            clean_up(&mut writer, over, stop).await?;
        }
        Ok((writer, over.map(|commit| commit.hash) == expected))
    }

    /// Notes that the tree of the receipt is still that of the head: the next process then need not look back over the
    /// claims of all that were killed before it.
    fn note_head(&mut self, head: &Commit) -> Result<(), SessionError> {
        let Some(receipt) = self.receipt.clone().filter(|receipt| self.current && receipt.seq < head.seq) else { return Ok(()) };
        let (hash, epoch) = (HEXLOWER.encode(&head.hash), head.directory().epoch);
        self.write_receipt(Receipt { seq: head.seq, hash, epoch, clean: false, ..receipt })
    }
}

/// Removes what dead writers left. The rights to do so are optional, and no pass fails for want of tidiness.
async fn clean_up(writer: &mut Writer, over: &Commit, stop: &Stop) -> Result<(), SessionError> {
    match sweep(writer, over, stop).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(objects = removed, "removed what interrupted pushes had left"),
        Err(_) if stop.asked() => stop.check().map_err(VaultError::from)?,
        Err(error) => {
            tracing::warn!("what interrupted pushes left stays at the remote, and does no harm there: {error}");
        }
    }
    Ok(())
}
