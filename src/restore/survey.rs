//! The wanted tree beside the volume: what to place, what to keep, what to remove. Nothing is changed here.

use super::RestoreError;
use super::findings::{Cost, Findings};
use super::recorded::{OldIndex, is_as_recorded, next_found};
use super::terms::Terms;
use crate::disk::{Scan, Spool, SpoolReader, stamp_of};
use crate::plan::{RestoreAction, Side, side};
use crate::remote::LocalIndex;
use crate::runtime::{limits, wait_blocking};
use crate::seal::{ContentId, ShortId};
use crate::tree::{FileType, Found};
use crate::vault::directory::State;
use crate::vault::entry::{Content, Entry, Node, blocks_of};
use crate::vault::index::{IndexError, Indexed, LocalStamp, put_indexed, read_indexed};
use crate::vault::open::Vault;
use crate::vault::record::logical_record;
use crate::vault::tree::{Tally, TreeReader};
use crate::vault::wire::{FormatError, Reader};
use std::collections::HashSet;
use std::path::Path;

/// What is to be done for one wanted entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make it.
    Place,
    /// It is there; its metadata is set again.
    Adjust,
    /// It is there as wanted, or the local state is kept.
    Keep,
}

impl Step {
    /// The step that was written as this byte.
    pub fn of_byte(byte: u8) -> Option<Step> {
        [Step::Place, Step::Adjust, Step::Keep].into_iter().find(|step| *step as u8 == byte)
    }
}

/// Steps being written, in path order.
pub struct Steps(Spool);

impl Steps {
    fn push(&mut self, step: Step, indexed: &Indexed) -> Result<(), IndexError> {
        let mut out = vec![step as u8];
        put_indexed(&mut out, &[], indexed);
        Ok(self.0.push(&out)?)
    }

    /// Turns to reading.
    pub fn read(self) -> Result<StepReader, IndexError> {
        Ok(StepReader(self.0.read()?))
    }
}

/// Steps being read, once.
pub struct StepReader(SpoolReader);

impl StepReader {
    /// The next step.
    pub fn next(&mut self) -> Result<Option<(Step, Indexed)>, IndexError> {
        let Some(bytes) = self.0.next()? else { return Ok(None) };
        let mut reader = Reader::new(&bytes);
        let step = Step::of_byte(reader.byte("a step")?).ok_or(FormatError::Invalid("a step has an unknown kind"))?;
        Ok(Some((step, read_indexed(&mut reader, &[])?)))
    }
}

/// What a survey found.
pub struct Survey {
    /// The steps.
    pub steps: Steps,
    /// Totals of the whole wanted tree.
    pub state: State,
    /// What it counted.
    pub findings: Findings,
}

/// What is compared.
pub struct Surveyor {
    /// The vault.
    pub vault: Vault,
    /// By what.
    pub terms: Terms,
}

impl Surveyor {
    /// Compares; runs on a blocking thread.
    pub fn run(
        self,
        mut tree: TreeReader,
        mut scan: Option<Scan>,
        index: Option<LocalIndex>,
        spill: &Path,
    ) -> Result<Survey, RestoreError> {
        let mut survey = Survey { steps: Steps(Spool::new(spill)), state: State::default(), findings: Findings::default() };
        let mut tally = Tally::default();
        let mut groups = HashSet::new();
        let mut old = OldIndex::new(index);
        let mut wanted = wait_blocking(tree.next())?;
        let mut found = next_found(&mut scan)?;
        while let Some(side) = side(wanted.as_ref().map(|w| &w.path), found.as_ref().map(|f| &f.path)) {
            self.terms.stop.check()?;
            let here = if side == Side::Left { None } else { found.take() };
            if side == Side::Right {
                if let Some(here) = here {
                    survey.findings.local += 1;
                    let before = old.at(&here.path)?;
                    let stale = survey.findings.stale.takes(&self.terms.volume, &here);
                    if !stale && self.terms.removes(&here, before) {
                        survey.findings.remove(&self.terms.volume, here);
                    }
                }
            } else if let Some(entry) = wanted.take() {
                tally.add(self.vault.keys(), &entry);
                survey.findings.local += u64::from(here.is_some());
                if self.terms.filter.admits(&entry.path) {
                    let before = old.at(&entry.path)?;
                    let first = entry.extra.hard_link.is_none_or(|group| groups.insert(group));
                    let cost = if first { cost_of(&entry.node) } else { Cost::default() };
                    self.step(entry, here, before, cost, &mut survey)?;
                }
                wanted = wait_blocking(tree.next())?;
            }
            if found.is_none() {
                found = next_found(&mut scan)?;
            }
        }
        survey.state = tally.state;
        survey.findings.leftovers = scan.map_or_else(Vec::new, |scan| scan.leftovers().to_vec());
        Ok(survey)
    }

    fn step(
        &self,
        entry: Entry,
        found: Option<Found>,
        before: Option<&Indexed>,
        cost: Cost,
        survey: &mut Survey,
    ) -> Result<(), RestoreError> {
        let (step, stamp, blocks) = match &found {
            None => (Step::Place, None, Vec::new()),
            Some(found) => self.compare(&entry, found, before)?,
        };
        if step != Step::Keep && entry.node.file_type() == FileType::File {
            survey.findings.stale.replace(&entry.path, found.as_ref());
        }
        survey.findings.count(step, cost, found.as_ref().filter(|_| self.terms.fresh));
        Ok(survey.steps.push(step, &Indexed { entry, stamp, blocks })?)
    }

    /// What to do where something is already: nothing when it is known to be as wanted, or when local data wins; else its
    /// content decides.
    fn compare(
        &self,
        entry: &Entry,
        found: &Found,
        before: Option<&Indexed>,
    ) -> Result<(Step, Option<LocalStamp>, Vec<ContentId>), RestoreError> {
        if self.terms.action == RestoreAction::Merge {
            return Ok((Step::Keep, None, Vec::new()));
        }
        if let Some(before) = before
            && logical_record(&before.entry) == logical_record(entry)
            && is_as_recorded(found, before)
        {
            return Ok((Step::Keep, before.stamp, before.blocks.clone()));
        }
        let same = match &entry.node {
            Node::File { size, hash, content } if found.file_type == FileType::File && found.size == *size => {
                self.has_content(found, *size, hash, content)?
            }
            Node::Directory => found.file_type == FileType::Directory,
            _ => false,
        };
        Ok(if same { (Step::Adjust, None, Vec::new()) } else { (Step::Place, None, Vec::new()) })
    }

    /// Whether the local file's bytes are the wanted ones. A file that changes while it is read is not.
    fn has_content(&self, found: &Found, size: u64, hash: &ShortId, content: &Content) -> Result<bool, RestoreError> {
        let Ok(file) = self.terms.volume.open_file(&found.path) else { return Ok(false) };
        let keys = self.vault.keys();
        let log2 = match content {
            Content::Blocks { log2_block, .. } => Some(*log2_block),
            _ => None,
        };
        let portion = log2.map_or(size.min(limits::SMALL_FILE_BYTES), |log2| 1 << log2);
        let mut buffer = vec![0; portion as usize];
        let mut blocks = log2.map(|log2| keys.block_ids(log2, size));
        let mut at = 0;
        let mut whole = keys.content_id(&[]);
        while at < size {
            self.terms.stop.check()?;
            let length = portion.min(size - at) as usize;
            if file.read_at(&mut buffer[..length], at)? != length {
                return Ok(false);
            }
            let zero = log2.is_some() && buffer[..length].iter().all(|byte| *byte == 0);
            whole = if zero { ContentId::HOLE } else { keys.content_id(&buffer[..length]) };
            if let Some(blocks) = &mut blocks {
                blocks.push(&whole);
            }
            at += length as u64;
        }
        let found_hash = blocks.map_or_else(|| whole.short(), |blocks| blocks.finish());
        Ok(found_hash == *hash && file.stamp()? == stamp_of(found))
    }
}

/// What is written of a file: not its holes.
fn cost_of(node: &Node) -> Cost {
    let bytes = match node {
        Node::File { size, content: Content::Blocks { log2_block, runs }, .. } => {
            let holes = blocks_of(runs).iter().filter(|block| block.is_none()).count() as u64;
            size.saturating_sub(holes << log2_block)
        }
        node => node.size(),
    };
    Cost { bytes, needed: bytes }
}
