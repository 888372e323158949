use super::{BLOCK_BYTES, ContentError, Decryptor, Ending, HEADER_BYTES, MAGIC, count_up, plain_size};
use crate::fault::Fault;
use crate::rclone_crypt::{Options, RcloneCrypt};
use crate::seal::RcloneKeys;
use crate::secret::Secret;
use std::sync::Arc;

fn keys() -> Arc<RcloneKeys> {
    Arc::new(RcloneKeys::derive(&Secret::new(Vec::new()), None))
}

/// 01 02 03 … 18, as in rclone's tests.
fn first_nonce() -> [u8; 24] {
    std::array::from_fn(|at| u8::try_from(at + 1).unwrap())
}

/// A content as rclone would have written it.
fn sealed(plain: &[u8]) -> Vec<u8> {
    let mut nonce = first_nonce();
    let mut out = [&MAGIC[..], &nonce].concat();
    for block in plain.chunks(65_536) {
        keys().seal_block(&nonce, block, &mut out);
        count_up(&mut nonce);
    }
    out
}

fn plain(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}

fn read(stored: &[u8], piece: usize) -> Result<(Vec<u8>, Ending), ContentError> {
    let mut out = Vec::new();
    let mut decryptor = Decryptor::new(Some(keys()));
    for piece in stored.chunks(piece) {
        decryptor.push(piece, &mut |bytes| out.extend_from_slice(bytes))?;
        assert!(decryptor.held.capacity() <= BLOCK_BYTES + HEADER_BYTES, "memory is bounded");
    }
    let ending = decryptor.finish(&mut |bytes| out.extend_from_slice(bytes))?;
    Ok((out, ending))
}

#[test]
fn rclones_vectors_decrypt() {
    let header: &[u8] =
        b"RCLONE\0\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18";
    let one: &[u8] = b"\x09\x5b\x44\x6c\xd6\x23\x7b\xbc\xb0\x8d\x09\xfb\x52\x4c\xe5\x65\xaa";
    assert_eq!(read(header, 7), Ok((Vec::new(), Ending::Unproven)));
    assert_eq!(read(&[header, one].concat(), 7), Ok((vec![1], Ending::Certain)));
}

#[test]
fn contents_decrypt_in_pieces_of_any_size() {
    for (length, ending) in [
        (0, Ending::Unproven),
        (1, Ending::Certain),
        (65_535, Ending::Certain),
        (65_536, Ending::Unproven),
        (65_537, Ending::Certain),
        (200_000, Ending::Certain),
    ] {
        let (plain, stored) = (plain(length), sealed(&plain(length)));
        for piece in [1, 31, 33, 4096, 65_552, 65_553, 1 << 20] {
            let found = read(&stored, piece);
            assert!(found == Ok((plain.clone(), ending)), "{length} bytes in pieces of {piece}");
        }
        assert_eq!(plain_size(stored.len() as u64), Ok(length as u64));
    }
}

#[test]
fn a_nonce_carries() {
    let mut nonce = [0xff; 24];
    nonce[3] = 7;
    count_up(&mut nonce);
    assert_eq!(nonce[..5], [0, 0, 0, 8, 0xff]);
    let mut last = [0xff; 24];
    count_up(&mut last);
    assert_eq!(last, [0; 24]);
}

#[test]
fn every_cut_but_one_at_a_block_edge_is_an_error() {
    let stored = sealed(&plain(65_536 + 40));
    for length in (0..200).chain(BLOCK_BYTES..stored.len()) {
        let expected = match length {
            0..HEADER_BYTES => Some(ContentError::NoHeader),
            HEADER_BYTES => None,
            33..=48 => Some(ContentError::CutOff(0)),
            49..65_584 => Some(ContentError::BadBlock(0)),
            65_584 => None,
            65_585..=65_600 => Some(ContentError::CutOff(1)),
            _ => Some(ContentError::BadBlock(1)),
        };
        let found = read(&stored[..length], 1 << 20);
        match expected {
            Some(error) => assert_eq!(found.err(), Some(error), "{length}"),
            None => assert_eq!(found.map(|(_, ending)| ending), Ok(Ending::Unproven), "{length}"),
        }
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    let stored = sealed(&plain(65_536 + 40));
    for at in (0..80).chain([40_000, 65_583, 65_584]).chain(65_590..stored.len()) {
        let mut changed = stored.clone();
        changed[at] ^= 0x20;
        let error = read(&changed, 1000).unwrap_err();
        let expected = match at {
            0..8 => ContentError::NotEncrypted,
            8..65_584 => ContentError::BadBlock(0),
            _ => ContentError::BadBlock(1),
        };
        assert_eq!(error, expected, "byte {at}");
        assert_eq!(error.hint().is_some(), error == ContentError::BadBlock(0));
    }
}

#[test]
fn blocks_open_only_in_their_order() {
    let stored = sealed(&plain(2 * 65_536));
    let (header, blocks) = stored.split_at(HEADER_BYTES);
    let (first, second) = blocks.split_at(BLOCK_BYTES);
    assert_eq!(read(&[header, second, first].concat(), 4096), Err(ContentError::BadBlock(0)));
    assert_eq!(read(&[header, first, first].concat(), 4096), Err(ContentError::BadBlock(1)));
}

#[test]
fn nothing_is_read_after_a_failure() {
    let mut decryptor = Decryptor::new(Some(keys()));
    let good = sealed(&plain(10));
    assert_eq!(decryptor.push(&[b'x'; 32], &mut |_| {}), Err(ContentError::NotEncrypted));
    assert_eq!(decryptor.push(&good, &mut |_| {}), Err(ContentError::Failed));
    assert_eq!(decryptor.finish(&mut |_| {}), Err(ContentError::Failed));
}

#[test]
fn contents_that_were_not_encrypted_pass_unchanged() {
    let mut options = Options::new(Secret::new("YWFhYWFhYWFhYWFhYWFhYQ".to_string()));
    options.no_data_encryption = true;
    let crypt = RcloneCrypt::new(&options).unwrap();
    assert_eq!(crypt.plain_size(8), Ok(8));
    let mut out = Vec::new();
    let mut decryptor = crypt.decryptor();
    decryptor.push(b"in cl", &mut |bytes| out.extend_from_slice(bytes)).unwrap();
    decryptor.push(b"ear", &mut |bytes| out.extend_from_slice(bytes)).unwrap();
    assert_eq!(decryptor.finish(&mut |_| {}), Ok(Ending::Unproven));
    assert_eq!(out, b"in clear");
}

#[test]
fn sizes_are_known_without_reading() {
    for (encrypted, plain) in [
        (32, Ok(0)),
        (49, Ok(1)),
        (32 + 16 * 65_552, Ok(1 << 20)),
        (32 + 16_777_216 * 65_552 + 17, Ok((1 << 40) + 1)),
        (31, Err(ContentError::NoHeader)),
        (0, Err(ContentError::NoHeader)),
        (33, Err(ContentError::CutOff(0))),
        (48, Err(ContentError::CutOff(0))),
        (32 + 65_552 + 16, Err(ContentError::CutOff(1))),
    ] {
        assert_eq!(plain_size(encrypted), plain, "{encrypted}");
    }
    assert!(plain_size(u64::MAX).is_ok_and(|size| size < u64::MAX));
}
