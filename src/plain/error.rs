//! What can go wrong with the plain layout.

use crate::contract::layouts::PLAIN_FOLDER;
use crate::fault::{Fault, Kind};
use crate::runtime::Stopped;
use crate::store::StoreError;
use std::io;

/// An error of this room.
#[derive(Debug, thiserror::Error)]
pub enum PlainError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An encrypted vault lies there.
    #[error("{place} holds an encrypted vault, and no key was given")]
    IsVault {
        /// The remote.
        place: String,
    },
    /// The manifest cannot be read.
    #[error("object {object} is damaged: {what}")]
    Damaged {
        /// Its key.
        object: String,
        /// What is wrong.
        what: String,
    },
    /// The manifest was written by a newer program.
    #[error("the manifest at {place} is of version {version}, which this program does not know")]
    TooNew {
        /// The remote.
        place: String,
        /// Its version.
        version: u32,
    },
    /// Another writer published first.
    #[error("another writer ({by}) has published the manifest's entry {seq}: this push does not count")]
    Fenced {
        /// The entry.
        seq: u64,
        /// Its writer.
        by: String,
    },
    /// The predecessor does not go away.
    #[error("{by} still writes there (claim {claim}); waited {waited_s} s for it")]
    Busy {
        /// Its Pod or host.
        by: String,
        /// The number of its claim.
        claim: u64,
        /// How long we waited.
        waited_s: u64,
    },
    /// A local temporary file.
    #[error("a temporary file of the manifest: {0}")]
    Io(#[from] io::Error),
    /// The process was asked to stop.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl PlainError {
    pub(super) fn damaged(object: impl Into<String>, what: impl Into<String>) -> PlainError {
        PlainError::Damaged { object: object.into(), what: what.into() }
    }
}

impl Fault for PlainError {
    fn kind(&self) -> Kind {
        match self {
            PlainError::Store(error) => error.kind(),
            PlainError::IsVault { .. } | PlainError::Busy { .. } => Kind::Refused,
            PlainError::Damaged { .. } => Kind::Corrupt,
            PlainError::TooNew { .. } => Kind::Usage,
            PlainError::Fenced { .. } => Kind::Fenced,
            PlainError::Io(_) => Kind::Volume,
            PlainError::Stopped(_) => Kind::Unfinished,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            PlainError::Store(error) => error.hint(),
            PlainError::IsVault { .. } => Some(
                "set ENCRYPTED_PASSWORD (or ENCRYPTED_PASSWORD_FILE) to its key; for an unencrypted copy name another path"
                    .into(),
            ),
            PlainError::Damaged { .. } => Some(format!(
                "the objects themselves are untouched: remove the folder {PLAIN_FOLDER}/meta at the remote, and a restore takes \
                 every object as a plain file, with default modes"
            )),
            PlainError::TooNew { .. } => Some("use the newer program that wrote it".into()),
            PlainError::Fenced { .. } => Some("two writers share one remote path: give each its own, or stop one".into()),
            PlainError::Busy { .. } => {
                Some("stop the other writer, use `strategy: Recreate`, or take over with --takeover=force".into())
            }
            PlainError::Io(_) => Some("check the space and rights of the state directory (--state-dir)".into()),
            PlainError::Stopped(_) => None,
        }
    }
}
