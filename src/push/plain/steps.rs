//! What a push of the plain layout has to do, step by step: written while trees are compared, read while it is done.

use crate::plain::line::{Line, parse_line, put_line};
use crate::runtime::limits;
use crate::store::Mark;
use serde::{Deserialize, Serialize};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use tempfile::SpooledTempFile;

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

#[derive(Serialize, Deserialize)]
struct Stored {
    op: Op,
    line: String,
    before: Option<String>,
    listed: Option<(String, u64)>,
    displaces: bool,
    ours: bool,
}

/// The steps: in memory while they are few, then in a temporary file.
pub struct Steps {
    file: BufWriter<SpooledTempFile>,
    count: u64,
}

impl Steps {
    /// None yet; many go to a temporary file in `spill`.
    pub fn new(spill: &Path) -> Steps {
        Steps { file: BufWriter::with_capacity(64 << 10, tempfile::spooled_tempfile_in(limits::SPOOL_BYTES, spill)), count: 0 }
    }

    /// Adds the next step.
    pub fn push(&mut self, step: &Step) -> io::Result<()> {
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
        let bytes = serde_json::to_vec(&stored).map_err(io::Error::other)?;
        self.count += 1;
        self.file.write_all(&(bytes.len() as u32).to_le_bytes())?;
        self.file.write_all(&bytes)
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
    /// Whether there is none left.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The next step.
    pub fn next(&mut self) -> io::Result<Option<Step>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let mut length = [0; 4];
        self.input.read_exact(&mut length)?;
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        self.input.read_exact(&mut bytes)?;
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
