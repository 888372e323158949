//! The wanted tree beside the volume: what to place, what to keep, what to remove. Nothing is changed here.

use super::RestoreError;
use super::stale::{Stale, with_it};
use crate::disk::{Scan, StateFile, Volume, stamp_of};
use crate::plan::{Known, RestoreAction, Side, Verdict, judge, side};
use crate::runtime::{Stop, limits, wait_blocking};
use crate::seal::{ContentId, ShortId};
use crate::tree::{Completeness, FileType, Filter, Found, Identity, RelPath, Timestamp};
use crate::vault::directory::State;
use crate::vault::entry::{Content, Entry, Node, blocks_of};
use crate::vault::index::{IndexError, IndexReader, Indexed, LocalStamp, put_indexed, read_indexed};
use crate::vault::open::Vault;
use crate::vault::record::logical_record;
use crate::vault::tree::{Tally, TreeReader};
use crate::vault::wire::Reader;
use std::collections::HashSet;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use tempfile::SpooledTempFile;

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

/// The steps in path order: in memory while they are few, then in a temporary file.
pub struct Steps {
    file: BufWriter<SpooledTempFile>,
    count: u64,
}

impl Steps {
    fn new(spill: &Path) -> Steps {
        Steps { file: BufWriter::with_capacity(64 << 10, tempfile::spooled_tempfile_in(limits::SPOOL_BYTES, spill)), count: 0 }
    }

    fn push(&mut self, step: Step, indexed: &Indexed) -> Result<(), IndexError> {
        let mut out = vec![0; 4];
        out.push(step as u8);
        put_indexed(&mut out, &[], indexed);
        let length = (out.len() - 4) as u32;
        out[..4].copy_from_slice(&length.to_le_bytes());
        self.count += 1;
        Ok(self.file.write_all(&out)?)
    }

    /// Turns to reading.
    pub fn read(self) -> Result<StepReader, IndexError> {
        let mut file = self.file.into_inner().map_err(|error| IndexError::Io(error.into_error()))?;
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
    pub fn next(&mut self) -> Result<Option<(Step, Indexed)>, IndexError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let mut length = [0; 4];
        self.input.read_exact(&mut length)?;
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        self.input.read_exact(&mut bytes)?;
        let mut reader = Reader::new(&bytes);
        let step = match reader.byte("a step")? {
            0 => Step::Place,
            1 => Step::Adjust,
            _ => Step::Keep,
        };
        Ok(Some((step, read_indexed(&mut reader, &[])?)))
    }
}

/// What a survey found.
pub struct Survey {
    /// The steps.
    pub steps: Steps,
    /// Totals of the whole wanted tree.
    pub state: State,
    /// Local entries that are not wanted, parents before children.
    pub extra: Vec<(RelPath, FileType)>,
    /// Local entries in all.
    pub local: u64,
    /// Whether the volume could be listed whole.
    pub completeness: Completeness,
    /// Entries to place.
    pub place: u64,
    /// Bytes to write: neither holes nor a file's second name cost any.
    pub bytes: u64,
    /// Bytes on disk of what is replaced before it is written again.
    pub replaced: u64,
    /// Bytes on disk of what is not wanted.
    pub extra_bytes: u64,
    /// Entries kept or adjusted.
    pub kept: u64,
    /// Unfinished files of a killed restore.
    pub leftovers: Vec<RelPath>,
    /// Logs of databases that are replaced.
    pub stale: Stale,
}

/// The index of what the volume held, read beside it.
pub type OldIndex = IndexReader<BufReader<StateFile>>;

/// What is compared.
pub struct Surveyor {
    /// The vault.
    pub vault: Vault,
    /// The volume.
    pub volume: Volume,
    /// Which paths take part.
    pub filter: Filter,
    /// Why we restore.
    pub action: RestoreAction,
    /// All in the volume is a restore's: files are replaced in place.
    pub fresh: bool,
    /// Asked to stop.
    pub stop: Stop,
}

impl Surveyor {
    /// Compares; runs on a blocking thread.
    pub fn run(
        self,
        mut tree: TreeReader,
        mut scan: Option<Scan>,
        mut old: Option<OldIndex>,
        spill: &Path,
    ) -> Result<Survey, RestoreError> {
        let mut survey = Survey {
            steps: Steps::new(spill),
            state: State::default(),
            extra: Vec::new(),
            local: 0,
            completeness: Completeness::Whole,
            place: 0,
            bytes: 0,
            replaced: 0,
            extra_bytes: 0,
            kept: 0,
            leftovers: Vec::new(),
            stale: Stale::default(),
        };
        let mut tally = Tally::default();
        let mut groups = HashSet::new();
        let mut known: Option<Indexed> = None;
        let mut wanted = wait_blocking(tree.next())?;
        let mut found = next_found(&mut scan)?;
        while let Some(side) = side(wanted.as_ref().map(|w| &w.path), found.as_ref().map(|f| &f.path)) {
            self.stop.check()?;
            let here = if side == Side::Left { None } else { found.take() };
            if side == Side::Right {
                if let Some(here) = here {
                    survey.local += 1;
                    advance(&mut old, &mut known, &here.path)?;
                    let before = known.as_ref().filter(|known| known.entry.path == here.path);
                    let goes = self.action != RestoreAction::Continue || before.is_some_and(|before| was_ours(&here, before));
                    if goes && !survey.stale.takes(&self.volume, &here) {
                        let with_it = with_it(&self.volume, &here);
                        for extra in std::iter::once(here).chain(with_it) {
                            survey.extra_bytes += extra.allocated;
                            survey.extra.push((extra.path, extra.file_type));
                        }
                    }
                }
            } else if let Some(entry) = wanted.take() {
                tally.add(self.vault.keys(), &entry);
                survey.local += u64::from(here.is_some());
                if self.filter.admits(&entry.path) {
                    advance(&mut old, &mut known, &entry.path)?;
                    let before = known.as_ref().filter(|known| known.entry.path == entry.path);
                    let first = entry.extra.hard_link.is_none_or(|group| groups.insert(group));
                    let bytes = if first { stored_bytes(&entry.node) } else { 0 };
                    self.step(entry, here, before, bytes, &mut survey)?;
                }
                wanted = wait_blocking(tree.next())?;
            }
            if found.is_none() {
                found = next_found(&mut scan)?;
            }
        }
        survey.state = tally.state;
        if let Some(scan) = scan {
            survey.completeness = scan.completeness();
            survey.leftovers = scan.leftovers().to_vec();
        }
        Ok(survey)
    }

    fn step(
        &self,
        entry: Entry,
        found: Option<Found>,
        before: Option<&Indexed>,
        bytes: u64,
        survey: &mut Survey,
    ) -> Result<(), RestoreError> {
        let (step, stamp, blocks) = match &found {
            None => (Step::Place, None, Vec::new()),
            Some(found) => self.compare(&entry, found, before)?,
        };
        if step != Step::Keep && entry.node.file_type() == FileType::File {
            survey.stale.replace(&entry.path, found.as_ref());
        }
        match step {
            Step::Place => {
                survey.place += 1;
                survey.bytes += bytes;
                survey.replaced += found.as_ref().filter(|_| self.fresh).map_or(0, |found| found.allocated);
            }
            Step::Adjust | Step::Keep => survey.kept += 1,
        }
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
        if self.action == RestoreAction::Merge {
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
        let Ok(file) = self.volume.open_file(&found.path) else { return Ok(false) };
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
            self.stop.check()?;
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

/// The bytes of a file that are not holes.
fn stored_bytes(node: &Node) -> u64 {
    match node {
        Node::File { size, content: Content::Blocks { log2_block, runs }, .. } => {
            let holes = blocks_of(runs).iter().filter(|block| block.is_none()).count() as u64;
            size.saturating_sub(holes << log2_block)
        }
        node => node.size(),
    }
}

/// Whether a local entry is what the index says.
pub fn is_as_recorded(found: &Found, before: &Indexed) -> bool {
    let node = &before.entry.node;
    let facts = Known {
        file_type: node.file_type(),
        attributes: &before.entry.attributes,
        size: node.size(),
        // Where no local file was compared yet, size, times, mode and owner must do.
        stamp: before.stamp.map_or(Some(unlogged(found)), |stamp| Some((stamp.ctime, stamp.inode))),
    };
    judge(found, &facts) == Verdict::Unchanged
}

/// The stamp of a file beside which no log was written since: what a log holds, only a look can tell.
pub fn unlogged(found: &Found) -> (Timestamp, u64) {
    Identity { log: None, ..found.identity }.stamp()
}

/// Whether a local entry that is not wanted came from the vault and nobody has changed it since. A directory's times move
/// with its content, and one that holds anything else is not removed.
fn was_ours(found: &Found, before: &Indexed) -> bool {
    let directories = found.file_type == FileType::Directory && before.entry.node == Node::Directory;
    directories || is_as_recorded(found, before)
}

/// Counts local entries that differ from what the index says: changes that were never pushed.
pub fn count_local_changes(scan: Scan, mut old: Option<OldIndex>, stop: &Stop) -> Result<u64, RestoreError> {
    let mut scan = Some(scan);
    let mut changes = 0;
    let mut found = next_found(&mut scan)?;
    let mut known = next_known(&mut old)?;
    while let Some(side) = side(found.as_ref().map(|f| &f.path), known.as_ref().map(|k| &k.entry.path)) {
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
            known = next_known(&mut old)?;
        }
    }
    Ok(changes)
}

fn next_found(scan: &mut Option<Scan>) -> Result<Option<Found>, RestoreError> {
    Ok(scan.as_mut().and_then(Iterator::next).transpose()?)
}

fn next_known(old: &mut Option<OldIndex>) -> Result<Option<Indexed>, RestoreError> {
    match old {
        Some(old) => Ok(old.next()?),
        None => Ok(None),
    }
}

fn advance(old: &mut Option<OldIndex>, known: &mut Option<Indexed>, path: &RelPath) -> Result<(), RestoreError> {
    while known.as_ref().is_none_or(|known| known.entry.path < *path) {
        *known = next_known(old)?;
        if known.is_none() {
            *old = None;
            return Ok(());
        }
    }
    Ok(())
}
