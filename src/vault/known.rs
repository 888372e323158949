//! What the vault is known to hold, in path order: the local index with its overlay, whole or in parts.

use super::directory::State;
use super::index::{Chunks, IndexError, IndexHeader, IndexReader, Indexed};
use super::overlay::Overlay;
use crate::tree::{Region, RelPath};
use std::collections::VecDeque;
use std::io::{Read, Seek};
use std::ops::Bound;
use std::sync::Arc;

/// A reader of the index as of the last finished pass.
#[derive(Debug)]
pub struct Known<R> {
    index: IndexReader<R>,
    overlay: Option<Arc<Overlay>>,
    /// The entry of the index that was read last and not yet told.
    ahead: Option<Indexed>,
    /// The change of the overlay that was told or passed last.
    passed: Option<RelPath>,
    parts: Option<Parts>,
    begun: bool,
}

/// A walk through parts of the index.
#[derive(Debug)]
struct Parts {
    chunks: Arc<Chunks>,
    /// The chunk that the reader jumped to last.
    chunk: usize,
    rest: VecDeque<Region>,
    current: Option<Region>,
}

impl<R: Read> Known<R> {
    /// All entries.
    pub fn all(index: IndexReader<R>, overlay: Option<Arc<Overlay>>) -> Known<R> {
        Known { index, overlay, ahead: None, passed: None, parts: None, begun: false }
    }

    /// What the index itself is of.
    pub fn header(&self) -> &IndexHeader {
        self.index.header()
    }

    /// The totals of the tree; for an index without an overlay only once its end is reached.
    pub fn state(&self) -> Option<&State> {
        self.overlay.as_ref().map_or_else(|| self.index.state(), |overlay| Some(&overlay.state))
    }

    /// The change that comes next in the overlay, within the current part.
    fn changed(&self) -> Option<&RelPath> {
        let changes = &self.overlay.as_ref()?.changes;
        let from = self.passed.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let (path, _) = changes.range::<RelPath, _>((from, Bound::Unbounded)).next()?;
        self.holds(path).then_some(path)
    }

    fn holds(&self, path: &RelPath) -> bool {
        match &self.parts {
            None => true,
            Some(parts) => parts.current.as_ref().is_some_and(|region| region.holds(path)),
        }
    }

    /// The next entry of the current part.
    fn next_here(&mut self) -> Result<Option<Indexed>, IndexError> {
        loop {
            let old = self.ahead.as_ref().map(|indexed| &indexed.entry.path).filter(|path| self.holds(path));
            let changed = self.changed();
            let take_change = match (old, changed) {
                (None, None) => return Ok(None),
                (Some(_), None) => false,
                (None, Some(_)) => true,
                (Some(old), Some(changed)) => changed <= old,
            };
            if !take_change {
                let told = self.ahead.take();
                self.ahead = self.index.next()?;
                return Ok(told);
            }
            let path = changed.cloned();
            if path.as_ref() == old {
                self.ahead = self.index.next()?;
            }
            let now = path.as_ref().and_then(|path| self.overlay.as_ref()?.changes.get(path).cloned()).flatten();
            self.passed = path;
            if now.is_some() {
                return Ok(now);
            }
        }
    }
}

impl<R: Read + Seek> Known<R> {
    /// The entries of these parts, in their order; each part lies behind the one before.
    pub fn parts(
        index: IndexReader<R>,
        overlay: Option<Arc<Overlay>>,
        chunks: Arc<Chunks>,
        regions: impl Iterator<Item = Region>,
    ) -> Known<R> {
        let parts = Parts { chunks, chunk: 0, rest: regions.collect(), current: None };
        Known { index, overlay, ahead: None, passed: None, parts: Some(parts), begun: false }
    }

    /// The next entry; `None` after the last. A file cut short is an error.
    #[allow(clippy::should_implement_trait, reason = "an iterator of results would hide that the end must be checked")]
    pub fn next(&mut self) -> Result<Option<Indexed>, IndexError> {
        if self.parts.is_none() && !self.begun {
            self.ahead = self.index.next()?;
            self.begun = true;
        }
        loop {
            if let Some(next) = self.next_here()? {
                return Ok(Some(next));
            }
            let Some(parts) = &mut self.parts else { return Ok(None) };
            let Some(region) = parts.rest.pop_front() else { return Ok(None) };
            let path = region.path.clone();
            parts.current = Some(region);
            self.seek(&path)?;
        }
    }

    /// Looks one entry up. Paths asked for one after the other ascend.
    pub fn get(&mut self, path: &RelPath) -> Result<Option<Indexed>, IndexError> {
        let parts = self.parts.as_mut().expect("entries are looked up in a reader of parts");
        parts.rest.push_back(Region { path: path.clone(), below: false });
        self.next()
    }

    /// Makes the first entry at or behind `path` the next one.
    fn seek(&mut self, path: &RelPath) -> Result<(), IndexError> {
        let Some(parts) = &mut self.parts else { return Ok(()) };
        let chunk = parts.chunks.partition_point(|(first, _)| first <= path).saturating_sub(1);
        if !self.begun || chunk > parts.chunk {
            let Some((_, offset)) = parts.chunks.get(chunk) else { return Ok(()) };
            self.index.jump(*offset)?;
            parts.chunk = chunk;
            self.begun = true;
            self.ahead = self.index.next()?;
        }
        while self.ahead.as_ref().is_some_and(|ahead| ahead.entry.path < *path) {
            self.ahead = self.index.next()?;
        }
        // The last change before the path has been passed.
        let changes = self.overlay.as_ref().map(|overlay| &overlay.changes);
        let before = changes.and_then(|changes| changes.range::<RelPath, _>(..path).next_back());
        self.passed = before.map(|(path, _)| path.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Known;
    use crate::tree::{Attributes, Region, RelPath};
    use crate::vault::directory::State;
    use crate::vault::entry::{Content, Entry, Extra, Node};
    use crate::vault::index::{IndexHeader, IndexReader, IndexWriter, Indexed};
    use crate::vault::overlay::{Changes, Overlay};
    use std::io::Cursor;
    use std::sync::Arc;

    fn line(name: &str, content: &str) -> Indexed {
        let node = Node::File { size: 90, hash: Default::default(), content: Content::Literal(content.as_bytes().repeat(30)) };
        let entry = Entry { path: path(name), attributes: Attributes::default(), node, extra: Extra::default() };
        Indexed { entry, stamp: None, blocks: vec![] }
    }

    fn path(name: &str) -> RelPath {
        RelPath::new(name).unwrap()
    }

    /// An index of several chunks: ten thousand files in a hundred directories.
    fn index() -> Vec<u8> {
        let header = IndexHeader { vault_id: [1; 16], seq: 9, hash: [2; 32], inline_base: 0 };
        let mut writer = IndexWriter::start(Vec::new(), &header).unwrap();
        (0..10_000).for_each(|i| writer.push(&line(&format!("d{:02}/f{:04}", i / 100, i), "old")).unwrap());
        writer.finish(&State::default()).unwrap()
    }

    fn overlay() -> Arc<Overlay> {
        let changes = [
            ("a", Some(line("a", "new"))),
            ("d00/f0000", Some(line("d00/f0000", "new"))),
            ("d50/f5001", None),
            ("d50/f5001a", Some(line("d50/f5001a", "new"))),
            ("z", Some(line("z", "new"))),
        ];
        let changes = changes.into_iter().map(|(name, change)| (path(name), change)).collect::<Changes>();
        Arc::new(Overlay { base: (9, [2; 32]), seq: 10, state: State::default(), changes, stored_len: 0 })
    }

    fn told(mut known: Known<Cursor<Vec<u8>>>) -> Vec<Indexed> {
        let mut all = Vec::new();
        while let Some(next) = known.next().unwrap() {
            all.push(next);
        }
        all
    }

    fn parts(regions: &[(&str, bool)]) -> Known<Cursor<Vec<u8>>> {
        let mut reader = IndexReader::open(Cursor::new(index())).unwrap();
        let chunks = Arc::new(reader.chunks().unwrap());
        assert!(chunks.len() > 3, "several chunks");
        let regions = regions.iter().map(|(name, below)| Region { path: path(name), below: *below }).collect::<Vec<_>>();
        Known::parts(reader, Some(overlay()), chunks, regions.into_iter())
    }

    #[test]
    fn the_overlay_replaces_adds_and_hides() {
        let reader = IndexReader::open(Cursor::new(index())).unwrap();
        let all = told(Known::all(reader, Some(overlay())));
        assert_eq!(all.len(), 10_000 + 2);
        assert!(all.is_sorted_by(|a, b| a.entry.path < b.entry.path));
        assert_eq!((all[0].entry.path.clone(), all[10_001].entry.path.clone()), (path("a"), path("z")));
        assert_eq!(all[1], line("d00/f0000", "new"));
        assert!(all.iter().all(|indexed| indexed.entry.path != path("d50/f5001")));
        let bare = told(Known::all(IndexReader::open(Cursor::new(index())).unwrap(), None));
        assert_eq!(bare.len(), 10_000);
    }

    #[test]
    fn parts_are_what_the_whole_holds_there() {
        let whole = told(Known::all(IndexReader::open(Cursor::new(index())).unwrap(), Some(overlay())));
        let cases: &[&[(&str, bool)]] = &[
            &[("a", false), ("d00/f0000", false), ("d00/f0001", false), ("z", true)],
            &[("d50", true)],
            &[("d50", false), ("d50/f5001", false), ("d50/f5001a", false), ("d77", true), ("d99/f9999", false)],
            &[("b", true), ("d03/f0300", false), ("d03/f0399", false), ("d98", true), ("y", false)],
            &[],
        ];
        for regions in cases {
            let inside = |indexed: &&Indexed| {
                regions.iter().any(|(name, below)| Region { path: path(name), below: *below }.holds(&indexed.entry.path))
            };
            let expected: Vec<Indexed> = whole.iter().filter(inside).cloned().collect();
            assert_eq!(told(parts(regions)), expected, "{regions:?}");
        }
    }

    #[test]
    fn entries_are_looked_up_in_ascending_order() {
        let mut known = parts(&[]);
        for (name, content) in [("a", "new"), ("d00/f0001", "old"), ("d50/f5001a", "new"), ("d99/f9999", "old"), ("z", "new")] {
            assert_eq!(known.get(&path(name)).unwrap(), Some(line(name, content)), "{name}");
            assert_eq!(known.get(&path(&format!("{name}!"))).unwrap(), None);
        }
        assert_eq!(parts(&[]).get(&path("d50/f5001")).unwrap(), None, "gone");
    }
}
