//! One restore from the plain layout: the manifest and what the remote lists make the wanted tree; what is missing or
//! different locally is fetched, object by object.

mod fill;
mod gather;
mod survey;

use self::fill::Filler;
use self::gather::gather;
use self::survey::{Survey, Surveyor};
use super::recorded::count_local_changes;
use super::terms::Terms;
use super::{CryptSource, Outcome, Restore, RestoreError, walk};
use crate::disk::{PlaceOptions, Placer, Volume};
use crate::plain::error::PlainError;
use crate::plain::log::{Log, claim, look};
use crate::plain::manifest::{Header, LineWriter};
use crate::plain::wanted::Gathered;
use crate::plan::{Begun, Refusal, RestoreAction, RestoreFacts, admit_restore};
use crate::rclone_crypt::RcloneCrypt;
use crate::remote::plain::{PlainMemory, PlainReceipt, outwait};
use crate::remote::session::Local;
use crate::runtime::{Stop, compute};
use crate::store::Bucket;
use crate::tree::Filter;
use crate::vault::point::Wanted;
use crate::vault::writer::Takeover;

/// Where files come from.
pub struct From {
    bucket: Bucket,
    log: Log,
    /// Names and contents are rclone crypt's.
    crypt: Option<RcloneCrypt>,
}

/// Restores once. An outcome without an action: the remote is proven empty.
pub async fn restore(request: &Restore, stop: &Stop) -> Result<Outcome, RestoreError> {
    if !matches!(request.wanted, Wanted::Head) {
        return Err(Refusal::NoPoints.into());
    }
    let log = look(&request.bucket, stop).await?;
    restore_from(request, From { bucket: request.bucket.clone(), log, crypt: None }, stop).await
}

/// How the remote is to be claimed, if it is. A part of the tree gives no right to push, a dry run writes nothing, and
/// nobody here writes what rclone crypt wrote.
fn policy_of(request: &Restore, from: &From) -> Option<Takeover> {
    request.claim.filter(|_| !request.dry_run && request.filter.is_all() && from.crypt.is_none())
}

/// Restores what rclone crypt wrote. It leaves no right to push there: nothing here writes that format.
pub async fn restore_crypt(request: &Restore, source: &CryptSource, stop: &Stop) -> Result<Outcome, RestoreError> {
    if !matches!(request.wanted, Wanted::Head) {
        return Err(Refusal::NoPoints.into());
    }
    let options = source.options.clone();
    let crypt = compute("derive keys", move || RcloneCrypt::new(&options)).await?;
    tracing::info!(remote = %source.bucket.describe(), "reading what rclone crypt wrote");
    let from = From { bucket: source.bucket.clone(), log: Log::none(), crypt: Some(crypt) };
    let outcome = restore_from(request, from, stop).await?;
    if outcome.action.is_some() && !outcome.dry_run {
        tracing::info!("push it to a remote path of its own next: rclone's format is read here, and never written");
    }
    Ok(outcome)
}

async fn restore_from(request: &Restore, mut from: From, stop: &Stop) -> Result<Outcome, RestoreError> {
    let policy = policy_of(request, &from);
    let empty = Outcome { dry_run: request.dry_run, ..Outcome::default() };
    let is_bare = from.log.head.is_none() && from.log.epoch == 0;
    if is_bare && policy.is_none() && from.bucket.first(stop, "").await.map_err(PlainError::Store)?.is_none() {
        return Ok(empty);
    }
    let volume = Volume::create(&request.target)?;
    let local = Local::open(volume, request.state_dir.as_deref())?;
    let mut memory = PlainMemory::open(&local, &from.bucket.describe())?;
    memory.settle(&from.log)?;
    if let Some(policy) = policy
        && !memory.is_own(&from.log)?
    {
        from.log = outwait(&from.bucket, from.log, policy, stop).await?;
    }
    let (from, log) = (&from, &from.log);
    let gathered = gather(request, from, &memory, &local, stop).await?;
    say(&gathered);
    if log.head.is_none() && from.crypt.is_none() && gathered.entries + gathered.odd.0 == 0 {
        // Half of a restored tree is not to be pushed to where nothing is left of the whole.
        let claims = policy.is_some() && request.allow_empty && memory.interrupted_restore()?.is_none();
        if claims {
            // The tree that it holds is no longer there.
            memory.drop_index()?;
            let receipt = take(request, from, &memory, stop).await?;
            memory.finish(receipt)?;
        }
        return Ok(Outcome { receipt: claims, ..empty });
    }
    let interrupted = memory.interrupted_restore()?;
    let facts = facts(&local, log, &memory, &gathered, interrupted, stop).await?;
    let action = admit_restore(&facts, &local.volume.path().display().to_string(), request.adopt, request.force)?;
    let mut outcome = Outcome {
        action: Some(action),
        commit: facts.wanted,
        local_changes: facts.local_changes,
        dry_run: request.dry_run,
        ..Outcome::default()
    };
    let receipt = match policy {
        Some(_) => take(request, from, &memory, stop).await?,
        // Whoever reads what another wrote begins anew: its next push waits for that one, and claims.
        None if memory.is_own(log)? => receipt_of(from, log.epoch),
        None => receipt_of(from, 0),
    };
    if matches!(action, RestoreAction::Skip | RestoreAction::KeepAhead) {
        if !request.dry_run {
            memory.finish(receipt)?;
        }
        outcome.receipt = true;
        return Ok(outcome);
    }
    let plan = Plan { fresh: facts.volume_empty || interrupted == Some(Begun::Fresh), action, receipt };
    execute(request, from, &local, &mut memory, plan, outcome, stop).await
}

/// Claims what was looked at, unless this volume holds the newest claim. Whoever wrote in between is told of: what was
/// gathered is no longer what lies there.
async fn take(request: &Restore, from: &From, memory: &PlainMemory, stop: &Stop) -> Result<PlainReceipt, RestoreError> {
    if memory.is_own(&from.log)? {
        return Ok(receipt_of(from, from.log.epoch));
    }
    let epoch = claim(&from.bucket, from.log.epoch, &request.pod, stop).await?;
    memory.note_claim(epoch)?;
    let now = look(&from.bucket, stop).await?;
    if (now.seq(), now.id()) != (from.log.seq(), from.log.id()) {
        let by = now.head.as_ref().map_or_else(String::new, |head| head.header.pod.clone());
        return Err(PlainError::Fenced { seq: now.seq(), by }.into());
    }
    Ok(receipt_of(from, epoch))
}

fn receipt_of(from: &From, epoch: u64) -> PlainReceipt {
    PlainReceipt { place: from.bucket.describe(), seq: from.log.seq(), id: from.log.id().to_owned(), epoch }
}

struct Plan {
    fresh: bool,
    action: RestoreAction,
    receipt: PlainReceipt,
}

fn say(gathered: &Gathered) {
    if gathered.edited > 0 {
        tracing::info!(objects = gathered.edited, "changed by another program: taken as they are");
    }
    if gathered.missing > 0 {
        tracing::warn!(objects = gathered.missing, "deleted by another program although the manifest has them: left out");
    }
    if gathered.shadowed > 0 {
        tracing::warn!(objects = gathered.shadowed, "left out: an object and a folder have the same name");
    }
    if let (odd @ 1.., name) = &gathered.odd {
        let name = name.as_deref().unwrap_or_default();
        tracing::warn!(
            objects = odd,
            first = %name.escape_debug(),
            "left out: no file can have such a name, or its outer white space would get lost on the way"
        );
    }
}

async fn facts(
    local: &Local,
    log: &Log,
    memory: &PlainMemory,
    gathered: &Gathered,
    interrupted: Option<Begun>,
    stop: &Stop,
) -> Result<RestoreFacts, RestoreError> {
    let volume_empty = local.volume.is_empty(&local.reserved)?;
    let mut local_changes = 0;
    if memory.receipt.is_some() && !volume_empty {
        let index = memory.index()?;
        local_changes = count_local_changes(walk(local, Filter::default())?, index, stop).await?;
    }
    let seen = memory.receipt.as_ref().map(|receipt| receipt.seq);
    let same_tree = memory.is_current(log) && gathered.edited + gathered.missing + gathered.foreign == 0;
    Ok(RestoreFacts { volume_empty, interrupted, seen, wanted: log.seq(), same_tree, local_changes, latest: true })
}

/// Carries the plan out.
async fn execute(
    request: &Restore,
    from: &From,
    local: &Local,
    memory: &mut PlainMemory,
    plan: Plan,
    mut outcome: Outcome,
    stop: &Stop,
) -> Result<Outcome, RestoreError> {
    let survey = survey(request, local, memory, &plan, stop).await?;
    let findings = survey.findings;
    findings.check(request, local)?;
    (outcome.kept, outcome.placed, outcome.bytes) = (findings.kept, findings.place, findings.bytes);
    if request.dry_run {
        outcome.removed = findings.removed();
        return Ok(outcome);
    }
    memory.begin_restore(Begun::of(plan.action, plan.fresh))?;
    outcome.removed = findings.clear_way(local)?;
    let placer = Placer::new(&local.volume, PlaceOptions { fresh: plan.fresh, owners: request.owners })?;
    request.progress.set_totals(findings.place, findings.bytes);
    let mut filler = Filler::new(request, from, local, placer.clone(), stop);
    let mut steps = survey.steps.read()?;
    let header = Header::new(plan.receipt.seq, &plan.receipt.id, &request.pod);
    let mut index = LineWriter::local(memory.next_index()?, &header)?;
    while let Some(lines) = filler.window(&mut steps).await? {
        for line in &lines {
            index.push(line)?;
        }
    }
    outcome.placed -= filler.vanished;
    if filler.unproven() > 0 {
        tracing::warn!(
            files = filler.unproven(),
            "rclone's format does not tell whether their ends were cut off: they end with a whole block of 64 KiB"
        );
    }
    index.finish_local()?;
    outcome.skipped = placer.skipped();
    let volume = local.volume.clone();
    compute("make the volume durable", move || volume.sync()).await?;
    // A part of a tree gives no right to push: what is not here would look deleted.
    let whole = request.filter.is_all() && from.crypt.is_none();
    if whole {
        memory.adopt_index()?;
        memory.finish(plan.receipt)?;
    } else {
        memory.forget()?;
    }
    request.progress.finish();
    Ok(Outcome { receipt: whole, ..outcome })
}

async fn survey(
    request: &Restore,
    local: &Local,
    memory: &PlainMemory,
    plan: &Plan,
    stop: &Stop,
) -> Result<Survey, RestoreError> {
    let empty = local.volume.is_empty(&local.reserved)?;
    let scan = if empty { None } else { Some(walk(local, request.filter.clone())?) };
    let (wanted, index) = (gather::wanted(memory)?, memory.index()?);
    let surveyor = Surveyor { terms: Terms::new(request, local, plan.action, plan.fresh, stop) };
    let spill = local.spill();
    compute("compare the trees", move || surveyor.run(wanted, scan, index, &spill)).await
}
