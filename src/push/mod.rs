//! One push: the volume's state becomes the head of the vault.
//!
//! The volume is walked beside the index of the last pass; what may have changed is read, what is new is packed and
//! uploaded, and one conditional create publishes all of it. A crash before that create leaves the old head and some
//! unreferenced packs; a crash after it leaves the new head, which the next run recognizes. This room never deletes
//! anything at the remote: deletes are records of a commit, and only a whole listing that passed the valves yields any.

mod assemble;
mod batch;
mod capture;
mod copy;
mod error;
mod merge;
mod outcome;
mod pipeline;
mod plain;
mod rescue;
mod spool;

pub use capture::CaptureOptions;
pub use error::PushError;
pub use outcome::{Ending, Held, Outcome};
pub use plain::PlainOptions;
pub use rescue::Rescue;

use self::assemble::{Assembled, Assembly};
use self::batch::Memo;
use self::capture::{Capture, CaptureReport};
use self::pipeline::{Outbox, PackIdentity, Packed, Packer, upload_all};
use crate::disk::{DatabaseCopies, Scan, ScanOptions};
use crate::plan::{DeleteSet, Deletes, PushFacts, Refusal, admit_deletes, admit_push};
use crate::remote::session::{Local, Memory, SessionError, probe_new};
use crate::runtime::{Stop, clock, compute, limits, ordered};
use crate::seal::Unlocker;
use crate::store::{Bucket, Fencing};
use crate::telemetry::Progress;
use crate::vault::directory::{Directory, Flags, Labels, State};
use crate::vault::index::{IndexError, IndexHeader, IndexWriter};
use crate::vault::log::Commit;
use crate::vault::object::{Claim, ObjectId};
use crate::vault::open::{Presence, Vault, create, open};
use crate::vault::receipt::Receipt;
use crate::vault::writer::{Base, Takeover, Writer};

/// What a push needs.
#[derive(Debug)]
pub struct Push<'a> {
    /// Where to.
    pub bucket: Bucket,
    /// With which key; none for the plain layout.
    pub unlocker: Option<Unlocker>,
    /// What only the plain layout is asked.
    pub plain: PlainOptions,
    /// From where.
    pub local: &'a Local,
    /// How files are read.
    pub capture: CaptureOptions,
    /// Override the valves.
    pub force: bool,
    /// Carry deletes over.
    pub delete: bool,
    /// Release a held set of deletes: exactly this one.
    pub allow_deletes: Option<[u8; 8]>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Accept that the remote shows an older state than was seen before.
    pub accept_rollback: bool,
    /// When a predecessor is taken over.
    pub takeover: Takeover,
    /// This Pod or host, for the log.
    pub pod: String,
    /// Bars.
    pub progress: Progress,
}

/// Pushes once.
pub async fn push(request: &Push<'_>, stop: &Stop) -> Result<Outcome, PushError> {
    let began = clock::now();
    let mut outcome = match &request.unlocker {
        Some(unlocker) => push_sealed(request, unlocker, stop).await?,
        None => plain::push(request, stop).await?,
    };
    outcome.requests = request.bucket.requests();
    outcome.elapsed = clock::now().duration_since(began);
    Ok(outcome)
}

/// A push to a vault.
async fn push_sealed(request: &Push<'_>, unlocker: &Unlocker, stop: &Stop) -> Result<Outcome, PushError> {
    let (vault, newest, probed) = match open(&request.bucket, unlocker, stop).await? {
        Presence::Vault(vault, newest) => (*vault, newest, None),
        Presence::ProvenEmpty if request.dry_run => return dry_first(request, stop),
        Presence::ProvenEmpty => {
            let (vault, fencing) = first_vault(request, unlocker, stop).await?;
            (vault, None, Some(fencing))
        }
    };
    let head = vault.head(newest, stop).await?;
    let mut memory = Memory::open(request.local, &vault, head.as_ref(), stop).await?;
    memory.probed = probed;
    memory.check_rollback(head.as_ref(), request.accept_rollback)?;
    memory.check_pin(head.as_ref(), request.accept_rollback, stop).await?;
    admit_push(&facts(request, &memory, head.as_ref())?, request.force)?;

    let pushed = match push_to(request, &mut memory, head, stop).await {
        Err(PushError::Index(IndexError::Format(error))) => {
            tracing::warn!(%error, "the local index is damaged: making it again");
            memory.drop_index()?;
            let head = vault.head(None, stop).await?;
            push_to(request, &mut memory, head, stop).await
        }
        other => other,
    };
    let mut outcome = match pushed {
        Err(PushError::Index(error) | PushError::Session(SessionError::Index(error))) => {
            return Err(memory.explain(error).into());
        }
        other => other?,
    };
    if !request.dry_run {
        // By force, the volume as it is has become the state.
        memory.forget_restore()?;
    }
    outcome.new_vault = probed.is_some();
    Ok(outcome)
}

fn facts(request: &Push<'_>, memory: &Memory, head: Option<&Commit>) -> Result<PushFacts, PushError> {
    let volume = &request.local.volume;
    Ok(PushFacts {
        volume: volume.path().display().to_string(),
        volume_empty: volume.is_empty(&request.local.reserved)?,
        remote_entries: head.map_or(0, |head| head.directory().state.files + head.directory().state.dirs),
        head: head.map(|head| (head.seq, head.directory().labels.pod.clone())),
        seen: memory.receipt.as_ref().map(|receipt| receipt.seq),
        current: memory.current,
        restoring: memory.interrupted_restore()?.is_some(),
    })
}

/// A dry run against an empty remote: everything is new.
fn dry_first(request: &Push<'_>, stop: &Stop) -> Result<Outcome, PushError> {
    let filter = request.capture.filter.clone();
    let options = ScanOptions { filter, reserved: request.local.reserved.clone(), spill: request.local.spill() };
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

async fn first_vault(request: &Push<'_>, unlocker: &Unlocker, stop: &Stop) -> Result<(Vault, Fencing), PushError> {
    let fencing = probe_new(&request.bucket, stop).await?;
    let vault = create(&request.bucket, unlocker, stop).await?;
    tracing::info!(remote = %request.bucket.describe(), slot = %vault.slot, "made a new vault");
    Ok((vault, fencing))
}

/// The push to a vault that is there.
async fn push_to(request: &Push<'_>, memory: &mut Memory, head: Option<Commit>, stop: &Stop) -> Result<Outcome, PushError> {
    let seen = head.as_ref().map_or(Base::EMPTY, Base::of);
    let mut writer = if request.dry_run { None } else { Some(take_writer(request, memory, head, stop).await?) };
    let base = writer.as_ref().map_or(seen, |writer| writer.base);
    let tree_seq = prepare_index(memory, &base, stop).await?;
    let identity = identity_of(memory, writer.as_ref(), base.seq);
    let (report, packed) = read_and_pack(request, memory, tree_seq, identity.clone(), writer.as_mut(), stop).await?;
    let deletes = admit_deletes(
        DeleteSet { of: base.state.files + base.state.dirs, ..report.deletes },
        report.completeness,
        request.delete,
        request.allow_deletes,
        request.force,
    );
    let bytes_new = packed.bytes_new;
    let assembled = assemble(memory, tree_seq, identity, packed, deletes, writer.as_mut(), stop).await?;
    let mut outcome = outcome_of(&report, &assembled, deletes, base.seq);
    outcome.bytes_new = bytes_new;
    outcome.dry_run = request.dry_run;
    if let Some(writer) = &mut writer {
        publish(memory, writer, assembled, tree_seq, &mut outcome, stop).await?;
        merge::merge_if_due(memory, writer, request.capture.compression, &request.local.spill(), stop).await?;
    }
    Ok(outcome)
}

/// The right to write. When the head moved while it was claimed, both sides moved.
async fn take_writer(request: &Push<'_>, memory: &mut Memory, head: Option<Commit>, stop: &Stop) -> Result<Writer, PushError> {
    let seen = head.as_ref().map_or(0, |head| head.seq);
    let (writer, expected) = memory.writer(head, request.takeover, &request.pod, stop).await?;
    if !expected && !request.force {
        let by = "another writer, while this one claimed the vault".to_string();
        return Err(Refusal::RemoteMoved { head: writer.base.seq, by, seen }.into());
    }
    Ok(writer)
}

/// Makes sure that the index is that of the head's tree; returns the commit it is named after. A claim changes no tree,
/// so right after one the index of the commit before it still holds.
async fn prepare_index(memory: &Memory, head: &Base, stop: &Stop) -> Result<u64, PushError> {
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

/// Under whose names things are sealed; in a dry run nothing is, and the names mean nothing.
fn identity_of(memory: &Memory, writer: Option<&Writer>, head: u64) -> PackIdentity {
    let vault = memory.vault.clone();
    match writer {
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
            commit: ObjectId::commit(head + 1),
        },
    }
}

/// Reads the volume, stores what is new and spools what changed: three stages side by side.
async fn read_and_pack(
    request: &Push<'_>,
    memory: &mut Memory,
    tree_seq: u64,
    identity: PackIdentity,
    writer: Option<&mut Writer>,
    stop: &Stop,
) -> Result<(CaptureReport, Packed), PushError> {
    let spill = request.local.spill();
    let scan =
        ScanOptions { filter: request.capture.filter.clone(), reserved: request.local.reserved.clone(), spill: spill.clone() };
    let scan = Scan::start(&request.local.volume, scan)?;
    let index = if tree_seq > 0 { memory.index(tree_seq)? } else { None };
    let again = if tree_seq > 0 { memory.index(tree_seq)? } else { None };
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
    let packer = Packer::new(identity, outbox, memo, &spill);
    let vault = memory.vault.clone();
    let fencing = writer.as_ref().map_or(Fencing::Strict, |writer| writer.fencing);
    let unclean = writer.as_ref().map(|writer| unclean(memory, writer, tree_seq));
    let before_first = || unclean.clone().map_or(Ok(()), |receipt| Ok(memory.write_receipt(receipt)?));
    let read = compute("read the volume", move || capture.run(scan, index));
    let pack = compute("pack", move || packer.run(receiver));
    let upload = upload_all(&vault, fencing, uploads, before_first, stop);
    let (report, packed, uploaded) = futures::join!(read, pack, upload);
    // The stage that failed first is the last in line: the others only saw it stop.
    uploaded?;
    let packed = packed?;
    let report = report?;
    if let Some(writer) = writer {
        writer.skip_to(packed.counter);
    }
    Ok((report, packed))
}

/// What is remembered from the first stored object on: a crash then leaves objects that no commit lists, under names that
/// must not be used again, and so the next process claims anew.
fn unclean(memory: &Memory, writer: &Writer, tree_seq: u64) -> Receipt {
    Receipt { clean: false, ..memory.receipt_of(writer, tree_seq, false) }
}

/// Makes the next commit's content and the next index.
async fn assemble(
    memory: &mut Memory,
    tree_seq: u64,
    identity: PackIdentity,
    packed: Packed,
    deletes: Deletes,
    writer: Option<&mut Writer>,
    stop: &Stop,
) -> Result<Assembled, PushError> {
    let (outbox, uploads) = Outbox::new();
    let fencing = writer.as_ref().map_or(Fencing::Strict, |writer| writer.fencing);
    let dry = writer.is_none();
    let header = IndexHeader { vault_id: memory.vault.id, seq: identity.commit.a, hash: [0; 32], inline_base: 0 };
    let identity = PackIdentity { counter: packed.counter, ..identity };
    let assembly = Assembly {
        identity,
        spool: packed.spool,
        index: if tree_seq > 0 { memory.index(tree_seq)? } else { None },
        next: memory.next_index()?,
        header,
        inline: packed.inline,
        deletes,
        outbox: (!dry).then_some(outbox),
    };
    let unclean = writer.as_ref().map(|writer| unclean(memory, writer, tree_seq));
    let vault = memory.vault.clone();
    let before_first = || unclean.clone().map_or(Ok(()), |receipt| Ok(memory.write_receipt(receipt)?));
    let work = compute("assemble the commit", move || assembly.run());
    let (assembled, uploaded) = futures::join!(work, upload_all(&vault, fencing, uploads, before_first, stop));
    uploaded?;
    let assembled = assembled?;
    if let Some(writer) = writer {
        writer.skip_to(assembled.counter);
    }
    Ok(assembled)
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

/// Publishes the commit, if there is anything to publish, and makes index and receipt the volume's. This is a one-shot
/// pass: the commit releases the vault, so that the next writer need not wait.
async fn publish(
    memory: &mut Memory,
    writer: &mut Writer,
    assembled: Assembled,
    tree_seq: u64,
    outcome: &mut Outcome,
    stop: &Stop,
) -> Result<(), PushError> {
    let partial = outcome.ending() != Ending::Complete;
    if assembled.records == 0 {
        return keep_head(memory, writer, assembled, tree_seq, partial, stop).await;
    }
    let id = writer.next_commit();
    let directory = Directory { flags: Flags::RELEASE, ..writer.directory() };
    let (sealed, directory, index) = assembled.seal(&memory.vault, id, directory)?;
    let hash = memory.vault.keys().commit_hash(&sealed.bytes[..sealed.head_len as usize]);
    let header = IndexHeader { vault_id: memory.vault.id, seq: id.a, hash, inline_base: sealed.head_len };
    IndexWriter::seal_header(index, &header)?;
    let receipt = Receipt { seq: id.a, hash: hex(&hash), ..memory.receipt_of(writer, id.a, partial) };
    memory.note_intent(id, hash, &receipt)?;
    if let Err(error) = writer.publish(&sealed, &directory, stop).await {
        return Err(rescue::keep(writer, &sealed, error, stop).await);
    }
    memory.finish(&receipt)?;
    outcome.commit = id.a;
    outcome.published = true;
    Ok(())
}

/// Nothing changed: the head stays. A head that this process claimed is released.
async fn keep_head(
    memory: &mut Memory,
    writer: &mut Writer,
    assembled: Assembled,
    tree_seq: u64,
    partial: bool,
    stop: &Stop,
) -> Result<(), PushError> {
    let known = memory.receipt.as_ref().is_some_and(|receipt| receipt.seq == writer.base.seq && receipt.clean);
    if !known {
        let released = Directory { flags: Flags::RELEASE, ..writer.directory() };
        writer.publish_empty(released, stop).await?;
    }
    if known && !assembled.refreshed && memory.receipt.as_ref().is_some_and(|receipt| receipt.partial == partial) {
        return Ok(());
    }
    let seq = if assembled.refreshed { writer.base.seq } else { tree_seq };
    if assembled.refreshed {
        let header = IndexHeader { vault_id: memory.vault.id, seq, hash: writer.base.hash, inline_base: 0 };
        IndexWriter::seal_header(assembled.index, &header)?;
    } else {
        memory.forget_next_index()?;
    }
    let receipt = memory.receipt_of(writer, seq, partial);
    Ok(memory.finish(&receipt)?)
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
