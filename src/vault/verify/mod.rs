//! `check`: looks for damage and says all that it finds. It never changes anything, and damage of one object never keeps
//! it from looking at the others. Only what makes the answer unknown (no access, no answer) is an error.
//!
//! Memory: what the listing says (some 50 bytes for each object of the vault), one hash for each commit, and what the
//! bounds of this room and of [`limits`] allow. It does not grow with the number of files.

mod data;
mod forks;
mod inventory;
mod log;
mod records;
mod trees;

use self::inventory::Inventory;
use super::container::Opened;
use super::directory::State;
use super::error::VaultError;
use super::object::{ObjectId, ObjectKind};
use super::open::{Vault, slot_names};
use super::slot::read_slot;
use super::tree::TreeReader;
use crate::runtime::{Stop, limits};
use crate::telemetry::Progress;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How deep to look; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The newest state can be opened, and every object it needs is there.
    Quick,
    /// Every record of every commit is whole, and the records add up to the states that commits promise.
    Meta,
    /// Every byte is read, opened and compared with the identity it should have.
    Data,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Damage {
    /// The object's key.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Damage, the first [`limits::NAMED_DAMAGE`] of it.
    pub damage: Vec<Damage>,
    /// All of it, counted.
    pub damaged: u64,
    /// Paths of the newest state whose content is damaged or missing, the first few of them.
    pub lost: Vec<String>,
    /// All of them, counted.
    pub lost_total: u64,
    /// The newest commit; 0 when there is none.
    pub head: u64,
    /// The newest commit's totals.
    pub state: State,
    /// Commits in the log.
    pub commits: u64,
    /// Objects in the vault, and their bytes.
    pub objects: u64,
    /// See `objects`.
    pub bytes: u64,
    /// Objects that were read whole.
    pub read: u64,
    /// Packs and parts that nothing refers to: left by interrupted pushes, and harmless. Counted from [`Level::Meta`] on.
    pub unreferenced: u64,
    /// Names that are not the vault's; they do no harm.
    pub foreign: u64,
}

/// Looks for damage.
pub async fn verify(vault: &Vault, level: Level, progress: &Progress, stop: &Stop) -> Result<Findings, VaultError> {
    progress.note_phase("listing");
    let inventory = Inventory::read(vault, stop).await?;
    let mut check = Check::new(vault, inventory, progress, stop);
    check.quick().await?;
    if level == Level::Quick {
        check.fork_heads().await?;
    }
    if level >= Level::Meta {
        check.slots().await?;
        check.log().await?;
        check.forks().await?;
        check.packs().await?;
        check.count_unreferenced();
        check.plans().await?;
        check.fork_trees().await?;
    }
    if level >= Level::Data {
        check.contents().await?;
    }
    if level >= Level::Meta {
        check.head_tree().await?;
    }
    Ok(check.findings)
}

/// A check in progress.
struct Check<'a> {
    vault: &'a Vault,
    inventory: Inventory,
    progress: &'a Progress,
    stop: &'a Stop,
    findings: Findings,
    /// Objects whose content cannot be trusted or is not there.
    bad: HashSet<ObjectId>,
    known: HashSet<Damage>,
    /// Objects that something refers to.
    referenced: HashSet<ObjectId>,
    /// H and totals of the commits that could be read.
    read: BTreeMap<u64, ([u8; 32], State)>,
    /// Commits that carry a plan.
    carriers: Vec<u64>,
    /// Commits below this one may be gone.
    floor: u64,
    budget: Budget,
}

impl<'a> Check<'a> {
    fn new(vault: &'a Vault, inventory: Inventory, progress: &'a Progress, stop: &'a Stop) -> Check<'a> {
        let findings = Findings {
            head: inventory.head(),
            commits: inventory.commits.len() as u64,
            objects: inventory.sizes.len() as u64,
            bytes: inventory.sizes.values().sum(),
            foreign: inventory.foreign,
            ..Findings::default()
        };
        Check {
            vault,
            inventory,
            progress,
            stop,
            findings,
            bad: HashSet::new(),
            known: HashSet::new(),
            referenced: HashSet::new(),
            read: BTreeMap::new(),
            carriers: Vec::new(),
            floor: 1,
            budget: Budget::new(),
        }
    }

    /// Notes damage, once.
    fn wrong(&mut self, object: ObjectId, what: impl Into<String>) {
        self.bad.insert(object);
        self.wrong_key(object.key(), what);
    }

    fn wrong_key(&mut self, object: String, what: impl Into<String>) {
        let damage = Damage { object, what: what.into() };
        if self.findings.damage.len() >= limits::NAMED_DAMAGE {
            self.findings.damaged += 1;
        } else if self.known.insert(damage.clone()) {
            self.findings.damaged += 1;
            self.findings.damage.push(damage);
        }
    }

    /// Notes an error that is damage; returns any other.
    fn note(&mut self, object: ObjectId, error: VaultError) -> Result<(), VaultError> {
        match error {
            VaultError::Corrupt { object: key, what } => {
                // A tree may fail at any object that it is read from.
                if key == object.key() {
                    self.bad.insert(object);
                }
                self.wrong_key(key, what.to_string());
            }
            VaultError::Missing { object: key, referrer } => self.wrong_key(key, missing(&referrer)),
            VaultError::Store(error) if error.is_not_found() || error.is_outside() => {
                self.wrong(object, "it is shorter than it says, or gone since it was listed");
            }
            error => return Err(error),
        }
        Ok(())
    }

    /// An object that something refers to must be there, with that length.
    fn present(&mut self, object: ObjectId, length: Option<u64>, referrer: ObjectId) {
        self.referenced.insert(object);
        match (self.inventory.sizes.get(&object), length) {
            (None, _) => self.wrong(object, missing(&referrer.key())),
            (Some(size), Some(length)) if *size != length => {
                let what = format!("it has {size} bytes, and {} says {length}", referrer.key());
                self.wrong(object, what);
            }
            (Some(_), _) => {}
        }
    }

    /// An object is as long as its header says.
    fn length(&mut self, opened: &Opened) {
        if let Some(size) = self.inventory.sizes.get(&opened.id).copied().filter(|size| *size != opened.total_len) {
            self.wrong(opened.id, format!("it has {size} bytes, and its header says {}", opened.total_len));
        }
    }

    /// Every slot can be read. Whether it opens the vault is known only to who has its key.
    async fn slots(&mut self) -> Result<(), VaultError> {
        for name in slot_names(&self.vault.bucket, self.stop).await? {
            match read_slot(&self.vault.bucket, &name, self.stop).await {
                Ok(_) => {}
                Err(VaultError::Corrupt { object, what }) => self.wrong_key(object, what.to_string()),
                Err(VaultError::Store(error)) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What nothing refers to, once every commit and fork was read.
    fn count_unreferenced(&mut self) {
        let objects = self.inventory.sizes.keys().filter(|id| matches!(id.kind, ObjectKind::Pack | ObjectKind::Run));
        self.findings.unreferenced = objects.filter(|id| !self.referenced.contains(id)).count() as u64;
    }

    /// Begins to read the tree as of a commit.
    async fn tree(&self, seq: u64) -> Result<(State, TreeReader), VaultError> {
        let commit = self.vault.commit(seq, self.stop).await?;
        let promised = commit.directory().state;
        let view = self.vault.view(commit, self.stop).await?;
        Ok((promised, TreeReader::new(self.vault, view, None, self.stop)))
    }
}

fn missing(referrer: &str) -> String {
    format!("it is missing although {referrer} refers to it")
}

/// The bytes that reads may hold at once. An object larger than the whole budget is read alone.
#[derive(Debug, Clone)]
struct Budget(Arc<Semaphore>);

/// A part of the budget, given back when dropped.
type Share = Option<OwnedSemaphorePermit>;

const BUDGET_UNIT_BYTES: u64 = 1024;
const BUDGET_UNITS: u32 = (limits::FETCH_BYTES as u64 / BUDGET_UNIT_BYTES) as u32;

impl Budget {
    fn new() -> Budget {
        Budget(Arc::new(Semaphore::new(BUDGET_UNITS as usize)))
    }

    /// Waits for room. Shares are given in the order in which they were asked for, so that a large object is not kept
    /// waiting for ever.
    async fn share(&self, bytes: u64) -> Share {
        let units = u32::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES)).unwrap_or(BUDGET_UNITS).clamp(1, BUDGET_UNITS);
        // Never closed: there is always a share in the end.
        Arc::clone(&self.0).acquire_many_owned(units).await.ok()
    }
}

/// Stored bytes that records refer to, by object: their sum, and where the last of them ends.
type References = HashMap<ObjectId, (u64, u64)>;
