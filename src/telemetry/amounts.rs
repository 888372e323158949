//! Amounts as people read them.

use std::time::Duration;

/// `17 B`, `1.2 KiB`, `340 MiB`: three digits at most.
pub fn bytes(amount: u64) -> String {
    if amount < 1024 {
        return format!("{amount} B");
    }
    let mut value = amount as f64;
    let mut unit = "";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        value /= 1024.0;
        unit = next;
        // 1023.95 KiB would be printed as 1024 KiB.
        if value < 999.5 {
            break;
        }
    }
    if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// `850 ms`, `12.3 s`, `4 m 05 s`, `2 h 07 m`, `3 d 04 h`.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{}.{} s", seconds, duration.subsec_millis() / 100),
        60..3_600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {:02} m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// `1 file`, `12,345 files`: a number with its noun, which takes an s.
pub fn count(number: u64, noun: &str) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text} {noun}{}", if number == 1 { "" } else { "s" })
}

/// `2026-11-20T14:00:00Z`: a wall-clock time in milliseconds since 1970, in UTC to the second.
pub fn moment(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).ok();
    match seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) {
        Some(moment) => moment.to_string(),
        // Beyond the calendar: it came from outside, and is only shown.
        None => format!("{ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, count, moment, span};
    use std::time::Duration;

    #[test]
    fn bytes_have_three_digits_at_most() {
        for (amount, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (10_189, "10 KiB"),
            (1_258_291, "1.2 MiB"),
            (1_048_575, "1.0 MiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(bytes(amount), text);
        }
    }

    #[test]
    fn spans_have_two_units_at_most() {
        for (ms, text) in
            [(850, "850 ms"), (12_399, "12.3 s"), (245_000, "4 m 05 s"), (7_620_000, "2 h 07 m"), (273_600_000, "3 d 04 h")]
        {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn moments_are_in_utc() {
        assert_eq!(moment(1_795_183_200_999), "2026-11-20T14:00:00Z");
        assert_eq!(moment(u64::MAX), "18446744073709551615 ms");
    }

    #[test]
    fn counts_name_what_they_count() {
        assert_eq!(count(0, "file"), "0 files");
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(12_345, "file"), "12,345 files");
        assert_eq!(count(123, "entry point"), "123 entry points");
    }
}
