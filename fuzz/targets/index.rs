//! The local index. Its chunks carry checksums, which bytes found by chance do not have: the input is the chunks'
//! content, each behind its length, and the checksums are put in here.
#![no_main]

use libfuzzer_sys::fuzz_target;
use volume_syncing_controller::seal::checksum;
use volume_syncing_controller::vault::index::IndexReader;

fuzz_target!(|data: &[u8]| {
    let mut file = b"vscidx1\n".to_vec();
    let mut rest = data;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
        let (chunk, after) = after.split_at(length);
        file.extend_from_slice(&(length as u32).to_le_bytes());
        file.extend_from_slice(&checksum(chunk));
        file.extend_from_slice(chunk);
        rest = after;
    }
    file.extend_from_slice(rest);
    for bytes in [data, &file] {
        let Ok(mut reader) = IndexReader::open(bytes) else { continue };
        while let Ok(Some(_)) = reader.next() {}
    }
});
