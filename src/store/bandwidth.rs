//! How many bytes a second may go to and come from a store: averaged over requests, since a request's body is sent at
//! the speed of the line.

use crate::runtime::clock;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A limit, or a timetable of limits, in rclone's spelling: `10M`, `10M:off` (up and down), or
/// `08:00,512k 18:00,10M 23:00,off` with times of day in UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bandwidth {
    /// From which minute of the day on, ascending; the last one holds over midnight.
    entries: Vec<(u16, Rate)>,
}

/// Bytes a second in each direction; none for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    up: Option<u64>,
    down: Option<u64>,
}

/// A text that is no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no bandwidth limit: write 10M, 10M:2M (up:down), off, or a timetable like \"08:00,512k 18:00,off\" (UTC)")]
pub struct BandwidthError(String);

impl FromStr for Bandwidth {
    type Err = BandwidthError;

    fn from_str(text: &str) -> Result<Bandwidth, BandwidthError> {
        let bad = || BandwidthError(text.to_owned());
        let mut entries = Vec::new();
        for part in text.split_whitespace() {
            let (minute, rate) = match part.split_once(',') {
                Some((time, rate)) => (minute(time).ok_or_else(bad)?, rate),
                None => (0, part),
            };
            let (up, down) = rate.split_once(':').unwrap_or((rate, rate));
            entries.push((minute, Rate { up: speed(up).ok_or_else(bad)?, down: speed(down).ok_or_else(bad)? }));
        }
        let times = entries.len();
        let is_timetable = text.contains(',');
        entries.sort_by_key(|(minute, _)| *minute);
        entries.dedup_by_key(|(minute, _)| *minute);
        // A lone limit has no time; a timetable has one for each limit.
        let fits = if is_timetable { text.matches(',').count() == times } else { times == 1 };
        if times == 0 || entries.len() != times || !fits { Err(bad()) } else { Ok(Bandwidth { entries }) }
    }
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

/// Bytes a second; a plain number counts KiB, as in rclone.
fn speed(text: &str) -> Option<Option<u64>> {
    if text == "off" {
        return Some(None);
    }
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit: u64 = match text.get(digits.len()..)?.to_ascii_lowercase().as_str() {
        "b" => 1,
        "" | "k" | "ki" | "kib" => 1 << 10,
        "m" | "mi" | "mib" => 1 << 20,
        "g" | "gi" | "gib" => 1 << 30,
        _ => return None,
    };
    let number: f64 = digits.parse().ok()?;
    let bytes = number * unit as f64;
    (bytes.is_finite() && bytes >= 1.0).then_some(Some(bytes as u64))
}

impl Bandwidth {
    fn at(&self, minute: u16) -> Rate {
        let current = self.entries.iter().rev().find(|(from, _)| *from <= minute);
        let rate = current.or(self.entries.last());
        rate.map_or(Rate { up: None, down: None }, |(_, rate)| *rate)
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Lets bytes pass no faster than the limit.
#[derive(Debug, Default)]
pub(super) struct Shaper {
    bandwidth: Option<Bandwidth>,
    /// Until when each direction is taken.
    taken: Mutex<[Option<Instant>; 2]>,
}

impl Shaper {
    pub(super) fn new(bandwidth: Option<Bandwidth>) -> Shaper {
        Shaper { bandwidth, taken: Mutex::default() }
    }

    /// Waits until so many bytes may be sent.
    pub(super) async fn up(&self, bytes: usize) {
        self.pass(0, bytes, |rate| rate.up).await;
    }

    /// Waits until so many bytes may have been received.
    pub(super) async fn down(&self, bytes: usize) {
        self.pass(1, bytes, |rate| rate.down).await;
    }

    async fn pass(&self, direction: usize, bytes: usize, of: impl Fn(&Rate) -> Option<u64>) {
        let Some(bandwidth) = &self.bandwidth else { return };
        let minute = u16::try_from(clock::wall_ms() / 60_000 % (24 * 60)).unwrap_or(0);
        let Some(speed) = of(&bandwidth.at(minute)) else { return };
        let now = clock::now();
        let wait = {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let free = taken[direction].filter(|free| *free > now).unwrap_or(now);
            // No body is so long that it takes a day at any sensible speed.
            let share = Duration::try_from_secs_f64(bytes as f64 / speed as f64).unwrap_or(DAY).min(DAY);
            let until = free + share;
            taken[direction] = Some(until);
            until.duration_since(now)
        };
        clock::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::{Bandwidth, Rate, Shaper};
    use crate::runtime::clock;
    use std::time::Duration;

    #[test]
    fn limits_are_read_as_rclone_reads_them() {
        let of = |text: &str| text.parse::<Bandwidth>().map(|limit| limit.at(12 * 60));
        let rate = |up, down| Ok(Rate { up, down });
        assert_eq!(of("10M"), rate(Some(10 << 20), Some(10 << 20)));
        assert_eq!(of("512"), rate(Some(512 << 10), Some(512 << 10)));
        assert_eq!(of("1.5M:off"), rate(Some(3 << 19), None));
        assert_eq!(of("08:00,512k 18:00,off"), rate(Some(512 << 10), Some(512 << 10)));
        let table: Bandwidth = "08:00,512k 18:00,off 06:30,1M:2M".parse().unwrap();
        assert_eq!(table.at(3 * 60), Rate { up: None, down: None }, "the evening's holds over midnight");
        assert_eq!(table.at(7 * 60), Rate { up: Some(1 << 20), down: Some(2 << 20) });
        for bad in ["", "fast", "10X", "-1M", "0", "25:00,1M", "08:00", "1M 2M", "08:00,1M 2M", "08:00,1M 08:00,2M"] {
            assert!(bad.parse::<Bandwidth>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn bytes_pass_no_faster_than_the_limit_and_each_direction_by_itself() {
        let shaper = Shaper::new(Some("1M:off".parse().unwrap()));
        let began = clock::now();
        shaper.down(50 << 20).await;
        futures::join!(shaper.up(100 << 10), shaper.up(100 << 10), shaper.up(100 << 10));
        let took = clock::now().duration_since(began);
        assert!(took >= Duration::from_millis(280) && took < Duration::from_secs(3), "{took:?}");
        Shaper::default().up(usize::MAX).await;
    }
}
