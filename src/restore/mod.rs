//! One restore: the volume becomes the state of a restore point.
//!
//! First everything is compared and judged, and nothing is changed; then what is not wanted is removed, what is missing
//! is fetched, verified and written, and what is only different in metadata is adjusted; last the volume is made
//! durable and a receipt says so. A crash leaves a marker, and the next run continues. A remote of which nothing certain
//! can be said is an error before anything is touched. This room never writes to the remote unless it was told to claim it.

mod findings;
mod outcome;
mod pipeline;
mod plain;
mod recorded;
mod stale;
mod survey;
mod terms;

pub use outcome::Outcome;

use self::pipeline::{Filler, note_moved_times};
use self::recorded::count_local_changes;
use self::survey::{Survey, Surveyor};
use self::terms::Terms;
use crate::disk::{DiskError, PlaceOptions, Placer, Scan, ScanOptions, Volume, forbidden_root};
use crate::fault::{Fault, Kind};
use crate::plain::error::PlainError;
use crate::plan::{Begun, Refusal, RestoreAction, RestoreFacts, Target, admit_restore, admit_target};
use crate::remote::plain::PlainStateError;
use crate::remote::session::{Local, Memory, STATE_NAME, SessionError, make_vault, reserved_on, warn_of_single_key};
use crate::runtime::{Stop, Stopped, clock, compute};
use crate::seal::Unlocker;
use crate::store::{Bucket, Fencing};
use crate::telemetry::Progress;
use crate::tree::Filter;
use crate::vault::error::VaultError;
use crate::vault::index::{IndexError, IndexHeader, IndexWriter};
use crate::vault::log::Commit;
use crate::vault::open::{Presence, Vault, open};
use crate::vault::point::{Chosen, Wanted};
use crate::vault::receipt::Receipt;
use crate::vault::wire::FormatError;
use crate::vault::writer::Takeover;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// How to read what rclone crypt wrote.
#[derive(Debug, Clone)]
pub struct CryptSource {
    /// Where it lies.
    pub bucket: Bucket,
    /// How it was encrypted.
    pub options: crate::rclone_crypt::Options,
    /// Whether it was said that this is what lies there; otherwise it may be a vault.
    pub is_named: bool,
}

/// What a restore needs.
#[derive(Debug)]
pub struct Restore {
    /// From where.
    pub bucket: Bucket,
    /// With which key; none for the plain layout.
    pub unlocker: Option<Unlocker>,
    /// How to read what rclone crypt wrote, if that may lie there.
    pub crypt: Option<CryptSource>,
    /// Do not list a plain remote: what its manifest says is there.
    pub trust_manifest: bool,
    /// To where.
    pub target: PathBuf,
    /// Where receipt and index lie; on the volume if not given.
    pub state_dir: Option<PathBuf>,
    /// Which state.
    pub wanted: Wanted,
    /// Which paths.
    pub filter: Filter,
    /// Remove local entries that are not wanted.
    pub delete: bool,
    /// Override the valves: the remote's state replaces the local one.
    pub force: bool,
    /// Merge: what is there stays.
    pub adopt: bool,
    /// Claim the vault first, so that nobody supersedes what is restored.
    pub claim: Option<Takeover>,
    /// A proven-empty remote is fine.
    pub allow_empty: bool,
    /// Apply recorded owners where we may.
    pub owners: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Accept that the remote shows an older state than was seen before.
    pub accept_rollback: bool,
    /// This Pod or host, for the log.
    pub pod: String,
    /// Bars.
    pub progress: Progress,
}

/// Why a restore failed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A valve.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The volume.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// What the volume remembers.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The local index or spool.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The plain layout.
    #[error(transparent)]
    Plain(#[from] PlainError),
    /// The password of rclone crypt.
    #[error(transparent)]
    Crypt(#[from] crate::rclone_crypt::OptionsError),
    /// Nothing there has a name that rclone crypt made with these options.
    #[error("{place} is no vault, and no object there has a name that rclone crypt made with this password and these options")]
    NotOfCrypt {
        /// The remote.
        place: String,
    },
    /// The volume is too small.
    #[error("the restore needs {needed} bytes, but {path} has {available} available")]
    NoSpace {
        /// The volume.
        path: String,
        /// What is needed.
        needed: u64,
        /// What there is.
        available: u64,
    },
    /// Asked to stop.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl From<PlainStateError> for RestoreError {
    fn from(error: PlainStateError) -> RestoreError {
        match error {
            PlainStateError::Disk(error) => RestoreError::Disk(error),
            PlainStateError::Plain(error) => RestoreError::Plain(error),
        }
    }
}

impl RestoreError {
    /// Whether the key or passphrase does not open what lies at the remote.
    pub fn is_wrong_key(&self) -> bool {
        matches!(self, RestoreError::Vault(error) | RestoreError::Session(SessionError::Vault(error)) if error.is_wrong_key())
    }
}

impl Fault for RestoreError {
    fn kind(&self) -> Kind {
        match self {
            RestoreError::Refused(error) => error.kind(),
            RestoreError::Disk(error) => error.kind(),
            RestoreError::Vault(error) => error.kind(),
            RestoreError::Session(error) => error.kind(),
            RestoreError::Plain(error) => error.kind(),
            RestoreError::Crypt(error) => error.kind(),
            RestoreError::NotOfCrypt { .. } => Kind::Refused,
            RestoreError::Index(_) | RestoreError::NoSpace { .. } => Kind::Volume,
            RestoreError::Stopped(_) => Kind::Unfinished,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            RestoreError::Refused(error) => error.hint(),
            RestoreError::Disk(error) => error.hint(),
            RestoreError::Vault(error) => error.hint(),
            RestoreError::Session(error) => error.hint(),
            RestoreError::Plain(error) => error.hint(),
            RestoreError::Crypt(error) => error.hint(),
            RestoreError::NotOfCrypt { .. } => Some(
                "check the remote path, ENCRYPTED_PASSWORD, ENCRYPTED_PASSWORD2, ENCRYPTED_FILENAME_ENCRYPTION and \
                 ENCRYPTED_DIRECTORY_NAME_ENCRYPTION"
                    .into(),
            ),
            RestoreError::Index(_) => {
                Some("check the space and rights of the state directory (--state-dir); run again to continue".into())
            }
            RestoreError::NoSpace { .. } => {
                Some("nothing was written; give the volume more space, or restore a part with --include".into())
            }
            RestoreError::Stopped(_) => Some("run again to continue the restore".into()),
        }
    }
}

/// Restores once.
pub async fn restore(request: &Restore, stop: &Stop) -> Result<Outcome, RestoreError> {
    let began = clock::now();
    check_root(request)?;
    let mut outcome = match (&request.unlocker, &request.crypt) {
        (_, Some(source)) if source.is_named => plain::restore_crypt(request, source, stop).await?,
        (Some(unlocker), Some(source)) => match restore_sealed(request, unlocker, stop).await {
            // No vault, but something: the password that would open one may be rclone's.
            Err(RestoreError::Vault(error @ VaultError::NotAVault { .. })) => {
                tracing::debug!(%error, "looking whether rclone crypt wrote it");
                match plain::restore_crypt(request, source, stop).await {
                    Err(RestoreError::NotOfCrypt { .. }) => return Err(error.into()),
                    restored => restored?,
                }
            }
            restored => restored?,
        },
        (Some(unlocker), None) => restore_sealed(request, unlocker, stop).await?,
        (None, _) => plain::restore(request, stop).await?,
    };
    if outcome.action.is_none() && !request.allow_empty {
        return Err(Refusal::RemoteEmpty.into());
    }
    outcome.requests = request.bucket.requests();
    outcome.elapsed = clock::now().duration_since(began);
    Ok(outcome)
}

/// A restore from a vault.
async fn restore_sealed(request: &Restore, unlocker: &Unlocker, stop: &Stop) -> Result<Outcome, RestoreError> {
    let (vault, probed) = match open(&request.bucket, unlocker, stop).await? {
        Presence::Vault(vault, newest) => match vault.head(newest, stop).await? {
            Some(head) => return restore_from(request, *vault, head, stop).await,
            None => (Some(*vault), None),
        },
        Presence::ProvenEmpty => (None, None),
    };
    let empty = Outcome { dry_run: request.dry_run, ..Outcome::default() };
    let is_whole = matches!(request.wanted, Wanted::Head) && request.filter.is_all();
    let Some(policy) = request.claim.filter(|_| is_whole && request.allow_empty && !request.dry_run) else { return Ok(empty) };
    let (vault, probed) = match vault {
        Some(vault) => (vault, probed),
        None => {
            let (vault, fencing) = make_vault(&request.bucket, unlocker, stop).await?;
            warn_of_single_key();
            (vault, Some(fencing))
        }
    };
    claim_empty(request, vault, probed, policy, stop).await
}

/// Claims a vault without commits: whoever comes next then waits for what this Pod will have written, instead of starting
/// with nothing beside it. Where somebody was faster, theirs is restored.
async fn claim_empty(
    request: &Restore,
    vault: Vault,
    probed: Option<Fencing>,
    policy: Takeover,
    stop: &Stop,
) -> Result<Outcome, RestoreError> {
    let local = Local::open(Volume::create(&request.target)?, request.state_dir.as_deref())?;
    let mut memory = Memory::open(&local, &vault, None, stop).await?;
    memory.probed = probed;
    memory.check_rollback(None, request.accept_rollback)?;
    memory.check_pin(None, request.accept_rollback, stop).await?;
    let (writer, is_first) = memory.writer(None, policy, &request.pod, stop).await?;
    if is_first {
        let receipt = memory.receipt_of(&writer, writer.base.seq, false);
        memory.write_receipt(receipt)?;
        return Ok(Outcome { receipt: true, ..Outcome::default() });
    }
    drop((memory, local));
    let head = vault.commit(writer.base.seq, stop).await?;
    restore_from(request, vault, head, stop).await
}

/// The first look at the target, before the remote is asked and before the directory is made.
fn check_root(request: &Restore) -> Result<(), RestoreError> {
    let volume = request.target.exists().then(|| Volume::open(&request.target)).transpose()?;
    let path = volume.as_ref().map_or(request.target.as_path(), Volume::path);
    let state = request.state_dir.clone().unwrap_or_else(|| path.join(STATE_NAME));
    let ours = rustix::process::geteuid().as_raw();
    // The root of the file system is a mount too, and nobody's volume.
    let mount = volume.as_ref().filter(|volume| volume.path() != Path::new("/"));
    let target = Target {
        path: path.display().to_string(),
        forbidden: forbidden_root(&absolute(path)).map(str::to_string),
        mounted: mount.map(Volume::is_mount_point).transpose()?.flatten() == Some(true),
        empty: volume.as_ref().map_or(Ok(true), |volume| volume.is_empty(&reserved_on(volume, &state)))?,
        owner: volume.as_ref().map_or(Ok(ours), |volume| volume.owner().map(|owner| owner.0))?,
        ours,
    };
    Ok(admit_target(&target, request.force)?)
}

/// The path that would be made: its nearest existing ancestor resolved, so that no link hides where it leads.
fn absolute(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut at = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    loop {
        if let Ok(real) = at.canonicalize() {
            return rest.iter().rev().fold(real, |path: PathBuf, name: &std::ffi::OsString| path.join(name));
        }
        match (at.file_name().map(std::ffi::OsStr::to_os_string), at.parent().map(Path::to_path_buf)) {
            (Some(name), Some(parent)) => {
                rest.push(name);
                at = parent;
            }
            _ => return path.to_path_buf(),
        }
    }
}

async fn restore_from(request: &Restore, vault: Vault, head: Commit, stop: &Stop) -> Result<Outcome, RestoreError> {
    // Wrong points are refused before the directory is made.
    let point = vault.resolve(&request.wanted, &head, stop).await?;
    let volume = Volume::create(&request.target)?;
    let local = Local::open(volume, request.state_dir.as_deref())?;
    let mut memory = Memory::open(&local, &vault, Some(&head), stop).await?;
    memory.check_rollback(Some(&head), request.accept_rollback)?;
    memory.check_pin(Some(&head), request.accept_rollback, stop).await?;
    let interrupted = memory.interrupted_restore()?;
    let facts = facts(&local, &memory, &head, point.as_ref(), interrupted, stop).await?;
    let action = admit_restore(&facts, &local.volume.path().display().to_string(), request.adopt, request.force)?;
    let outcome = Outcome {
        action: Some(action),
        commit: facts.wanted,
        rescue: point.as_ref().filter(|point| matches!(point, Chosen::Rescue(..))).map(Chosen::name),
        local_changes: facts.local_changes,
        dry_run: request.dry_run,
        ..Outcome::default()
    };
    if matches!(action, RestoreAction::Skip | RestoreAction::KeepAhead) {
        // An older state that is there already is not the newest: as where it is restored, nothing is claimed for it.
        let claim = request.claim.filter(|_| !request.dry_run && point.is_none());
        return finish_without_change(request, claim, &mut memory, head, outcome, stop).await;
    }
    let (head, receipt) = match request.claim.filter(|_| !request.dry_run && point.is_none()) {
        None => (head, None),
        Some(policy) => {
            let writer = memory.writer_for_pod(head, policy, &request.pod, stop).await?;
            let head = vault.commit(writer.base.seq, stop).await?;
            let receipt = memory.receipt_of(&writer, writer.base.seq, false);
            (head, Some(receipt))
        }
    };
    let receipt = receipt.unwrap_or_else(|| memory.receipt_of_reader(&head, point.as_ref().map_or(head.seq, Chosen::tree_seq)));
    let receipt = Receipt { reverted: point.is_some(), ..receipt };
    let plan = Restoring { fresh: facts.volume_empty || interrupted == Some(Begun::Fresh), action, receipt };
    match execute(request, &local, &mut memory, plan, point.unwrap_or(Chosen::Commit(head)), outcome, stop).await {
        Err(RestoreError::Index(error)) => Err(memory.explain(error).into()),
        other => other,
    }
}

async fn facts(
    local: &Local,
    memory: &Memory,
    head: &Commit,
    point: Option<&Chosen>,
    interrupted: Option<Begun>,
    stop: &Stop,
) -> Result<RestoreFacts, RestoreError> {
    let volume_empty = local.volume.is_empty(&local.reserved)?;
    let wanted = point.map_or(head.seq, |point| point.commit().seq);
    let seen = memory.receipt.as_ref().map(|receipt| receipt.seq);
    let same_tree = memory.receipt.as_ref().is_some_and(|receipt| match point {
        None => memory.current && !receipt.reverted,
        Some(Chosen::Commit(point)) => receipt.tree_seq == point.seq,
        // The receipt does not say which rescue it was.
        Some(Chosen::Rescue(..)) => false,
    });
    let mut local_changes = 0;
    if let (Some(receipt), false) = (&memory.receipt, volume_empty) {
        let index = memory.index(receipt.tree_seq)?;
        local_changes = count_local_changes(walk(local, Filter::default())?, index, stop).await?;
    }
    Ok(RestoreFacts { volume_empty, interrupted, seen, wanted, same_tree, local_changes, latest: point.is_none() })
}

/// Begins a walk through the volume.
fn walk(local: &Local, filter: Filter) -> Result<Scan, DiskError> {
    let options = ScanOptions { filter, reserved: local.reserved.clone(), spill: local.spill(), watch: None };
    Scan::start(&local.volume, options)
}

/// The volume stays as it is; a wanted claim is taken all the same.
async fn finish_without_change(
    request: &Restore,
    claim: Option<Takeover>,
    memory: &mut Memory,
    head: Commit,
    outcome: Outcome,
    stop: &Stop,
) -> Result<Outcome, RestoreError> {
    if let Some(policy) = claim {
        let tree_seq = memory.receipt.as_ref().map_or(head.seq, |receipt| receipt.tree_seq);
        let writer = memory.writer_for_pod(head, policy, &request.pod, stop).await?;
        let receipt = memory.receipt_of(&writer, tree_seq, false);
        memory.write_receipt(receipt)?;
    }
    Ok(Outcome { receipt: true, ..outcome })
}

struct Restoring {
    fresh: bool,
    action: RestoreAction,
    receipt: Receipt,
}

/// Carries the plan out.
async fn execute(
    request: &Restore,
    local: &Local,
    memory: &mut Memory,
    plan: Restoring,
    point: Chosen,
    mut outcome: Outcome,
    stop: &Stop,
) -> Result<Outcome, RestoreError> {
    let (seq, hash, expected, object) = (point.tree_seq(), point.commit().hash, point.directory().state, point.object());
    let survey = survey(request, local, memory, &plan, point, stop).await?;
    if survey.state != expected {
        let what = FormatError::Invalid("the tree it leaves has other totals than it says");
        return Err(VaultError::corrupt(object, what).into());
    }
    let findings = &survey.findings;
    findings.check(request, local)?;
    (outcome.kept, outcome.placed, outcome.bytes) = (findings.kept, findings.place, findings.bytes);
    if request.dry_run {
        outcome.removed = findings.removed();
        return Ok(outcome);
    }
    memory.begin_restore(Begun::of(plan.action, plan.fresh))?;
    outcome.removed = findings.clear_way(local)?;
    let header = IndexHeader { vault_id: memory.vault.id, seq, hash, inline_base: 0 };
    outcome.skipped = fill(request, local, memory, survey, &header, plan.fresh, stop).await?;
    let volume = local.volume.clone();
    compute("make the volume durable", move || volume.sync()).await?;
    // A part of a tree gives no right to push: what is not here would look deleted.
    let whole = request.filter.is_all();
    memory.end_restore(whole.then_some(&plan.receipt))?;
    request.progress.finish();
    Ok(Outcome { receipt: whole, ..outcome })
}

async fn survey(
    request: &Restore,
    local: &Local,
    memory: &Memory,
    plan: &Restoring,
    point: Chosen,
    stop: &Stop,
) -> Result<Survey, RestoreError> {
    let tree = point.tree(&memory.vault, stop).await?;
    let empty = local.volume.is_empty(&local.reserved)?;
    let scan = if empty { None } else { Some(walk(local, request.filter.clone())?) };
    let old = match &memory.receipt {
        Some(receipt) => memory.index(receipt.tree_seq)?,
        None => None,
    };
    let terms = Terms::new(request, local, plan.action, plan.fresh, stop);
    let surveyor = Surveyor { vault: memory.vault.clone(), terms };
    let spill = local.spill();
    compute("compare the trees", move || surveyor.run(tree, scan, old, &spill)).await
}

async fn fill(
    request: &Restore,
    local: &Local,
    memory: &mut Memory,
    survey: Survey,
    header: &IndexHeader,
    fresh: bool,
    stop: &Stop,
) -> Result<crate::disk::PlaceSkips, RestoreError> {
    let placer = Placer::new(&local.volume, PlaceOptions { fresh, owners: request.owners })?;
    let mut filler = Filler {
        vault: memory.vault.clone(),
        volume: local.volume.clone(),
        placer: placer.clone(),
        progress: request.progress.clone(),
        stop: stop.clone(),
        merge: request.adopt,
        links: std::collections::HashMap::new(),
        open: Vec::new(),
    };
    request.progress.set_totals(survey.findings.place, survey.findings.bytes);
    let mut steps = survey.steps.read()?;
    let mut index = IndexWriter::start(BufWriter::with_capacity(256 << 10, memory.next_index()?), header)?;
    while let Some(lines) = filler.window(&mut steps).await? {
        for line in &lines {
            index.push(line)?;
        }
    }
    index.finish(&survey.state)?;
    if !request.adopt && request.filter.is_all() {
        note_moved_times(memory, local)?;
    }
    Ok(placer.skipped())
}
