//! Obfuscated names: each character is rotated within its kind, by a distance that the name's own sum and the key give.
//! The form is `<sum modulo 256>.<rotated text>`, or `!.<bytes>` for a name that was no text.

/// What quotes the character behind it.
const QUOTE: char = '!';

/// The name behind an obfuscated one; `None` if this key did not make it. The sum tells: rclone itself does not look.
pub(super) fn open(name: &[u8], key_rotation: u32) -> Option<Vec<u8>> {
    if let Some(bytes) = name.strip_prefix(b"!.") {
        return Some(bytes.to_vec());
    }
    let (number, rotated) = std::str::from_utf8(name).ok()?.split_once('.')?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let sum = u32::from(number.parse::<u8>().ok()?);
    let distance = sum + key_rotation;
    let mut text = String::with_capacity(rotated.len());
    let mut quoted = false;
    for character in rotated.chars() {
        if quoted {
            text.push(character);
            quoted = false;
        } else if character == QUOTE {
            quoted = true;
        } else {
            text.push(rotate_back(character, distance));
        }
    }
    let found = text.chars().fold(0u32, |sum, character| sum.wrapping_add(u32::from(character))) % 256;
    (!quoted && found == sum).then(|| text.into_bytes())
}

fn rotate_back(character: char, distance: u32) -> char {
    let code = u32::from(character);
    let back = |first: u32, ring: u32| first + (code - first + ring - (distance % (ring - 1) + 1)) % ring;
    let code = match character {
        '0'..='9' => u32::from('0') + (code - u32::from('0') + 10 - (distance % 9 + 1)) % 10,
        'A'..='Z' => letter(code - u32::from('A'), distance),
        'a'..='z' => letter(code - u32::from('a') + 26, distance),
        '\u{a0}'..='\u{ff}' => back(0xa0, 96),
        '\u{100}'.. => code - code % 256 + (code % 256 + 256 - (distance % 127 + 1)) % 256,
        _ => code,
    };
    // Surrogates fill whole blocks of 256, and no character lies in one of those.
    char::from_u32(code).unwrap_or(character)
}

/// Letters are one ring, A to Z and then a to z.
fn letter(place: u32, distance: u32) -> u32 {
    let place = (place + 52 - (distance % 25 + 1)) % 52;
    if place < 26 { u32::from('A') + place } else { u32::from('a') + place - 26 }
}

#[cfg(test)]
mod tests {
    use super::open;

    fn opened(name: &str, rotation: u32) -> Option<String> {
        open(name.as_bytes(), rotation).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn rclones_vectors_open() {
        for (obfuscated, plain) in [
            ("49.6", "1"),
            ("99.23", "12"),
            ("150.890", "123"),
            ("53.!!lipps", "!hello"),
            ("162.uryyB.GKG", "hello.txt"),
            ("161.\u{e4}", "\u{a1}"),
            ("160.\u{3c2}", "\u{3a0}"),
            ("!.hello", "hello"),
        ] {
            assert_eq!(opened(obfuscated, 0).as_deref(), Some(plain), "{obfuscated}");
        }
        assert_eq!(open(b"!.odd\xff", 7), Some(b"odd\xff".to_vec()));
    }

    #[test]
    fn what_this_key_did_not_make_is_refused() {
        assert_eq!(opened("162.uryyB.GKG", 1), None, "another key");
        for name in [
            "hello",
            "",
            ".",
            ".hello",
            "1.txt",
            "-94.uryyB.GKG",
            "+162.uryyB.GKG",
            "418.uryyB.GKG",
            "162.uryyC.GKG",
            "53.!!lipps!",
        ] {
            assert_eq!(opened(name, 0), None, "{name}");
        }
        assert_eq!(open(b"162.\xff", 0), None);
    }
}
