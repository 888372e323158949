//! The door: allocator settings, then the verbs.

use std::process::ExitCode;

fn main() -> ExitCode {
    settle_allocator();
    volume_syncing_controller::cli::main()
}

/// glibc gives every thread an arena of its own and keeps large freed buffers in it: a push of large files would hold
/// twice the memory it uses. One arena, and large buffers always mapped and unmapped, keep the process within its bound;
/// it is also faster here, because the buffers are few and large.
#[expect(unsafe_code, reason = "the allocator's settings have no safe interface; they are set before any thread starts")]
fn settle_allocator() {
    const ARENAS: i32 = 1;
    const MAP_FROM_BYTES: i32 = 2 << 20;
    // SAFETY: mallopt only stores two numbers, and no other thread exists yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAP_FROM_BYTES);
    }
}
