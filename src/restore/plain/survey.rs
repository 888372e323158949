//! The wanted tree beside the volume: what to place, what to keep, what to remove. Nothing is changed here.

use super::super::RestoreError;
use super::super::stale::{Stale, with_it};
use super::super::survey::{Step, unlogged};
use crate::disk::{Scan, StateFile, Volume, stamp_of};
use crate::plain::error::PlainError;
use crate::plain::line::{Line, Node, parse_line, put_line};
use crate::plain::manifest::LineReader;
use crate::plan::{Known, RestoreAction, Side, Verdict, judge, side};
use crate::runtime::{Stop, limits};
use crate::seal::{DIGEST_PART_BYTES, FileDigest, ShortId};
use crate::tree::{FileType, Filter, Found, RelPath};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use tempfile::SpooledTempFile;

/// The steps in path order: in memory while they are few, then in a temporary file.
pub struct Steps {
    file: BufWriter<SpooledTempFile>,
    count: u64,
}

impl Steps {
    fn push(&mut self, step: Step, line: &Line) -> io::Result<()> {
        let mut out = vec![0; 4];
        out.push(step as u8);
        put_line(&mut out, line, true);
        let length = (out.len() - 4) as u32;
        out[..4].copy_from_slice(&length.to_le_bytes());
        self.count += 1;
        self.file.write_all(&out)
    }

    /// Turns to reading.
    pub fn read(self) -> io::Result<StepReader> {
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(StepReader { input: BufReader::with_capacity(64 << 10, file), left: self.count })
    }
}

/// Reads the steps, once.
pub struct StepReader {
    input: BufReader<SpooledTempFile>,
    left: u64,
}

impl StepReader {
    /// The next step.
    pub fn next(&mut self) -> io::Result<Option<(Step, Line)>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let mut length = [0; 4];
        self.input.read_exact(&mut length)?;
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        self.input.read_exact(&mut bytes)?;
        let step = match bytes.first() {
            Some(0) => Step::Place,
            Some(1) => Step::Adjust,
            _ => Step::Keep,
        };
        let line = parse_line(bytes.get(1..).unwrap_or_default()).map_err(io::Error::other)?;
        Ok(Some((step, line)))
    }
}

/// What a survey found.
pub struct Survey {
    /// The steps.
    pub steps: Steps,
    /// Local entries that are not wanted, parents before children.
    pub extra: Vec<(RelPath, FileType)>,
    /// Local entries in all.
    pub local: u64,
    /// Entries to place.
    pub place: u64,
    /// Bytes to write.
    pub bytes: u64,
    /// Entries kept or adjusted.
    pub kept: u64,
    /// Unfinished files of a killed restore.
    pub leftovers: Vec<RelPath>,
    /// Logs of databases that are replaced.
    pub stale: Stale,
}

/// What is compared.
pub struct Surveyor {
    /// The volume.
    pub volume: Volume,
    /// Which paths take part.
    pub filter: Filter,
    /// Why we restore.
    pub action: RestoreAction,
    /// Asked to stop.
    pub stop: Stop,
}

impl Surveyor {
    /// Compares; runs on a blocking thread.
    pub fn run(
        self,
        mut tree: LineReader<StateFile>,
        mut scan: Option<Scan>,
        mut old: Option<LineReader<StateFile>>,
        spill: &Path,
    ) -> Result<Survey, RestoreError> {
        let file = BufWriter::with_capacity(64 << 10, tempfile::spooled_tempfile_in(limits::SPOOL_BYTES, spill));
        let mut survey = Survey {
            steps: Steps { file, count: 0 },
            extra: Vec::new(),
            local: 0,
            place: 0,
            bytes: 0,
            kept: 0,
            leftovers: Vec::new(),
            stale: Stale::default(),
        };
        let mut known: Option<Line> = None;
        let mut wanted = tree.next()?;
        let mut found = next_found(&mut scan)?;
        while let Some(side) = side(wanted.as_ref().map(|w| &w.path), found.as_ref().map(|f| &f.path)) {
            self.stop.check()?;
            let here = if side == Side::Left { None } else { found.take() };
            let line = if side == Side::Right { None } else { wanted.take() };
            survey.local += u64::from(here.is_some());
            match (line, here) {
                (Some(line), here) if line.file_type().is_some() => {
                    if self.filter.admits(&line.path) {
                        advance(&mut old, &mut known, &line.path)?;
                        let before = known.as_ref().filter(|known| known.path == line.path);
                        self.step(line, here, before, &mut survey)?;
                    }
                }
                // The trace of a deleted file goes into the next index; what is here is not wanted.
                (line, here) => {
                    if let Some(line) = line {
                        survey.steps.push(Step::Keep, &line).map_err(PlainError::Io)?;
                    }
                    if let Some(here) = here {
                        advance(&mut old, &mut known, &here.path)?;
                        let before = known.as_ref().filter(|known| known.path == here.path);
                        let goes = self.action != RestoreAction::Continue || before.is_some_and(|before| was_ours(&here, before));
                        if goes && !survey.stale.takes(&self.volume, &here) {
                            let with_it = with_it(&self.volume, &here);
                            survey.extra.extend(std::iter::once(here).chain(with_it).map(|extra| (extra.path, extra.file_type)));
                        }
                    }
                }
            }
            if found.is_none() {
                found = next_found(&mut scan)?;
            }
            if wanted.is_none() {
                wanted = tree.next()?;
            }
        }
        if let Some(scan) = scan {
            survey.leftovers = scan.leftovers().to_vec();
        }
        Ok(survey)
    }

    fn step(&self, mut line: Line, found: Option<Found>, before: Option<&Line>, survey: &mut Survey) -> Result<(), RestoreError> {
        let step = match &found {
            None => Step::Place,
            Some(found) => self.compare(&line, found, before)?,
        };
        line.stamp = before.and_then(|before| before.stamp).filter(|_| step == Step::Keep);
        if step != Step::Keep && line.file_type() == Some(FileType::File) {
            survey.stale.replace(&line.path, found.as_ref());
        }
        if step == Step::Place {
            survey.place += 1;
            survey.bytes += line.size();
        } else {
            survey.kept += 1;
        }
        Ok(survey.steps.push(step, &line).map_err(PlainError::Io)?)
    }

    /// What to do where something is already: nothing when it is known to be as wanted, or when local data wins; else its
    /// content decides.
    fn compare(&self, line: &Line, found: &Found, before: Option<&Line>) -> Result<Step, RestoreError> {
        if self.action == RestoreAction::Merge {
            return Ok(Step::Keep);
        }
        let untouched = before.filter(|before| is_as_recorded(found, before));
        if untouched.is_some_and(|before| before.is_same_entry(line)) {
            return Ok(Step::Keep);
        }
        let same = match &line.node {
            Node::Directory => found.file_type == FileType::Directory,
            Node::File { size, hash, .. } if found.file_type == FileType::File && found.size == *size => {
                untouched.is_some_and(|before| before.node == line.node)
                    || match hash {
                        Some(hash) => self.digest(found)? == Some(*hash),
                        None => false,
                    }
            }
            _ => false,
        };
        Ok(if same { Step::Adjust } else { Step::Place })
    }

    /// The digest of a local file; none when it changes meanwhile or cannot be read.
    fn digest(&self, found: &Found) -> Result<Option<ShortId>, RestoreError> {
        let Ok(file) = self.volume.open_file(&found.path) else { return Ok(None) };
        let portion = found.size.min(DIGEST_PART_BYTES as u64);
        let mut buffer = vec![0; usize::try_from(portion).unwrap_or(DIGEST_PART_BYTES)];
        let mut digest = FileDigest::default();
        let mut at = 0;
        while at < found.size {
            self.stop.check()?;
            let length = usize::try_from(portion.min(found.size - at)).unwrap_or(buffer.len());
            if file.read_at(&mut buffer[..length], at)? != length {
                return Ok(None);
            }
            digest.push(&buffer[..length]);
            at += length as u64;
        }
        Ok((file.stamp()? == stamp_of(found)).then(|| digest.finish()))
    }
}

/// Whether a local entry is what the index says.
fn is_as_recorded(found: &Found, before: &Line) -> bool {
    let Some(file_type) = before.file_type() else { return false };
    let facts = Known {
        file_type,
        attributes: &before.attributes,
        size: before.size(),
        // Where no local file was compared yet, size, times, mode and owner must do.
        stamp: before.stamp.or(Some(unlogged(found))),
    };
    judge(found, &facts) == Verdict::Unchanged
}

/// Whether a local entry that is not wanted came from the remote and nobody has changed it since. A directory's times move
/// with its content, and one that holds anything else is not removed.
fn was_ours(found: &Found, before: &Line) -> bool {
    let directories = found.file_type == FileType::Directory && before.file_type() == Some(FileType::Directory);
    directories || is_as_recorded(found, before)
}

/// Counts local entries that differ from what the index says: changes that were never pushed.
pub fn count_local_changes(scan: Scan, mut old: Option<LineReader<StateFile>>, stop: &Stop) -> Result<u64, RestoreError> {
    let mut scan = Some(scan);
    let mut changes = 0;
    let mut found = next_found(&mut scan)?;
    let mut known = next_live(&mut old)?;
    while let Some(side) = side(found.as_ref().map(|f| &f.path), known.as_ref().map(|k| &k.path)) {
        stop.check()?;
        let (here, before) = match side {
            Side::Left => (found.take(), None),
            Side::Right => (None, known.take()),
            Side::Both => (found.take(), known.take()),
        };
        let same = matches!((&here, &before), (Some(here), Some(before)) if is_as_recorded(here, before));
        changes += u64::from(!same);
        if found.is_none() {
            found = next_found(&mut scan)?;
        }
        if known.is_none() {
            known = next_live(&mut old)?;
        }
    }
    Ok(changes)
}

fn next_found(scan: &mut Option<Scan>) -> Result<Option<Found>, RestoreError> {
    Ok(scan.as_mut().and_then(Iterator::next).transpose()?)
}

fn next_live(old: &mut Option<LineReader<StateFile>>) -> Result<Option<Line>, RestoreError> {
    let Some(old) = old else { return Ok(None) };
    loop {
        match old.next()? {
            Some(line) if line.file_type().is_none() => {}
            next => return Ok(next),
        }
    }
}

fn advance(old: &mut Option<LineReader<StateFile>>, known: &mut Option<Line>, path: &RelPath) -> Result<(), RestoreError> {
    while known.as_ref().is_none_or(|known| known.path < *path) {
        *known = next_live(old)?;
        if known.is_none() {
            *old = None;
            return Ok(());
        }
    }
    Ok(())
}
