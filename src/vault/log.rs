//! The log of commits: finding the head, reading commits, verifying the chain.

use super::container::{HEADER_BYTES, Opened};
use super::directory::{Directory, Flags, Plan};
use super::error::VaultError;
use super::meta::Head;
use super::object::{ObjectId, ObjectKind, log_seq};
use super::open::{Newest, Vault};
use super::wire::FormatError;
use crate::runtime::{Stop, limits};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

/// A verified commit with the records of its own.
#[derive(Debug)]
pub struct Commit {
    /// Its number; 1 is the first.
    pub seq: u64,
    /// Its hash H.
    pub hash: [u8; 32],
    /// Directory and records.
    pub head: Head,
}

impl Commit {
    /// What it says.
    pub fn directory(&self) -> &Directory {
        &self.head.directory
    }

    /// The commit that carries the plan in force after it; 0: none.
    pub fn plan_at(&self) -> u64 {
        if self.directory().plan.is_some() { self.seq } else { self.directory().plan_at }
    }

    /// Whether its tree is that of the commit before it.
    pub fn changes_nothing(&self) -> bool {
        self.directory().meta.is_empty() && self.directory().parts.is_empty()
    }

    /// Whether the next writer need not wait.
    pub fn is_released(&self) -> bool {
        self.directory().flags.has(Flags::RELEASE)
    }
}

impl Vault {
    /// The newest commit; `None` in a vault that has none yet.
    pub async fn head(&self, hint: Option<Newest>, stop: &Stop) -> Result<Option<Commit>, VaultError> {
        if let Some(newest) = hint {
            return Ok(Some(self.commit_from(newest.seq, newest.bytes, stop).await?));
        }
        let Some(seq) = self.bucket.first(stop, "log").await?.as_deref().and_then(log_seq) else { return Ok(None) };
        Ok(Some(self.commit(seq, stop).await?))
    }

    /// The commit with a number that must exist.
    pub async fn commit(&self, seq: u64, stop: &Stop) -> Result<Commit, VaultError> {
        match self.try_commit(seq, stop).await? {
            Some(commit) => Ok(commit),
            None => Err(VaultError::Missing { object: ObjectId::commit(seq).key(), referrer: "the log".into() }),
        }
    }

    /// The commit with a number, if it exists.
    pub async fn try_commit(&self, seq: u64, stop: &Stop) -> Result<Option<Commit>, VaultError> {
        match self.bucket.get(stop, &ObjectId::commit(seq).key(), Some(0..limits::HEAD_READ_BYTES)).await {
            Ok(bytes) => Ok(Some(self.commit_from(seq, bytes, stop).await?)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn commit_from(&self, seq: u64, bytes: Bytes, stop: &Stop) -> Result<Commit, VaultError> {
        let id = ObjectId::commit(seq);
        let head = self.head_of(id, bytes, stop).await?;
        let corrupt = |what| VaultError::corrupt(id, what);
        let bytes = head.head_bytes().ok_or_else(|| corrupt(FormatError::Truncated("its head")))?;
        let hash = self.keys().commit_hash(bytes);
        if head.directory.labels.config != self.config_digest {
            return Err(corrupt(FormatError::Invalid("it was written under another vault.json")));
        }
        Ok(Commit { seq, hash, head })
    }

    /// The head of any object, of which `bytes` is all or the first [`limits::HEAD_READ_BYTES`].
    pub async fn head_of(&self, id: ObjectId, bytes: Bytes, stop: &Stop) -> Result<Head, VaultError> {
        let corrupt = |what| VaultError::corrupt(id, what);
        let opened = self.opened(id, &bytes)?;
        let head = self.reach_to(id, bytes, opened.head_len as usize, stop).await?;
        Head::read(opened, head).map_err(corrupt)
    }

    /// The checked header of an object, of which `bytes` is all or the first [`limits::HEAD_READ_BYTES`]: an object that is
    /// shorter than those shows its length.
    fn opened(&self, id: ObjectId, bytes: &[u8]) -> Result<Opened, VaultError> {
        let corrupt = |what| VaultError::corrupt(id, what);
        let opened = Opened::parse(self.identity(), id, bytes).map_err(corrupt)?;
        let read = bytes.len() as u64;
        if read == opened.total_len || (limits::HEAD_READ_BYTES..opened.total_len).contains(&read) {
            return Ok(opened);
        }
        Err(corrupt(FormatError::Invalid("it has another length than its header says")))
    }

    /// The head of an object up to its directory: its records may not be there yet.
    pub async fn directory_from(&self, id: ObjectId, bytes: Bytes, stop: &Stop) -> Result<Head, VaultError> {
        let corrupt = |what| VaultError::corrupt(id, what);
        let opened = self.opened(id, &bytes)?;
        let wanted = bytes.len().max(HEADER_BYTES + opened.dir_len as usize).min(opened.head_len as usize);
        let head = self.reach_to(id, bytes, wanted, stop).await?;
        let head = Head::read(opened, head).map_err(corrupt)?;
        if id.kind == ObjectKind::Commit && head.directory.labels.config != self.config_digest {
            return Err(corrupt(FormatError::Invalid("it was written under another vault.json")));
        }
        Ok(head)
    }

    /// The same head with all its records.
    pub async fn whole_head(&self, head: Head, stop: &Stop) -> Result<Head, VaultError> {
        let (opened, bytes) = head.into_parts();
        let (id, wanted) = (opened.id, opened.head_len as usize);
        let bytes = self.reach_to(id, bytes, wanted, stop).await?;
        Head::read(opened, bytes).map_err(|what| VaultError::corrupt(id, what))
    }

    /// The first `wanted` bytes of an object, of which `bytes` is the start.
    async fn reach_to(&self, id: ObjectId, bytes: Bytes, wanted: usize, stop: &Stop) -> Result<Bytes, VaultError> {
        let mut start = bytes.slice(..bytes.len().min(wanted)).to_vec();
        if start.len() < wanted {
            match self.bucket.get(stop, &id.key(), Some(start.len() as u64..wanted as u64)).await {
                Ok(rest) => start.extend_from_slice(&rest),
                Err(error) if error.is_outside() => return Err(VaultError::corrupt(id, FormatError::Truncated("its head"))),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Bytes::from(start))
    }

    /// Everything needed to read the tree as of a commit: the plan in force and the commits after its runs, with the
    /// chain verified between them. `claimed` says what the caller has already: the commit itself.
    pub async fn view(&self, commit: Commit, stop: &Stop) -> Result<View, VaultError> {
        let plan = match (&commit.directory().plan, commit.plan_at()) {
            (Some(plan), _) => plan.clone(),
            (None, 0) => Plan::default(),
            (None, at) => {
                let carrier = self.commit(at, stop).await?;
                let missing = || VaultError::corrupt(ObjectId::commit(at), FormatError::Invalid("it should carry a plan"));
                carrier.head.directory.plan.ok_or_else(missing)?
            }
        };
        let mut covered = 0;
        for run in &plan.runs {
            if run.from != covered || run.to <= run.from || run.to > commit.seq {
                return Err(VaultError::corrupt(
                    ObjectId::commit(commit.seq),
                    FormatError::Invalid("its plan's runs do not follow each other"),
                ));
            }
            covered = run.to;
        }
        let (merged_to, merged_hash) = plan.runs.last().map_or((0, [0; 32]), |run| (run.to, run.hash));
        let mut tail: Vec<Commit> = stream::iter(merged_to + 1..commit.seq)
            .map(|seq| self.commit(seq, stop))
            .buffered(limits::FETCHES)
            .try_collect()
            .await?;
        tail.push(commit);
        let mut before = merged_hash;
        let mut epoch = 0;
        for link in &tail {
            if link.directory().epoch < epoch {
                return Err(VaultError::corrupt(
                    ObjectId::commit(link.seq),
                    FormatError::Invalid("its epoch is lower than that of the commit before it"),
                ));
            }
            epoch = link.directory().epoch;
            if link.seq > merged_to && link.directory().previous != before {
                return Err(VaultError::corrupt(
                    ObjectId::commit(link.seq),
                    FormatError::Invalid("it does not continue the commit before it"),
                ));
            }
            before = link.hash;
        }
        tail.retain(|link| link.seq > merged_to);
        Ok(View { plan, tail })
    }

    /// The header of an object, checked.
    pub async fn header(&self, id: ObjectId, referrer: &str, stop: &Stop) -> Result<Opened, VaultError> {
        match self.bucket.get(stop, &id.key(), Some(0..HEADER_BYTES as u64)).await {
            Ok(bytes) => Opened::parse(self.identity(), id, &bytes).map_err(|what| VaultError::corrupt(id, what)),
            Err(error) if error.is_not_found() => Err(VaultError::Missing { object: id.key(), referrer: referrer.into() }),
            Err(error) => Err(error.into()),
        }
    }
}

/// A rescue object of a fenced writer.
#[derive(Debug)]
pub struct Fork {
    /// Which object.
    pub id: ObjectId,
    /// Its directory and records.
    pub head: Head,
}

/// The tree as of a commit, not yet merged.
#[derive(Debug)]
pub struct View {
    /// Runs in force.
    pub plan: Plan,
    /// Commits after them, oldest first; the last is the commit itself. Empty if it is merged already.
    pub tail: Vec<Commit>,
}

#[cfg(test)]
mod tests {
    use crate::runtime::Stop;
    use crate::seal::{RawKey, Unlocker};
    use crate::store::{Bucket, Fencing, RemoteConfig};
    use crate::vault::container::Parts;
    use crate::vault::directory::{Directory, PartRef};
    use crate::vault::object::{ObjectId, ObjectKind};
    use crate::vault::open::create;
    use crate::vault::tree::read_part;
    use crate::vault::writer::{Takeover, Writer, WriterName};

    #[tokio::test]
    async fn an_object_of_another_length_than_its_header_says_is_named() {
        let stop = Stop::new();
        let bucket = Bucket::connect(&RemoteConfig::Memory { name: "lengths".into() }).unwrap();
        let vault = create(&bucket, &Unlocker::Raw(RawKey::generate()), &stop).await.unwrap();
        let name = WriterName { id: [1; 16], pod: "made-up".into() };
        let (mut writer, _) = Writer::claim(&vault, None, name, Fencing::Strict, Takeover::Force, &stop).await.unwrap();
        let part = writer.next_object(ObjectKind::Run);
        let sealed = Parts { directory: Directory::default().encode(), ..Parts::default() }.seal(vault.identity(), part).unwrap();
        bucket.put(&stop, &part.key(), sealed.bytes.clone()).await.unwrap();
        for id in [ObjectId::commit(1), part] {
            let whole = bucket.get(&stop, &id.key(), None).await.unwrap();
            for length in [whole.len() - 1, whole.len() + 1, whole.len() + (64 << 10), whole.len()] {
                let mut bytes = whole.to_vec();
                bytes.resize(length, 0);
                bucket.put(&stop, &id.key(), bytes.into()).await.unwrap();
                let referred = PartRef { object: part, length: length as u64, tag: sealed.tag, first: Vec::new(), count: 0 };
                let read = match id.kind {
                    ObjectKind::Commit => vault.commit(1, &stop).await.map(|commit| commit.head),
                    _ => read_part(&vault, &referred, ObjectId::commit(1), &stop).await,
                };
                let said = read.map_or_else(|error| error.to_string(), |_| String::new());
                let named = said.contains(&id.key()) && said.ends_with("it has another length than its header says");
                assert_eq!(named, length != whole.len(), "{id} with {length} bytes: {said}");
            }
        }
    }
}
