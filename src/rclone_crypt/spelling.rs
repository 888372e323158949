//! How rclone spells names. Between its remotes a name is in rclone's *standard* spelling, in which control characters
//! and DEL are their pictures (`␊` for a line break), and what already looked like that is quoted. Encrypted is the
//! standard spelling; a store, and a file system, have spellings of their own that replace less.
//!
//! So a stored key is read into the standard spelling before it is decrypted, and what comes out is written as rclone on
//! Linux writes it to a disk. A store's key as rclone writes it to S3 and to a local folder.

/// What quotes the character behind it.
const QUOTE: char = '‛';
/// The picture of a NUL byte; those of the other control characters follow it.
const PICTURES: u32 = 0x2400;
const PICTURE_OF_DELETE: char = '␡';
const WIDE_SLASH: char = '／';
const WIDE_DOT: &str = "．";

/// What a spelling replaces beside NUL, slashes, and names that are only one or two dots.
#[derive(Clone, Copy)]
struct Spelling {
    /// Control characters and DEL, by pictures.
    controls: bool,
    /// Bytes that are not UTF-8, by quoted hexadecimal.
    bytes: bool,
}

const STANDARD: Spelling = Spelling { controls: true, bytes: false };
const STORED: Spelling = Spelling { controls: false, bytes: true };
const DISK: Spelling = Spelling { controls: false, bytes: false };

/// A name of a stored key in the standard spelling.
pub(super) fn from_store(name: &str) -> Vec<u8> {
    STANDARD.write(&STORED.read(name.as_bytes()))
}

/// [`from_store`] for a name whose quotation marks quote nothing.
///
/// Obfuscation may rotate a character into the one that quotes. rclone then stores two, which it takes for one that was
/// quoted, and reads back a name that is longer by a character; so did the name that was encrypted have one.
pub(super) fn from_store_unquoted(name: &str) -> Option<Vec<u8>> {
    let doubled = [QUOTE, QUOTE].iter().collect::<String>();
    let standard = String::from_utf8(from_store(name)).ok()?;
    standard.contains(&doubled).then(|| standard.replace(&doubled, QUOTE.encode_utf8(&mut [0; 4])).into_bytes())
}

/// A name in the standard spelling as it is called on a disk.
pub(super) fn to_disk(name: &[u8]) -> Vec<u8> {
    DISK.write(&STANDARD.read(name))
}

impl Spelling {
    /// The byte for which a character stands.
    fn meaning(self, character: char) -> Option<u8> {
        let code = u32::from(character);
        match character {
            '␀' => Some(0),
            WIDE_SLASH => Some(b'/'),
            PICTURE_OF_DELETE if self.controls => Some(0x7f),
            '\u{2401}'..='\u{241f}' if self.controls => u8::try_from(code - PICTURES).ok(),
            _ => None,
        }
    }

    /// The character that stands for another one.
    fn picture(self, character: char) -> Option<char> {
        match character {
            '\0' => Some('␀'),
            '/' => Some(WIDE_SLASH),
            '\x7f' if self.controls => Some(PICTURE_OF_DELETE),
            '\x01'..='\x1f' if self.controls => char::from_u32(PICTURES + u32::from(character)),
            _ => None,
        }
    }

    /// Undoes the spelling.
    fn read(self, name: &[u8]) -> Vec<u8> {
        if let Some((dots, _)) = DOTS.iter().find(|(_, spelled)| spelled.as_bytes() == name) {
            return dots.as_bytes().to_vec();
        }
        let mut raw = Vec::with_capacity(name.len());
        for chunk in name.utf8_chunks() {
            let mut rest = chunk.valid().chars();
            while let Some(character) = rest.next() {
                if character != QUOTE {
                    match self.meaning(character) {
                        Some(byte) => raw.push(byte),
                        None => push(&mut raw, character),
                    }
                    continue;
                }
                let mut behind = rest.clone();
                if let Some(quoted) = behind.next().filter(|c| *c == QUOTE || self.meaning(*c).is_some()) {
                    push(&mut raw, quoted);
                    rest = behind;
                } else if let Some(byte) = hex(rest.as_str()).filter(|_| self.bytes) {
                    raw.push(byte);
                    behind.next();
                    rest = behind;
                } else {
                    push(&mut raw, QUOTE);
                }
            }
            raw.extend_from_slice(chunk.invalid());
        }
        raw
    }

    /// Spells a name, except for bytes that are not UTF-8: nothing here writes to a store.
    fn write(self, raw: &[u8]) -> Vec<u8> {
        if let Some((_, spelled)) = DOTS.iter().find(|(dots, _)| dots.as_bytes() == raw) {
            return spelled.as_bytes().to_vec();
        }
        let mut name = Vec::with_capacity(raw.len());
        for chunk in raw.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character == QUOTE || self.meaning(character).is_some() {
                    push(&mut name, QUOTE);
                }
                push(&mut name, self.picture(character).unwrap_or(character));
            }
            name.extend_from_slice(chunk.invalid());
        }
        name
    }
}

/// Whole names of dots, and their spelling.
const DOTS: [(&str, &str); 4] = [(".", WIDE_DOT), ("..", "．．"), (WIDE_DOT, "‛．"), ("．．", "‛．‛．")];

fn push(bytes: &mut Vec<u8>, character: char) {
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// The byte that the first two characters write in hexadecimal.
fn hex(text: &str) -> Option<u8> {
    let digits = text.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::{DISK, STANDARD, from_store, to_disk};

    /// What rclone showed for names on a Linux disk.
    #[test]
    fn names_are_spelled_as_rclone_does() {
        for (disk, standard) in [
            (&b"plain name.txt"[..], "plain name.txt"),
            (b"a\nb", "a␊b"),
            ("pic␊ture".as_bytes(), "pic‛␊ture"),
            ("full／w".as_bytes(), "full／w"),
            ("q‛‛␊x".as_bytes(), "q‛‛‛␊x"),
            (b"\x01\x1f\x7f", "␁␟␡"),
            ("．".as_bytes(), "．"),
            ("．．".as_bytes(), "．．"),
            ("‛．‛．".as_bytes(), "‛．‛．"),
        ] {
            assert_eq!(String::from_utf8_lossy(&STANDARD.write(&DISK.read(disk))), standard);
            assert_eq!(to_disk(standard.as_bytes()), disk, "{standard}");
        }
        assert_eq!(to_disk(b"odd\xff"), b"odd\xff");
        assert_eq!(to_disk("x‛FF".as_bytes()), "x‛‛FF".as_bytes(), "hexadecimal is a store's spelling alone");
    }

    #[test]
    fn stored_keys_are_read_as_rclone_does() {
        for (stored, standard) in [
            ("!.odd‛FF", &b"!.odd\xff"[..]),
            ("odd‛ff‛fe", b"odd\xff\xfe"),
            ("a\nb", "a␊b".as_bytes()),
            ("205.d␊e", "205.d‛␊e".as_bytes()),
            ("68.G\x7fN", "68.G␡N".as_bytes()),
            ("‛‛FF", "‛‛FF".as_bytes()),
            ("‛x‛", "‛‛x‛‛".as_bytes()),
            ("．．", "．．".as_bytes()),
        ] {
            assert_eq!(from_store(stored), standard, "{stored}");
        }
    }

    #[test]
    fn no_spelling_makes_a_slash_or_dots() {
        for name in ["／", "‛2F", "‛2f", "‛／", "．．", "‛2E‛2E", "‛．‛．", "．", "‛2E", "␀", "‛00"] {
            let disk = to_disk(&from_store(name));
            assert!(!disk.contains(&b'/') && !disk.contains(&0), "{name}");
            assert!(disk != b"." && disk != b"..", "{name}");
        }
    }
}
