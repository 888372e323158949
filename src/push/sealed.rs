//! A push to a vault: what is found out once and kept between passes, and the stages of each pass.

use super::assemble::{Assembled, Assembly, NextIndex};
use super::batch::Memo;
use super::capture::{Capture, CaptureReport};
use super::extent::{Extent, extent};
use super::pipeline::{Outbox, PackIdentity, Packed, Packer, Uploads, upload_all};
use super::publish::Publishing;
use super::{Ending, Held, Outcome, Pass, Push, PushError, merge};
use crate::disk::{DatabaseCopies, Scan, ScanOptions};
use crate::plan::{DeleteSet, Deletes, PushFacts, Refusal, admit_deletes, admit_push};
use crate::remote::session::{Memory, SessionError, make_vault, warn_of_single_key};
use crate::runtime::{Stop, compute, limits, ordered};
use crate::seal::Unlocker;
use crate::store::Fencing;
use crate::vault::directory::{Labels, State};
use crate::vault::index::{IndexError, IndexHeader};
use crate::vault::log::Commit;
use crate::vault::object::{Claim, ObjectId};
use crate::vault::open::{Presence, open};
use crate::vault::receipt::Receipt;
use crate::vault::writer::{Base, Takeover, Writer};

/// What is kept between passes.
#[derive(Debug, Default)]
pub struct Kept {
    /// The open vault, after a pass that succeeded.
    pub session: Option<Session>,
    /// Whether one ever did: to take over by force is one decision, not one for each pass.
    wrote: bool,
    /// It was made by this process, and no pass that succeeded has said so yet.
    new_vault: bool,
}

/// What the passes of one process share.
#[derive(Debug)]
pub struct Session {
    memory: Memory,
    /// The head as it was found; the writer knows better.
    head: Option<Commit>,
    /// None before the first pass has taken the right to write, and in a dry run.
    writer: Option<Writer>,
}

/// One pass. The session is kept when it succeeds.
pub async fn push(
    request: &Push<'_>,
    unlocker: &Unlocker,
    kept: &mut Kept,
    pass: &Pass,
    stop: &Stop,
) -> Result<Outcome, PushError> {
    let mut session = match kept.session.take() {
        Some(session) => session,
        None => match Box::pin(Session::open(request, unlocker, stop)).await? {
            Some(session) => {
                kept.new_vault |= session.memory.probed.is_some();
                session
            }
            None => return dry_first(request, stop),
        },
    };
    if kept.wrote || request.takeover != Takeover::Force && !request.force {
        session.memory.check_fence(session.head.as_ref())?;
    }
    let outcome = match Box::pin(session.pass(request, pass, stop)).await {
        Err(error) => {
            if let Some(epoch) = error.fenced_by() {
                session.memory.note_fence(epoch)?;
            }
            return Err(error);
        }
        Ok(outcome) => outcome,
    };
    if std::mem::take(&mut kept.new_vault) && !request.single_key {
        warn_of_single_key();
    }
    (kept.session, kept.wrote) = (Some(session), true);
    Ok(outcome)
}

impl Session {
    /// The epoch of the right to write, once it was taken.
    pub fn epoch(&self) -> Option<u32> {
        self.writer.as_ref().map(|writer| writer.claim.epoch)
    }

    /// The slot that opened the vault.
    pub fn slot(&self) -> &str {
        &self.memory.vault.slot
    }

    /// Finds out what lies at the remote; a vault is made where there is none. `None`: a dry run on an empty remote.
    async fn open(request: &Push<'_>, unlocker: &Unlocker, stop: &Stop) -> Result<Option<Session>, PushError> {
        let (vault, newest, probed) = match open(&request.bucket, unlocker, stop).await? {
            Presence::Vault(vault, newest) => (*vault, newest, None),
            Presence::ProvenEmpty if request.dry_run => return Ok(None),
            Presence::ProvenEmpty => {
                let (vault, fencing) = make_vault(&request.bucket, unlocker, stop).await?;
                (vault, None, Some(fencing))
            }
        };
        let head = vault.head(newest, stop).await?;
        let mut memory = Memory::open(request.local, &vault, head.as_ref(), stop).await?;
        memory.probed = probed;
        memory.check_rollback(head.as_ref(), request.accept_rollback)?;
        memory.check_pin(head.as_ref(), request.accept_rollback, stop).await?;
        Ok(Some(Session { memory, head, writer: None }))
    }

    async fn pass(&mut self, request: &Push<'_>, pass: &Pass, stop: &Stop) -> Result<Outcome, PushError> {
        admit_push(&self.facts(request)?, request.force)?;
        let pushed = match self.push_to(request, pass, stop).await {
            Err(PushError::Index(IndexError::Format(error))) => {
                tracing::warn!(%error, "the local index is damaged: making it again");
                self.memory.drop_index()?;
                self.writer = None;
                self.head = self.memory.vault.head(None, stop).await?;
                self.push_to(request, pass, stop).await
            }
            other => other,
        };
        let outcome = match pushed {
            Err(PushError::Index(error) | PushError::Session(SessionError::Index(error))) => {
                return Err(self.memory.explain(error).into());
            }
            other => other?,
        };
        if !request.dry_run {
            // By force, the volume as it is has become the state.
            self.memory.forget_restore()?;
        }
        Ok(outcome)
    }

    fn facts(&self, request: &Push<'_>) -> Result<PushFacts, PushError> {
        let volume = &request.local.volume;
        let state = self.base().state;
        let found = self.head.as_ref().map(|head| (head.seq, head.directory().labels.pod.clone()));
        let own = self.writer.as_ref().map(|writer| (writer.base.seq, writer.name.pod.clone()));
        Ok(PushFacts {
            volume: volume.path().display().to_string(),
            volume_empty: volume.is_empty(&request.local.reserved)?,
            remote_entries: state.files + state.dirs,
            head: own.or(found),
            seen: self.memory.receipt.as_ref().map(|receipt| receipt.seq),
            current: self.memory.current,
            restoring: self.memory.interrupted_restore()?.is_some(),
        })
    }

    /// What the next commit continues.
    fn base(&self) -> Base {
        let found = || self.head.as_ref().map_or(Base::EMPTY, Base::of);
        self.writer.as_ref().map_or_else(found, |writer| writer.base)
    }

    /// The stages of a pass, once it is admitted.
    async fn push_to(&mut self, request: &Push<'_>, pass: &Pass, stop: &Stop) -> Result<Outcome, PushError> {
        if self.writer.is_none() && !request.dry_run {
            self.writer = Some(self.take_writer(request, stop).await?);
        }
        let base = self.base();
        let tree_seq = prepare_index(&mut self.memory, &base, stop).await?;
        let extent = extent(request, &self.memory, tree_seq, &pass.dirty)?;
        let (report, packed) = self.read_and_pack(request, &extent, stop).await?;
        let deletes = admit_deletes(
            DeleteSet { of: base.state.files + base.state.dirs, ..report.deletes },
            report.completeness,
            request.delete,
            pass.allow_deletes.or(request.allow_deletes),
            request.force,
        );
        let bytes_new = packed.bytes_new;
        let assembled = self.assemble(&extent, packed, deletes, stop).await?;
        let mut outcome = outcome_of(&report, &assembled, deletes, base.seq);
        outcome.bytes_new = bytes_new;
        outcome.dry_run = request.dry_run;
        let Session { memory, writer, .. } = self;
        if let Some(writer) = writer {
            let partial = outcome.ending() != Ending::Complete;
            let publishing = Publishing { memory, writer, tree_seq, last: pass.last.is_true(), partial };
            if let Some(seq) = publishing.publish(assembled, stop).await? {
                (outcome.commit, outcome.published) = (seq, true);
            }
            merge::merge_if_due(memory, writer, request.capture.compression, &request.local.spill(), stop).await?;
        } else {
            memory.forget_next()?;
        }
        Ok(outcome)
    }

    /// The right to write. When the head moved while it was claimed, both sides moved.
    async fn take_writer(&mut self, request: &Push<'_>, stop: &Stop) -> Result<Writer, PushError> {
        let head = self.head.take();
        let seen = head.as_ref().map_or(0, |head| head.seq);
        let (writer, expected) = self.memory.writer(head, request.takeover, &request.pod, stop).await?;
        if !expected && !request.force {
            let by = "another writer, while this one claimed the vault".to_string();
            return Err(Refusal::RemoteMoved { head: writer.base.seq, by, seen }.into());
        }
        Ok(writer)
    }

    /// Under whose names things are sealed; in a dry run nothing is, and the names mean nothing.
    fn identity(&self) -> PackIdentity {
        let vault = self.memory.vault.clone();
        match &self.writer {
            Some(writer) => PackIdentity {
                vault,
                claim: writer.claim,
                writer: writer.name.id,
                labels: writer.labels(),
                counter: writer.counter(),
                commit: writer.next_commit(),
            },
            None => PackIdentity {
                vault,
                claim: Claim { epoch: u32::MAX, nonce: 0 },
                writer: [0; 16],
                labels: Labels::default(),
                counter: 0,
                commit: ObjectId::commit(self.base().seq + 1),
            },
        }
    }

    /// Reads the volume, stores what is new and spools what changed: three stages side by side.
    async fn read_and_pack(
        &mut self,
        request: &Push<'_>,
        extent: &Extent,
        stop: &Stop,
    ) -> Result<(CaptureReport, Packed), PushError> {
        let memory = &self.memory;
        let spill = request.local.spill();
        let scan = extent.scan(&request.local.volume, request.scan_options())?;
        let (index, again) = (extent.known(memory)?, extent.known(memory)?);
        let memo = Memo::default();
        let (sender, receiver) = ordered(limits::COMPRESS_JOBS);
        let capture = Capture {
            volume: request.local.volume.clone(),
            vault: memory.vault.clone(),
            options: request.capture.clone(),
            databases: DatabaseCopies::new(&spill),
            memo: memo.clone(),
            memory: again,
            sender,
            progress: request.progress.clone(),
            stop: stop.clone(),
        };
        let (outbox, uploads) = Outbox::new();
        let outbox = (!request.dry_run).then_some(outbox);
        let packer = Packer::new(self.identity(), outbox, memo, &spill);
        let read = compute("read the volume", move || capture.run(scan, index));
        let pack = compute("pack", move || packer.run(receiver));
        let work = async { futures::join!(read, pack) };
        let (report, packed) = self.store_beside(work, uploads, extent.tree_seq, stop).await?;
        // The stage that failed first is the last in line: the others only saw it stop.
        let packed = packed?;
        let report = report?;
        if let Some(writer) = &mut self.writer {
            writer.skip_to(packed.counter);
        }
        Ok((report, packed))
    }

    /// Makes the next commit's content and the next index.
    async fn assemble(&mut self, extent: &Extent, packed: Packed, deletes: Deletes, stop: &Stop) -> Result<Assembled, PushError> {
        let (identity, before) = (self.identity(), self.base().state);
        let (outbox, uploads) = Outbox::new();
        let memory = &mut self.memory;
        let (index, next) = if extent.goes_beside(memory, &packed) {
            (extent.known(memory)?, NextIndex::Beside(before))
        } else {
            let header = IndexHeader { vault_id: memory.vault.id, seq: identity.commit.a, hash: [0; 32], inline_base: 0 };
            (extent.known_whole(memory)?, NextIndex::Whole(memory.next_index()?, header))
        };
        let assembly = Assembly {
            identity,
            spool: packed.spool,
            index,
            next,
            inline: packed.inline,
            deletes,
            outbox: self.writer.is_some().then_some(outbox),
        };
        let work = compute("assemble the commit", move || assembly.run());
        let assembled = self.store_beside(work, uploads, extent.tree_seq, stop).await??;
        if let Some(writer) = &mut self.writer {
            writer.skip_to(assembled.counter);
        }
        Ok(assembled)
    }

    /// Works, and stores what the work yields beside it. From the first stored object on it is remembered that a crash
    /// leaves objects that no commit lists, under names that must not be used again: the next process claims anew.
    async fn store_beside<T>(
        &mut self,
        work: impl Future<Output = T>,
        uploads: Uploads,
        tree_seq: u64,
        stop: &Stop,
    ) -> Result<T, PushError> {
        let Session { memory, writer, .. } = self;
        let vault = memory.vault.clone();
        let fencing = writer.as_ref().map_or(Fencing::Strict, |writer| writer.fencing);
        let mut unclean = writer.as_ref().map(|writer| Receipt { clean: false, ..memory.receipt_of(writer, tree_seq, false) });
        let before_first = || unclean.take().map_or(Ok(()), |receipt| Ok(memory.write_receipt(receipt)?));
        let (done, stored) = futures::join!(work, upload_all(&vault, fencing, uploads, before_first, stop));
        stored?;
        Ok(done)
    }
}

/// A dry run against an empty remote: everything is new.
fn dry_first(request: &Push<'_>, stop: &Stop) -> Result<Outcome, PushError> {
    let options = ScanOptions { watch: None, ..request.scan_options() };
    let mut scan = Scan::start(&request.local.volume, options)?;
    let mut outcome = Outcome { dry_run: true, ..Outcome::default() };
    for found in scan.by_ref() {
        stop.check()?;
        outcome.bytes_new += found?.size;
        outcome.added += 1;
    }
    outcome.skips = scan.skips().clone();
    outcome.entries = outcome.added;
    outcome.bytes_total = outcome.bytes_new;
    outcome.requests = request.bucket.requests();
    Ok(outcome)
}

/// Makes sure that the index is that of the head's tree; returns the commit it is named after. A claim changes no tree,
/// so right after one the index of the commit before it still holds.
async fn prepare_index(memory: &mut Memory, head: &Base, stop: &Stop) -> Result<u64, PushError> {
    if let Some(receipt) = &memory.receipt
        && receipt.is_tree_of_head()
        && memory.head_was(receipt)
        && memory.index(receipt.tree_seq)?.is_some()
    {
        return Ok(receipt.tree_seq);
    }
    if head.state == State::default() {
        return Ok(0);
    }
    let commit = memory.vault.commit(head.seq, stop).await?;
    memory.rebuild_index(commit, stop).await?;
    Ok(head.seq)
}

fn outcome_of(report: &CaptureReport, assembled: &Assembled, deletes: Deletes, head: u64) -> Outcome {
    let state = assembled.tally.state;
    let count = report.deletes.count - assembled.displaced;
    let held = match deletes {
        Deletes::Held(reason) if count > 0 => {
            Some(Held { count, replacing: assembled.replacing, reason, hash: report.deletes.hash })
        }
        _ => None,
    };
    Outcome {
        commit: head,
        added: assembled.added,
        changed: assembled.changed,
        deleted: assembled.deleted,
        unchanged: report.unchanged,
        entries: state.files + state.dirs,
        bytes_total: state.bytes,
        bytes_read: report.bytes_read,
        skips: report.skips.clone(),
        held,
        ..Outcome::default()
    }
}
