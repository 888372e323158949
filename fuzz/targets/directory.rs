//! A directory: what is read is written and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use volume_syncing_controller::vault::directory::Directory;

fuzz_target!(|data: &[u8]| {
    if let Ok(directory) = Directory::decode(data) {
        assert_eq!(Directory::decode(&directory.encode()), Ok(directory.clone()));
        // Offsets are computed before anything is compared with the header.
        assert_eq!(directory.meta_offsets(u32::MAX).count(), directory.meta.len());
    }
});
