//! What a survey of either layout counts, the valves that decide by it, and what goes before anything is written.

use super::stale::{Stale, with_it};
use super::survey::Step;
use super::{Restore, RestoreError};
use crate::disk::{Volume, remove};
use crate::plan::Refusal;
use crate::remote::session::Local;
use crate::runtime::limits;
use crate::tree::{FileType, Found, RelPath};

/// What a survey found, beside its steps.
#[derive(Debug, Default)]
pub struct Findings {
    /// Local entries in all.
    pub local: u64,
    /// Entries kept or adjusted.
    pub kept: u64,
    /// Entries to place.
    pub place: u64,
    /// Bytes to write.
    pub bytes: u64,
    /// Bytes on disk that placing takes, as far as is known.
    needed: u64,
    /// Bytes on disk of what goes before anything is written, or before it is written again.
    freed: u64,
    /// Local entries to remove, parents before children.
    extra: Vec<(RelPath, FileType)>,
    /// Unfinished files of a killed restore.
    pub leftovers: Vec<RelPath>,
    /// Logs of databases that are replaced.
    pub stale: Stale,
}

/// What placing an entry costs; a file's second name costs nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Bytes to write.
    pub bytes: u64,
    /// Bytes on disk: holes take none.
    pub needed: u64,
}

impl Findings {
    /// A step was decided; what it `replaces` goes before it is written.
    pub fn count(&mut self, step: Step, cost: Cost, replaces: Option<&Found>) {
        match step {
            Step::Place => {
                self.place += 1;
                self.bytes += cost.bytes;
                self.needed += cost.needed;
                self.freed += replaces.map_or(0, |found| found.allocated);
            }
            Step::Adjust | Step::Keep => self.kept += 1,
        }
    }

    /// A local entry is not wanted, and is removed; a database with what belongs to it.
    pub fn remove(&mut self, volume: &Volume, found: Found) {
        let with_it = with_it(volume, &found);
        for found in std::iter::once(found).chain(with_it) {
            self.freed += found.allocated;
            self.extra.push((found.path, found.file_type));
        }
    }

    /// Entries that are removed.
    pub fn removed(&self) -> u64 {
        self.extra.len() as u64
    }

    /// Refuses what does not fit, and what removes too much.
    pub fn check(&self, request: &Restore, local: &Local) -> Result<(), RestoreError> {
        let mut available = local.volume.space()?.available_bytes + self.freed;
        for leftover in &self.leftovers {
            available += local.volume.look(leftover)?.map_or(0, |found| found.allocated);
        }
        if self.needed > available {
            let path = local.volume.path().display().to_string();
            return Err(RestoreError::NoSpace { path, needed: self.needed, available });
        }
        let fuse = limits::FUSE_FILES.max(self.local * limits::FUSE_PERCENT / 100);
        if self.removed() > fuse && !request.force {
            return Err(Refusal::MassDelete { count: self.removed(), of: self.local }.into());
        }
        Ok(())
    }

    /// Removes what is not wanted, children before parents, and the unfinished files of a killed restore. Tells how many
    /// unwanted entries went.
    pub fn clear_way(&self, local: &Local) -> Result<u64, RestoreError> {
        for leftover in &self.leftovers {
            remove(&local.volume, leftover, FileType::File)?;
        }
        let mut removed = 0;
        for path in &self.stale.paths {
            removed += u64::from(remove(&local.volume, path, FileType::File)?);
        }
        for (path, file_type) in self.extra.iter().rev() {
            removed += u64::from(remove(&local.volume, path, *file_type)?);
        }
        Ok(removed)
    }
}
