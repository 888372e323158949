//! `ls`: the entries of a restore point, as they are read.

use super::Verdict;
use super::args::Ls;
use super::frame::Frame;
use super::out::{Out, stdout};
use super::sync::wanted;
use crate::fault::{Kind, Report};
use crate::telemetry::moment;
use crate::tree::{FileType, RelPath, Shown, Timestamp};
use crate::vault::entry::{Entry, Node};
use crate::vault::point::resolve;
use data_encoding::HEXLOWER;
use serde::Serialize;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A path inside the volume.
pub type Below = RelPath;

/// Lists a restore point.
pub async fn print(args: &Ls, frame: &Frame) -> Verdict {
    let below = args.path.as_deref().map(below).transpose()?.flatten();
    let target = frame.target(&args.source.access, &args.source.src)?;
    if target.unlocker.is_none() {
        return super::plain::ls(args, &target, below, frame).await;
    }
    let (vault, head) = frame.vault(&target).await?;
    let point = resolve(&vault, &wanted(&args.at), head, &frame.stop).await?;
    let name = point.name();
    let mut tree = point.tree(&vault, &frame.stop).await?;
    let mut out = stdout();
    let mut found = false;
    while let Some(entry) = tree.next().await? {
        if below.as_ref().is_some_and(|below| !entry.path.is_within(below)) {
            // All below one path lies together.
            if found {
                break;
            }
            continue;
        }
        found = true;
        print_entry(&mut out, args, &entry)?;
        if out.is_closed() {
            break;
        }
    }
    out.finish()?;
    match below {
        Some(below) if !found => {
            Err(Report::new(Kind::Usage, format!("restore point {name} holds no '{below}'"))
                .hint("`ls` without a path lists all"))
        }
        _ => Ok(0),
    }
}

/// The path inside the volume; none for the volume itself.
fn below(path: &Path) -> Result<Option<RelPath>, Report> {
    let mut bytes = path.as_os_str().as_bytes();
    while let Some(rest) = bytes.strip_prefix(b"/").or_else(|| bytes.strip_prefix(b"./")) {
        bytes = rest;
    }
    while let Some(rest) = bytes.strip_suffix(b"/") {
        bytes = rest;
    }
    if bytes.is_empty() || bytes == b"." {
        return Ok(None);
    }
    RelPath::new(bytes).map(Some).map_err(|error| {
        Report::new(Kind::Usage, format!("'{}' is no path inside a volume: {error}", Shown(bytes)))
            .hint("name it from the volume's root, as `ls` prints it")
    })
}

/// Prints one entry, as the arguments want it.
pub fn print_entry(out: &mut Out, args: &Ls, entry: &Entry) -> Result<(), Report> {
    if args.json {
        let text = serde_json::to_string(&Line::of(entry)).map_err(|error| Report::new(Kind::Bug, error.to_string()))?;
        return out.line(text);
    }
    if !args.long {
        return out.line(&entry.path);
    }
    let at = &entry.attributes;
    let mode = mode(entry.node.file_type(), at.mode);
    let time = stamp(&at.mtime);
    let owner = format!("{}:{}", at.uid, at.gid);
    let size = entry.node.size();
    match &entry.node {
        Node::Symlink { target } => {
            out.line(format_args!("{mode} {owner:>11} {size:>12} {time} {} -> {}", entry.path, Shown(target)))
        }
        _ => out.line(format_args!("{mode} {owner:>11} {size:>12} {time} {}", entry.path)),
    }
}

/// Before 1970 in seconds; the calendar of the log begins there.
fn stamp(time: &Timestamp) -> String {
    match u64::try_from(time.seconds) {
        Ok(seconds) => moment(seconds.saturating_mul(1000)),
        Err(_) => format!("@{}", time.seconds),
    }
}

/// `drwxr-xr-x`, as ls shows it.
fn mode(file_type: FileType, mode: u32) -> String {
    let mut text = String::with_capacity(10);
    text.push(match file_type {
        FileType::File => '-',
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        FileType::Device => 'c',
    });
    for (shift, special, with, without) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => with,
            (false, true) => without,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// One entry as JSON.
#[derive(Debug, Serialize)]
struct Line {
    /// As text; bytes that are none are replaced.
    path: String,
    /// The path's bytes, when they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    r#type: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: i64,
    mtime_ns: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// Names of one file have the same group.
    #[serde(skip_serializing_if = "Option::is_none")]
    hard_link: Option<String>,
}

impl Line {
    fn of(entry: &Entry) -> Line {
        let bytes = entry.path.as_bytes();
        let target = match &entry.node {
            Node::Symlink { target } => Some(String::from_utf8_lossy(target).into_owned()),
            _ => None,
        };
        Line {
            path: String::from_utf8_lossy(bytes).into_owned(),
            path_hex: std::str::from_utf8(bytes).is_err().then(|| HEXLOWER.encode(bytes)),
            r#type: match entry.node.file_type() {
                FileType::File => "file",
                FileType::Directory => "directory",
                FileType::Symlink => "symlink",
                FileType::Fifo => "fifo",
                FileType::Socket => "socket",
                FileType::Device => "device",
            },
            mode: format!("{:04o}", entry.attributes.mode),
            uid: entry.attributes.uid,
            gid: entry.attributes.gid,
            size: entry.node.size(),
            mtime: entry.attributes.mtime.seconds,
            mtime_ns: entry.attributes.mtime.nanos,
            target,
            hard_link: entry.extra.hard_link.map(|group| HEXLOWER.encode(&group)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{below, mode};
    use crate::tree::FileType;
    use std::path::Path;

    #[test]
    fn a_path_may_be_written_in_every_usual_way() {
        for (given, meant) in
            [("a/b", Some("a/b")), ("/a/b/", Some("a/b")), ("./a", Some("a")), ("/", None), (".", None), ("", None)]
        {
            let path = below(Path::new(given)).unwrap();
            assert_eq!(path.map(|path| path.to_string()).as_deref(), meant, "{given}");
        }
        assert!(below(Path::new("a/../b")).unwrap_err().message.contains("is no path inside a volume"));
    }

    #[test]
    fn modes_are_shown_as_ls_shows_them() {
        for (file_type, bits, text) in [
            (FileType::Directory, 0o755, "drwxr-xr-x"),
            (FileType::File, 0o4755, "-rwsr-xr-x"),
            (FileType::File, 0o2640, "-rw-r-S---"),
            (FileType::Directory, 0o1777, "drwxrwxrwt"),
            (FileType::Fifo, 0o1600, "prw------T"),
        ] {
            assert_eq!(mode(file_type, bits), text);
        }
    }
}
