//! How much of the volume a pass looks at: all of it, or what may have changed.

use super::pipeline::Packed;
use super::{Push, PushError};
use crate::disk::{Scan, ScanOptions, Volume};
use crate::remote::{
    LocalIndex,
    session::{Memory, SessionError},
};
use crate::runtime::limits;
use crate::tree::{Dirty, FileType, Regions, RelPath};
use crate::vault::entry::Node;
use crate::vault::index::Indexed;
use crate::vault::overlay::is_large;
use std::collections::BTreeMap;

/// What a pass looks at.
#[derive(Debug)]
pub struct Extent {
    /// The commit whose tree the local index has; 0 for none.
    pub tree_seq: u64,
    /// The parts; `None` for everything.
    parts: Option<Regions>,
}

/// Decides what a pass looks at, by what may have changed.
pub fn extent(request: &Push<'_>, memory: &Memory, tree_seq: u64, dirty: &Dirty) -> Result<Extent, PushError> {
    let parts = match (dirty.paths(), request.capture.reread) {
        (Some(paths), false) if tree_seq > 0 => parts_of(request, memory, tree_seq, paths)?,
        _ => None,
    };
    Ok(Extent { tree_seq, parts })
}

/// The parts of the volume that hold these paths. A part begins where directory and index agree on what is above it: below
/// something that was no directory, or is none any more, everything counts as changed. `None` when a walk of everything
/// is needed, or better: the names of a file with several must be found, or the directories above are too many.
fn parts_of(
    request: &Push<'_>,
    memory: &Memory,
    tree_seq: u64,
    paths: &BTreeMap<RelPath, bool>,
) -> Result<Option<Regions>, PushError> {
    let Some(mut index) = memory.index_parts(tree_seq, std::iter::empty())? else { return Ok(None) };
    let Some(asked) = with_directories(paths) else { return Ok(None) };
    let mut parts = BTreeMap::new();
    let mut over: Option<RelPath> = None;
    for (path, marked) in asked {
        if over.as_ref().is_some_and(|over| path.is_within(over)) {
            continue;
        }
        let known = index.get(&path)?;
        let was_directory = known.as_ref().is_some_and(|known| known.entry.node == Node::Directory);
        let below = match marked {
            Some(marked) => {
                let here = request.local.volume.look(&path)?;
                let several = here.as_ref().is_some_and(|here| here.file_type == FileType::File && here.identity.links > 1);
                if several || known.as_ref().is_some_and(has_several_names) {
                    return Ok(None);
                }
                let is_directory = here.is_some_and(|here| here.file_type == FileType::Directory);
                marked || is_directory != was_directory
            }
            // What the filter leaves out is not in the index.
            None if was_directory || known.is_none() && !request.capture.filter.admits(&path) => continue,
            None => true,
        };
        if below {
            over = Some(path.clone());
        }
        parts.insert(path, below);
    }
    Ok(Some(Regions::new(parts)))
}

/// The paths and each directory above one, which has no mark of its own; `None` when they would take too much memory.
fn with_directories(paths: &BTreeMap<RelPath, bool>) -> Option<BTreeMap<RelPath, Option<bool>>> {
    let mut asked: BTreeMap<RelPath, Option<bool>> = BTreeMap::new();
    let mut bytes = 0;
    for (path, below) in paths {
        let mut above = path.parent();
        // Where a directory is known, so are those above it.
        while let Some(directory) = above.filter(|directory| !asked.contains_key(directory)) {
            bytes += size_of::<RelPath>() + directory.as_bytes().len();
            if bytes > limits::DIRTY_BYTES {
                return None;
            }
            above = directory.parent();
            asked.insert(directory, None);
        }
        asked.insert(path.clone(), Some(*below));
    }
    Some(asked)
}

fn has_several_names(known: &Indexed) -> bool {
    known.entry.extra.hard_link.is_some()
}

impl Extent {
    /// Begins the walk.
    pub fn scan(&self, volume: &Volume, options: ScanOptions) -> Result<Scan, PushError> {
        Ok(match &self.parts {
            Some(parts) => Scan::start_parts(volume, options, parts)?,
            None => Scan::start(volume, options)?,
        })
    }

    /// What the index has where the walk goes.
    pub fn known(&self, memory: &Memory) -> Result<Option<LocalIndex>, SessionError> {
        match &self.parts {
            Some(parts) => memory.index_parts(self.tree_seq, parts.iter().cloned()),
            None => self.known_whole(memory),
        }
    }

    /// All that the index has.
    pub fn known_whole(&self, memory: &Memory) -> Result<Option<LocalIndex>, SessionError> {
        if self.tree_seq == 0 { Ok(None) } else { memory.index(self.tree_seq) }
    }

    /// Whether the changes go beside the index, which saves writing it anew. One path that was heard may be a folder of
    /// any size that was moved in: what was captured there decides.
    pub fn goes_beside(&self, memory: &Memory, packed: &Packed) -> bool {
        let beside = memory.overlay(self.tree_seq).map_or((0, 0), |overlay| (overlay.changes.len() as u64, overlay.stored_len));
        let sizes = [beside, (packed.changes, packed.change_bytes)];
        self.parts.is_some() && sizes.into_iter().all(|(entries, bytes)| !is_large(entries, bytes))
    }
}
