//! Parts of a tree: what a pass looks at when it does not look at everything.

use super::RelPath;
use crate::runtime::limits;
use std::collections::BTreeMap;

/// One part of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// The entry it begins with.
    pub path: RelPath,
    /// Whether everything below that entry belongs to it too.
    pub below: bool,
}

impl Region {
    /// Whether a path belongs to it.
    pub fn holds(&self, path: &RelPath) -> bool {
        if self.below { path.is_within(&self.path) } else { *path == self.path }
    }
}

/// Regions in path order that do not overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Regions(Vec<Region>);

impl Regions {
    /// Sorted and without what lies inside another region. The value says whether all below a path belongs to it.
    pub fn new(paths: BTreeMap<RelPath, bool>) -> Regions {
        let mut regions: Vec<Region> = Vec::with_capacity(paths.len());
        let mut over: Option<RelPath> = None;
        for (path, below) in paths {
            if over.as_ref().is_some_and(|over| path.is_within(over)) {
                continue;
            }
            if below {
                over = Some(path.clone());
            }
            regions.push(Region { path, below });
        }
        Regions(regions)
    }

    /// The regions, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Region> {
        self.0.iter()
    }
}

/// What may have changed since the last pass: paths, or everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dirty {
    paths: BTreeMap<RelPath, bool>,
    /// Their length.
    bytes: usize,
    everything: bool,
    /// How often hints were lost.
    pub overflows: u64,
}

impl Dirty {
    /// Everything.
    pub fn everything() -> Dirty {
        Dirty { everything: true, ..Dirty::default() }
    }

    /// An entry may have changed, and with `below` whatever is below it.
    pub fn mark(&mut self, path: RelPath, below: bool) {
        if self.everything {
            return;
        }
        if let Some(known) = self.paths.get_mut(&path) {
            *known |= below;
            return;
        }
        self.bytes += path.as_bytes().len();
        self.paths.insert(path, below);
        if self.paths.len() > limits::DIRTY_PATHS || self.bytes > limits::DIRTY_BYTES {
            self.mark_everything();
        }
    }

    /// Anything may have changed.
    pub fn mark_everything(&mut self) {
        self.everything = true;
        self.paths.clear();
        self.bytes = 0;
    }

    /// Adds what another one marks.
    pub fn merge(&mut self, other: Dirty) {
        self.overflows += other.overflows;
        if other.everything {
            self.mark_everything();
        }
        other.paths.into_iter().for_each(|(path, below)| self.mark(path, below));
    }

    /// Whether nothing has changed.
    pub fn is_clean(&self) -> bool {
        !self.everything && self.paths.is_empty()
    }

    /// The paths, in order, each with whether all below it is meant; `None`: everything.
    pub fn paths(&self) -> Option<&BTreeMap<RelPath, bool>> {
        (!self.everything).then_some(&self.paths)
    }
}

#[cfg(test)]
mod tests {
    use super::{Dirty, Region, Regions};
    use crate::runtime::limits;
    use crate::tree::RelPath;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    #[test]
    fn regions_are_sorted_and_do_not_overlap() {
        let given = [("a/b/c", false), ("a-", true), ("a", false), ("a/b", true), ("a/b/c/d", true), ("z", false)];
        let regions = Regions::new(given.into_iter().map(|(p, below)| (path(p), below)).collect());
        let expected = [("a", false), ("a/b", true), ("a-", true), ("z", false)];
        let expected: Vec<Region> = expected.into_iter().map(|(p, below)| Region { path: path(p), below }).collect();
        assert_eq!(regions.iter().cloned().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn too_many_paths_or_too_long_ones_are_everything() {
        let marked = |length: usize, paths: usize| {
            let mut dirty = Dirty::default();
            (0..paths).for_each(|number| dirty.mark(path(&format!("{number:05}{}", "/x".repeat(length / 2))), false));
            dirty.paths().map(std::collections::BTreeMap::len)
        };
        assert_eq!(marked(10, limits::DIRTY_PATHS), Some(limits::DIRTY_PATHS));
        assert_eq!(marked(10, limits::DIRTY_PATHS + 1), None);
        assert_eq!(marked(4000, 2000), Some(2000));
        assert_eq!(marked(4000, 2200), None);
    }

    #[test]
    fn a_region_holds_its_entry_and_only_if_meant_what_is_below() {
        let (alone, whole) = (Region { path: path("a"), below: false }, Region { path: path("a"), below: true });
        assert!(alone.holds(&path("a")) && !alone.holds(&path("a/b")));
        assert!(whole.holds(&path("a")) && whole.holds(&path("a/b")) && !whole.holds(&path("ab")));
    }
}
