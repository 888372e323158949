//! `snapshots`: the restore points, newest first.

use super::Verdict;
use super::args::Snapshots;
use super::frame::Frame;
use super::out::{Out, stdout};
use crate::fault::{Kind, Report};
use crate::runtime::{Stop, clock, limits};
use crate::telemetry::{bytes, moment, span};
use crate::tree::Shown;
use crate::vault::directory::{Directory, Flags};
use crate::vault::error::VaultError;
use crate::vault::object::ObjectId;
use crate::vault::open::Vault;
use crate::vault::point::{commit_numbers, directory_of, rescue_name, rescues};
use crate::vault::rescue::only_closes;
use futures::{Stream, StreamExt, stream};
use serde::Serialize;
use std::pin::pin;
use std::time::Duration;

/// One line.
#[derive(Debug, Serialize)]
struct Line {
    id: String,
    time: String,
    #[serde(skip)]
    time_ms: u64,
    files: u64,
    dirs: u64,
    bytes: u64,
    pod: String,
    epoch: u32,
    flags: Vec<&'static str>,
    /// Of a rescue: the commit it follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    follows: Option<u64>,
}

/// What lists them: as text, or as JSON.
struct Printer {
    out: Out,
    json: bool,
    lines: u64,
    damaged: u64,
}

/// Lists the restore points.
pub async fn print(args: &Snapshots, frame: &Frame) -> Verdict {
    let target = frame.target(&args.source.access, &args.source.src)?;
    if target.unlocker.is_none() {
        return super::plain::snapshots(args, &target, frame).await;
    }
    let vault = frame.vault_only(&target).await?;
    let mut printer = Printer { out: stdout(), json: args.json, lines: 0, damaged: 0 };
    for id in rescues(&vault, &frame.stop).await? {
        let read = read(&vault, id, &frame.stop).await;
        let Some((id, directory)) = printer.keep(id, read)? else { continue };
        if args.all || !only_closes(&directory) {
            printer.print(&Line::of(rescue_name(id), &directory))?;
        }
    }
    commits(&vault, args.all, &mut printer, &frame.stop).await?;
    printer.end(&vault)
}

/// Commits that changed something; the one before each tells.
async fn commits(vault: &Vault, all: bool, printer: &mut Printer, stop: &Stop) -> Result<(), Report> {
    let mut directories = pin!(directories(vault, commit_numbers(vault, stop).await?, stop));
    let mut younger: Option<(ObjectId, Directory)> = None;
    while let Some((id, read)) = directories.next().await {
        let found = printer.keep(id, read)?;
        let next = younger.take();
        younger = found;
        if let Some((id, directory)) = next
            && (all || is_point(&directory, younger.as_ref().map(|(_, older)| older)))
        {
            printer.print(&Line::of(id.a.to_string(), &directory))?;
        }
        if printer.out.is_closed() {
            return Ok(());
        }
    }
    if let Some((id, directory)) = younger
        && (all || is_point(&directory, (id.a == 1).then(Directory::default).as_ref()))
    {
        printer.print(&Line::of(id.a.to_string(), &directory))?;
    }
    Ok(())
}

/// The directories of commits, several requests at once, in their order.
fn directories<'a>(
    vault: &'a Vault,
    seqs: Vec<u64>,
    stop: &'a Stop,
) -> impl Stream<Item = (ObjectId, Result<Directory, VaultError>)> + 'a {
    let one = move |seq| async move {
        let id = ObjectId::commit(seq);
        (id, read(vault, id, stop).await)
    };
    stream::iter(seqs).map(one).buffered(limits::FETCHES)
}

async fn read(vault: &Vault, id: ObjectId, stop: &Stop) -> Result<Directory, VaultError> {
    match directory_of(vault, id, stop).await? {
        Some(head) => Ok(head.directory),
        None => Err(VaultError::Missing { object: id.key(), referrer: "the listing".into() }),
    }
}

/// Whether somebody may want to restore it: it changed something, or was kept on purpose. The oldest commit that is left
/// stands for all before it.
fn is_point(directory: &Directory, older: Option<&Directory>) -> bool {
    let has_records = !directory.meta.is_empty() || !directory.parts.is_empty();
    let changed = older.is_none_or(|older| older.state != directory.state);
    has_records || changed || directory.flags.has(Flags::KEEP)
}

impl Line {
    fn of(id: String, directory: &Directory) -> Line {
        const NAMES: [(Flags, &str); 5] = [
            (Flags::CLAIM, "claim"),
            (Flags::RELEASE, "release"),
            (Flags::KEEP, "keep"),
            (Flags::PROGRESS, "progress"),
            (Flags::REVERT, "revert"),
        ];
        let names = NAMES.iter().filter(|(flag, _)| directory.flags.has(*flag)).map(|(_, name)| *name);
        let follows = (directory.fork_of > 0).then_some(directory.fork_of);
        Line {
            id,
            time: moment(directory.time_ms),
            time_ms: directory.time_ms,
            files: directory.state.files,
            dirs: directory.state.dirs,
            bytes: directory.state.bytes,
            pod: directory.labels.pod.clone(),
            epoch: directory.epoch,
            flags: names.chain(follows.map(|_| if only_closes(directory) { "closed" } else { "rescue" })).collect(),
            follows,
        }
    }
}

impl Printer {
    /// What could be read. Damage of one object must not hide the others; trouble with the store ends the listing.
    fn keep<T>(&mut self, id: ObjectId, read: Result<T, VaultError>) -> Result<Option<(ObjectId, T)>, Report> {
        match read {
            Ok(value) => Ok(Some((id, value))),
            Err(error @ (VaultError::Corrupt { .. } | VaultError::Missing { .. })) => {
                tracing::warn!("{error}");
                self.damaged += 1;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn print(&mut self, line: &Line) -> Result<(), Report> {
        self.lines += 1;
        if self.json {
            let text = serde_json::to_string(line).map_err(|error| Report::new(Kind::Bug, error.to_string()))?;
            return self.out.put(format_args!("{}{text}", if self.lines == 1 { "[\n" } else { ",\n" }));
        }
        if self.lines == 1 {
            self.out.line(row(["ID", "TIME (UTC)", "AGE", "FILES", "SIZE", "FLAGS", "POD"]))?;
        }
        let age = span(Duration::from_millis(clock::wall_ms().saturating_sub(line.time_ms)));
        let time = line.time.replace('T', " ").replace('Z', "");
        let (files, size, flags) = (line.files.to_string(), bytes(line.bytes), line.flags.join(","));
        let pod = Shown(line.pod.as_bytes()).to_string();
        self.out.line(row([&line.id, &time, &age, &files, &size, &flags, &pod]))
    }

    fn end(mut self, vault: &Vault) -> Verdict {
        match (self.json, self.lines) {
            (true, 0) => self.out.line("[]")?,
            (true, _) => self.out.line("\n]")?,
            (false, 0) => self.out.line("no restore points yet")?,
            (false, _) => {}
        }
        self.out.finish()?;
        if self.damaged == 0 {
            return Ok(0);
        }
        let message = format!("{} of the vault at {} could not be read", objects(self.damaged), vault.bucket.describe());
        Err(Report::new(Kind::Corrupt, message).hint("`check --level data` lists all damage; the points above can be restored"))
    }
}

fn objects(count: u64) -> String {
    crate::telemetry::count(count, "object")
}

fn row(cells: [&str; 7]) -> String {
    let [id, time, age, files, size, flags, pod] = cells;
    let line = format!("{id:<6}  {time:<19}  {age:>9}  {files:>9}  {size:>8}  {flags:<8}  {pod}");
    line.trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::{Line, is_point};
    use crate::vault::directory::{Directory, Flags, State};

    fn commit(flags: Flags, files: u64) -> Directory {
        Directory { flags, state: State { files, ..State::default() }, ..Directory::default() }
    }

    #[test]
    fn only_commits_that_changed_something_are_restore_points() {
        let (claim, push) = (commit(Flags::CLAIM, 0), commit(Flags::default(), 3));
        assert!(!is_point(&claim, Some(&Directory::default())));
        assert!(is_point(&push, Some(&claim)));
        assert!(!is_point(&commit(Flags::RELEASE, 3), Some(&push)));
        assert!(is_point(&commit(Flags::KEEP, 3), Some(&push)));
        assert!(is_point(&claim, None), "the oldest that is left");
    }

    #[test]
    fn json_names_what_scripts_need() {
        let directory = Directory { time_ms: 1_795_183_200_000, epoch: 2, ..commit(Flags::CLAIM.with(Flags::KEEP), 3) };
        let line = serde_json::to_string(&Line::of("7".into(), &directory)).unwrap();
        let expected = r#"{"id":"7","time":"2026-11-20T14:00:00Z","files":3,"dirs":0,"bytes":0,"pod":"","epoch":2,"flags":["claim","keep"]}"#;
        assert_eq!(line, expected);
    }
}
