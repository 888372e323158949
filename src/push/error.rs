//! Why a push fails.

use super::hooks::HookFailed;
use super::rescue::Rescue;
use crate::disk::DiskError;
use crate::fault::{Fault, Kind};
use crate::plain::error::PlainError;
use crate::plan::Refusal;
use crate::remote::plain::PlainStateError;
use crate::remote::session::SessionError;
use crate::runtime::{Closed, Stopped};
use crate::vault::error::VaultError;
use crate::vault::index::IndexError;

/// Why a push failed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// A valve.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The volume.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// What the volume remembers.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The local index or spool.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Another writer took over while this one pushed.
    #[error("{error}; {rescue}")]
    Overtaken {
        /// Who, and when.
        error: Box<VaultError>,
        /// What became of this push.
        rescue: Rescue,
    },
    /// What is called before a push failed.
    #[error("nothing was pushed: {0}")]
    Hook(#[from] HookFailed),
    /// Asked to stop.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The plain layout.
    #[error(transparent)]
    Plain(#[from] PlainError),
    /// A later stage failed; its error is reported instead of this one.
    #[error("the next stage has stopped")]
    NextStage,
}

impl PushError {
    /// The epoch of the writer that took over, if that is why the push failed.
    pub(super) fn fenced_by(&self) -> Option<u32> {
        let error = match self {
            PushError::Overtaken { error, .. } => error,
            PushError::Vault(error) | PushError::Session(SessionError::Vault(error)) => error,
            _ => return None,
        };
        match error {
            VaultError::Fenced { epoch, .. } => Some(*epoch),
            _ => None,
        }
    }

    /// Whether the key or passphrase does not open what lies at the remote.
    pub fn is_wrong_key(&self) -> bool {
        matches!(self, PushError::Vault(error) | PushError::Session(SessionError::Vault(error)) if error.is_wrong_key())
    }
}

impl From<PlainStateError> for PushError {
    fn from(error: PlainStateError) -> PushError {
        match error {
            PlainStateError::Disk(error) => PushError::Disk(error),
            PlainStateError::Plain(error) => PushError::Plain(error),
        }
    }
}

impl From<Closed> for PushError {
    fn from(_: Closed) -> PushError {
        PushError::NextStage
    }
}

impl Fault for PushError {
    fn kind(&self) -> Kind {
        match self {
            PushError::Refused(error) => error.kind(),
            PushError::Disk(error) => error.kind(),
            PushError::Hook(error) => error.kind(),
            PushError::Vault(error) => error.kind(),
            PushError::Session(error) => error.kind(),
            PushError::Index(_) => Kind::Volume,
            PushError::Plain(error) => error.kind(),
            PushError::Overtaken { error, .. } => error.kind(),
            PushError::Stopped(_) => Kind::Unfinished,
            PushError::NextStage => Kind::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            PushError::Refused(error) => error.hint(),
            PushError::Disk(error) => error.hint(),
            PushError::Hook(error) => error.hint(),
            PushError::Vault(error) => error.hint(),
            PushError::Session(error) => error.hint(),
            PushError::Index(_) => {
                Some("check the space and rights of the state directory (--state-dir); run again to continue".into())
            }
            PushError::Plain(error) => error.hint(),
            PushError::Overtaken { rescue, .. } => Some(rescue.hint()),
            PushError::Stopped(_) => Some("nothing was published; run again".into()),
            PushError::NextStage => None,
        }
    }
}
