//! What `ls`, `snapshots`, `check` and `doctor` say of a remote without encryption.

use super::Verdict;
use super::args::{CheckLevel, Ls, Snapshots};
use super::frame::{Frame, Target};
use super::ls::{Below, print_entry};
use super::out::{Out, stdout};
use crate::config::At;
use crate::disk::StateFile;
use crate::fault::{Kind, Report};
use crate::plain::error::PlainError;
use crate::plain::line::{Line, Node};
use crate::plain::listing::Listing;
use crate::plain::log::{Log, look};
use crate::plain::names::key_of;
use crate::plain::wanted::{Gathered, Source, gather};
use crate::plan::Refusal;
use crate::runtime::{Stop, wait_blocking};
use crate::seal::{DIGEST_PART_BYTES, FileDigest, ShortId};
use crate::store::{Bucket, Mark};
use crate::telemetry::{bytes, count, moment};
use crate::vault::entry::{self, Content, Entry, Extra};
use data_encoding::HEXLOWER;
use std::path::PathBuf;

/// Findings that are listed by name.
const NAMED: u64 = 1000;

struct Opened {
    bucket: Bucket,
    log: Log,
    spill: PathBuf,
}

/// Looks what lies there; nothing at all is an error.
async fn open(target: &Target, stop: &Stop) -> Result<Opened, Report> {
    let bucket = Bucket::connect(&target.config)?;
    let log = look(&bucket, stop).await?;
    if log.head.is_none() && bucket.first(stop, "").await?.is_none() {
        let message = format!("there is nothing at {}", bucket.describe());
        return Err(Report::new(Kind::Usage, message).hint("check the remote path and REMOTE_*; a first push fills it"));
    }
    Ok(Opened { bucket, log, spill: std::env::temp_dir() })
}

impl Opened {
    /// Gives each line of the tree to `each`.
    async fn lines(&self, each: &mut dyn FnMut(&Line) -> Result<(), Report>, stop: &Stop) -> Result<Gathered, Report> {
        let listing = Listing::read(&self.bucket, &self.spill, stop).await?;
        let state = self.log.state(&self.bucket, &self.spill, stop).await?;
        let mut failed = None;
        let gathered = tokio::task::block_in_place(|| {
            let each = &mut |line: &Line| match each(line) {
                Ok(()) => Ok(()),
                Err(report) => {
                    failed = Some(report);
                    Err(PlainError::Io(std::io::Error::other("what is listed cannot be told")))
                }
            };
            gather::<StateFile>(&self.bucket, Source::Log(Box::new(state)), Some(listing), each, stop)
        });
        match failed {
            Some(report) => Err(report),
            None => Ok(gathered?),
        }
    }
}

/// `ls`.
pub async fn ls(args: &Ls, target: &Target, below: Option<Below>, frame: &Frame) -> Verdict {
    if !matches!(args.at, At::Head) {
        return Err(Refusal::NoPoints.into());
    }
    let opened = open(target, &frame.stop).await?;
    let mut out = stdout();
    let mut found = below.is_none();
    let each = &mut |line: &Line| {
        let wanted = below.as_ref().is_none_or(|below| line.path.is_within(below));
        match entry_of(line).filter(|_| wanted && !out.is_closed()) {
            Some(entry) => {
                found = true;
                print_entry(&mut out, args, &entry)
            }
            None => Ok(()),
        }
    };
    opened.lines(each, &frame.stop).await?;
    out.finish()?;
    match below {
        Some(below) if !found => {
            Err(Report::new(Kind::Usage, format!("the remote holds no '{below}'")).hint("`ls` without a path lists all"))
        }
        _ => Ok(0),
    }
}

/// The entry as a vault would have it; what is gone has none.
fn entry_of(line: &Line) -> Option<Entry> {
    let node = match &line.node {
        Node::File { size, .. } => entry::Node::File { size: *size, hash: ShortId::default(), content: Content::Empty },
        Node::Directory => entry::Node::Directory,
        Node::Symlink(target) => entry::Node::Symlink { target: target.clone() },
        Node::Fifo => entry::Node::Fifo,
        Node::Gone(_) => return None,
    };
    let group = line.group.as_ref().and_then(|group| HEXLOWER.decode(group.as_bytes()).ok()?.try_into().ok());
    let extra = Extra { hard_link: group, xattrs: line.xattrs.clone(), sparse: line.sparse };
    Some(Entry { path: line.path.clone(), attributes: line.attributes, node, extra })
}

/// `snapshots`: the newest state is the only one.
pub async fn snapshots(args: &Snapshots, target: &Target, frame: &Frame) -> Verdict {
    let opened = open(target, &frame.stop).await?;
    let mut out = stdout();
    if let Some(head) = opened.log.head.as_ref().map(|head| &head.header) {
        let time = moment(head.time_ms);
        if args.json {
            let line = serde_json::json!({
                "id": head.seq.to_string(), "time": time, "files": head.files, "dirs": head.dirs, "bytes": head.bytes,
                "pod": head.pod, "flags": ["plain"],
            });
            out.line(line)?;
        } else {
            let size = bytes(head.bytes);
            out.line(format_args!("{}  {time}  {}  {size}  {}", head.seq, count(head.files, "file"), head.pod))?;
        }
    }
    if !args.json {
        out.line("a remote without encryption keeps its newest state only")?;
    }
    out.finish()?;
    Ok(0)
}

/// `check`: the manifest beside the objects; with `--level data` every byte of those whose content is recorded.
pub async fn check(level: CheckLevel, target: &Target, frame: &Frame) -> Verdict {
    let opened = open(target, &frame.stop).await?;
    let mut out = stdout();
    let (mut damaged, mut files, mut read) = (0u64, 0u64, 0u64);
    let mut handle = |line: &Line, out: &mut Out| -> Result<(), Report> {
        let Node::File { size, mark, hash } = &line.node else { return Ok(()) };
        files += 1;
        let (CheckLevel::Data, Some(hash)) = (level, hash) else { return Ok(()) };
        let wrong = wait_blocking(compare(&opened.bucket, line, (*size, mark, hash), &frame.stop))?;
        read += size;
        if let Some(what) = wrong {
            damaged += 1;
            if damaged <= NAMED {
                out.line(format_args!("DAMAGED {}: {what}", line.path))?;
            }
        }
        Ok(())
    };
    let gathered = opened.lines(&mut |line| handle(line, &mut out), &frame.stop).await?;
    out.line(format_args!("{}, {} read", count(files, "file"), bytes(read)))?;
    for (number, what) in [
        (gathered.missing, "in the manifest without an object: deleted by another program"),
        (gathered.edited, "changed by another program since the last push"),
        (gathered.foreign, "of other programs"),
        (gathered.odd.0, "whose keys cannot be read as files"),
        (gathered.shadowed, "that have the name of a folder"),
    ] {
        if number > 0 {
            out.line(format_args!("{} {what}", count(number, "object")))?;
        }
    }
    out.finish()?;
    if damaged + gathered.missing == 0 {
        return Ok(0);
    }
    let place = opened.bucket.describe();
    let message = format!("{place}: {} and {} missing", count(damaged, "damaged object"), gathered.missing);
    Err(Report::new(Kind::Corrupt, message)
        .hint("push again from the volume: it sends what is missing; -f replaces what is damaged"))
}

/// What is wrong with an object, if anything is.
async fn compare(
    bucket: &Bucket,
    line: &Line,
    (size, mark, hash): (u64, &Mark, &ShortId),
    stop: &Stop,
) -> Result<Option<&'static str>, Report> {
    let key = key_of(bucket, &line.path);
    let mut digest = FileDigest::default();
    let mut at = 0;
    while at < size {
        let end = (at + DIGEST_PART_BYTES as u64).min(size);
        let fetched = match bucket.fetch(stop, &key, Some(at..end)).await {
            Ok(fetched) => fetched,
            Err(error) if error.is_not_found() || error.is_outside() => return Ok(Some("it is missing or too short")),
            Err(error) => return Err(error.into()),
        };
        if fetched.mark != *mark {
            return Ok(Some("it was changed while it was read"));
        }
        digest.push(&fetched.bytes);
        at = end;
    }
    Ok((digest.finish() != *hash).then_some("its content is not the one that was pushed"))
}

/// What lies there, in words for `doctor`.
pub async fn describe(bucket: &Bucket, stop: &Stop) -> Result<String, Report> {
    let log = look(bucket, stop).await?;
    let Some(head) = log.head.as_ref().map(|head| &head.header) else {
        let empty = bucket.first(stop, "").await?.is_none();
        let what =
            if empty { "nothing lies there yet" } else { "objects of other programs lie there; a restore takes them as files" };
        return Ok(format!("without encryption, since no key was given; {what}"));
    };
    let (time, files) = (moment(head.time_ms), count(head.files, "file"));
    Ok(format!("without encryption; entry {} of {time} by {}: {files}, {}", head.seq, head.pod, bytes(head.bytes)))
}
