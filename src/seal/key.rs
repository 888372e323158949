//! The text forms in which a person holds a key.

use crate::secret::Secret;
use data_encoding::BASE64URL_NOPAD;

/// A raw 256-bit key. Its text form is `vsckey1_` and 48 base64url characters: the key and a four-byte checksum, so
/// that a mistyped key is told from a wrong one.
#[derive(Debug, Clone)]
pub struct RawKey(Secret<[u8; 32]>);

/// What starts the text of a raw key.
const PREFIX: &str = "vsckey1_";

/// Why a text that starts like a raw key is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text starts with '{PREFIX}' but is not a key: {0}")]
pub struct KeyTextError(&'static str);

/// What opens a vault.
#[derive(Debug, Clone)]
pub enum Unlocker {
    /// A raw key: no key derivation cost.
    Raw(RawKey),
    /// A passphrase: Argon2id.
    Passphrase(Secret<String>),
}

impl Unlocker {
    /// A text that starts with the key prefix is a raw key, anything else a passphrase.
    pub fn parse(text: &Secret<String>) -> Result<Unlocker, KeyTextError> {
        if text.expose().trim().starts_with(PREFIX) {
            Ok(Unlocker::Raw(RawKey::parse(text.expose().trim())?))
        } else {
            Ok(Unlocker::Passphrase(text.clone()))
        }
    }
}

impl RawKey {
    /// A new key from the kernel's randomness.
    pub fn generate() -> RawKey {
        RawKey(Secret::new(random_bytes()))
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Result<RawKey, KeyTextError> {
        let body = text.strip_prefix(PREFIX).ok_or(KeyTextError("the prefix is missing"))?;
        let bytes = BASE64URL_NOPAD
            .decode(body.as_bytes())
            .map_err(|_| KeyTextError("it has a character that no key has, or the wrong length"))?;
        let (key, sum) = bytes.split_at_checked(32).ok_or(KeyTextError("it is too short"))?;
        let key: [u8; 32] = key.try_into().map_err(|_| KeyTextError("it is too short"))?;
        if sum != &text_checksum(&key)[..] {
            return Err(KeyTextError("its checksum does not fit: a character is wrong or missing"));
        }
        Ok(RawKey(Secret::new(key)))
    }

    /// The text form. A secret.
    pub fn to_text(&self) -> Secret<String> {
        let mut bytes = self.0.expose().to_vec();
        bytes.extend_from_slice(&text_checksum(self.0.expose()));
        Secret::new(format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes)))
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

fn text_checksum(key: &[u8; 32]) -> [u8; 4] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"vsckey1").update(key);
    let mut sum = [0; 4];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..4]);
    sum
}

/// Bytes from the kernel's random generator.
///
/// # Panics
/// When the kernel has no randomness: nothing safe can be done without it.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel's random generator answers");
    bytes
}

/// A random 32-bit number.
pub fn random_u32() -> u32 {
    u32::from_le_bytes(random_bytes())
}

#[cfg(test)]
mod tests {
    use super::{RawKey, Unlocker};
    use crate::secret::Secret;

    #[test]
    fn a_key_survives_its_text_form() {
        let key = RawKey::generate();
        let text = key.to_text();
        assert_eq!(text.expose().len(), 56);
        assert_eq!(RawKey::parse(text.expose()).unwrap().bytes(), key.bytes());
    }

    #[test]
    fn a_mistyped_key_is_told_from_a_passphrase() {
        let mut text = RawKey::generate().to_text().expose().clone();
        let last = if text.ends_with('A') { 'B' } else { 'A' };
        text.pop();
        text.push(last);
        let error = Unlocker::parse(&Secret::new(text)).unwrap_err();
        assert!(error.to_string().contains("checksum") || error.to_string().contains("length"), "{error}");
        assert!(matches!(Unlocker::parse(&Secret::new("made up".into())), Ok(Unlocker::Passphrase(_))));
    }
}
