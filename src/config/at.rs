//! The point in a vault's history that `--at` names.

use super::words::parse_span;
use crate::runtime::clock;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// A point in a vault's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// The newest commit.
    Head,
    /// The commit with this number.
    Sequence(u64),
    /// The newest commit at or before this time, in milliseconds since 1970.
    Time(u64),
    /// What a fenced writer saved aside, by its name as `snapshots` lists it.
    Rescue(String),
}

/// A text that names no point in history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected latest, a number as listed by snapshots (17 or #17), a time with zone (2026-11-20T14:00:00Z), a time in \
     UTC (2026-11-20 or '2026-11-20 14:00'), a duration ago (30m, 2h, 7d), or a rescue as listed by snapshots \
     (rescue:NAME or fork/NAME)"
)]
pub struct AtError;

/// Reads an `--at` value; durations count back from now.
pub fn parse_at(text: &str) -> Result<At, AtError> {
    At::parse(text, clock::wall_ms())
}

impl At {
    fn parse(text: &str, now_ms: u64) -> Result<At, AtError> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("latest") {
            return Ok(At::Head);
        }
        if let Some(name) = text.strip_prefix("rescue:") {
            return rescue(name);
        }
        if text.starts_with("fork/") {
            return rescue(text);
        }
        let digits = text.strip_prefix('#').unwrap_or(text);
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return digits.parse().map(At::Sequence).map_err(|_| AtError);
        }
        if let Ok(ago) = parse_span(text.strip_suffix(" ago").unwrap_or(text)) {
            let ago_ms = u64::try_from(ago.as_millis()).map_err(|_| AtError)?;
            return now_ms.checked_sub(ago_ms).map(At::Time).ok_or(AtError);
        }
        let ms = instant(text).ok_or(AtError)?.as_millisecond();
        u64::try_from(ms).map(At::Time).map_err(|_| AtError)
    }
}

fn rescue(name: &str) -> Result<At, AtError> {
    let printable = !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic());
    if printable { Ok(At::Rescue(name.to_string())) } else { Err(AtError) }
}

/// With a zone as written, without one in UTC; a date alone is its first instant.
fn instant(text: &str) -> Option<Timestamp> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant);
    }
    let civil = match text.parse::<Date>() {
        Ok(date) if text.len() == "2026-11-20".len() => date.to_datetime(jiff::civil::Time::midnight()),
        _ => text.parse::<DateTime>().ok()?,
    };
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::At;

    /// 2026-11-20T14:00:00Z
    const NOW_MS: u64 = 1_795_183_200_000;
    const HOUR_MS: u64 = 3_600_000;

    #[test]
    fn every_form_is_understood() {
        for (text, at) in [
            ("latest", At::Head),
            ("17", At::Sequence(17)),
            ("#17", At::Sequence(17)),
            ("1795183200", At::Sequence(1_795_183_200)),
            ("2026-11-20T14:00:00Z", At::Time(NOW_MS)),
            ("2026-11-20T15:00:00.5+01:00", At::Time(NOW_MS + 500)),
            ("2026-11-20", At::Time(NOW_MS - 14 * HOUR_MS)),
            ("2026-11-20 14:00", At::Time(NOW_MS)),
            ("2026-11-20T14:00:00", At::Time(NOW_MS)),
            ("2h", At::Time(NOW_MS - 2 * HOUR_MS)),
            ("2h ago", At::Time(NOW_MS - 2 * HOUR_MS)),
            ("7d", At::Time(NOW_MS - 7 * 24 * HOUR_MS)),
            ("rescue:a1/7", At::Rescue("a1/7".into())),
            ("fork/00000002-ab/7", At::Rescue("fork/00000002-ab/7".into())),
        ] {
            assert_eq!(At::parse(text, NOW_MS), Ok(at), "{text}");
        }
    }

    #[test]
    fn what_names_no_point_in_history_is_refused() {
        for text in [
            "",
            "#",
            "yesterday",
            "-3",
            "2026-13-01",
            "2026-11-20T25:00",
            "1960-01-01",
            "99999999d",
            "rescue:",
            "rescue:a b",
            "99999999999999999999999",
            "2026-11-20garbage",
        ] {
            assert!(At::parse(text, NOW_MS).is_err(), "{text}");
        }
        let message = At::parse("yesterday", NOW_MS).unwrap_err().to_string();
        assert!(message.contains("2026-11-20T14:00:00Z") && message.contains("UTC"), "{message}");
    }
}
