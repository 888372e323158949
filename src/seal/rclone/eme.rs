//! EME, the wide-block mode of Halevi and Rogaway (2003), over AES-256. A name is one wide block: equal names give equal
//! texts, and a change anywhere changes all of it.

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt};
use aes::{Aes256, Block};

/// More blocks than this, and the mode is not proven.
const MOST_BLOCKS: usize = 128;

/// Decrypts in place.
pub(super) fn open(cipher: &Aes256, tweak: &[u8; 16], text: &mut [u8]) {
    transform(cipher, tweak, text, |block| {
        let mut block = Block::from(block.to_le_bytes());
        cipher.decrypt_block(&mut block);
        u128::from_le_bytes(block.into())
    });
}

/// Encrypts in place.
#[cfg(test)]
pub(super) fn seal(cipher: &Aes256, tweak: &[u8; 16], text: &mut [u8]) {
    transform(cipher, tweak, text, |block| encrypt(cipher, block));
}

/// Both directions are the same but for the block cipher's own. Blocks are numbers whose lowest byte comes first.
fn transform(cipher: &Aes256, tweak: &[u8; 16], text: &mut [u8], pass: impl Fn(u128) -> u128) {
    let (chunks, rest) = text.as_chunks_mut::<16>();
    assert!(rest.is_empty() && (1..=MOST_BLOCKS).contains(&chunks.len()), "EME works on 1 to {MOST_BLOCKS} whole blocks");
    let tweak = u128::from_le_bytes(*tweak);
    let first_mask = double(encrypt(cipher, 0));
    let masks = || std::iter::successors(Some(first_mask), |mask| Some(double(*mask)));
    let mut blocks: Vec<u128> =
        chunks.iter().zip(masks()).map(|(chunk, mask)| pass(u128::from_le_bytes(*chunk) ^ mask)).collect();

    let mixed = blocks.iter().fold(tweak, |sum, block| sum ^ block);
    let passed = pass(mixed);
    let mut spread = mixed ^ passed;
    let mut first = passed ^ tweak;
    for block in blocks.iter_mut().skip(1) {
        spread = double(spread);
        *block ^= spread;
        first ^= *block;
    }
    blocks.iter_mut().take(1).for_each(|block| *block = first);

    for ((chunk, block), mask) in chunks.iter_mut().zip(blocks).zip(masks()) {
        *chunk = (pass(block) ^ mask).to_le_bytes();
    }
}

fn encrypt(cipher: &Aes256, block: u128) -> u128 {
    let mut block = Block::from(block.to_le_bytes());
    cipher.encrypt_block(&mut block);
    u128::from_le_bytes(block.into())
}

/// Times x in GF(2^128).
fn double(block: u128) -> u128 {
    (block << 1) ^ if block >> 127 == 1 { 0x87 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::{open, seal};
    use aes::Aes256;
    use aes::cipher::KeyInit;
    use data_encoding::HEXLOWER;

    /// One block, two blocks and the most there may be, under keys of zeros; from the mode's Go package and rclone's tests.
    #[test]
    fn the_reference_vectors_open() {
        let cipher = Aes256::new(&[0; 32].into());
        for (sealed, plain) in [
            ("f1b9ce8ca15a4ba9fb476905434b9fd3", &[0u8; 16][..]),
            (
                "b4a6b981fbd3cd6e1dfb66ccb6a62075fe51cfe93666a5625ba1df8db219e9c1",
                b"1234567890123456\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10",
            ),
        ] {
            let mut text = HEXLOWER.decode(sealed.as_bytes()).unwrap();
            open(&cipher, &[0; 16], &mut text);
            assert_eq!(text, plain);
            seal(&cipher, &[0; 16], &mut text);
            assert_eq!(HEXLOWER.encode(&text), sealed);
        }
        let mut longest = [0u8; 2048];
        seal(&cipher, &[0; 16], &mut longest);
        assert_eq!(HEXLOWER.encode(&longest[..16]), "630500884158a8d41216aaa6351e92ea");
        assert_eq!(HEXLOWER.encode(&longest[2032..]), "4eb93771340ed9e323d09e4256b7e5ac");
    }
}
