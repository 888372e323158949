//! NaCl's secretbox: XSalsa20-Poly1305, the tag before the text.

use crate::seal::BadSeal;
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const TAG_BYTES: usize = 16;

/// Opens in place; the plaintext is the returned slice.
pub(super) fn open<'a>(key: &[u8; 32], nonce: &[u8; 24], stored: &'a mut [u8]) -> Result<&'a mut [u8], BadSeal> {
    let (tag, text) = stored.split_at_mut_checked(TAG_BYTES).ok_or(BadSeal)?;
    let (mut stream, authenticator) = start(key, nonce);
    if !bool::from(authenticator.compute_unpadded(text).as_slice().ct_eq(tag)) {
        return Err(BadSeal);
    }
    stream.apply_keystream(text);
    Ok(text)
}

/// Appends the sealed text.
#[cfg(test)]
pub(super) fn seal(key: &[u8; 32], nonce: &[u8; 24], plain: &[u8], out: &mut Vec<u8>) {
    let (mut stream, authenticator) = start(key, nonce);
    let mut text = plain.to_vec();
    stream.apply_keystream(&mut text);
    out.extend_from_slice(&authenticator.compute_unpadded(&text));
    out.extend_from_slice(&text);
}

/// The first 32 bytes of the key stream are the authenticator's key; the text follows behind them.
fn start(key: &[u8; 32], nonce: &[u8; 24]) -> (XSalsa20, Poly1305) {
    let mut stream = XSalsa20::new(key.into(), nonce.into());
    let mut once = Zeroizing::new([0u8; 32]);
    stream.apply_keystream(&mut once[..]);
    let authenticator = Poly1305::new((&*once).into());
    (stream, authenticator)
}

#[cfg(test)]
mod tests {
    use super::open;
    use crate::seal::BadSeal;
    use data_encoding::HEXLOWER;

    /// The two blocks of rclone's own tests: one byte and sixteen, under a key of zeros.
    #[test]
    fn only_what_was_sealed_opens() {
        let nonce: [u8; 24] = std::array::from_fn(|at| u8::try_from(at + 1).unwrap());
        let numbers: Vec<u8> = (1..=16).collect();
        for (sealed, plain) in [
            ("095b446cd6237bbcb08d09fb524ce565aa", &numbers[..1]),
            ("b9c4552a2710062918960a3e608c29b9aa8a5e1e165b6d075de4e9bb367fd6d4", &numbers[..]),
        ] {
            let sealed = HEXLOWER.decode(sealed.as_bytes()).unwrap();
            assert_eq!(open(&[0; 32], &nonce, &mut sealed.clone()).unwrap(), plain);
            assert_eq!(open(&[1; 32], &nonce, &mut sealed.clone()), Err(BadSeal), "another key");
            assert_eq!(open(&[0; 32], &[0; 24], &mut sealed.clone()), Err(BadSeal), "another nonce");
            for at in 0..sealed.len() {
                let mut broken = sealed.clone();
                broken[at] ^= 1;
                assert_eq!(open(&[0; 32], &nonce, &mut broken), Err(BadSeal), "byte {at}");
            }
        }
        assert_eq!(open(&[0; 32], &nonce, &mut [0; 15]), Err(BadSeal));
    }
}
