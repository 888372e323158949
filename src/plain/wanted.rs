//! The tree as it is at the remote: what the manifest says, corrected by what the remote lists. Other programs may have
//! added, changed and deleted objects since; what they did counts.

use super::error::PlainError;
use super::line::{Line, Node};
use super::listing::{Listed, Listing};
use super::log::{State, wall_time};
use super::manifest::LineReader;
use super::names::key_of;
use crate::runtime::Stop;
use crate::store::Bucket;
use crate::tree::{FileType, RelPath, Timestamp};
use std::io::Read;

/// What was found beside the manifest.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Entries of the tree.
    pub entries: u64,
    /// Objects that another program changed.
    pub edited: u64,
    /// Objects that another program deleted.
    pub missing: u64,
    /// Objects that another program made.
    pub foreign: u64,
    /// Objects that have the name of a folder.
    pub shadowed: u64,
    /// Objects whose names no file can have, and the first of them.
    pub odd: (u64, Option<String>),
}

/// Where the manifest's lines come from.
pub enum Source<R: Read> {
    /// A local index of the newest entry.
    Index(Box<LineReader<R>>),
    /// The log itself.
    Log(Box<State>),
}

impl<R: Read> Source<R> {
    fn next(&mut self) -> Result<Option<Line>, PlainError> {
        match self {
            Source::Index(index) => index.next(),
            Source::Log(state) => state.next(),
        }
    }
}

/// Takes the lines of the tree, in path order.
pub type Each<'a> = &'a mut dyn FnMut(&Line) -> Result<(), PlainError>;

/// Gives each line of the tree, in path order, to `each`. Without a listing the manifest is believed.
pub fn gather<R: Read>(
    bucket: &Bucket,
    mut source: Source<R>,
    mut listing: Option<Listing>,
    each: Each<'_>,
    stop: &Stop,
) -> Result<Gathered, PlainError> {
    let odd = listing.as_ref().map_or((0, None), |listing| listing.odd.clone());
    let mut gathering = Gathering {
        bucket: bucket.clone(),
        each,
        pending: None,
        folders: Vec::new(),
        now: wall_time(),
        found: Gathered { odd, ..Gathered::default() },
    };
    let has_listing = listing.is_some();
    let mut line = source.next()?;
    let mut listed = next_listed(&mut listing)?;
    loop {
        stop.check()?;
        let paths = [line.as_ref().map(|line| &line.path), listed.as_ref().map(|listed| &listed.path)];
        let Some(path) = paths.into_iter().flatten().min().cloned() else { break };
        let recorded = line.take_if(|line| line.path == path);
        let object = listed.take_if(|listed| listed.path == path);
        if recorded.is_some() {
            line = source.next()?;
        }
        if object.is_some() {
            listed = next_listed(&mut listing)?;
        }
        gathering.at(path, recorded, object, has_listing)?;
    }
    gathering.flush(None)?;
    Ok(gathering.found)
}

struct Gathering<'a> {
    bucket: Bucket,
    each: Each<'a>,
    /// Written once it is known not to be a folder's name.
    pending: Option<Line>,
    /// Directories that are written and may have more in them, outermost first.
    folders: Vec<RelPath>,
    now: Timestamp,
    found: Gathered,
}

impl Gathering<'_> {
    fn at(&mut self, path: RelPath, recorded: Option<Line>, object: Option<Listed>, has_listing: bool) -> Result<(), PlainError> {
        let Some(recorded) = recorded else { return self.foreign(path, object) };
        let apart = || key_of(&self.bucket, &path).as_bytes() != path.as_bytes();
        let object = object.filter(|object| !object.is_folder);
        match (&recorded.node, &object) {
            (Node::File { .. }, None) if has_listing && !apart() => {
                self.found.missing += 1;
                Ok(())
            }
            (Node::File { size, mark, .. }, Some(object)) if object.mark != *mark || object.size != *size => {
                self.found.edited += 1;
                let mut line = Line::foreign(path, object.size, object.mark.clone(), object.modified);
                line.attributes.mode = recorded.attributes.mode;
                line.xattrs = recorded.xattrs;
                self.put(line)
            }
            (Node::Gone(mark), Some(there)) if there.mark != *mark => self.foreign(path, object),
            (Node::Gone(_), None) if has_listing => Ok(()),
            _ => self.put(recorded),
        }
    }

    fn foreign(&mut self, path: RelPath, object: Option<Listed>) -> Result<(), PlainError> {
        let Some(object) = object else { return Ok(()) };
        self.found.foreign += 1;
        if object.is_folder {
            return self.put(Line::implied_directory(path, self.now));
        }
        self.put(Line { key: object.key, ..Line::foreign(path, object.size, object.mark, object.modified) })
    }

    /// Writes a line, after the folders that it needs and nobody recorded.
    fn put(&mut self, line: Line) -> Result<(), PlainError> {
        if self.pending.as_ref().is_some_and(|pending| pending.path == line.path) {
            self.found.shadowed += 1;
            return Ok(());
        }
        self.flush(Some(&line.path))?;
        if line.file_type().is_some() {
            self.make_folders(&line.path)?;
        }
        if line.file_type() == Some(FileType::Directory) {
            if self.folders.last() == Some(&line.path) {
                return Ok(());
            }
            self.folders.push(line.path.clone());
        }
        self.pending = Some(line);
        Ok(())
    }

    /// Writes the pending line, unless it has the name of a folder that comes next.
    fn flush(&mut self, next: Option<&RelPath>) -> Result<(), PlainError> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let is_folder = pending.file_type().is_none_or(|file_type| file_type == FileType::Directory);
        if !is_folder && next.is_some_and(|next| next.is_within(&pending.path)) {
            self.found.shadowed += 1;
            return Ok(());
        }
        self.found.entries += u64::from(pending.file_type().is_some());
        (self.each)(&pending)
    }

    fn make_folders(&mut self, path: &RelPath) -> Result<(), PlainError> {
        while self.folders.last().is_some_and(|folder| !path.is_within(folder)) {
            self.folders.pop();
        }
        let mut needed = Vec::new();
        let mut above = path.parent();
        while let Some(folder) = above.filter(|folder| self.folders.last() != Some(folder)) {
            above = folder.parent();
            needed.push(folder);
        }
        for folder in needed.into_iter().rev() {
            (self.each)(&Line::implied_directory(folder.clone(), self.now))?;
            self.folders.push(folder);
        }
        Ok(())
    }
}

fn next_listed(listing: &mut Option<Listing>) -> Result<Option<Listed>, PlainError> {
    listing.as_mut().map_or(Ok(None), Listing::next)
}
