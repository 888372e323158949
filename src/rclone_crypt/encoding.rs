//! The texts in which rclone writes encrypted names.

use data_encoding::{BASE32HEX_NOPAD, BASE64URL_NOPAD};

/// A way to write bytes as a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilenameEncoding {
    /// Base32 in the alphabet that sorts ("extended hex"), lower case, without padding.
    Base32,
    /// Base64 for URLs, without padding.
    Base64,
    /// 15 bits in each character of the Unicode planes that most stores keep.
    Base32768,
}

impl FilenameEncoding {
    /// The bytes behind a text; `None` if it is none of this encoding's.
    pub(super) fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            // Stores that ignore case may give it back in another.
            FilenameEncoding::Base32 => BASE32HEX_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok(),
            FilenameEncoding::Base64 => BASE64URL_NOPAD.decode(text.as_bytes()).ok(),
            FilenameEncoding::Base32768 => base32768(text),
        }
    }
}

/// The characters for 7 bits, of which there is at most one, at the end.
const LAST: [(u16, u16); 2] = [(0x0180, 0x019f), (0x0240, 0x029f)];

/// The characters for 15 bits, in the order of their values; both ends belong to a range.
const ALPHABET: [(u16, u16); 52] = [
    (0x04a0, 0x04bf),
    (0x0500, 0x051f),
    (0x0680, 0x06bf),
    (0x0760, 0x079f),
    (0x07c0, 0x07df),
    (0x1000, 0x101f),
    (0x10a0, 0x10bf),
    (0x1100, 0x115f),
    (0x1180, 0x119f),
    (0x11e0, 0x123f),
    (0x1260, 0x127f),
    (0x12e0, 0x12ff),
    (0x1320, 0x133f),
    (0x13a0, 0x13df),
    (0x1420, 0x165f),
    (0x16a0, 0x16df),
    (0x1780, 0x179f),
    (0x1820, 0x185f),
    (0x18c0, 0x18df),
    (0x1980, 0x199f),
    (0x19e0, 0x19ff),
    (0x1a20, 0x1a3f),
    (0x1bc0, 0x1bdf),
    (0x1c00, 0x1c1f),
    (0x1d00, 0x1d1f),
    (0x21e0, 0x21ff),
    (0x22c0, 0x22df),
    (0x2340, 0x23df),
    (0x2400, 0x241f),
    (0x2500, 0x275f),
    (0x2780, 0x27bf),
    (0x2800, 0x297f),
    (0x29a0, 0x29bf),
    (0x2a20, 0x2a5f),
    (0x2a80, 0x2abf),
    (0x2ae0, 0x2b5f),
    (0x2c00, 0x2c1f),
    (0x2c80, 0x2cdf),
    (0x2d00, 0x2d1f),
    (0x2d40, 0x2d5f),
    (0x2ea0, 0x2edf),
    (0x31c0, 0x31df),
    (0x3400, 0x4d9f),
    (0x4dc0, 0x9fbf),
    (0xa000, 0xa47f),
    (0xa4a0, 0xa4bf),
    (0xa500, 0xa5ff),
    (0xa640, 0xa65f),
    (0xa6a0, 0xa6df),
    (0xa700, 0xa75f),
    (0xa780, 0xa79f),
    (0xa840, 0xa85f),
];

fn base32768(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut held, mut bits) = (0u32, 0u32);
    let mut ended = false;
    for character in text.chars() {
        let code = u16::try_from(u32::from(character)).ok().filter(|_| !ended)?;
        let (value, width) = match place(&ALPHABET, code) {
            Some(value) => (value, 15),
            None => (place(&LAST, code)?, 7),
        };
        ended = width == 7;
        held = (held << width) | value;
        bits += width;
        while bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).ok()?);
        }
        held &= (1 << bits) - 1;
    }
    // What is left is padding, all ones.
    (held + 1 == 1 << bits).then_some(bytes)
}

/// The place of a character in ranges that follow each other.
fn place(ranges: &[(u16, u16)], code: u16) -> Option<u32> {
    let mut before = 0;
    for (first, last) in ranges {
        if (first..=last).contains(&&code) {
            return Some(before + u32::from(code - first));
        }
        before += u32::from(last - first) + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{ALPHABET, FilenameEncoding, LAST};

    const DIGITS: &str = "1234567890123456";

    /// rclone's own tests: what the first digits of DIGITS are written as, by their number.
    #[test]
    fn rclones_vectors_decode() {
        let base32 = ["", "64", "64p0", "64p36", "64p36d0", "64p36d1l", "64p36d1l6o", "64p36d1l6org", "64p36d1l6orjg"];
        let base64 = ["", "MQ", "MTI", "MTIz", "MTIzNA", "MTIzNDU", "MTIzNDU2", "MTIzNDU2Nw", "MTIzNDU2Nzg"];
        let base32768 = [
            "",
            "㼿",
            "㻙ɟ",
            "㻙ⲿ",
            "㻙ⲍƟ",
            "㻙ⲍ⍟",
            "㻙ⲍ⍆ʏ",
            "㻙ⲍ⍆觟",
            "㻙ⲍ⍆觓ɧ",
            "㻙ⲍ⍆觓栯",
            "㻙ⲍ⍆觓栩ɣ",
            "㻙ⲍ⍆觓栩朧",
            "㻙ⲍ⍆觓栩朤ʅ",
            "㻙ⲍ⍆觓栩朤談",
            "㻙ⲍ⍆觓栩朤諆ɔ",
            "㻙ⲍ⍆觓栩朤諆媕",
            "㻙ⲍ⍆觓栩朤諆媕䆿",
        ];
        for (encoding, texts) in [
            (FilenameEncoding::Base32, &base32[..]),
            (FilenameEncoding::Base64, &base64),
            (FilenameEncoding::Base32768, &base32768),
        ] {
            for (length, text) in texts.iter().enumerate() {
                assert_eq!(encoding.decode(text).as_deref(), Some(&DIGITS.as_bytes()[..length]), "{encoding:?} {text}");
            }
        }
        assert_eq!(FilenameEncoding::Base32.decode("64P36D1L").as_deref(), Some(&b"12345"[..]));
    }

    #[test]
    fn what_is_not_of_the_encoding_is_refused() {
        for (encoding, texts) in [
            (FilenameEncoding::Base32, ["64=", "!", "hello=hello", "64w0"]),
            (FilenameEncoding::Base64, ["64=", "!", "Hello=Hello", "MQ=="]),
            (FilenameEncoding::Base32768, ["㼿c", "!", "㻙ⲿ=㻙ⲿ", "㻙ɟɟ"]),
        ] {
            for text in texts {
                assert_eq!(encoding.decode(text), None, "{encoding:?} {text}");
            }
        }
        assert_eq!(FilenameEncoding::Base32768.decode("㼾"), None, "padding that is not ones");
    }

    #[test]
    fn the_alphabet_has_one_character_for_each_value() {
        let count = |ranges: &[(u16, u16)]| ranges.iter().map(|(first, last)| u32::from(last - first) + 1).sum::<u32>();
        assert_eq!((count(&ALPHABET), count(&LAST)), (1 << 15, 1 << 7));
        assert!(ALPHABET.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }
}
