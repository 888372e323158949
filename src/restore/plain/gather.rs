//! The wanted tree, written into the state directory.

use super::super::{Restore, RestoreError};
use super::From;
use crate::disk::StateFile;
use crate::plain::listing::{Listed, Listing};
use crate::plain::manifest::{Header, LineReader, LineWriter};
use crate::plain::wanted::{self, Gathered, Source};
use crate::rclone_crypt::RcloneCrypt;
use crate::remote::plain::PlainMemory;
use crate::remote::session::Local;
use crate::runtime::{Stop, compute};
use crate::store::{Bucket, Object};
use std::path::Path;

const WANTED: &str = "wanted";

/// Gathers the wanted tree.
pub async fn gather(
    request: &Restore,
    from: &From,
    memory: &PlainMemory,
    local: &Local,
    stop: &Stop,
) -> Result<Gathered, RestoreError> {
    let log = &from.log;
    let listing = match (&from.crypt, request.trust_manifest && log.head.is_some()) {
        (Some(crypt), _) => Some(sealed(&from.bucket, crypt, &local.spill(), stop).await?),
        (None, true) => None,
        (None, false) => Some(Listing::read(&from.bucket, &local.spill(), stop).await?),
    };
    let index = if memory.is_current(log) { memory.index()? } else { None };
    let source = match index {
        Some(index) => Source::Index(Box::new(index)),
        None => Source::Log(Box::new(log.state(&from.bucket, &local.spill(), stop).await?)),
    };
    let mut writer = LineWriter::local(memory.scratch(WANTED)?, &Header::new(log.seq(), log.id(), &request.pod))?;
    let (bucket, stop) = (from.bucket.clone(), stop.clone());
    compute("gather the wanted tree", move || {
        let gathered = wanted::gather(&bucket, source, listing, &mut |line| writer.push(line), &stop)?;
        writer.finish_local()?;
        Ok(gathered)
    })
    .await
}

/// Lists what rclone crypt wrote, under the names that it encrypted.
async fn sealed(bucket: &Bucket, crypt: &RcloneCrypt, spill: &Path, stop: &Stop) -> Result<Listing, RestoreError> {
    let named = &mut |object: &Object| {
        let is_folder = object.key.ends_with('/');
        let path = if is_folder { crypt.directory(&object.key) } else { crypt.path(&object.key) };
        Some(Listed {
            path: path.ok()?,
            is_folder,
            key: Some(object.key.clone()),
            size: if is_folder { 0 } else { crypt.plain_size(object.size).ok()? },
            mark: object.mark.clone(),
            modified: object.modified,
        })
    };
    let listing = Listing::read_as(bucket, spill, named, stop).await?;
    match (listing.objects, listing.odd.0) {
        (0, 1..) => Err(RestoreError::NotOfCrypt { place: bucket.describe() }),
        _ => Ok(listing),
    }
}

/// The tree that [`gather`] wrote.
pub fn wanted(memory: &PlainMemory) -> Result<LineReader<StateFile>, RestoreError> {
    Ok(memory.reread(WANTED, "the wanted tree")?)
}
