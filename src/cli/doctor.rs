//! `doctor`: tries everything a push or restore will need, and names what is missing.

use super::args::Doctor;
use super::frame::{Frame, print};
use crate::disk::{Volume, forbidden_root};
use crate::fault::{Fault, Kind, Report};
use crate::seal::{Unlocker, random_u32};
use crate::store::{Bucket, Fencing, StoreError, probe};
use crate::telemetry::bytes;
use crate::vault::open::{Presence, open, slot_names};
use bytes::Bytes;

/// The worst of what was tried.
#[derive(Default)]
struct Verdict {
    worst: Option<Kind>,
}

impl Verdict {
    fn good(&self, what: &str, detail: &str) -> Result<(), Report> {
        print(&format!("ok       {what}: {detail}"))
    }

    fn note(&self, what: &str, detail: &str) -> Result<(), Report> {
        print(&format!("note     {what}: {detail}"))
    }

    fn bad(&mut self, what: &str, fault: &impl Fault) -> Result<(), Report> {
        self.worst.get_or_insert(fault.kind());
        print(&format!("problem  {what}: {fault}"))?;
        match fault.hint() {
            Some(hint) => print(&format!("         hint: {hint}")),
            None => Ok(()),
        }
    }
}

/// Runs all checks; the exit code is that of the first problem.
pub async fn doctor(args: &Doctor, frame: &Frame) -> Result<u8, Report> {
    let (bucket, unlocker) = frame.reach(&args.access, &args.dst)?;
    let mut verdict = Verdict::default();
    print(&format!("remote   {}", bucket.describe()))?;
    if rights(&bucket, frame, &mut verdict).await? {
        contents(&bucket, &unlocker, frame, &mut verdict).await?;
    }
    if let Some(src) = &args.src {
        volume(src, &mut verdict)?;
    }
    Ok(verdict.worst.map_or(0, Kind::exit_code))
}

/// Each right by one small request. `false` when the remote cannot even be listed.
async fn rights(bucket: &Bucket, frame: &Frame, verdict: &mut Verdict) -> Result<bool, Report> {
    let stop = &frame.stop;
    match bucket.first(stop, "log").await {
        Ok(_) => verdict.good("list (s3:ListBucket on the prefix)", "allowed")?,
        Err(error) => {
            verdict.bad("list (s3:ListBucket on the prefix)", &error)?;
            return Ok(false);
        }
    }
    let key = format!("probe/doctor-{:08x}", random_u32());
    let wrote = bucket.create(stop, &key, Bytes::from_static(b"made by doctor")).await;
    match &wrote {
        Ok(_) => verdict.good("write (s3:PutObject)", "allowed")?,
        Err(error) => verdict.bad("write (s3:PutObject; a restore does not need it)", error)?,
    }
    match bucket.get(stop, &key, None).await {
        Ok(_) => verdict.good("read (s3:GetObject)", "allowed")?,
        Err(error) if error.is_not_found() && wrote.is_err() => verdict.good("read (s3:GetObject)", "allowed")?,
        Err(error) => verdict.bad("read (s3:GetObject)", &error)?,
    }
    if wrote.is_ok() {
        match bucket.delete(stop, &key).await {
            Ok(()) => verdict.good("delete (s3:DeleteObject)", "allowed")?,
            Err(error) => {
                verdict.note("delete (s3:DeleteObject)", &format!("not allowed ({error}): pushes work, leftovers stay"))?
            }
        }
        fencing(bucket, frame, verdict).await?;
    }
    Ok(true)
}

async fn fencing(bucket: &Bucket, frame: &Frame, verdict: &mut Verdict) -> Result<(), Report> {
    match probe(bucket, &frame.stop).await {
        Ok(Fencing::Strict) => verdict.good("conditional create", "honoured: a second writer is fenced"),
        Ok(Fencing::Detect) => {
            verdict.note("conditional create", "not honoured: a second writer is only detected; make sure that only one exists")
        }
        Err(error) => verdict.bad("conditional create", &error),
    }
}

async fn contents(bucket: &Bucket, unlocker: &Unlocker, frame: &Frame, verdict: &mut Verdict) -> Result<(), Report> {
    match open(bucket, unlocker, &frame.stop).await {
        Ok(Presence::ProvenEmpty) => verdict.note("content", "the remote is empty: the first push makes a vault"),
        Ok(Presence::Vault(vault, newest)) => {
            let commits = newest.map_or_else(|| "no commits".to_string(), |newest| format!("commit {}", newest.seq));
            verdict.good("content", &format!("a vault, opened by slot {}, at {commits}", vault.slot))?;
            let slots: Result<Vec<String>, StoreError> = slot_names(bucket, &frame.stop).await;
            match slots {
                Ok(slots) if slots.len() < 2 => {
                    verdict.note("keys", "only one key opens the vault: `key export-kit` makes a second one to keep offline")
                }
                Ok(slots) => verdict.good("keys", &format!("{} slots", slots.len())),
                Err(error) => verdict.bad("keys", &error),
            }
        }
        Err(error) => verdict.bad("content", &error),
    }
}

fn volume(path: &std::path::Path, verdict: &mut Verdict) -> Result<(), Report> {
    let volume = match Volume::open(path) {
        Ok(volume) => volume,
        Err(error) => return verdict.bad("volume", &error),
    };
    let owner = volume.owner().map_or_else(|_| "?".to_string(), |owner| owner.0.to_string());
    let ours = rustix::process::geteuid().as_raw();
    verdict.good("volume", &format!("{} (owner uid {owner}, this process runs as {ours})", volume.path().display()))?;
    if let Some(why) = forbidden_root(volume.path()) {
        verdict.note("volume", &format!("restores into it are refused: {why}"))?;
    }
    match volume.space() {
        Ok(space) => verdict.good("space", &format!("{} available", bytes(space.available_bytes))),
        Err(error) => verdict.bad("space", &error),
    }
}
