//! What a push of the plain layout has to do, step by step: written while trees are compared, read while it is done.

use crate::disk::{Spool, SpoolReader};
use crate::plain::error::PlainError;
use crate::plain::line::{Line, parse_line, put_line};
use crate::plain::names::key_of;
use crate::store::{Bucket, Mark, Unneeded};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// What to do at one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// The file may have changed: read it, and store it if it has.
    Put,
    /// Record it; it has no object, or its object is right.
    Record,
    /// It is no more: delete its object and record that.
    Delete,
    /// An object that nobody owns, to be deleted.
    DeleteForeign,
    /// It is no more, and there is no object of ours to delete.
    Drop,
    /// Its object is left over from an earlier pass: delete it again.
    Sweep,
    /// The object of an earlier pass is gone: its trace is no longer needed.
    Forget,
}

/// One step, in path order.
#[derive(Debug, Clone)]
pub struct Step {
    /// What.
    pub op: Op,
    /// The entry as it is to be recorded; of a [`Op::Put`], what is known before reading.
    pub line: Line,
    /// The entry as it was recorded.
    pub before: Option<Line>,
    /// The object that lies there, if the remote was listed.
    pub listed: Option<(Mark, u64)>,
    /// A directory gives way to this file, or a file to this directory: what is in the way goes first.
    pub displaces: bool,
    /// A pass that was broken off may have written the object.
    pub ours: bool,
}

impl Step {
    /// The object of the path as it lies there, as far as is known.
    pub fn there(&self, bucket: &Bucket) -> Unneeded {
        let recorded = self.before.as_ref().map_or(0, Line::size);
        let listed = self.listed.as_ref().map_or(0, |(_, size)| *size);
        Unneeded { key: key_of(bucket, &self.line.path), size: listed.max(recorded) }
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    op: Op,
    line: String,
    before: Option<String>,
    listed: Option<(String, u64)>,
    displaces: bool,
    ours: bool,
}

/// Steps being written.
pub struct Steps(Spool);

impl Steps {
    /// None yet; many go to a temporary file in `spill`.
    pub fn new(spill: &Path) -> Steps {
        Steps(Spool::new(spill))
    }

    /// Adds the next step.
    pub fn push(&mut self, step: &Step) -> Result<(), PlainError> {
        let text = |line: &Line| {
            let mut out = Vec::new();
            put_line(&mut out, line, true);
            String::from_utf8_lossy(&out).trim_end().to_owned()
        };
        let stored = Stored {
            op: step.op,
            line: text(&step.line),
            before: step.before.as_ref().map(text),
            listed: step.listed.as_ref().map(|(mark, size)| (mark.0.clone(), *size)),
            displaces: step.displaces,
            ours: step.ours,
        };
        Ok(self.0.push(&serde_json::to_vec(&stored).map_err(io::Error::other)?)?)
    }

    /// Turns to reading.
    pub fn read(self) -> Result<StepReader, PlainError> {
        Ok(StepReader(self.0.read()?))
    }
}

/// Steps being read, once.
pub struct StepReader(SpoolReader);

impl StepReader {
    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next step.
    pub fn next(&mut self) -> Result<Option<Step>, PlainError> {
        let Some(bytes) = self.0.next()? else { return Ok(None) };
        let stored: Stored = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
        let line = |text: &String| parse_line(text.as_bytes()).map_err(io::Error::other);
        Ok(Some(Step {
            op: stored.op,
            line: line(&stored.line)?,
            before: stored.before.as_ref().map(line).transpose()?,
            listed: stored.listed.map(|(mark, size)| (Mark(mark), size)),
            displaces: stored.displaces,
            ours: stored.ours,
        }))
    }
}
