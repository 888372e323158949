//! The key tree of a vault and the slots that hold its master key. Contexts and layouts: FORMAT.md, "Keys".

use super::aead::ObjectKey;
use super::digest::{BlockIds, ContentId};
use super::key::{RawKey, Unlocker, random_bytes};
use crate::secret::Secret;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::fmt;
use zeroize::Zeroizing;

/// The master key of one generation.
#[derive(Debug, Clone)]
pub struct MasterKey(Secret<[u8; 32]>);

impl MasterKey {
    /// A new one from the kernel's randomness.
    pub fn generate() -> MasterKey {
        MasterKey(Secret::new(random_bytes()))
    }

    /// A fixed key, for test vectors that anyone can recompute.
    pub fn from_bytes(bytes: [u8; 32]) -> MasterKey {
        MasterKey(Secret::new(bytes))
    }
}

/// The derived keys of an open vault.
pub struct Keys {
    object: Zeroizing<[u8; 32]>,
    chunk_id: Zeroizing<[u8; 32]>,
    hedge: Zeroizing<[u8; 32]>,
    chain: Zeroizing<[u8; 32]>,
    state: Zeroizing<[u8; 32]>,
    pin: Zeroizing<[u8; 32]>,
    config: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("<keys>")
    }
}

impl Keys {
    /// Derives the tree of generation 0.
    pub fn derive(master: &MasterKey, vault_id: &[u8; 16]) -> Keys {
        let mut material = Zeroizing::new([0u8; 48]);
        material[..32].copy_from_slice(master.0.expose());
        material[32..].copy_from_slice(vault_id);
        let derive = |context: &str| Zeroizing::new(blake3::derive_key(context, &material[..]));
        Keys {
            object: derive("svault 2026 v1 object key"),
            chunk_id: derive("svault 2026 v1 chunk id"),
            hedge: derive("svault 2026 v1 salt hedge"),
            chain: derive("svault 2026 v1 commit chain"),
            state: derive("svault 2026 v1 state sum"),
            pin: derive("svault 2026 v1 pin and receipt mac"),
            config: derive("svault 2026 v1 vault.json mac"),
        }
    }

    /// The key of the object whose header starts with these 96 bytes.
    pub fn object_key(&self, header: &[u8; 96]) -> ObjectKey {
        let mut okm = Zeroizing::new([0u8; 76]);
        let mut hasher = blake3::Hasher::new_keyed(&self.object);
        hasher.update(b"svault/obj/v1\0").update(header);
        hasher.finalize_xof().fill(&mut okm[..]);
        ObjectKey::from_okm(&okm)
    }

    /// A new object's salt: fresh randomness hedged with what is about to be sealed, so that a repeated random
    /// generator (a cloned machine) yields the identical object or another key, never one key for two contents.
    pub fn salt<'a>(&self, header: &[u8; 64], contents: impl Iterator<Item = &'a [u8]>) -> [u8; 32] {
        self.salt_with(&random_bytes(), header, contents)
    }

    /// [`Keys::salt`] with the randomness given, for test vectors.
    pub fn salt_with<'a>(&self, random: &[u8; 32], header: &[u8; 64], contents: impl Iterator<Item = &'a [u8]>) -> [u8; 32] {
        let mut digest = blake3::Hasher::new();
        for part in contents {
            digest.update(part);
        }
        let mut hasher = blake3::Hasher::new_keyed(&self.hedge);
        hasher.update(random).update(header).update(digest.finalize().as_bytes());
        *hasher.finalize().as_bytes()
    }

    /// The identity of a content.
    pub fn content_id(&self, content: &[u8]) -> ContentId {
        ContentId(*blake3::keyed_hash(&self.chunk_id, content).as_bytes())
    }

    /// Starts the identity of a file kept in blocks of 2^`log2_block` bytes.
    pub fn block_ids(&self, log2_block: u8, size: u64) -> BlockIds {
        BlockIds::start(&self.chunk_id, log2_block, size)
    }

    /// The commit hash `H` over a commit's bytes up to `head_len`.
    pub fn commit_hash(&self, head: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.chain, head).as_bytes()
    }

    /// The term of one entry in the state sum.
    pub fn state_term(&self, logical_record: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.state, logical_record).as_bytes()
    }

    /// MAC of a pin or receipt.
    pub fn pin_mac(&self, bytes: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.pin, bytes).as_bytes()
    }

    /// MAC of `vault.json`.
    pub fn config_mac(&self, bytes: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.config, bytes).as_bytes()
    }

    /// A stable identity for local bookkeeping (hard-link groups).
    pub fn group_id(&self, bytes: &[u8]) -> [u8; 16] {
        self.content_id(bytes).short().0
    }

    /// The plain digest that binds `vault.json` into every commit.
    pub fn file_digest(bytes: &[u8]) -> [u8; 32] {
        *blake3::hash(bytes).as_bytes()
    }
}

/// Cost of a passphrase slot (RFC 9106's Argon2id).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Argon2Cost {
    /// What new slots use: about a quarter of a second.
    pub const DEFAULT: Argon2Cost = Argon2Cost { memory_kib: 64 * 1024, passes: 3, lanes: 1 };

    /// Whether a reader accepts it: a slot comes from the store and must not be able to exhaust memory, nor be so
    /// weak that guessing is cheap.
    pub fn is_acceptable(&self) -> bool {
        (19 * 1024..=1024 * 1024).contains(&self.memory_kib) && (2..=16).contains(&self.passes) && (1..=8).contains(&self.lanes)
    }
}

/// What a slot's wrapping key is derived from.
#[derive(Debug, Clone, Copy)]
pub enum SlotSecret<'a> {
    /// A raw key.
    Raw(&'a RawKey),
    /// A passphrase and its cost.
    Passphrase(&'a Secret<String>, Argon2Cost),
}

impl<'a> SlotSecret<'a> {
    /// The secret of a new slot.
    pub fn of(unlocker: &'a Unlocker) -> SlotSecret<'a> {
        match unlocker {
            Unlocker::Raw(key) => SlotSecret::Raw(key),
            Unlocker::Passphrase(text) => SlotSecret::Passphrase(text, Argon2Cost::DEFAULT),
        }
    }

    /// The slot type's name in the slot file.
    pub fn type_name(&self) -> &'static str {
        match self {
            SlotSecret::Raw(_) => "raw32",
            SlotSecret::Passphrase(..) => "argon2id",
        }
    }

    /// The slot's name in this vault: a raw key's is derived from it, so that a wrong key is found by one request;
    /// a passphrase's is random.
    pub fn slot_name(&self, vault_id: &[u8; 16]) -> String {
        match self {
            SlotSecret::Raw(key) => {
                let mut hasher = blake3::Hasher::new_derive_key("svault 2026 v1 slot name");
                hasher.update(key.bytes()).update(vault_id);
                format!("r{}", data_encoding::HEXLOWER.encode(&hasher.finalize().as_bytes()[..8]))
            }
            SlotSecret::Passphrase(..) => format!("p{}", data_encoding::HEXLOWER.encode(&random_bytes::<8>())),
        }
    }

    fn stretch(&self, salt: &[u8; 32]) -> Result<Zeroizing<[u8; 64]>, WrongKey> {
        let mut okm = Zeroizing::new([0u8; 64]);
        match self {
            SlotSecret::Raw(key) => {
                let mut hasher = blake3::Hasher::new_derive_key("svault 2026 v1 slot raw32");
                hasher.update(key.bytes()).update(salt);
                hasher.finalize_xof().fill(&mut okm[..]);
            }
            SlotSecret::Passphrase(text, cost) => {
                let params = argon2::Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(64)).map_err(|_| WrongKey)?;
                argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
                    .hash_password_into(text.expose().as_bytes(), salt, &mut okm[..])
                    .map_err(|_| WrongKey)?;
            }
        }
        Ok(okm)
    }

    fn aad(&self, vault_id: &[u8; 16], generation: u16) -> Vec<u8> {
        let mut aad = vault_id.to_vec();
        aad.extend_from_slice(&generation.to_le_bytes());
        aad.extend_from_slice(self.type_name().as_bytes());
        aad.push(0);
        if let SlotSecret::Passphrase(_, cost) = self {
            for number in [cost.memory_kib, cost.passes, cost.lanes] {
                aad.extend_from_slice(&number.to_le_bytes());
            }
        }
        aad
    }
}

/// The master key as a slot holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotWrap {
    /// Random salt of the derivation.
    pub salt: [u8; 32],
    /// The sealed master key.
    pub wrapped: [u8; 48],
    /// Proves the secret before anything is opened: ChaCha20-Poly1305 alone does not commit to its key.
    pub commitment: [u8; 32],
}

/// The secret does not open this slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key or passphrase does not open this slot")]
pub struct WrongKey;

impl SlotWrap {
    /// Wraps a master key under a secret.
    pub fn seal(master: &MasterKey, secret: SlotSecret<'_>, vault_id: &[u8; 16], generation: u16) -> Result<SlotWrap, WrongKey> {
        SlotWrap::seal_with_salt(master, secret, vault_id, generation, random_bytes())
    }

    /// [`SlotWrap::seal`] with the salt given, for test vectors.
    pub fn seal_with_salt(
        master: &MasterKey,
        secret: SlotSecret<'_>,
        vault_id: &[u8; 16],
        generation: u16,
        salt: [u8; 32],
    ) -> Result<SlotWrap, WrongKey> {
        let okm = secret.stretch(&salt)?;
        let mut sealed = master.0.expose().to_vec();
        wrapping_key(&okm)
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key([0; 12]),
                Aad::from(secret.aad(vault_id, generation)),
                &mut sealed,
            )
            .map_err(|_| WrongKey)?;
        let mut wrapped = [0; 48];
        wrapped.copy_from_slice(&sealed);
        Ok(SlotWrap { salt, wrapped, commitment: slot_commitment(&okm) })
    }

    /// Unwraps the master key.
    pub fn open(&self, secret: SlotSecret<'_>, vault_id: &[u8; 16], generation: u16) -> Result<MasterKey, WrongKey> {
        let okm = secret.stretch(&self.salt)?;
        if !bool::from(subtle::ConstantTimeEq::ct_eq(&slot_commitment(&okm)[..], &self.commitment[..])) {
            return Err(WrongKey);
        }
        let mut sealed = Zeroizing::new(self.wrapped);
        let opened = wrapping_key(&okm)
            .open_in_place(Nonce::assume_unique_for_key([0; 12]), Aad::from(secret.aad(vault_id, generation)), &mut sealed[..])
            .map_err(|_| WrongKey)?;
        let mut master = [0; 32];
        master.copy_from_slice(opened);
        Ok(MasterKey(Secret::new(master)))
    }
}

fn wrapping_key(okm: &[u8; 64]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &okm[..32]).expect("32 bytes are a ChaCha20 key"))
}

fn slot_commitment(okm: &[u8; 64]) -> [u8; 32] {
    let mut key = Zeroizing::new([0u8; 32]);
    key.copy_from_slice(&okm[32..]);
    *blake3::keyed_hash(&key, b"slot").as_bytes()
}

#[cfg(test)]
mod tests {
    use super::{Argon2Cost, MasterKey, SlotSecret, SlotWrap, WrongKey};
    use crate::seal::RawKey;
    use crate::secret::Secret;

    const CHEAP: Argon2Cost = Argon2Cost { memory_kib: 19 * 1024, passes: 2, lanes: 1 };

    #[test]
    fn a_slot_opens_with_its_secret_only() {
        let master = MasterKey::from_bytes([7; 32]);
        let (key, other) = (RawKey::generate(), RawKey::generate());
        let words = Secret::new(String::from("made up words"));
        for (right, wrong) in [
            (SlotSecret::Raw(&key), SlotSecret::Raw(&other)),
            (SlotSecret::Passphrase(&words, CHEAP), SlotSecret::Raw(&key)),
            (SlotSecret::Raw(&key), SlotSecret::Passphrase(&words, CHEAP)),
        ] {
            let wrap = SlotWrap::seal(&master, right, &[1; 16], 0).unwrap();
            assert_eq!(wrap.open(right, &[1; 16], 0).unwrap().0.expose(), &[7; 32]);
            assert_eq!(wrap.open(wrong, &[1; 16], 0).unwrap_err(), WrongKey);
            assert_eq!(wrap.open(right, &[2; 16], 0).unwrap_err(), WrongKey, "another vault's slot");
        }
    }

    #[test]
    fn a_slot_cannot_exhaust_memory_or_be_weak() {
        assert!(Argon2Cost::DEFAULT.is_acceptable());
        for cost in [(2 << 20, 3, 1), (64 << 10, 99, 1), (64 << 10, 3, 99), (1024, 3, 1), (64 << 10, 1, 1)] {
            assert!(!Argon2Cost { memory_kib: cost.0, passes: cost.1, lanes: cost.2 }.is_acceptable());
        }
    }
}
