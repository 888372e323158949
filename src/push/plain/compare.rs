//! The volume beside what the last pass recorded and what the remote lists: what is to be sent, recorded and deleted.
//! Nothing is read or changed here but names and metadata.

use super::super::PushError;
use super::super::capture::settled_stamp;
use super::steps::{Op, Step, Steps};
use crate::disk::{Scan, Skips, StateFile, Volume};
use crate::plain::line::{Line, Node};
use crate::plain::listing::{Listed, Listing};
use crate::plain::manifest::{LineReader, LineWriter};
use crate::plain::names::key_of;
use crate::plan::{DeleteSet, Known, Verdict, judge};
use crate::runtime::Stop;
use crate::seal::{FileDigest, checksum};
use crate::store::{Bucket, Mark};
use crate::tree::{Completeness, FileType, Filter, Found, RelPath};
use data_encoding::HEXLOWER;
use std::collections::HashMap;
use std::io::BufWriter;
use std::path::Path;

/// What a comparison found.
pub struct Compared {
    /// The steps; paths without one stay as they are.
    pub steps: Steps,
    /// Whether the volume could be listed whole.
    pub completeness: Completeness,
    /// What was left out.
    pub skips: Skips,
    /// What is recorded and no longer here.
    pub deletes: DeleteSet,
    /// Entries as before.
    pub unchanged: u64,
    /// Objects that another program changed while the local file stayed: they are kept, and so is the file.
    pub edited: u64,
    /// Objects that no entry owns.
    pub foreign: u64,
    /// Steps that would send or record something, by kind: added, changed, bytes of their files.
    pub expected: (u64, u64, u64),
}

impl Compared {
    fn new(spill: &Path) -> Compared {
        Compared {
            steps: Steps::new(spill),
            completeness: Completeness::Partial,
            skips: Skips::default(),
            deletes: DeleteSet::default(),
            unchanged: 0,
            edited: 0,
            foreign: 0,
            expected: (0, 0, 0),
        }
    }
}

/// What is compared.
pub struct Comparison {
    /// The remote: it decides which key a path has.
    pub bucket: Bucket,
    /// The volume.
    pub volume: Volume,
    /// Which paths take part.
    pub filter: Filter,
    /// Look at the content of every file.
    pub reread: bool,
    /// Delete objects that no entry owns.
    pub delete_foreign: bool,
    /// Asked to stop.
    pub stop: Stop,
}

/// What a broken-off pass may have sent, and what this one may send.
pub struct Journal {
    /// The paths of the last pass, if it was broken off.
    pub before: Option<LineReader<StateFile>>,
    /// The paths of both.
    pub next: Option<LineWriter<BufWriter<StateFile>>>,
}

struct Comparing {
    with: Comparison,
    journal: Journal,
    /// Whether the last pass may have sent the path at hand.
    ours: bool,
    has_listing: bool,
    out: Compared,
    /// Group of each file that has further names.
    groups: HashMap<(u64, u64), String>,
    root_device: Option<u64>,
    mount: Option<RelPath>,
    /// The file that took a directory's place.
    displacing: Option<RelPath>,
}

impl Comparison {
    /// Compares; runs on a blocking thread.
    pub fn run(
        self,
        mut scan: Scan,
        mut index: Option<LineReader<StateFile>>,
        mut listing: Option<Listing>,
        mut journal: Journal,
        spill: &Path,
    ) -> Result<Compared, PushError> {
        let out = Compared::new(spill);
        let has_listing = listing.is_some();
        let mut sent = journal.before.take();
        let mut comparing = Comparing {
            with: self,
            journal,
            ours: false,
            has_listing,
            out,
            groups: HashMap::new(),
            root_device: None,
            mount: None,
            displacing: None,
        };
        let mut found = scan.next().transpose()?;
        let mut known = next_line(&mut index)?;
        let mut listed = next_listed(&mut listing)?;
        let mut earlier = next_line(&mut sent)?;
        loop {
            comparing.with.stop.check()?;
            let paths = [
                found.as_ref().map(|f| &f.path),
                known.as_ref().map(|k| &k.path),
                listed.as_ref().map(|l| &l.path),
                earlier.as_ref().map(|e| &e.path),
            ];
            let Some(path) = paths.into_iter().flatten().min().cloned() else { break };
            let here = found.take_if(|found| found.path == path);
            let was = known.take_if(|known| known.path == path);
            let object = listed.take_if(|listed| listed.path == path);
            if here.is_some() {
                found = scan.next().transpose()?;
            }
            if was.is_some() {
                known = next_line(&mut index)?;
            }
            if object.is_some() {
                listed = next_listed(&mut listing)?;
            }
            let ours = earlier.take_if(|earlier| earlier.path == path);
            if let Some(ours) = &ours {
                comparing.note_sending(ours)?;
                earlier = next_line(&mut sent)?;
            }
            comparing.ours = ours.is_some();
            comparing.at(path, here, was, object.filter(|object| !object.is_folder))?;
        }
        if let Some(journal) = comparing.journal.next.take() {
            journal.finish_local()?;
        }
        comparing.out.completeness = scan.completeness();
        comparing.out.skips.merge(scan.skips().clone());
        Ok(comparing.out)
    }
}

fn next_line(index: &mut Option<LineReader<StateFile>>) -> Result<Option<Line>, PushError> {
    Ok(index.as_mut().map_or(Ok(None), LineReader::next)?)
}

fn next_listed(listing: &mut Option<Listing>) -> Result<Option<Listed>, PushError> {
    Ok(listing.as_mut().map_or(Ok(None), Listing::next)?)
}

impl Comparing {
    fn at(&mut self, path: RelPath, here: Option<Found>, was: Option<Line>, object: Option<Listed>) -> Result<(), PushError> {
        let object = object.map(|object| (object.mark, object.size));
        match &here {
            Some(here) => self.note_mount(here),
            None if self.is_hidden(&path) => {
                self.out.unchanged += u64::from(was.is_some());
                return Ok(());
            }
            None => {}
        }
        match (here, was) {
            (Some(here), was) => self.present(here, was, object),
            (None, Some(Line { node: Node::Gone(mark), path, .. })) => self.trace(path, mark, object),
            (None, Some(was)) => self.absent(was, object),
            (None, None) => self.foreign(path, object),
        }
    }

    /// What another file system's mount hides is not gone, nor is what the filter leaves out.
    fn is_hidden(&self, path: &RelPath) -> bool {
        self.mount.as_ref().is_some_and(|mount| path.is_within(mount)) || !self.with.filter.admits(path)
    }

    fn note_mount(&mut self, here: &Found) {
        let root = *self.root_device.get_or_insert(here.identity.device);
        if here.file_type == FileType::Directory && here.identity.device != root {
            self.mount = Some(here.path.clone());
        }
    }

    fn present(&mut self, here: Found, was: Option<Line>, object: Option<(Mark, u64)>) -> Result<(), PushError> {
        let was_live = was.as_ref().and_then(Line::file_type);
        let facts = was.as_ref().zip(was_live).map(|(was, file_type)| Known {
            file_type,
            attributes: &was.attributes,
            size: was.size(),
            stamp: was.stamp.filter(|_| !self.with.reread || file_type != FileType::File),
        });
        let same = facts.is_some_and(|facts| judge(&here, &facts) == Verdict::Unchanged);
        let right = self.is_right(was.as_ref(), object.as_ref());
        let group = self.group(&here);
        match (same, right, was) {
            (true, Right::Yes, Some(was)) if !was.unpublished && was.group == group => {
                self.out.unchanged += 1;
                Ok(())
            }
            (true, Right::Yes, Some(was)) => self.step(Op::Record, Line { group, ..was.clone() }, Some(was), object, false),
            (true, Right::Edited, Some(_)) if !self.ours => {
                self.out.edited += 1;
                Ok(())
            }
            (_, _, was) => {
                let displaces = matches!(
                    (was_live, here.file_type),
                    (Some(FileType::Directory), FileType::File) | (Some(FileType::File), FileType::Directory)
                );
                if displaces && here.file_type == FileType::File {
                    self.displacing = Some(here.path.clone());
                }
                self.changed(&here, was, object, group, displaces)
            }
        }
    }

    fn changed(
        &mut self,
        here: &Found,
        was: Option<Line>,
        object: Option<(Mark, u64)>,
        group: Option<String>,
        displaces: bool,
    ) -> Result<(), PushError> {
        let (op, node, xattrs) = match here.file_type {
            FileType::File => (Op::Put, Node::File { size: here.size, mark: Mark::default(), hash: None }, Vec::new()),
            FileType::Directory => (Op::Record, Node::Directory, self.with.volume.xattrs(&here.path).unwrap_or_default()),
            FileType::Symlink => match self.with.volume.read_link(&here.path) {
                Ok(target) => (Op::Record, Node::Symlink(target), Vec::new()),
                // It went away meanwhile: the next pass sees what came of it.
                Err(error) if error.is_gone() => return Ok(()),
                Err(error) => return Err(error.into()),
            },
            FileType::Fifo => (Op::Record, Node::Fifo, Vec::new()),
            FileType::Socket | FileType::Device => return Ok(()),
        };
        let line = Line {
            path: here.path.clone(),
            node,
            attributes: here.attributes,
            xattrs,
            group,
            sparse: here.file_type == FileType::File && here.size > 4096 && here.allocated + 4096 <= here.size,
            key: None,
            stamp: settled_stamp(here).map(|stamp| (stamp.ctime, stamp.inode)),
            unpublished: false,
        };
        self.step(op, line, was, object, displaces)
    }

    /// Recorded, and no longer here.
    fn absent(&mut self, was: Line, object: Option<(Mark, u64)>) -> Result<(), PushError> {
        let path = was.path.clone();
        let deletes = &mut self.out.deletes;
        deletes.count += 1;
        deletes.hash = checksum(&[&deletes.hash[..], path.as_bytes()].concat());
        let displaced = self.displacing.as_ref().is_some_and(|file| path.is_within(file));
        let right = self.is_right(Some(&was), object.as_ref());
        match &was.node {
            // What a broken-off pass of ours sent is ours, although no entry names it.
            Node::File { .. } if right == Right::Edited && self.ours => {
                let mark = object.as_ref().map_or_else(Mark::default, |(mark, _)| mark.clone());
                self.step(Op::Delete, Line::gone(path, mark), Some(was), object, displaced)
            }
            Node::File { mark, .. } if right == Right::Yes => {
                let line = Line::gone(path, mark.clone());
                self.step(Op::Delete, line, Some(was), object, displaced)
            }
            // An object that somebody changed is theirs; one that is gone needs no trace; the rest never had one.
            _ => self.step(Op::Drop, Line::gone(path, Mark::default()), Some(was), object, false),
        }
    }

    /// The trace of an earlier delete.
    fn trace(&mut self, path: RelPath, mark: Mark, object: Option<(Mark, u64)>) -> Result<(), PushError> {
        if !self.has_listing {
            return Ok(());
        }
        let left_over = object.as_ref().is_some_and(|(there, _)| *there == mark);
        let line = Line::gone(path.clone(), if left_over { mark.clone() } else { Mark::default() });
        let was = Line::gone(path.clone(), mark);
        if left_over {
            return self.step(Op::Sweep, line, Some(was), object, false);
        }
        if object.is_some() {
            return self.foreign(path, object);
        }
        self.step(Op::Forget, line, Some(was), object, false)
    }

    /// An object that nobody owns.
    fn foreign(&mut self, path: RelPath, object: Option<(Mark, u64)>) -> Result<(), PushError> {
        let Some((mark, size)) = object else { return Ok(()) };
        if !self.ours {
            self.out.foreign += 1;
        }
        if !self.with.delete_foreign && !self.ours {
            return Ok(());
        }
        let deletes = &mut self.out.deletes;
        deletes.count += 1;
        deletes.hash = checksum(&[&deletes.hash[..], path.as_bytes()].concat());
        self.step(Op::DeleteForeign, Line::gone(path, mark.clone()), None, Some((mark, size)), false)
    }

    fn note_sending(&mut self, line: &Line) -> Result<(), PushError> {
        match &mut self.journal.next {
            Some(journal) => Ok(journal.push(&Line::gone(line.path.clone(), Mark::default()))?),
            None => Ok(()),
        }
    }

    /// Whether the object is as it was recorded.
    fn is_right(&self, was: Option<&Line>, object: Option<&(Mark, u64)>) -> Right {
        let Some(Node::File { size, mark, .. }) = was.map(|was| &was.node) else { return Right::Yes };
        let path = was.map(|was| &was.path);
        if !self.has_listing {
            return Right::Yes;
        }
        match object {
            Some((there, length)) if there == mark && length == size => Right::Yes,
            Some(_) => Right::Edited,
            // Names that are kept apart are not in the listing.
            None if path.is_some_and(|path| key_of(&self.with.bucket, path).as_bytes() != path.as_bytes()) => Right::Yes,
            None => Right::Missing,
        }
    }

    /// Files with several names are one group, named after the first of them in path order.
    fn group(&mut self, here: &Found) -> Option<String> {
        if here.identity.links < 2 || here.file_type != FileType::File {
            return None;
        }
        let inode = (here.identity.device, here.identity.inode);
        let name = || HEXLOWER.encode(&FileDigest::of(here.path.as_bytes()).0);
        Some(self.groups.entry(inode).or_insert_with(name).clone())
    }

    fn step(
        &mut self,
        op: Op,
        line: Line,
        before: Option<Line>,
        listed: Option<(Mark, u64)>,
        displaces: bool,
    ) -> Result<(), PushError> {
        if matches!(op, Op::Put | Op::Record) {
            let live = before.as_ref().is_some_and(|before| before.file_type().is_some());
            let (added, changed, bytes) = &mut self.out.expected;
            *(if live { changed } else { added }) += 1;
            *bytes += line.size();
        }
        if op == Op::Put && !self.ours {
            self.note_sending(&line)?;
        }
        let step = Step { op, line, before, listed, displaces, ours: self.ours };
        Ok(self.out.steps.push(&step)?)
    }
}

/// The state of a recorded file's object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    /// As recorded, or it has none.
    Yes,
    /// Somebody changed it.
    Edited,
    /// Somebody deleted it.
    Missing,
}
