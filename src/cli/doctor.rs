//! `doctor`: tries out what a push and a restore need, one line for each thing, with the way out where one is wrong.
//! It writes only below `probe/` at the remote, and takes away what it wrote.

use super::Verdict;
use super::args::Doctor;
use super::frame::{Frame, Target};
use super::out::{Out, stdout};
use crate::contract::env;
use crate::contract::layouts::VAULT_CONFIG;
use crate::disk::{StateDir, Volume, forbidden_root};
use crate::fault::{Fault, Kind, Report};
use crate::remote::session::STATE_NAME;
use crate::remote::{Reached, Remote, reach};
use crate::runtime::Stop;
use crate::seal::random_bytes;
use crate::store::{Bucket, Fencing, StoreError, probe};
use crate::telemetry::{bytes, moment};
use crate::tree::Shown;
use crate::vault::log::Commit;
use crate::vault::open::{Vault, slot_names};
use crate::vault::receipt::{Receipt, from_file};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use std::path::{Path, PathBuf};

/// The findings so far.
struct Visit<'a> {
    out: Out,
    stop: &'a Stop,
    /// What is wrong first: later trouble often follows from it.
    first: Option<Kind>,
    wrong: u64,
}

/// Tries everything out.
pub async fn run(args: &Doctor, frame: &Frame) -> Verdict {
    let target = frame.target(&args.access, &args.dst)?;
    let mut visit = Visit { out: stdout(), stop: &frame.stop, first: None, wrong: 0 };
    for (name, value) in target.options.describe() {
        visit.out.line(format_args!("  {name}={value}"))?;
    }
    let vault = visit.remote(&target).await?;
    match &args.src {
        Some(path) => {
            let state_dir = frame.environment.get(env::STATE_DIR).map(PathBuf::from);
            visit.volume(path, state_dir, vault.as_ref())?;
        }
        None => visit.skipped("volume", "not looked at: name it with -s")?,
    }
    frame.stop.check().map_err(|error| Report::new(Kind::Unfinished, error.to_string()))?;
    visit.end()
}

impl Visit<'_> {
    fn good(&mut self, what: &str, detail: impl std::fmt::Display) -> Result<(), Report> {
        self.out.line(format_args!("✓ {what}: {detail}"))?;
        self.out.finish()
    }

    /// Worth knowing, or not tried.
    fn skipped(&mut self, what: &str, detail: impl std::fmt::Display) -> Result<(), Report> {
        self.out.line(format_args!("– {what}: {detail}"))?;
        self.out.finish()
    }

    fn bad(&mut self, what: &str, fault: &impl Fault) -> Result<(), Report> {
        self.wrong(what, fault.kind(), &fault.to_string(), fault.hint().as_deref())
    }

    fn wrong(&mut self, what: &str, kind: Kind, detail: &str, hint: Option<&str>) -> Result<(), Report> {
        self.first.get_or_insert(kind);
        self.wrong += 1;
        self.out.line(format_args!("✗ {what}: {detail}"))?;
        if let Some(hint) = hint {
            self.out.line(format_args!("    -> {hint}"))?;
        }
        self.out.finish()
    }

    fn end(mut self) -> Verdict {
        match self.wrong {
            0 => self.out.line("all is well")?,
            1 => self.out.line("one thing is wrong")?,
            count => self.out.line(format_args!("{count} things are wrong; begin with the first"))?,
        }
        self.out.finish()?;
        Ok(self.first.map_or(0, Kind::exit_code))
    }

    /// The store, the rights, and what lies there.
    async fn remote(&mut self, target: &Target) -> Result<Option<(Vault, Option<Commit>)>, Report> {
        let bucket = match Bucket::connect(&target.config) {
            Ok(bucket) => bucket,
            Err(error) => return self.bad("remote", &error).map(|()| None),
        };
        if !self.reachable(&bucket).await? {
            self.skipped("rights, conditional create, vault", "not tried, since the store cannot be asked")?;
            return Ok(None);
        }
        self.get(&bucket).await?;
        if self.put(&bucket).await? {
            self.conditional(&bucket).await?;
        } else {
            self.skipped("conditional create", "not tried without the right to write")?;
        }
        self.vault(&bucket, target).await
    }

    /// Name, connection, TLS, signature, clock and the right to list: all in one request.
    async fn reachable(&mut self, bucket: &Bucket) -> Result<bool, Report> {
        let place = bucket.describe();
        match bucket.first(self.stop, "").await {
            Ok(_) => {
                self.good("reach", place)?;
                self.good("s3:ListBucket", "the prefix can be listed")?;
                Ok(true)
            }
            Err(error @ StoreError::Denied { .. }) => {
                self.good("reach", format_args!("{place} answers"))?;
                self.bad("s3:ListBucket", &error)?;
                Ok(true)
            }
            Err(error) => {
                self.bad("reach", &error)?;
                Ok(false)
            }
        }
    }

    async fn get(&mut self, bucket: &Bucket) -> Result<(), Report> {
        match bucket.get(self.stop, VAULT_CONFIG, None).await {
            Ok(_) => self.good("s3:GetObject", "objects can be read"),
            Err(error) if error.is_not_found() => self.good("s3:GetObject", "an object that does not exist is said not to"),
            Err(error) => self.bad("s3:GetObject", &error),
        }
    }

    /// Writes and deletes one small object. True when it could be written.
    async fn put(&mut self, bucket: &Bucket) -> Result<bool, Report> {
        let key = format!("probe/{}", HEXLOWER.encode(&random_bytes::<16>()));
        let body = Bytes::from_static(b"written by doctor; means nothing");
        if let Err(error) = bucket.put(self.stop, &key, body.clone()).await {
            self.bad("s3:PutObject", &error)?;
            self.skipped("s3:DeleteObject", "not tried; a restore needs neither of the two")?;
            return Ok(false);
        }
        match bucket.get(self.stop, &key, None).await {
            Ok(read) if read == body => self.good("s3:PutObject", "what is written can be read back")?,
            Ok(_) => self.wrong("s3:PutObject", Kind::Corrupt, "another body came back than was written", None)?,
            Err(error) => self.bad("s3:PutObject", &error)?,
        }
        match bucket.delete(self.stop, &key).await {
            Ok(()) => self.good("s3:DeleteObject", "objects can be deleted")?,
            Err(StoreError::Denied { .. }) => self.skipped(
                "s3:DeleteObject",
                "denied. Pushes and restores work without it, and a stolen credential cannot destroy history; `key remove` does \
                 not work, and a few objects below probe/ stay",
            )?,
            Err(error) => self.bad("s3:DeleteObject", &error)?,
        }
        Ok(true)
    }

    async fn conditional(&mut self, bucket: &Bucket) -> Result<(), Report> {
        if bucket.conditional_create_is_native() {
            return self.good("conditional create", "made by this program itself");
        }
        match probe(bucket, self.stop).await {
            Ok(Fencing::Strict) => self.good("conditional create", "honoured: a second writer is refused"),
            Ok(Fencing::Detect) => self.skipped(
                "conditional create",
                "not honoured: a second writer is noticed afterwards, not prevented. Make sure that there is only one \
                 (`strategy: Recreate`)",
            ),
            Err(error) => self.bad("conditional create", &error),
        }
    }

    async fn vault(&mut self, bucket: &Bucket, target: &Target) -> Result<Option<(Vault, Option<Commit>)>, Report> {
        if target.unlocker.is_none() {
            match super::plain::describe(bucket, self.stop).await {
                Ok(words) => self.good("layout", words)?,
                Err(report) => self.wrong("layout", report.kind, &report.message, report.hint.as_deref())?,
            }
            return Ok(None);
        }
        let (vault, newest) = match reach(bucket, target.unlocker.as_ref(), self.stop).await {
            Ok(Reached::Present(Remote::Vault(vault, newest))) => (*vault, newest),
            Ok(Reached::ProvenEmpty) => {
                self.good("vault", "nothing lies there yet; the first push makes a vault")?;
                return Ok(None);
            }
            Err(error) => return self.bad("vault", &error).map(|()| None),
        };
        self.good("vault", format_args!("{}, opened by slot {}", HEXLOWER.encode(&vault.id), vault.slot))?;
        match slot_names(bucket, self.stop).await {
            Ok(names) if names.len() < 2 => {
                let detail = "one key alone opens the vault: add another with `key add`, or print one with `key export-kit`";
                self.skipped("keys", detail)?;
            }
            Ok(names) => self.good("keys", format_args!("{} slots", names.len()))?,
            Err(error) => self.bad("keys", &error)?,
        }
        let head = match newest {
            None => Ok(None),
            newest => vault.head(newest, self.stop).await,
        };
        match head {
            Ok(None) => self.skipped("newest commit", "there are no commits yet").map(|()| Some((vault, None))),
            Ok(Some(head)) => {
                let directory = head.directory();
                let pod = Shown(directory.labels.pod.as_bytes());
                let time = moment(directory.time_ms);
                let left = if head.is_released() { "and has left" } else { "and has not said that it left" };
                self.good(
                    "newest commit",
                    format_args!("{} of {time} by {pod}, which has epoch {} {left}", head.seq, directory.epoch),
                )?;
                Ok(Some((vault, Some(head))))
            }
            Err(error) => self.bad("newest commit", &error).map(|()| None),
        }
    }

    /// The volume, and what is remembered of it.
    fn volume(&mut self, path: &Path, state_dir: Option<PathBuf>, vault: Option<&(Vault, Option<Commit>)>) -> Result<(), Report> {
        let volume = match Volume::open(path) {
            Ok(volume) => volume,
            Err(error) => return self.bad("volume", &error),
        };
        let shown = volume.path().display().to_string();
        if let Some(why) = forbidden_root(volume.path()) {
            self.wrong(
                "volume",
                Kind::Refused,
                &format!("{shown} is not restored to: {why}"),
                Some("name a directory of its own"),
            )?;
        }
        match volume.is_empty(&[]) {
            Ok(empty) => self.good("volume", format_args!("{shown}, {}", if empty { "empty" } else { "holds something" }))?,
            Err(error) => self.bad("volume", &error)?,
        }
        match volume.owner() {
            Ok((uid, gid)) => self.good("owner", format_args!("{uid}:{gid}"))?,
            Err(error) => self.bad("owner", &error)?,
        }
        match volume.is_mount_point() {
            Ok(Some(false)) => self.skipped("mount", "nothing is mounted exactly there: in a container, that is not a volume")?,
            Ok(_) => {}
            Err(error) => self.bad("mount", &error)?,
        }
        match volume.space() {
            Ok(space) => {
                let inodes = space.available_inodes.map(|count| format!(" and {count} inodes")).unwrap_or_default();
                self.good("space", format_args!("{}{inodes} are free", bytes(space.available_bytes)))?;
            }
            Err(error) => self.bad("space", &error)?,
        }
        self.state(&state_dir.unwrap_or_else(|| volume.path().join(STATE_NAME)), vault)
    }

    /// The state directory is looked at only where it exists: making one is for a push or restore.
    fn state(&mut self, path: &Path, vault: Option<&(Vault, Option<Commit>)>) -> Result<(), Report> {
        const PROBE: &str = "doctor";
        let shown = path.display();
        if !path.is_dir() {
            return self
                .skipped("state", format_args!("{shown} is not there yet: this volume was neither pushed nor restored here"));
        }
        let state = match StateDir::open(path) {
            Ok(state) => state,
            Err(error) => return self.bad("state", &error),
        };
        match state.write(PROBE, b"").and_then(|()| state.remove(PROBE)) {
            Ok(_) => self.good("state", format_args!("{shown} can be written"))?,
            Err(error) => self.bad("state", &error)?,
        }
        if let Err(error) = state.lock() {
            self.skipped("lock", error)?;
        }
        let Some((vault, head)) = vault else { return Ok(()) };
        self.receipt(&path.join(HEXLOWER.encode(&vault.id)), vault, head.as_ref())
    }

    fn receipt(&mut self, folder: &Path, vault: &Vault, head: Option<&Commit>) -> Result<(), Report> {
        let none = "none: this volume and this vault have not met; if both hold something, `remote-to-local-sync` comes first";
        if !folder.is_dir() {
            return self.skipped("receipt", none);
        }
        let read = StateDir::open(folder).and_then(|state| state.read("receipt.json"));
        match read.map(|bytes| bytes.and_then(|bytes| from_file::<Receipt>(vault, &bytes))) {
            Ok(Some(receipt)) => {
                let newest = head.map_or(0, |head| head.seq);
                let order = match newest.cmp(&receipt.seq) {
                    std::cmp::Ordering::Equal => "the newest",
                    std::cmp::Ordering::Greater => "not the newest: another volume may have pushed since",
                    std::cmp::Ordering::Less => "newer than what the remote shows",
                };
                self.good("receipt", format_args!("of commit {}, {order}", receipt.seq))
            }
            Ok(None) => self.skipped("receipt", none),
            Err(error) => self.bad("receipt", &error),
        }
    }
}
