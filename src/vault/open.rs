//! Finding a vault, unlocking it, making a new one.

use super::container::Identity;
use super::error::VaultError;
use super::object::log_seq;
use super::slot::{SlotFile, read_slot};
use crate::contract::layouts::{PLAIN_FOLDER, VAULT_CONFIG};
use crate::runtime::{Stop, clock, limits};
use crate::seal::{Keys, MasterKey, SlotSecret, Unlocker, random_bytes};
use crate::store::{Bucket, Create, StoreError};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An unlocked vault. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Vault {
    /// Where it lies.
    pub bucket: Bucket,
    /// Its identity, random.
    pub id: [u8; 16],
    /// Digest of vault.json, which every commit repeats.
    pub config_digest: [u8; 32],
    /// The slot that opened it.
    pub slot: String,
    keys: Arc<Keys>,
    master: MasterKey,
}

impl Vault {
    /// What identifies it in every object.
    pub fn identity(&self) -> Identity<'_> {
        Identity { keys: &self.keys, vault_id: self.id }
    }

    /// Its keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(super) fn master(&self) -> &MasterKey {
        &self.master
    }
}

/// What lies at the remote. That nothing can be said is an error.
#[derive(Debug)]
pub enum Presence {
    /// A vault; with the newest commit's number and first bytes, if it has commits.
    Vault(Box<Vault>, Option<Newest>),
    /// Nothing, by an authenticated not-found and a successful listing.
    ProvenEmpty,
}

/// The newest name in the log, and the first bytes of that object.
#[derive(Debug, Clone)]
pub struct Newest {
    /// Its number.
    pub seq: u64,
    /// [`limits::HEAD_READ_BYTES`] of it, or all.
    pub bytes: Bytes,
}

/// The file `vault.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ConfigFile {
    format: String,
    version: u32,
    vault_id: String,
    created: u64,
    incompat: Vec<String>,
    t_fence_h: u32,
    mac: String,
}

impl ConfigFile {
    /// The bytes its MAC covers.
    fn covered(&self) -> Vec<u8> {
        let mut out = b"svault\0".to_vec();
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(self.vault_id.as_bytes());
        out.extend_from_slice(&self.created.to_le_bytes());
        out.extend_from_slice(&self.t_fence_h.to_le_bytes());
        for name in &self.incompat {
            out.extend_from_slice(name.as_bytes());
            out.push(0);
        }
        out
    }
}

/// Looks what lies at the remote and unlocks it. Two round trips.
pub async fn open(bucket: &Bucket, unlocker: &Unlocker, stop: &Stop) -> Result<Presence, VaultError> {
    let (config, newest) = futures::join!(bucket.get(stop, VAULT_CONFIG, None), bucket.first(stop, "log"));
    let config = match config {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return prove_empty(bucket, newest?, stop).await,
        Err(error) => return Err(error.into()),
    };
    let parsed = parse_config(bucket, &config)?;
    let id = vault_id(&parsed).ok_or_else(|| damaged_config("its vault_id is not 32 hexadecimal digits"))?;
    let seq = match newest?.as_deref().and_then(log_seq) {
        None => newest_after_all(bucket, stop).await?,
        seq => seq,
    };
    let (master, newest) = futures::join!(unlock(bucket, &id, unlocker, stop), first_bytes(bucket, seq, stop));
    let (slot, master) = master?;
    let keys = Arc::new(Keys::derive(&master, &id));
    if HEXLOWER.encode(&keys.config_mac(&parsed.covered())) != parsed.mac {
        return Err(damaged_config("its MAC does not fit: it was changed"));
    }
    let vault = Vault { bucket: bucket.clone(), id, config_digest: Keys::file_digest(&config), slot, keys, master };
    Ok(Presence::Vault(Box::new(vault), newest?))
}

/// A vault without commits is one that was made and not yet written to: by anybody, so the first may appear right now. A
/// listing that goes on hiding commits, or shows something else first, must not make a restore believe so.
async fn newest_after_all(bucket: &Bucket, stop: &Stop) -> Result<Option<u64>, VaultError> {
    if bucket.size(stop, &super::object::ObjectId::commit(1).key()).await?.is_none() {
        return Ok(None);
    }
    let newest = bucket.first(stop, "log").await?.as_deref().and_then(log_seq);
    newest.map(Some).ok_or_else(|| VaultError::Corrupt {
        object: "log/".into(),
        what: super::wire::FormatError::Invalid("the store does not list the newest commit first, although there are commits"),
    })
}

async fn first_bytes(bucket: &Bucket, seq: Option<u64>, stop: &Stop) -> Result<Option<Newest>, VaultError> {
    let Some(seq) = seq else { return Ok(None) };
    match bucket.get(stop, &super::object::ObjectId::commit(seq).key(), Some(0..limits::HEAD_READ_BYTES)).await {
        Ok(bytes) => Ok(Some(Newest { seq, bytes })),
        Err(error) => Err(error.into()),
    }
}

/// Without vault.json the remote is empty only if a listing says so too. Slots and probes without it are what an
/// interrupted creation leaves; anything else is somebody's.
async fn prove_empty(bucket: &Bucket, newest: Option<String>, stop: &Stop) -> Result<Presence, VaultError> {
    let foreign = |found: String| {
        let found = if found == PLAIN_FOLDER { format!("{found}: a plain remote, without encryption") } else { found };
        VaultError::NotAVault { place: bucket.describe(), found }
    };
    if let Some(name) = newest {
        return Err(foreign(format!("log/{name}")));
    }
    let mut found = None;
    bucket
        .list_page_by_page(stop, "", None, &mut |listed| {
            if !matches!(listed.name.as_str(), "keys" | "probe") && found.is_none() {
                found = Some(listed.name);
            }
        })
        .await?;
    match found {
        Some(name) => Err(foreign(name)),
        None => Ok(Presence::ProvenEmpty),
    }
}

fn damaged_config(what: &'static str) -> VaultError {
    VaultError::Corrupt { object: VAULT_CONFIG.into(), what: super::wire::FormatError::Invalid(what) }
}

fn parse_config(bucket: &Bucket, bytes: &[u8]) -> Result<ConfigFile, VaultError> {
    let config: ConfigFile = serde_json::from_slice(bytes).map_err(|_| damaged_config("it is not the JSON of a vault"))?;
    if config.format != "svault" {
        return Err(VaultError::NotAVault {
            place: bucket.describe(),
            found: format!("a {VAULT_CONFIG} of format '{}'", config.format),
        });
    }
    if config.version != 1 || !config.incompat.is_empty() {
        let what = format!("version {} {}", config.version, config.incompat.join(" "));
        return Err(VaultError::TooNew { place: bucket.describe(), what });
    }
    Ok(config)
}

fn vault_id(config: &ConfigFile) -> Option<[u8; 16]> {
    HEXLOWER.decode(config.vault_id.as_bytes()).ok()?.try_into().ok()
}

/// Finds the slot of the secret: a raw key's by its name, a passphrase's by trying all.
async fn unlock(bucket: &Bucket, id: &[u8; 16], unlocker: &Unlocker, stop: &Stop) -> Result<(String, MasterKey), VaultError> {
    if let Unlocker::Raw(key) = unlocker {
        let name = SlotSecret::Raw(key).slot_name(id);
        return match read_slot(bucket, &name, stop).await {
            Ok(slot) => match slot.open(unlocker, id).await {
                Ok(master) => Ok((name, master)),
                // The name says that it is this key's slot: not the key is wrong, but what is in the slot.
                Err(VaultError::Key(_)) => Err(slot.damaged("it does not open with the key that it is named after")),
                Err(error) => Err(error),
            },
            Err(VaultError::Store(error)) if error.is_not_found() => {
                let expected = slot_names(bucket, stop).await?;
                Err(VaultError::WrongKey { place: bucket.describe(), expected: in_words(&expected), got: name })
            }
            Err(error) => Err(error),
        };
    }
    let names = slot_names(bucket, stop).await?;
    for name in names.iter().filter(|name| name.starts_with('p')) {
        match read_slot(bucket, name, stop).await?.open(unlocker, id).await {
            Ok(master) => return Ok((name.clone(), master)),
            Err(VaultError::Key(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Err(VaultError::WrongPassphrase { place: bucket.describe(), expected: in_words(&names) })
}

fn in_words(names: &[String]) -> String {
    if names.is_empty() { "(none)".into() } else { names.join(", ") }
}

/// The names of all slots.
pub async fn slot_names(bucket: &Bucket, stop: &Stop) -> Result<Vec<String>, StoreError> {
    let listed = bucket.list(stop, "keys").await?;
    Ok(listed
        .iter()
        .filter_map(|l| l.name.strip_suffix(".json"))
        .filter(|n| n.starts_with(['r', 'p']))
        .map(String::from)
        .collect())
}

/// Makes a new vault at a proven-empty remote. The slot is stored first and `vault.json` last: a crash in between
/// leaves a slot that belongs to nothing, and the remote still counts as empty.
pub async fn create(bucket: &Bucket, unlocker: &Unlocker, stop: &Stop) -> Result<Vault, VaultError> {
    let id: [u8; 16] = random_bytes();
    let master = MasterKey::generate();
    let keys = Arc::new(Keys::derive(&master, &id));
    let slot = SlotFile::seal(&master, unlocker, &id, "first").await?;
    super::publish::create_own(bucket, &slot.key(), slot.bytes(), stop).await?;
    let mut config = ConfigFile {
        format: "svault".into(),
        version: 1,
        vault_id: HEXLOWER.encode(&id),
        created: clock::wall_ms(),
        incompat: Vec::new(),
        t_fence_h: 24,
        mac: String::new(),
    };
    config.mac = HEXLOWER.encode(&keys.config_mac(&config.covered()));
    let bytes = Bytes::from(serde_json::to_vec_pretty(&config).expect("the file is plain data"));
    match super::publish::create_own(bucket, VAULT_CONFIG, bytes.clone(), stop).await? {
        Create::New => {}
        // Somebody was faster: theirs is the vault, and our key may or may not open it.
        Create::Exists => {
            return match open(bucket, unlocker, stop).await? {
                Presence::Vault(vault, _) => Ok(*vault),
                Presence::ProvenEmpty => Err(damaged_config("it appeared and disappeared again")),
            };
        }
    }
    Ok(Vault { bucket: bucket.clone(), id, config_digest: Keys::file_digest(&bytes), slot: slot.name, keys, master })
}
