//! The wanted tree beside the volume: what to place, what to keep, what to remove. Nothing is changed here.

use super::super::RestoreError;
use super::super::findings::{Cost, Findings};
use super::super::recorded::{OldIndex, is_as_recorded, next_found};
use super::super::survey::Step;
use super::super::terms::Terms;
use crate::disk::{Scan, Spool, SpoolReader, StateFile, stamp_of};
use crate::plain::error::PlainError;
use crate::plain::line::{Line, Node, parse_line, put_line};
use crate::plain::manifest::LineReader;
use crate::plan::{RestoreAction, Side, side};
use crate::seal::{DIGEST_PART_BYTES, FileDigest, ShortId};
use crate::tree::{FileType, Found};
use std::collections::HashSet;
use std::io;
use std::path::Path;

/// Steps being written, in path order.
pub struct Steps(Spool);

impl Steps {
    fn push(&mut self, step: Step, line: &Line) -> Result<(), PlainError> {
        let mut out = vec![step as u8];
        put_line(&mut out, line, true);
        Ok(self.0.push(&out)?)
    }

    /// Turns to reading.
    pub fn read(self) -> Result<StepReader, PlainError> {
        Ok(StepReader(self.0.read()?))
    }
}

/// Steps being read, once.
pub struct StepReader(SpoolReader);

impl StepReader {
    /// The next step.
    pub fn next(&mut self) -> Result<Option<(Step, Line)>, PlainError> {
        let Some(bytes) = self.0.next()? else { return Ok(None) };
        let (step, line) = bytes.split_first().ok_or_else(|| io::Error::other("a step is empty"))?;
        let step = Step::of_byte(*step).ok_or_else(|| io::Error::other("a step has an unknown kind"))?;
        Ok(Some((step, parse_line(line).map_err(io::Error::other)?)))
    }
}

/// What a survey found.
pub struct Survey {
    /// The steps.
    pub steps: Steps,
    /// What it counted.
    pub findings: Findings,
}

/// What is compared.
pub struct Surveyor {
    /// By what.
    pub terms: Terms,
}

impl Surveyor {
    /// Compares; runs on a blocking thread.
    pub fn run(
        self,
        mut tree: LineReader<StateFile>,
        mut scan: Option<Scan>,
        index: Option<LineReader<StateFile>>,
        spill: &Path,
    ) -> Result<Survey, RestoreError> {
        let mut survey = Survey { steps: Steps(Spool::new(spill)), findings: Findings::default() };
        let mut groups = HashSet::new();
        let mut old = OldIndex::new(index);
        let mut wanted = tree.next()?;
        let mut found = next_found(&mut scan)?;
        while let Some(side) = side(wanted.as_ref().map(|w| &w.path), found.as_ref().map(|f| &f.path)) {
            self.terms.stop.check()?;
            let here = if side == Side::Left { None } else { found.take() };
            let line = if side == Side::Right { None } else { wanted.take() };
            survey.findings.local += u64::from(here.is_some());
            match (line, here) {
                (Some(line), here) if line.file_type().is_some() => {
                    if self.terms.filter.admits(&line.path) {
                        let before = old.at(&line.path)?;
                        let first = line.group.as_ref().is_none_or(|group| groups.insert(group.clone()));
                        let cost = if first { cost_of(&line) } else { Cost::default() };
                        self.step(line, here, before, cost, &mut survey)?;
                    }
                }
                // The trace of a deleted file goes into the next index; what is here is not wanted.
                (line, here) => {
                    if let Some(line) = line {
                        survey.steps.push(Step::Keep, &line)?;
                    }
                    if let Some(here) = here {
                        let before = old.at(&here.path)?;
                        let stale = survey.findings.stale.takes(&self.terms.volume, &here);
                        if !stale && self.terms.removes(&here, before) {
                            survey.findings.remove(&self.terms.volume, here);
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
        survey.findings.leftovers = scan.map_or_else(Vec::new, |scan| scan.leftovers().to_vec());
        Ok(survey)
    }

    fn step(
        &self,
        mut line: Line,
        found: Option<Found>,
        before: Option<&Line>,
        cost: Cost,
        survey: &mut Survey,
    ) -> Result<(), RestoreError> {
        let step = match &found {
            None => Step::Place,
            Some(found) => self.compare(&line, found, before)?,
        };
        line.stamp = before.and_then(|before| before.stamp).filter(|_| step == Step::Keep);
        if step != Step::Keep && line.file_type() == Some(FileType::File) {
            survey.findings.stale.replace(&line.path, found.as_ref());
        }
        survey.findings.count(step, cost, found.as_ref().filter(|_| self.terms.fresh));
        Ok(survey.steps.push(step, &line)?)
    }

    /// What to do where something is already: nothing when it is known to be as wanted, or when local data wins; else its
    /// content decides.
    fn compare(&self, line: &Line, found: &Found, before: Option<&Line>) -> Result<Step, RestoreError> {
        if self.terms.action == RestoreAction::Merge {
            return Ok(Step::Keep);
        }
        let untouched = before.filter(|before| is_as_recorded(found, *before));
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
        let Ok(file) = self.terms.volume.open_file(&found.path) else { return Ok(None) };
        let portion = found.size.min(DIGEST_PART_BYTES as u64);
        let mut buffer = vec![0; usize::try_from(portion).unwrap_or(DIGEST_PART_BYTES)];
        let mut digest = FileDigest::default();
        let mut at = 0;
        while at < found.size {
            self.terms.stop.check()?;
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

/// What is written of a file. How much of one with holes takes room on the disk is not recorded: it is not refused for
/// that.
fn cost_of(line: &Line) -> Cost {
    Cost { bytes: line.size(), needed: if line.sparse { 0 } else { line.size() } }
}
