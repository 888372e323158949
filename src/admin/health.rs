//! Whether the sidecar does its work, judged from what the loop says of itself.

use crate::contract::control::{Check, PassResult, Status};
use crate::fault::Kind;
use crate::runtime::clock;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What makes a sidecar unwell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthRules {
    /// So many failed passes in a row make it unwell; 0: none ever do.
    pub failures: u32,
    /// Failures that do not count.
    pub ignore: Ignored,
    /// A loop that says nothing for longer than this has stalled; 0: it never has.
    pub stall: Duration,
}

impl Default for HealthRules {
    fn default() -> HealthRules {
        HealthRules { failures: 5, ignore: Ignored::default(), stall: Duration::from_secs(300) }
    }
}

/// Classes of failures that a restart of the sidecar cannot cure, and that therefore may be left out of account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ignored {
    /// The remote does not answer.
    pub unavailable: bool,
    /// It denies access.
    pub denied: bool,
}

/// A list that names another class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected unavailable, denied or both with a comma between them")]
pub struct IgnoredError;

impl FromStr for Ignored {
    type Err = IgnoredError;

    fn from_str(text: &str) -> Result<Ignored, IgnoredError> {
        let mut ignored = Ignored::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word.to_ascii_lowercase().as_str() {
                "unavailable" => ignored.unavailable = true,
                "denied" => ignored.denied = true,
                _ => return Err(IgnoredError),
            }
        }
        Ok(ignored)
    }
}

impl Ignored {
    fn covers(self, kind: Kind) -> bool {
        match kind {
            Kind::Unavailable => self.unavailable,
            Kind::Denied => self.denied,
            _ => false,
        }
    }
}

/// How a pass ended, as far as health is concerned.
///
/// A failed pass makes a row of failures longer, unless its class is ignored: then the row stays as it is. A partial
/// one ends the row, because it did its work and what it left out is counted and told elsewhere; restarting the sidecar
/// for ever over one unreadable file would help nobody. But once a row was long enough to make the sidecar unwell, only
/// a complete pass heals it: something was wrong, and only that shows that nothing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The remote holds all of the volume, also when nothing had to be pushed.
    Complete,
    /// Something was left out for a counted reason.
    Partial,
    /// It ended with an error.
    Failed(Kind, String),
}

/// What is wrong, in fixed words and numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwell {
    /// Passes fail.
    #[error("sync: failed passes in a row: {row}, the newest one: {}", kind.word())]
    Failing {
        /// How many, at the time of the newest failure that counted.
        row: u32,
        /// The class of the newest failure that counted.
        kind: Kind,
    },
    /// The loop does not advance.
    #[error("stall: nothing was heard of the loop for {} s", silent.as_secs())]
    Stalled {
        /// Since it last said something.
        silent: Duration,
    },
    /// It is too early to tell.
    #[error("ready: no pass has finished yet")]
    NotReady,
}

/// The health of one sidecar. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub struct Health {
    record: Arc<Mutex<Record>>,
}

impl Health {
    /// Well until the opposite is known. The loop is taken to have spoken just now.
    pub fn new(rules: HealthRules) -> Health {
        Health { record: Arc::new(Mutex::new(Record::new(rules, clock::now()))) }
    }

    /// The loop advances.
    pub fn beat(&self) {
        self.record().beat(clock::now());
    }

    /// A pass ended.
    pub fn ended(&self, ended: Ended) {
        self.record().ended(ended, clock::now());
    }

    /// Whether all is well in one respect.
    pub fn check(&self, check: Check) -> Result<(), Unwell> {
        self.record().check(check, clock::now())
    }

    /// The part of a status that is known here.
    pub fn status(&self) -> Status {
        self.record().status(clock::now())
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known. A function of the instants it is given.
///
/// They are of the monotonic clock, which neither jumps with the wall clock nor goes on while the machine is suspended.
#[derive(Debug)]
struct Record {
    rules: HealthRules,
    /// When the loop last said something.
    heard: Instant,
    /// Counted failures since the last pass that was none.
    row: u32,
    /// Why only a complete pass heals.
    failing: Option<Unwell>,
    finished: bool,
    passes: u64,
    last: Option<PassResult>,
    last_error: Option<String>,
    completed: Option<Instant>,
}

impl Record {
    fn new(rules: HealthRules, now: Instant) -> Record {
        Record {
            rules,
            heard: now,
            row: 0,
            failing: None,
            finished: false,
            passes: 0,
            last: None,
            last_error: None,
            completed: None,
        }
    }

    fn beat(&mut self, now: Instant) {
        self.heard = now;
    }

    fn ended(&mut self, ended: Ended, now: Instant) {
        self.passes += 1;
        self.finished |= !matches!(ended, Ended::Failed(..));
        match ended {
            Ended::Complete => {
                self.row = 0;
                self.failing = None;
                self.last_error = None;
                self.completed = Some(now);
                self.last = Some(PassResult::Complete);
            }
            Ended::Partial => {
                self.row = 0;
                self.last = Some(PassResult::Partial);
            }
            Ended::Failed(kind, message) => {
                if !self.rules.ignore.covers(kind) {
                    self.row = self.row.saturating_add(1);
                    if self.rules.failures > 0 && self.row >= self.rules.failures {
                        self.failing = Some(Unwell::Failing { row: self.row, kind });
                    }
                }
                self.last_error = Some(message);
                self.last = Some(PassResult::Failed);
            }
        }
    }

    fn check(&self, check: Check, now: Instant) -> Result<(), Unwell> {
        let silent = now.saturating_duration_since(self.heard);
        match check {
            Check::Sync => self.failing.map_or(Ok(()), Err),
            Check::Stall if !self.rules.stall.is_zero() && silent > self.rules.stall => Err(Unwell::Stalled { silent }),
            Check::Stall => Ok(()),
            Check::Ready if self.finished => Ok(()),
            Check::Ready => Err(Unwell::NotReady),
            Check::Live => self.check(Check::Sync, now).and_then(|()| self.check(Check::Stall, now)),
        }
    }

    fn status(&self, now: Instant) -> Status {
        let checks = [Check::Sync, Check::Stall, Check::Ready];
        let since_complete = self.completed.map(|completed| now.saturating_duration_since(completed));
        Status {
            passes: self.passes,
            failed_in_a_row: self.row,
            last: self.last,
            last_error: self.last_error.clone(),
            since_complete_ms: since_complete.map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            unwell: checks
                .into_iter()
                .filter_map(|check| self.check(check, now).err())
                .map(|unwell| unwell.to_string())
                .collect(),
            ..Status::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Check, Ended, HealthRules, Ignored, Record, Unwell};
    use crate::fault::Kind;
    use crate::runtime::clock;
    use std::time::Duration;

    /// Passes by letter: complete, partial, failed, unavailable, denied.
    fn ended(letter: char) -> Ended {
        match letter {
            'C' => Ended::Complete,
            'P' => Ended::Partial,
            'F' => Ended::Failed(Kind::Volume, "the disk is full".into()),
            'U' => Ended::Failed(Kind::Unavailable, "no answer".into()),
            'D' => Ended::Failed(Kind::Denied, "403".into()),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn passes_decide_about_sync_and_ready() {
        let all = "unavailable,denied";
        // Passes, failures that are enough, what is ignored, the row by which sync fails (0: it is well), ready.
        for (passes, failures, ignore, row, ready) in [
            ("", 3, "", 0, false),
            ("FF", 3, "", 0, false),
            ("FFF", 3, "", 3, false),
            ("FFFF", 3, "", 4, false),
            ("FFFC", 3, "", 0, true),
            ("FFCFF", 3, "", 0, true),
            ("FFPF", 3, "", 0, true),
            ("PPPPPP", 3, "", 0, true),
            ("FPFPFPFP", 2, "", 0, true),
            ("FFFP", 3, "", 3, true),
            ("FFFPPPF", 3, "", 3, true),
            ("FFFPC", 3, "", 0, true),
            ("F", 1, "", 1, false),
            ("FFFFFFFFFF", 0, "", 0, false),
            ("UDU", 3, "", 3, false),
            ("UUUUUU", 3, "unavailable", 0, false),
            ("UUDDD", 3, "unavailable", 3, false),
            ("UDUDUD", 3, all, 0, false),
            ("FUFUF", 3, all, 3, false),
            ("FFFUU", 3, all, 3, false),
        ] {
            let rules = HealthRules { failures, ignore: ignore.parse().unwrap(), stall: Duration::ZERO };
            let now = clock::now();
            let mut record = Record::new(rules, now);
            passes.chars().for_each(|letter| record.ended(ended(letter), now));
            let sync = match record.check(Check::Sync, now) {
                Err(Unwell::Failing { row, .. }) => row,
                other => other.map(|()| 0).unwrap(),
            };
            assert_eq!(sync, row, "{passes} with {failures} and '{ignore}'");
            assert_eq!(record.check(Check::Ready, now).is_ok(), ready, "{passes}");
            assert_eq!(record.check(Check::Live, now), record.check(Check::Sync, now), "{passes}");
        }
    }

    #[test]
    fn silence_decides_about_stall() {
        let begin = clock::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut record = Record::new(HealthRules { stall: Duration::from_secs(60), ..HealthRules::default() }, begin);
        assert_eq!(record.check(Check::Stall, at(60)), Ok(()));
        let stalled = record.check(Check::Stall, at(61)).unwrap_err();
        assert_eq!(stalled.to_string(), "stall: nothing was heard of the loop for 61 s");
        assert_eq!(record.check(Check::Live, at(61)), Err(stalled), "whoever asks whether it lives hears of it too");
        record.beat(at(61));
        assert_eq!(record.check(Check::Stall, at(121)), Ok(()));
        assert_eq!(record.check(Check::Stall, at(5)), Ok(()), "an instant before the last beat is not silence");

        let never = Record::new(HealthRules { stall: Duration::ZERO, ..HealthRules::default() }, begin);
        assert_eq!(never.check(Check::Stall, at(1_000_000)), Ok(()));
    }

    #[test]
    fn the_words_are_fixed_and_the_status_tells_more() {
        let now = clock::now();
        let mut record = Record::new(HealthRules { failures: 1, ..HealthRules::default() }, now);
        record.ended(ended('F'), now);
        let status = record.status(now + Duration::from_secs(7));
        let words = ["sync: failed passes in a row: 1, the newest one: volume", "ready: no pass has finished yet"];
        assert_eq!(status.unwell, words);
        assert_eq!((status.passes, status.failed_in_a_row, status.since_complete_ms), (1, 1, None));
        assert_eq!(status.last_error.as_deref(), Some("the disk is full"));
        record.ended(ended('C'), now);
        let status = record.status(now + Duration::from_secs(7));
        assert_eq!((status.since_complete_ms, status.last_error, status.unwell.len()), (Some(7000), None, 0));
    }

    #[test]
    fn ignored_classes_are_two_words() {
        assert_eq!("".parse(), Ok(Ignored::default()));
        assert_eq!(" Denied , unavailable,".parse(), Ok(Ignored { unavailable: true, denied: true }));
        for text in ["refused", "denied unavailable", "all"] {
            assert!(text.parse::<Ignored>().is_err(), "{text}");
        }
    }
}
