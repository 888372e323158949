//! `check`: verifying the remote.

use super::args::{Check, CheckLevel};
use super::frame::{Frame, print};
use crate::fault::{Kind, Report};
use crate::telemetry::{Progress, bytes, count};
use crate::vault::verify::{Level, verify};

/// Verifies, and lists all damage.
pub async fn check(args: &Check, frame: &Frame) -> Result<u8, Report> {
    let (vault, head) = frame.vault(&args.access, &args.src).await?;
    let level = match args.level {
        CheckLevel::Quick => Level::Quick,
        CheckLevel::Meta => Level::Meta,
        CheckLevel::Data => Level::Data,
    };
    let progress = Progress::start("check", frame.progress);
    let verified = verify(&vault, head, level, &progress, &frame.stop).await;
    progress.finish();
    let findings = verified?;
    for damage in &findings.damage {
        print(&format!("damaged: {damage}"))?;
    }
    let amount =
        format!("{}, {}, {}", count(findings.commits, "commit"), count(findings.objects, "object"), bytes(findings.bytes));
    if findings.damaged > 0 {
        return Err(Report::new(Kind::Corrupt, format!("{} found in {amount}", count(findings.damaged, "defect")))
            .hint("`snapshots` lists restore points; older ones may not need what is damaged"));
    }
    if findings.unreferenced > 0 {
        print(&format!("{} left by interrupted pushes: no commit refers to them", count(findings.unreferenced, "object")))?;
    }
    print(&format!("no damage found on level {}: {amount}", format!("{:?}", args.level).to_lowercase()))?;
    Ok(0)
}
