//! Restore points: listing them, and finding the one that somebody means.

use super::directory::Directory;
use super::error::VaultError;
use super::log::{Commit, Fork};
use super::meta::Head;
use super::object::{ObjectId, ObjectKind, claim_of_folder, log_seq};
use super::open::Vault;
use super::tree::TreeReader;
use super::wire::FormatError;
use crate::runtime::{Stop, limits};
use crate::telemetry::moment;

/// Which point somebody means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The newest.
    Head,
    /// The commit with this number.
    Sequence(u64),
    /// The newest one at or before this time, in milliseconds since 1970.
    Time(u64),
    /// What a fenced writer left, by the name of its object with or without `fork/`.
    Rescue(String),
}

/// The point that was meant.
#[derive(Debug)]
pub enum Chosen {
    /// A commit.
    Commit(Commit),
    /// A rescue, and the commit it follows.
    Rescue(Box<Fork>, Commit),
}

impl Chosen {
    /// The commit whose tree it is, or follows.
    pub fn commit(&self) -> &Commit {
        match self {
            Chosen::Commit(commit) | Chosen::Rescue(_, commit) => commit,
        }
    }

    /// What it says about itself.
    pub fn directory(&self) -> &Directory {
        match self {
            Chosen::Commit(commit) => commit.directory(),
            Chosen::Rescue(fork, _) => &fork.head.directory,
        }
    }

    /// Its name as `--at` takes it.
    pub fn name(&self) -> String {
        match self {
            Chosen::Commit(commit) => commit.seq.to_string(),
            Chosen::Rescue(fork, _) => rescue_name(fork.id),
        }
    }

    /// Begins to read its tree.
    pub async fn tree(self, vault: &Vault, stop: &Stop) -> Result<TreeReader, VaultError> {
        let (commit, fork) = match self {
            Chosen::Commit(commit) => (commit, None),
            Chosen::Rescue(fork, commit) => (commit, Some(fork.head)),
        };
        Ok(TreeReader::new(vault, vault.view(commit, stop).await?, fork, stop))
    }
}

/// The name of a rescue as `snapshots` lists it and `--at` takes it.
pub fn rescue_name(id: ObjectId) -> String {
    format!("rescue:{}", id.key().trim_start_matches("fork/"))
}

/// Finds the point that is meant. `head` is the newest commit. Nothing is written, and what does not exist is an error
/// that says what does.
pub async fn resolve(vault: &Vault, wanted: &Wanted, head: Option<Commit>, stop: &Stop) -> Result<Chosen, VaultError> {
    if let Wanted::Rescue(name) = wanted {
        return rescue(vault, name, stop).await;
    }
    let Some(head) = head else {
        return Err(VaultError::NoSuchPoint { asked: in_words(wanted), known: "the vault has no commits yet".into() });
    };
    Ok(Chosen::Commit(vault.resolve(wanted, &head, stop).await?.unwrap_or(head)))
}

impl Vault {
    /// [`resolve`] for whoever can do nothing with a rescue; `None` is the head itself.
    pub async fn resolve(&self, wanted: &Wanted, head: &Commit, stop: &Stop) -> Result<Option<Commit>, VaultError> {
        let found = match wanted {
            Wanted::Head => return Ok(None),
            Wanted::Sequence(seq) if *seq == head.seq => return Ok(None),
            Wanted::Time(ms) if head.directory().time_ms <= *ms => return Ok(None),
            Wanted::Sequence(seq) if (1..head.seq).contains(seq) => self.try_commit(*seq, stop).await?,
            Wanted::Sequence(_) => None,
            Wanted::Time(ms) => newest_until(self, *ms, head.seq, stop).await?,
            Wanted::Rescue(_) => {
                let known = "a rescue cannot be restored by this version; `ls --at` lists it".to_string();
                return Err(VaultError::NoSuchPoint { asked: in_words(wanted), known });
            }
        };
        match found {
            Some(commit) => Ok(Some(commit)),
            None => Err(VaultError::NoSuchPoint { asked: in_words(wanted), known: known_range(self, stop).await? }),
        }
    }
}

fn in_words(wanted: &Wanted) -> String {
    match wanted {
        Wanted::Head => "at all".into(),
        Wanted::Sequence(seq) => seq.to_string(),
        Wanted::Time(ms) => format!("at or before {}", moment(*ms)),
        Wanted::Rescue(name) => format!("rescue:{name}"),
    }
}

/// The newest commit before `after` that is not younger than `ms`, by bisection: the times of commits ascend but for
/// differences between the clocks of writers. Commits that are gone are older than any that is not.
async fn newest_until(vault: &Vault, ms: u64, after: u64, stop: &Stop) -> Result<Option<Commit>, VaultError> {
    let (mut fits, mut too_young) = (0, after);
    let mut newest = None;
    while fits + 1 < too_young {
        let middle = fits + (too_young - fits) / 2;
        match vault.try_commit(middle, stop).await? {
            Some(commit) if commit.directory().time_ms > ms => too_young = middle,
            found => {
                fits = middle;
                newest = found;
            }
        }
    }
    Ok(newest)
}

/// What there is, for an error message.
async fn known_range(vault: &Vault, stop: &Stop) -> Result<String, VaultError> {
    let seqs = commit_numbers(vault, stop).await?;
    let (Some(newest), Some(oldest)) = (seqs.first(), seqs.last()) else { return Ok("the vault has no commits yet".into()) };
    let (oldest, newest) = futures::try_join!(vault.commit(*oldest, stop), vault.commit(*newest, stop))?;
    let shown = |commit: &Commit| format!("{} ({})", commit.seq, moment(commit.directory().time_ms));
    Ok(format!("the oldest is {}, the newest {}", shown(&oldest), shown(&newest)))
}

async fn rescue(vault: &Vault, name: &str, stop: &Stop) -> Result<Chosen, VaultError> {
    let name = name.strip_prefix("fork/").unwrap_or(name);
    let id = name.split_once('/').and_then(|(folder, counter)| rescue_id(folder, counter));
    let head = match id {
        Some(id) => directory_of(vault, id, stop).await?.map(|head| (id, head)),
        None => None,
    };
    let Some((id, head)) = head else {
        let names: Vec<String> = rescues(vault, stop).await?.into_iter().map(rescue_name).collect();
        let known = match names.as_slice() {
            [] => "there are no rescues".to_string(),
            names => format!("rescues: {}", names.join(", ")),
        };
        return Err(VaultError::NoSuchPoint { asked: format!("rescue:{name}"), known });
    };
    let commit = vault.commit(head.directory.fork_of, stop).await?;
    if head.directory.previous != commit.hash {
        let what = FormatError::Invalid("it follows another commit than the one that is there");
        return Err(VaultError::corrupt(id, what));
    }
    let head = vault.whole_head(head, stop).await?;
    Ok(Chosen::Rescue(Box::new(Fork { id, head }), commit))
}

/// A rescue's object by the parts of its name, written exactly as they are stored.
fn rescue_id(folder: &str, counter: &str) -> Option<ObjectId> {
    let id = ObjectId::of_claim(ObjectKind::Fork, claim_of_folder(folder)?, u32::from_str_radix(counter, 16).ok()?);
    (id.key() == format!("fork/{folder}/{counter}")).then_some(id)
}

/// The numbers of all commits, newest first: one request for each thousand.
pub async fn commit_numbers(vault: &Vault, stop: &Stop) -> Result<Vec<u64>, VaultError> {
    let listed = vault.bucket.list(stop, "log").await?;
    let mut seqs: Vec<u64> = listed.iter().filter_map(|listed| log_seq(&listed.name)).collect();
    seqs.sort_unstable_by(|one, other| other.cmp(one));
    Ok(seqs)
}

/// All rescues, by name.
pub async fn rescues(vault: &Vault, stop: &Stop) -> Result<Vec<ObjectId>, VaultError> {
    let mut found = Vec::new();
    for folder in vault.bucket.list(stop, "fork").await?.iter().filter(|listed| listed.is_folder) {
        let files = vault.bucket.list(stop, &format!("fork/{}", folder.name)).await?;
        found.extend(files.iter().filter_map(|file| rescue_id(&folder.name, &file.name)));
    }
    Ok(found)
}

/// What an object says about itself, without its records: one request. `None` when it does not exist.
pub async fn directory_of(vault: &Vault, id: ObjectId, stop: &Stop) -> Result<Option<Head>, VaultError> {
    match vault.bucket.get(stop, &id.key(), Some(0..limits::HEAD_READ_BYTES)).await {
        Ok(bytes) => vault.directory_from(id, bytes, stop).await.map(Some),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
