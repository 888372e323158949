//! `snapshots` and `ls`: looking, without changing anything anywhere.

use super::args::{Ls, Snapshots};
use super::frame::{Frame, print};
use super::sync::wanted;
use crate::fault::{Kind, Report};
use crate::telemetry::bytes;
use crate::tree::RelPath;
use crate::vault::directory::Flags;
use crate::vault::entry::{Entry, Node};
use crate::vault::log::Point;
use crate::vault::tree::TreeReader;
use serde_json::json;

/// Lists the restore points: the commits that changed something.
pub async fn snapshots(args: &Snapshots, frame: &Frame) -> Result<u8, Report> {
    let (vault, _) = frame.vault(&args.access, &args.src).await?;
    let points = vault.history(&frame.stop).await?;
    let points: Vec<&Point> =
        points.iter().filter(|point| !point.directory.meta.is_empty() || !point.directory.parts.is_empty()).collect();
    if args.json {
        let list: Vec<serde_json::Value> = points.iter().map(|point| as_json(point)).collect();
        print(&serde_json::to_string_pretty(&list).map_err(|error| Report::new(Kind::Bug, error.to_string()))?)?;
        return Ok(0);
    }
    print(&format!("{:>8}  {:<20}  {:>10}  {:>10}  WRITER", "ID", "TIME (UTC)", "ENTRIES", "SIZE"))?;
    for point in points {
        let directory = &point.directory;
        let state = directory.state;
        let (entries, size) = (state.files + state.dirs, bytes(state.bytes));
        print(&format!(
            "{:>8}  {:<20}  {entries:>10}  {size:>10}  {}",
            point.seq,
            time(directory.time_ms),
            printable(&directory.labels.pod)
        ))?;
    }
    Ok(0)
}

fn as_json(point: &Point) -> serde_json::Value {
    let directory = &point.directory;
    let flag = |flag: Flags, name: &'static str| directory.flags.has(flag).then_some(name);
    let flags: Vec<&str> = [flag(Flags::CLAIM, "claim"), flag(Flags::RELEASE, "release"), flag(Flags::REVERT, "revert")]
        .into_iter()
        .flatten()
        .collect();
    json!({
        "id": point.seq,
        "time": time(directory.time_ms),
        "files": directory.state.files,
        "dirs": directory.state.dirs,
        "bytes": directory.state.bytes,
        "pod": directory.labels.pod,
        "epoch": directory.epoch,
        "flags": flags,
    })
}

fn time(ms: u64) -> String {
    let stamp = i64::try_from(ms / 1000).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    stamp.map_or_else(|| "?".to_string(), |stamp| stamp.to_string())
}

/// Names from the store cannot forge terminal output.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Lists a restore point's entries.
pub async fn ls(args: &Ls, frame: &Frame) -> Result<u8, Report> {
    let below = args.path.as_deref().map(|path| path.trim_matches('/')).filter(|path| !path.is_empty() && *path != ".");
    let below = below.map(RelPath::new).transpose().map_err(|error| Report::new(Kind::Usage, format!("PATH: {error}")))?;
    let (vault, head) = frame.vault(&args.access, &args.src).await?;
    let Some(head) = head else { return Ok(0) };
    let commit = vault.resolve(&wanted(&args.at), &head, &frame.stop).await?.unwrap_or(head);
    let view = vault.view(commit, &frame.stop).await?;
    let mut tree = TreeReader::new(&vault, view, None, &frame.stop);
    let mut shown = 0u64;
    while let Some(entry) = tree.next().await? {
        if below.as_ref().is_none_or(|below| entry.path.is_within(below)) {
            shown += 1;
            print(&line(&entry, args))?;
        }
    }
    match below {
        Some(below) if shown == 0 => Err(Report::new(Kind::Usage, format!("nothing lies at '{below}' in this restore point"))),
        _ => Ok(0),
    }
}

fn line(entry: &Entry, args: &Ls) -> String {
    let (kind, target) = match &entry.node {
        Node::File { .. } => ('-', None),
        Node::Directory => ('d', None),
        Node::Symlink { target } => ('l', Some(printable(&String::from_utf8_lossy(target)))),
        Node::Fifo => ('p', None),
    };
    let attributes = &entry.attributes;
    if args.json {
        let mode = format!("{:04o}", attributes.mode);
        let mtime = attributes.mtime.seconds;
        let value = json!({
            "path": entry.path.to_string(), "type": kind.to_string(), "mode": mode, "uid": attributes.uid, "gid": attributes.gid,
            "size": entry.node.size(), "mtime": mtime, "target": target,
        });
        return value.to_string();
    }
    let arrow = target.map_or_else(String::new, |target| format!(" -> {target}"));
    if args.long {
        let stamp =
            jiff::Timestamp::from_second(attributes.mtime.seconds).map_or_else(|_| "?".to_string(), |stamp| stamp.to_string());
        format!(
            "{kind}{:04o} {:>6} {:>6} {:>12} {stamp} {}{arrow}",
            attributes.mode,
            attributes.uid,
            attributes.gid,
            entry.node.size(),
            entry.path
        )
    } else {
        entry.path.to_string()
    }
}
