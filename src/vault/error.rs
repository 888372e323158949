//! What can go wrong with a vault.

use super::object::ObjectId;
use super::wire::FormatError;
use crate::fault::{Fault, Kind};
use crate::runtime::Stopped;
use crate::seal::WrongKey;
use crate::store::StoreError;

/// An error of this room.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored object is not what a key holder wrote under that name.
    #[error("object {object} is damaged or was replaced: {what}")]
    Corrupt {
        /// Its key.
        object: String,
        /// What is wrong.
        what: FormatError,
    },
    /// An object that something refers to is not there.
    #[error("object {object} is missing although {referrer} refers to it")]
    Missing {
        /// Its key.
        object: String,
        /// Who refers to it.
        referrer: String,
    },
    /// Something else lies at the remote.
    #[error("{place} holds no vault, but it is not empty: '{found}' lies there")]
    NotAVault {
        /// The remote.
        place: String,
        /// One name found.
        found: String,
    },
    /// The vault was made by a newer program.
    #[error("the vault at {place} uses a feature this program does not know: {what}")]
    TooNew {
        /// The remote.
        place: String,
        /// The feature.
        what: String,
    },
    /// The raw key opens no slot.
    #[error("wrong key for the vault at {place}: expected one of the slots {expected}, this key would be slot {got}")]
    WrongKey {
        /// The remote.
        place: String,
        /// Slots that exist.
        expected: String,
        /// The slot this key would have.
        got: String,
    },
    /// The passphrase opens no slot.
    #[error("wrong passphrase for the vault at {place}: it opens none of the slots {expected}")]
    WrongPassphrase {
        /// The remote.
        place: String,
        /// Slots that exist.
        expected: String,
    },
    /// The key could not be used at all.
    #[error(transparent)]
    Key(#[from] WrongKey),
    /// Another writer has taken over.
    #[error("fenced: {by} took over with epoch {epoch} at commit {seq}; this writer's epoch is {ours}")]
    Fenced {
        /// The new writer's Pod or host.
        by: String,
        /// Its epoch.
        epoch: u32,
        /// Where it was met.
        seq: u64,
        /// Our epoch.
        ours: u32,
    },
    /// Another process writes under this writer's identity.
    #[error("another process writes as this writer (epoch {epoch}): the volume or its state directory was copied")]
    SharedIdentity {
        /// The epoch both use.
        epoch: u32,
    },
    /// The store broke its promise.
    #[error("the store does not honour conditional creates: {what}")]
    BrokenStore {
        /// How it showed.
        what: String,
    },
    /// Whether the commit was stored could not be found out in time.
    #[error("commit {seq}: the store's answer was lost and it could not be asked again in time")]
    Unknown {
        /// The commit.
        seq: u64,
        /// The last thing the store said.
        source: StoreError,
    },
    /// The predecessor does not go away.
    #[error("{by} still writes to the vault (commit {seq}, epoch {epoch}); waited {waited_s} s for it")]
    Busy {
        /// Its Pod or host.
        by: String,
        /// Its newest commit.
        seq: u64,
        /// Its epoch.
        epoch: u32,
        /// How long we waited.
        waited_s: u64,
    },
    /// Somebody else keeps claiming or publishing.
    #[error("another writer was faster each of the {tries} times that this one tried to claim the vault")]
    Contended {
        /// Our tries.
        tries: u32,
    },
    /// The store shows an older state than was seen before.
    #[error("the remote shows commit {found}, but this volume has seen commit {pinned}: it was rolled back or replaced")]
    Rollback {
        /// What it shows.
        found: u64,
        /// What was seen.
        pinned: u64,
    },
    /// No such restore point.
    #[error("there is no restore point {asked}; {known}")]
    NoSuchPoint {
        /// What was asked for.
        asked: String,
        /// What there is.
        known: String,
    },
    /// Asked to stop.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl VaultError {
    /// Whether the key or passphrase does not fit.
    pub fn is_wrong_key(&self) -> bool {
        matches!(self, VaultError::WrongKey { .. } | VaultError::WrongPassphrase { .. } | VaultError::Key(_))
    }

    /// A damaged object.
    pub fn corrupt(object: ObjectId, what: FormatError) -> VaultError {
        VaultError::Corrupt { object: object.key(), what }
    }
}

impl Fault for VaultError {
    fn kind(&self) -> Kind {
        match self {
            VaultError::Store(error) => error.kind(),
            VaultError::Corrupt { .. } | VaultError::Missing { .. } | VaultError::BrokenStore { .. } => Kind::Corrupt,
            VaultError::NotAVault { .. } | VaultError::Rollback { .. } | VaultError::Busy { .. } => Kind::Refused,
            VaultError::TooNew { .. } | VaultError::NoSuchPoint { .. } => Kind::Usage,
            VaultError::WrongKey { .. } | VaultError::WrongPassphrase { .. } | VaultError::Key(_) => Kind::Denied,
            VaultError::Fenced { .. } | VaultError::SharedIdentity { .. } | VaultError::Contended { .. } => Kind::Fenced,
            VaultError::Unknown { .. } => Kind::Unavailable,
            VaultError::Stopped(_) => Kind::Unfinished,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            VaultError::Store(error) => return error.hint(),
            VaultError::Corrupt { .. } | VaultError::Missing { .. } => {
                "nothing was changed; `check --level data` lists all damage, and `snapshots` lists older restore points that may not need this object"
            }
            VaultError::NotAVault { .. } => "name an empty path with -d/--dst, or the path of an existing vault",
            VaultError::TooNew { .. } => "use a newer version of this program",
            VaultError::WrongKey { .. } | VaultError::WrongPassphrase { .. } | VaultError::Key(_) => {
                "check ENCRYPTED_PASSWORD or ENCRYPTED_PASSWORD_FILE; nothing was written"
            }
            VaultError::Fenced { .. } => {
                "stop this writer; what it had not pushed is still on its volume: restore elsewhere and compare, or push it with -f"
            }
            VaultError::SharedIdentity { .. } => {
                "run again: this copy then claims the vault for itself, and the other one is fenced"
            }
            VaultError::BrokenStore { .. } => {
                "use a store with conditional creates, or make sure that only one writer exists (`doctor` probes it)"
            }
            VaultError::Unknown { .. } => "run again: it finds out and continues",
            VaultError::Busy { .. } => "stop the other writer, use `strategy: Recreate`, or take over with --takeover=force",
            VaultError::Contended { .. } => "make sure that only one writer uses this path",
            VaultError::Rollback { .. } => {
                "if the remote was restored from an older copy on purpose, repeat with --accept-rollback"
            }
            VaultError::NoSuchPoint { .. } => "`snapshots` lists the restore points",
            VaultError::Stopped(_) => "run again to continue",
        };
        Some(text.to_string())
    }
}
