//! Authenticated encryption of one frame. ChaCha20-Poly1305 (RFC 8439) by ring, which is about twice as fast here as
//! the RustCrypto implementation and gives the same bytes; the tests hold one against the other.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::fmt;

/// Bytes that sealing adds to a frame.
pub const TAG_BYTES: usize = 16;

/// The key of one stored object. Each object has its own (FORMAT.md, "Container"), so a nonce need only be unique
/// within the object: it is the base nonce XOR the frame's byte offset.
pub struct ObjectKey {
    key: LessSafeKey,
    base_nonce: [u8; 12],
    commitment: [u8; 32],
}

/// The bytes are not what the key's holder sealed at this offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("authentication failed")]
pub struct BadSeal;

impl ObjectKey {
    pub(super) fn from_okm(okm: &[u8; 76]) -> ObjectKey {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &okm[..32]).expect("32 bytes are a ChaCha20 key");
        let mut base_nonce = [0; 12];
        base_nonce.copy_from_slice(&okm[32..44]);
        let mut commitment = [0; 32];
        commitment.copy_from_slice(&okm[44..]);
        ObjectKey { key: LessSafeKey::new(key), base_nonce, commitment }
    }

    /// What the object's header carries to prove which key it is sealed under.
    pub fn commitment(&self) -> &[u8; 32] {
        &self.commitment
    }

    /// Whether a header's commitment is this key's; in constant time.
    pub fn commits_to(&self, commitment: &[u8]) -> bool {
        subtle::ConstantTimeEq::ct_eq(&self.commitment[..], commitment).into()
    }

    /// Seals `buffer[start..]` in place as the frame at `offset`; appends the tag.
    pub fn seal_tail(&self, offset: u64, frame_type: u8, buffer: &mut Vec<u8>, start: usize) {
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(offset), Aad::from([frame_type]), &mut buffer[start..])
            .expect("a frame is far below ChaCha20's length limit");
        buffer.extend_from_slice(tag.as_ref());
    }

    /// Opens the stored frame in place; the plaintext is the returned slice.
    pub fn open<'a>(&self, offset: u64, frame_type: u8, stored: &'a mut [u8]) -> Result<&'a mut [u8], BadSeal> {
        self.key.open_in_place(self.nonce(offset), Aad::from([frame_type]), stored).map_err(|_| BadSeal)
    }

    fn nonce(&self, offset: u64) -> Nonce {
        let mut nonce = self.base_nonce;
        for (byte, part) in nonce.iter_mut().zip(offset.to_le_bytes()) {
            *byte ^= part;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("<object key>")
    }
}

#[cfg(test)]
mod tests {
    use super::{BadSeal, ObjectKey};
    use chacha20poly1305::aead::{AeadInOut, KeyInit};
    use chacha20poly1305::{ChaCha20Poly1305, Nonce};

    fn okm() -> [u8; 76] {
        let mut okm = [0; 76];
        for (i, byte) in okm.iter_mut().enumerate() {
            *byte = u8::try_from(i * 3 % 251).unwrap();
        }
        okm
    }

    #[test]
    fn both_implementations_give_the_same_bytes() {
        let okm = okm();
        let key = ObjectKey::from_okm(&okm);
        for (offset, length) in [(128u64, 0usize), (0x1234, 1), (1 << 33, 4096), (7, 65_537)] {
            let plain: Vec<u8> = (0..length).map(|i| u8::try_from(i % 253).unwrap()).collect();
            let mut ours = plain.clone();
            key.seal_tail(offset, 3, &mut ours, 0);
            let mut nonce: [u8; 12] = okm[32..44].try_into().unwrap();
            for (byte, part) in nonce.iter_mut().zip(offset.to_le_bytes()) {
                *byte ^= part;
            }
            let reference = ChaCha20Poly1305::new_from_slice(&okm[..32]).unwrap();
            let mut theirs = plain.clone();
            reference.encrypt_in_place(&Nonce::from(nonce), &[3], &mut theirs).unwrap();
            assert_eq!(ours, theirs);
            assert_eq!(key.open(offset, 3, &mut ours).unwrap(), &plain[..]);
        }
    }

    #[test]
    fn a_frame_opens_only_at_its_offset_and_type() {
        let key = ObjectKey::from_okm(&okm());
        let mut frame = b"made up".to_vec();
        key.seal_tail(128, 3, &mut frame, 0);
        assert_eq!(key.open(129, 3, &mut frame.clone()), Err(BadSeal));
        assert_eq!(key.open(128, 1, &mut frame.clone()), Err(BadSeal));
        frame[0] ^= 1;
        assert_eq!(key.open(128, 3, &mut frame), Err(BadSeal));
    }
}
