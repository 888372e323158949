//! What SQLite left beside databases that a restore replaces. With the restored database it would be taken for its log,
//! and destroy it: it goes before anything is placed, also where nothing else is removed.

use crate::disk::{Volume, companions, is_log};
use crate::tree::{FileType, Found, RelPath};

/// Paths that have to go, gathered in path order.
#[derive(Debug, Default)]
pub struct Stale {
    /// To be removed.
    pub paths: Vec<RelPath>,
    /// Files that are placed, each name the beginning of the next.
    placed: Vec<RelPath>,
}

impl Stale {
    /// A file gets another content, or may get one.
    pub fn replace(&mut self, path: &RelPath, found: Option<&Found>) {
        if found.is_some_and(|found| found.identity.log.is_some()) {
            self.paths.extend(companions(path));
        }
        self.placed.retain(|placed| path.as_bytes().starts_with(placed.as_bytes()));
        self.placed.push(path.clone());
    }

    /// Takes a local entry that is not wanted, if it is a log beside a file that is placed.
    pub fn takes(&mut self, volume: &Volume, here: &Found) -> bool {
        let beside = |placed: &RelPath| companions(placed).any(|companion| companion == here.path);
        let stale = here.file_type == FileType::File && self.placed.iter().any(beside) && is_log(volume, &here.path);
        if stale {
            self.paths.push(here.path.clone());
        }
        stale
    }
}

/// What belongs to a local database that is not wanted: it goes with the database.
pub fn with_it(volume: &Volume, database: &Found) -> Vec<Found> {
    if database.identity.log.is_none() {
        return Vec::new();
    }
    // One that cannot be looked at stays; then so does its directory.
    companions(&database.path).filter_map(|path| volume.look(&path).ok().flatten()).collect()
}
