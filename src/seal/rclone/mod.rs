//! The keys of data that rclone's crypt remote wrote, for reading only: scrypt for the keys, EME for names, NaCl's
//! secretbox for contents, and the obscured form in which rclone keeps passwords.
//!
//! None of this is used for a vault. Secretbox and EME commit to no key, and nothing binds a content to its name.

mod eme;
mod obscured;
mod secretbox;

pub use obscured::{ObscuredError, reveal};

use super::BadSeal;
use crate::secret::Secret;
use aes::Aes256;
use aes::cipher::KeyInit;
use std::fmt;
use zeroize::Zeroizing;

/// What rclone takes for a salt when there is no second password.
const DEFAULT_SALT: [u8; 16] = [0xa8, 0x0d, 0xf4, 0x3a, 0x8f, 0xbd, 0x03, 0x08, 0xa7, 0xca, 0xb8, 0x3e, 0x58, 0x1f, 0x86, 0xb1];

/// The keys of one rclone crypt remote.
pub struct RcloneKeys {
    data: Zeroizing<[u8; 32]>,
    names: Aes256,
    tweak: Zeroizing<[u8; 16]>,
    rotation: u32,
}

impl RcloneKeys {
    /// Derives the keys from the revealed passwords. It takes 16 MiB and some tens of milliseconds.
    pub fn derive(password: &Secret<Vec<u8>>, password2: Option<&Secret<Vec<u8>>>) -> RcloneKeys {
        let mut okm = Zeroizing::new([0u8; 80]);
        // rclone gives an empty password keys of zeros, and an empty second one the default salt.
        if !password.expose().is_empty() {
            let salt = password2.map(|salt| salt.expose().as_slice()).filter(|salt| !salt.is_empty()).unwrap_or(&DEFAULT_SALT);
            let cost = scrypt::Params::new(14, 8, 1).expect("these costs are within scrypt's limits");
            scrypt::scrypt(password.expose(), salt, &cost, &mut okm[..]).expect("80 bytes are within scrypt's limits");
        }
        let mut data = Zeroizing::new([0; 32]);
        data.copy_from_slice(&okm[..32]);
        let mut tweak = Zeroizing::new([0; 16]);
        tweak.copy_from_slice(&okm[64..]);
        let names = Aes256::new_from_slice(&okm[32..64]).expect("32 bytes are an AES-256 key");
        RcloneKeys { data, names, tweak, rotation: okm[32..64].iter().map(|byte| u32::from(*byte)).sum() }
    }

    /// Decrypts an encrypted name in place. Nothing authenticates it: the padding tells most wrong keys.
    ///
    /// # Panics
    /// When the name is not 1 to 128 whole blocks of 16 bytes.
    pub fn open_name(&self, name: &mut [u8]) {
        eme::open(&self.names, &self.tweak, name);
    }

    /// What the key adds to the distance by which obfuscated names are rotated.
    pub fn rotation(&self) -> u32 {
        self.rotation
    }

    /// Opens one stored block in place, the tag first; the plaintext is the returned slice.
    pub fn open_block<'a>(&self, nonce: &[u8; 24], stored: &'a mut [u8]) -> Result<&'a mut [u8], BadSeal> {
        secretbox::open(&self.data, nonce, stored)
    }

    /// [`RcloneKeys::open_block`] backwards: appends the sealed block, for tests of its readers.
    #[cfg(test)]
    pub fn seal_block(&self, nonce: &[u8; 24], plain: &[u8], out: &mut Vec<u8>) {
        secretbox::seal(&self.data, nonce, plain, out);
    }

    /// [`RcloneKeys::open_name`] backwards, for tests.
    #[cfg(test)]
    pub fn seal_name(&self, name: &mut [u8]) {
        eme::seal(&self.names, &self.tweak, name);
    }
}

impl fmt::Debug for RcloneKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("<rclone keys>")
    }
}

#[cfg(test)]
mod tests {
    use super::RcloneKeys;
    use crate::secret::Secret;
    use aes::cipher::KeyInit;
    use data_encoding::HEXLOWER;

    fn secret(text: &str) -> Secret<Vec<u8>> {
        Secret::new(text.as_bytes().to_vec())
    }

    #[test]
    fn keys_are_derived_as_rclone_does() {
        for (password, password2, data, tweak) in [
            ("", None, "0000000000000000", "00000000000000000000000000000000"),
            ("", Some("sausage"), "0000000000000000", "00000000000000000000000000000000"),
            ("potato", None, "7455c71ab17c865b", "c18d5932f55b2828c5e1e87215520310"),
            ("potato", Some(""), "7455c71ab17c865b", "c18d5932f55b2828c5e1e87215520310"),
            ("Potato", None, "aeea6ad347df75b9", "f8c1b6272d529b4a8fdaeb424a28ddf3"),
            ("potato", Some("sausage"), "8e9b6b99f8690467", "f17fd7141d65274f363fc2a04dd2148a"),
        ] {
            let keys = RcloneKeys::derive(&secret(password), password2.map(secret).as_ref());
            assert_eq!(HEXLOWER.encode(&keys.data[..8]), data, "{password}");
            assert_eq!(HEXLOWER.encode(&keys.tweak[..]), tweak, "{password}");
        }
    }

    #[test]
    fn the_name_key_is_the_middle_of_what_is_derived() {
        let keys = RcloneKeys::derive(&secret("potato"), None);
        let key = HEXLOWER.decode(b"765da27ab15d77f95796711f7b93ad63bbb484072e7180a8d17a9bbec14270d0").unwrap();
        assert_eq!(keys.rotation(), key.iter().map(|byte| u32::from(*byte)).sum::<u32>());
        let mut sealed = *b"made up text 16b";
        keys.seal_name(&mut sealed);
        let mut opened = sealed;
        super::eme::open(&super::Aes256::new_from_slice(&key).unwrap(), &keys.tweak, &mut opened);
        assert_eq!(&opened, b"made up text 16b");
        assert_eq!(format!("{keys:?}"), "<rclone keys>");
    }
}
