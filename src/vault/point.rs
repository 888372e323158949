//! Restore points: listing them, and finding the one that somebody means.

use super::directory::Directory;
use super::error::VaultError;
use super::log::{Commit, Fork};
use super::meta::Head;
use super::object::{ObjectId, log_seq, object_of};
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

    /// The number of the commit whose tree it is; of a rescue, whose tree is no commit's, one that no commit has.
    pub fn tree_seq(&self) -> u64 {
        match self {
            Chosen::Commit(commit) => commit.seq,
            Chosen::Rescue(..) => u64::MAX,
        }
    }

    /// The object that promises its totals.
    pub fn object(&self) -> ObjectId {
        match self {
            Chosen::Commit(commit) => ObjectId::commit(commit.seq),
            Chosen::Rescue(fork, _) => fork.id,
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
    Ok(vault.resolve(wanted, &head, stop).await?.unwrap_or(Chosen::Commit(head)))
}

impl Vault {
    /// [`resolve`] for whoever keeps the head; `None` is the head itself.
    pub async fn resolve(&self, wanted: &Wanted, head: &Commit, stop: &Stop) -> Result<Option<Chosen>, VaultError> {
        let found = match wanted {
            Wanted::Head => return Ok(None),
            Wanted::Sequence(seq) if *seq == head.seq => return Ok(None),
            Wanted::Time(ms) if head.directory().time_ms <= *ms => return Ok(None),
            Wanted::Sequence(seq) if (1..head.seq).contains(seq) => self.try_commit(*seq, stop).await?,
            Wanted::Sequence(_) => None,
            Wanted::Time(ms) => newest_until(self, *ms, head.seq, stop).await?,
            Wanted::Rescue(name) => return rescue(self, name, stop).await.map(Some),
        };
        match found {
            Some(commit) => Ok(Some(Chosen::Commit(commit))),
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
    let id = name.split_once('/').and_then(|(folder, counter)| object_of("fork", folder, counter));
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
    let commit = follows(vault, id, &head.directory, stop).await?;
    let head = vault.whole_head(head, stop).await?;
    Ok(Chosen::Rescue(Box::new(Fork { id, head }), commit))
}

/// The commit that a fork follows, which must be the one that is there.
pub async fn follows(vault: &Vault, id: ObjectId, fork: &Directory, stop: &Stop) -> Result<Commit, VaultError> {
    let invalid = |what| VaultError::corrupt(id, FormatError::Invalid(what));
    if Some(fork.claim()) != id.claim() || fork.labels.config != vault.config_digest {
        return Err(invalid("it was written under another claim or another vault.json"));
    }
    let missing = || VaultError::Missing { object: ObjectId::commit(fork.fork_of).key(), referrer: id.key() };
    let commit = vault.try_commit(fork.fork_of, stop).await?.ok_or_else(missing)?;
    if fork.previous != commit.hash {
        return Err(invalid("it follows another commit than the one that is there"));
    }
    Ok(commit)
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
        found.extend(files.iter().filter_map(|file| object_of("fork", &folder.name, &file.name)));
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

#[cfg(test)]
mod tests {
    use super::{Wanted, commit_numbers, rescues, resolve};
    use crate::fault::{Fault, Kind};
    use crate::runtime::Stop;
    use crate::seal::{RawKey, Unlocker};
    use crate::store::{Bucket, Fencing, RemoteConfig};
    use crate::vault::container::Parts;
    use crate::vault::directory::{Directory, Flags};
    use crate::vault::object::{ObjectId, ObjectKind};
    use crate::vault::open::{Vault, create};
    use crate::vault::writer::{Takeover, Writer, WriterName};
    use bytes::Bytes;

    /// A vault whose commits 2 and up were written at these times, and its writer.
    async fn vault(name: &str, times: &[u64], stop: &Stop) -> (Vault, Writer) {
        let bucket = Bucket::connect(&RemoteConfig::Memory { name: name.into() }).unwrap();
        let vault = create(&bucket, &Unlocker::Raw(RawKey::generate()), stop).await.unwrap();
        let name = WriterName { id: [1; 16], pod: "made-up".into() };
        let (mut writer, _) = Writer::claim(&vault, None, name, Fencing::Strict, Takeover::Force, stop).await.unwrap();
        for time_ms in times {
            let directory = Directory { time_ms: *time_ms, ..writer.directory() };
            writer.publish_empty(directory, stop).await.unwrap();
        }
        (vault, writer)
    }

    async fn found(vault: &Vault, wanted: Wanted, stop: &Stop) -> Result<String, String> {
        let head = vault.head(None, stop).await.unwrap();
        let chosen = resolve(vault, &wanted, head, stop).await;
        chosen.map(|chosen| chosen.name()).map_err(|error| {
            assert_eq!(error.kind(), Kind::Usage, "{error}");
            error.to_string()
        })
    }

    #[tokio::test]
    async fn a_time_means_the_newest_commit_not_after_it() {
        // The claim is commit 1 and has today's date; what is older than all others is deleted below.
        let (stop, times) = (Stop::new(), [1000, 2000, 2000, 3000, 9000]);
        let (vault, _) = vault("times", &times, &stop).await;
        vault.bucket.delete(&stop, &ObjectId::commit(1).key()).await.unwrap();
        for (ms, seq) in
            [(1000, "2"), (1999, "2"), (2000, "4"), (2999, "4"), (3000, "5"), (8999, "5"), (9000, "6"), (10_000, "6")]
        {
            assert_eq!(found(&vault, Wanted::Time(ms), &stop).await.as_deref(), Ok(seq), "{ms}");
        }
        let message = found(&vault, Wanted::Time(999), &stop).await.unwrap_err();
        let expected = "there is no restore point at or before 1970-01-01T00:00:00Z; the oldest is 2 (1970-01-01T00:00:01Z), the newest 6 (1970-01-01T00:00:09Z)";
        assert_eq!(message, expected);
    }

    #[tokio::test]
    async fn a_number_means_that_commit_and_no_other() {
        let stop = Stop::new();
        let (vault, _) = vault("numbers", &[1000, 2000], &stop).await;
        assert_eq!(commit_numbers(&vault, &stop).await.unwrap(), [3, 2, 1]);
        for (wanted, seq) in [(Wanted::Head, "3"), (Wanted::Sequence(3), "3"), (Wanted::Sequence(1), "1")] {
            assert_eq!(found(&vault, wanted, &stop).await.as_deref(), Ok(seq));
        }
        for seq in [0, 4, u64::MAX] {
            assert!(found(&vault, Wanted::Sequence(seq), &stop).await.unwrap_err().contains(&format!("no restore point {seq};")));
        }
    }

    #[tokio::test]
    async fn a_rescue_is_found_by_either_form_of_its_name() {
        let stop = Stop::new();
        let (vault, mut writer) = vault("rescues", &[1000], &stop).await;
        let id = writer.next_object(ObjectKind::Fork);
        let directory = Directory { fork_of: writer.base.seq, flags: Flags::default(), ..writer.directory() };
        let parts = Parts { directory: directory.encode(), ..Parts::default() };
        let sealed = parts.seal(vault.identity(), id).unwrap();
        vault.bucket.put(&stop, &id.key(), sealed.bytes).await.unwrap();
        vault.bucket.put(&stop, "fork/other/thing", Bytes::from_static(b"x")).await.unwrap();
        assert_eq!(rescues(&vault, &stop).await.unwrap(), [id]);
        let name = id.key().trim_start_matches("fork/").to_string();
        for given in [name.clone(), id.key()] {
            assert_eq!(found(&vault, Wanted::Rescue(given), &stop).await, Ok(format!("rescue:{name}")));
        }
        let message = found(&vault, Wanted::Rescue("x/y".into()), &stop).await.unwrap_err();
        assert!(message.contains(&format!("rescues: rescue:{name}")), "{message}");
    }
}
