//! The wanted tree, written into the state directory.

use super::super::{Restore, RestoreError};
use super::header;
use crate::disk::StateFile;
use crate::plain::error::PlainError;
use crate::plain::listing::Listing;
use crate::plain::log::Log;
use crate::plain::manifest::{LineReader, LineWriter};
use crate::plain::wanted::{self, Gathered, Source};
use crate::remote::plain::{PlainMemory, PlainReceipt};
use crate::remote::session::Local;
use crate::runtime::{Stop, compute};
use std::io::BufWriter;

const WANTED: &str = "wanted";

/// Gathers the wanted tree.
pub async fn gather(
    request: &Restore,
    log: &Log,
    memory: &PlainMemory,
    local: &Local,
    stop: &Stop,
) -> Result<Gathered, RestoreError> {
    let listing = match request.trust_manifest && log.head.is_some() {
        true => None,
        false => Some(Listing::read(&request.bucket, &local.spill(), stop).await?),
    };
    let index = if memory.is_current(log) { memory.index()? } else { None };
    let source = match index {
        Some(index) => Source::Index(Box::new(index)),
        None => Source::Log(Box::new(log.state(&request.bucket, &local.spill(), stop).await?)),
    };
    let header = header(&PlainReceipt { seq: log.seq(), id: log.id().to_owned(), ..PlainReceipt::default() });
    let mut writer = LineWriter::start(BufWriter::new(memory.scratch(WANTED)?), &header, true)?;
    let (bucket, stop) = (request.bucket.clone(), stop.clone());
    compute("gather the wanted tree", move || {
        let gathered = wanted::gather(&bucket, source, listing, &mut |line| writer.push(line), &stop)?;
        writer.finish()?.into_inner().map_err(|error| PlainError::Io(error.into_error()))?;
        Ok(gathered)
    })
    .await
}

/// The tree that [`gather`] wrote.
pub fn wanted(memory: &PlainMemory) -> Result<LineReader<StateFile>, RestoreError> {
    let file = memory.reread(WANTED)?.ok_or_else(|| PlainError::Io(std::io::Error::other("the wanted tree is missing")))?;
    Ok(LineReader::open(file, "the wanted tree")?)
}
