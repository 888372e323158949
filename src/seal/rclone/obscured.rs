//! Passwords as rclone writes them into its configuration: under a key that is public, so that nobody reads them in
//! passing. As secret as the password itself.

use crate::secret::Secret;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes256, Block};
use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

/// The same in every rclone.
const PUBLIC_KEY: [u8; 32] = [
    0x9c, 0x93, 0x5b, 0x48, 0x73, 0x0a, 0x55, 0x4d, 0x6b, 0xfd, 0x7c, 0x63, 0xc8, 0x86, 0xa9, 0x2b, 0xd3, 0x90, 0x19, 0x8e, 0xb8,
    0x12, 0x8a, 0xfb, 0xf4, 0xde, 0x16, 0x2b, 0x8b, 0x95, 0xf6, 0x38,
];

/// A text that `rclone obscure` did not print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ObscuredError {
    /// A character that unpadded base64url does not have, or a length that it cannot have.
    #[error("is not a password that rclone obscured: it has a character or a length that none has")]
    Encoding,
    /// Fewer bytes than the initial vector takes.
    #[error("is not a password that rclone obscured: it is too short")]
    TooShort,
}

/// The password behind an obscured one: AES-256-CTR behind a 16-byte initial vector. Bytes, since rclone takes any.
///
/// Nothing in the form tells a password that was never obscured, if it is long and of the right letters.
pub fn reveal(obscured: &Secret<String>) -> Result<Secret<Vec<u8>>, ObscuredError> {
    let text = obscured.expose().trim().as_bytes();
    let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(text).map_err(|_| ObscuredError::Encoding)?);
    let (vector, hidden) = bytes.split_first_chunk::<16>().ok_or(ObscuredError::TooShort)?;
    let cipher = Aes256::new(&PUBLIC_KEY.into());
    let mut password = Zeroizing::new(Vec::with_capacity(hidden.len()));
    let mut counter = u128::from_be_bytes(*vector);
    for chunk in hidden.chunks(16) {
        let mut pad = Block::from(counter.to_be_bytes());
        cipher.encrypt_block(&mut pad);
        password.extend(chunk.iter().zip(&pad).map(|(byte, pad)| byte ^ pad));
        counter = counter.wrapping_add(1);
    }
    Ok(Secret::new(std::mem::take(&mut *password)))
}

#[cfg(test)]
mod tests {
    use super::{ObscuredError, reveal};
    use crate::secret::Secret;

    fn revealed(text: &str) -> Result<Vec<u8>, ObscuredError> {
        reveal(&Secret::new(text.to_string())).map(|secret| secret.expose().clone())
    }

    #[test]
    fn what_rclone_obscured_is_revealed() {
        for (obscured, password) in [
            ("YWFhYWFhYWFhYWFhYWFhYQ", ""),
            ("YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ", "potato"),
            ("YmJiYmJiYmJiYmJiYmJiYp3gcEWbAw\n", "potato"),
            (
                "M05oiY6rOA5gigO7duzZZRUMeX63GBDGiI4vPq0qqFJ2AvnMKcNeTgK_c7AzcIIIJ-a8mS_RqjCLFcx00Ugj-tUs",
                "long password over several blocks of sixteen bytes",
            ),
        ] {
            assert_eq!(revealed(obscured).unwrap(), password.as_bytes());
        }
    }

    #[test]
    fn what_is_not_obscured_is_told() {
        for (text, why) in [
            ("YmJiYmJiYmJiYmJiYmJiYp*gcEWbAw", ObscuredError::Encoding),
            ("a password of words", ObscuredError::Encoding),
            ("aGVsbG8", ObscuredError::TooShort),
            ("", ObscuredError::TooShort),
        ] {
            assert_eq!(revealed(text), Err(why), "{text}");
        }
    }
}
