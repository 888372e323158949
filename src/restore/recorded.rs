//! What the local index says, beside what is there: the same questions for both layouts.

use super::RestoreError;
use crate::disk::{Scan, StateFile};
use crate::plain::line::Line;
use crate::plain::manifest::LineReader;
use crate::plan::{Known, Side, Verdict, judge, side};
use crate::remote::LocalIndex;
use crate::runtime::{Stop, compute};
use crate::tree::{FileType, Found, Identity, RelPath};
use crate::vault::index::Indexed;

/// A line of an index.
pub trait Recorded {
    /// Where.
    fn path(&self) -> &RelPath;
    /// What was there when it was written; `None` for the trace of something that is no more.
    fn known(&self) -> Option<Known<'_>>;
}

impl Recorded for Indexed {
    fn path(&self) -> &RelPath {
        &self.entry.path
    }

    fn known(&self) -> Option<Known<'_>> {
        let node = &self.entry.node;
        Some(Known {
            file_type: node.file_type(),
            attributes: &self.entry.attributes,
            size: node.size(),
            stamp: self.stamp.map(|stamp| (stamp.ctime, stamp.inode)),
        })
    }
}

impl Recorded for Line {
    fn path(&self) -> &RelPath {
        &self.path
    }

    fn known(&self) -> Option<Known<'_>> {
        let file_type = self.file_type()?;
        Some(Known { file_type, attributes: &self.attributes, size: self.size(), stamp: self.stamp })
    }
}

/// An index of what the volume held; paths ascend.
pub trait Index {
    /// A line of it.
    type Line: Recorded;
    /// The next line.
    fn next_line(&mut self) -> Result<Option<Self::Line>, RestoreError>;
}

impl Index for LocalIndex {
    type Line = Indexed;

    fn next_line(&mut self) -> Result<Option<Indexed>, RestoreError> {
        Ok(self.next()?)
    }
}

impl Index for LineReader<StateFile> {
    type Line = Line;

    fn next_line(&mut self) -> Result<Option<Line>, RestoreError> {
        Ok(self.next()?)
    }
}

/// An index read beside ascending paths; perhaps there is none.
pub struct OldIndex<I: Index> {
    index: Option<I>,
    /// The line read last.
    line: Option<I::Line>,
}

impl<I: Index> OldIndex<I> {
    /// Before its first line.
    pub fn new(index: Option<I>) -> OldIndex<I> {
        OldIndex { index, line: None }
    }

    /// What it says of a path. Paths ascend from call to call.
    pub fn at(&mut self, path: &RelPath) -> Result<Option<&I::Line>, RestoreError> {
        while self.index.is_some() && self.line.as_ref().is_none_or(|line| line.path() < path) {
            self.line = self.next()?;
        }
        Ok(self.line.as_ref().filter(|line| line.path() == path))
    }

    /// The next line of something that is there.
    fn next(&mut self) -> Result<Option<I::Line>, RestoreError> {
        while let Some(index) = &mut self.index {
            match index.next_line()? {
                Some(line) if line.known().is_none() => {}
                Some(line) => return Ok(Some(line)),
                None => self.index = None,
            }
        }
        Ok(None)
    }
}

/// The next local entry; `None` at the end, and where nothing is walked.
pub fn next_found(scan: &mut Option<Scan>) -> Result<Option<Found>, RestoreError> {
    Ok(scan.as_mut().and_then(Iterator::next).transpose()?)
}

/// Whether a local entry is what the index says.
pub fn is_as_recorded(found: &Found, before: &impl Recorded) -> bool {
    before.known().is_some_and(|known| {
        // Where no local file was compared yet, size, times, mode and owner must do.
        // What the log of a database holds, only a look can tell.
        let stamp = known.stamp.or(Some(Identity { log: None, ..found.identity }.stamp()));
        judge(found, &Known { stamp, ..known }) == Verdict::Unchanged
    })
}

/// Whether a local entry came from the remote and nobody has changed it since. A directory's times move with its content,
/// and one that holds anything else is not removed.
pub fn was_ours(found: &Found, before: &impl Recorded) -> bool {
    let was_directory = before.known().is_some_and(|known| known.file_type == FileType::Directory);
    (found.file_type == FileType::Directory && was_directory) || is_as_recorded(found, before)
}

/// Counts local entries that differ from what the index says: changes that were never pushed.
pub async fn count_local_changes<I>(scan: Scan, index: Option<I>, stop: &Stop) -> Result<u64, RestoreError>
where
    I: Index + Send + 'static,
{
    let stop = stop.clone();
    compute("compare the volume", move || count_changes(scan, index, &stop)).await
}

fn count_changes(scan: Scan, index: Option<impl Index>, stop: &Stop) -> Result<u64, RestoreError> {
    let (mut scan, mut old) = (Some(scan), OldIndex::new(index));
    let mut changes = 0;
    let mut found = next_found(&mut scan)?;
    let mut known = old.next()?;
    while let Some(side) = side(found.as_ref().map(|found| &found.path), known.as_ref().map(Recorded::path)) {
        stop.check()?;
        let here = if side == Side::Right { None } else { found.take() };
        let before = if side == Side::Left { None } else { known.take() };
        let same = matches!((&here, &before), (Some(here), Some(before)) if is_as_recorded(here, before));
        changes += u64::from(!same);
        if found.is_none() {
            found = next_found(&mut scan)?;
        }
        if known.is_none() {
            known = old.next()?;
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::{Index, Line, OldIndex, RelPath, RestoreError};
    use crate::store::Mark;
    use crate::tree::Timestamp;

    struct Lines(std::vec::IntoIter<Line>);

    impl Index for Lines {
        type Line = Line;

        fn next_line(&mut self) -> Result<Option<Line>, RestoreError> {
            Ok(self.0.next())
        }
    }

    #[test]
    fn a_path_is_found_among_ascending_ones_and_what_is_gone_is_not() {
        let path = |name: &str| RelPath::new(name).unwrap();
        let lines = vec![
            Line::implied_directory(path("b"), Timestamp::default()),
            Line::gone(path("c"), Mark::default()),
            Line::implied_directory(path("d"), Timestamp::default()),
        ];
        let mut old = OldIndex::new(Some(Lines(lines.into_iter())));
        for (name, is_known) in [("a", false), ("b", true), ("b", true), ("b/x", false), ("c", false), ("d", true), ("e", false)]
        {
            assert_eq!(old.at(&path(name)).unwrap().is_some(), is_known, "{name}");
        }
        assert!(OldIndex::<Lines>::new(None).at(&path("a")).unwrap().is_none());
    }
}
