//! What can go wrong at the remote, and what each answer of a store means.

use crate::fault::{Fault, Kind};
use crate::runtime::Stopped;
use crate::secret::Secret;
use crate::tree::Shown;
use std::fmt;

/// What was asked of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Get,
    Create,
    Put,
    List,
    Head,
    Delete,
    /// An upload in parts that is given up.
    Abort,
    /// The bucket itself.
    Make,
}

impl Act {
    fn verb(self) -> &'static str {
        match self {
            Act::Get => "read",
            Act::Create => "create",
            Act::Put => "write",
            Act::List => "list",
            Act::Head => "look at",
            Act::Delete => "delete",
            Act::Abort => "give up the parts of",
            Act::Make => "make",
        }
    }

    /// The S3 right the request needs.
    pub(super) fn right(self) -> &'static str {
        match self {
            Act::Get | Act::Head => "s3:GetObject",
            Act::Create | Act::Put => "s3:PutObject",
            Act::List => "s3:ListBucket",
            Act::Delete => "s3:DeleteObject",
            Act::Abort => "s3:AbortMultipartUpload",
            Act::Make => "s3:CreateBucket",
        }
    }
}

/// One request in words: the beginning of every message.
#[derive(Debug, Clone)]
pub struct Asked {
    pub(super) act: Act,
    pub(super) key: String,
    pub(super) place: String,
}

impl fmt::Display for Asked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.act == Act::Make {
            return write!(out, "could not make the bucket of {}", self.place);
        }
        write!(out, "could not {} '{}' in {}", self.act.verb(), Shown(self.key.as_bytes()), self.place)
    }
}

/// A request to the remote that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store says that the object does not exist.
    #[error("{0}: there is no such object")]
    NotFound(Box<Asked>),
    /// The wanted range begins at or after the object's end.
    #[error("{0}: the object ends before the wanted range")]
    Outside(Box<Asked>),
    /// The store does not allow it.
    #[error("{asked}: {answer}")]
    Denied {
        /// The request.
        asked: Box<Asked>,
        /// What came back.
        answer: String,
        /// What to do.
        hint: String,
    },
    /// The store could not be reached, or could not do it now.
    #[error("{asked}: {answer}{}", tried(*tries))]
    Unavailable {
        /// The request.
        asked: Box<Asked>,
        /// What came back.
        answer: String,
        /// What to do.
        hint: Option<String>,
        /// Whether another try may succeed.
        temporary: bool,
        /// Whether the store asks for patience.
        busy: bool,
        /// How often it was tried.
        tries: u32,
    },
    /// The request may or may not have been carried out.
    #[error("{0}; it may or may not have been stored")]
    Ambiguous(Box<StoreError>),
    /// The store does not offer what was asked.
    #[error("{asked}: {answer}")]
    NotSupported {
        /// The request.
        asked: Box<Asked>,
        /// What came back.
        answer: String,
    },
    /// The remote's description is wrong.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The process was asked to stop.
    #[error("{0}: stopped by a signal")]
    Stopped(Box<Asked>),
    /// A key that this program should never have formed.
    #[error("'{0}' is not a usable key")]
    BadKey(String),
}

/// What it came to, or that the wish to stop came first.
pub(super) fn or_stopped<T>(done: Result<Result<T, StoreError>, Stopped>, asked: &Asked) -> Result<T, StoreError> {
    done.unwrap_or_else(|_| Err(StoreError::Stopped(Box::new(asked.clone()))))
}

fn tried(tries: u32) -> String {
    if tries > 1 { format!(" (tried {tries} times)") } else { String::new() }
}

impl StoreError {
    /// The object does not exist: the store said so.
    pub fn is_not_found(&self) -> bool {
        matches!(self, StoreError::NotFound(_))
    }

    /// The wanted range begins at or after the object's end.
    pub fn is_outside(&self) -> bool {
        matches!(self, StoreError::Outside(_))
    }

    /// A create that may or may not have been applied: read the key to find out.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, StoreError::Ambiguous(_))
    }

    /// The store does not know the conditional create.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, StoreError::NotSupported { .. })
    }

    /// The same request may succeed when it is sent again.
    pub fn is_temporary(&self) -> bool {
        match self {
            StoreError::Unavailable { temporary, .. } => *temporary,
            StoreError::Ambiguous(inner) => inner.is_temporary(),
            _ => false,
        }
    }

    pub(super) fn usage(message: impl Into<String>, hint: impl Into<String>) -> StoreError {
        StoreError::Usage { message: message.into(), hint: Some(hint.into()) }
    }

    pub(super) fn unavailable(asked: &Asked, answer: impl Into<String>, temporary: bool) -> StoreError {
        let asked = Box::new(asked.clone());
        StoreError::Unavailable { asked, answer: answer.into(), hint: None, temporary, busy: false, tries: 1 }
    }

    /// The store asks for patience, or did not answer in time.
    pub(super) fn is_busy(&self) -> bool {
        match self {
            StoreError::Unavailable { busy, .. } => *busy,
            StoreError::Ambiguous(inner) => inner.is_busy(),
            _ => false,
        }
    }

    /// The same error of a store that asks for patience.
    pub(super) fn of_busy(mut self, is_busy: bool) -> StoreError {
        if let StoreError::Unavailable { busy, .. } = &mut self {
            *busy = is_busy;
        }
        self
    }

    pub(super) fn hinted(mut self, text: impl Into<String>) -> StoreError {
        if let StoreError::Unavailable { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// The same error with secrets wiped from what the store said.
    pub(super) fn without(mut self, secrets: &[&Secret<String>]) -> StoreError {
        let text = match &mut self {
            StoreError::Denied { answer, .. }
            | StoreError::Unavailable { answer, .. }
            | StoreError::NotSupported { answer, .. }
            | StoreError::Usage { message: answer, .. } => answer,
            _ => return self,
        };
        for secret in secrets {
            *text = text.replace(secret.expose().as_str(), "<secret>");
        }
        self
    }

    /// The same error after so many tries.
    pub fn after(mut self, count: u32) -> StoreError {
        match &mut self {
            StoreError::Unavailable { tries, .. } => *tries = count,
            StoreError::Ambiguous(inner) => {
                if let StoreError::Unavailable { tries, .. } = inner.as_mut() {
                    *tries = count;
                }
            }
            _ => {}
        }
        self
    }
}

impl Fault for StoreError {
    fn kind(&self) -> Kind {
        match self {
            StoreError::NotFound(_) | StoreError::Unavailable { .. } => Kind::Unavailable,
            StoreError::Denied { .. } => Kind::Denied,
            StoreError::Ambiguous(inner) => inner.kind(),
            StoreError::NotSupported { .. } | StoreError::Usage { .. } => Kind::Usage,
            StoreError::Stopped(_) => Kind::Unfinished,
            // Nobody asks past an object's end but where something says that there is more.
            StoreError::Outside(_) => Kind::Corrupt,
            StoreError::BadKey(_) => Kind::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            StoreError::Denied { hint, .. } => Some(hint.clone()),
            StoreError::Unavailable { hint, .. } | StoreError::Usage { hint, .. } => hint.clone(),
            StoreError::Ambiguous(inner) => inner.hint(),
            StoreError::Outside(_) => Some("the object was cut short; `check --level data` lists all damage".into()),
            _ => None,
        }
    }
}
