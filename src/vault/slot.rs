//! Key slots: the master key wrapped under each key or passphrase that opens the vault.

use super::error::VaultError;
use super::open::{Vault, slot_names};
use super::publish::create_own;
use super::wire::FormatError;
use crate::runtime::{Stop, compute};
use crate::seal::{Argon2Cost, MasterKey, SlotSecret, SlotWrap, Unlocker, WrongKey};
use crate::store::{Bucket, Create};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

/// A file `keys/<slot>.json`.
#[derive(Debug, Clone)]
pub struct SlotFile {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub json: SlotJson,
}

/// The content of a slot file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SlotJson {
    /// Its name again.
    pub slot: String,
    /// Key generation.
    pub r#gen: u16,
    /// `raw32` or `argon2id`.
    pub r#type: String,
    /// A name for people; may be empty.
    pub label: String,
    /// Cost, for `argon2id`. Named here, so that a slot without the field is none.
    #[serde(deserialize_with = "Option::deserialize")]
    pub kdf: Option<KdfJson>,
    salt: String,
    wrapped: String,
    commitment: String,
}

/// Argon2id's parameters.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct KdfJson {
    /// Memory in KiB.
    pub m: u32,
    /// Passes.
    pub t: u32,
    /// Lanes.
    pub p: u32,
}

impl SlotFile {
    /// Wraps the master key under a new secret. A passphrase costs Argon2id's time and memory.
    pub async fn seal(master: &MasterKey, unlocker: &Unlocker, vault_id: &[u8; 16], label: &str) -> Result<SlotFile, VaultError> {
        let (master, unlocker, id) = (master.clone(), unlocker.clone(), *vault_id);
        let label = label.to_string();
        let file = compute("seal a slot", move || -> Result<SlotFile, WrongKey> {
            let secret = SlotSecret::of(&unlocker);
            let name = secret.slot_name(&id);
            let wrap = SlotWrap::seal(&master, secret, &id, 0)?;
            let kdf = match secret {
                SlotSecret::Raw(_) => None,
                SlotSecret::Passphrase(_, cost) => Some(KdfJson { m: cost.memory_kib, t: cost.passes, p: cost.lanes }),
            };
            let json = SlotJson {
                slot: name.clone(),
                r#gen: 0,
                r#type: secret.type_name().into(),
                label,
                kdf,
                salt: HEXLOWER.encode(&wrap.salt),
                wrapped: HEXLOWER.encode(&wrap.wrapped),
                commitment: HEXLOWER.encode(&wrap.commitment),
            };
            Ok(SlotFile { name, json })
        });
        Ok(file.await?)
    }

    /// Where it is stored.
    pub fn key(&self) -> String {
        format!("keys/{}.json", self.name)
    }

    /// As stored.
    pub fn bytes(&self) -> Bytes {
        Bytes::from(serde_json::to_vec_pretty(&self.json).expect("the file is plain data"))
    }

    /// Unwraps the master key.
    pub async fn open(&self, unlocker: &Unlocker, vault_id: &[u8; 16]) -> Result<MasterKey, VaultError> {
        let wrap = self.wrap().ok_or_else(|| self.damaged("its fields are not what a slot has"))?;
        let cost = self.json.kdf.map(|kdf| Argon2Cost { memory_kib: kdf.m, passes: kdf.t, lanes: kdf.p });
        if cost.is_some_and(|cost| !cost.is_acceptable()) {
            return Err(self.damaged("its Argon2 cost is outside what is accepted"));
        }
        let (unlocker, id, generation) = (unlocker.clone(), *vault_id, self.json.r#gen);
        let master = compute("open a slot", move || {
            let secret = match (&unlocker, cost) {
                (Unlocker::Raw(key), None) => SlotSecret::Raw(key),
                (Unlocker::Passphrase(text), Some(cost)) => SlotSecret::Passphrase(text, cost),
                _ => return Err(WrongKey),
            };
            wrap.open(secret, &id, generation)
        });
        Ok(master.await?)
    }

    fn wrap(&self) -> Option<SlotWrap> {
        fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
            HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
        }
        let json = &self.json;
        let typed = match json.r#type.as_str() {
            "raw32" => json.kdf.is_none(),
            "argon2id" => json.kdf.is_some(),
            _ => false,
        };
        let wrap = SlotWrap { salt: hex(&json.salt)?, wrapped: hex(&json.wrapped)?, commitment: hex(&json.commitment)? };
        (typed && json.slot == self.name).then_some(wrap)
    }

    pub(super) fn damaged(&self, what: &'static str) -> VaultError {
        VaultError::Corrupt { object: self.key(), what: FormatError::Invalid(what) }
    }
}

/// Reads a slot file.
pub async fn read_slot(bucket: &Bucket, name: &str, stop: &Stop) -> Result<SlotFile, VaultError> {
    let key = format!("keys/{name}.json");
    let bytes = bucket.get(stop, &key, None).await?;
    let json = serde_json::from_slice(&bytes)
        .map_err(|_| VaultError::Corrupt { object: key, what: FormatError::Invalid("it is not the JSON of a slot") })?;
    Ok(SlotFile { name: name.to_string(), json })
}

/// Every slot of a vault.
pub async fn list_slots(vault: &Vault, stop: &Stop) -> Result<Vec<SlotFile>, VaultError> {
    let mut slots = Vec::new();
    for name in slot_names(&vault.bucket, stop).await? {
        slots.push(read_slot(&vault.bucket, &name, stop).await?);
    }
    Ok(slots)
}

/// Lets another key or passphrase open the vault. `false` when the key had its slot already.
pub async fn add_slot(vault: &Vault, unlocker: &Unlocker, label: &str, stop: &Stop) -> Result<(SlotFile, bool), VaultError> {
    let slot = SlotFile::seal(vault.master(), unlocker, &vault.id, label).await?;
    let created = create_own(&vault.bucket, &slot.key(), slot.bytes(), stop).await?;
    Ok((slot, created == Create::New))
}

/// Takes a slot away. What its holder has read before stays read; see SECURITY.md.
pub async fn remove_slot(vault: &Vault, name: &str, stop: &Stop) -> Result<(), VaultError> {
    Ok(vault.bucket.delete(stop, &format!("keys/{name}.json")).await?)
}
