//! A pack's list of contents.
#![no_main]

use libfuzzer_sys::fuzz_target;
use volume_syncing_controller::vault::pack::read_toc;

fuzz_target!(|data: &[u8]| {
    let _ = read_toc(data);
});
