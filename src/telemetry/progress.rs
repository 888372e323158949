//! How far a motion is: bars where a person watches, a log line every few seconds elsewhere.

use super::amounts;
use crate::runtime::clock;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::fmt;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two log lines, and before the first: what is done sooner needs none.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Between two looks of a bar: fast enough for an eye.
const BAR_EVERY: Duration = Duration::from_millis(100);

/// The bars on the screen. One for the process, so that log lines can be written around them.
static SCREEN: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Runs `write` while the bars are off the screen.
pub(super) fn around_bars<T>(write: impl FnOnce() -> T) -> T {
    SCREEN.suspend(write)
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressMode {
    /// A bar on stderr.
    Bars,
    /// A log line every few seconds.
    Lines,
    /// Not at all.
    Silent,
}

impl ProgressMode {
    /// Bars where a person watches, lines elsewhere.
    pub fn choose(log_json: bool) -> ProgressMode {
        if !log_json && std::io::stderr().is_terminal() { ProgressMode::Bars } else { ProgressMode::Lines }
    }
}

/// The progress of one motion. Clones count together; the last one dropped takes the bar away, as `finish` does.
#[derive(Clone)]
pub struct Progress {
    shared: Arc<Shared>,
}

/// What all clones hold; its drop ends the thread.
struct Shared {
    counts: Arc<Counts>,
    shower: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Counts {
    files: AtomicU64,
    bytes: AtomicU64,
    total_files: AtomicU64,
    total_bytes: AtomicU64,
    told: Mutex<Told>,
    changed: Condvar,
}

#[derive(Default)]
struct Told {
    phase: &'static str,
    finished: bool,
}

impl Progress {
    /// Begins to show a motion's progress.
    pub fn start(title: &'static str, mode: ProgressMode) -> Progress {
        let counts = Arc::new(Counts::default());
        let shown = Arc::clone(&counts);
        let thread = std::thread::Builder::new().name("progress".into());
        // Without the thread nothing is shown; the motion goes on.
        let shower = match mode {
            ProgressMode::Bars => thread.spawn(move || show_bar(title, &shown)).ok(),
            ProgressMode::Lines => thread.spawn(move || show_lines(title, &shown, LINE_EVERY)).ok(),
            ProgressMode::Silent => None,
        };
        Progress { shared: Arc::new(Shared { counts, shower: Mutex::new(shower) }) }
    }

    /// Counts, and shows nothing.
    pub fn quiet() -> Progress {
        Progress::start("", ProgressMode::Silent)
    }

    /// Says how much there is to do; zero means not known.
    pub fn set_totals(&self, files: u64, bytes: u64) {
        self.shared.counts.total_files.store(files, Ordering::Relaxed);
        self.shared.counts.total_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Counts files that are done.
    pub fn add_files(&self, files: u64) {
        self.shared.counts.files.fetch_add(files, Ordering::Relaxed);
    }

    /// Counts bytes that are done.
    pub fn add_bytes(&self, bytes: u64) {
        self.shared.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Files and bytes that were counted: whoever watches sees whether the motion advances.
    pub fn counted(&self) -> (u64, u64) {
        let counts = &self.shared.counts;
        (counts.files.load(Ordering::Relaxed), counts.bytes.load(Ordering::Relaxed))
    }

    /// Says what the motion is doing now, in a word or two.
    pub fn note_phase(&self, phase: &'static str) {
        self.shared.counts.told().phase = phase;
    }

    /// Ends the showing and waits until the bar is gone. Doing it twice is harmless.
    pub fn finish(&self) {
        self.shared.finish();
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Progress({:?})", self.shared.counts.amounts())
    }
}

impl Shared {
    fn finish(&self) {
        self.counts.told().finished = true;
        self.counts.changed.notify_all();
        let shower = self.shower.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the thread only cost the bar.
        if let Some(shower) = shower {
            let _ = shower.join();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Files, bytes, total files, total bytes.
type Amounts = [u64; 4];

impl Counts {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn amounts(&self) -> Amounts {
        [&self.files, &self.bytes, &self.total_files, &self.total_bytes].map(|count| count.load(Ordering::Relaxed))
    }

    /// Waits; the phase then, or `None` once finished.
    fn wait(&self, duration: Duration) -> Option<&'static str> {
        let waited = self.changed.wait_timeout_while(self.told(), duration, |told| !told.finished);
        let (told, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (!told.finished).then_some(told.phase)
    }
}

fn show_bar(title: &'static str, counts: &Counts) {
    let bar = SCREEN.add(ProgressBar::no_length());
    bar.set_prefix(title);
    let mut measured = false;
    while let Some(phase) = counts.wait(BAR_EVERY) {
        let [files, bytes, total_files, total_bytes] = counts.amounts();
        if (total_bytes > 0) != measured || bar.elapsed() < 2 * BAR_EVERY {
            measured = total_bytes > 0;
            bar.set_style(style(measured));
        }
        if measured {
            bar.set_length(total_bytes.max(bytes));
        }
        bar.set_position(bytes);
        let of = if total_files > 0 { format!("{files}/") } else { String::new() };
        bar.set_message(format!("{of}{} {phase}", amounts::count(total_files.max(files), "file")));
        bar.tick();
    }
    bar.finish_and_clear();
    SCREEN.remove(&bar);
}

fn style(measured: bool) -> ProgressStyle {
    // A template that indicatif does not know would only cost the form of the bar; a test holds them.
    ProgressStyle::with_template(template(measured)).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

fn template(measured: bool) -> &'static str {
    if measured {
        "{prefix} [{bar:24}] {percent}% {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} ETA {eta} {wide_msg}"
    } else {
        "{spinner} {prefix} {binary_bytes} {binary_bytes_per_sec} {wide_msg}"
    }
}

fn show_lines(title: &'static str, counts: &Counts, every: Duration) {
    let started = clock::now();
    let mut before = (started, 0);
    while let Some(phase) = counts.wait(every) {
        let [files, bytes, total_files, total_bytes] = counts.amounts();
        let now = clock::now();
        let rate = rate(before, (now, bytes));
        before = (now, bytes);
        // Left out of the line while nobody can know.
        let eta = total_bytes.checked_sub(bytes).and_then(|left| left.checked_div(rate));
        tracing::info!(
            motion = title,
            phase,
            files,
            total_files,
            bytes,
            total_bytes,
            bytes_per_second = rate,
            eta_seconds = eta,
            elapsed_seconds = now.duration_since(started).as_secs(),
            "progress: {} in {}",
            amounts::bytes(bytes),
            amounts::count(files, "file"),
        );
    }
}

/// Bytes per second between two looks.
fn rate((before, bytes_before): (Instant, u64), (now, bytes): (Instant, u64)) -> u64 {
    let ms = now.duration_since(before).as_millis().max(1);
    let moved = u128::from(bytes.saturating_sub(bytes_before)) * 1000 / ms;
    u64::try_from(moved).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Counts, Progress, ProgressMode, ProgressStyle, rate, show_lines, template};
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn clones_count_together_and_finishing_twice_is_harmless() {
        for mode in [ProgressMode::Silent, ProgressMode::Lines, ProgressMode::Bars] {
            let progress = Progress::start("push", mode);
            let clone = progress.clone();
            progress.set_totals(10, 1000);
            progress.note_phase("reading");
            clone.add_files(2);
            clone.add_bytes(300);
            progress.add_bytes(1);
            assert_eq!(clone.shared.counts.amounts(), [2, 301, 10, 1000]);
            progress.finish();
            clone.finish();
        }
    }

    #[test]
    fn dropping_the_last_clone_ends_the_thread() {
        let progress = Progress::start("push", ProgressMode::Lines);
        let counts = Arc::downgrade(&progress.shared.counts);
        drop(progress.clone());
        assert!(!counts.upgrade().unwrap().told().finished);
        drop(progress);
        assert!(counts.upgrade().is_none(), "the thread still holds the counts");
    }

    #[test]
    fn lines_end_when_the_motion_does() {
        let counts = Arc::new(Counts::default());
        let shown = Arc::clone(&counts);
        let thread = std::thread::spawn(move || show_lines("push", &shown, Duration::from_millis(1)));
        counts.told().finished = true;
        counts.changed.notify_all();
        thread.join().unwrap();
    }

    #[test]
    fn a_rate_is_per_second() {
        let start = crate::runtime::clock::now();
        assert_eq!(rate((start, 100), (start + Duration::from_millis(500), 1100)), 2000);
        assert_eq!(rate((start, 100), (start, 100)), 0);
    }

    #[test]
    fn the_bars_form_is_known_to_its_library() {
        for measured in [false, true] {
            assert!(ProgressStyle::with_template(template(measured)).is_ok());
        }
    }

    #[test]
    fn json_is_never_mixed_with_bars() {
        assert_eq!(ProgressMode::choose(true), ProgressMode::Lines);
    }
}
