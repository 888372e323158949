//! `sync-to-remote` and `remote-to-local-sync`.

use super::args::{self, Owners, RemoteToLocalSync, SyncToRemote, TakeoverHow};
use super::frame::Frame;
use crate::config::At;
use crate::disk::{Skips, Volume};
use crate::fault::{Kind, Report};
use crate::plan::{HoldReason, RestoreAction};
use crate::push::{self, CaptureOptions, Ending, PlainOptions, Push, push};
use crate::remote::session::Local;
use crate::restore::{self, Restore, restore};
use crate::store::Requests;
use crate::telemetry::{Progress, bytes, count, span};
use crate::tree::{Filter, SkipReason};
use crate::vault::container::Compression;
use crate::vault::point::Wanted;
use crate::vault::writer::Takeover;
use data_encoding::HEXLOWER;

/// Pushes once.
pub async fn sync_to_remote(args: &SyncToRemote, frame: &Frame) -> Result<u8, Report> {
    args.former.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    let filter = filter(&args.paths)?;
    let allow_deletes = args.allow_deletes.as_deref().map(parse_approval).transpose()?;
    let (bucket, unlocker) = frame.reach(&args.access, &args.dst)?;
    if args.create_bucket && !args.dry_run && bucket.make(&frame.stop).await? {
        tracing::info!("made the bucket of {}", bucket.describe());
    }
    let volume = Volume::open(&args.src)?;
    let local = Local::open(volume, args.state.state_dir.as_deref())?;
    let place = bucket.describe();
    let progress = Progress::start("push", frame.progress);
    let request = Push {
        bucket,
        unlocker,
        plain: PlainOptions { delete_foreign: args.delete_foreign, trust_manifest: args.trust_manifest },
        local: &local,
        capture: CaptureOptions {
            filter,
            reread: args.reread,
            compression: match args.compression {
                args::Compression::Zstd => Compression::Zstd,
                args::Compression::None => Compression::None,
            },
        },
        force: args.force_even_if_remote_would_be_cleared,
        delete: !args.no_delete,
        allow_deletes,
        dry_run: args.dry_run,
        accept_rollback: args.state.accept_rollback,
        takeover: takeover(&args.takeover),
        pod: frame.pod(),
        watch: None,
        progress: progress.clone(),
    };
    let pushed = push(&request, &frame.stop).await;
    progress.finish();
    let outcome = pushed?;
    say_pushed(&outcome, &place);
    if outcome.new_vault && !args.single_key {
        tracing::warn!(
            "only one key opens this vault: losing it loses everything. `key export-kit` makes a second one to keep offline"
        );
    }
    Ok(match outcome.ending() {
        Ending::Complete => 0,
        Ending::Partial(kind) => kind.exit_code(),
    })
}

fn say_pushed(outcome: &push::Outcome, place: &str) {
    say_skips(&outcome.skips);
    if let Some(held) = outcome.held {
        let hash = HEXLOWER.encode(&held.hash);
        let why = match held.reason {
            HoldReason::Fuse => format!("more than the fuse lets through; if they are meant: --allow-deletes {hash}"),
            HoldReason::PartialListing => "the volume could not be listed whole".to_string(),
            HoldReason::NotWanted => "--no-delete".to_string(),
        };
        tracing::warn!(deletes_held = held.count, "{} held back: {why}", count(held.count, "delete"));
        if held.replacing > 0 {
            tracing::warn!(entries_held = held.replacing, "held with them: what is in the place of a directory now");
        }
    }
    if outcome.edited > 0 {
        tracing::warn!(
            objects = outcome.edited,
            "changed at the remote by another program: they stay, and so do the local files; `remote-to-local-sync` takes them over"
        );
    }
    if outcome.conflicts > 0 {
        tracing::warn!(
            files = outcome.conflicts,
            "not stored, because another program's object has their name; -f replaces it, `remote-to-local-sync` takes it over"
        );
    }
    if outcome.foreign > 0 {
        tracing::info!(objects = outcome.foreign, "of other programs; left alone unless --delete-foreign");
    }
    let word = match (outcome.dry_run, outcome.published, outcome.ending()) {
        (true, ..) => "dry run: would push",
        (_, true, Ending::Complete) => "pushed",
        (_, true, Ending::Partial(_)) => "pushed in part",
        (_, false, Ending::Complete) => "nothing changed",
        (_, false, Ending::Partial(_)) => "nothing pushed; something was left out",
    };
    tracing::info!(
        commit = outcome.commit,
        added = outcome.added,
        changed = outcome.changed,
        deleted = outcome.deleted,
        entries = outcome.entries,
        total = %bytes(outcome.bytes_total),
        new = %bytes(outcome.bytes_new),
        requests = total(&outcome.requests),
        up = %bytes(outcome.requests.bytes_up),
        took = %span(outcome.elapsed),
        "{word} to {place}"
    );
}

fn total(requests: &Requests) -> u64 {
    requests.get + requests.put + requests.list + requests.head + requests.delete + requests.other
}

fn say_skips(skips: &Skips) {
    for skip in skips.named() {
        let path = skip.path.as_ref().map_or_else(|| ".".to_string(), ToString::to_string);
        let detail = skip.detail.as_deref().unwrap_or_default();
        tracing::warn!(%path, detail, "left out: {}", reason(skip.reason));
    }
    for (why, number) in skips.counts() {
        tracing::warn!(count = number, "left out because {}", reason(why));
    }
}

fn reason(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::Unreadable => "it cannot be read",
        SkipReason::Special => "sockets and devices are not stored",
        SkipReason::OtherMount => "another file system is mounted there",
        SkipReason::Unstable => "it kept changing while it was read: its previous version stays",
        SkipReason::TooLong => "its name, path or size is beyond what is stored",
    }
}

fn filter(paths: &args::Paths) -> Result<Filter, Report> {
    Filter::new(&paths.include, &paths.exclude).map_err(|error| {
        Report::new(Kind::Usage, error.to_string()).hint("patterns are globs: `*` within a name, `**` across directories")
    })
}

fn parse_approval(text: &str) -> Result<[u8; 8], Report> {
    let decoded = HEXLOWER.decode(text.trim().to_ascii_lowercase().as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    decoded.ok_or_else(|| {
        Report::new(Kind::Usage, format!("--allow-deletes {text}: expected the 16 hexadecimal digits that the held push printed"))
    })
}

fn takeover(args: &args::Takeover) -> Takeover {
    match args.how {
        TakeoverHow::Force => Takeover::Force,
        TakeoverHow::Wait => Takeover::Wait { silence: args.silence, timeout: args.timeout },
    }
}

/// The point that `--at` names.
pub fn wanted(at: &At) -> Wanted {
    match at {
        At::Head => Wanted::Head,
        At::Sequence(seq) => Wanted::Sequence(*seq),
        At::Time(ms) => Wanted::Time(*ms),
        At::Rescue(name) => Wanted::Rescue(name.clone()),
    }
}

/// Restores once.
pub async fn remote_to_local_sync(args: &RemoteToLocalSync, frame: &Frame) -> Result<u8, Report> {
    args.former.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    let filter = filter(&args.paths)?;
    let (bucket, unlocker) = frame.reach(&args.access, &args.src)?;
    let crypt = frame.crypt(&args.access, &args.src, unlocker.as_ref())?;
    let place = bucket.describe();
    let progress = Progress::start("restore", frame.progress);
    let request = Restore {
        bucket,
        unlocker,
        target: args.dst.clone(),
        state_dir: args.state.state_dir.clone(),
        wanted: wanted(&args.at),
        filter,
        delete: !args.no_delete,
        force: args.force_delete_local_dir,
        adopt: args.adopt,
        trust_manifest: args.trust_manifest,
        crypt,
        claim: args.claim.then(|| takeover(&args.takeover)),
        allow_empty: args.allow_empty,
        owners: args.owners == Owners::Auto,
        dry_run: args.dry_run,
        accept_rollback: args.state.accept_rollback,
        pod: frame.pod(),
        progress: progress.clone(),
    };
    let restored = restore(&request, &frame.stop).await;
    progress.finish();
    let outcome = restored?;
    say_restored(&outcome, &place);
    Ok(0)
}

fn say_restored(outcome: &restore::Outcome, place: &str) {
    let word = match outcome.action {
        None => "the remote is empty: nothing to restore",
        Some(_) if outcome.dry_run => "dry run: would restore",
        Some(RestoreAction::Skip) => "the volume is at this state already",
        Some(RestoreAction::KeepAhead) => "the volume is ahead: its changes stay and wait for a push",
        Some(RestoreAction::Merge) => "merged; local entries stayed",
        Some(_) => "restored",
    };
    let skipped = outcome.skipped;
    if skipped.owners + skipped.xattrs + skipped.modes > 0 {
        tracing::warn!(
            owners = skipped.owners,
            xattrs = skipped.xattrs,
            modes = skipped.modes,
            "some metadata could not be applied by this user or file system"
        );
    }
    tracing::info!(
        commit = outcome.commit,
        rescue = outcome.rescue,
        placed = outcome.placed,
        kept = outcome.kept,
        removed = outcome.removed,
        local_changes = outcome.local_changes,
        written = %bytes(outcome.bytes),
        requests = total(&outcome.requests),
        down = %bytes(outcome.requests.bytes_down),
        took = %span(outcome.elapsed),
        "{word} from {place}"
    );
}
