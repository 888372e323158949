//! Finding the restore point a person means.

use super::error::VaultError;
use super::log::Commit;
use super::open::Vault;
use crate::runtime::Stop;

/// Which state of the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The newest.
    Head,
    /// The commit with this number.
    Sequence(u64),
    /// The newest commit not after this time, ms since 1970 by the writers' clocks.
    Time(u64),
    /// What a fenced writer left, by its key under `fork/`.
    Rescue(String),
}

impl Vault {
    /// The commit that is meant. A log is read by halving, not from end to end.
    pub async fn resolve(&self, wanted: &Wanted, head: &Commit, stop: &Stop) -> Result<Option<Commit>, VaultError> {
        match wanted {
            Wanted::Head => Ok(None),
            Wanted::Sequence(seq) if *seq == head.seq => Ok(None),
            Wanted::Sequence(seq) if (1..head.seq).contains(seq) => Ok(Some(self.commit(*seq, stop).await?)),
            Wanted::Sequence(seq) => {
                Err(VaultError::NoSuchPoint { asked: seq.to_string(), known: format!("the log goes from 1 to {}", head.seq) })
            }
            Wanted::Time(ms) if *ms >= head.directory().time_ms => Ok(None),
            Wanted::Time(ms) => self.newest_not_after(*ms, head.seq, stop).await.map(Some),
            Wanted::Rescue(name) => {
                let known = "rescue points cannot be restored by this version".to_string();
                Err(VaultError::NoSuchPoint { asked: name.clone(), known })
            }
        }
    }

    async fn newest_not_after(&self, ms: u64, head: u64, stop: &Stop) -> Result<Commit, VaultError> {
        let (mut low, mut high) = (1, head);
        let mut best = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let commit = self.commit(middle, stop).await?;
            if commit.directory().time_ms <= ms {
                best = Some(commit);
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        best.ok_or_else(|| VaultError::NoSuchPoint { asked: "at that time".into(), known: "the first commit is newer".into() })
    }
}
