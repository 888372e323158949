//! An error as a person reads it.

use super::Kind;
use std::error::Error;
use std::fmt;

/// What every room's error enum offers beside its message.
pub trait Fault: Error {
    /// What the caller must do.
    fn kind(&self) -> Kind;
    /// What a person can do, if anything: one or two sentences.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// A rendered error: the top of the story, its causes, and the way out.
#[derive(Debug)]
pub struct Report {
    /// What the caller must do.
    pub kind: Kind,
    /// What we were doing and what came back.
    pub message: String,
    /// Deeper causes, outermost first.
    pub causes: Vec<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Report {
    /// A report without causes.
    pub fn new(kind: Kind, message: impl Into<String>) -> Report {
        Report { kind, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// The same report with a way out.
    pub fn hint(mut self, hint: impl Into<String>) -> Report {
        self.hint = Some(hint.into());
        self
    }
}

impl<F: Fault> From<F> for Report {
    fn from(fault: F) -> Report {
        Report::of(&fault)
    }
}

impl Report {
    /// What an error tells.
    pub fn of(fault: &impl Fault) -> Report {
        let mut causes: Vec<String> = Vec::new();
        let message = fault.to_string();
        let mut next = fault.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            // thiserror's transparent variants repeat the inner message: say it once.
            if text != message && causes.last() != Some(&text) && !message.contains(&text) {
                causes.push(text);
            }
            next = cause.source();
        }
        Report { kind: fault.kind(), message, causes, hint: fault.hint() }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.message)?;
        for cause in &self.causes {
            write!(out, "\n  because: {cause}")?;
        }
        if let Some(hint) = &self.hint {
            write!(out, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}
