//! When scheduled passes are due: the predecessor's expressions, read by the cron parser and its time-zone data.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A schedule: `@every 5m`, five fields (minute first), six fields (second first), or a word such as `@hourly`; with
/// `TZ=Europe/Warsaw ` before it in that zone, else in the zone of the process (UTC in a container that sets none).
#[derive(Clone)]
pub struct Schedule {
    text: String,
    rule: Rule,
}

#[derive(Clone)]
enum Rule {
    Every(Duration),
    Cron(Box<Cron>, TimeZone),
}

/// A schedule that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// No known form.
    #[error("{0}; expected '@every 5m', '*/5 * * * *' (five fields), '0 */5 * * * *' (six, seconds first) or '@hourly'")]
    Expression(String),
    /// No known zone.
    #[error("the time zone '{0}' is not known; expected a name such as Europe/Warsaw or UTC")]
    Zone(String),
    /// It is well formed and matches no time.
    #[error("no time ever matches it")]
    Never,
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Schedule, ScheduleError> {
        let rule = match text.trim().strip_prefix("@every ") {
            Some(interval) => Rule::Every(every(interval)?),
            None => cron(text.trim())?,
        };
        Ok(Schedule { text: text.trim().to_string(), rule })
    }
}

/// An interval as Go writes it; whole seconds, at least one.
fn every(interval: &str) -> Result<Duration, ScheduleError> {
    let wrong = || ScheduleError::Expression(format!("'{interval}' is no interval"));
    let parsed: SignedDuration = interval.trim().parse().map_err(|_| wrong())?;
    let parsed = Duration::try_from(parsed).map_err(|_| wrong())?;
    Ok(Duration::from_secs(parsed.as_secs().max(1)))
}

fn cron(text: &str) -> Result<Rule, ScheduleError> {
    let (zone, fields) = match text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) {
        Some(rest) => {
            let (name, fields) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            (TimeZone::get(name).map_err(|_| ScheduleError::Zone(name.to_string()))?, fields.trim())
        }
        None => (TimeZone::system(), text),
    };
    let fields = match fields {
        "@midnight" => "@daily",
        "@annually" => "@yearly",
        fields => fields,
    };
    const WORDS: [&str; 5] = ["@hourly", "@daily", "@weekly", "@monthly", "@yearly"];
    if fields.contains('@') && !WORDS.contains(&fields) {
        return Err(ScheduleError::Expression(format!("'{fields}' is no known word")));
    }
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).sloppy_ranges(true).build();
    let cron = parser.parse(fields).map_err(|error| ScheduleError::Expression(format!("'{fields}': {error}")))?;
    next(&cron, &zone, Timestamp::UNIX_EPOCH).ok_or(ScheduleError::Never)?;
    Ok(Rule::Cron(Box::new(cron), zone))
}

/// The first time after `after`, in milliseconds since 1970.
fn next(cron: &Cron, zone: &TimeZone, after: Timestamp) -> Option<u64> {
    let found = cron.find_next_occurrence(&after.to_zoned(zone.clone()), false).ok()?.timestamp();
    u64::try_from(found.as_millisecond()).ok()
}

impl fmt::Debug for Schedule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Schedule({})", self.text)
    }
}

impl Schedule {
    /// How long from `now_ms` (since 1970, by the wall clock) to the next tick.
    pub fn wait(&self, now_ms: u64) -> Duration {
        let (cron, zone) = match &self.rule {
            Rule::Every(interval) => return *interval,
            Rule::Cron(cron, zone) => (cron, zone),
        };
        let now = i64::try_from(now_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::UNIX_EPOCH);
        // A schedule without a next time was refused when it was read; the end of the calendar is far.
        let at = next(cron, zone, now).unwrap_or(u64::MAX);
        Duration::from_millis(at.saturating_sub(now_ms))
    }

    /// Whether ticks follow the wall clock, so that the wait must be asked for again while it passes: the clock may be set.
    pub fn follows_the_wall(&self) -> bool {
        matches!(self.rule, Rule::Cron(..))
    }
}

#[cfg(test)]
mod tests {
    use super::{Schedule, ScheduleError};
    use jiff::Timestamp;
    use std::time::Duration;

    fn wait(schedule: &str, now: &str) -> Duration {
        let now: Timestamp = now.parse().unwrap();
        schedule.parse::<Schedule>().unwrap().wait(now.as_millisecond() as u64)
    }

    #[test]
    fn each_form_of_the_predecessor_is_read() {
        let seconds = |schedule: &str, now: &str| wait(schedule, now).as_secs();
        for (schedule, now, expected) in [
            ("@every 5m", "2026-11-21T10:00:07Z", 300),
            ("@every 1h30m", "2026-11-21T10:00:07Z", 5400),
            ("@every 1m30.5s", "2026-11-21T10:00:07Z", 90),
            ("@every 10ms", "2026-11-21T10:00:07Z", 1),
            ("TZ=UTC */5 * * * *", "2026-11-21T10:04:30Z", 30),
            ("TZ=UTC 5/20 * * * *", "2026-11-21T10:06:00Z", 19 * 60),
            ("TZ=UTC 0 30 * * * *", "2026-11-21T10:00:00Z", 1800),
            ("TZ=UTC */10 * * * * *", "2026-11-21T10:00:01Z", 9),
            ("TZ=UTC 0 12 ? * MON-FRI", "2026-11-21T12:00:00Z", 2 * 86400),
            ("CRON_TZ=UTC 0 0 1 jan *", "2026-12-31T23:59:00Z", 60),
            ("TZ=UTC 0 0 * * 0", "2026-11-21T00:00:00Z", 86400),
            ("TZ=UTC @hourly", "2026-11-21T10:59:00Z", 60),
            ("TZ=UTC @midnight", "2026-11-21T23:59:00Z", 60),
            ("TZ=UTC @annually", "2026-12-31T23:59:00Z", 60),
            ("TZ=Europe/Warsaw 0 12 * * *", "2026-11-21T10:59:00Z", 60),
            ("TZ=Europe/Warsaw 0 12 * * *", "2026-07-21T09:59:00Z", 60),
        ] {
            assert_eq!(seconds(schedule, now), expected, "{schedule} at {now}");
        }
    }

    #[test]
    fn a_tick_is_never_now_and_survives_the_change_of_clocks() {
        assert_eq!(wait("TZ=UTC * * * * *", "2026-11-21T10:00:00Z"), Duration::from_secs(60));
        // On that night, 02:30 does not exist; the next one is within a day.
        let spring = wait("TZ=Europe/Warsaw 30 2 * * *", "2026-03-28T12:00:00Z");
        assert!(spring <= Duration::from_secs(86400), "{spring:?}");
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (schedule, expected) in [
            ("", "expected '@every 5m'"),
            ("@every", "'@every' is no known word"),
            ("@every soon", "'soon' is no interval"),
            ("@every -5m", "'-5m' is no interval"),
            ("@fortnightly", "no known word"),
            ("* * * *", "'* * * *'"),
            ("* * * * * * *", "expected '@every 5m'"),
            ("61 * * * *", "'61 * * * *'"),
            ("TZ=Mars/Base * * * * *", "time zone 'Mars/Base' is not known"),
            ("TZ=UTC", "expected '@every 5m'"),
        ] {
            let error = schedule.parse::<Schedule>().unwrap_err();
            assert!(error.to_string().contains(expected), "{schedule}: {error}");
        }
        assert_eq!("0 0 30 2 *".parse::<Schedule>().unwrap_err(), ScheduleError::Never);
    }
}
