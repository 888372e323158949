//! A template, a byte 0 and the Pod that it is carried out for. Whatever it says, it ends soon, takes little memory, and of a Pod's
//! values none becomes a reference for the kubelet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use volume_syncing_controller::operator::template::Templates;

/// One of the two renderings takes at most so long, in a build that counts each branch.
const LONGEST: Duration = Duration::from_secs(2);
/// And holds at most so much at once, the Pod aside.
const MOST: usize = 16 << 20;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Counts what is held.
struct Counting;

// SAFETY: all is the system's; what is added are two numbers.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(|data: &[u8]| {
    let Some(end) = data.iter().position(|byte| *byte == 0) else { return };
    let (Ok(source), Ok(pod)) = (std::str::from_utf8(&data[..end]), serde_json::from_slice::<Value>(&data[end + 1..])) else { return };
    let templates = Templates::new(&pod, "press");
    let strict = measured(source, || templates.strict(source));
    let lenient = measured(source, || templates.lenient(source));
    if let Ok(text) = &strict {
        assert_eq!(lenient.as_ref(), Ok(text), "what is there, is there in both");
    }
    for text in [strict, lenient].into_iter().flatten() {
        assert!(text.len() <= source.len().max(64 << 10), "{} bytes of {source}", text.len());
        let rest = text.replace("$$", "").replace("$(POD_NAME)", "");
        assert!(source.contains('$') || !rest.contains('$'), "{source} comes to {text}");
    }
});

fn measured<T>(source: &str, work: impl FnOnce() -> T) -> T {
    let (before, began) = (HELD.load(Ordering::Relaxed), Instant::now());
    PEAK.store(before, Ordering::Relaxed);
    let done = work();
    let (took, held) = (began.elapsed(), PEAK.load(Ordering::Relaxed) - before);
    assert!(took <= LONGEST && held <= MOST, "{took:?} and {held} bytes for {source}");
    done
}
