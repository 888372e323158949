//! What lies at a remote, and what a volume remembers of it. It refuses what it cannot name; it writes nothing but new
//! vaults and claims, and never takes what a store says as a reason to do without encryption.

mod claiming;
mod index;
pub mod plain;
pub mod session;

pub use index::LocalIndex;

use crate::fault::{Fault, Kind};
use crate::runtime::Stop;
use crate::seal::Unlocker;
use crate::store::{Bucket, StoreError};
use crate::vault::error::VaultError;
use crate::vault::open::{Newest, Presence, Vault, open};

/// A remote that holds something this program can read.
#[derive(Debug)]
pub enum Remote {
    /// The encrypted layout, unlocked, and its newest commit if it has any.
    Vault(Box<Vault>, Option<Newest>),
}

/// What was found. That nothing can be said is an error.
#[derive(Debug)]
pub enum Reached {
    /// Something of ours.
    Present(Remote),
    /// Nothing, and that is proven.
    ProvenEmpty,
}

/// An error of this room.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Neither a key nor a passphrase was given.
    #[error("no key was given: neither ENCRYPTED_PASSWORD nor ENCRYPTED_PASSWORD_FILE is set")]
    NoKey,
    /// Nothing lies there although something must.
    #[error("there is no vault at {place}: nothing lies there")]
    Nothing {
        /// The remote.
        place: String,
    },
}

impl From<StoreError> for RemoteError {
    fn from(error: StoreError) -> RemoteError {
        RemoteError::Vault(VaultError::Store(error))
    }
}

impl Fault for RemoteError {
    fn kind(&self) -> Kind {
        match self {
            RemoteError::Vault(error) => error.kind(),
            RemoteError::NoKey | RemoteError::Nothing { .. } => Kind::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            RemoteError::Vault(error) => error.hint(),
            RemoteError::NoKey => Some(
                "make a key with `key generate`, keep a copy of it apart from this machine, and set ENCRYPTED_PASSWORD to it \
                 (or ENCRYPTED_PASSWORD_FILE to a file that holds it)"
                    .into(),
            ),
            RemoteError::Nothing { .. } => {
                Some("check the remote path and REMOTE_*; the first push (`sync-to-remote`) makes a vault".into())
            }
        }
    }
}

/// The key, or the refusal to go on without one.
pub fn require_key(unlocker: Option<&Unlocker>) -> Result<&Unlocker, RemoteError> {
    unlocker.ok_or(RemoteError::NoKey)
}

/// Looks what lies there and opens it.
pub async fn reach(bucket: &Bucket, unlocker: Option<&Unlocker>, stop: &Stop) -> Result<Reached, RemoteError> {
    match open(bucket, require_key(unlocker)?, stop).await? {
        Presence::Vault(vault, newest) => Ok(Reached::Present(Remote::Vault(vault, newest))),
        Presence::ProvenEmpty => Ok(Reached::ProvenEmpty),
    }
}

/// [`reach`], for whoever can do nothing with an empty remote.
pub async fn reach_existing(bucket: &Bucket, unlocker: Option<&Unlocker>, stop: &Stop) -> Result<Remote, RemoteError> {
    match reach(bucket, unlocker, stop).await? {
        Reached::Present(remote) => Ok(remote),
        Reached::ProvenEmpty => Err(RemoteError::Nothing { place: bucket.describe() }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Reached, Remote, reach, reach_existing};
    use crate::fault::{Fault, Kind};
    use crate::runtime::Stop;
    use crate::seal::{RawKey, Unlocker};
    use crate::store::{Bucket, RemoteConfig};
    use crate::vault::open::create;
    use bytes::Bytes;

    fn memory(name: &str) -> Bucket {
        Bucket::connect(&RemoteConfig::Memory { name: name.into() }).unwrap()
    }

    #[tokio::test]
    async fn without_a_key_nothing_is_asked_and_the_way_to_one_is_shown() {
        let bucket = memory("no key");
        let error = reach(&bucket, None, &Stop::new()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.hint().unwrap().contains("key generate"), "{error}");
        assert_eq!(bucket.requests().get + bucket.requests().list, 0);
    }

    #[tokio::test]
    async fn empty_present_and_foreign_are_told_apart() {
        let (bucket, stop) = (memory("told apart"), Stop::new());
        let key = Unlocker::Raw(RawKey::generate());
        assert!(matches!(reach(&bucket, Some(&key), &stop).await.unwrap(), Reached::ProvenEmpty));
        let error = reach_existing(&bucket, Some(&key), &stop).await.unwrap_err();
        assert!(error.to_string().contains("there is no vault at memory 'told apart'"), "{error}");

        bucket.put(&stop, "holiday.jpg", Bytes::from_static(b"x")).await.unwrap();
        let error = reach(&bucket, Some(&key), &stop).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.to_string().contains("'holiday.jpg' lies there"), "{error}");
        bucket.delete(&stop, "holiday.jpg").await.unwrap();

        create(&bucket, &key, &stop).await.unwrap();
        let Remote::Vault(_, newest) = reach_existing(&bucket, Some(&key), &stop).await.unwrap();
        assert!(newest.is_none());
    }
}
