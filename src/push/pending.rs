//! What waits for a push, judged by the volume alone: no index and no remote are needed to tell what would be lost.

use super::{Push, PushError};
use crate::disk::{Scan, ScanOptions};
use crate::runtime::{Stop, compute};
use crate::tree::{Dirty, FileType, Regions};

/// What may be lost if no further push succeeds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pending {
    /// Files.
    pub files: u64,
    /// Their bytes, all of them: how much of a file has changed is not known before it is read.
    pub bytes: u64,
}

/// Counts the files among what may have changed whose change time is `since_ms` (since 1970) or later.
pub async fn pending(request: &Push<'_>, dirty: &Dirty, since_ms: u64, stop: &Stop) -> Result<Pending, PushError> {
    let options = ScanOptions { watch: None, ..request.scan_options() };
    let volume = &request.local.volume;
    let scan = match dirty.paths() {
        Some(paths) => Scan::start_parts(volume, options, &Regions::new(paths.clone()))?,
        None => Scan::start(volume, options)?,
    };
    let stop = stop.clone();
    compute("count what waits", move || count(scan, since_ms, &stop)).await
}

fn count(scan: Scan, since_ms: u64, stop: &Stop) -> Result<Pending, PushError> {
    let since = i64::try_from(since_ms).unwrap_or(i64::MAX);
    let mut pending = Pending::default();
    for found in scan {
        stop.check()?;
        let found = found?;
        if found.file_type == FileType::File && found.identity.changed().millis() >= since {
            pending.files += 1;
            pending.bytes = pending.bytes.saturating_add(found.size);
        }
    }
    Ok(pending)
}
