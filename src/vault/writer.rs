//! Who may write, and the one way to publish a commit (FORMAT.md, "Writing").

use super::container::Sealed;
use super::directory::{Directory, Flags, Labels, State};
use super::error::VaultError;
use super::log::Commit;
use super::object::{Claim, ObjectId, ObjectKind};
use super::open::Vault;
use super::orphans::Upkeep;
use super::publish::{Owner, store_sealed};
use crate::runtime::{Stop, clock, limits};
use crate::seal::random_u32;
use crate::store::Fencing;
use std::time::{Duration, Instant};

/// What the next commit continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// The head's number; 0 before the first commit.
    pub seq: u64,
    /// Its hash.
    pub hash: [u8; 32],
    /// Its totals.
    pub state: State,
    /// The commit that carries the plan in force.
    pub plan_at: u64,
    /// What a reader holds of the commits after the plan's runs.
    pub tail_bytes: u64,
    /// Whether its writer said that it is done.
    pub released: bool,
}

impl Base {
    /// The state before the first commit.
    pub const EMPTY: Base = Base {
        seq: 0,
        hash: [0; 32],
        state: State { files: 0, dirs: 0, bytes: 0, sum: [0; 32] },
        plan_at: 0,
        tail_bytes: 0,
        released: true,
    };

    /// Continuing a commit.
    pub fn of(commit: &Commit) -> Base {
        Base::after(commit.seq, commit.hash, commit.directory())
    }

    /// Continuing the commit of this number, hash and directory.
    fn after(seq: u64, hash: [u8; 32], directory: &Directory) -> Base {
        let plan_at = if directory.plan.is_some() { seq } else { directory.plan_at };
        let released = directory.flags.has(Flags::RELEASE);
        Base { seq, hash, state: directory.state, plan_at, tail_bytes: directory.tail_bytes, released }
    }
}

/// How this writer is called in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterName {
    /// Random, one per volume.
    pub id: [u8; 16],
    /// The Pod or host.
    pub pod: String,
}

/// When a predecessor that has not released the head is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takeover {
    /// At once.
    Force,
    /// After this much observed silence; fails when the predecessor still writes after the timeout.
    Wait {
        /// Silence that counts as gone.
        silence: Duration,
        /// The whole wait.
        timeout: Duration,
    },
}

/// The right to write: an epoch, a place in the log, and the moment that was last confirmed.
#[derive(Debug)]
pub struct Writer {
    /// The vault.
    pub vault: Vault,
    /// The epoch and its nonce.
    pub claim: Claim,
    /// Its name.
    pub name: WriterName,
    /// What the next commit continues.
    pub base: Base,
    /// What the store can do.
    pub fencing: Fencing,
    /// What later writers need to clean up; `None` when an older program made the claim.
    pub upkeep: Option<Upkeep>,
    counter: u32,
    confirmed: Moment,
}

/// A moment on the clock that runs through suspension.
#[derive(Debug, Clone, Copy)]
struct Moment {
    monotonic: Instant,
    boot: Duration,
}

impl Moment {
    fn now() -> Moment {
        Moment { monotonic: clock::now(), boot: clock::since_boot() }
    }

    fn age(&self) -> Duration {
        let boot = clock::since_boot().saturating_sub(self.boot);
        boot.max(clock::now().duration_since(self.monotonic))
    }
}

/// Half of the time for which log keys are never deleted: a commit is acknowledged only when the head it continued
/// was confirmed more recently.
const HALF_FENCE: Duration = Duration::from_secs(12 * 3600);

impl Writer {
    /// Continues a claim of an earlier process, whose last commit is the head and whose objects so far are `counter`.
    pub fn resume(vault: Vault, head: &Commit, name: WriterName, fencing: Fencing, counter: u32) -> Writer {
        let (claim, upkeep) = (head.directory().claim(), head.directory().upkeep);
        let counter = counter.max(upkeep.map_or(0, |upkeep| upkeep.counter));
        Writer { vault, claim, name, base: Base::of(head), fencing, upkeep, counter, confirmed: Moment::now() }
    }

    /// Claims a new epoch on top of `head`. Other claims may come first; then theirs is the head. Returns the writer and
    /// the head that was claimed over.
    pub async fn claim(
        vault: &Vault,
        mut head: Option<Commit>,
        name: WriterName,
        fencing: Fencing,
        policy: Takeover,
        stop: &Stop,
    ) -> Result<(Writer, Option<Commit>), VaultError> {
        for _ in 0..limits::CLAIM_TRIES {
            head = match (policy, head) {
                (Takeover::Wait { silence, timeout }, Some(commit)) => {
                    Some(wait_for_silence(vault, commit, silence, timeout, stop).await?)
                }
                (_, head) => head,
            };
            let base = head.as_ref().map_or(Base::EMPTY, Base::of);
            let before = head.as_ref().map_or(0, |commit| commit.directory().epoch);
            let epoch = before.checked_add(1).ok_or(VaultError::Contended { tries: before })?;
            let claim = Claim { epoch, nonce: random_u32() };
            let upkeep = Some(Upkeep::inherited(head.as_ref().map(Commit::directory), base.seq + 1));
            let confirmed = Moment::now();
            let (vault, name) = (vault.clone(), name.clone());
            let mut writer = Writer { vault, claim, name, base, fencing, upkeep, counter: 0, confirmed };
            let directory = Directory { flags: Flags::CLAIM, ..writer.directory() };
            let sealed = writer.seal_commit(&directory)?;
            match store_sealed(&writer.vault.bucket, fencing, &sealed, stop).await? {
                Owner::Ours => {
                    writer.advance(&sealed, &directory);
                    writer.reconfirm(&sealed, stop).await?;
                    return Ok((writer, head));
                }
                Owner::Foreign => head = writer.vault.head(None, stop).await?,
            }
        }
        Err(VaultError::Contended { tries: limits::CLAIM_TRIES })
    }

    /// A directory with everything that is the same in each of this writer's commits.
    pub fn directory(&self) -> Directory {
        Directory {
            epoch: self.claim.epoch,
            nonce: self.claim.nonce,
            writer: self.name.id,
            time_ms: clock::wall_ms(),
            previous: self.base.hash,
            state: self.base.state,
            plan_at: self.base.plan_at,
            tail_bytes: self.base.tail_bytes,
            labels: self.labels(),
            upkeep: self.upkeep.map(|upkeep| Upkeep { counter: self.counter, ..upkeep }),
            ..Directory::default()
        }
    }

    /// The labels of this writer's objects.
    pub fn labels(&self) -> Labels {
        let app = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_string();
        Labels { app, pod: self.name.pod.clone(), config: self.vault.config_digest }
    }

    /// A name for the next pack, part or fork.
    pub fn next_object(&mut self, kind: ObjectKind) -> ObjectId {
        let id = ObjectId::of_claim(kind, self.claim, self.counter);
        self.counter = self.counter.checked_add(1).expect("an epoch has fewer than 2^32 objects");
        id
    }

    /// The next unused counter.
    pub fn counter(&self) -> u32 {
        self.counter
    }

    /// Counters below this one are used.
    pub fn skip_to(&mut self, counter: u32) {
        self.counter = self.counter.max(counter);
    }

    /// The commit that will come next.
    pub fn next_commit(&self) -> ObjectId {
        ObjectId::commit(self.base.seq + 1)
    }

    fn seal_commit(&self, directory: &Directory) -> Result<Sealed, VaultError> {
        let id = self.next_commit();
        let parts = super::container::Parts { directory: directory.encode(), ..Default::default() };
        parts.seal(self.vault.identity(), id).map_err(|what| VaultError::corrupt(id, what))
    }

    /// Stores a pack or part under its own name.
    pub async fn upload(vault: &Vault, fencing: Fencing, sealed: &Sealed, stop: &Stop) -> Result<(), VaultError> {
        match store_sealed(&vault.bucket, fencing, sealed, stop).await? {
            Owner::Ours => Ok(()),
            Owner::Foreign => Err(VaultError::SharedIdentity { epoch: sealed.id.a as u32 }),
        }
    }

    /// Publishes a commit without records (a release, a plan).
    pub async fn publish_empty(&mut self, directory: Directory, stop: &Stop) -> Result<(), VaultError> {
        let sealed = self.seal_commit(&directory)?;
        self.publish(&sealed, &directory, stop).await
    }

    /// The only point of decision: creates the next commit. After success the writer continues it.
    pub async fn publish(&mut self, sealed: &Sealed, directory: &Directory, stop: &Stop) -> Result<(), VaultError> {
        if self.confirmed.age() >= HALF_FENCE {
            self.find_own_head(stop).await?;
        }
        let seq = self.base.seq + 1;
        assert_eq!(sealed.id, ObjectId::commit(seq), "a commit is sealed for the place after the head");
        match store_sealed(&self.vault.bucket, self.fencing, sealed, stop).await {
            Ok(Owner::Ours) => {}
            Ok(Owner::Foreign) => return Err(self.fenced_by(seq, stop).await?),
            Err(VaultError::Store(source)) if source.is_ambiguous() => return Err(VaultError::Unknown { seq, source }),
            Err(error) => return Err(error),
        }
        self.reconfirm(sealed, stop).await?;
        self.advance(sealed, directory);
        Ok(())
    }

    fn advance(&mut self, sealed: &Sealed, directory: &Directory) {
        let hash = self.vault.keys().commit_hash(&sealed.bytes[..sealed.head_len as usize]);
        self.base = Base::after(sealed.id.a, hash, directory);
        self.confirmed = Moment::now();
    }

    /// Before success is reported: if the answer took so long that the key might have been deleted and made again, the
    /// commit counts only if it is on the chain that ends at the head.
    async fn reconfirm(&mut self, sealed: &Sealed, stop: &Stop) -> Result<(), VaultError> {
        if self.confirmed.age() < HALF_FENCE && self.fencing == Fencing::Strict {
            return Ok(());
        }
        let head = self.vault.head(None, stop).await?;
        let own = self.vault.keys().commit_hash(&sealed.bytes[..sealed.head_len as usize]);
        match head {
            Some(head) if head.hash == own => Ok(()),
            Some(head) => Err(self.fenced(&head)),
            None => Err(VaultError::BrokenStore { what: "a commit that was stored is not listed".into() }),
        }
    }

    async fn find_own_head(&mut self, stop: &Stop) -> Result<(), VaultError> {
        let asked = Moment::now();
        match self.vault.head(None, stop).await? {
            Some(head) if head.hash == self.base.hash => {
                self.confirmed = asked;
                Ok(())
            }
            Some(head) => Err(self.fenced(&head)),
            None => Err(VaultError::BrokenStore { what: "the log is empty although commits were stored".into() }),
        }
    }

    fn fenced(&self, by: &Commit) -> VaultError {
        let directory = by.directory();
        if directory.claim() == self.claim {
            return VaultError::SharedIdentity { epoch: self.claim.epoch };
        }
        VaultError::Fenced { by: directory.labels.pod.clone(), epoch: directory.epoch, seq: by.seq, ours: self.claim.epoch }
    }

    /// What it means that another's commit has our place.
    async fn fenced_by(&self, seq: u64, stop: &Stop) -> Result<VaultError, VaultError> {
        let other = self.vault.commit(seq, stop).await?;
        if other.directory().epoch < self.claim.epoch {
            let what =
                format!("commit {seq} has epoch {} although epoch {} had begun", other.directory().epoch, self.claim.epoch);
            return Ok(VaultError::BrokenStore { what });
        }
        Ok(self.fenced(&other))
    }
}

/// Waits until the head is released or shows no new commit for `silence`; returns the head then. Only time that passes
/// here counts; no clock of another machine is compared.
async fn wait_for_silence(
    vault: &Vault,
    mut head: Commit,
    silence: Duration,
    timeout: Duration,
    stop: &Stop,
) -> Result<Commit, VaultError> {
    let began = clock::now();
    let mut quiet_since = began;
    let mut said = false;
    while !head.is_released() {
        let now = clock::now();
        if now.duration_since(quiet_since) >= silence {
            return Ok(head);
        }
        if now.duration_since(began) >= timeout {
            let directory = head.directory();
            let by = directory.labels.pod.clone();
            return Err(VaultError::Busy { by, seq: head.seq, epoch: directory.epoch, waited_s: timeout.as_secs() });
        }
        if !said {
            said = true;
            let by = &head.directory().labels.pod;
            tracing::info!(writer = %by, commit = head.seq, silence_s = silence.as_secs(), "the last writer did not release the vault: waiting for its silence");
        }
        stop.or(clock::sleep(limits::TAKEOVER_POLL.min(silence))).await?;
        while let Some(next) = vault.try_commit(head.seq + 1, stop).await? {
            head = next;
            quiet_since = clock::now();
        }
    }
    Ok(head)
}
