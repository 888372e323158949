//! `check`: verifies a vault and lists all damage.

use super::Verdict;
use super::args::{Check, CheckLevel};
use super::frame::Frame;
use super::out::{Out, stdout};
use crate::fault::{Kind, Report};
use crate::telemetry::{Progress, bytes, count};
use crate::vault::verify::{Findings, Level, verify};

/// Verifies a vault.
pub async fn run(args: &Check, frame: &Frame) -> Verdict {
    let target = frame.target(&args.source.access, &args.source.src)?;
    if target.unlocker.is_none() {
        return super::plain::check(args.level, &target, frame).await;
    }
    let vault = frame.vault_only(&target).await?;
    let level = match args.level {
        CheckLevel::Quick => Level::Quick,
        CheckLevel::Meta => Level::Meta,
        CheckLevel::Data => Level::Data,
    };
    let progress = Progress::start("check", frame.progress);
    let found = verify(&vault, level, &progress, &frame.stop).await;
    progress.finish();
    let found = found?;
    let mut out = stdout();
    tell(&mut out, &found, level)?;
    out.finish()?;
    if found.damaged == 0 {
        return Ok(0);
    }
    let message = format!("the vault at {} is damaged: {}", vault.bucket.describe(), count(found.damaged, "finding"));
    Err(Report::new(Kind::Corrupt, message).hint(way_out(&found, level)))
}

fn tell(out: &mut Out, found: &Findings, level: Level) -> Result<(), Report> {
    for damage in &found.damage {
        out.line(format_args!("DAMAGED {}: {}", damage.object, damage.what))?;
    }
    and_more(out, found.damaged, found.damage.len())?;
    for path in &found.lost {
        out.line(format_args!("LOST {path}"))?;
    }
    and_more(out, found.lost_total, found.lost.len())?;
    let size = bytes(found.bytes);
    out.line(format_args!("{} and {} in all, {size}", count(found.commits, "commit"), count(found.objects, "object")))?;
    if found.head > 0 {
        let state = &found.state;
        let files = count(state.files, "file");
        out.line(format_args!("newest: commit {}, {files}, {} directories, {}", found.head, state.dirs, bytes(state.bytes)))?;
    }
    if found.unreferenced > 0 {
        out.line(format_args!("{} left by interrupted pushes, harmless", count(found.unreferenced, "object")))?;
    }
    if found.foreign > 0 {
        out.line(format_args!("{} that are not the vault's, and do no harm", count(found.foreign, "name")))?;
    }
    let looked = match level {
        Level::Quick => "that the newest state can be opened and that its objects are there",
        Level::Meta => "every record of every commit, and what they add up to",
        Level::Data => "every record, and every byte of every object",
    };
    match found.damaged {
        0 => out.line(format_args!("sound; checked: {looked}")),
        _ => out.line(format_args!("checked: {looked}")),
    }
}

fn and_more(out: &mut Out, all: u64, named: usize) -> Result<(), Report> {
    match all.saturating_sub(named as u64) {
        0 => Ok(()),
        more => out.line(format_args!("… and {more} more")),
    }
}

fn way_out(found: &Findings, level: Level) -> &'static str {
    if level >= Level::Meta && found.lost_total == 0 {
        "nothing was changed, and the newest state needs none of the damaged contents; bring the named objects back from a \
         version or a copy of the bucket, if older states matter"
    } else {
        "nothing was changed; bring the named objects back from a version or a copy of the bucket; what a volume still has can \
         be pushed to a new remote path"
    }
}
