//! Reading frames of an object with few requests.

use super::container::{HEADER_BYTES, Opened};
use super::entry::FrameRef;
use super::error::VaultError;
use super::object::ObjectId;
use super::open::Vault;
use crate::runtime::{Stop, limits};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// Ranges that cover frames in ascending order, each with the number of frames in it: near ones together, the header
/// with the first if it is near, none too long.
pub fn coalesce(frames: impl IntoIterator<Item = FrameRef>) -> Vec<(Range<u64>, usize)> {
    let mut ranges: Vec<(Range<u64>, usize)> = Vec::new();
    for frame in frames {
        let (start, end) = (frame.offset, frame.offset + u64::from(frame.length));
        match ranges.last_mut() {
            Some((range, count))
                if start <= range.end + limits::FETCH_GAP_BYTES
                    && end - range.start <= limits::FETCH_RANGE_BYTES + limits::FETCH_GAP_BYTES =>
            {
                range.end = range.end.max(end);
                *count += 1;
            }
            _ => {
                let near = ranges.is_empty() && start <= limits::FETCH_GAP_BYTES.max(HEADER_BYTES as u64);
                ranges.push((if near { 0..end } else { start..end }, 1));
            }
        }
    }
    ranges
}

/// Reads ranges of one object; its header is checked with the first.
#[derive(Debug)]
pub struct RangeReader {
    vault: Vault,
    object: ObjectId,
    opened: Option<Arc<Opened>>,
}

impl RangeReader {
    /// Of an object that the tree refers to.
    pub fn new(vault: Vault, object: ObjectId) -> RangeReader {
        RangeReader { vault, object, opened: None }
    }

    /// The bytes of a range, and what opens the frames in it.
    pub async fn read(&mut self, range: Range<u64>, stop: &Stop) -> Result<(Arc<Opened>, Bytes), VaultError> {
        const REFERRER: &str = "the tree";
        let start = range.start;
        let bytes = match self.vault.bucket.get(stop, &self.object.key(), Some(range)).await {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => {
                return Err(VaultError::Missing { object: self.object.key(), referrer: REFERRER.into() });
            }
            Err(error) => return Err(error.into()),
        };
        let opened = match (&self.opened, start) {
            (Some(opened), _) => Arc::clone(opened),
            (None, 0) => {
                let opened = Opened::parse(self.vault.identity(), self.object, &bytes);
                Arc::new(opened.map_err(|what| VaultError::corrupt(self.object, what))?)
            }
            (None, _) => Arc::new(self.vault.header(self.object, REFERRER, stop).await?),
        };
        self.opened = Some(Arc::clone(&opened));
        Ok((opened, bytes))
    }
}
