//! The small languages of values: booleans and durations.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// A value that is not understood; the message names the accepted forms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct WordError {
    /// The accepted forms.
    pub expected: &'static str,
}

/// `1 true t yes y on` and `0 false f no n off`, in any case: what Go's flags take, and the words of YAML.
pub fn parse_boolean(text: &str) -> Result<bool, WordError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "t" | "yes" | "y" | "on" => Ok(true),
        "0" | "false" | "f" | "no" | "n" | "off" => Ok(false),
        _ => Err(WordError { expected: "true or false (also 1/0, yes/no, y/n)" }),
    }
}

/// An address to listen on: `0.0.0.0:9327`, `[::1]:9327`, or for every address of the machine `:9327` or `9327`.
pub fn parse_listen(text: &str) -> Result<SocketAddr, WordError> {
    let text = text.trim();
    let everywhere =
        text.strip_prefix(':').unwrap_or(text).parse().map(|port| (IpAddr::from(Ipv6Addr::UNSPECIFIED), port).into());
    let expected = "an address and a port such as 0.0.0.0:9327 or :9327";
    everywhere.or_else(|_| text.parse()).map_err(|_| WordError { expected })
}

/// A duration of whole units: `500ms`, `20s`, `2m`, `1h`, `7d`, and sums such as `1h30m`. `0` needs no unit.
pub fn parse_span(text: &str) -> Result<Duration, WordError> {
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    span(text).ok_or(WordError { expected: "a duration such as 500ms, 20s, 2m, 1h or 1h30m" })
}

fn span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(unit_ms)?;
        total = total.checked_add(Duration::from_millis(part))?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::{parse_boolean, parse_listen, parse_span};
    use std::time::Duration;

    #[test]
    fn booleans_are_words_of_any_case() {
        for word in ["1", "true", "TRUE", "t", "yes", "Y", "on"] {
            assert_eq!(parse_boolean(word), Ok(true), "{word}");
        }
        for word in ["0", "False", "F", "no", "N", "off"] {
            assert_eq!(parse_boolean(word), Ok(false), "{word}");
        }
        let message = parse_boolean("perhaps").unwrap_err().to_string();
        assert_eq!(message, "expected true or false (also 1/0, yes/no, y/n)");
    }

    #[test]
    fn durations_have_units() {
        for (text, ms) in [("500ms", 500), ("20s", 20_000), ("2m", 120_000), ("1h30m", 5_400_000), ("7d", 604_800_000), ("0", 0)]
        {
            assert_eq!(parse_span(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "20", "s", "2x", "-1s", "1.5h", "99999999999999999999s", "18446744073709551615d", "1h 2m"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_to_listen_on_may_leave_the_host_out() {
        for (text, address) in [
            (":9327", "[::]:9327"),
            (" 9327 ", "[::]:9327"),
            ("0", "[::]:0"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(parse_listen(text).unwrap().to_string(), address, "{text}");
        }
        for text in ["", ":", "localhost:80", "127.0.0.1", ":65536", "::", "1.2.3.4:", "-1"] {
            assert!(parse_listen(text).is_err(), "{text}");
        }
    }
}
