//! `sync-to-remote` and `remote-to-local-sync`.

use super::args::{self, Owners, RemoteToLocalSync, SyncToRemote, TakeoverHow};
use super::frame::Frame;
use super::stay;
use crate::admin::ask_any;
use crate::config::{At, read_reporting};
use crate::contract::control::{PassResult, Request, socket_paths};
use crate::contract::progress::{self, MESSAGE_BYTES, Step, Trouble, VERSION, one_line};
use crate::disk::Volume;
use crate::fault::{Kind, Report};
use crate::plan::RestoreAction;
use crate::push::{CaptureOptions, Ending, PlainOptions, Push, PushError, push};
use crate::remote::session::{Local, SessionError};
use crate::restore::{self, Restore, RestoreError, restore};
use crate::runtime::limits;
use crate::telemetry::{Progress, bytes, span};
use crate::tree::Filter;
use crate::vault::container::Compression;
use crate::vault::point::Wanted;
use crate::vault::writer::Takeover;
use data_encoding::HEXLOWER;

/// Pushes once, or stays and pushes again and again.
pub async fn sync_to_remote(args: &SyncToRemote, frame: &Frame) -> Result<u8, Report> {
    let filter = filter(&args.common.paths)?;
    let hooks = args.hooks.check(frame)?;
    let allow_deletes = args.allow_deletes.as_deref().map(parse_approval).transpose()?;
    let asks = !args.sidecar.stays() && !args.dry_run;
    let reached = match frame.reach(&args.common.access, &args.dst) {
        // Beside a sidecar, which knows its remote, nothing of it need be said.
        Err(mistake) if !asks || !Local::is_held(&args.src, args.common.state.state_dir.as_deref()) => return Err(mistake),
        reached => reached,
    };
    let volume = Volume::open(&args.src)?;
    let local = match Local::open(volume, args.common.state.state_dir.as_deref()) {
        Err(error) if error.is_busy() && asks => return ask_sidecar(args, frame, error).await,
        local => local?,
    };
    let (bucket, unlocker) = reached?;
    if args.create_bucket && !args.dry_run && bucket.make(&frame.stop).await? {
        tracing::info!("made the bucket of {}", bucket.describe());
    }
    let progress = if args.sidecar.stays() { Progress::quiet() } else { Progress::start("push", frame.progress) };
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
        accept_rollback: args.common.state.accept_rollback,
        takeover: takeover(&args.common.takeover),
        pod: frame.pod(),
        hooks,
        watch: None,
        single_key: args.single_key,
        progress: progress.clone(),
    };
    if args.sidecar.stays() {
        return stay::stay(request, args, frame).await;
    }
    let place = request.bucket.describe();
    let pushed = push(&request, &frame.stop).await;
    progress.finish();
    let outcome = pushed?;
    outcome.say(&place);
    Ok(match outcome.ending() {
        Ending::Complete => 0,
        Ending::Partial(kind) => kind.exit_code(),
    })
}

/// Beside a running sidecar, a push is a wish: the sidecar makes one pass over everything and tells what came of it.
async fn ask_sidecar(args: &SyncToRemote, frame: &Frame, busy: SessionError) -> Result<u8, Report> {
    if args.force_even_if_remote_would_be_cleared {
        let told = "a sidecar works on this directory, with flags of its own: -f would have no effect";
        let hint =
            "held deletions are released with --allow-deletes; for more, give -f to the sidecar and start its container again";
        return Err(Report::new(Kind::Usage, told).hint(hint));
    }
    let request = Request::Pass { allow_deletes: args.allow_deletes.as_deref().map(parse_approval).transpose()? };
    let paths = socket_paths(args.sidecar.socket.as_deref(), args.common.state.state_dir.as_deref(), Some(&args.src));
    match frame.stop.or(ask_any(&paths, &request, limits::PASS_WAIT)).await {
        Ok(Ok(reply)) if reply.exit == 0 => {
            tracing::info!("the sidecar of this directory made the push: {}", reply.message);
            Ok(0)
        }
        Ok(Ok(reply)) => {
            tracing::error!("the sidecar of this directory made the push: {}", reply.message);
            Ok(reply.exit)
        }
        Ok(Err(error)) if error.is_nobody() => Err(busy.into()),
        Ok(Err(error)) => Err(error.into()),
        Err(stopped) => Err(PushError::from(stopped).into()),
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
    args.former.warning().iter().for_each(|warning| tracing::warn!("{warning}"));
    let filter = filter(&args.common.paths)?;
    let (bucket, unlocker) = frame.reach(&args.common.access, &args.src)?;
    let crypt = frame.crypt(&args.common.access, &args.src, unlocker.as_ref())?;
    let place = bucket.describe();
    let progress = Progress::start("restore", frame.progress);
    let request = Restore {
        bucket,
        unlocker,
        target: args.dst.clone(),
        state_dir: args.common.state.state_dir.clone(),
        wanted: wanted(&args.at),
        filter,
        delete: !args.no_delete,
        force: args.force_delete_local_dir,
        adopt: args.adopt,
        trust_manifest: args.trust_manifest,
        crypt,
        claim: args.claim.then(|| takeover(&args.common.takeover)),
        allow_empty: args.allow_empty,
        owners: args.owners == Owners::Auto,
        dry_run: args.dry_run,
        accept_rollback: args.common.state.accept_rollback,
        pod: frame.pod(),
        progress: progress.clone(),
    };
    let restored = restore(&request, &frame.stop).await;
    progress.finish();
    if !args.dry_run {
        tell_controller(&restored, args, frame).await;
    }
    let outcome = restored?;
    say_restored(&outcome, &place);
    Ok(0)
}

/// Tells the controller of a restore, once and within its time; that it does not hear of it changes nothing.
async fn tell_controller(restored: &Result<restore::Outcome, RestoreError>, args: &RemoteToLocalSync, frame: &Frame) {
    let sent = match read_reporting(&frame.environment) {
        Ok(None) => return,
        Ok(Some((controller, sync))) => {
            let report = restore_report(restored, sync, args.src.clone());
            frame.stop.or(controller.send(&report)).await.unwrap_or(Ok(())).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    if let Err(problem) = sent {
        tracing::warn!("the controller was not told of this restore, which changes nothing else: {problem}");
    }
}

fn restore_report(restored: &Result<restore::Outcome, RestoreError>, sync: String, directory: String) -> progress::Report {
    let (result, trouble, message) = match restored {
        Ok(outcome) if outcome.action.is_none() => {
            (PassResult::Noop, None, "the remote is empty: nothing to restore".to_string())
        }
        Ok(outcome) => {
            let message = format!("{} entries and {} written, {} kept", outcome.placed, bytes(outcome.bytes), outcome.kept);
            (PassResult::Complete, None, message)
        }
        Err(error) => {
            let trouble = if error.is_wrong_key() { Trouble::KeyMismatch } else { Trouble::Failing };
            (PassResult::Failed, Some(trouble), Report::of(error).to_string())
        }
    };
    progress::Report {
        version: VERSION,
        sync,
        directory,
        step: Step::Restore,
        result,
        trouble,
        message: Some(one_line(&message, MESSAGE_BYTES)),
        generation: restored.as_ref().map_or(0, |outcome| outcome.commit),
        epoch: 0,
        since_complete_ms: None,
        pending_bytes: 0,
        deletes_held: 0,
        key_fingerprint: None,
    }
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
        requests = outcome.requests.all(),
        down = %bytes(outcome.requests.bytes_down),
        took = %span(outcome.elapsed),
        "{word} from {place}"
    );
}
