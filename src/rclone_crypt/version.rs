//! The mark of an old version, `-v2001-02-03-040506-123` before a name's extension. rclone leaves it in clear, so that
//! stores with versions can list it; it is taken off before a name is decrypted and put back after.

use jiff::civil::DateTime;

/// The parts of a mark: how many digits, and what stands before them.
const PARTS: [(&str, usize); 5] = [("-v", 4), ("-", 2), ("-", 2), ("-", 6), ("-", 3)];
const MARK_BYTES: usize = 23;

/// A name without its mark, and the mark.
pub(super) fn split(name: &str) -> Option<(String, &str)> {
    let (base, extension) = split_extension(name);
    let at = base.len().checked_sub(MARK_BYTES)?;
    let mark = base.get(at..).filter(|mark| is_mark(mark))?;
    Some((format!("{}{extension}", &base[..at]), mark))
}

/// The name with a mark put back.
pub(super) fn join(name: &[u8], mark: &str) -> Vec<u8> {
    let (base, extension) = name.split_at(extension_at(name));
    [base, mark.as_bytes(), extension].concat()
}

fn split_extension(name: &str) -> (&str, &str) {
    name.split_at(extension_at(name.as_bytes()))
}

/// Where the extension begins; a leading dot begins none.
fn extension_at(name: &[u8]) -> usize {
    name.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0).unwrap_or(name.len())
}

/// Whether a text is a mark: the right characters, and a time that exists.
fn is_mark(text: &str) -> bool {
    let mut rest = text;
    let mut numbers = [0u32; 5];
    for ((before, digits), number) in PARTS.into_iter().zip(&mut numbers) {
        let Some((part, after)) = rest.strip_prefix(before).and_then(|rest| rest.split_at_checked(digits)) else { return false };
        if !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return false;
        }
        *number = part.parse().unwrap_or(u32::MAX);
        rest = after;
    }
    let [year, month, day, time, _] = numbers;
    rest.is_empty() && exists([year, month, day, time / 10_000, time / 100 % 100, time % 100])
}

fn exists([year, month, day, hour, minute, second]: [u32; 6]) -> bool {
    let small = |number| i8::try_from(number).unwrap_or(i8::MAX);
    let year = i16::try_from(year).unwrap_or(i16::MAX);
    DateTime::new(year, small(month), small(day), small(hour), small(minute), small(second), 0).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{join, split};

    #[test]
    fn a_mark_is_taken_off_and_put_back() {
        for (name, bare, mark) in [
            ("potato-v1970-01-01-010101-123.txt", "potato.txt", "-v1970-01-01-010101-123"),
            (
                "potato-v2001-02-03-040506-123-v1970-01-01-010101-123.txt",
                "potato-v2001-02-03-040506-123.txt",
                "-v1970-01-01-010101-123",
            ),
            ("potato-v2001-02-03-040506-123", "potato", "-v2001-02-03-040506-123"),
            (".potato-v2001-02-03-040506-123", ".potato", "-v2001-02-03-040506-123"),
            (".potato-v2001-02-03-040506-123.conf", ".potato.conf", "-v2001-02-03-040506-123"),
            ("53-v2001-02-03-040506-123.!!lipps", "53.!!lipps", "-v2001-02-03-040506-123"),
            ("-v2001-02-03-040506-123", "", "-v2001-02-03-040506-123"),
            ("p-v2024-02-29-235959-999", "p", "-v2024-02-29-235959-999"),
        ] {
            assert_eq!(split(name), Some((bare.to_string(), mark)), "{name}");
            assert_eq!(join(bare.as_bytes(), mark), name.as_bytes());
        }
    }

    #[test]
    fn what_only_looks_like_a_mark_stays() {
        for name in [
            "potato.txt",
            "",
            "-v9999-99-99-999999-999",
            "potato-v2A01-02-03-040506-123",
            "potato-v2001-02-03-040506=123",
            "potato-v2001-02-30-040506-123",
            "potato-v2023-02-29-040506-123",
            "potato-v2001-02-03-240506-123",
            "potato-v2001-02-03-046006-123",
            "potato-v2001-02-03-040560-123",
            "potato-v2001-02-03-040506-123x",
            "ünï-v001-02-03-040506-1234",
        ] {
            assert_eq!(split(name), None, "{name}");
        }
    }
}
